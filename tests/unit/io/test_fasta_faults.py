"""Files that people give as FASTA: each is named by a code, with a way out that works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from protclip_core.errors import InputError
from protclip_core.io.fasta import InputSummary, read_fasta
from protclip_core.records import RecordFlag

CASES = Path(__file__).parents[2] / "data/cases/fasta"


def both(path):
    failures = []
    records = [(one.id, one.sequence) for one in read_fasta(path, on_failure=failures.append)]
    return records, [(one.id, one.code.removeprefix("record.")) for one in failures]


def written(tmp_path, text, name="x.fa"):
    path = tmp_path / name
    path.write_text(text)
    return path


def refusal(path):
    with pytest.raises(InputError) as error:
        list(read_fasta(path))
    return error.value


def commands_of(hint):
    """Give what a command of awk prints, and from which file to which."""
    found = re.search(r"awk (?:-F'(.+?)' )?'(NR > 1 )?\{(.*)\}' (\S+) > (\S+)$", hint)
    assert found, hint
    return found.groups()


@pytest.mark.parametrize(
    ("case", "code", "command"),
    [
        ("08_bare_list.txt", "sequence_list", None),
        ("09_table.csv", "table", (",", "NR > 1 ", 'print ">" $1; print $2')),
        ("09_table.tsv", "table", (r"\t", "NR > 1 ", 'print ">" $1; print $2')),
        ("30_genes.gff3", "not_fasta", None),
    ],
)
def test_a_file_of_another_kind(case, code, command):
    path = CASES / case
    error = refusal(path)
    assert error.code == f"input.{code}"
    assert error.where == f"{path}:line 1"
    if command is not None:
        *said, source, target = commands_of(error.hint)
        assert tuple(said) == command
        assert (source, target) == (str(path), str(path.with_suffix(".fa")))


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("MKTAYIAKQR;p1\nMKSAYIAK;p2\n", (";", None, 'print ">" $2; print $1')),
        ("Entry\tOrganism\tSequence\nP1\tHuman\tMKTAYIAKQR\n", (r"\t", "NR > 1 ", "$1|$3")),
        ('"id","seq"\n"p1","MKTAYIAKQR"\n', (",", "NR > 1 ", 'gsub(/"/, ""); |$1|$2')),
        ("p1 MKTAYIAKQR\np2 MKSAYIAK\n", (None, None, "$1|$2")),
    ],
)
def test_a_table_names_its_own_columns(tmp_path, text, command):
    error = refusal(written(tmp_path, text, "t.csv"))
    assert error.code == "input.table"
    sign, skips, row, _, _ = commands_of(error.hint)
    assert (sign, skips) == command[:2]
    for part in command[2].split("|"):
        assert part in row


def test_a_list_is_not_a_wrapped_sequence(tmp_path):
    lines = ["MKTAYIAKQR" * 6] * 3
    assert refusal(written(tmp_path, "\n".join([*lines, "MK"]))).code == "input.not_fasta"
    assert refusal(written(tmp_path, "\n".join([*lines, lines[0] + "M"]))).code == (
        "input.sequence_list"
    )
    assert refusal(written(tmp_path, "AAMLK\nGQLTDGAV\n")).code == "input.sequence_list"


def test_names_alone_have_no_sequences(tmp_path):
    assert refusal(written(tmp_path, "P69905\nP68871\nsp|P02042|HBD\n")).code == "input.names_only"
    assert refusal(written(tmp_path, "1abc_A\n2xyz_B\n")).code == "input.names_only"


@pytest.mark.parametrize(
    ("case", "records", "failures"),
    [
        (
            "11_gffread_dots.faa",
            [("g2.t1", "MKTAYIAKQRQISFVKSHFSRQ")],
            [("g1.t1", "stop_or_gap")],
        ),
        (
            "12_modified_peptides.fasta",
            [("pep2", "GQLTDMGAV")],
            [(f"pep{number}", "modification") for number in (1, 3, 4, 5, 6)],
        ),
        ("14_chains.fasta", [], [(f"ab{number}", "several_chains") for number in (1, 2, 3)]),
        ("15_aligned.fasta", [], [("chainA", "gap"), ("chainB", "gap")]),
        (
            "15_hits.a3m",
            [("query", "MKTAYIAKQRQISFVKSHFSRQ")],
            [("hitA/3-20", "gap"), ("hitB", "gap")],
        ),
        (
            "34_pdb_seqres.txt",
            [("101m_A", "MVLSEGEWQLVL"), ("2xyz_B", "XXX")],
            [("100d_A", "nucleotides"), ("1abc_A", "nucleotides")],
        ),
    ],
)
def test_records_of_another_kind(case, records, failures):
    assert both(CASES / case) == (records, failures)


@pytest.mark.parametrize(
    ("sequence", "code"),
    [
        ("MetLysThrAla", "three_letter_code"),
        ("METLYSTHR", "three_letter_code"),
        ("PROPROPRO", "three_letter_code"),
        ("Met-Lys-Thr", "three_letter_code"),
        ("MET LYS THR\nALA GLY", "three_letter_code"),
        ("MKV:", "several_chains"),
        ("MKV//LLA", "several_chains"),
        ("Ac-MKVLA", "modification"),
        ("MKVLA-OH", "modification"),
        ("MK(+15.99)V", "modification"),
        ("H--KVLA-", "gap"),
        ("MK.V-LA", "gap"),
        ("MK.VLA.", "stop_or_gap"),
        ("MK?VLA", "bad_residue"),
    ],
)
def test_what_a_record_holds(tmp_path, sequence, code):
    assert both(written(tmp_path, f">a\n{sequence}\n")) == ([], [("a", code)])


@pytest.mark.parametrize("sequence", ["METLYS", "METLYSTHRK", "METLYSTHA", "ALAALAALAA", "ALA"])
def test_what_may_be_residues_is_read_as_residues(tmp_path, sequence):
    assert both(written(tmp_path, f">a\n{sequence}\n")) == ([("a", sequence)], [])


def test_a_stop_written_as_a_dot_is_taken_off_and_flagged(tmp_path):
    (record,) = read_fasta(written(tmp_path, ">a\nMKV.\n"))
    assert (record.sequence, record.flags) == ("MKV", RecordFlag.STOP_STRIPPED)


def test_nucleotides_are_refused_where_the_header_says_so_and_flagged_else(tmp_path):
    summary = InputSummary()
    text = ">a length:24\nACGTACGTACGTACGTACGTACGT\n>b\nACGT\n>c mol:protein length:4\nACGT\n"
    flags = [one.flags for one in read_fasta(written(tmp_path, text), summary=summary)]
    assert flags == [RecordFlag.NUCLEOTIDE_LIKE, RecordFlag.NONE, RecordFlag.NONE]
