"""The file format ``protclip-embeddings``, version 1.

An HDF5 file (1.10 or later reads it) with a user block of 512 bytes. Integers and floats are
little-endian. N proteins, D width of an embedding, L residues of a protein.

User block
    One ASCII line and zeros up to 512 bytes::

        protclip-embeddings 1 sha256 <64 hex> length <bytes>

    The hash covers every byte after the user block, ``length`` counts the whole file. Since the
    line has one spelling and the rest is zeros, any changed, missing or added byte is found.

Root attributes
    ``format`` (``protclip-embeddings``), ``format_version`` (1), ``layout`` (``packed`` or
    ``per-protein``), ``dim`` (D), ``per_residue`` (0 or 1), ``flags_meaning``, ``ids_sha256``,
    ``attributes_sha256``, and the provenance: strings and numbers under names that the writer's
    caller chooses. ``ids_sha256`` is the sha256 of the ids in order, each as UTF-8 followed by
    one NUL byte; ``attributes_sha256`` is that of the provenance as JSON (keys sorted, ASCII,
    no spaces). They are there because HDF5's checksums do not cover strings of variable length.

Layout ``packed``
    ========================  ==============  ===================================================
    ``ids``                   (N)             UTF-8 strings, unique, without NUL
    ``embeddings``            (N, D)          float32 or float16
    ``lengths``               (N)             int64, residues that were embedded
    ``flags``                 (N)             uint16, `protclip_core.records.RecordFlag`
    ``sequence_sha256``       (N)             64 ASCII hex digits; all zeros where unknown; of a
                                              structure, of its sequence and coordinates
    ``residues``              (sum L, D)      only per residue: type of ``embeddings``
    ``offsets``               (N + 1)         int64: protein i has rows offsets[i]:offsets[i + 1]
    ``sequence_lengths``      (N)             optional: int64, residues of the whole sequence, 0
                                              where unknown; where proteins were cut
    ========================  ==============  ===================================================

Layout ``per-protein``
    For readers of the UniProt, bio_embeddings and ProtTrans files. One dataset per protein at the
    root: the vector ``(D)``, or per residue the matrix ``(L, D)``, whose vector is then in its
    attribute ``embedding``. Other attributes: ``original_id`` (the id), ``length``, ``flags``,
    ``sequence_sha256`` (64 bytes, of the whole sequence), ``sequence_length`` (as above). The name
    of the dataset is the id with ``%`` as ``%25`` and ``/`` as ``%2F``; the id ``.`` is ``%2E`` and
    the empty id ``%00``. Creation order is input order.

Numeric datasets are chunked and carry fletcher32 checksums; nothing is compressed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError, ModelError, UsageError
from protclip_core.interrupts import signals_deferred
from protclip_core.records import RecordFlag, printable

__all__ = [
    "FLAGS_MEANING",
    "FORMAT",
    "FORMAT_VERSION",
    "HDF5_SIGNATURE",
    "LAYOUTS",
    "OWN_ATTRIBUTES",
    "USER_BLOCK",
    "Block",
    "Columns",
    "UserBlock",
    "attributes_sha256",
    "check_id",
    "checked_dataset",
    "chunk_rows",
    "duplicate_id",
    "hash_content",
    "id_to_key",
    "ids_sha256",
    "key_to_id",
    "looks_like",
    "no_residues",
    "reading",
]

FORMAT = "protclip-embeddings"
FORMAT_VERSION = 1
USER_BLOCK = 512
LAYOUTS = ("packed", "per-protein")
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"

#: Root attributes that the format itself defines; the others are provenance.
OWN_ATTRIBUTES = frozenset(
    {
        "format",
        "format_version",
        "layout",
        "dim",
        "per_residue",
        "flags_meaning",
        "ids_sha256",
        "attributes_sha256",
    }
)

FLAGS_MEANING = "; ".join(
    f"{flag.value}: {meaning}"
    for flag, meaning in {
        RecordFlag.UNUSUAL_RESIDUES: "holds X, B, U, Z, O or J",
        RecordFlag.STOP_STRIPPED: "a stop (*) at the end was removed",
        RecordFlag.LOWERCASE: "lower-case letters were read as upper case",
        RecordFlag.NUCLEOTIDE_LIKE: "long, and made of A, C, G, T, U, N only",
        RecordFlag.WINDOWED: "longer than one window; overlapping windows were averaged",
        RecordFlag.TRUNCATED: "cut to its first residues on request",
        RecordFlag.UNINFORMATIVE: "no residues that the model tells apart",
        RecordFlag.GAPS_STRIPPED: "gaps of an alignment were taken out",
        RecordFlag.CHAINS: "one of several chains of a record, or all of them joined",
    }.items()
)

_LINE = re.compile(
    rb"protclip-embeddings ([1-9][0-9]*) sha256 ([0-9a-f]{64}) length ([1-9][0-9]*)\n"
)


# Small enough that reading one protein is cheap, large enough that a chunk's overhead is not.
_CHUNK_BYTES = 256 << 10
# Embeddings hardly compress; a file that claims more than this is a bomb.
_MOST_COMPRESSED = 100


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Checked proteins on their way into a file; shapes as in the packed layout.

    ``hexes (n)`` holds the sequence hashes as 64 ASCII digits each; ``sequence_lengths (n)`` are
    there only where the file has them.
    """

    ids: Sequence[str]
    vectors: npt.NDArray[Any]
    lengths: npt.NDArray[np.int64]
    flags: npt.NDArray[np.uint16]
    hexes: npt.NDArray[np.bytes_]
    residues: npt.NDArray[Any] | None
    sequence_lengths: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """What a store says about each protein, apart from its vectors.

    ``lengths (N)`` int64, 0 if unknown; ``flags (N)`` uint16; ``digests (N, 32)`` uint8, zeros
    if unknown; ``sequence_lengths (N)`` int64, 0 if unknown, or None where the file has none.
    """

    lengths: npt.NDArray[np.int64]
    flags: npt.NDArray[np.uint16]
    digests: npt.NDArray[np.uint8]
    sequence_lengths: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True)
