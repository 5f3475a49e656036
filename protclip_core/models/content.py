"""What a file holds, judged by its bytes: for messages that name what came instead of weights.

No torch here, and nothing is decoded beyond a few bytes.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

__all__ = ["describe_content", "is_safetensors"]

_HEAD_BYTES = 512
#: No header of a safetensors file is longer (its own library refuses more).
_MAX_HEADER_BYTES = 100_000_000
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
    try:
        with path.open("rb") as file:
            file.seek(8)
            entries = json.loads(file.read(header))
        ends = [e["data_offsets"][1] for name, e in entries.items() if name != "__metadata__"]
        whole = 8 + header + max(ends, default=0)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return "a safetensors file with a damaged header"
    if size < whole:
        return f"a safetensors file cut short ({size:,} of {whole:,} bytes)"
    if size > whole:
        return f"a safetensors file with {size - whole:,} bytes too many"
    return "a safetensors file"
