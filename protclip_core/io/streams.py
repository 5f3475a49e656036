"""Byte streams to read from: a file, standard input, compressed or not.

Compression is told from the first bytes, never from the name, and every way in which a stream
can be damaged ends in one `InputError`. The decoders are the incremental ones of the standard
library and of `zstandard`, because their file objects take a cut zst frame, or junk after an
xz stream, for the end of the data.
"""

from __future__ import annotations

import bz2
import io
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import zstandard

from protclip_core.errors import InputError
from protclip_core.records import printable

__all__ = [
    "inflated",
    "keep_standard_input",
    "looks_like",
    "open_input",
    "peek_input",
    "source_name",
    "wide_encoding",
]

_PIECE = 1 << 18  # bytes of a plain file read at once, and most bytes a bounded decoder gives
# Compressed bytes given to a decoder at once. Small, because the zst decoder has no bound on
# what it gives back (up to 32,768-fold), and because each member copies what comes after it.
_SLICE = 1 << 12
_HEAD = 6  # bytes that tell the compression
_XZ_MEMORY = 1 << 30  # ``xz -9`` needs 65 MiB; a header can ask for 4 GiB
_REPAIR = "fetch or compress the file again"


@dataclass(frozen=True)
class _Codec:
    """How one kind of compression begins and how it is undone."""

    name: str
    magic: re.Pattern[bytes]
    start: Callable[[], Any]  # a new decoder, good for one member
    errors: tuple[type[Exception], ...]
    bounded: bool = False  # the decoder takes ``max_length`` and keeps the rest for later


_CODECS = (
    _Codec("gzip", re.compile(rb"\x1f\x8b"), lambda: zlib.decompressobj(wbits=31), (zlib.error,)),
    _Codec(
        "bzip2", re.compile(rb"BZh[1-9]"), bz2.BZ2Decompressor, (OSError, ValueError), bounded=True
    ),
    _Codec(
        "xz",
        re.compile(rb"\xfd7zXZ\0"),
        lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY),
        (lzma.LZMAError,),
        bounded=True,
    ),
    _Codec(
        "zstd",
        # The second form is a skippable frame, which parallel writers put first.
        re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
        lambda: zstandard.ZstdDecompressor().decompressobj(),
        (zstandard.ZstdError,),
    ),
)


# What the first bytes of a file show, the special before the general.
_LOOKS = tuple(
    (re.compile(pattern, re.IGNORECASE), look, hint)
    for pattern, look, hint in (
        (rb"@", "FASTQ ('@')", "convert it to protein FASTA"),
        (rb"<!doctype html|<html|<head|<body", "an HTML page", "fetch the file itself again"),
        (rb"<", "XML or HTML ('<')", "export it as FASTA"),
        (
            rb"##gff-version|##gtf|(?:[^\t\n]+\t){3}\d+\t\d+\t[^\t\n]+\t[-+.?]\t",
            "GFF or GTF, an annotation of a genome",
            "give its proteins, as from: gffread -y proteins.fa -g genome.fa FILE",
        ),
        (rb"##fileformat=VCF", "a VCF file of variants", "give the protein sequences as FASTA"),
        (rb"%PDF", "a PDF document", "export the sequences as FASTA"),
        (rb"LOCUS\s", "a GenBank flat file", "export it as FASTA"),
        (rb"ID   ", "a UniProt or EMBL flat file", "export it as FASTA"),
        (rb"(HEADER|TITLE|REMARK|CRYST1|MODEL|ATOM|HETATM|SEQRES) ", "a PDB file", "export FASTA"),
        (rb"data_\S*\s", "an mmCIF file", "export its sequences as FASTA"),
        (rb"CLUSTAL|# STOCKHOLM|#NEXUS", "an alignment", "export it as ungapped FASTA"),
        (rb"\x89HDF", "an HDF5 file", "give the FASTA file that it was made from"),
        (rb"protclip-embeddings ", "a store of vectors", "give the file that it was made from"),
        (rb"PK[\x03\x05]", "a zip archive", "unpack it first"),
        (rb"(?s:.{257})ustar", "a tar archive", "unpack it first"),
        (rb"\x1f\x8b|BZh\d|\xfd7zXZ|\x28\xb5\x2f\xfd", "data compressed twice", "decompress once"),
        (rb"\x80[\x02-\x05]", "a Python pickle", "give a FASTA file"),
        (rb"version https://git-lfs", "a Git LFS pointer", "fetch the file with 'git lfs pull'"),
        (rb">", "FASTA with blanks before '>'", "put '>' at the start of its line"),
        (rb"[{\[]", "JSON", "give a FASTA file"),
        (rb"[^\n]*[\x00-\x08\x0e-\x1f\x7f]", "binary data", "give a FASTA file"),
        (rb"[A-Z*.-]+\s*(\n|$)", "a sequence without a header", "put a line '>name' above it"),
        (rb"", "text of another kind", "give a FASTA file, where each record starts with '>'"),
    )
)


