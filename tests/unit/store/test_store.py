"""Stores give back what was written, in both layouts, and refuse what they cannot hold."""

from __future__ import annotations

import hashlib

import h5py
import numpy as np
import pytest

from protclip_core.errors import BusyError, InputError, ModelError, UsageError
from protclip_core.records import RecordFlag
from protclip_core.store.export import export_npy, iter_tsv_rows
from protclip_core.store.format import USER_BLOCK, UserBlock, id_to_key, key_to_id
from protclip_core.store.reader import EmbeddingStore
from protclip_core.store.tools import merge_stores, subset_store, verify_store
from protclip_core.store.writer import StoreWriter

DIM = 8
HOSTILE = [
    "../..",
    "..",
    "/",
    "//a//",
    ".",
    "",
    "a%2Fb",
    "a/b",
    "a",
    "%00",
    "%2E",
    "%",
    "\x1b[31mred",
    "x" * 100_000,
    "\u00e9",
    "e\u0301",
    "sp|P12345|A_B",
]
ATTRIBUTES = {"model": "mini", "weights_sha256": "ab" * 32, "pooling": "mean", "layer": 6, "f": 0.5}
layouts = pytest.mark.parametrize("layout", ["packed", "per-protein"])
per_residues = pytest.mark.parametrize("per_residue", [False, True])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def make(ids, seed=0, residues=False, dtype=np.float32):
    rng = np.random.default_rng(seed)
    n = len(ids)
    lengths = rng.integers(1, 9, n)
    digests = [list(hashlib.sha256(id.encode()).digest()) for id in ids]
    return {
        "ids": list(ids),
        "vectors": rng.normal(size=(n, DIM)).astype(dtype),
        "lengths": lengths,
        "flags": rng.integers(0, 64, n).astype(np.uint16),
        "digests": np.array(digests, np.uint8).reshape(n, 32),
        "residues": rng.normal(size=(lengths.sum(), DIM)).astype(dtype) if residues else None,
    }


def save(path, data, *, attributes=ATTRIBUTES, dtype="float32", layout="packed", cut=0):
    per_residue = data["residues"] is not None
    with StoreWriter(path, DIM, dtype, attributes, per_residue=per_residue, layout=layout) as w:
        middle = int(data["lengths"][:cut].sum())
        for rows, own in (
            (slice(0, cut), slice(0, middle)),
            (slice(cut, None), slice(middle, None)),
        ):
            block = {k: v[rows] for k, v in data.items() if k != "residues"}
            w.write(**block, residues=data["residues"][own] if per_residue else None)
    return path


@layouts
@per_residues
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_round_trip_with_hostile_ids(tmp_path, layout, per_residue, dtype):
    data = make(HOSTILE, residues=per_residue, dtype=dtype)
    path = save(tmp_path / "s.h5", data, dtype=dtype, layout=layout, cut=5)
    assert verify_store(path) == []
    with EmbeddingStore.open(path) as store:
        assert store.ids == HOSTILE
        assert (len(store), store.dim, str(store.dtype)) == (len(HOSTILE), DIM, dtype)
        assert (store.layout, store.per_residue) == (layout, per_residue)
        assert store.attributes == ATTRIBUTES
        assert np.array_equal(store.lengths, data["lengths"])
        assert np.array_equal(store.flags, data["flags"])
        assert np.array_equal(store.digests, data["digests"])
        assert np.array_equal(store.read(slice(None)), data["vectors"])
        assert store.read(slice(None)).dtype == np.float32
        start = 0
        for row, id in enumerate(HOSTILE):
            assert id in store
            assert np.array_equal(store.get(id), data["vectors"][row])
            stop = start + data["lengths"][row]
            if per_residue:
                assert np.array_equal(store.residues(id), data["residues"][start:stop])
            start = stop
    assert names(tmp_path) == ["s.h5"]


