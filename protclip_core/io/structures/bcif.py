"""BinaryCIF: mmCIF in MessagePack, its columns as encoded arrays.

Decoded into the same tables that a text file gives, so that one set of rules reads both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import gemmi

__all__ = ["decode_bcif"]

#: Categories that readers here look at; the others stay encoded.
_WANTED = (
    "_atom_site",
    "_entity",
    "_entity_poly",
    "_entity_poly_seq",
    "_exptl",
    "_ma_qa_metric",
    "_refine",
    "_software",
    "_struct",
    "_struct_asym",
)
_TYPES = {1: "i1", 2: "<i2", 3: "<i4", 4: "u1", 5: "<u2", 6: "<u4", 32: "<f4", 33: "<f8"}
_PRESENT, _ABSENT = 0, 1
_MOST_VALUES = 1 << 26  # of a column: a few bytes can ask for any number

_Array = npt.NDArray[Any]


def decode_bcif(content: bytes) -> gemmi.cif.Document:
    """Decode a BinaryCIF file.

    Parameters
    ----------
    content
        The whole file, decompressed.

    Raises
    ------
    ValueError
        It is damaged, or encoded in a way that is not known.
    """
    import gemmi

    try:
        file = msgspec.msgpack.decode(content)
        document = gemmi.cif.Document()
        for source in file["dataBlocks"]:
            block = document.add_new_block(source["header"] or "unnamed")
            for category in source["categories"]:
                if category["name"].lower() in _WANTED:
                    _add(block, category)
    except (msgspec.DecodeError, KeyError, TypeError, IndexError, OverflowError) as error:
        raise ValueError(f"not BinaryCIF as it should be: {error}") from error
    return document


def _add(block: gemmi.cif.Block, category: dict[str, Any]) -> None:
    names = [column["name"] for column in category["columns"]]
    columns = [_texts(column) for column in category["columns"]]
    if len({len(column) for column in columns}) > 1:
        raise ValueError(f"columns of unlike length in {category['name']}")
    loop = block.init_loop(f"{category['name']}.", names)
    loop.set_all_values(columns)


def _texts(column: dict[str, Any]) -> list[str]:
    """Return the values of a column as they stand in a text file."""
    from gemmi import cif

    values = _decode(column["data"])
    if values.dtype.kind == "f":
        texts = [f"{value:.10g}" for value in values.tolist()]
    elif values.dtype.kind in "iu":
        texts = [str(value) for value in values.tolist()]
    else:
        texts = [cif.quote(value) for value in values.tolist()]
    if column.get("mask") is not None:
        for place in np.flatnonzero((mask := _decode(column["mask"])) != _PRESENT):
            texts[place] = "." if mask[place] == _ABSENT else "?"
    return texts


def _decode(data: dict[str, Any]) -> _Array:
    """Undo the encodings of an array, the last first."""
    values: Any = data["data"]
    for encoding in reversed(data["encoding"]):
        kind = encoding["kind"]
        if kind not in _DECODERS:
            raise ValueError(f"an unknown encoding: {kind}")
        values = _DECODERS[kind](values, encoding)
    if not isinstance(values, np.ndarray):
        raise ValueError("an array without encoding")
    return values


def _byte_array(data: bytes, encoding: dict[str, Any]) -> _Array:
    return np.frombuffer(data, _TYPES[encoding["type"]])


def _fixed_point(data: _Array, encoding: dict[str, Any]) -> _Array:
    return data.astype(np.float64) / encoding["factor"]


def _quantised(data: _Array, encoding: dict[str, Any]) -> _Array:
    step = (encoding["max"] - encoding["min"]) / (encoding["numSteps"] - 1)
    return encoding["min"] + data.astype(np.float64) * step


def _run_length(data: _Array, _encoding: dict[str, Any]) -> _Array:
    counts = data[1::2].astype(np.int64)
    if counts.sum() > _MOST_VALUES:
        raise ValueError(f"a column of {counts.sum():,} values")
    return np.repeat(data[::2], counts)


def _delta(data: _Array, encoding: dict[str, Any]) -> _Array:
    return np.cumsum(data, dtype=np.int64) + int(encoding["origin"])


def _packed(data: _Array, encoding: dict[str, Any]) -> _Array:
    """Join numbers that were too large for their bytes: a value at the limit goes on."""
    limits = np.iinfo(data.dtype)
    goes_on = data == limits.max
    if not encoding["isUnsigned"]:
        goes_on = goes_on | (data == limits.min)
    ends = np.flatnonzero(~goes_on)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if len(ends) != encoding["srcSize"]:
        raise ValueError(f"{len(ends)} numbers, not {encoding['srcSize']}")
    if not len(ends):
        return np.empty(0, np.int64)
    return np.add.reduceat(data.astype(np.int64), starts)


def _strings(data: bytes, encoding: dict[str, Any]) -> _Array:
    offsets = _decode({"data": encoding["offsets"], "encoding": encoding["offsetEncoding"]})
    text = encoding["stringData"]
    known = [text[a:b] for a, b in zip(offsets[:-1], offsets[1:], strict=True)] + [""]
    places = _decode({"data": data, "encoding": encoding["dataEncoding"]})
    return np.array([known[place] for place in places.tolist()], dtype=object)


_DECODERS: dict[str, Callable[[Any, dict[str, Any]], _Array]] = {
    "ByteArray": _byte_array,
    "FixedPoint": _fixed_point,
    "IntervalQuantization": _quantised,
    "RunLength": _run_length,
    "Delta": _delta,
    "IntegerPacking": _packed,
    "StringArray": _strings,
}
