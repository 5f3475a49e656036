"""``protclip similarity`` at the shell: every form, pipes, pictures, and what goes wrong."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

from tests.support.helpers import random_proteins, write_fasta
from tests.support.ontology_files import SMALL, small
from tests.support.terminal import one_error

PROTEINS = random_proteins(14, seed=6, shortest=8, longest=50, prefix="prot")
IDS = [id for id, _ in PROTEINS]
PAIRS = [(a, b) for i, a in enumerate(IDS) for b in IDS[i + 1 :]]
COLUMNS = ["protein_a", "protein_b", "similarity"]


@pytest.fixture(scope="module")
def place(protclip, tiny_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("similarity")
    write_fasta(folder / "x.fa", PROTEINS)
    done = protclip("-q", "embed", "x.fa", "-o", "x.h5", "--model", tiny_bundle, cwd=folder)
    assert done.rc == 0, done.err
    return folder


@pytest.fixture
def similarity(protclip, place, tiny_bundle):
    def similarity(*arguments, **options):
        fixed = ["--model", tiny_bundle, "--device", "cpu"]
        return protclip("-q", "similarity", *arguments, *fixed, cwd=place, **options)

    return similarity


def rows_of(text, columns=COLUMNS):
    header, *lines = [line.split("\t") for line in text.splitlines()]
    assert header == columns
    return [dict(zip(header, line, strict=True)) for line in lines]


def test_all_pairs_from_a_store_and_from_a_pipe(similarity, place):
    done = similarity("x.h5")
    assert (done.rc, done.err) == (0, "")
    rows = rows_of(done.out)
    assert [(row["protein_a"], row["protein_b"]) for row in rows] == PAIRS
    piped = similarity(stdin=(place / "x.fa").read_bytes())
    assert (piped.rc, piped.err) == (0, "")
    again = [float(row["similarity"]) for row in rows_of(piped.out)]
    np.testing.assert_allclose([float(row["similarity"]) for row in rows], again, atol=1e-5)


def test_a_matrix_is_the_pairs(similarity):
    for metric in ("cosine", "manhattan"):
        rows = rows_of(similarity("x.h5", "--metric", metric).out)
        done = similarity("x.h5", "--format", "matrix", "--metric", metric)
        assert (done.rc, done.err) == (0, "")
        header, *lines = [line.split("\t") for line in done.out.splitlines()]
        assert header == ["protein_id", *IDS] and [line[0] for line in lines] == IDS
        cells = {(line[0], id): cell for line in lines for id, cell in zip(IDS, line[1:])}
        for row in rows:
            a, b = row["protein_a"], row["protein_b"]
            assert cells[a, b] == cells[b, a] == row["similarity"]
        assert {cells[id, id] for id in IDS} == {"1"}


def test_json_lines_of_the_best_partners_against_a_file(similarity, place):
    write_fasta(place / "y.fa", PROTEINS[3:6])
    arguments = ["x.h5", "--against", "y.fa", "--top-k", "1", "--format", "jsonl"]
    rows = [json.loads(line) for line in similarity(*arguments).out.splitlines()]
    assert [list(row) for row in rows] == [COLUMNS] * 14
    assert [row["protein_a"] for row in rows] == IDS
    assert [row["protein_b"] for row in rows[3:6]] == IDS[3:6]
    least = similarity(
        "x.h5", "--against", "-", "--min-similarity", "0.9999", stdin=b">z\n" + b"W" * 9 + b"\n"
    )
    assert (least.rc, rows_of(least.out)) == (0, [])


def test_listed_pairs_from_a_pipe(similarity):
    known = {(r["protein_a"], r["protein_b"]): r for r in rows_of(similarity("x.h5").out)}
    listed = b"protein_a,protein_b,label\nprot2,prot5,1\nprot2,nosuch,0\n\nalone\nprot5,prot2,1\n"
    done = similarity("x.h5", "--pairs", "-", stdin=listed)
    assert (done.rc, done.err) == (6, "warning: 2 pairs have no similarity\n")
    rows = rows_of(done.out, [*COLUMNS, "reason"])
    score = known["prot2", "prot5"]["similarity"]
    assert [tuple(row.values()) for row in rows] == [
        ("prot2", "prot5", score, ""),
        ("prot2", "nosuch", "", "no protein 'nosuch' in x.h5"),
        ("alone", "", "", "line 5 names no two proteins: 'alone'"),
        ("prot5", "prot2", score, ""),
    ]
    done = similarity("x.fa", "--pairs", "-", "--format", "jsonl", stdin=b"prot2\tprot5\n")
    assert (done.rc, done.err) == (0, "")
    (row,) = [json.loads(line) for line in done.out.splitlines()]
    assert row["similarity"] == pytest.approx(float(score), abs=1e-5) and row["reason"] == ""


def test_bad_records_are_left_out_and_named(similarity):
    data = b"".join(f">{id}\n{s}\n".encode() for id, s in PROTEINS[:3]) + b">bad\nMK1T\n"
    done = similarity("--on-error", "skip", stdin=data)
    assert (done.rc, len(rows_of(done.out))) == (6, 3)
    assert "<stdin>:record 4 (bad)" in done.err and "1 record left out" in done.err
    one_error(similarity(stdin=data), 3, "<stdin>:record 4 (bad)")


def test_a_picture_beside_the_pairs(similarity, place):
    done = similarity("x.h5", "--plot", "x.svg")
    assert (done.rc, done.err) == (0, "x.svg: 14 x 14 proteins\n")
    assert done.out == similarity("x.h5").out
    text = (place / "x.svg").read_text("utf-8")
    assert text.count(">prot13<") == 2 and "encoder space of tiny" in text
    one_error(
        similarity("x.h5", "--plot", "x.svg"), 2, "x.svg", "--overwrite", code="usage.output_exists"
    )
    one_error(similarity("x.h5", "--plot", "x.gif"), 2, "cannot be written as .gif")
    assert similarity("x.h5", "--plot", "x.svg", "--overwrite").rc == 0


def test_a_reader_that_goes_away(similarity):
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = similarity("x.h5", stdout=write_end)
    os.close(write_end)
    assert (done.rc, done.err) == (141, "")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["x.h5", "--format", "matrix", "--min-similarity", "0"], 2, "a matrix has all pairs"),
        (["x.h5", "--pairs", "p.tsv", "--top-k", "1"], 2, "listed pairs are all answered"),
        (["x.h5", "--metric", "euclid"], 2, "'--metric'"),
        (["-", "--against", "-"], 2, "can be read once only"),
        (["-", "--pairs", "-"], 2, "[usage.stdin_twice]"),
        (["x.h5", "--pairs", "nosuch"], 3, "nosuch: no such file"),
        (["x.h5", "--pairs", "-"], 3, "<stdin>: lists no pairs"),
        (["nosuch.h5"], 4, "nosuch.h5: no such file"),
        (["nosuch.fa"], 3, "nosuch.fa: no such file"),
        (["evaluate", "x.h5"], 2, "give a table of similarities"),
    ],
)
def test_errors_are_one_line(similarity, arguments, code, said):
    one_error(similarity(*arguments), code, said)


EVALUATE = ["reference", "aspect", "method", "pairs", "proteins", "spearman", "low", "high"]


def test_evaluate_with_a_table(similarity, place):
    shutil.copy(place / "x.fa", place / "z.fa")
    text = similarity("x.h5").out + "prot1\tnosuch\t0.5\n"
    (place / "t.tsv").write_text(text)
    done = similarity("evaluate", "x.h5", "t.tsv", "--sequences", "z.fa", "--resamples", "20")
    assert done.rc == 6
    assert "warning: pair prot1 nosuch: no protein 'nosuch' in x.h5" in done.err
    rows = {row["method"]: row for row in rows_of(done.out, EVALUATE)}
    assert {"encoder cosine", "encoder manhattan", "composition", "length"} <= set(rows)
    # The table is what cosines are.
    first = rows["encoder cosine"]
    assert (first["reference"], first["pairs"], first["proteins"]) == ("similarity", "91", "14")
    assert [float(first[c]) for c in EVALUATE[-3:]] == pytest.approx([1, 1, 1])
    for row in rows.values():
        assert float(row["low"]) <= float(row["spearman"]) <= float(row["high"])


def test_evaluate_with_annotations(similarity, place):
    ontology = small()
    rng = np.random.default_rng(0)
    lines = [
        f"{id}\t{ontology.ids[term]}\n"
        for id in IDS
        for term in rng.choice(len(ontology), 4, replace=False)
    ]
    (place / "terms.tsv").write_text("".join(lines))
    arguments = ["--annotations", "terms.tsv", "--go", SMALL, "--resamples", "0"]
    done = similarity("evaluate", "x.fa", *arguments, "--format", "jsonl", "--space", "encoder")
    assert (done.rc, done.err) == (0, "")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert {row["aspect"] for row in rows} <= {"MF", "BP", "CC"}
    assert {row["reference"] for row in rows} == {"lin best-match average"}
    assert all(row["low"] is None and -1 <= row["spearman"] <= 1 for row in rows)
    done = similarity("evaluate", "x.h5", *arguments)
    assert "--sequences" in done.err and "composition" not in done.out
