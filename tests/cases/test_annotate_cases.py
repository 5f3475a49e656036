"""Inputs that users bring to ``annotate`` and ``data go build``."""

from __future__ import annotations

import gzip
import shutil
from importlib.resources import files

import pytest

from tests.support.cases import Case, copied
from tests.support.inprocess import run_here

BY = "annotate --go n01_query.fasta --neighbours n01_ref.h5 --top-k 2 --format tsv --annotations"
#: What the near relative says of the query: nothing of the text alone.
FOUND = ("query\tGO:0003824\t", "text+neighbours\tsp|Q00001|NEAR_TEST")

NONE, TWICE = "input.no_positive_annotations", "input.duplicate_id"

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
    Case(
        "k01",
        "embed k01_ref.fasta && annotate --go k01_query.fasta --specific --format tsv "
        "--neighbours k01_ref.h5 --annotations k01_ref.tsv",
        said=("5 of 5 proteins have no annotated relative", "Q9HBE4\tGO:0005515"),
        unsaid=("ribosom", "neighbours\tQ01855"),
    ),
    Case(
        "b01",
        "annotate --go b01_bacteria_nucleus.fasta --aspect CC --format tsv",
        said=("3 proteins not listed", "GO:0005737\tcytoplasm"),
        unsaid=("\tnucle", "organelle"),
    ),
    Case(
        "b01-not-told",  # a taxon that is not known to be of any kingdom
        "annotate --go b01_bacteria_nucleus.fasta --aspect CC --format tsv --taxon 9606",
        unsaid=("organelle",),  # the header is believed
    ),
    Case("f03", f"{BY} f03_bad_taxon.gaf", said=("line 2: 'taxon:1827A0A2K5HFP6'", *FOUND)),
    Case("f07", f"{BY} f07_iea_only.gaf", said=FOUND),
    Case("f07-all", f"{BY} f07_iea_only.gaf --evidence all", said=FOUND),
    Case("f03-experimental", f"{BY} f03_bad_taxon.gaf --evidence experimental", said=FOUND),
    Case(
        "g01",
        "annotate --go g01_ids.fasta --format gaf",
        said=("UniProtKB\tP12345\tX_Y\t", "taxon:9606"),
        unsaid=("\tsp|", "|X_Y\t"),
    ),
    Case(
        "g02",
        "annotate --go k01_query.fasta --format gaf",
        said=("GORULE:0000005",),
        unsaid=("\tGO:0005515\t", "\tGO:0005488\t"),
    ),
    Case(
        "r01",
        "annotate --go n01_ref.fasta --format topgo -o r01.topgo && " + f"{BY} r01.topgo",
        said=FOUND,
    ),
    Case("r02", f"annotate --go n01_ref.fasta -o r02.gaf && {BY} r02.gaf", said=FOUND),
    Case("r02-iea", f"{BY} r02.gaf --evidence electronic", said=FOUND),
    Case(
        "e01",
        "annotate --ec e01_nonenzymes.fasta --format tsv",
        unsaid=("P20484", "\t0.7", "\t0.8", "\t0.9"),
    ),
    Case(
        "e02",
        "annotate --keywords e02_keywords.fasta --format tsv",
        said=("Q9UBX2\tTransmembrane\t", "Q9UBX2\tHomeobox\t"),
        unsaid=("Disulfide",),
    ),
    Case(
        "s01",
        "annotate --go n01_query.fasta --slim s01_slim.txt --format tsv",
        said=("1 of 5 terms obsolete", "GO:0009405", "query\tGO:0005737\tcytoplasm"),
    ),
    Case(
        "sq01",
        "search example.h5 --query-file sq01_crlf.tsv --top-k 1",
        said=("q1\t1\tsp|P00533|EGFR_HUMAN", "q2\t1\t"),
    ),
    Case(
        "sq02",
        "search example.h5 --query-file sq02_dup.tsv --top-k 1",
        said=("kinase\t1\tsp|P00533|EGFR_HUMAN",),
    ),
    Case("q02", "search example.h5 --like P69905 --top-k 1", said=("sp|P68871|HBB_HUMAN",)),
    Case(
        "q02-plot",
        "annotate --go example.fasta --plot w.png --protein P99999 --top-k 3 --format tsv",
        said=("sp|P99999|CYC_HUMAN\tGO:",),
    ),
    Case("q05", "search example.h5 'xxxxqqq zzz' --top-k 1", said=("no word of it is known",)),
    Case("q05-not", "search example.h5 'not a kinase' --top-k 1", said=("negation",)),
    Case("q05-word", "search example.h5 kinase --top-k 1", unsaid=("warning",)),
    Case("q05-label", "annotate n01_query.fasta --label 'qqqx zzz'", said=("no word of it",)),
    Case(
        "v02",
        "annotate n01_query.fasta --vocab v02_vocab.csv --format tsv",
        said=("query\ta\tzinc transporter", "query\tb\tkinase"),
    ),
    Case(
        "v05",
        "annotate n01_query.fasta --vocab v05_comment.txt --format tsv",
        said=("1 line that begins with #", "query\tzinc transporter"),
        unsaid=("# comment\t",),
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
    Case("f07", f"{BY} f07_iea_only.gaf --evidence experimental", 3, NONE, ("1 of evidence IEA",)),
    Case("f07-curated", f"{BY} f07_iea_only.gaf --evidence curated", 3, NONE, ("IEA",)),
    Case("f07-table", f"{BY} t14_header.tsv --evidence curated", 3, "input.no_evidence"),
    Case("f07-word", f"{BY} f07_iea_only.gaf --evidence best", 2, "usage.unknown_evidence"),
    Case(
        "r03",
        f"annotate --go n01_ref.fasta -o r03.tsv && {BY} r03.tsv",
        3,
        "input.scored_annotations",
        ("line 1", "column 6"),
    ),
    Case(
        "r05",
        f"annotate --go n01_ref.fasta -o r05.jsonl && {BY} r05.jsonl",
        3,
        "input.scored_annotations",
        ("JSON",),
    ),
    Case("r06", f"{BY} r06_no_header.txt", 3, "input.scored_annotations", ("column 3",)),
    Case("t13", f"{BY} t13_first_line.tsv", 3, "input.bad_lines", ("line 1", "'hydrolase'")),
    Case("t15", f"{BY} t15_first_line.csv", 3, "input.bad_lines", ("line 1", "'GO_0003920'")),
    Case("q03", "search n01_query.fasta kinase", 4, "model.not_hdf5", ("protclip embed",)),
    Case(
        "q04",
        "data go pull --url http://127.0.0.1:9/go.obo",
        4,
        "model.download_failed",
        ("data go build FILE",),
        ("models import",),
    ),
    Case("v01", "annotate n01_query.fasta --vocab v01_vocab.txt", 3, TWICE, ("remove one",)),
    Case("v02-cells", "annotate n01_query.fasta --vocab v02_cells.csv", 3, "input.bad_line"),
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
    shutil.copy(str(files("protclip_core") / "bundled/example.fasta"), folder)
    for name in ("n01_ref", "example"):
        done = run_here("-q", "embed", f"{name}.fasta", cwd=folder)
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


MORE = """[Term]
id: GO:9999999
name: more
namespace: molecular_function
intersection_of: GO:0003674
intersection_of: has_part GO:0005634
relationship: has_part GO:0005634 ! nucleus
is_a: GO:0003674
disjoint_from: GO:0008150
created_by: me

[Term]
"""
#: Faults of releases of GO: what is done to a good one, and what becomes of it.
RELEASES = [
    ("c01", ("[GOC:go.db]", "[GOC:pz, Rhea: 36507]"), "", "references of 1 definition"),
    ("c02", (None, None), "model.truncated", "ends in the middle"),
    ("c03", ("id: GO:1901363\n", "id: GO:9901363\n"), "model.missing_parent", "GO:1901363"),
    (
        "c04",
        ("[Term]\n", "[Term]\nid: GO:0055114\nname: gone\nis_obsolete: true\n\n[Term]\n"),
        "",
        "247 terms",
    ),
    ("c10", ("e: biological_process", "e: biological process"), "model.not_go", "'biological'"),
    (
        "c11",
        (
            "[Term]\n",
            MORE,
        ),
        "",
        "248 terms",
    ),
    (
        "c12",
        ("id: GO:0003674\n", "id: GO:0003674\nis_a: GO:0005524\n"),
        "model.cyclic_terms",
        "GO:0003674 -> GO:0005524",
    ),
    (
        "c13",
        (
            "[Term]\n",
            "[Term]\nid: GO:0005524\nname: ATP binding\nnamespace: molecular_function\n\n[Term]\n",
        ),
        "model.duplicate_id",
        "GO:0005524",
    ),
    (
        "c14",
        ("is_a: ", "relationship: never_in_taxon NCBITaxon:4751 ! Fungi\nis_a: "),
        "",
        "247 terms",
    ),
]


@pytest.mark.full(but="c13")
@pytest.mark.parametrize(
    ("name", "edit", "code", "said"), RELEASES, ids=[one[0] for one in RELEASES]
)
def test_a_release_with_a_fault(name, edit, code, said, folder):
    """Cases c01 to c14; each is case c09 with an edit, as the files are too large to be here."""
    text = gzip.decompress((folder / "c09_crlf.obo.gz").read_bytes()).decode().replace("\r", "")
    before, after = edit
    if before is None:
        changed = text[:60_000]
    else:
        assert before in text
        changed = text.replace(before, after, 1)
    (folder / f"{name}.obo").write_text(changed)
    command = f"data go build {name}.obo -o {name}.idx"
    Case(name, command, 4 if code else 0, code, (said,)).check(folder)
