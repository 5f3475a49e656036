"""HDF5 files of other programs: what holds vectors of proteins is read, the rest is named."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from protclip_core.errors import ModelError, UsageError
from protclip_core.store.reader import EmbeddingStore
from protclip_core.store.tools import verify_store

VECTORS = np.arange(12, dtype=np.float32).reshape(3, 4)
NAMES = ["P1", "P2", "é3"]


def written(path, **datasets):
    with h5py.File(path, "w") as h5:
        for name, data in datasets.items():
            kind = h5py.string_dtype() if data is NAMES else None
            h5.create_dataset(name, data=data, dtype=kind)
    return path


@pytest.mark.parametrize(
    "datasets",
    [
        {"embeddings": VECTORS, "ids": NAMES},
        {"matrix": VECTORS, "who": NAMES},
        {"X": VECTORS.astype(np.float64), "names": NAMES, "species": ["a", "b", "c"]},
        {"vectors": VECTORS.astype(np.float16), "accessions": NAMES, "weights": np.ones((9, 4))},
        {"embeddings": VECTORS, "ids": NAMES, "lengths": np.ones(3, int), "note": ["x"]},
    ],
    ids=["plain", "other names", "two columns of text", "two matrices", "more columns"],
)
def test_a_matrix_with_names_is_read(tmp_path, datasets, caplog):
    path = written(tmp_path / "m.h5", **datasets)
    with EmbeddingStore.open(path) as store:
        assert (store.layout, store.ids, store.dim) == ("foreign", NAMES, 4)
        assert not store.per_residue
        assert np.array_equal(store.read([2, 0, 2]), VECTORS[[2, 0, 2]])
        assert np.array_equal(store.get("é3"), VECTORS[2])
        assert not store.lengths.any()
        with pytest.raises(UsageError) as caught:
            store.residues("P1")
        assert caught.value.code == "usage.no_residues"
    assert verify_store(path) == []
    assert "has no checksum" in caplog.text


def test_names_of_fixed_width_are_text(tmp_path):
    path = written(tmp_path / "m.h5", embeddings=VECTORS, ids=np.array([b"a", b"bc", b"d"]))
    with EmbeddingStore.open(path) as store:
        assert store.ids == ["a", "bc", "d"]


@pytest.mark.parametrize("names", ["ids", "other"])
def test_a_name_that_occurs_twice_is_found(tmp_path, names):
    path = written(tmp_path / "m.h5", embeddings=VECTORS, **{names: [b"a", b"b", b"a"]})
    assert len(verify_store(path)) == 1


@pytest.mark.parametrize(
    "datasets",
    [
        {"embeddings": VECTORS},
        {"embeddings": VECTORS, "ids": [b"a", b"b"]},
        {"embeddings": VECTORS, "ids": np.arange(3)},
        {"embeddings": VECTORS, "species": [b"a", b"b", b"c"], "genes": [b"x", b"y", b"z"]},
    ],
    ids=["none", "too few", "numbers", "which"],
)
def test_a_matrix_without_names_is_refused(tmp_path, datasets):
    with pytest.raises(ModelError) as caught:
        EmbeddingStore.open(written(tmp_path / "m.h5", **datasets))
    assert caught.value.code == "model.not_embeddings"
    assert "ids" in caught.value.hint


def test_vectors_of_one_row_each_are_vectors(tmp_path):
    path = written(tmp_path / "v.h5", **{f"p{n}": VECTORS[n : n + 1] for n in range(3)})
    with EmbeddingStore.open(path) as store:
        assert (store.per_residue, store.dim) == (False, 4)
        assert np.array_equal(store.read(slice(None)), VECTORS)


def test_a_protein_of_one_residue_among_others_has_residues(tmp_path):
    path = written(tmp_path / "r.h5", X=VECTORS[:1], b=VECTORS)
    with EmbeddingStore.open(path) as store:
        assert (store.per_residue, store.lengths.tolist()) == (True, [1, 3])


@pytest.mark.parametrize("marked", [True, False], ids=["marked", "old"])
def test_anndata_is_named(tmp_path, marked):
    path = tmp_path / "cells.h5ad"
    with h5py.File(path, "w") as h5:
        if marked:
            h5.attrs["encoding-type"] = "anndata"
        h5["X"] = VECTORS
        h5["obs/_index"], h5["var/_index"] = [b"c1", b"c2", b"c3"], [b"g"] * 4
    with pytest.raises(ModelError) as caught:
        EmbeddingStore.open(path)
    assert caught.value.code == "model.not_embeddings"
    assert "AnnData" in caught.value.message


def test_what_keeps_its_names_in_another_file_is_refused(tmp_path):
    (tmp_path / "secret").write_bytes(b"abc")
    path = written(tmp_path / "m.h5", embeddings=VECTORS)
    with h5py.File(path, "a") as h5:
        h5.create_dataset("ids", (3,), "S1", external=[(str(tmp_path / "secret"), 0, 3)])
    with pytest.raises(ModelError) as caught:
        EmbeddingStore.open(path)
    assert caught.value.code == "model.damaged_store"
