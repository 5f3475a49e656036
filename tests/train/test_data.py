"""Reading, cleaning, planning and cropping of pairs."""

import numpy as np
import pytest
import torch

from protclip_core.errors import InputError, UsageError
from protclip_core.models.alphabet import BOS, EOS, encode
from train.config import DataConfig, load_config
from train.data import PairData, TextEncoder, full_batch, read_proteins
from train.texts import GO_TAG, Part, parts_of, read_go_names, train_tokenizer

CONFIG = DataConfig(
    vocab_size=200,
    max_text_tokens=24,
    token_budget=400,
    max_pairs=10,
    crops=(20, 40),
    crop_shares=(0.5, 0.5),
)


def entry(accession, split="train", **fields):
    return {"accession": accession, "sequence": "MKTAYIAK", "split": split, **fields}


@pytest.fixture(scope="module")
def pair_data(pairs_path, go_path):
    proteins = read_proteins(pairs_path, "train", read_go_names(go_path))
    tokenizer = train_tokenizer((p.parts for p in proteins), CONFIG.vocab_size)
    return PairData(proteins, TextEncoder(tokenizer, proteins, CONFIG), CONFIG, seed=5)


def test_reading_keeps_one_split_and_entries_with_a_text(tmp_path, write_pairs):
    path = write_pairs(
        tmp_path / "p.jsonl.gz",
        [
            entry("A", name="Kinase"),
            entry("B", split="valid", name="Kinase"),
            entry("C", split="train_extra", name="Kinase"),
            entry("D"),
            entry("E", name="Uncharacterized protein YKR075C"),
            entry("F", name="hypothetical protein", location="Nucleus"),
        ],
    )
    found = read_proteins(path, "train", {})
    assert [protein.accession for protein in found] == ["A", "F"]
    assert found[0].parts == (Part("PROTEIN NAME", ("Kinase",)),)
    assert np.array_equal(found[0].residues, encode("MKTAYIAK")[1:-1])


def test_reading_names_the_bad_line(tmp_path, write_pairs):
    path = write_pairs(tmp_path / "p.jsonl.gz", [entry("A", name="x"), {"split": "train"}])
    with pytest.raises(InputError, match=r"p\.jsonl\.gz:2"):
        read_proteins(path, "train", {})
    with pytest.raises(InputError, match="no entry of split 'test'"):
        read_proteins(write_pairs(path, [entry("A", name="x")]), "test", {})


@pytest.mark.parametrize(
    ("field", "text", "pieces"),
    [
        ("name", "Kinase (EC 2.7.1.1)", ("Kinase (EC 2.7.1.1)",)),
        ("name", "Putative uncharacterized protein", None),
        ("function", "Dubious open reading frame; unlikely to encode a protein.", None),
        ("function", "Binds DNA. Cuts RNA {ECO:0000250}.", ("Binds DNA", "Cuts RNA")),
        ("function", "Binds DNA (PubMed:123). Is also inv [...]", ("Binds DNA",)),
        ("function", "Only a torso of a sent [...]", None),
        ("function", "Virulence factor: TTSS (VF0140) - Motility (VFC0204)",
         ("Virulence factor: TTSS - Motility",)),
        ("location", "Nucleus {ECO:1}. Note=Only at night.", ("Nucleus",)),
        ("similarity", "Belongs to the A family.", ("Belongs to the A family",)),
        ("name", " . ", None),
    ],
)  # fmt: skip
def test_cleaning(field, text, pieces):
    parts = parts_of({field: text}, {})
    assert (parts[0].pieces if parts else None) == pieces


def test_go_names_leave_out_roots_obsolete_and_unknown_terms(go_path):
    names = read_go_names(go_path)
    assert names == {"GO:0005524": "ATP binding", "GO:0005634": "nucleus"}
    terms = ["GO:0008150", "GO:0005634", "GO:9999999"]
    assert parts_of({"go": terms}, names) == (Part(GO_TAG, ("nucleus",)),)


def test_plan_takes_every_protein_about_once_and_keeps_the_budget(pair_data):
    plan = pair_data.plan(0)
    rows = np.concatenate([rows for _, rows in plan])
    assert len(set(rows.tolist())) == len(rows) >= len(pair_data.proteins) - 5
    for crop, members in plan:
        assert 2 <= len(members) <= CONFIG.max_pairs
        assert len(members) * (crop + 2) <= CONFIG.token_budget
        assert min(len(pair_data.proteins[row].residues) for row in members) >= crop
    assert [c for c, _ in plan] != [c for c, _ in pair_data.plan(1)]


def test_a_batch_is_a_function_of_its_place(pair_data):
    crop, rows = pair_data.plan(0)[3]
    first, again, other = (pair_data.batch(crop, rows, 0, place) for place in (3, 3, 4))
    assert torch.equal(first.proteins.tokens, again.proteins.tokens)
    assert torch.equal(first.text_ids, again.text_ids)
    assert not (
        torch.equal(first.proteins.tokens, other.proteins.tokens)
        and torch.equal(first.text_ids, other.text_ids)
    )
    assert len(first.proteins.runs) == 1
    blocks = first.proteins.tokens.view(len(rows), crop + 2)
    assert (blocks[:, 0] == BOS).all() and (blocks[:, -1] == EOS).all()
    for block, row in zip(blocks, rows):
        whole = bytes(pair_data.proteins[row].residues.tolist())
        assert bytes(block[1:-1].tolist()) in whole


def test_texts_are_cut_and_identical_ones_are_marked(pair_data):
    rows = list(range(12))
    batch = full_batch(pair_data.proteins, rows, pair_data.texts, 30)
    assert batch.text_ids.shape[1] <= CONFIG.max_text_tokens
    assert max(batch.proteins.lengths) <= 32
    kept = [tuple(ids[mask.bool()].tolist()) for ids, mask in zip(batch.text_ids, batch.text_mask)]
    by_hand = [[one == other for other in kept] for one in kept]
    assert batch.same_text.tolist() == by_hand


def test_config_refuses_unknown_and_missing_keys(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("[model]\nlayers = 3\n")
    with pytest.raises(UsageError, match=r"\[model\]: unknown key 'layers'"):
        load_config(path)
    path.write_text("[model]\nprotein_layers = 3\n")
    with pytest.raises(UsageError, match="missing .*'protein_dim'"):
        load_config(path)
