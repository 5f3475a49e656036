"""Strings of HDF5 files that the library would read for ever."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from protclip_core.errors import ModelError
from protclip_core.store.heaps import has_endless_heap
from protclip_core.store.reader import EmbeddingStore

MARK = b"GCOL\x01\0\0\0"
#: Of a collection, and of an object in it, with sizes of 8 bytes.
HEADER = 16


def written(path, count=3000, **options):
    """Write strings of many lengths, as attributes and as values; return the bytes."""
    with h5py.File(path, "w", **options) as file:
        names = ["x" * (n % 90) + str(n) for n in range(count)]
        file.create_dataset("ids", data=names, dtype=h5py.string_dtype(), chunks=(64,))
        for n in range(40):
            file.attrs[f"a{n}"] = names[n] * (n + 1)
        file["vectors"] = np.zeros((count, 3))
    return path.read_bytes()


def is_endless(path, content):
    path.write_bytes(content)
    with path.open("rb") as file:
        return has_endless_heap(file)


def objects(content):
    """Yield where each object of each collection begins."""
    start = content.find(MARK)
    while start >= 0:
        end = start + int.from_bytes(content[start + 8 : start + 16], "little")
        place = start + HEADER
        while place + HEADER <= end:
            yield place
            number, size = content[place : place + 2], content[place + 8 : place + 16]
            length = int.from_bytes(size, "little")
            place += HEADER + -(-length // 8) * 8 if any(number) else length
        start = content.find(MARK, start + 1)


@pytest.mark.parametrize("options", [{}, {"libver": "latest"}, {"userblock_size": 1024}])
def test_sound_files_are_not_suspected(tmp_path, options):
    content = written(tmp_path / "x.h5", **options)
    assert content.count(MARK) > 4
    assert not is_endless(tmp_path / "y.h5", content)
    for other in (b"", b"GCOL", MARK, MARK * 3, content[: content.find(MARK) + 9]):
        assert not is_endless(tmp_path / "y.h5", other)


def test_an_object_of_no_size_is_found_wherever_it_is(tmp_path):
    content = written(tmp_path / "x.h5", 300)
    for place in [*objects(content)][::9]:
        for number, size in ((0, 0), (1, 2**64 - 16), (5, 2**64 - 17), (1, 2**64 - 4096)):
            changed = bytearray(content)
            changed[place : place + 2] = number.to_bytes(2, "little")
            changed[place + 8 : place + 16] = size.to_bytes(8, "little")
            assert is_endless(tmp_path / "y.h5", bytes(changed)), (place, number, size)


def test_such_a_store_is_refused_before_hdf5_reads_it(tmp_path):
    content = bytearray(written(tmp_path / "x.h5", 100))
    place = next(objects(content))
    content[place : place + HEADER] = bytes(HEADER)
    (tmp_path / "x.h5").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        EmbeddingStore.open(tmp_path / "x.h5")
    assert caught.value.code == "model.damaged_store"