def source_name(path: str | Path) -> str:
    """Return the name of an input for a message.

    Parameters
    ----------
    path
        Path of a file, or ``-``.

    Returns
    -------
    str
        ``<stdin>`` for ``-``, otherwise the path with unprintable characters made visible.
    """
    text = str(path)
    return "<stdin>" if text == "-" else printable(text, limit=1000)


@contextmanager
def open_input(path: str | Path) -> Iterator[io.BufferedReader]:
    """Open a file or standard input for reading bytes, decompressed where need be.

    Compression (gz, bz2, xz, zst) is told from the content: a plain file named ``x.gz`` is read
    as it stands. All members, streams or frames of a file are read, one after the other, and
    NUL padding after them is passed over. The input need not be seekable, and memory does not
    grow with its size.

    Parameters
    ----------
    path
        Path of a file, or ``-`` for standard input, which is left open afterwards.

    Yields
    ------
    io.BufferedReader
        The plain bytes; none for an empty input.

    Raises
    ------
    InputError
        The input is missing, a directory or not readable; on opening. Also from any later
        ``read`` where compressed data turn out to be cut, damaged or followed by junk: what was
        read up to there is then not the whole input and must not be published as complete.
    """
    name = source_name(path)
    file = _open_raw(path, name)
    try:
        try:
            reader = inflated(file, name)
        except OSError as error:
            raise _unreadable(error, path, name) from error
        with reader:
            yield reader
    finally:
        if file is not _standard_input():
            file.close()


def inflated(file: IO[bytes], name: str) -> io.BufferedReader:
    """Return the plain bytes of an open file, decompressed where need be, as `open_input` does.

    Parameters
    ----------
    file
        Stored bytes, such as a member of an archive; it stays open.
    name
        What to call it in errors.
    """
    head = file.read(_HEAD)
    codec = next((c for c in _CODECS if c.magic.match(head)), None)
    pieces = _plain(file, head) if codec is None else _inflate(file, head, codec, name)
    return io.BufferedReader(_PieceReader(pieces, name), _PIECE)


def peek_input(path: str | Path, size: int) -> bytes:
    """Return the first bytes of an input, decompressed, for a look at what it is.

    Parameters
    ----------
    path
        Path of a file, or ``-``: nothing is taken from standard input, of which a pipe may give
        only what its first write held.
    size
        Most bytes to return.

    Raises
    ------
    InputError
        As `open_input`.
    """
    if str(path) != "-" or _kept:
        with open_input(path) as stream:
            return stream.read(size)
    stdin = _standard_input()
    if stdin is None:
        return b""
    found, reader = b"", inflated(io.BytesIO(stdin.peek(1)), "<stdin>")
    # Compressed data end where the look ends; what comes before that is what counts.
    with suppress(InputError):
        while len(found) < size and (piece := reader.read1(size)):
            found += piece
    return found[:size]


#: What standard input held, where it is read more than once.
_kept: list[Path] = []


@contextmanager
def keep_standard_input(path: Path) -> Iterator[None]:
    """Read ``-`` from a file, under the name of standard input, for as long as this lasts."""
    _kept.append(path)
    try:
        yield
    finally:
        _kept.pop()


def _standard_input() -> io.BufferedReader | None:
    """Return standard input; None where the caller's shell closed it (``<&-``)."""
    return getattr(sys.stdin, "buffer", None)


def _open_raw(path: str | Path, name: str) -> io.BufferedReader:
    """Open the bytes as they are stored."""
    if str(path) == "-" and not _kept:
        stdin = _standard_input()
        if stdin is None:
            raise InputError(
                "standard input is closed",
                code="input.stdin_closed",
                where=name,
                hint="name a file instead",
            )
        return stdin
    try:
        return (_kept[-1] if str(path) == "-" else Path(path)).open("rb")
    except (OSError, ValueError) as error:
        raise _unreadable(error, path, name) from error


def _unreadable(error: OSError | ValueError, path: str | Path, name: str) -> InputError:
    """Turn an error on opening into the message for it."""
    if isinstance(error, IsADirectoryError):
        return InputError(
            "is a directory", code="input.is_folder", where=name, hint="name a file in it"
        )
    if isinstance(error, FileNotFoundError):
        return InputError(
            "no such file", code="input.no_such_file", where=name, hint="check the path"
        )
    if isinstance(error, NotADirectoryError):
        return InputError(
            "no such file: a part of the path is not a directory",
            code="input.no_such_file",
            where=name,
            hint="check the path",
        )
    if isinstance(error, PermissionError):
        return InputError(
            "no permission to read it",
            code="input.no_permission",
            where=name,
            hint="check its access rights",
        )
    if isinstance(error, OSError):
        return InputError(
            f"cannot be read: {error.strerror or error}", code="input.unreadable", where=name
        )
    return InputError(
        "is not a valid path: it has a NUL character",
        code="input.bad_path",
        where=name,
        hint="check the path",
    )


