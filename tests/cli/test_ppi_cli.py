"""``protclip ppi`` at the shell: split, fit, evaluate, predict, and what is refused."""

from __future__ import annotations

import gzip
import json
import shutil
from xml.etree import ElementTree

import pytest

from protclip_core.heads import load_head
from protclip_core.io.fasta import read_fasta
from protclip_core.models.info import BUNDLED
from tests.support.helpers import random_proteins, write_fasta
from tests.support.pairs import (
    all_pairs,
    ids_of,
    save,
    true_labels,
    vectors_of,
    write_pairs,
    write_store,
)
from tests.support.terminal import one_error

EXAMPLE = BUNDLED / "example.fasta"
EXAMPLE_IDS = [record.id for record in read_fasta(EXAMPLE)]
COUNT = 40
IDS = ids_of(COUNT)
VECTORS = vectors_of(COUNT, seed=21)
A, B = all_pairs(COUNT)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ppi")
    shutil.copy(EXAMPLE, folder)
    write_store(folder / "x.h5", VECTORS)
    save(folder / "x.head", VECTORS)
    save(folder / "types.head", VECTORS, types=True)
    labels = true_labels(VECTORS, A, B).astype(int)
    rows = [(IDS[a], IDS[b], label) for a, b, label in zip(A, B, labels, strict=True)]
    write_pairs(folder / "pairs.tsv", rows, "protein_a\tprotein_b\tlabel")
    return folder


@pytest.fixture
def ppi(protclip, place):
    def ppi(*arguments, **options):
        return protclip("ppi", *arguments, cwd=place, **options)

    return ppi


def table(text):
    header, *rows = [line.split("\t") for line in text.splitlines()]
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_from_a_list_to_a_head_and_its_figures(ppi, place, tmp_path):
    parts = tmp_path / "parts.tsv"
    done = ppi(
        "split",
        "pairs.tsv",
        "--split",
        "c3",
        "--valid-share",
        "0.25",
        "--test-share",
        "0.3",
        "-o",
        parts,
    )
    assert done.rc == 0, done.err
    assert "test pairs by proteins that training has seen (names compared): both 0 (0%)" in done.err
    rows = table(parts.read_text())
    assert len(rows) == len(A)
    assert {row["split"] for row in rows} == {"train", "valid", "test", "unused"}
    head = tmp_path / "t.head"
    done = ppi("fit", parts, "--embeddings", "x.h5", "-o", head, "--plot", tmp_path / "curves")
    assert done.rc == 0, done.err
    assert "(split: the list's own)" in done.err and "0 test pairs were training" in done.err
    figures = {(row["part"], row["metric"]): row for row in table(done.out)}
    auroc = figures["test all", "auroc"]
    assert 0.5 < float(auroc["low"]) <= float(auroc["value"]) <= float(auroc["high"]) <= 1
    assert {p.name for p in (tmp_path / "curves").iterdir()} == {
        "precision_recall.png", "calibration.png", "confusion.png",
    }  # fmt: skip
    done = ppi("evaluate", parts, "--embeddings", "x.h5", "--head", head)
    again = {row["metric"]: row["value"] for row in table(done.out) if row["part"] == "all"}
    assert again["auroc"] == auroc["value"]
    assert "the list has splits" in done.err and "none" in done.err
    done = ppi("fit", parts, "--embeddings", "x.h5", "-o", head)
    one_error(done, 2, "t.head", code="usage.output_exists")


def test_the_default_head_on_sequences(ppi, tmp_path):
    pairs = write_pairs(tmp_path / "p.tsv", [EXAMPLE_IDS[:2], EXAMPLE_IDS[1::-1], ["x", "y"]])
    done = ppi("predict", pairs, "--embeddings", "example.fasta")
    rows = table(done.out)
    assert done.rc == 6
    assert "no --head given: ppi.head of protclip-mini (whether two proteins interact" in done.err
    assert rows[0]["probability"] == rows[1]["probability"] != ""
    assert 0 < float(rows[0]["probability"]) < 1
    assert [row["note"] for row in rows] == ["", "the pair of line 2", rows[2]["note"]]
    assert "no protein 'x' in example.fasta" in rows[2]["note"]
    assert "p.tsv:line 4: no protein 'x'" in done.err and "1 line left out" in done.err


