"""Structures as training data: the packed file, who belongs to whom, and what a batch has."""

import dataclasses
import gzip
import json

import h5py
import numpy as np
import pytest
import torch

from protclip_core.encoders.structure import describe, pack_chains
from protclip_core.errors import InputError, ModelError, UsageError
from tests.support.chains import broken, make_chain, without
from tests.support.structures import mmcif, pdb, peptide
from tests.train.with_structures import chain_of, entries, make_structures, structure_config
from train import structures as program
from train.data.batches import PairData
from train.data.structures import StructureSet, accession_of, write_structures
from train.loop.prepare import prepare
from train.loop.ranks import Ranks

CHAINS = [
    (broken(make_chain(30, 1, name="one"), 12), "P12345"),
    (without(make_chain(1, 2, confident=False, name="two"), 0, 3), ""),
    (make_chain(700, 3, name="AF-P12345-F1"), "P12345"),
]


@pytest.fixture
def packed(tmp_path):
    path = tmp_path / "s.h5"
    assert write_structures(path, CHAINS) == 3
    return path


def test_chains_come_back_as_they_were(packed):
    found = StructureSet(packed)
    assert (found.ids, found.lengths.tolist()) == (["one", "two", "AF-P12345-F1"], [30, 1, 700])
    for row, (chain, _) in enumerate(CHAINS):
        own = found.chain(row)
        middle = chain.backbone[:, 1].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(own.backbone, chain.backbone - middle, atol=1e-4)
        assert own.sequence == chain.sequence
        assert own.starts.tolist() == chain.starts.tolist()
        if chain.confidence is None:
            assert own.confidence is None
        else:
            np.testing.assert_allclose(own.confidence, chain.confidence, rtol=1e-3)


def test_a_piece_of_a_chain(packed):
    found = StructureSet(packed)
    whole, piece = found.chain(0), found.chain(0, 10, 5)
    np.testing.assert_array_equal(piece.backbone, whole.backbone[10:15])
    assert piece.sequence == whole.sequence[10:15]
    assert piece.starts.tolist() == [True, False, True, False, False]
    assert len(found.chain(0, 28, 5)) == 2


def test_structures_are_found_by_accession_and_by_id(packed):
    found = StructureSet(packed)
    assert found.rows("P12345") == [0, 2]
    assert (found.rows("two"), found.rows("one"), found.rows("Q99999")) == ([1], [0], [])
    assert "P12345" in found
    assert "Q99999" not in found


@pytest.mark.parametrize(
    ("id", "accession"),
    [
        ("AF-P12345-F1-model_v4", "P12345"),
        ("AF-A0A0C4DFL8-F1", "A0A0C4DFL8"),
        ("P12345", "P12345"),
        ("P12345-2", "P12345"),
        ("1abc_A", ""),
        ("ranked_0", ""),
        ("AP12345", ""),
    ],
)
def test_what_an_id_says_of_the_accession(id, accession):
    assert accession_of(id) == accession


def test_the_same_chain_again_is_left_out_and_another_one_refused(tmp_path, caplog):
    path = tmp_path / "s.h5"
    assert write_structures(path, [*CHAINS, CHAINS[0]]) == 3
    assert "1 chains came again" in caplog.text
    other = make_chain(30, 9, name="one"), ""
    before = path.read_bytes()
    with pytest.raises(InputError) as caught:
        write_structures(path, [*CHAINS, other])
    assert caught.value.code == "input.duplicate_id"
    assert path.read_bytes() == before
    with pytest.raises(InputError) as caught:
        write_structures(path, [])
    assert caught.value.code == "input.empty"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.h5"]