@layouts
def test_reading_rows(tmp_path, layout):
    ids = [f"p{i}" for i in range(60)]
    data = make(ids)
    with EmbeddingStore.open(save(tmp_path / "s.h5", data, layout=layout)) as store:
        vectors = data["vectors"]
        mask = np.arange(60) % 7 == 0
        for rows in ([3, 1, -1, 3], slice(5, 50, 9), slice(None, None, -1), np.arange(60), mask):
            assert np.array_equal(store.read(rows), vectors[rows])
        assert store.read([]).shape == (0, DIM)
        assert store.read(slice(0, 0)).shape == (0, DIM)
        for wrong in ([60], [3, -61], np.zeros(59, bool), [1.5]):
            with pytest.raises(IndexError):
                store.read(wrong)
        blocks = list(store.iter_blocks(25))
        assert [len(block_ids) for block_ids, _matrix in blocks] == [25, 25, 10]
        assert sum((block_ids for block_ids, _matrix in blocks), []) == ids
        assert np.array_equal(np.concatenate([matrix for _ids, matrix in blocks]), vectors)
        with pytest.raises(InputError, match="'zz' among its 60") as caught:
            store.get("zz")
        assert caught.value.code == "input.unknown_id"
        with pytest.raises(UsageError) as refused:
            store.residues("p1")
        assert refused.value.code == "usage.no_residues"


def test_choosing_rows_does_not_depend_on_the_size_of_the_store(tmp_path):
    data = make(["a", "b", "c"])
    with EmbeddingStore.open(save(tmp_path / "s.h5", data)) as store:
        store._data.n = 10**15  # as if more proteins followed: all their numbers fit no memory
        assert np.array_equal(store.read(slice(1, 3)), data["vectors"][1:])
        assert np.array_equal(store.read([2, 0]), data["vectors"][[2, 0]])
        assert np.array_equal(store.get("b"), data["vectors"][1])


def test_rows_far_apart_are_read_in_spans(tmp_path):
    n = 10_000
    vectors = np.arange(n * DIM, dtype=np.float32).reshape(n, DIM)
    ids = [str(i) for i in range(n)]
    zeros = np.zeros((n, 32), np.uint8)
    with StoreWriter(tmp_path / "s.h5", DIM) as writer:
        writer.write(ids, vectors, np.ones(n), np.zeros(n), zeros)
    with EmbeddingStore.open(tmp_path / "s.h5") as store:
        rows = np.array([9999, 0, 4096, 4095, 8192, 5, 4096])
        assert np.array_equal(store.read(rows), vectors[rows])


@layouts
@per_residues
def test_empty_store(tmp_path, layout, per_residue):
    path = save(tmp_path / "s.h5", make([], residues=per_residue), layout=layout)
    assert verify_store(path) == []
    with EmbeddingStore.open(path) as store:
        assert (len(store), store.ids, store.dim) == (0, [], DIM)
        assert list(store.iter_blocks()) == []
        assert len(list(iter_tsv_rows(store))) == 1


def test_plain_h5py_reads_the_documented_datasets(tmp_path):
    data = make(["b", "a"], residues=True)
    path = save(tmp_path / "s.h5", data)
    with h5py.File(path, "r") as h5:
        assert h5.userblock_size == USER_BLOCK
        assert h5.attrs["format"] == "protclip-embeddings"
        assert h5["ids"].asstr()[:].tolist() == ["b", "a"]
        assert h5["sequence_sha256"][0].decode() == hashlib.sha256(b"b").hexdigest()
        assert h5["offsets"][:].tolist() == [0, *np.cumsum(data["lengths"])]
        assert all(h5[name].fletcher32 for name in h5 if name != "ids")
        assert all(h5[name].compression is None for name in h5)


