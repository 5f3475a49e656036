"""Files of variants: forms, columns, faults; every row is answered."""

from __future__ import annotations

import bz2
import gzip
import io
import logging
import random

import pytest

from protclip_core.errors import InputError, UsageError
from protclip_core.io.protein_names import ProteinNames
from protclip_core.io.variants.files import read_variants


@pytest.fixture
def read(tmp_path):
    def read(data, **options):
        path = tmp_path / "v.tsv"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return list(read_variants(path, **options))

    return read


@pytest.fixture
def told(read):
    """Protein, and variant or reason, of each row."""

    def told(data, **options):
        rows = read(data, **options)
        assert [row.number for row in rows] == list(range(1, len(rows) + 1))
        assert all((row.variant is None) == bool(row.reason) for row in rows)
        return [(row.protein, str(row.variant) if row.variant else row.reason) for row in rows]

    return told


@pytest.mark.parametrize(
    "data",
    [
        "protein\tvariant\nP1\tA42G\nP2\tA42G:L50P\n",
        'Variant,Protein ID\nA42G,P1\n"A42G,L50P",P2\n',
        'mutant;accession\np.Ala42Gly;P1\n"A42G;L50P";P2\n',
        "protein,variant\nP1,A42G\nP2,A42G:L50P\n",
        "protein,variant\nP1,\tA42G\nP2,A42G:L50P\t\n",
        "P1\tA42G\nP2\tA42G,L50P\n",
        "A42G\tP1\nA42G:L50P\tP2\n",
        "P1,A42G\nP2,A42G:L50P\n",
        "P1:A42G\nP2:p.[Ala42Gly;Leu50Pro]\n",
        "P1 A42G\nP2 A42G:L50P\n",
        "HGVSp\nP1:p.Ala42Gly\nP2:p.[Ala42Gly;Leu50Pro]\n",
        "\ufeffprotein\tvariant\r\n\r\nP1\tA42G\r\nP2\tA42G/L50P\r\n",
        "protein\tvariant\rP1\tA42G\rP2\tA42G/L50P",
        "## made by hand\n#protein\tmut_info\tmutation\nP1\tx\tA42G\nP2\ty\tA42G:L50P\n",
        "subject\twhat\tnote\nP1\tA42G\tx\nP2\tA42G:L50P\ty\n",
        '{"protein_id": "P1", "variant": "A42G"}\n{"protein": "P2", "mutant": ["A42G", "L50P"]}\n',
        '"protein"\t"variant"\n"P1"\t"A42G"\n"P2"\t"A42G:L50P"\n',
        "gene\tensp\thgvs_p\nG\tP1\tP1.2:p.A42G\nG\tP2\tP2.2:p.[A42G;L50P]\n",
    ],
)
def test_the_same_two_rows_in_many_forms(told, data):
    proteins = ProteinNames(["P1", "P2"])
    assert told(data, proteins=proteins) == [("P1", "A42G"), ("P2", "A42G:L50P")]
    for packed in (gzip.compress(data.encode()), bz2.compress(data.encode())):
        assert told(packed, proteins=proteins) == [("P1", "A42G"), ("P2", "A42G:L50P")]


def test_lists_of_one_protein(told):
    assert told("A42G\nA42G,L50P\nwt\n") == [(None, "A42G"), (None, "A42G:L50P"), (None, "WT")]
    assert told("\ufeffA42G\n") == [(None, "A42G")]
    assert told("mutant\nA42G\n") == [(None, "A42G")]
    assert told("A42G\t0.53\nL50P\t-1.2e-3\n") == [(None, "A42G"), (None, "L50P")]
    assert told("what,score\nA42G,0.53\nL50P,nan\n") == [(None, "A42G"), (None, "L50P")]


def test_standard_input(monkeypatch):
    class Stdin:
        buffer = io.BufferedReader(io.BytesIO(b"P1\tA42G\n"))

    monkeypatch.setattr("sys.stdin", Stdin)
    (row,) = read_variants("-")
    assert (row.protein, str(row.variant), row.where) == ("P1", "A42G", "<stdin>:line 1")
    assert not Stdin.buffer.closed


def test_proteingym(read):
    rows = read(
        "mutant,mutated_sequence,DMS_score,DMS_score_bin\nA2G:K3R,MGRQ,0.5,1\nQ4=,MAKQ,0,0\n"
    )
    assert [str(row.variant) for row in rows] == ["A2G:K3R", "Q4="]
    assert rows[0].mutated == "MGRQ"
    assert rows[0].extra == {"DMS_score": "0.5", "DMS_score_bin": "1"}
    assert (rows[1].line, rows[1].number, rows[1].text) == (3, 2, "Q4=")


