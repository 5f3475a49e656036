"""Which kind of file something is, judged by its first bytes: names what came instead of weights.

No torch here, and nothing is decoded beyond a few bytes.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from protclip_core.errors import ModelError

__all__ = ["describe_content", "is_safetensors", "safetensors_shapes"]

_HEAD_BYTES = 512
#: No header of a safetensors file is longer (its own library refuses more).
_MAX_HEADER_BYTES = 100_000_000
#: Tensors that a weights file may hold; large models have some thousands. Work on names and
#: tensors takes time for each, and an empty tensor costs a stranger nothing.
MOST_TENSORS = 20_000
_MOST_HEADER_BYTES = 10_000_000
_STARTS = (
    (b"version https://git-lfs", "a git-lfs pointer, not the file that it stands for"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstandard archive"),
    (b"GGUF", "a GGUF file"),
)
_PICKLE_START = b"\x80"


def describe_content(path: Path) -> str:
    """Say in a few words what a file looks like.

    Parameters
    ----------
    path
        A plain file.

    Returns
    -------
    str
        Words that complete the sentence "it looks like …", such as ``"an HTML page"`` or
        ``"a safetensors file cut short (1,000 of 2,000 bytes)"``.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        return f"a file that cannot be read ({(error.strerror or str(error)).lower()})"
    if not head:
        return "an empty file"
    for start, name in _STARTS:
        if head.startswith(start):
            return name
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return "an HTML page" if b"html" in text else "an XML file"
    if head.startswith(b"PK\x03\x04"):
        return _describe_zip(path)
    header = _header_bytes(head)
    if header is not None:
        return _describe_safetensors(path, header, size)
    if head[257:262] == b"ustar":
        return "a tar archive"
    if head.startswith(_PICKLE_START):
        return "a pickle"
    if text.startswith((b"{", b"[")):
        return "JSON text"
    return "no kind of file that protclip knows"


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as a safetensors file does; it may still be damaged."""
    return describe_content(path).startswith("a safetensors file")


def safetensors_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the names and shapes of the tensors of a safetensors file, and none of its numbers.

    Raises
    ------
    ModelError
        No such file, or more tensors than any model has. What else may be wrong with the file,
        its own library tells; the names and shapes may be nonsense then.
    """
    try:
        with path.open("rb") as file:
            header = _header_bytes(file.read(_HEAD_BYTES))
        if header is not None and header > _MOST_HEADER_BYTES:
            raise ModelError(
                f"has a header of {header:,} bytes, more than any model has",
                code="model.too_large",
                where=str(path),
            )
        entries = {} if header is None else _read_header(path, header)
        shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
    except FileNotFoundError:
        raise ModelError("no such weights file", code="model.not_found", where=str(path)) from None
    except _DAMAGED_HEADER:
        return {}
    if len(shapes) > MOST_TENSORS:
        raise ModelError(
            f"holds {len(shapes):,} tensors, more than the {MOST_TENSORS:,} that protclip takes",
            code="model.too_large",
            where=str(path),
        )
    return shapes


_DAMAGED_HEADER = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    RecursionError,
)


def _read_header(path: Path, length: int) -> dict[str, Any]:
    """Return the entries of the tensors; raises one of `_DAMAGED_HEADER`."""
    with path.open("rb") as file:
        file.seek(8)
        entries: dict[str, Any] = json.loads(file.read(length))
    entries.pop("__metadata__", None)
    return entries


def _describe_zip(path: Path) -> str:
    if not zipfile.is_zipfile(path):
        return "a zip archive cut short"
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, NotImplementedError):
        return "a damaged zip archive"
    if any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
        return "a file of torch.save"
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy archive"
    return "a zip archive"


def _header_bytes(head: bytes) -> int | None:
    """Length of a safetensors header; ``None`` where the file begins otherwise."""
    length = int.from_bytes(head[:8], "little")
    if len(head) < 9 or head[8:9] != b"{" or not 2 <= length <= _MAX_HEADER_BYTES:
        return None
    return length


def _describe_safetensors(path: Path, header: int, size: int) -> str:
    if 8 + header > size:
        return f"a safetensors file cut short ({size:,} bytes)"
    if header > _MOST_HEADER_BYTES:
        return f"a safetensors file with a header of {header:,} bytes, more than any model has"
    try:
        ends = [entry["data_offsets"][1] for entry in _read_header(path, header).values()]
        whole = 8 + header + max(ends, default=0)
    except _DAMAGED_HEADER:
        return "a safetensors file with a damaged header"
    if size < whole:
        return f"a safetensors file cut short ({size:,} of {whole:,} bytes)"
    if size > whole:
        return f"a safetensors file with {size - whole:,} bytes too many"
    return "a safetensors file"