@pytest.mark.full
def test_a_store_of_the_encoder_is_projected_for_the_default_head(ppi, protclip, place):
    assert protclip("-q", "embed", "example.fasta", "-o", "e.h5", cwd=place).rc == 0
    done = ppi("predict", "--all", "--embeddings", "e.h5")
    direct = ppi("predict", "--all", "--embeddings", "example.fasta")
    assert (done.rc, direct.rc) == (0, 0), done.err
    one, other = table(done.out), table(direct.out)
    count = len(EXAMPLE_IDS)
    assert len(one) == len(other) == count * (count - 1) // 2
    assert list(one[0]) == ["protein_a", "protein_b", "probability"]
    for a, b in zip(one, other, strict=True):
        assert float(a["probability"]) == pytest.approx(float(b["probability"]), abs=1e-4)


def test_forms_of_answers(ppi, tmp_path):
    pairs = write_pairs(tmp_path / "p.tsv", [("P1", "P2"), ("P3", "P9")])
    given = ("predict", pairs, "--embeddings", "x.h5", "--head", "x.head")
    plain = table(ppi(*given).out)
    lines = [json.loads(line) for line in ppi(*given, "--format", "jsonl").out.splitlines()]
    objects = json.loads(ppi(*given, "--format", "json").out)
    for row, line, one in zip(plain, lines, objects, strict=True):
        assert line["probability"] == one["confidence_score"] == float(row["probability"])
        assert (one["protein_A"], one["protein_B"]) == (line["protein_a"], row["protein_b"])
        assert one["interaction_type"] == "interaction"
    given = ("predict", pairs, "--embeddings", "x.h5", "--head", "types.head")
    best, every = table(ppi(*given).out), table(ppi(*given, "--all-types").out)
    assert list(best[0]) == ["protein_a", "protein_b", "interaction_type", "confidence", "note"]
    assert (len(best), len(every)) == (2, 6)
    for row in best:
        own = [e for e in every if e["protein_a"] == row["protein_a"]]
        assert row == max(own, key=lambda one: float(one["confidence"]))
    (one, _) = json.loads(ppi(*given, "--format", "json").out)
    assert one["interaction_type"] == best[0]["interaction_type"]


def test_groups_partners_and_a_file(ppi, tmp_path):
    (tmp_path / "a.txt").write_text("P1\nP2\n")
    (tmp_path / "b.txt").write_text("P3\nP4\nP5\nnobody\n")
    given = ("--embeddings", "x.h5", "--head", "x.head")
    done = ppi("predict", "--bipartite", tmp_path / "a.txt", tmp_path / "b.txt", *given)
    assert done.rc == 6 and "b.txt:record 4 (nobody): no protein 'nobody'" in done.err
    assert [(row["protein_a"], row["protein_b"]) for row in table(done.out)] == [
        (a, b) for a in ("P1", "P2") for b in ("P3", "P4", "P5")
    ]
    out = tmp_path / "out.tsv"
    done = ppi("predict", "--all", *given, "--top-k", "2", "-o", out)
    assert (done.rc, done.out) == (0, "")
    assert len(table(out.read_text())) == 2 * COUNT
    one_error(ppi("predict", "--all", *given, "-o", out), 2, "out.tsv", code="usage.output_exists")


def test_a_pipe(ppi):
    done = ppi(
        "predict", "-", "--embeddings", "x.h5", "--head", "x.head", stdin=b"P1 P2\r\nP2 P1\r\n"
    )
    rows = table(done.out)
    assert done.rc == 0 and rows[0]["probability"] == rows[1]["probability"]


