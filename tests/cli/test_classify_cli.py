"""``protclip classify`` at the shell, with the tiny model."""

from __future__ import annotations

import json
import os

import pytest

from protclip_core.heads import load_head
from tests.support.aligner_programs import write_aligner
from tests.support.helpers import write_fasta
from tests.support.labelled import CLASSES, PROTEINS
from tests.support.terminal import one_error

SCORES = "predictor\tmetric\tvalue\tlow\thigh\tpart\tproteins"


@pytest.fixture(scope="module")
def place(protclip, tiny_bundle, tmp_path_factory):
    """A folder with FASTA, store, labels and a head."""
    folder = tmp_path_factory.mktemp("classify")
    write_fasta(folder / "x.fa", PROTEINS)
    lines = [f"{id}\t{CLASSES[n % 3]}" for n, (id, _sequence) in enumerate(PROTEINS)]
    (folder / "l.tsv").write_text("\n".join(["protein_id\tlabel", *lines, ""]), "utf-8")
    done = protclip("-q", "embed", "x.fa", "--model", tiny_bundle, "--device", "cpu", cwd=folder)
    assert done.rc == 0, done.err
    fit = ["fit", "l.tsv", "--embeddings", "x.h5", "-o", "x.head", "--no-search"]
    bare = {"PATH": ""}
    more = ["--sequences", "x.fa", "--plot", "curves"]
    done = protclip("classify", *fit, *more, cwd=folder, env=bare)
    assert done.rc == 0, done.err
    (folder / "fitted.tsv").write_text(done.out)
    (folder / "fitted.err").write_text(done.err)
    return folder


@pytest.fixture
def classify(protclip, place):
    def classify(*arguments, **options):
        return protclip("classify", *arguments, cwd=place, **options)

    return classify


def test_fit_tells_figures_and_what_they_rest_on(place):
    header, *lines = (place / "fitted.tsv").read_text().splitlines()
    assert header == SCORES
    assert [line.split("\t")[:2] for line in lines[:6]] == [
        ["head", metric] for metric in ("accuracy", "macro_f1", "mcc", "auroc", "aupr", "ece")
    ]
    assert len({line.split("\t")[0] for line in lines}) == 3
    for line in lines:
        _name, _metric, value, low, high, part, count = line.split("\t")
        assert part == "test" and int(count) > 0
        assert not low or float(low) <= float(value) <= float(high)
    told = (place / "fitted.err").read_text()
    assert "to fit on, 0 to choose by" in told and "split: random" in told
    assert "the sequence of another" in told and "x.head: logistic head of 3 labels" in told
    for name in ("precision_recall.png", "calibration.png", "confusion.png"):
        assert (place / "curves" / name).read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in place.iterdir()} >= {"x.head", "x.h5"}
    assert not list(place.glob(".*.tmp"))


def test_predict(classify):
    done = classify("predict", "x.h5", "--head", "x.head")
    assert done.rc == 0 and done.err == f"labels for {len(PROTEINS)} of {len(PROTEINS)} proteins\n"
    header, *lines = [line.split("\t") for line in done.out.splitlines()]
    assert header == ["protein_id", "label", "probability", "rank", "note"]
    assert [line[0] for line in lines] == [id for id, _sequence in PROTEINS]
    done = classify("predict", "x.h5", "--head", "x.head", "--top-k", "3", "--format", "jsonl")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert list(rows[0]) == header and len(rows) == 3 * len(PROTEINS)
    assert [row["label"] for row in rows[::3]] == [line[1] for line in lines]
    for first in range(0, len(rows), 3):
        assert sum(row["probability"] for row in rows[first : first + 3]) == pytest.approx(1)
        assert [row["rank"] for row in rows[first : first + 3]] == [1, 2, 3]


def test_predict_from_a_pipe(classify, tiny_bundle):
    data = f">q\n{PROTEINS[0][1]}\n".encode()
    done = classify("predict", "--head", "x.head", "--model", tiny_bundle, stdin=data)
    assert done.rc == 0 and done.out.splitlines()[1].startswith("q\tmembrane\t")


