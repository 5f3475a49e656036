"""The working folder keeps finished parts and never uses a damaged one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from protclip_core.errors import ModelError, ResourceError, UsageError
from protclip_core.store import part_reader
from protclip_core.store import parts as parts_module
from protclip_core.store.journal import file_sha256
from protclip_core.store.parts import PartStore, partial_folder

KEY = {"weights_sha256": "ab" * 32, "pooling": "mean", "layer": 6}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def make(n=3, dim=4, seed=0, residues=False, dtype=np.float32):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 5, n)
    arrays = {
        "digest": rng.integers(0, 256, (n, 32), dtype=np.uint8),
        "vectors": rng.normal(size=(n, dim)).astype(dtype),
        "lengths": lengths,
        "flags": rng.integers(0, 64, n).astype(np.uint16),
    }
    if residues:
        arrays["residues"] = rng.normal(size=(lengths.sum(), dim)).astype(dtype)
    return arrays


@pytest.fixture
def folder(tmp_path):
    return partial_folder(tmp_path / "out.h5")


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("residues", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_parts_come_back_as_they_were(folder, residues, dtype):
    store = PartStore.open(folder, KEY, resume=False)
    made = [make(seed=i, residues=residues, dtype=dtype) for i in range(3)]
    assert [store.append(**arrays) for arrays in made] == [0, 1, 2]
    again = PartStore.open(folder, KEY, resume=True)
    assert again.parts == (0, 1, 2)
    assert again.n_proteins == 9
    for (number, digest), arrays in zip(again.digests(), made, strict=True):
        assert np.array_equal(digest, arrays["digest"])
        with again.reader() as reader:
            rows = [reader.read(number, row) for row in range(len(digest))]
        for name, read in (("vectors", [r[0] for r in rows]), ("lengths", [r[1] for r in rows])):
            assert np.array_equal(read, arrays[name])
        assert {vector.dtype for vector, _length, _residues in rows} == {np.dtype(dtype)}
        if residues:
            matrices = [matrix for _vector, _length, matrix in rows]
            assert [len(matrix) for matrix in matrices] == arrays["lengths"].tolist()
            assert np.array_equal(np.concatenate(matrices), arrays["residues"])
            assert {matrix.dtype for matrix in matrices} == {np.dtype(dtype)}
        else:
            assert {matrix for _vector, _length, matrix in rows} == {None}
    assert again.append(**made[0]) == 3


def test_resume_of_nothing_begins(folder):
    store = PartStore.open(folder, KEY, resume=True)
    assert store.parts == ()
    assert list(store.digests()) == []


def test_other_settings_are_named_and_nothing_is_touched(folder):
    PartStore.open(folder, KEY, resume=False).append(**make())
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = {"weights_sha256": "ab" * 32, "pooling": "cls", "dtype": "float16"}
    with pytest.raises(UsageError) as caught:
        PartStore.open(folder, other, resume=True)
    text = str(caught.value)
    assert 'pooling is "mean" there, "cls" now' in text
    assert "layer is 6 there, absent now" in text
    assert 'dtype is absent there, "float16" now' in text
    assert "weights_sha256" not in text
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_finished_parts_are_not_overwritten_unasked(folder):
    PartStore.open(folder, KEY, resume=False).append(**make(n=5))
    with pytest.raises(UsageError, match=r"5 proteins .*--resume.*--overwrite"):
        PartStore.open(folder, KEY, resume=False)
    assert PartStore.open(folder, KEY, resume=False, overwrite=True).parts == ()
    # A folder without finished parts holds nothing worth asking about.
    assert PartStore.open(folder, {"other": 1}, resume=False).parts == ()
    assert json.loads((folder / "run.json").read_text()) == {"other": 1}


def test_finished_parts_without_settings_are_refused(folder):
    PartStore.open(folder, KEY, resume=False).append(**make())
    (folder / "run.json").write_bytes(b"{")
    with pytest.raises(ModelError, match="missing or damaged"):
        PartStore.open(folder, KEY, resume=True)


@pytest.mark.parametrize("cut", [1, 30])
def test_torn_last_journal_line_is_dropped_with_a_warning(folder, caplog, cut):
    store = PartStore.open(folder, KEY, resume=False)
    store.append(**make(seed=1))
    store.append(**make(seed=2))
    journal = folder / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-cut])
    again = PartStore.open(folder, KEY, resume=True)
    assert again.parts == (0,)
    assert "line 2 is torn" in caplog.text
    assert not (folder / "part-000001.safetensors").exists()
    again.append(**make(seed=2))
    caplog.clear()
    assert PartStore.open(folder, KEY, resume=True).parts == (0, 1)
    assert not caplog.records


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_part_that_is_missing_or_cut_is_dropped(folder, caplog, damage):
    store = PartStore.open(folder, KEY, resume=False)
    for seed in range(2):
        store.append(**make(seed=seed))
    path = folder / "part-000000.safetensors"
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    assert PartStore.open(folder, KEY, resume=True).parts == (1,)
    assert "its 3 proteins will be computed again" in caplog.text


@pytest.mark.parametrize("offset", [0, 20, -1])
def test_flipped_byte_is_found_before_the_part_is_used(folder, caplog, offset):
    store = PartStore.open(folder, KEY, resume=False)
    for seed in range(2):
        store.append(**make(seed=seed))
    flip(folder / "part-000000.safetensors", offset)
    again = PartStore.open(folder, KEY, resume=True)
    assert [number for number, _digest in again.digests()] == [1]
    assert "does not match its sha256" in caplog.text
    with again.reader() as reader, pytest.raises(KeyError):
        reader.read(0, 0)
    assert PartStore.open(folder, KEY, resume=True).parts == (1,)


def test_flipped_byte_is_found_by_reading_a_row_alone(folder):
    PartStore.open(folder, KEY, resume=False).append(**make())
    flip(folder / "part-000000.safetensors", -1)
    again = PartStore.open(folder, KEY, resume=True)
    damaged = "must be computed again; run again with --resume"
    with again.reader() as reader, pytest.raises(ModelError, match=damaged):
        reader.read(0, 0)
    assert again.n_proteins == 0


@pytest.mark.parametrize("cut", [-110, 20, 4, 0, None])  # -110: within the last vector
def test_part_cut_or_removed_after_it_was_checked_is_an_error(folder, cut):
    store = PartStore.open(folder, KEY, resume=False)
    store.append(**make(residues=True))
    path = folder / "part-000000.safetensors"
    if cut is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:cut])
    damaged = r"part-000000\.safetensors: .*run again with --resume"
    with store.reader() as reader, pytest.raises(ModelError, match=damaged):
        reader.read(0, 2)


def test_files_that_the_journal_does_not_name_are_removed_but_not_those_of_others(folder):
    PartStore.open(folder, KEY, resume=False).append(**make())
    for name in ("part-000007.safetensors", ".part-000001.safetensors.0123456789abcdef.tmp"):
        (folder / name).write_bytes(b"x")
    (folder / "notes.txt").write_bytes(b"mine")
    store = PartStore.open(folder, KEY, resume=True)
    assert names(folder) == [
        "journal.jsonl",
        "notes.txt",
        "part-000000.safetensors",
        "run.json",
    ]
    store.discard()
    assert names(folder) == ["notes.txt"]


def test_discard_removes_the_folder(folder):
    store = PartStore.open(folder, KEY, resume=False)
    store.append(**make())
    store.discard()
    assert not folder.exists()
    store.discard()


def test_full_disk_at_the_journal_leaves_it_as_it_was(folder, monkeypatch):
    store = PartStore.open(folder, KEY, resume=False)
    store.append(**make(seed=0))
    before = (folder / "journal.jsonl").read_bytes()
    real = os.fsync

    def fail(fd):
        if Path(f"/proc/self/fd/{fd}").resolve().name == "journal.jsonl":
            raise OSError(28, "No space left on device")
        real(fd)

    monkeypatch.setattr(parts_module.os, "fsync", fail)
    with pytest.raises(ResourceError, match="no room"):
        store.append(**make(seed=1))
    monkeypatch.undo()
    assert (folder / "journal.jsonl").read_bytes() == before
    assert store.append(**make(seed=1)) == 1
    assert PartStore.open(folder, KEY, resume=True).parts == (0, 1)


def test_rows_are_read_without_the_rest_of_their_parts(folder, monkeypatch):
    """Input order visits the parts, which are in length order, again and again."""
    store = PartStore.open(folder, KEY, resume=False)
    made = [make(n=40, dim=512, seed=seed, residues=True) for seed in range(3)]
    for arrays in made:
        store.append(**arrays)
    store = PartStore.open(folder, KEY, resume=True)
    taken, hashed = [], []
    real = part_reader.PartFile._read

    def counted(self, name, start, stop):
        array = real(self, name, start, stop)
        taken.append(array.nbytes)
        return array

    def hashing(path):
        hashed.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr(part_reader.PartFile, "_read", counted)
    monkeypatch.setattr(parts_module, "file_sha256", hashing)
    order = np.random.default_rng(0).permutation(120)
    starts = [np.concatenate([[0], np.cumsum(arrays["lengths"])]) for arrays in made]
    with store.reader(most_open=2) as reader:
        for number, row in (divmod(int(place), 40) for place in order):
            vector, length, residues = reader.read(number, row)
            arrays, start = made[number], starts[number][row]
            assert length == arrays["lengths"][row]
            assert np.array_equal(vector, arrays["vectors"][row])
            assert np.array_equal(residues, arrays["residues"][start : start + length])
    rows = sum(arrays["vectors"].nbytes + arrays["residues"].nbytes for arrays in made)
    lengths = 120 * 40 * 8  # those of a part, at worst at every visit
    assert rows < sum(taken) <= rows + lengths
    assert sorted(hashed) == [f"part-{number:06d}.safetensors" for number in range(3)]


def test_few_of_many_parts_are_open_at_a_time_and_none_afterwards(folder):
    def n_open():
        links = [str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
        return sum(link.startswith(str(folder)) for link in links)

    store = PartStore.open(folder, KEY, resume=False)
    made = [make(seed=seed) for seed in range(9)]
    for arrays in made:
        store.append(**arrays)
    with store.reader(most_open=3) as reader:
        for number in (*range(9), 6, 1):
            vector, _length, _residues = reader.read(number, 2)
            assert np.array_equal(vector, made[number]["vectors"][2])
            assert n_open() <= 3
        assert set(reader._files) == {8, 6, 1}
    assert n_open() == 0


def test_values_that_are_not_finite_are_refused(folder):
    store = PartStore.open(folder, KEY, resume=False)
    arrays = make()
    arrays["vectors"][1, 2] = np.nan
    with pytest.raises(ModelError, match="not finite"):
        store.append(**arrays)
    assert store.parts == ()


@pytest.mark.parametrize(
    "change",
    [
        {"digest": np.zeros((3, 31), np.uint8)},
        {"vectors": np.zeros((2, 4), np.float32)},
        {"vectors": np.zeros((3, 4))},
        {"lengths": np.ones(2, np.int64)},
        {"residues": np.zeros((1, 4), np.float32)},
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(folder, change):
    store = PartStore.open(folder, KEY, resume=False)
    with pytest.raises(ValueError, match="must be"):
        store.append(**{**make(), **change})


def test_settings_of_a_run_that_finished_nothing_bind_nobody(folder):
    """A run killed before its first part leaves settings, but nothing that they apply to."""
    PartStore.open(folder, {"pooling": "tokens"}, resume=False)
    PartStore.open(folder, {"pooling": "residues"}, resume=True)
    assert json.loads((folder / "run.json").read_text()) == {"pooling": "residues"}
