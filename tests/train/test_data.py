"""Reading, cleaning, planning, cropping and masking of pairs."""

import dataclasses

import numpy as np
import pytest
import torch

from protclip_core.encoders.alphabet import BOS, EOS, MASK, encode
from protclip_core.errors import InputError
from tests.train.protanno_data import make
from train.config.run import DataConfig, ObjectivesConfig
from train.data.assemble import full_batch
from train.data.batches import PairData
from train.data.composer import TextComposer
from train.data.go_terms import GoTerms
from train.data.masking import IGNORED
from train.data.pairs import open_pairs
from train.data.proteins import read_proteins, split_of
from train.data.texts import GO_TAG, TAGS, Part, parts_of, read_go_names, train_tokenizer
from train.protanno.sampling import Sampling

CONFIG = DataConfig(
    token_budget=400,
    max_pairs=10,
    crops=(20, 40),
    crop_shares=(0.5, 0.5),
)
ALL = ObjectivesConfig(go=1.0)
MAX_TOKENS = 24


def entry(accession, split="train", **fields):
    return {"accession": accession, "sequence": "MKTAYIAK", "split": split, **fields}


@pytest.fixture(scope="module")
def terms(go_path):
    return GoTerms(go_path)


@pytest.fixture(scope="module")
def tokenizer(pairs_path, go_path):
    proteins = read_proteins(pairs_path, "train", read_go_names(go_path))
    return train_tokenizer((p.parts for p in proteins), 200)


@pytest.fixture(scope="module")
def make_data(pairs_path, terms, tokenizer, tmp_path_factory):
    """Return a function that gives the batches of the pairs, for a rank of several."""
    source = open_pairs(pairs_path, "train", CONFIG, tokenizer, terms, tmp_path_factory.mktemp("r"))
    texts = TextComposer(tokenizer, MAX_TOKENS, tag_dropout=0.25)

    def make(config=CONFIG, objectives=ALL, seed=5, **ranks):
        return PairData(source, texts, config, objectives, seed, **ranks)

    return make


@pytest.fixture(scope="module")
def pair_data(make_data):
    return make_data()


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
    with pytest.raises(InputError) as caught:
        read_proteins(path, "train", {})
    assert caught.value.code == "input.bad_line"
    assert str(caught.value.where).endswith("p.jsonl.gz:2")
    with pytest.raises(InputError) as caught:
        read_proteins(write_pairs(path, [entry("A", name="x")]), "test", {})
    assert caught.value.code == "input.empty_split"


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


@pytest.mark.parametrize("equal", [True, False])
def test_plan_takes_every_protein_about_once_and_keeps_the_budget(make_data, equal):
    data = make_data(dataclasses.replace(CONFIG, equal_lengths=equal))
    plan, lengths = data.plan(0), data.source.lengths
    batches = [plan[position] for position in range(len(plan))]
    rows = np.concatenate([rows for rows, _ in batches])
    assert len(set(rows.tolist())) == len(rows) >= len(lengths) - 5
    for members, crops in batches:
        assert 2 <= len(members) <= CONFIG.max_pairs
        assert (crops + 2).sum() <= CONFIG.token_budget
        assert (lengths[members] >= crops).all()
        assert (len(set(crops.tolist())) == 1) or not equal
        if not equal:
            assert ((crops == lengths[members]) | (crops == 20) | (crops == 40)).all()
    other = data.plan(1)
    assert [len(plan[p][0]) for p in range(5)] != [len(other[p][0]) for p in range(5)] or any(
        not np.array_equal(plan[p][0], other[p][0]) for p in range(5)
    )


def test_batches_of_random_proteins_keep_the_limits_and_each_crop(make_data):
    config = dataclasses.replace(CONFIG, by_length=False, max_pairs=8, token_budget=250)
    data, plain = make_data(config), make_data()
    plan, lengths = data.plan(0), data.source.lengths
    batches = [plan[position] for position in range(len(plan))]
    rows = np.concatenate([rows for rows, _ in batches])
    assert len(set(rows.tolist())) == len(rows) >= len(lengths) - 2
    for members, crops in batches:
        assert 2 <= len(members) <= 8
        assert (crops + 2).sum() <= 250
        assert ((crops == lengths[members]) | (crops == 20) | (crops == 40)).all()
    # Budget and number are made use of: no batch could have had the first of the next in the plan.
    starts = np.argsort(plan.bounds[:, 0])
    for one, other in zip(starts, starts[1:]):
        own, behind = plan[one][1], plan[other][1]
        assert len(own) == 8 or (own + 2).sum() + behind[0] + 2 > 250
    spread = [np.std([crops.mean() for _, crops in map(p.__getitem__, range(len(p)))])
              for p in (plan, plain.plan(0))]  # fmt: skip
    assert spread[0] < 0.7 * spread[1]


def test_a_batch_is_a_function_of_its_place(make_data, pair_data):
    rows, crops = pair_data.plan(0)[3]
    first, again, other = (
        data.batch(0, place) for data, place in ((pair_data, 3), (make_data(), 3), (pair_data, 4))
    )
    assert torch.equal(first.proteins.tokens, again.proteins.tokens)
    assert torch.equal(first.text_ids, again.text_ids)
    assert torch.equal(first.masked.residue_targets, again.masked.residue_targets)
    assert torch.equal(first.masked.segment_targets, again.masked.segment_targets)
    assert not torch.equal(first.proteins.tokens[:20], other.proteins.tokens[:20])
    assert len(first.proteins.runs) == 1
    blocks = first.proteins.tokens.view(len(rows), crops[0] + 2)
    assert (blocks[:, 0] == BOS).all() and (blocks[:, -1] == EOS).all()
    for block, row in zip(blocks, rows):
        whole = bytes(pair_data.source.residues(row).tolist())
        assert bytes(block[1:-1].tolist()) in whole


