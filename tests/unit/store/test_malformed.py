"""Stores that are not as they should be: an error that names the place, in bounded time."""

from __future__ import annotations

import resource
import time

import h5py
import numpy as np
import pytest

from protclip_core.errors import ModelError, ProtclipError
from protclip_core.store.export import export_npy, iter_tsv_rows
from protclip_core.store.format import attributes_sha256, ids_sha256
from protclip_core.store.reader import EmbeddingStore
from protclip_core.store.tools import merge_stores, verify_store

IDS = ["a", "b", "c"]


def write(path, *, per_residue=False, replace=None, **attributes):
    """A packed store as a script might write it; ``replace`` names datasets to make otherwise."""
    provenance = {"model": "tiny", "layer": 2, **attributes}
    columns = {
        "ids": np.array(IDS, dtype=h5py.string_dtype()),
        "embeddings": np.arange(12, dtype=np.float32).reshape(3, 4),
        "lengths": np.array([1, 2, 3]),
        "flags": np.zeros(3, np.uint16),
        "sequence_sha256": np.array([b"0" * 64] * 3, "S64"),
    }
    if per_residue:
        columns["residues"] = np.ones((6, 4), np.float32)
        columns["offsets"] = np.array([0, 1, 3, 6])
    columns |= replace or {}
    with h5py.File(path, "w") as h5:
        for name, data in columns.items():
            if callable(data):
                data(h5)
            elif data is not None:
                h5[name] = data
        own = {
            "format": "protclip-embeddings",
            "format_version": 1,
            "layout": "packed",
            "dim": 4,
            "per_residue": int(per_residue),
            "ids_sha256": ids_sha256(IDS),
            "attributes_sha256": attributes_sha256(provenance),
        }
        for name, value in {**own, **provenance}.items():
            h5.attrs[name] = value
    return path


def use(path, folder):
    """All that a command does with a store."""
    with EmbeddingStore.open(path) as store:
        _ = store.attributes, store.ids, store.lengths.sum(), store.flags, store.digests
        store.read(slice(None))
        if store.per_residue:
            store.residues_stored(0)
        list(iter_tsv_rows(store))
        export_npy(store, folder / "out.npy")
    merge_stores([path], folder / "merged.h5")


def test_the_store_of_these_tests_is_sound(tmp_path):
    for per_residue in (False, True):
        use(write(tmp_path / "s.h5", per_residue=per_residue), tmp_path)


def declared(name, shape, **options):
    def make(h5):
        chunks = (min(1 << 20, shape[0]), *shape[1:])
        h5.create_dataset(name, shape, options.pop("dtype", "f4"), chunks=chunks, **options)

    return make


TEXT = np.array(["x", "y", "z"], dtype=h5py.string_dtype())
REPLACED = {
    **{f"{name} missing": {name: None} for name in ("ids", "embeddings", "lengths", "flags")},
    **{
        f"{name} a group": {name: lambda h5, name=name: h5.create_group(name)}
        for name in ("ids", "embeddings", "lengths", "flags", "sequence_sha256")
    },
    **{f"{name} text": {name: TEXT} for name in ("embeddings", "lengths", "flags")},
    "lengths NaN": {"lengths": np.array([1, np.nan, 3])},
    "flags float": {"flags": np.array([0.5, np.inf, 3])},
    "ids numbers": {"ids": np.arange(3)},
    "hashes numbers": {"sequence_sha256": np.arange(3)},
    "hashes no hex": {"sequence_sha256": np.array([b"z" * 64] * 3, "S64")},
    "width 0": {"embeddings": np.zeros((3, 0), np.float32)},
    "one dimension": {"embeddings": np.zeros(3, np.float32)},
    "complex": {"embeddings": np.zeros((3, 4), np.complex64)},
    "soft link": {"embeddings": lambda h5: h5.__setitem__("embeddings", h5py.SoftLink("/flags"))},
    "link to itself": {"lengths": lambda h5: h5.__setitem__("lengths", h5py.SoftLink("/lengths"))},
    "external link": {"flags": lambda h5: h5.__setitem__("flags", h5py.ExternalLink("x.h5", "/x"))},
    "compressed": {
        "embeddings": lambda h5: h5.create_dataset(
            "embeddings", data=np.zeros((3, 4), "f4"), compression="gzip"
        )
    },
    "10^8 rows": {
        "ids": declared("ids", (10**8,), dtype=h5py.string_dtype()),
        "embeddings": declared("embeddings", (10**8, 4), compression="gzip"),
        "lengths": declared("lengths", (10**8,), dtype="i8", compression="gzip"),
        "flags": declared("flags", (10**8,), dtype="u2", compression="gzip"),
        "sequence_sha256": declared("sequence_sha256", (10**8,), dtype="S64", compression="gzip"),
    },
    "10^8 rows that nobody wrote": {
        "ids": declared("ids", (10**8,), dtype=h5py.string_dtype()),
        "embeddings": declared("embeddings", (10**8, 4)),
        "lengths": declared("lengths", (10**8,), dtype="i8"),
        "flags": declared("flags", (10**8,), dtype="u2"),
        "sequence_sha256": declared("sequence_sha256", (10**8,), dtype="S64"),
    },
    "wide": {"embeddings": declared("embeddings", (3, 1 << 27))},
}
RESIDUES = {
    "residues missing": {"residues": None},
    "residues a group": {"residues": lambda h5: h5.create_group("residues")},
    "offsets NaN": {"offsets": np.array([0, np.nan, 3, 6])},
    "offsets text": {"offsets": np.array(list("wxyz"), dtype=h5py.string_dtype())},
    "offsets back": {"offsets": np.array([5, 1, 3, 6])},
    "residues wide": {"residues": np.ones((6, 5), np.float32)},
}