class _PieceReader(io.RawIOBase):
    """Raw stream over an iterator of byte pieces; an error stays an error on every later read."""

    def __init__(self, pieces: Iterator[bytes], name: str) -> None:
        self._pieces = pieces
        self._name = name
        self._rest = memoryview(b"")
        self._error: InputError | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._error is not None:
            raise self._error
        try:
            while not self._rest:
                piece = next(self._pieces, None)
                if piece is None:
                    return 0
                self._rest = memoryview(piece)
        except InputError as error:
            self._error = error
            raise
        except OSError as error:
            self._error = InputError(
                f"cannot be read to its end: {error.strerror or error}",
                code="input.unreadable",
                where=self._name,
            )
            raise self._error from error
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def _plain(file: IO[bytes], head: bytes) -> Iterator[bytes]:
    """Give the bytes as they are; ``read1`` hands on what a slow pipe already has."""
    if head:
        yield head
    while piece := _some(file, _PIECE):
        yield piece


def _inflate(file: IO[bytes], head: bytes, codec: _Codec, name: str) -> Iterator[bytes]:
    """Give the decompressed bytes of every member in turn."""
    data, given, members = head, 0, 0
    while data:
        members += 1
        decoder = codec.start()
        while not decoder.eof:
            if not data and getattr(decoder, "needs_input", True):
                data = _some(file, _SLICE)
                if not data:
                    message = f"{codec.name} data end early, after {given:,} decompressed bytes"
                    raise InputError(
                        message,
                        code="input.truncated",
                        where=name,
                        hint=f"the file is cut; {_REPAIR}",
                    )
            try:
                piece = (
                    decoder.decompress(data, _PIECE)
                    if codec.bounded
                    else (decoder.decompress(data))
                )
            except codec.errors as error:
                raise _damaged(error, codec, given, name) from error
            data = b""
            given += len(piece)
            if piece:
                yield piece
        data = _next_member(file, decoder.unused_data)
        if data and not codec.magic.match(data):
            raise InputError(
                f"data that are not {codec.name} follow {codec.name} member {members}"
                f" (0x{data[:4].hex()}, after {given:,} decompressed bytes)",
                code="input.damaged",
                where=name,
                hint=_REPAIR,
            )


def _some(file: IO[bytes], size: int) -> bytes:
    """Return the next bytes; of a pipe what it already has."""
    read: Callable[[int], bytes] = getattr(file, "read1", file.read)
    return read(size)


def _next_member(file: IO[bytes], data: bytes) -> bytes:
    """Pass over NUL padding; return the start of what follows, empty at the end."""
    while not (data := data.lstrip(b"\0")):
        data = _some(file, _SLICE)
        if not data:
            return b""
    return data if len(data) >= _HEAD else data + file.read(_HEAD - len(data))


def _damaged(error: Exception, codec: _Codec, given: int, name: str) -> InputError:
    """Say what a decoder found wrong."""
    detail = str(error).removeprefix("zstd decompress error: ").strip().rstrip(".")
    if "memory" in detail.lower():
        return InputError(
            f"{codec.name} data need too much memory to decompress ({detail})",
            code="input.too_large",
            where=name,
            hint=f"decompress the file with {codec.name} first",
        )
    return InputError(
        f"{codec.name} data are damaged after {given:,} decompressed bytes ({detail})",
        code="input.damaged",
        where=name,
        hint=_REPAIR,
    )


def looks_like(start: bytes) -> tuple[str, str]:
    """Guess what a file is that is not the FASTA it should be.

    Parameters
    ----------
    start
        The first bytes from the first character that is not blank; 512 are enough.

    Returns
    -------
    look, hint : str
        A noun phrase (``"an HTML page"``) and what to do about it.
    """
    return next((look, hint) for known, look, hint in _LOOKS if known.match(start[:512]))


def wide_encoding(start: bytes) -> str:
    """Return the name of the UTF-16 or UTF-32 encoding that a text is in, as iconv knows it.

    It is told by a byte order mark, or by NULs in the places where those encodings have them
    for ASCII letters. Empty for any other text.
    """
    if start.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")):
        return "UTF-32" if b"\0\0" in start[:4] else "UTF-16"
    if len(start) < 4 or not (start[1] == start[3] == 0 or start[0] == start[2] == 0):
        return ""
    width = {2: "UTF-16", 3: "UTF-32"}.get(start[:4].count(0), "")
    # Without a mark iconv has to be told the byte order.
    return width and width + ("BE" if start[0] == 0 else "LE")
