"""Plain arrays of numbers in one file: safetensors, or ``.npz`` as older files are.

Nothing is unpickled, and no size that a file states is believed before its bytes are there.
"""

from __future__ import annotations

import io
import tokenize
import warnings
from collections.abc import Mapping

import numpy as np
from numpy.lib import format as npy

from protclip_core.errors import ModelError
from protclip_core.io.json_fields import one_line
from protclip_core.io.zips import unpack_entries

__all__ = ["pack_arrays", "unpack_arrays"]

_ZIP = b"PK\x03\x04"
#: What numpy raises for a header that it cannot read: it takes it for Python.
_BAD_HEADER = (
    ValueError,
    SyntaxError,
    TypeError,
    RecursionError,
    MemoryError,
    Warning,
    tokenize.TokenError,
)


def pack_arrays(arrays: Mapping[str, np.ndarray], *, npz: bool = False) -> bytes:
    """Return a file of these arrays; equal arrays make equal files.

    Parameters
    ----------
    arrays
        Name to array of numbers.
    npz
        Compress them (``.npz``); a safetensors file is larger and read many times as fast.
    """
    if npz:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()
    from safetensors.numpy import save

    return save({name: np.ascontiguousarray(value) for name, value in arrays.items()})


def unpack_arrays(data: bytes, where: str) -> dict[str, np.ndarray]:
    """Return the arrays of a file that `pack_arrays` made, by name.

    Raises
    ------
    ModelError
        ``model.damaged``: neither kind of file, or one with an array that is not of plain
        numbers or is cut.
    """
    if data.startswith(_ZIP):
        entries = unpack_entries(data, where)
        return {n.removesuffix(".npy"): _array(entry, n, where) for n, entry in entries.items()}
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(data)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ModelError(
            f"neither a safetensors nor a .npz file ({one_line(str(error), 80)})",
            code="model.damaged",
            where=where,
        ) from error


def _array(data: bytes, name: str, where: str) -> np.ndarray:
    """Read an ``.npy`` file; numpy's own `load` takes the memory that a header asks for."""
    stream = io.BytesIO(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if npy.read_magic(stream) != (1, 0):
                raise ValueError("another version of .npy")
            shape, fortran, dtype = npy.read_array_header_1_0(stream)
    except _BAD_HEADER as error:
        raise _damaged(f"is not a plain array ({one_line(str(error), 60)})", name, where) from error
    if dtype.kind not in "iuf" or fortran or len(shape) > 2:
        raise _damaged("is not a plain array", name, where)
    size = len(data) - stream.tell()
    if int(np.prod(shape, dtype=object)) * dtype.itemsize != size:
        raise _damaged(f"has {size:,} bytes, its header says otherwise", name, where)
    return np.frombuffer(data, dtype=dtype, offset=stream.tell()).reshape(shape)


def _damaged(what: str, name: str, where: str) -> ModelError:
    return ModelError(f"array {one_line(name, 40)!r} {what}", code="model.damaged", where=where)