def test_whole_sequences_are_compared_with_the_wild_type(told):
    indels = "mutant,mutated_sequence,DMS_score\nMAKKQ,MAKKQ,0.5\nMAQ,MAQ,1\nMAKQ*,MAKQ,1\n"
    sequences = {None: "MAKQ", "P1": "MAKQVL"}
    assert told(indels, wild_types=sequences.get) == [
        (None, "K3dup"),
        (None, "K3del"),
        (None, "WT"),
    ]
    reason = "gives a mutated sequence and no wild type to compare it with"
    assert told(indels) == [(None, reason)] * 3
    table = "protein\tmutated_sequence\nP1\tMAKQVP\nP2\tMAKQVP\n"
    assert told(table, wild_types=sequences.get) == [("P1", "L6P"), ("P2", reason)]


def test_pairs_of_sequences_in_json_lines(read):
    rows = read(
        '{"original_sequence": "MAKQ", "mutated_sequence": "mgkq*", "score": 1.5, "n": null}\n'
        '{"original_sequence": "MAKQ", "mutated_sequence": "MAKQ"}\n'
        '{"original_sequence": "MA1KQ", "mutated_sequence": "MAKQ"}\n'
        '{"id": "P1", "original_sequence": "MAKQ", "mutated_sequence": "MK", "variant": "A2G"}\n'
        '{"original_sequence": "MAKQ"}\n'
        '[1]\n{"x": \n'
        '{"variant": "A\\ud8002G"}\n'
    )  # fmt: skip
    assert [str(row.variant or row.reason) for row in rows] == [
        "A2G",
        "WT",
        "the wild-type sequence '1' at position 3 is not a residue",
        "A2G",
        "has neither a variant nor a mutated sequence",
        "'[1]' is not a JSON object",
        "'{\"x\": ' is not a JSON object",
        "'A\\ud8002G' is not UTF-8",
    ]
    assert rows[0].extra == {"score": "1.5", "n": ""}
    assert (rows[0].wild_type, rows[0].mutated, rows[3].protein) == ("MAKQ", "MGKQ", "P1")


def test_every_bad_row_is_answered_and_its_neighbours_are_read(read):
    rows = read(
        b"protein,variant,note\nP1,A42G,\xe9\nP\xe9,A42G,\nP1,A\xe92G,\nP1\nP1,A12,\nP1,A12-,\n"
        b'P1,"A42G,\nP1,A42G,x,y\nP1,,\n#P1,A1G,\n,A42G,\nP1,A42G,"a ""b"", c"\nP1,A4\x002G,\n'
    )
    assert [str(row.variant or row.reason) for row in rows] == [
        "A42G",
        "'A42G' is not UTF-8",
        "'A\\xe92G' is not UTF-8",
        "has 1 columns, and its variant should be in column 2",
        "'A12' names no new residue; write A42G, A42= for synonymous or A42del",
        "'A12-' ends in '-'; write A42del for a deletion",
        "'P1,\"A42G,' has a quote that is not closed",
        "has 4 columns, the header 3; quote what holds a separator",
        "'' is empty; write WT for the wild type",
        "A42G",
        "A42G",
        "'A4\\x002G' is not a variant; write A42G, p.Ala42Gly, K23del or A42G:L50P",
    ]
    assert rows[0].extra == {"note": "\\xe9"}
    assert rows[1].protein == "P\\xe9"
    assert rows[9].protein is None
    assert rows[10].extra == {"note": 'a "b", c'}
    assert [row.line for row in rows] == [2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14]


def test_a_list_of_nothing_but_bad_rows_is_answered_too(told):
    assert [reason for _, reason in told("A12\nfoo\n")] == [
        "'A12' names no new residue; write A42G, A42= for synonymous or A42del",
        "'foo' is not a variant; write A42G, p.Ala42Gly, K23del or A42G:L50P",
    ]
    assert told("P1\tA12-\n") == [("P1", "'A12-' ends in '-'; write A42del for a deletion")]


def test_what_was_detected_is_logged(read, caplog):
    caplog.set_level(logging.INFO)
    read("Entry\tscore\tHGVS.p\n# a note\nP1\t1\tp.Ala42Gly\n")
    assert [message.split(": ", 1)[1] for message in caplog.messages] == [
        "tab-separated table with a header: variant in column 'HGVS.p', protein in column 'Entry'",
        "passed over 1 line starting with '#'",
    ]
    caplog.clear()
    read("what,score\nA42G,0.53\n")
    assert caplog.records[0].levelname == "WARNING"
    assert caplog.messages[0].endswith("took its first line for a header: 'what,score'")
    caplog.clear()
    read("P1,A42G\n")
    assert caplog.messages[0].endswith(
        "CSV without a header: variant in column 2, protein in column 1"
    )