class UserBlock:
    """What the first 512 bytes of a store say.

    Attributes
    ----------
    version
        Format version.
    sha256
        Hex sha256 of all bytes after the user block.
    length
        Bytes of the whole file.
    """

    version: int
    sha256: str
    length: int

    def to_bytes(self) -> bytes:
        """Return the 512 bytes."""
        line = f"{FORMAT} {self.version} sha256 {self.sha256} length {self.length}\n"
        return line.encode("ascii").ljust(USER_BLOCK, b"\0")

    @classmethod
    def from_bytes(cls, block: bytes) -> UserBlock | None:
        """Read the start of a file; None unless each of the 512 bytes is as `to_bytes` gives."""
        match = _LINE.match(block)
        if match is None:
            return None
        found = cls(int(match[1]), match[2].decode("ascii"), int(match[3]))
        return found if found.to_bytes() == block[:USER_BLOCK] else None


def hash_content(handle: BufferedReader) -> tuple[str, int]:
    """Return the hex sha256 of what follows the user block, and the length of the whole file."""
    handle.seek(USER_BLOCK)
    digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return digest, handle.seek(0, os.SEEK_END)


def ids_sha256(ids: Iterable[str]) -> str:
    """Return the hex sha256 of ids in order, each as UTF-8 followed by one NUL byte."""
    digest = hashlib.sha256()
    for id in ids:
        digest.update(id.encode("utf-8") + b"\0")
    return digest.hexdigest()