def test_evaluate_measures_what_was_not_seen(classify, place):
    done = classify("evaluate", "l.tsv", "x.h5", "--head", "x.head", "--sequences", "x.fa")
    assert done.rc == 0, done.err
    assert "left out: the head was fitted on them" in done.err
    fitted = (place / "fitted.tsv").read_text().splitlines()
    for again, before in zip(done.out.splitlines()[1:], fitted[1:], strict=True):
        a, b = again.split("\t"), before.split("\t")
        assert a[:2] + a[5:] == b[:2] + b[5:]
        assert float(a[2]) == pytest.approx(float(b[2]), abs=1e-4)


def test_what_is_installed_changes_nothing(classify, place, tmp_path):
    """Aligners on the path make no other split, unless one is asked for."""
    for name in ("mmseqs", "diamond"):
        write_aligner(tmp_path / "bin", name)
    done = classify(
        *["fit", "l.tsv", "--embeddings", "x.h5", "--sequences", "x.fa", "--no-search"],
        *["-o", tmp_path / "x.head"],
        env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
    )
    assert (done.rc, done.out) == (0, (place / "fitted.tsv").read_text()), done.err
    assert "split: random" in done.err


def test_clusters_by_an_aligner(classify, place, tmp_path):
    """Sequences that an aligner finds alike are on one side."""
    write_aligner(tmp_path / "bin", "mmseqs")
    done = classify(
        *["fit", "l.tsv", "--embeddings", "x.h5", "--sequences", "x.fa", "--split", "cluster"],
        *["-o", tmp_path / "c.head", "--no-search"],
        env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
    )
    assert done.rc == 0, done.err
    assert "split: cluster" in done.err and "no two parts hold sequences of 30 %" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["fit", "l.tsv", "--embeddings", "x.h5", "-o", "x.head"], 2, "x.head: "),
        (["fit", "l.tsv", "--embeddings", "x.h5", "-o", "no/y.head"], 2, "folder does not exist"),
        (["fit", "l.tsv", "--embeddings", "x.h5", "-o", "l.tsv", "--overwrite"], 2, "l.tsv"),
        (["fit", "nosuch", "--embeddings", "x.h5", "-o", "y.head"], 3, "nosuch: no such file"),
        (["fit", "x.fa", "--embeddings", "x.h5", "-o", "y.head"], 3, "not a table of labels but F"),
        (["fit", "-", "--embeddings", "-", "-o", "y.head"], 2, "can be read once only"),
        (["fit", "l.tsv", "--embeddings", "x.h5", "-o", "y.head", "--kind", "ridge"], 2, "ridge"),
        (["predict", "x.h5", "--head", "nosuch"], 4, "nosuch: no such head file"),
        (["predict", "x.h5", "--head", "x.h5"], 4, "x.h5: not a head file"),
        (["predict", "x.h5", "--head", "x.head", "--top-k", "0"], 2, "--top-k 0"),
        (["predict", "x.h5", "--head", "x.head", "--min-probability", "2"], 2, "out of range"),
        (["predict", "x.fa", "--head", "x.head"], 4, "tiny"),
        (
            ["evaluate", "l.tsv", "x.h5", "--head", "x.head", "--plot", "x.h5"],
            2,
            "[usage.output_is_input]",
        ),
    ],
)
def test_errors_are_one_line(classify, place, arguments, code, said):
    one_error(classify(*arguments), code, said)
    assert not (place / "y.head").exists()


def test_probabilities_are_corrected_to_a_prevalence(classify, place):
    given = ("predict", "x.h5", "--head", "x.head", "--top-k", "3", "--format", "jsonl")
    fitted = load_head(place / "x.head").card
    wanted = dict(zip(fitted.labels, (0.8, 0.19, 0.01), strict=True))
    shares = dict(zip(fitted.labels, fitted.fit["prevalence"], strict=True))

    def answers(*more):
        done = classify(*given, *more)
        found = {}
        for row in map(json.loads, done.out.splitlines()):
            if row["label"]:
                found.setdefault(row["protein_id"], {})[row["label"]] = row["probability"]
        return found, done.err

    plain, _ = answers()
    moved, told = answers("--prevalence", "0.8,0.19,0.01")
    assert "calibrated for a prevalence of" in told and "corrected to 0.8, 0.19, 0.01" in told
    for id, said in plain.items():
        odds = {label: p * wanted[label] / shares[label] for label, p in said.items()}
        for label, value in odds.items():
            assert moved[id][label] == pytest.approx(value / sum(odds.values()), rel=1e-4)
    one_error(classify(*given, "--prevalence", "0.5"), 2, code="usage.bad_prevalence")