def test_files_that_are_no_structures(tmp_path, packed):
    with pytest.raises(ModelError) as caught:
        StructureSet(tmp_path / "none.h5")
    assert caught.value.code == "model.not_found"
    (tmp_path / "text.h5").write_text("no HDF5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["ids"] = [1]
    cut = tmp_path / "cut.h5"
    cut.write_bytes(packed.read_bytes()[:-2000])
    for name in ("text.h5", "other.h5", "cut.h5"):
        with pytest.raises(ModelError) as caught:
            StructureSet(tmp_path / name)
        assert caught.value.code == "model.damaged", name


def test_the_program_packs_json_lines(tmp_path, capsys):
    chain = make_chain(20, 5, name="x")
    atoms = dict(zip(("N", "CA", "C", "O"), chain.backbone.transpose(1, 0, 2).tolist()))
    # Of a chain without residues 8 to 11, whose ends are far apart.
    gap = [*range(7), *range(11, 20)]
    lines = [
        {"name": "AF-Q12345-F1", "seq": chain.sequence, "coords": atoms, "plddt": [50.0] * 20},
        {"name": "b", "seq": "".join(chain.sequence[i] for i in gap), "uniprot": "P12345",
         "coords": {atom: [rows[i] for i in gap] for atom, rows in atoms.items()}},
    ]  # fmt: skip
    path, out = tmp_path / "b.jsonl.gz", tmp_path / "s.h5"
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "table.tsv").write_text("b\tO12345\n")
    assert program.main([str(path), "-o", str(out)]) == 0
    found = StructureSet(out)
    assert found.accessions == ["Q12345", "P12345"]
    assert found.chain(0).starts.tolist() == [True] + [False] * 19
    assert np.flatnonzero(found.chain(1).starts).tolist() == [0, 7]
    table = ["--accessions", str(tmp_path / "table.tsv")]
    assert program.main([str(path), "-o", str(out), *table]) == 0
    assert StructureSet(out).accessions == ["Q12345", "O12345"]
    path.write_text('{"name": "x", "seq": "MK", "coords": {}}\n')
    assert program.main([str(path), "-o", str(out)]) == 3
    assert "[input.bad_line]" in capsys.readouterr().err


def test_the_program_packs_structure_files_and_names_what_it_cannot_use(tmp_path, capsys):
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "AF-P12345-F1-model_v4.cif.gz").write_bytes(
        gzip.compress(mmcif(peptide("MKTAYIAKQRQ")).encode())
    )
    (folder / "1abc.pdb").write_text(pdb(peptide("AYVKM"), peptide("MKVLA", "B")))
    out = tmp_path / "s.h5"
    assert program.main([str(folder), "-o", str(out)]) == 0
    found = StructureSet(out)
    assert found.ids == ["1abc_A", "1abc_B", "AF-P12345-F1-model_v4"]
    assert found.accessions == ["", "", "P12345"]
    assert found.chain(2).sequence == "MKTAYIAKQRQ"
    (folder / "cut.cif.gz").write_bytes(gzip.compress(mmcif(peptide("MKTAY")).encode())[:-4])
    assert program.main([str(folder), "-o", str(out)]) == 6
    assert "truncated]" in capsys.readouterr().err
    assert len(StructureSet(out)) == 3


def data_of(tmp_path, number=0, ranks=(0, 1), **keys):
    """Batches of the recipe, and its structures."""
    file = tmp_path / "s.h5"
    if not file.exists():
        make_structures(file)
    config = structure_config(file, **keys)
    run = tmp_path / f"run{number}"
    alone = Ranks.alone()
    ready = prepare(config, run, alone, data_path=None, go_path=None, resume=False)
    rank, world = ranks
    part = PairData(
        ready.data.source, ready.data.texts, config.data, config.objectives, 1,
        rank=rank, ranks=world,
    )  # fmt: skip
    part.views = ready.data.views
    return part


def test_a_batch_has_the_structures_of_its_proteins(tmp_path):
    data = data_of(tmp_path)
    by_sequence = {entry["sequence"]: n for n, entry in enumerate(entries())}
    rows, _ = data.plan(0)[0]
    batch = data.batch(0, 0)
    numbers = [by_sequence[sequence_of(data.source, row)] for row in rows]
    assert batch.structure_rows.tolist() == [p for p, n in enumerate(numbers) if n % 3 < 2]
    assert 0 < len(batch.structure_rows) < len(rows)
    first = np.cumsum([0, *batch.structures.lengths])
    for piece, row in enumerate(batch.structure_rows.tolist()):
        number = numbers[row]
        whole = pack_chains([chain_of(entries()[number], number)])
        size = batch.structures.lengths[piece]
        assert size in (min(16, len(whole.residues)), len(whole.residues))
        own = batch.structures.residues[first[piece] : first[piece] + size].tolist()
        text, all_of_it = (" ".join(map(str, part)) for part in (own, whole.residues.tolist()))
        assert text in all_of_it
        torch.testing.assert_close(
            batch.structures.descriptors[piece], describe(whole)[0], rtol=1e-3, atol=1e-3
        )


def sequence_of(source, row):
    from protclip_core.encoders.alphabet import TOKENS

    return "".join(TOKENS[token] for token in source.residues(row))