@per_residues
def test_per_protein_file_has_the_shape_of_other_tools(tmp_path, per_residue):
    data = make(["z", "a/b"], residues=per_residue)
    path = save(tmp_path / "s.h5", data, layout="per-protein")
    with h5py.File(path, "r") as h5:
        assert list(h5) == ["z", "a%2Fb"]
        dataset = h5["a%2Fb"]
        assert dataset.attrs["original_id"] == "a/b"
        assert dataset.shape == ((data["lengths"][1], DIM) if per_residue else (DIM,))
        assert dataset.fletcher32


def test_keys_are_one_to_one():
    ids = [*HOSTILE, "%2500", "%252E", "%25", "%2f", ".%2E"]
    keys = [id_to_key(id) for id in ids]
    assert len(set(keys)) == len(ids)
    assert [key_to_id(key) for key in keys] == ids
    assert not any("/" in key or key in ("", ".") for key in keys)


@layouts
@pytest.mark.parametrize("id", ["nul\0id", "\udc80"])
def test_ids_that_hdf5_cannot_hold_are_refused(tmp_path, layout, id):
    data = {**make(["a", "b"]), "ids": ["a", id]}
    with pytest.raises(InputError, match=r"NUL|unicode"):
        save(tmp_path / "s.h5", data, layout=layout)
    assert names(tmp_path) == []


@layouts
def test_repeated_id_is_refused_and_the_old_file_kept(tmp_path, layout):
    path = save(tmp_path / "s.h5", make(["old"]), layout=layout)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"\(b\): "):
        save(path, make(["a", "b", "c", "b"]), layout=layout, cut=2)
    assert path.read_bytes() == before


@pytest.mark.parametrize(("value", "dtype"), [(np.nan, "float32"), (70000.0, "float16")])
def test_values_that_are_not_finite_are_refused(tmp_path, value, dtype):
    data = make(["a", "b"])
    data["vectors"][1, 3] = value
    with pytest.raises(ModelError, match=rf"\(b\): vectors hold .* finite {dtype}"):
        save(tmp_path / "s.h5", data, dtype=dtype)
    assert names(tmp_path) == []


def test_writer_refuses_misuse(tmp_path):
    data = make(["a"])
    for change in (
        {"vectors": np.zeros((1, DIM + 1))},
        {"lengths": np.ones(2)},
        {"digests": np.zeros((1, 31), np.uint8)},
        {"residues": np.zeros((1, DIM))},
    ):
        writer = StoreWriter(tmp_path / "s.h5", DIM)
        with pytest.raises(ValueError, match=r"must be|come with"):
            writer.write(**{**data, **change})
    for arguments in ({"dtype": "float64"}, {"layout": "other"}, {"attributes": {"format": "x"}}):
        with pytest.raises(ValueError, match=r"no store|attribute names"):
            StoreWriter(tmp_path / "s.h5", DIM, **arguments)
    assert names(tmp_path) == []


def test_writer_is_atomic_and_clears_leftovers(tmp_path):
    path = save(tmp_path / "s.h5", make(["old"]))
    before = path.read_bytes()
    (tmp_path / ".s.h5.0123456789abcdef.tmp").write_bytes(b"left by a killed writer")

    def interrupted():
        with StoreWriter(path, DIM) as writer:
            writer.write(**make(["new"]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == before
    assert names(tmp_path) == ["s.h5"]


def test_same_input_gives_the_same_bytes(tmp_path):
    for layout in ("packed", "per-protein"):
        a, b = (save(tmp_path / name, make(HOSTILE), layout=layout) for name in ("a.h5", "b.h5"))
        assert a.read_bytes() == b.read_bytes()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>404</html>", "a web page"),
        (b">P1\nMKV\n", "a FASTA file"),
        (b"\x1f\x8b\x08", "a compressed file"),
        (b"version https://git-lfs.github.com/spec/v1", "a git-lfs pointer"),
        (b"\x89HDF\r\n\x1a\n", "a damaged or truncated HDF5 file"),
        (b"\x00\x01\x02", "another kind of file"),
    ],
)
def test_other_files_are_named_for_what_they_look_like(tmp_path, content, kind):
    path = tmp_path / "s.h5"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"s\.h5: cannot be read as HDF5: it looks like {kind}"):
        EmbeddingStore.open(path)
    assert kind in verify_store(path)[0]


