"""Files of plain arrays: crafted and damaged ones are refused, nothing they state is believed."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from protclip_core.errors import ModelError
from protclip_core.io.arrays import pack_arrays, unpack_arrays

ARRAYS = {
    "ids": np.frombuffer(b"GO:0000001\0" * 26, dtype=np.uint8),
    "numbers": np.arange(6, dtype=np.int32).reshape(2, 3),
    "none": np.zeros(0, np.int64),
    "prior": np.array([0.5, np.nan], np.float32),
}


def zipped(entries):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def plain(values, **options):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, values, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("npz", [False, True])
def test_arrays_come_back_and_equal_ones_are_equal_files(npz):
    data = pack_arrays(ARRAYS, npz=npz)
    found = unpack_arrays(data, "here")
    assert set(found) == set(ARRAYS)
    for name, values in ARRAYS.items():
        assert found[name].dtype == values.dtype
        assert np.array_equal(found[name], values, equal_nan=name == "prior")
    assert pack_arrays(found, npz=npz) == data


def test_damaged_and_crafted_files_are_refused():
    whole = {npz: pack_arrays(ARRAYS, npz=npz) for npz in (False, True)}
    entries = {f"{name}.npy": plain(values) for name, values in ARRAYS.items()}
    ids = entries["ids.npy"]
    code = ids.replace(b"(286,), }  ", b"(9**9,), } ")
    huge = ids.replace(b"(286,), }      ", b"(999999999,), }")
    negative = ids.replace(b"(286,), }", b"(-28,), }")
    deep = ids[:10] + b"(" * 100 + ids[110:]
    assert len({ids, code, huge, negative, deep}) == 5
    for crafted in (
        b"x",
        code,
        huge,
        negative,
        deep,
        plain(np.array([{}], dtype=object), allow_pickle=True),
        plain(np.array(["text"])),
        plain(np.asfortranarray(np.ones((2, 3)))),
        plain(np.ones((2, 2, 2))),
        ids[:-1],
        ids + b"0",
    ):
        with pytest.raises(ModelError, match="array 'ids") as caught:
            unpack_arrays(zipped(entries | {"ids.npy": crafted}), "here")
        assert caught.value.code == "model.damaged"
    half = whole[True][: len(whole[True]) // 2]
    for data in (b"", b"not one of ours", whole[False][:-1], whole[False][:100], half):
        with pytest.raises(ModelError) as caught:
            unpack_arrays(data, "here")
        assert caught.value.where == "here"


def test_a_header_of_safetensors_may_not_claim_what_is_not_there():
    header = b'{"ids":{"dtype":"U8","shape":[99999999999],"data_offsets":[0,99999999999]}}'
    with pytest.raises(ModelError) as caught:
        unpack_arrays(len(header).to_bytes(8, "little") + header, "here")
    assert caught.value.code == "model.damaged"
