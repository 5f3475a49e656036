"""Which residues of a structure become a chain, and what is said of the rest."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from protclip_core.errors import InputError
from protclip_core.io.structures import StructureSummary, read_structures
from tests.support.structures import SHAPE, mmcif, pdb, peptide, residue

DNA = ("P", "C1'", "N1")


def nucleic(chain="B", names=("DA", "DC", "DG")):
    return [
        dataclasses.replace(atom, name=name, element=name[0])
        for number, kind in enumerate(names, 1)
        for atom, name in zip(residue(kind, number, chain), DNA)
    ]


@pytest.fixture
def read(tmp_path):
    """Read one file of this text: its chains, failures, chains passed over."""

    def read(text, name="x.pdb", **options):
        path = tmp_path / name
        path.write_text(text)
        failures, passed = [], []
        records = read_structures(
            [path], on_failure=failures.append, on_pass=passed.append, **options
        )
        return list(records), failures, passed

    return read


def only(outcome):
    (record,), failures, passed = outcome
    assert not failures
    assert not passed
    return record


@pytest.mark.parametrize("write", [pdb, mmcif])
def test_a_chain_has_its_letters_coordinates_and_name(read, write):
    record = only(read(write(peptide("MKTAY")), "AF-P12345-F1-model_v4.cif"))
    chain = record.chain
    assert (chain.id, chain.sequence, record.name) == ("AF-P12345-F1-model_v4", "MKTAY", "A")
    for place in range(5):
        for atom, xyz in enumerate(SHAPE.values()):
            expected = np.add(xyz, (3.8 * (place + 1), 0, 0))
            assert chain.backbone[place, atom] == pytest.approx(expected, abs=1e-3)
    assert chain.starts.tolist() == [True, False, False, False, False]
    assert chain.confidence is None


def test_chains_of_several_proteins_carry_the_authors_names(read):
    text = mmcif(peptide("MKT", "H"), peptide("AYV", "L2"), nucleic("D"))
    records, failures, passed = read(text, "1abc.cif")
    assert [(r.chain.id, r.number, r.chain.sequence) for r in records] == [
        ("1abc_H", 1, "MKT"),
        ("1abc_L2", 2, "AYV"),
    ]
    assert [(p.id, p.number, p.code) for p in passed] == [("1abc_D", 3, "record.not_protein")]
    assert not failures


def test_nucleic_acid_first_leaves_the_protein_its_plain_name(read):
    records, _, passed = read(pdb(nucleic("B"), peptide("MKTA", "A")))
    assert [r.chain.id for r in records] == ["x"]
    assert [p.id for p in passed] == ["x_B"]


def test_chosen_chains_alone_are_read_and_keep_their_names(read):
    text = pdb(peptide("MKT", "A"), peptide("AYV", "B"), nucleic("D"))
    records, failures, passed = read(text, chains=["B"])
    assert [r.chain.id for r in records] == ["x_B"]
    assert (failures, passed) == ([], [])
    _, (failure,), _ = read(text, chains=["Z"])
    assert failure.code == "record.no_such_chain"
    assert "A, B, D" in failure.reason


def test_only_the_first_model_is_read(read):
    shifted = [dataclasses.replace(a, model=2, xyz=(0, 0, 9)) for a in peptide("MKT")]
    for write in (pdb, mmcif):
        record = only(read(write(peptide("MKT"), shifted)))
        assert record.models == 2
        assert record.chain.backbone[0, 1].tolist() == pytest.approx([3.8, 0, 0])


def conformers(*occupancies):
    """Give three residues; the middle one in conformers A, B, ... at y = 1, 2, ..."""
    middle = [
        dataclasses.replace(a, alt="ABC"[i], occupancy=o, xyz=(a.xyz[0], a.xyz[1] + i + 1, 0))
        for i, o in enumerate(occupancies)
        for a in residue("LYS", 2)
    ]
    return [*residue("MET", 1), *middle, *residue("THR", 3)]


@pytest.mark.parametrize(
    ("occupancies", "best"), [((0.3, 0.7), 1), ((0.5, 0.5), 0), ((0.2, 0.4, 0.4), 1)]
)
@pytest.mark.parametrize("write", [pdb, mmcif])
@pytest.mark.parametrize("turned", [False, True])
def test_the_conformer_of_highest_occupancy_is_read_whole(read, write, occupancies, best, turned):
    atoms = conformers(*occupancies)
    chain = only(read(write(atoms[::-1] if turned else atoms))).chain
    middle = chain.backbone[chain.sequence.index("K")]
    assert (middle[:, 1] - [xyz[1] for xyz in SHAPE.values()]).tolist() == pytest.approx(
        [best + 1] * 4, abs=1e-3
    )


def test_an_atom_that_the_conformer_lacks_comes_from_another(read):
    atoms = [a for a in conformers(0.3, 0.7) if (a.alt, a.name) != ("B", "O")]
    middle = only(read(pdb(atoms))).chain.backbone[1]
    assert middle[1, 1] == pytest.approx(2)
    assert middle[3, 1] == pytest.approx(1.9 + 1, abs=1e-3)


@pytest.mark.parametrize(("serine", "letter"), [(0.6, "S"), (0.5, "A"), (0.4, "A")])
@pytest.mark.parametrize("write", [pdb, mmcif])
def test_of_two_residues_at_one_place_one_is_kept(read, write, serine, letter):
    mixture = [
        *residue("ALA", 2, alt="A", occupancy=1 - serine),
        *residue("SER", 2, alt="B", occupancy=serine),
    ]
    record = only(read(write([*residue("MET", 1), *mixture, *residue("THR", 3)])))
    assert record.chain.sequence == f"M{letter}T"
    assert record.dropped == 0


def test_insertion_codes_are_residues_of_their_own(read):
    atoms = [*residue("MET", 1), *residue("LYS", 1, x=7.6, icode="A")]
    atoms += residue("THR", 1, x=11.4, icode="B")
    chain = only(read(pdb(atoms))).chain
    assert chain.sequence == "MKT"
    assert chain.starts.tolist() == [True, False, False]


def test_numbers_that_begin_anew_after_9999_lose_nothing(read):
    atoms = [a for n in range(9998, 10003) for a in residue("ALA", n % 10000, x=3.8 * (n - 9997))]
    chain = only(read(pdb(atoms))).chain
    assert chain.sequence == "AAAAA"
    assert chain.starts.tolist() == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("name", "letter"),
    [("MSE", "M"), ("SEP", "S"), ("DAL", "A"), ("SEC", "U"), ("HSD", "H"), ("CYX", "C")]
    + [("UNK", "X"), ("ZZZ", "X"), ("ASX", "B"), ("HYP", "P")],
)
def test_a_modified_residue_has_the_letter_of_its_parent(read, name, letter):
    atoms = [*residue("MET", 1), *residue(name, 2, het=name == "MSE"), *residue("THR", 3)]
    assert only(read(pdb(atoms))).chain.sequence == f"M{letter}T"


def test_a_residue_without_ca_is_left_out_and_counted(read):
    atoms = [*peptide("MK"), *residue("THR", 3, atoms=("N", "C")), *peptide("AY", first=4)]
    record = only(read(pdb(atoms)))
    assert (record.chain.sequence, record.dropped) == ("MKAY", 1)
    assert record.chain.starts.tolist() == [True, False, True, False]


def test_missing_atoms_are_nan_and_no_break(read):
    atoms = [*peptide("MK"), *residue("THR", 3, atoms=("CA", "O")), *peptide("AY", first=4)]
    chain = only(read(pdb(atoms))).chain
    assert np.isnan(chain.backbone[2]).all(1).tolist() == [True, False, True, False]
    assert np.isnan(chain.backbone).sum() == 6
    assert chain.starts.tolist() == [True, False, False, False, False]


def test_a_chain_of_ca_alone_is_one(read):
    atoms = [
        a
        for n, letter in enumerate(("MET", "LYS", "THR", "ALA"), 1)
        for a in residue(letter, n if n < 4 else 9, atoms=("CA",))
    ]
    chain = only(read(pdb(atoms))).chain
    assert chain.sequence == "MKTA"
    assert chain.starts.tolist() == [True, False, False, True]


def test_calcium_is_no_residue(read):
    ion = residue("CA", 90, atoms=("CA",), het=True, element="CA")
    assert only(read(pdb([*peptide("MKT"), *ion]))).chain.sequence == "MKT"


def test_a_free_amino_acid_after_the_chain_is_a_ligand(read):
    ligand = residue("GLU", 50, het=True)
    records, _, _ = read(pdb(peptide("MKT"), ligand))
    assert [r.chain.sequence for r in records] == ["MKT"]
    text = mmcif(peptide("MKT"), ligand, sequences=[("MET", "LYS", "THR"), ()])
    assert only(read(text)).chain.sequence == "MKT"


def test_atoms_in_another_order_give_the_same_chain(read):
    atoms = peptide("MKTAY")
    turned = [a for n in range(1, 6) for a in atoms[::-1] if a.number == n]
    one, other = only(read(pdb(atoms))).chain, only(read(pdb(turned))).chain
    assert one.sequence == other.sequence
    assert np.array_equal(one.backbone, other.backbone)


def test_breaks_are_told_by_distance_not_by_numbers_that_are_skipped(read):
    bonded = [*peptide("MK"), *residue("THR", 7, x=11.4), *residue("ALA", 8, x=15.2)]
    assert only(read(pdb(bonded))).chain.starts.tolist() == [True, False, False, False]
    apart = [*peptide("MK"), *residue("THR", 3, x=20), *residue("ALA", 4, x=23.8)]
    assert only(read(pdb(apart))).chain.starts.tolist() == [True, False, True, False]


def test_a_bad_bond_between_neighbours_is_no_break(read):
    atoms = [*peptide("MK"), *residue("THR", 3, x=12.0)]  # 1.93 Å of a bond more than there is
    moved = [
        dataclasses.replace(a, xyz=(a.xyz[0] + 1.5, *a.xyz[1:]))
        if a.name == "N" and a.number == 3
        else a
        for a in atoms
    ]
    assert only(read(pdb(moved))).chain.starts.tolist() == [True, False, False]


def test_the_place_in_the_full_sequence_outranks_distance(read):
    labels = (1, 2, 5)
    atoms = [dataclasses.replace(a, label=labels[a.number - 1]) for a in peptide("MKT")]
    names = ("MET", "LYS", "ALA", "ALA", "THR")
    record = only(read(mmcif(atoms, sequences=[names])))
    assert record.chain.starts.tolist() == [True, False, True]
    assert (record.expected, record.incomplete) == (5, False)


SEQRES = "SEQRES   1 {}    9  MET LYS THR ALA ALA ALA ALA ALA ALA\n"


def test_a_chain_that_shows_less_than_half_of_its_sequence_is_told(read):
    summary = StructureSummary()
    record = only(read(pdb(peptide("MKT"), header=SEQRES.format("A")), summary=summary))
    assert (record.expected, record.incomplete) == (9, True)
    assert (summary.incomplete, summary.chains, summary.residues) == (1, 1, 3)
    assert (summary.unobserved, summary.dropped, summary.broken) == (6, 0, 0)
    assert "3 of 9" in summary.first_incomplete


def test_a_chain_with_a_sequence_and_no_atoms_is_named(read):
    text = pdb(peptide("MKT"), header=SEQRES.format("A") + SEQRES.format("B"))
    records, failures, (passed,) = read(text)
    assert [r.chain.id for r in records] == ["x"]
    assert (passed.id, passed.code) == ("x_B", "record.no_atoms")
    listed = mmcif(peptide("MKT"), sequences=[("MET", "LYS", "THR"), ("ALA", "GLY")])
    _, _, (passed,) = read(listed)
    assert passed.code == "record.no_atoms"


FAULTS = {
    "empty": ("", "record.empty"),
    "NULs": ("\0" * 500, "record.empty"),
    "text": ("Dear all,\nplease find attached\n", "record.unknown_format"),
    "FASTA": (">x\nMKT\n", "record.unknown_format"),
    "page": ("<!DOCTYPE html><html></html>", "record.unknown_format"),
    "DNA only": (pdb(nucleic("A")), "record.not_protein"),
    "RNA only": (pdb(nucleic("A", ("A", "C", "U"))), "record.not_protein"),
    "two atoms": (pdb(residue("ALA", 1, atoms=("N", "CA"))), "record.too_short"),
    "two residues": (pdb(peptide("MK")), "record.too_short"),
    "no CA": (pdb([a for a in peptide("MKTAY") if a.name != "CA"]), "record.no_ca"),
    "water": (pdb(residue("HOH", 1, atoms=("O",), het=True)), "record.not_protein"),
    "header alone": ("HEADER    HYDROLASE\n" + SEQRES.format("A") + "END\n", "record.no_atoms"),
    "data alone": ("data_1ABC\n_cell.length_a 10\n", "record.no_atoms"),
    "cut line": (pdb(peptide("MKT"))[:-60], "record.bad_structure"),
    "cut row": (mmcif(peptide("MKT"))[:-40], "record.bad_structure"),
}


@pytest.mark.parametrize(("text", "code"), FAULTS.values(), ids=FAULTS)
def test_a_file_that_gives_no_chain_is_one_failure_with_its_name(read, text, code):
    records, (failure,), passed = read(text, "odd.pdb")
    assert (records, passed) == ([], [])
    assert (failure.code, failure.id, failure.number) == (code, "odd", 0)
    assert failure.source.endswith("odd.pdb")


def test_without_a_place_for_failures_the_first_one_raises(tmp_path):
    (tmp_path / "a.pdb").write_text(pdb(peptide("MKT")))
    (tmp_path / "b.pdb").write_text("")
    found = read_structures([tmp_path / "a.pdb", tmp_path / "b.pdb"])
    assert next(found).chain.sequence == "MKT"
    with pytest.raises(InputError) as caught:
        next(found)
    assert caught.value.code == "input.empty"


def test_a_misplaced_charge_column_is_not_looked_at(read):
    lines = pdb(peptide("MKT")).splitlines()
    text = "\n".join(line[:72] + "A1   C03" if line.startswith("ATOM") else line for line in lines)
    assert only(read(text)).chain.sequence == "MKT"


def test_every_block_with_atoms_is_an_entry_of_its_own(read):
    text = mmcif(peptide("MKT"), name="one") + "data_none\n_x.y 1\n"
    text += mmcif(peptide("AYV"), name="two")
    records, _, _ = read(text, "many.cif")
    assert [(r.chain.id, r.chain.sequence) for r in records] == [("one", "MKT"), ("two", "AYV")]


@pytest.mark.parametrize("count", [12_000, pytest.param(50_000, marks=pytest.mark.full)])
def test_a_chain_may_be_of_any_length(read, count):
    row = mmcif(residue("ALA", 1, atoms=("CA",)))
    head, row = row[: row.index("ATOM ")], row[row.index("ATOM ") :].replace("#\n", "")
    assert " 1 ALA A CA" in row
    rows = (row.replace(" 1 ALA A CA", f" {number} ALA A CA") for number in range(1, count + 1))
    record = only(read(head + "".join(rows), "long.cif"))
    assert record.chain.sequence == "A" * count