def test_missing_file_and_unfinished_run(tmp_path):
    with pytest.raises(ModelError, match="no such file; check the path"):
        EmbeddingStore.open(tmp_path / "s.h5")
    (tmp_path / "s.h5.partial").mkdir()
    with pytest.raises(ModelError, match="finish its run with --resume"):
        EmbeddingStore.open(tmp_path / "s.h5")
    with pytest.raises(ModelError, match="cannot be"):
        EmbeddingStore.open(tmp_path)


def reseal(path):
    """Give an edited file a user block that fits, so that only the deeper checks can object."""
    content = path.read_bytes()[USER_BLOCK:]
    block = UserBlock(1, hashlib.sha256(content).hexdigest(), USER_BLOCK + len(content))
    path.write_bytes(block.to_bytes() + content)


def test_newer_format_version_is_refused_naming_both(tmp_path):
    path = save(tmp_path / "s.h5", make(["a"]))
    with h5py.File(path, "r+") as h5:
        h5.attrs["format_version"] = 2
    reseal(path)
    with pytest.raises(ModelError, match=r"version 2\D.* 1\b") as caught:
        EmbeddingStore.open(path)
    assert caught.value.code == "model.other_version"


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda h5: h5["ids"].write_direct(np.array([b"x", b"b"], "O")), "ids_sha256"),
        (lambda h5: h5["lengths"].write_direct(h5["lengths"][:] + 1), "offsets: do not follow"),
        (lambda h5: h5["residues"].resize(1, axis=0), "offsets: do not end"),
        (lambda h5: h5["flags"].resize(1, axis=0), "flags has shape"),
        (lambda h5: h5.__delitem__("lengths"), "lengths"),
        (lambda h5: h5["embeddings"].__setitem__((1, 0), np.inf), "b: embedding is not finite"),
        (lambda h5: h5["residues"].__setitem__((0, 0), np.nan), "a: residue embeddings are not"),
    ],
)
def test_verify_finds_contradictions_that_checksums_do_not(tmp_path, edit, problem):
    path = save(tmp_path / "s.h5", make(["a", "b"], residues=True))
    with h5py.File(path, "r+") as h5:
        edit(h5)
    assert len(verify_store(path)) == 1
    reseal(path)
    assert problem in " ".join(verify_store(path))


def test_file_open_for_writing_elsewhere_is_busy(tmp_path, monkeypatch):
    path = save(tmp_path / "s.h5", make(["a"]))

    def locked(*_args, **_kwargs):
        raise BlockingIOError(11, "unable to lock file")

    monkeypatch.setattr(h5py, "File", locked)
    with pytest.raises(BusyError):
        EmbeddingStore.open(path)


def foreign(path, entries, original=False):
    with h5py.File(path, "w") as h5:
        for number, (id, array) in enumerate(entries.items()):
            dataset = h5.create_dataset(str(number) if original else id, data=array)
            if original:
                dataset.attrs["original_id"] = id
    return path


@pytest.mark.parametrize("original", [False, True])
def test_files_of_other_tools_are_read(tmp_path, original, caplog):
    vectors = {id: np.full(DIM, i, np.float16) for i, id in enumerate(["P1", "Q2", "sp/a/b"])}
    path = foreign(tmp_path / "f.h5", vectors, original)
    with EmbeddingStore.open(path) as store:
        assert store.ids == ["P1", "Q2", "sp/a/b"]
        assert (store.layout, store.dim, str(store.dtype)) == ("foreign", DIM, "float16")
        assert store.get("sp/a/b").tolist() == [2.0] * DIM
        assert not store.digests.any()
        assert not store.lengths.any()
    assert verify_store(path) == []
    assert "has no checksum" in caplog.text