@pytest.fixture
def bounded():
    """Little time and little memory, whatever the file claims."""
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.process_time() - began < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(
    ("per_residue", "replace"),
    [(False, r) for r in REPLACED.values()] + [(True, r) for r in RESIDUES.values()],
    ids=[*REPLACED, *RESIDUES],
)
def test_malformed_columns_are_named(tmp_path, per_residue, replace):
    path = write(tmp_path / "s.h5", per_residue=per_residue, replace=replace)
    with pytest.raises(ProtclipError) as caught:
        use(path, tmp_path)
    assert caught.value.code == "model.damaged_store"
    assert "\n" not in str(caught.value)
    assert len(verify_store(path)) == 1


@pytest.mark.parametrize("layer", ["two", 1.5, np.array([1, 2]), np.nan], ids=str)
def test_layer_that_is_not_a_number_of_a_layer(tmp_path, layer):
    path = write(tmp_path / "s.h5")
    with h5py.File(path, "a") as h5:
        h5.attrs["layer"] = layer
        shown = layer.tolist() if isinstance(layer, np.ndarray) else layer
        h5.attrs["attributes_sha256"] = attributes_sha256({"model": "tiny", "layer": shown})
    with EmbeddingStore.open(path) as store, pytest.raises(ModelError) as caught:
        _ = store.attributes
    assert caught.value.code == "model.damaged_store"


def own_dataset(**attributes):
    def make(path):
        with h5py.File(path, "w", track_order=True) as h5:
            h5["a"] = np.ones(4, np.float32)
            for name, value in {
                "original_id": "a",
                "length": 3,
                "flags": 0,
                "sequence_sha256": b"0" * 64,
            }.items():
                h5["a"].attrs[name] = attributes.get(name, value)
            own = {
                "format": "protclip-embeddings",
                "format_version": 1,
                "layout": "per-protein",
                "dim": attributes.get("dim", 4),
                "per_residue": attributes.get("per_residue", 0),
                "ids_sha256": ids_sha256(["a"]),
                "attributes_sha256": attributes_sha256({}),
            }
            for name, value in own.items():
                h5.attrs[name] = value
            if "group" in attributes:
                del h5["a"]
                h5.create_group("a")

    return make


PER_PROTEIN = {
    "length NaN": own_dataset(length=np.nan),
    "length infinite": own_dataset(length=np.inf),
    "length text": own_dataset(length="three"),
    "length a list": own_dataset(length=[1, 2]),
    "flags text": own_dataset(flags="x"),
    "hash too short": own_dataset(sequence_sha256=b"00"),
    "width 0": own_dataset(dim=0),
    "width text": own_dataset(dim="four"),
    "width another": own_dataset(dim=5),
    "residues of nothing": own_dataset(per_residue=1),
    "a group": own_dataset(group=True),
}


@pytest.mark.parametrize("make", PER_PROTEIN.values(), ids=PER_PROTEIN)
def test_malformed_per_protein_files_are_named(tmp_path, make):
    make(tmp_path / "s.h5")
    with pytest.raises(ProtclipError) as caught:
        use(tmp_path / "s.h5", tmp_path)
    assert caught.value.code == "model.damaged_store"


def deep(h5):
    group = h5
    for _ in range(3000):
        group = group.create_group("x")
    group["v"] = np.ones(4, np.float32)


def many_groups(h5):
    for number in range(15_000):
        h5.create_group(f"g{number}")


def bomb(h5):
    h5.create_dataset("a", (10**8, 64), "f4", chunks=(1 << 14, 64), compression="gzip")


FOREIGN = {"deep": deep, "many groups": many_groups, "bomb": bomb}


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)
def test_files_of_others_end_in_bounded_time_and_memory(tmp_path, make):
    with h5py.File(tmp_path / "s.h5", "w", libver="latest") as h5:
        make(h5)
    with pytest.raises(ModelError) as caught, EmbeddingStore.open(tmp_path / "s.h5"):
        pass
    assert caught.value.code == "model.damaged_store"


def test_values_that_are_not_finite_are_exported_with_a_word(tmp_path, caplog):
    vectors = np.ones((3, 4), np.float32)
    vectors[0, 1], vectors[2, 3] = np.nan, -np.inf
    with EmbeddingStore.open(write(tmp_path / "s.h5", replace={"embeddings": vectors})) as store:
        for export in (
            lambda: list(iter_tsv_rows(store)),
            lambda: export_npy(store, tmp_path / "x"),
        ):
            caplog.clear()
            export()
            assert "2 of 3 " in caplog.text
