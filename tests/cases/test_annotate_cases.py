"""Inputs that users bring to ``annotate`` and ``data go build``."""

from __future__ import annotations

import pytest

from tests.support.cases import Case, copied
from tests.support.inprocess import run_here

BY = "annotate --go n01_query.fasta --neighbours n01_ref.h5 --top-k 2 --format tsv --annotations"
#: What the near relative says of the query: nothing of the text alone.
FOUND = ("query\tGO:0003824\t", "text+neighbours\tsp|Q00001|NEAR_TEST")

READ = [
    Case("f02-skip", f"{BY} f02_broken_line.gaf --on-error skip", said=("line 4", *FOUND)),
    Case("t01", f"{BY} t01_topgo.map", said=FOUND),
    Case("t02", f"{BY} t02_goatools.assoc", said=FOUND),
    Case("t03", f"{BY} t03_blast2go.annot", said=FOUND),
    Case("t05", f"{BY} t05_uniprot2.tsv", said=FOUND),
    Case("t06", f"{BY} t06_interproscan.tsv", said=FOUND),
    Case("t08", f"{BY} t08.gpad", said=FOUND),
    Case("t09", f"{BY} t09.gpa", said=FOUND),
    Case("t11", f"{BY} t11.csv", said=FOUND),
    Case("t12", f"{BY} t12_space.txt", said=FOUND),
    Case("t14", f"{BY} t14_header.tsv", said=FOUND),
    Case("t16", f"{BY} t16_lower.tsv", said=FOUND),
    Case("f01", f"{BY} f01_gaf20_16col.gaf", said=FOUND),
    Case("f04", f"{BY} f04_noheader.gaf", said=("GAF 2.1", *FOUND)),
    Case("f08", f"{BY} f08_lower_not.gaf", said=("Q00001 GO:0003920", *FOUND)),
    Case("f09", f"{BY} f09_not_ancestor.gaf", said=("Q00001 GO:0016491", *FOUND)),
    Case("f10", f"{BY} f10_contributes.gaf --top-k 40", said=("query\tGO:0005829\t", *FOUND)),
    Case(
        "v04",
        "annotate n01_query.fasta --vocab v04_hpo.tsv --top-k 2 --format tsv",
        said=("HP:0001250\tSeizure", "HP:0000118\tPhenotypic abnormality"),
    ),
    Case("x01", "annotate --go x01_cds.fna --top-k 1 --format tsv", said=("DNA or RNA", "cds1")),
]

REFUSED = [
    Case("f02", f"{BY} f02_broken_line.gaf", 3, "input.bad_lines", ("line 4", "5 columns")),
    Case("f05", f"{BY} f05_nd_only.gaf", 3, "input.no_positive_annotations", ("1 of evidence ND",)),
    Case("f06", f"{BY} f06_not_only.gaf", 3, "input.no_positive_annotations", ("1 with NOT",)),
    Case("f11", f"{BY} f11_unknown_code.gaf", 3, "input.bad_lines", ("line 2", "'XYZ'")),
    Case("o01", f"{BY} o01_obsolete.tsv", 3, "input.other_release", ("4 GO ids",)),
    Case("r04", f"{BY} r04_own_cafa.txt", 3, "input.scored_annotations", ("line 1", "CAFA")),
    Case("t17", f"{BY} t17_cafa3col.tsv", 3, "input.scored_annotations", ("line 1", "awk ")),
    Case("t18", f"{BY} t18_first_line_lost.tsv", 3, "input.bad_lines", ("line 1", "'0003920'")),
    Case("v03", "annotate n01_query.fasta --vocab v03_empty.txt", 3, "input.empty"),
    Case("c05", "data go build c05_html.obo -o x", 4, "model.other_format", ("HTML",)),
    Case("c06", "data go build c06_hpo.obo -o x", 4, "model.not_go"),
    Case("c07", "data go build c07_go.owl -o x", 4, "model.other_format", ("XML",)),
    Case("c08", "data go build c08_go.json -o x", 4, "model.other_format", ("JSON",)),
    Case("x02", "annotate --go x02_aln.fasta", 3, "input.bad_records", ("residue 4", "sed ")),
    Case("x03", "annotate --go x03_stop.fasta", 3, "input.stop_inside", ("residue 14",)),
    Case("x04", "annotate --go x04_empty.fasta", 3, "input.empty"),
    Case("x05", "annotate --go x05_emptyrec.fasta", 3, "input.no_sequence", ("record 1 (a)",)),
    Case("x06", "annotate --go x06_dupid.fasta", 3, "input.duplicate_id", ("record 2 (a)",)),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = copied("annotate", tmp_path_factory.mktemp("cases"))
    done = run_here("-q", "embed", "n01_ref.fasta", cwd=folder)
    assert done.rc == 0, done.err
    return folder


@pytest.mark.full(but="f02-skip")
@pytest.mark.parametrize("case", READ, ids=lambda case: case.id)
def test_annotate(case, folder):
    case.check(folder)


@pytest.mark.full(but="t18")
@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_what_cannot_be_annotated_is_refused(case, folder):
    case.check(folder)


@pytest.mark.full
def test_a_line_with_not_is_no_vote(folder):
    """Case n01: with NOT the answer is that of no line at all, without it the term is found."""

    def answer(name):
        done = run_here(*BY.split(), f"n01_{name}.gaf", "--top-k", "40", cwd=folder)
        assert done.rc == 0, done.err
        return done

    denied = answer("not")
    assert "Q00001 GO:0003920" in denied.err
    assert denied.out == answer("none").out != answer("pos").out


@pytest.mark.full
def test_a_compressed_release_with_crlf(folder):
    Case("c09", "data go build c09_crlf.obo.gz -o go09", said=("247 terms", "2022-07-01")).check(
        folder
    )