def test_columns_are_told_by_name_and_by_content(read):
    proteins = ProteinNames(["sp|P1|A_HUMAN", "P2.1"])
    data = "id,gene,target,mutation,hgvs_pro\n1,G,P1,x,A42G\n2,G,P2,y,A43G\n"
    assert [row.protein for row in read(data, proteins=proteins)] == ["P1", "P2"]
    weak = "gene\thgvs_p\nG\tP1:p.A42G\nG\tP2:p.A43G\n"
    assert [row.protein for row in read(weak)] == ["P1", "P2"]
    unknown = "no,where,what\n1,P1,A42G\n2,P2.3,A43G\n"
    assert [row.protein for row in read(unknown, proteins=proteins)] == ["P1", "P2.3"]
    assert [row.protein for row in read(unknown)] == [None, None]
    scores = "accession,hgvs_pro,score\nurn:mavedb:1#1,p.Ala42Gly,1\nurn:mavedb:1#2,p.=,1\n"
    assert [(row.protein, str(row.variant)) for row in read(scores)] == [
        (None, "A42G"),
        (None, "WT"),
    ]


def test_columns_that_the_caller_names(told):
    data = "a\tb\tc\nP1\tA1G\tL5P\n"
    assert told(data, variant_column="b", protein_column="a") == [("P1", "A1G")]
    assert told(data, variant_column="3", protein_column="1") == [("P1", "L5P")]
    for column in ("d", "4", "0"):
        with pytest.raises(UsageError, match="no column"):
            told(data, variant_column=column)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty or blank"),
        (b"\n \r\n", "is empty or blank"),
        (b"protein\tvariant\n", "has a header and no rows"),
        (b"# A1G\n", "has only comments"),
        (b"a\tb\tc\n1\t2\t3\n", "no column holds variants"),
        (b">P1\nMAKQ\n", "is not a file of variants but FASTA"),
        (b"<!doctype html><html>", "is not a file of variants but an HTML page"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        ("variant\nA1G\n".encode("utf-16"), "is UTF-16 text"),
        (b'[{"variant": "A1G"}]', "is a JSON array, not JSON Lines"),
        pytest.param(gzip.compress(b"A42G\n" * 5000)[:-9], "end early", id="cut"),
    ],
)
def test_files_that_are_refused_as_a_whole(read, data, said):
    with pytest.raises(InputError, match=said) as caught:
        read(data)
    assert "v.tsv" in caught.value.where


@pytest.mark.full
def test_random_bytes_end_in_rows_or_in_an_input_error(read):
    rng = random.Random(6)
    pieces = [
        *(bytes([byte]) for byte in b'\t,"\n\r\xff\0{#: ;1'),
        b"A42G", b"protein", b"variant", b"##fileformat=VCF\n", b"P1", b"\xef\xbb\xbf",
    ]  # fmt: skip
    ends = set()
    for _ in range(1500):
        data = b"".join(rng.choice(pieces) for _ in range(rng.randint(1, 25)))
        try:
            rows = read(data)
        except InputError:
            ends.add("refused")
            continue
        ends.add("read")
        for row in rows:
            assert (row.variant is None) == bool(row.reason)
            row.text.encode()
            row.reason.encode()
            assert row.reason.isprintable()
    assert ends == {"refused", "read"}


def test_names_of_proteins():
    names = ProteinNames(["sp|P04637|P53_HUMAN", "ENSP0001.4", "NP_1.2", "NP_1.3", "x|S1|y", "S1"])
    assert names.find("P53_HUMAN").id == "sp|P04637|P53_HUMAN"
    assert names.find("tr|P04637|OTHER").id == "sp|P04637|P53_HUMAN"
    assert names.find("P04637.2") == names.find("P04637")
    assert names.find("ENSP0001").id == "ENSP0001.4"
    assert names.find("ENSP0001.5").id == "ENSP0001.4"
    assert names.find("ENSP0001.5").version_differs
    assert not names.find("ENSP0001.4").version_differs
    assert names.find("NP_1.3").id == "NP_1.3"
    assert "fits 2 proteins of the FASTA file: NP_1.2, NP_1.3" in names.find("NP_1.9").reason
    assert names.find("S1").id == "S1"
    assert names.find("p53_human").id is None
    assert names.find("").reason == "no protein '' in the FASTA file"
    assert ProteinNames(["a"]).only() == "a"
    assert names.only() is None
