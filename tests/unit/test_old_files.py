"""Files that an earlier version wrote give what they gave then (tests/data/v1)."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import numpy as np
import pytest

from protclip_core.heads import load_head
from protclip_core.heads.pair_features import unit_rows
from protclip_core.heads.pair_scores import PairScorer
from protclip_core.store.reader import EmbeddingStore
from protclip_core.store.tools import verify_store
from protclip_core.terms.index_file import read_go_index
from protclip_core.terms.scores import GoScorer
from tests.support.once import once

FOLDER = Path(__file__).parents[1] / "data/v1"
EXPECTED = json.loads(lzma.decompress((FOLDER / "expected.json.xz").read_bytes()))


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The folder with the files unpacked."""

    def unpack(folder):
        for path in FOLDER.glob("*.xz"):
            (folder / path.stem).write_bytes(lzma.decompress(path.read_bytes()))

    return once(tmp_path_factory, "v1", unpack)


def test_a_store_gives_the_vectors_it_was_written_with(old):
    """Fault 23: an older store is read."""
    assert verify_store(old / "store.h5") == []
    expected = EXPECTED["store"]
    with EmbeddingStore.open(old / "store.h5") as store:
        vectors = store.read(slice(None))
        assert list(store.ids) == expected["ids"]
        assert list(store.lengths) == expected["lengths"]
        assert list(store.flags) == expected["flags"]
    assert vectors.shape == (90, 64)
    np.testing.assert_allclose(vectors[:6], expected["vectors"], rtol=1e-5, atol=1e-6)
    assert float(vectors.mean()) == pytest.approx(expected["mean"], rel=1e-6)


@pytest.mark.parametrize(("name", "width"), [("per-protein", 64), ("joint", 32), ("residues", 64)])
def test_stores_of_other_layouts(old, name, width):
    assert verify_store(old / f"{name}.h5") == []
    with EmbeddingStore.open(old / f"{name}.h5") as store:
        assert list(store.ids) == EXPECTED["store"]["ids"][: len(store)]
        vectors = store.read(slice(None))
        assert vectors.shape == (len(store), width)
        if width == 64:
            expected = EXPECTED["store"]["vectors"][: len(store)]
            np.testing.assert_allclose(vectors, expected, rtol=1e-5, atol=2e-6)
        if name == "residues":
            found = store.residues(store.ids[0])
            assert len(found) == store.lengths[0]
            np.testing.assert_allclose(found[:, :4], EXPECTED["residues"], rtol=1e-5, atol=1e-6)


def rows(outcome):
    assert outcome.rc == 0, outcome
    return [json.loads(line) for line in outcome.out.splitlines()]


def assert_same(found, expected):
    """The same rows, numbers within the last digits of float32."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for key, value in other.items():
            same = pytest.approx(value, rel=2e-4, abs=1e-6) if isinstance(value, float) else value
            assert one[key] == same, (one, other)


@pytest.mark.parametrize("name", ["logistic", "boosting", "ridge"])
def test_a_head_predicts_as_it_did(protclip, old, name):
    top = [] if name == "ridge" else ["--top-k", "3"]
    command = ["-q", "classify", "predict", "per-protein.h5", "--head", f"{name}.head", *top]
    assert_same(rows(protclip(*command, "--format", "jsonl", cwd=old)), EXPECTED[name])


def test_a_head_of_pairs_predicts_as_it_did(old):
    with EmbeddingStore.open(old / "joint.h5") as store:
        ids, vectors = list(store.ids), store.read(slice(None))
    expected = EXPECTED["pairs"]
    a, b = ([ids.index(row[f"protein_{side}"]) for row in expected] for side in "ab")
    scorer = PairScorer(load_head(old / "pairs.head"))
    found = scorer.listed(unit_rows(vectors), a, b)
    assert len(found) == 15
    given = [row["probability"] for row in expected]
    np.testing.assert_allclose(np.ravel(found[:, -1]), given, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["variants-ridge", "variants-gp"])
def test_a_head_of_variants_predicts_as_it_did(old, name):
    features = np.array(EXPECTED[name]["features"], np.float32)
    found = load_head(old / f"{name}.head").predict(features)
    np.testing.assert_allclose(found, EXPECTED[name]["values"], rtol=1e-5, atol=1e-6)


def test_an_index_scores_as_it_did(old):
    index = read_go_index(old / "index.npz")
    expected = EXPECTED["index"]
    assert list(index.ontology.ids) == expected["ids"]
    vectors = np.array(expected["vectors"], np.float32)
    found = GoScorer(index).all_log_odds(vectors)
    np.testing.assert_allclose(found, expected["log_odds"], rtol=1e-4, atol=1e-4)