def test_what_is_refused_in_one_line(ppi, place, tmp_path):
    write_fasta(tmp_path / "x.fa", random_proteins(3))
    given = ("--embeddings", "x.h5")
    done = ppi("predict", "--all", *given)
    one_error(done, 4, "the head is for vectors of model protclip-mini", "these are of model toy")
    one_error(ppi("predict", *given), 2, "nothing to predict")
    empty = write_pairs(tmp_path / "e.tsv", [])
    one_error(ppi("predict", empty, *given, "--head", "x.head"), 3, "lists no pairs")
    done = ppi("predict", tmp_path / "x.fa", *given, "--head", "x.head")
    one_error(done, 3, "is not a list of pairs but FASTA")
    (tmp_path / "bad.head").write_bytes((place / "x.head").read_bytes()[:-5])
    done = ppi("predict", "--all", *given, "--head", tmp_path / "bad.head")
    one_error(done, 4, "bad.head", code="model.hash_mismatch")
    ones = write_pairs(tmp_path / "o.tsv", [("P1", "P2", 1)], "protein_a\tprotein_b\tlabel")
    done = ppi("evaluate", ones, *given, "--head", "x.head", "--ratio", "0")
    one_error(done, 3, "all of its 1 pairs interact")


def test_no_input_is_replaced(ppi, place):
    before = {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}
    given = ("--embeddings", "x.h5", "--overwrite")
    for asked in (
        ("split", "pairs.tsv", "-o", "pairs.tsv", "--overwrite"),
        ("split", "pairs.tsv", "--sequences", "example.fasta", "-o", "example.fasta"),
        ("predict", "pairs.tsv", "-o", "pairs.tsv", *given),
        ("predict", "--all", "-o", "x.h5", *given),
        ("predict", "--all", "--head", "x.head", "-o", "x.head", *given),
        ("fit", "pairs.tsv", "-o", "pairs.tsv", *given),
        ("fit", "pairs.tsv", "--test", "x.head", "-o", "x.head", *given),
    ):
        one_error(ppi(*asked), 2, code="usage.output_is_input")
    assert before == {name: (place / name).read_bytes() for name in before}


STRING = "protein1\tprotein2\tcombined_score\n"


@pytest.fixture
def scored(tmp_path):
    """Sixty pairs whose scores are 10, 20, ... in their order."""
    pairs = [(IDS[a], IDS[b]) for a, b in zip(A, B, strict=True)][:60]
    lines = [f"{a}\t{b}\t{10 * n}\n" for n, (a, b) in enumerate(pairs, 1)]
    path = tmp_path / "string.tsv"
    path.write_text(STRING + "".join(lines))
    return path


def test_a_least_score_leaves_out_pairs(ppi, scored, tmp_path):
    given = ("--embeddings", "x.h5", "--min-score", "301")
    done = ppi("predict", scored, *given, "--head", "x.head")
    assert done.rc == 0 and len(table(done.out)) == 30
    done = ppi("split", scored, "--min-score", "301", "--split", "random")
    assert done.rc == 0 and len(table(done.out)) == 30
    done = ppi("fit", scored, *given, "-o", tmp_path / "h.head", "--split", "random")
    assert done.rc == 0 and "train 52, valid 8" in done.err, done.err
    done = ppi("evaluate", scored, *given, "--head", "x.head", "--resamples", "0")
    assert {row["interacting"] for row in table(done.out)} >= {"30"}
    no_scores = ppi("predict", "pairs.tsv", *given, "--head", "x.head")
    one_error(no_scores, 3, code="input.no_scores")
    one_error(
        ppi("predict", "--all", *given, "--head", "x.head"), 2, code="usage.conflicting_options"
    )


def test_probabilities_are_corrected_to_a_prevalence(ppi, protclip, place, tmp_path):
    given = ("predict", "pairs.tsv", "--embeddings", "x.h5", "--head", "x.head")
    plain, rare = ppi(*given), ppi(*given, "--prevalence", "0.001")
    share = load_head(place / "x.head").card.fit["prevalence"][1]
    assert plain.err.count("calibrated for a prevalence of interaction") == 1
    assert f"interaction {share:.3g}" in plain.err
    ratio = (0.001 / 0.999) / (share / (1 - share))
    for before, after in zip(table(plain.out), table(rare.out), strict=True):
        p = float(before["probability"])
        expected = p * ratio / (p * ratio + 1 - p)
        assert float(after["probability"]) == pytest.approx(expected, rel=2e-2, abs=1e-8)
    every = ("predict", "--all", "--embeddings", "x.h5", "--head", "x.head")
    every += ("--prevalence", "0.001", "--min-probability", "0.01")
    kept = {(r["protein_a"], r["protein_b"]) for r in table(ppi(*every).out)}
    likely = [r for r in table(rare.out) if float(r["probability"]) >= 0.01]
    assert kept == {(r["protein_a"], r["protein_b"]) for r in likely} and 0 < len(kept) < len(A)
    for wrong in ("0", "1", "much", "0.2,0.3,0.5"):
        one_error(ppi(*given, "--prevalence", wrong), 2, code="usage.bad_prevalence")


