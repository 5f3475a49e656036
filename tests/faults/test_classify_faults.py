"""``protclip classify`` under bad vectors, foreign heads and sudden ends: faults 43, 47, 63."""

from __future__ import annotations

import shutil
import signal

import h5py
import numpy as np
import pytest

from tests.support.heads import rewrite
from tests.support.helpers import write_fasta
from tests.support.labelled import CLASSES, PROTEINS
from tests.support.terminal import one_error

FIT = ["classify", "fit", "l.tsv", "--embeddings", "x.h5", "--no-search", "--resamples", "0"]


@pytest.fixture(scope="module")
def place(protclip, tiny_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    write_fasta(folder / "x.fa", PROTEINS)
    lines = [f"{id}\t{CLASSES[n % 3]}" for n, (id, _sequence) in enumerate(PROTEINS)]
    (folder / "l.tsv").write_text("\n".join(["protein_id\tlabel", *lines, ""]), "utf-8")
    embed = ["-q", "embed", "x.fa", "--model", tiny_bundle, "--device", "cpu"]
    assert protclip(*embed, cwd=folder).rc == 0
    assert protclip(*embed, "--space", "joint", "-o", "joint.h5", cwd=folder).rc == 0
    assert protclip(*FIT, "-o", "x.head", cwd=folder).rc == 0
    return folder


def changed_store(source, target, rows, value):
    """Copy a store, and change vectors behind its back: the writer takes no such numbers."""
    shutil.copy(source, target)
    with h5py.File(target, "r+") as file:
        file["embeddings"][rows] = value
    return target


@pytest.mark.full(but="nan")
@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_bad_vectors_give_no_probability(protclip, place, tmp_path, value):
    store = changed_store(place / "x.h5", tmp_path / "bad.h5", [3, 40], value)
    predict = ["classify", "predict", store, "--head", "x.head"]
    done = protclip(*predict, cwd=place)
    assert (done.rc, done.out) == (4, "")
    assert "bad.h5:record 4" in done.err and "2 of its 72 vectors cannot be used" in done.err
    done = protclip(*predict, "--on-error", "skip", cwd=place)
    assert done.rc == 6 and "2 records left out" in done.err
    assert [line.split("\t")[0] for line in done.out.splitlines()[1:]] == [
        id for number, (id, _sequence) in enumerate(PROTEINS) if number not in (3, 40)
    ]
    done = protclip("classify", "fit", "l.tsv", "--embeddings", store, "-o", "b.head", cwd=place)
    assert (done.rc, done.out) == (4, "") and not (place / "b.head").exists()


def test_vectors_of_another_kind_are_refused_and_both_are_named(protclip, place):
    done = protclip("classify", "predict", "joint.h5", "--head", "x.head", cwd=place)
    line = one_error(done, 4, "tiny", "space", "width", code="model.head_mismatch")
    assert "joint, not encoder" in line and "32, not 64" in line
    done = protclip("classify", "evaluate", "l.tsv", "joint.h5", "--head", "x.head", cwd=place)
    one_error(done, 4, "space", "width", code="model.head_mismatch")
    done = protclip(
        "classify", "predict", "x.fa", "--head", "x.head", "--model", "protclip-mini", cwd=place
    )
    line = one_error(done, 4, "model tiny", "model protclip-mini")
    assert "weights_sha256" in line


def test_a_store_that_does_not_say_how_it_was_made(protclip, place, tmp_path):
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        for id, _sequence in PROTEINS[:3]:
            file[id] = np.ones(64, np.float32)
    done = protclip("classify", "predict", tmp_path / "foreign.h5", "--head", "x.head", cwd=place)
    one_error(done, 4, "do not say their model")


def test_a_changed_head_gives_nothing(protclip, place, tmp_path):
    data = (place / "x.head").read_bytes()
    head = tmp_path / "y.head"

    def shifted(content):
        content["calibration"]["offsets"][0] += 0.5

    def nonsense(content):
        content["calibration"]["slopes"] = [-1.0]

    def other_labels(content):
        content["labels"] = content["labels"][:2]

    for change, message, code in (
        (shifted, "y.head", "model.head_answers"),
        (nonsense, "a slope of -1.0", "model.bad_head"),
        (other_labels, "a calibration of 3 labels", "model.bad_head"),
    ):
        head.write_bytes(data)
        rewrite(head, content=change)
        done = protclip("classify", "predict", "x.h5", "--head", head, cwd=place)
        one_error(done, 4, message, code=code)
    head.write_bytes(data)
    rewrite(head, content=lambda content: content["fit"].update(baselines={"prior": "x"}))
    done = protclip("classify", "evaluate", "l.tsv", "x.h5", "--head", head, cwd=place)
    assert done.rc == 4 and "its baselines cannot be read" in done.err and not done.out
    head.write_bytes(data)
    rewrite(head, content=lambda content: content.update(trained_on="?"))
    done = protclip("classify", "evaluate", "l.tsv", "x.h5", "--head", head, cwd=place)
    assert done.rc == 4 and "list of what it was fitted on is damaged" in done.err


END = """
import os
import protclip_core.heads.fitting as fitting
fits, plain = [], fitting._Fitting._fit
def ending(self, *arguments):
    fits.append(1)
    if len(fits) == {after}:
        os.kill(os.getpid(), {number})
    return plain(self, *arguments)
fitting._Fitting._fit = ending
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_fit_leaves_nothing_behind(protclip, place, tmp_path, number):
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    for after in (2, 6):  # amid the folds, and at the last fit
        prelude = END.format(after=after, number=int(number))
        done = protclip(*FIT, "-o", "x.head", "--overwrite", cwd=place, prelude=prelude)
        assert done.rc == (-9 if number == signal.SIGKILL else 128 + number), done
        assert done.out == ""
        assert {path.name: path.read_bytes() for path in place.iterdir()} == before