def test_a_batch_is_a_function_of_its_place_and_ranks_share_it(tmp_path):
    on = {"intra_structure": 1.0, "intra_sequence": 1.0, "intra_text": 1.0}
    data = data_of(tmp_path, objectives=on)
    whole, again, next_epoch = data.batch(1, 2), data.batch(1, 2), data.batch(2, 2)
    assert torch.equal(whole.structures.backbone, again.structures.backbone)
    assert torch.equal(whole.view.structures.backbone, again.view.structures.backbone)
    assert not torch.equal(whole.structures.backbone, next_epoch.structures.backbone)
    assert whole.structures.lengths != whole.view.structures.lengths
    # What describes the whole chain would tell which two pieces are of one.
    assert whole.structures.descriptors is whole.view.structures.descriptors is None
    parts = [data_of(tmp_path, n + 1, (n, 2), objectives=on).batch(1, 2) for n in (0, 1)]
    for n, part in enumerate(parts):
        inside = whole.structure_rows[whole.structure_rows % 2 == n]
        assert part.structure_rows.tolist() == (inside // 2).tolist()
        assert torch.equal(part.clusters, whole.clusters[n::2])
        starts = part.view.proteins.starts
        for row, start in enumerate(starts):
            size = part.view.proteins.lengths[row]
            there = whole.view.proteins.starts[2 * row + n]
            expected = whole.view.proteins.tokens[there : there + size]
            assert torch.equal(part.view.proteins.tokens[start : start + size], expected)


def test_masked_residues_are_the_only_change_of_the_second_view(tmp_path):
    batch = data_of(tmp_path, objectives={"intra_sequence": 1.0}).batch(0, 0)
    one, other = batch.proteins.tokens, batch.view.proteins.tokens
    changed = (one != other).float().mean()
    assert 0.03 < float(changed) < 0.3
    assert len(set(other[one != other].tolist())) == 1


def test_proteins_without_a_text_or_without_a_structure(tmp_path, caplog):
    """Proteins without text come along if they have a structure, and none is asked of them."""
    bare = entries()
    for number, entry in enumerate(bare):
        entry["cluster"] = number // 2
        if number % 4 == 0:
            entry = {k: entry[k] for k in ("accession", "sequence", "split", "cluster")}
            bare[number] = entry
    pairs = tmp_path / "bare.jsonl"
    pairs.write_text("".join(json.dumps(entry) + "\n" for entry in bare))
    every = data_of(tmp_path, 1, data={"pairs": str(pairs)})
    texts = [every.source.has_text(row) for row in range(len(every.source.lengths))]
    assert 0 < sum(texts) < len(texts)
    batch = every.batch(0, 0)
    rows, _ = every.plan(0)[0]
    has = [every.source.has_text(int(row)) for row in rows]
    assert (batch.has_text is None) == all(has)
    if batch.has_text is not None:
        assert batch.has_text.tolist() == has
    names = {e["accession"]: e for e in bare}
    clusters = [names[every.source.accession(int(row))]["cluster"] for row in rows]
    same = [[a == b for b in clusters] for a in clusters]
    assert (batch.clusters.unsqueeze(1) == batch.clusters).tolist() == same
    only = data_of(tmp_path, 2, data={"pairs": str(pairs), "structures_only": True})
    accessions = {e["accession"] for n, e in enumerate(bare) if n % 3 < 2 and e["split"] == "train"}
    assert set(only.source.accessions) == accessions


def test_another_accession_of_the_entry_may_have_the_structure(tmp_path):
    changed = entries()
    known = changed[0]["accession"]
    changed[0] |= {"accession": "NEW", "also": ["OTHER", known]}
    pairs = tmp_path / "also.jsonl"
    pairs.write_text("".join(json.dumps(entry) + "\n" for entry in changed))
    data = data_of(tmp_path, data={"pairs": str(pairs)})
    assert known in data.source.accessions
    assert "NEW" not in data.source.accessions


def test_structures_of_other_proteins_are_of_no_use(tmp_path):
    write_structures(tmp_path / "s.h5", CHAINS)
    with pytest.raises(InputError) as caught:
        data_of(tmp_path)
    assert caught.value.code == "input.empty_split"
    config = structure_config(tmp_path / "s.h5")
    bare = dataclasses.replace(config, data=dataclasses.replace(config.data, structures=None))
    with pytest.raises(UsageError) as caught:
        prepare(bare, tmp_path / "r", Ranks.alone(), data_path=None, go_path=None, resume=False)
    assert caught.value.code == "usage.missing_option"
