"""``protclip annotate --go`` at the shell: every form, pipes, refusals, codes."""

from __future__ import annotations

import io
import json
import os

import pytest
from Bio.UniProt import GOA

from protclip_core.models.info import DEFAULT_MODEL, describe_model
from protclip_core.ontology import read_gaf
from protclip_core.tasks.annotate.task import DEFAULT_PROBABILITY
from protclip_core.terms.index_file import add_to_bundle
from protclip_core.weights.bundle import open_bundle
from tests.support.go_indexes import index_of
from tests.support.helpers import RESIDUES
from tests.support.ontology_files import small
from tests.support.terminal import one_error
from tests.unit.models.dual import Dual

COLUMNS = ["protein_id", "term", "name", "aspect", "cosine", "probability", "rank", "go_release"]


@pytest.fixture(scope="module")
def dual(tmp_path_factory):
    folder = Dual().write(tmp_path_factory.mktemp("models") / "dual")
    add_to_bundle(index_of(folder), open_bundle(folder))
    return folder


@pytest.fixture
def annotate(protclip, dual, tmp_path):
    """``annotate(*arguments)`` in ``tmp_path`` with the small model."""

    def annotate(*arguments, model=dual, **options):
        fixed = ["--go", "--model", model, "--device", "cpu"]
        return protclip("annotate", *fixed, *arguments, cwd=tmp_path, **options)

    return annotate


def table(text):
    header, *lines = [line.split("\t") for line in text.splitlines()]
    assert header == COLUMNS
    return [dict(zip(header, line, strict=True)) for line in lines]


def test_rows(annotate, fasta):
    fasta(12)
    done = annotate("x.fa", "--min-probability", "0.3")
    assert done.rc == 0
    rows, ontology = table(done.out), small()
    assert len(rows) > 20
    for row in rows:
        term = ontology.index[row["term"]]
        assert row["name"] == ontology.names[term]
        assert row["aspect"] == ("MF", "BP", "CC")[ontology.aspects[term]]
        assert row["go_release"] == "2024-01-17"
        assert -1 <= float(row["cosine"]) <= 1
        assert 0.3 <= float(row["probability"]) <= 1
    found = list(dict.fromkeys(row["protein_id"] for row in rows))
    assert found == sorted(found, key=lambda id: int(id[1:]))
    assert f"{len(rows)} terms of {len(found)} of 12 proteins" in done.err
    assert "probability at least 0.3" in done.err
    # That is what comes where nothing else is asked for, and what the help says.
    assert DEFAULT_PROBABILITY == 0.3
    assert annotate("x.fa").out == done.out
    lines = annotate("x.fa", "--format", "jsonl").out.splitlines()
    shown = [{k: str(v) for k, v in json.loads(line).items()} for line in lines]
    for row, other in zip(rows, shown, strict=True):
        assert float(row.pop("probability")) == float(other.pop("probability"))
        assert float(row.pop("cosine")) == float(other.pop("cosine"))
        assert row == other
    shown = annotate("x.fa", "--format", "table")
    assert "probability" in shown.out.replace("\n", "")
    assert "2024-01-17" not in shown.out
    assert "GO release 2024-01-17" in shown.err


def test_files_pipes_and_stores_give_the_same(annotate, protclip, dual, fasta, tmp_path):
    text = fasta(10).read_bytes()
    wanted = annotate("x.fa").out
    assert annotate("-", stdin=text).out == wanted
    assert annotate(stdin=text).out == wanted
    assert annotate("x.fa", "-o", "out.tsv").rc == 0
    assert (tmp_path / "out.tsv").read_text() == wanted
    made = protclip("embed", "x.fa", "--model", dual, "--space", "joint", cwd=tmp_path)
    assert made.rc == 0
    # A store names its model by the name in its configuration; here it is given by its path.
    terms = [(r["protein_id"], r["term"]) for r in table(annotate("x.h5").out)]
    assert terms == [(r["protein_id"], r["term"]) for r in table(wanted)]


def test_choices(annotate, fasta):
    fasta(6)
    rows = table(annotate("x.fa", "--top-k", "2", "--aspect", "cc,mf").out)
    assert {row["aspect"] for row in rows} == {"MF", "CC"}
    assert [row["rank"] for row in rows] == ["1", "2"] * 12
    assert "at most 2 of each aspect" in annotate("x.fa", "--top-k", "2").err
    every = {(r["protein_id"], r["term"]) for r in table(annotate("x.fa").out)}
    few = {(r["protein_id"], r["term"]) for r in table(annotate("x.fa", "--specific").out)}
    assert few < every
    assert "expected share of wrong terms at most 0.5" in annotate("x.fa", "--fdr", "0.5").err