def test_foreign_residue_files_give_residues_only(tmp_path):
    path = foreign(tmp_path / "f.h5", {"P1": np.ones((5, DIM)), "P2": np.ones((3, DIM))})
    with EmbeddingStore.open(path) as store:
        assert store.lengths.tolist() == [5, 3]
        assert store.residues("P2").shape == (3, DIM)
        with pytest.raises(UsageError) as caught:
            store.get("P1")
        assert caught.value.code == "usage.residues_only"


@pytest.mark.parametrize(
    "entries", [{}, {"a": np.arange(3)}, {"a": np.float32(1)}, {"a": np.ones((2, 2, 2))}]
)
def test_hdf5_without_embeddings_is_refused(tmp_path, entries):
    with pytest.raises(ModelError) as caught:
        EmbeddingStore.open(foreign(tmp_path / "f.h5", entries))
    assert caught.value.code == "model.not_embeddings"


def test_foreign_record_of_another_width_is_named(tmp_path):
    path = foreign(tmp_path / "f.h5", {"a": np.ones(DIM), "b": np.ones(DIM + 1)})
    with EmbeddingStore.open(path) as store, pytest.raises(ModelError, match=r"f\.h5:b: "):
        store.read(slice(None))


def test_values_kept_in_another_file_are_refused(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(4 * DIM))
    path = tmp_path / "f.h5"
    with h5py.File(path, "w") as h5:
        place = [(str(tmp_path / "secret"), 0, 4 * DIM)]
        h5.create_dataset("a", (DIM,), "f4", external=place)
    with pytest.raises(ModelError) as caught:
        EmbeddingStore.open(path)
    assert caught.value.code == "model.damaged_store"


@layouts
@per_residues
def test_lengths_of_whole_sequences_are_kept(tmp_path, layout, per_residue):
    data, whole = make(["a", "b", "c"], residues=per_residue), np.array([9, 5000, 0])
    path, made = tmp_path / "s.h5", {"long": "truncate"}
    with StoreWriter(
        path, DIM, attributes=made, per_residue=per_residue, layout=layout, is_cut=True
    ) as w:
        w.write(**data, sequence_lengths=whole)
    out = tmp_path / "out.h5"
    for other in ("packed", "per-protein"):
        subset_store(path, [2, 1], out, layout=other)
        with EmbeddingStore.open(out) as store:
            assert store.is_cut
            assert store.sequence_lengths.tolist() == [0, 5000]
            assert store.lengths.tolist() == data["lengths"][[2, 1]].tolist()
        merge_stores([path], out, layout=other)
        with EmbeddingStore.open(out) as store:
            assert store.sequence_lengths.tolist() == whole.tolist()
        assert verify_store(out) == []


def test_of_a_cut_sequence_without_its_length_none_is_told(tmp_path):
    data = make(["a", "b"])
    data["flags"] = np.array([RecordFlag.TRUNCATED, 0], np.uint16)
    path = save(tmp_path / "old.h5", data, attributes={"long": "truncate"})
    for copy in (path, tmp_path / "new.h5"):
        if copy != path:
            merge_stores([path], copy)
        with EmbeddingStore.open(copy) as store:
            assert store.sequence_lengths.tolist() == [0, data["lengths"][1]]
            assert store.is_cut is (copy != path)


