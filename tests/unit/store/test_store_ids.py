"""Ids of a store that pass by in blocks, and blocks of vectors that are read in one go."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from protclip_core.errors import ModelError
from protclip_core.store.reader import EmbeddingStore
from protclip_core.store.writer import StoreWriter

IDS = [f"p{i}/é" for i in range(25)]


@pytest.fixture(params=["packed", "per-protein"])
def store(request, tmp_path):
    vectors = np.random.default_rng(0).normal(size=(25, 6)).astype(np.float32)
    with StoreWriter(tmp_path / "x.h5", 6, "float32", layout=request.param) as writer:
        writer.write(
            IDS, vectors, np.ones(25), np.zeros(25, np.uint16), np.zeros((25, 32), np.uint8)
        )
    return tmp_path / "x.h5", vectors


@pytest.mark.parametrize("size", [1, 7, 25, 100])
def test_blocks_of_ids(store, size):
    with EmbeddingStore.open(store[0]) as opened:
        blocks = list(opened.iter_ids(size))
    assert [id for block in blocks for id in block] == IDS
    assert all(len(block) == size for block in blocks[:-1])


def test_rows_in_a_run_and_scattered_are_the_same_vectors(store):
    path, vectors = store
    with EmbeddingStore.open(path) as opened:
        for rows in ([3, 4, 5], [5, 4, 3], [3, 3, 4], [3, 5, 4], [24], [], [0, 2], [4, 4]):
            np.testing.assert_array_equal(opened.read(rows), vectors[np.array(rows, int)])
        np.testing.assert_array_equal(opened.read(slice(2, 9, 2)), vectors[2:9:2])
        np.testing.assert_array_equal(opened.read(slice(None, None, -1)), vectors[::-1])


def test_changed_ids_are_known_after_the_last(tmp_path):
    path = tmp_path / "x.h5"
    with StoreWriter(path, 2, "float32") as writer:
        writer.write(
            IDS,
            np.ones((25, 2)),
            np.ones(25),
            np.zeros(25, np.uint16),
            np.zeros((25, 32), np.uint8),
        )
    with h5py.File(path, "r+") as h5:
        h5["ids"][20] = "other"
    with path.open("r+b") as file:  # without its user block, so that only the ids tell
        file.write(b"\0" * 512)
    with EmbeddingStore.open(path) as opened:
        blocks = opened.iter_ids(10)
        assert next(blocks) == IDS[:10]
        with pytest.raises(ModelError, match="do not match ids_sha256"):
            list(blocks)
        with pytest.raises(ModelError, match="do not match ids_sha256"):
            _ = opened.ids