def test_gaf_is_read_by_others(annotate, fasta):
    fasta(8)
    done = annotate("x.fa", "--format", "gaf")
    rows = table(annotate("x.fa").out)
    found = list(GOA.gafiterator(io.StringIO(done.out)))
    assert [(r["DB_Object_ID"], r["GO_ID"]) for r in found] == [
        (row["protein_id"], row["term"]) for row in rows
    ]
    assert {r["Evidence"] for r in found} == {"IEA"}
    assert "!model: dual, weights sha256 " in done.out
    assert "!listed: probability at least 0.3" in done.out
    assert "2024-01-17" in done.out.split("\n!listed")[0]


def test_gaf_is_read_by_protclip_itself(annotate, fasta, tmp_path):
    fasta(8)
    assert annotate("x.fa", "--format", "gaf", "-o", "x.gaf").rc == 0
    annotations = read_gaf(tmp_path / "x.gaf", small())
    rows = table(annotate("x.fa").out)
    assert sum(len(terms) for _, terms in annotations.items()) == len(rows)


def test_cafa(annotate, fasta):
    fasta(8)
    lines = annotate("x.fa", "--top-k", "20", "--format", "cafa").out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["AUTHOR", "MODEL", "KEYWORDS"]
    assert lines[-1] == "END"
    rows = {
        (r["protein_id"], r["term"]): float(r["probability"])
        for r in table(annotate("x.fa", "--top-k", "20").out)
        if r["probability"]  # a protein unlike all that the probabilities were fitted on has none
    }
    seen = set()
    for line in lines[3:-1]:
        protein, term, score = line.split("\t")
        assert 0 < float(score) <= 1
        assert len(score) == 5
        assert float(score) == pytest.approx(rows[protein, term], abs=6e-4)
        seen.add((protein, term))
    assert {pair for pair, score in rows.items() if score >= 0.001} <= seen <= set(rows)


def test_topgo(annotate, fasta):
    fasta(8)
    lines = annotate("x.fa", "--format", "topgo").out.splitlines()
    found = {}
    for line in lines:
        gene, terms = line.split("\t")
        found[gene] = terms.split(", ")
    wanted = {}
    for row in table(annotate("x.fa").out):
        wanted.setdefault(row["protein_id"], []).append(row["term"])
    assert found == wanted


def test_bad_records_are_named(annotate, tmp_path):
    (tmp_path / "x.fa").write_text(f">good\n{RESIDUES}\n>bad\nAC1D\n>fine\n{RESIDUES[::-1]}\n")
    one_error(annotate("x.fa"), 3, "x.fa:record 2 (bad)")
    done = annotate("x.fa", "--on-error", "skip", "--top-k", "1")
    assert done.rc == 6
    assert {row["protein_id"] for row in table(done.out)} == {"good", "fine"}
    assert "warning: x.fa:record 2 (bad)" in done.err
    assert "1 record left out" in done.err


def test_a_model_without_an_index_says_what_to_do(protclip, fasta, tmp_path):
    folder = Dual().write(tmp_path / "bare")
    fasta(2)
    cache = {**os.environ, "PROTCLIP_CACHE": str(tmp_path / "cache")}
    done = protclip("annotate", "--go", "x.fa", "--model", folder, cwd=tmp_path, env=cache)
    one_error(done, 4, "dual has no GO index", "protclip data go build")


def test_the_default_model_answers_or_says_what_to_do(protclip, fasta, tmp_path):
    fasta(2)
    cache = {**os.environ, "PROTCLIP_CACHE": str(tmp_path / "cache")}
    done = protclip("annotate", "--go", "x.fa", "--top-k", "3", cwd=tmp_path, env=cache)
    bundle = describe_model(DEFAULT_MODEL).bundle
    if bundle is not None and "go_index.npz" in bundle.files:
        assert done.rc == 0
        assert len(table(done.out)) == 18
    else:
        one_error(done, 4, "has no GO index", "protclip data go build")


def test_refusals(annotate, protclip, fasta, tmp_path):
    fasta(2)
    one_error(protclip("annotate", "x.fa", cwd=tmp_path), 2, "nothing to annotate with", "--go")
    one_error(annotate("x.fa", "--aspect", "XY"), 2, "aspect 'XY' is not known")
    one_error(annotate("x.fa", "--fdr", "0.1", "--min-probability", "0.5"), 2, "contradict")
    one_error(annotate("x.fa", "--go-index", "none.npz"), 4, "none.npz: cannot be read")
    one_error(annotate("missing.fa"), 3, "missing.fa: no such file")
    one_error(annotate("x.fa", "--slim", "missing.txt"), 3, "missing.txt: no such file")
    one_error(annotate("x.fa", "-o", "x.fa"), 2, "x.fa: ", code="usage.output_is_input")
    (tmp_path / "there.tsv").write_text("kept")
    one_error(
        annotate("x.fa", "-o", "there.tsv"),
        2,
        "there.tsv",
        "--overwrite",
        code="usage.output_exists",
    )
    assert (tmp_path / "there.tsv").read_text() == "kept"
    assert annotate("x.fa", "-o", "there.tsv", "--overwrite").rc == 0
    assert (tmp_path / "there.tsv").read_text().startswith("protein_id\t")