def test_a_fit_tells_thresholds(ppi, place, tmp_path):
    head = tmp_path / "t.head"
    done = ppi("fit", "pairs.tsv", "--embeddings", "x.h5", "-o", head)
    found = load_head(head).card.fit["thresholds"]
    assert found and done.err.count(" or more: precision ") == len(found)
    one = found[0]
    assert f"{one['threshold']:.3f} or more: precision {one['precision']:g}" in done.err


SPACE = "{http://graphml.graphdrawing.org/xmlns}"


@pytest.mark.parametrize("head", ["x.head", "types.head"])
def test_a_network_for_other_programs(ppi, place, tmp_path, head):
    ids = ["a&b", '<"c">', "d e", "é'", "x\x01y"]
    write_store(tmp_path / "n.h5", vectors_of(len(ids), seed=3), ids)
    given = ("predict", "--all", "--embeddings", tmp_path / "n.h5", "--head", head)
    rows = json.loads(ppi(*given, "--format", "json").out)
    assert len(rows) == 10
    kinds = {"x.head": "pp"}
    shown = dict(zip(ids, [*ids[:-1], "x\\x01y"], strict=True))
    done = ppi(*given, "--format", "sif")
    assert [line.split("\t") for line in done.out.splitlines()] == [
        [shown[r["protein_A"]], kinds.get(head, r["interaction_type"]), shown[r["protein_B"]]]
        for r in rows
    ]
    done = ppi(*given, "-o", tmp_path / "net.graphml.gz")
    assert (done.rc, done.out) == (0, "")
    graph = ElementTree.fromstring(gzip.decompress((tmp_path / "net.graphml.gz").read_bytes()))
    names = [node.get("id") for node in graph.iter(f"{SPACE}node")]
    assert names == [*shown.values()]
    for edge, row in zip(graph.iter(f"{SPACE}edge"), rows, strict=True):
        ends = (shown[row["protein_A"]], shown[row["protein_B"]])
        assert (edge.get("source"), edge.get("target")) == ends
        data = {one.get("key"): one.text for one in edge}
        assert float(data["probability"]) == row["confidence_score"]
        assert data["type"] == row["interaction_type"]


def test_pairs_without_an_answer_are_no_edges(ppi, tmp_path):
    pairs = write_pairs(tmp_path / "p.tsv", [("P1", "P2"), ("P3", "nobody")])
    given = ("predict", pairs, "--embeddings", "x.h5", "--head", "x.head")
    done = ppi(*given, "-o", tmp_path / "net.sif")
    assert done.rc == 6 and (tmp_path / "net.sif").read_text() == "P1\tpp\tP2\n"
    assert ppi(*given, "--format", "graphml").out.count("<node ") == 2


@pytest.mark.parametrize("suffix", ["", ".tsv", ".csv", ".jsonl", ".json", ".TXT"])
def test_a_file_that_ends_in_gz_is_compressed(ppi, tmp_path, suffix):
    given = ("predict", "pairs.tsv", "--embeddings", "x.h5", "--head", "x.head", "-o")
    for name in (f"o{suffix}", f"o{suffix}.gz", f"p{suffix}.GZ"):
        assert ppi(*given, tmp_path / name).rc == 0
    plain = (tmp_path / f"o{suffix}").read_bytes()
    packed = (tmp_path / f"o{suffix}.gz").read_bytes()
    assert gzip.decompress(packed) == plain and len(packed) < len(plain)
    assert (tmp_path / f"p{suffix}.GZ").read_bytes() == packed


