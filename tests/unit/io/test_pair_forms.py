"""Interaction files as STRING, BioGRID, IntAct and spreadsheets write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from protclip_core.errors import InputError
from protclip_core.io.pairs.lists import label_of, read_pair_blocks
from protclip_core.io.pairs.table import read_pairs
from protclip_core.io.protein_names import ProteinNames

CASES = Path(__file__).parents[2] / "data/cases/pairs"
IDS = ("9606.ENSP00000000233", "9606.ENSP00000250971", "9606.ENSP00000019317")


def whole(path, **options):
    (block,) = read_pair_blocks(path, **options)
    assert block.faults == {}
    return block


def written(tmp_path, lines, end="\n"):
    path = tmp_path / "x.txt"
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


def pairs_of(block):
    return list(zip(block.a, block.b, strict=True))


def test_a_single_column_of_zeros_and_ones_is_the_label(tmp_path, caplog):
    block = whole(CASES / "c01_label_column_class.tsv")
    assert [label_of(cell) for cell in block.labels].count(0) == 60 and len(block) == 120
    assert caplog.records == []  # a column of that name is meant
    block = whole(written(tmp_path, ["protein1\tprotein2\tverdict", "P1\tP2\t1", "P1\tP3\t0"]))
    assert [label_of(cell) for cell in block.labels] == [1, 0]
    assert "'verdict' is taken as the label" in caplog.text


@pytest.mark.parametrize(
    ("columns", "rows", "labels", "told"),
    [
        # Beside other columns, the only one of 1 and 0 is the label.
        (("source", "is_ppi"), (("x", "1"), ("y", "0")), ["1", "0"], "'is_ppi' is taken as"),
        (("is_ppi", "split"), (("1.0", "train"), ("0.0", "test")), ["1.0", "0.0"], "'is_ppi'"),
        (("count", "is_ppi"), (("1", "1"), ("3", "0")), ["1", "0"], "'is_ppi' is taken as"),
        (("flag", "ppi"), (("0", "1"), ("0", "0")), ["1", "0"], "'ppi' is taken as"),
        (("verdict",), (("0",), ("0",)), ["0", "0"], "'verdict' is taken as"),
        # Where it could be several, or the cells are 0 alone, none is chosen in silence.
        (("db", "text"), (("1", "0"), ("0", "1")), None, "'db', 'text'"),
        (("n", "flag"), (("7", "0"), ("8", "0")), None, "'flag'"),
        # Nothing to say: a known label, numbers, or types of their own columns.
        (("x", "label"), (("1", "0"), ("0", "1")), ["0", "1"], ""),
        (("n", "m"), (("7", "2"), ("8", "1")), None, ""),
        (("binding", "is_new"), (("1", "0"), ("0", "1")), None, ""),
    ],
)
def test_a_column_of_zeros_and_ones_among_others(tmp_path, caplog, columns, rows, labels, told):
    lines = ["\t".join(("protein1", "protein2", *columns))]
    lines += ["\t".join(("P1", f"P{place}", *row)) for place, row in enumerate(rows, 2)]
    assert whole(written(tmp_path, lines)).labels == labels
    assert (told in caplog.text) if told else caplog.records == []
    caplog.clear()
    whole(written(tmp_path, lines), names_only=True)
    assert caplog.records == []


def test_the_column_of_labels_is_found_however_late_its_first_zero_comes(tmp_path):
    lines = ["protein1\tprotein2\tsource\tis_ppi"]
    lines += [f"P{n}\tQ{n}\tx\t{int(n < 3000)}" for n in range(4000)]
    block = whole(written(tmp_path, lines))
    assert block.labels.count("0") == 1000 and block.lines == list(range(2, 4002))


@pytest.mark.parametrize("count", [50, 200_000])
def test_many_columns_of_zeros_and_ones_take_one_short_line_at_most(tmp_path, caplog, count):
    lines = ["\t".join(["protein1", "protein2", *(f"c{n}" for n in range(count))])]
    lines += ["\t".join(["a", "b", *"1" * count]), "\t".join(["a", "c", *"0" * count])]
    assert whole(written(tmp_path, lines)).labels is None
    assert len(caplog.text) < 400 and ("'c0'" in caplog.text) is (count == 50)


def test_biogrid_names_a_protein_in_many_columns(caplog):
    path = CASES / "c09_biogrid_tab3.txt"
    block = whole(path)
    assert len(block) == 40 and block.labels is None
    assert pairs_of(block)[:2] == [("P10000", "P10001"), ("P10000", "P10002")]
    assert "20 genetic interactions are left out" in caplog.text
    for known in ("GEN", "GEM"), ("6", "7"):
        names = whole(path, is_known=lambda name, known=known: name.startswith(known))
        assert all(name.startswith(known) for name in (*names.a, *names.b))
    assert [(one.protein_a, one.protein_b) for one in read_pairs(path)] == pairs_of(block)


@pytest.mark.parametrize("has_header", [True, False])
def test_psi_mi_tab(tmp_path, has_header, caplog):
    lines = (CASES / "c07_intact_mitab25.txt").read_text().splitlines()
    block = whole(written(tmp_path, lines if has_header else lines[1:]))
    assert len(block) == 60
    assert pairs_of(block)[:2] == [("P10000", "P10001"), ("P10000", "P10002")]
    better = [lines[0], lines[1].replace("miscore:0.56", "miscore:0.95"), *lines[2:]]
    assert len(whole(written(tmp_path, better), least_score=0.9)) == 1
    # Version 2.7 has 42 columns; the 36th says that no interaction was found.
    cells = lines[1].split("\t") + ["-"] * 27
    cells[0] = 'chebi:"CHEBI:15996"(GTP)|uniprotkb:P10000-2'
    cells[35] = "false"
    against = [*cells[:35], "true", *cells[36:]]
    genetic = [*cells[:11], 'psi-mi:"MI:0208"(genetic interaction)', *cells[12:]]
    rows = ["\t".join(row) for row in (cells, against, genetic)]
    assert pairs_of(whole(written(tmp_path, rows))) == [("P10000-2", "P10001")]
    assert "1 pairs that were found not to interact are left out" in caplog.text
    assert "1 genetic interactions are left out" in caplog.text


def test_links_of_string_with_and_without_a_header(tmp_path, caplog):
    a, b, c = IDS
    rows = [f"{a} {b} 900", f"{a} {c} 400"]
    for lines in (["protein1 protein2 combined_score", *rows], rows):
        path = written(tmp_path, lines)
        assert pairs_of(whole(path)) == [(a, b), (a, c)]
        assert whole(path).labels is None
        assert pairs_of(whole(path, least_score=700)) == [(a, b)]
    assert "column 3 holds scores" in caplog.text
    assert "1 pairs with a score below 700 are left out" in caplog.text
    detailed = [f"{a} {b} 0 0 0 0 0 0 900 900", f"{a} {c} 0 0 0 0 0 800 0 400"]
    header = "protein1 protein2 neighborhood fusion cooccurence coexpression experimental "
    for lines in ([header + "database textmining combined_score", *detailed], detailed):
        path = written(tmp_path, lines)
        assert whole(path).labels is None
        assert pairs_of(whole(path, least_score=700)) == [(a, b)]


def test_actions_of_string_with_and_without_a_header(tmp_path):
    a, b, c = IDS
    rows = [f"{a}\t{b}\tactivation\tactivation\tt\tt\t900", f"{a}\t{c}\tbinding\t\tf\tf\t150"]
    header = "item_id_a\titem_id_b\tmode\taction\tis_directional\ta_is_acting\tscore"
    for lines in ([header, *rows], rows):
        block = whole(written(tmp_path, lines))
        assert block.types == [("activation",), ("binding",)] and block.labels is None
        assert pairs_of(whole(written(tmp_path, lines), least_score=200)) == [(a, b)]


def test_a_score_that_is_missing_or_no_number_is_a_fault(tmp_path):
    path = written(tmp_path, ["protein1,protein2,score", "P1,P2,0.9", "P1,P3,", "P1,P4,high"])
    (block,) = read_pair_blocks(path, least_score=0.5)
    assert pairs_of(block) == [("P1", "P2"), ("P1", "P3"), ("P1", "P4")]
    assert sorted(block.faults) == [1, 2]
    with pytest.raises(InputError) as error:
        list(read_pair_blocks(written(tmp_path, ["P1\tP2", "P1\tP3"]), least_score=0.5))
    assert error.value.code == "input.no_scores"


def test_a_label_and_a_score_without_a_header(tmp_path):
    block = whole(written(tmp_path, ["P1\tP2\t1\t0.9", "P1\tP3\t0\t0.1"]))
    assert [label_of(cell) for cell in block.labels] == [1, 0]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "lines",
    [
        ['"P1"\t"P2"\t"1"', '"P1"\t"P3"\t"0"'],
        ['"P1";"P2";"1"', '"P1";"P3";"0"'],
        ['"protein1","protein2","label"', '"P1","P2",1', "P1,P3,0"],
        ["note,protein1,protein2,label", '"a, b",P1,P2,1', '"c",P1,P3,0'],
    ],
)
def test_quotes_and_line_ends(tmp_path, lines, end):
    block = whole(written(tmp_path, lines, end))
    assert pairs_of(block) == [("P1", "P2"), ("P1", "P3")]
    assert [label_of(cell) for cell in block.labels] == [1, 0]


def test_sequences_in_the_place_of_names(tmp_path):
    path = CASES / "c12_sequences_instead_of_names.csv"
    with pytest.raises(InputError) as error:
        list(read_pair_blocks(path))
    assert (error.value.code, error.value.where) == ("input.sequences_for_names", f"{path}:line 2")
    sequence = "MKTAYIAKQRQISFVKSHFSRQLEERLG"
    with pytest.raises(InputError) as error:
        list(read_pair_blocks(written(tmp_path, [f"{sequence}\t{sequence[::-1]}\t1"])))
    assert error.value.code == "input.sequences_for_names"


def test_the_taxon_of_string_may_be_on_one_side_only():
    bare = ProteinNames(["ENSP00000000233", "sp|P1|X_HUMAN"])
    full = ProteinNames(["9606.ENSP00000000233", "10090.ENSP00000000233", "4932.YAL001C"])
    assert bare.find("9606.ENSP00000000233").id == "ENSP00000000233"
    assert bare.find("9606.P1").id == "sp|P1|X_HUMAN"
    assert full.find("YAL001C").id == "4932.YAL001C"
    assert full.find("9606.ENSP00000000233").id == "9606.ENSP00000000233"
    assert full.find("ENSP00000000233").id is None  # fits two
    assert bare.find("9606.Q9").id is None
    path = CASES / "c06_string_prefix_pairs.txt"
    names = ProteinNames(
        line[1:].split()[0]
        for line in (CASES / "c06_string_prefix.fa").read_text().splitlines()
        if line.startswith(">")
    )
    block = whole(path, is_known=names.__contains__)
    assert len(block) == 15 and all(name in names for name in (*block.a, *block.b))