@layouts
@per_residues
def test_merge(tmp_path, layout, per_residue, caplog):
    first = make(["a", "b", "c"], residues=per_residue)
    second = make(["c", "d"], seed=1, residues=per_residue)
    a = save(tmp_path / "a.h5", first, attributes={**ATTRIBUTES, "input": "x"}, layout=layout)
    b = save(tmp_path / "b.h5", second, attributes={**ATTRIBUTES, "input": "y"})
    assert merge_stores([a, b], a, attributes={"command": "merge"}, layout=layout) == 4
    assert "1 protein also in an earlier store" in caplog.text
    assert verify_store(a) == []
    with EmbeddingStore.open(a) as store:
        assert store.ids == ["a", "b", "c", "d"]
        assert store.attributes == {**ATTRIBUTES, "command": "merge"}
        wanted = np.concatenate([first["vectors"], second["vectors"][1:]])
        assert np.array_equal(store.read(slice(None)), wanted)
        if per_residue:
            assert np.array_equal(store.residues("d"), second["residues"][second["lengths"][0] :])


def test_merge_refuses_other_settings_and_other_sequences(tmp_path):
    a = save(tmp_path / "a.h5", make(["a"]))
    other = {**ATTRIBUTES, "pooling": "cls", "layer": 5}
    b = save(tmp_path / "b.h5", make(["b"]), attributes=other)
    with pytest.raises(UsageError, match=r"pooling is 'mean' and 'cls', layer is 6 and 5"):
        merge_stores([a, b], tmp_path / "out.h5")
    changed = make(["a"])
    changed["digests"][0, 0] ^= 1
    c = save(tmp_path / "c.h5", changed)
    with pytest.raises(InputError, match=r"c\.h5 \(a\): .*a\.h5") as caught:
        merge_stores([a, c], tmp_path / "out.h5")
    assert caught.value.code == "input.duplicate_id"
    with pytest.raises(UsageError, match="no stores"):
        merge_stores([], tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


def test_merge_does_not_claim_the_run_of_its_inputs(tmp_path):
    run = {"command": "protclip embed x.fa", "input": "x.fa", "input_sha256": "cd" * 32}
    run |= {"input_summary": "2 records", "created_by": "protclip 0"}
    paths = [
        save(tmp_path / f"{id}.h5", make([id]), attributes={**ATTRIBUTES, **run}) for id in "ab"
    ]
    made = {"command": "merge", "input": "a.h5 b.h5"}
    merge_stores(paths, tmp_path / "out.h5", attributes=made)
    with EmbeddingStore.open(tmp_path / "out.h5") as store:
        assert store.attributes == {**ATTRIBUTES, **made}


def test_merge_turns_a_foreign_file_into_a_store(tmp_path):
    path = foreign(tmp_path / "f.h5", {"P1": np.ones(DIM), "P2": np.zeros(DIM)})
    assert merge_stores([path], tmp_path / "out.h5") == 2
    assert verify_store(tmp_path / "out.h5") == []


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_exports(tmp_path, dtype):
    data = make([f"p{i}" for i in range(5000)], dtype=dtype)
    with EmbeddingStore.open(save(tmp_path / "s.h5", data, dtype=dtype)) as store:
        export_npy(store, tmp_path / "s.npy")
        rows = list(iter_tsv_rows(store))
    array = np.load(tmp_path / "s.npy", allow_pickle=False)
    assert array.dtype == dtype
    assert np.array_equal(array, data["vectors"])
    columns = ["protein_id", "length", "flags"]
    assert rows[0] == [*columns, *(f"e{i}" for i in range(1, DIM + 1))]
    for place, name in enumerate(("ids", "lengths", "flags")):
        assert [row[place] for row in rows[1:]] == list(data[name])
    assert np.array_equal(np.array([row[3:] for row in rows[1:]], dtype), data["vectors"])


def test_user_block_has_one_spelling():
    block = UserBlock(1, "0f" * 32, 12345)
    data = block.to_bytes()
    assert len(data) == USER_BLOCK
    assert UserBlock.from_bytes(data + b"more") == block
    for offset in range(USER_BLOCK):
        for bit in (1, 32):
            changed = bytearray(data)
            changed[offset] ^= bit
            # A changed digit is still a block, but a different one, so it cannot match the file.
            assert UserBlock.from_bytes(bytes(changed)) != block