def test_a_compressed_file_appears_whole_or_not_at_all(ppi, tmp_path):
    out = tmp_path / "o.tsv.gz"
    out.write_bytes(b"old")
    pairs = write_pairs(tmp_path / "p.tsv", [("nobody", "noone")])
    given = ("predict", pairs, "--embeddings", "x.h5", "--head", "x.head", "-o", out)
    one_error(ppi(*given), 2, code="usage.output_exists")
    assert ppi(*given, "--overwrite").rc == 3
    assert out.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 2
    one_error(ppi(*given[:-1], tmp_path / "o.tsv.bz2"), 2, code="usage.output_suffix")
    one_error(ppi(*given, "--format", "csv", "--overwrite"), 2, code="usage.output_suffix")
    assert ppi("split", "pairs.tsv", "-o", tmp_path / "s.tsv.gz").rc == 0
    assert gzip.decompress((tmp_path / "s.tsv.gz").read_bytes()).startswith(b"protein_a\t")


@pytest.fixture
def two_groups(tmp_path):
    """Two FASTA files, for the head that comes with the program."""
    proteins = [(record.id, record.sequence) for record in read_fasta(EXAMPLE)]
    one, other = tmp_path / "one.fa", tmp_path / "other.fa"
    write_fasta(one, proteins[:3])
    write_fasta(other, proteins[3:7])
    expected = [(a, b) for a, _ in proteins[:3] for b, _ in proteins[3:7]]
    return one, other, expected


def test_two_fasta_files_are_two_groups(ppi, two_groups, tmp_path):
    one, other, expected = two_groups
    embedded = ppi("predict", "--bipartite", one, other)
    assert embedded.rc == 0, embedded.err
    assert [(r["protein_a"], r["protein_b"]) for r in table(embedded.out)] == expected
    given = ("--embeddings", one, "--embeddings", other)
    assert ppi("predict", "--bipartite", one, other, *given).out == embedded.out
    (tmp_path / "names.txt").write_text("".join(f"{b}\n" for b in dict(expected[:4]).values()))
    lists = ppi("predict", "--bipartite", one, tmp_path / "names.txt", *given)
    assert table(lists.out) == [r for r in table(embedded.out) if r["protein_b"] == expected[3][1]]
    piped = ppi("predict", "--bipartite", "-", other, *given, stdin=one.read_bytes())
    assert piped.out == embedded.out
    with_itself = ppi("predict", "--bipartite", one, one)
    assert with_itself.rc == 0 and len(table(with_itself.out)) == 9


def test_what_two_groups_need(ppi, two_groups, tmp_path):
    one, other, expected = two_groups
    (tmp_path / "names.txt").write_text(f"{expected[0][0]}\n")
    for given in (
        ("pairs.tsv",),
        ("--all",),
        ("--bipartite", one, tmp_path / "names.txt"),
        ("--bipartite", "-", other),
    ):
        one_error(ppi("predict", *given, stdin=b">a\nMKT\n"), 2, code="usage.no_input")
    bad = tmp_path / "bad.fa"
    bad.write_bytes(one.read_bytes() + b">broken\nMK1\n")
    assert ppi("predict", "--bipartite", bad, other).rc == 3
    skipped = ppi("predict", "--bipartite", bad, other, "--on-error", "skip")
    assert skipped.rc == 6 and len(table(skipped.out)) == len(expected)
    assert "1 line left out" in skipped.err
    same = ppi("predict", "--bipartite", one, bad, "--on-error", "skip")
    assert same.rc == 6 and len(table(same.out)) == 9  # equal records are one protein


@pytest.mark.parametrize("name", ["o.tsv", "o.tsv.gz"])
def test_a_full_disk_is_said_of_the_file(ppi, tmp_path, name):
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
    given = ("--embeddings", "x.h5", "--head", "x.head", "-o", tmp_path / name)
    done = ppi("predict", "--all", *given, prelude=limit)
    one_error(done, 5, str(tmp_path / name), code="resource.disk_full")
    assert not list(tmp_path.iterdir())


def test_no_aligner_is_run_unless_clusters_are_asked_for(ppi, tmp_path):
    for name in ("mmseqs", "diamond"):
        (tmp_path / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    fasta = write_fasta(tmp_path / "x.fa", random_proteins(COUNT))
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    for command in (
        ("split", "pairs.tsv", "--sequences", fasta),
        ("fit", "pairs.tsv", "--embeddings", "x.h5", "-o", tmp_path / "x.head"),
    ):
        found, alone = ppi(*command, env=path), ppi(*command, "--overwrite", env={"PATH": ""})
        assert found.out == alone.out and not (tmp_path / "ran").exists(), found.err