def test_ranks_see_together_what_one_process_sees(make_data, pair_data):
    whole = pair_data.batch(1, 2)
    parts = [make_data(rank=rank, ranks=3).batch(1, 2) for rank in range(3)]
    assert {(p.tokens, p.pairs) for p in parts} == {(whole.tokens, whole.pairs)}
    assert sum(len(p.proteins) for p in parts) == len(whole.proteins)
    for rank, part in enumerate(parts):
        for name in ("whole", "residues", "segments"):
            own = getattr(whole.masked, name)
            mine = own.tokens.split(own.lengths)[rank::3]
            assert torch.equal(getattr(part.masked, name).tokens, torch.cat(mine))
        assert torch.equal(part.text_keys, whole.text_keys[rank::3])
        assert torch.equal(part.present, whole.present[rank::3])
        mine = whole.go[:, whole.go[0] % 3 == rank]
        assert torch.equal(part.go[1], mine[1])
        assert torch.equal(part.go[0], mine[0] // 3)


def test_masks_of_three_passes_and_of_one(make_data):
    passes = make_data().batch(0, 0).masked
    whole = passes.whole.tokens
    assert not (whole == MASK).any()
    for masked, targets in (
        (passes.residues, passes.residue_targets),
        (passes.segments, passes.segment_targets),
    ):
        hidden = targets != IGNORED
        assert hidden.any()
        assert torch.equal(torch.where(hidden, targets, masked.tokens), whole)
    assert len(passes.passes()) == 3 * len(passes.whole)
    data = make_data(objectives=ObjectivesConfig(shared_pass=True, segmented_proteins=1.0))
    seen = 0
    for position in range(4):
        shared = data.batch(0, position).masked
        assert shared.passes() is shared.whole
        both = [t != IGNORED for t in (shared.residue_targets, shared.segment_targets)]
        assert torch.equal(both[0] | both[1], shared.whole.tokens == MASK)
        by_protein = [
            [bool(part.any()) for part in hidden.split(shared.whole.lengths)] for hidden in both
        ]
        assert not any(one and other for one, other in zip(*by_protein))
        seen += sum(by_protein[0]) and sum(by_protein[1])
    assert seen
    none = make_data(objectives=ObjectivesConfig(bsr=0, mlm=0, pda=0)).batch(0, 0)
    assert none.masked.residues is none.masked.segments is None
    assert not len(none.property_ids) and not none.present.any() and not none.go.numel()


def test_properties_and_go_terms_of_a_batch(pair_data, terms, tokenizer):
    rows, _ = pair_data.plan(0)[1]
    batch = pair_data.batch(0, 1)
    assert int(batch.present.sum()) == len(batch.property_ids)
    parts = pair_data.source.parts(rows[0])
    there = [tag for tag, _ in parts if tag != GO_TAG]
    assert [tag for tag, p in zip(TAGS, batch.present[0]) if p] == there
    first = batch.property_ids[0][batch.property_mask[0].bool()].tolist()
    tag, pieces = parts[0]
    assert tokenizer.decode(first).startswith(f"{tag} :".lower())
    nucleus = terms.index["GO:0005634"]
    for place, row in enumerate(rows):
        own = batch.go[1][batch.go[0] == place].tolist()
        assert own == pair_data.source.go(row).tolist()
        assert own in ([], [nucleus])


def test_texts_are_cut_and_identical_ones_are_marked(pair_data):
    batch = full_batch(pair_data.source, list(range(12)), pair_data.texts, 30)
    assert batch.text_ids.shape[1] <= MAX_TOKENS
    assert max(batch.proteins.lengths) <= 32
    kept = [tuple(ids[mask.bool()].tolist()) for ids, mask in zip(batch.text_ids, batch.text_mask)]
    by_hand = [[one == other for other in kept] for one in kept]
    assert (batch.text_keys.unsqueeze(1) == batch.text_keys).tolist() == by_hand


def test_shards_give_the_same_pairs_as_lines(tmp_path, pairs_path, terms, tokenizer):
    """The builder's data set of the same entries; its pass over the data is made once."""
    make([pairs_path], tmp_path / "set", sampling=Sampling(form="none"))
    lines = open_pairs(pairs_path, "valid", CONFIG, tokenizer, terms, tmp_path)
    for _ in range(2):
        shards = open_pairs(tmp_path / "set", "valid", CONFIG, tokenizer, terms, tmp_path)
        assert shards.lengths.tolist() == lines.lengths.tolist()
        assert shards.go_counts().tolist() == lines.go_counts().tolist()
        for row in range(len(lines)):
            assert shards.residues(row).tolist() == lines.residues(row).tolist()
            assert shards.parts(row) == lines.parts(row)
            assert shards.go(row).tolist() == lines.go(row).tolist()
        shards.close()


def test_entries_without_a_split_are_held_out_by_their_accession():
    found = [split_of("", f"P{number}", 0.1) for number in range(2000)]
    assert 140 < found.count("valid") < 260
    assert found == [split_of("", f"P{number}", 0.1) for number in range(2000)]
    assert split_of("test", "P1", 1.0) == "test"