def attributes_sha256(attributes: Mapping[str, str | int | float]) -> str:
    """Return the hex sha256 of provenance as JSON: keys sorted, ASCII, no spaces."""
    text = json.dumps(dict(attributes), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def check_id(id: str, where: str) -> None:
    """Refuse an id that HDF5 cannot store.

    Raises
    ------
    InputError
        The id holds a NUL character or is not valid Unicode.
    """
    if "\0" in id:
        problem = "holds a NUL character"
    else:
        try:
            id.encode("utf-8")
            return
        except UnicodeEncodeError:
            problem = "is not valid unicode"
    problem = f"id {printable(id)!r} {problem}"
    raise InputError(problem, code="input.bad_id", where=where, hint="rename the record")


def id_to_key(id: str) -> str:
    """Return the name of a protein's dataset in the per-protein layout; one to one."""
    if id in ("", "."):  # HDF5 has no empty name, and "." is the group itself
        return "%2E" if id else "%00"
    return id.replace("%", "%25").replace("/", "%2F")


def key_to_id(key: str) -> str:
    """Return the id whose dataset has this name; the inverse of `id_to_key`."""
    if key in ("%00", "%2E"):
        return "." if key == "%2E" else ""
    return key.replace("%2F", "/").replace("%25", "%")


def chunk_rows(row_bytes: int) -> int:
    """Return the rows of one chunk of a dataset."""
    return max(1, min(1024, _CHUNK_BYTES // row_bytes))


def duplicate_id(path: object, id: str) -> InputError:
    """Return the error for an id that occurs twice in one file."""
    where, hint = f"{path} ({printable(id)})", "give each protein its own id"
    return InputError("the id occurs twice", code="input.duplicate_id", where=where, hint=hint)


# What HDF5, h5py and conversions of their values raise on content that is not as it should be.
_ODD_VALUES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_DAMAGE = (*_ODD_VALUES, MemoryError, OSError, RuntimeError)


def no_residues(where: str) -> UsageError:
    """Return the error for a store without residue embeddings."""
    problem, hint = "does not have residue embeddings", "embed with --per-residue"
    return UsageError(problem, code="usage.no_residues", where=where, hint=hint)


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Turn what HDF5 raises on a damaged file into a `ModelError` that names the place.

    Signals wait meanwhile: h5py swallows what is raised in the midst of it, or fails with it.
    """
    try:
        with signals_deferred():
            yield
    except _DAMAGE as error:
        reason = printable(str(error).strip("'\""), limit=120)
        raise ModelError(
            f"is damaged and cannot be read ({reason})",
            code="model.damaged_store",
            where=where,
            hint="restore the file from a copy or compute it again",
        ) from error


def checked_dataset(h5: h5py.Group, name: str, kinds: str, *, own: bool) -> h5py.Dataset:
    """Return a dataset whose values can be read in time and memory that its file accounts for.

    Parameters
    ----------
    h5, name
        Its group and its name.
    kinds
        Kinds of NumPy type that it may have, such as ``"iu"``.
    own
        Whether this package wrote the file: then nothing in it is compressed.

    Raises
    ------
    ValueError, KeyError
        It is missing, a group or a link, has another type, keeps its values in other files, or
        claims far more values than the file holds. To be used inside of `reading`.
    """
    if not isinstance(h5.get(name, getlink=True), h5py.HardLink) and "/" not in name:
        raise ValueError(f"{name} is {'a link' if name in h5 else 'missing'}")
    dataset = h5[name]
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{name} is not a dataset")
    if dataset.dtype.kind not in kinds:
        raise ValueError(f"{name} is of type {dataset.dtype}")
    # Such datasets keep their values in other files, which no checksum here covers.
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{name} points to another file")
    if own and dataset.compression is not None:
        raise ValueError(f"{name} is compressed")
    size = h5.file.id.get_filesize()
    if dataset.nbytes > size * (1 if own else _MOST_COMPRESSED):
        raise ValueError(f"{name} claims {dataset.nbytes:,} bytes in a file of {size:,}")
    return dataset


def looks_like(start: bytes) -> str:
    """Say what a file that is not a readable HDF5 file looks like, from its first bytes."""
    text = start.lstrip()[:64].lower()
    if not start:
        return "an empty file"
    if HDF5_SIGNATURE in start:
        return "a damaged or truncated HDF5 file"
    if start.startswith(FORMAT.encode()):
        return "a damaged or truncated embedding store"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<")):
        return "a web page"
    if text.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer, not the file itself"
    if start.startswith((b"\x1f\x8b", b"BZh", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"PK\x03\x04")):
        return "a compressed file"
    if text.startswith(b">"):
        return "a FASTA file"
    return "another kind of file"
