"""Protein records from FASTA: streamed, checked in full, every fault with its place.

Why not Biopython: SimpleFastaParser drops header-less, HTML, BOM and FASTQ input without a
word, and neither of its parsers can name a position. It stays the oracle in the tests.

What is read
    ``>id description`` lines, each followed by lines of residues. A UTF-8 byte order mark,
    CRLF or CR line ends, blank lines, blanks at the ends of sequence lines and a missing final
    newline change nothing. ``;`` comment lines before the first header are passed over with one
    warning; further down they are a fault, since there they can as well be a damaged sequence.
What is changed, and flagged
    Lower case becomes upper case; ``*`` at the very end is removed. On request gaps are taken
    out, and the chains of a record split or joined (`protclip_core.io.fasta_forms`).
What is a fault of the input (always `InputError`)
    No records at all, or a start that is not FASTA: nothing after it can be trusted.
What is a fault of one record
    A header without id, with a NUL or not UTF-8; no sequence; any character in the sequence
    that is not a letter. All 26 letters stand for residues: 20 standard, X B U Z O J unusual.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from protclip_core.errors import InputError
from protclip_core.io.fasta_faults import CODES, bad_residue, not_fasta, three_letter_code
from protclip_core.io.fasta_forms import FastaForm
from protclip_core.io.input_summary import UNUSUAL_RESIDUES, InputSummary
from protclip_core.io.streams import open_input, source_name, wide_encoding
from protclip_core.records import Failure, ProteinRecord, RecordFlag, printable, record_place

__all__ = [
    "STANDARD_RESIDUES",
    "UNUSUAL_RESIDUES",
    "InputSummary",
    "read_fasta",
    "read_sequence",
]

_log = logging.getLogger(__name__)

#: The twenty amino acids of the genetic code.
STANDARD_RESIDUES = "ACDEFGHIKLMNPQRSTVWY"

_STANDARD = STANDARD_RESIDUES.encode()
_CHUNK = 1 << 18  # bytes read at once
_SNIFF = 512  # bytes that are enough to say what a file looks like
_BLANKS = b" \t\n\v\f"
_PROLOGUE = re.compile(rb"(?:[ \t\v\f]*\n|;[^\n]*\n)*")  # whole blank and comment lines
_NO_FLAGS = RecordFlag.NONE  # the look-up costs as much as copying a sequence
_NUCLEOTIDES = re.compile(rb"[ACGTUN]+")
_LEAST_NUCLEOTIDES = 20
_NUCLEIC_ACID = re.compile(rb"\|[DR]NA \((?:5'-|\d+-MER)")
#: First letters of what may be nucleotides or three-letter codes; most proteins begin otherwise.
_SUSPECT = CODES.union(
    *(map(bytes, itertools.product(b"ACGTUN", repeat=length)) for length in (1, 2, 3))
)


def read_fasta(
    path: str | Path,
    *,
    on_failure: Callable[[Failure], None] | None = None,
    summary: InputSummary | None = None,
    form: FastaForm | None = None,
) -> Iterator[ProteinRecord]:
    """Read protein records from a FASTA file, one at a time.

    Parameters
    ----------
    path
        Path of a file, plain or compressed (gz, bz2, xz, zst), or ``-`` for standard input.
    on_failure
        Called with each record that is refused; reading goes on with the next one. Without it
        the first such record raises.
    summary
        Filled as records are read.
    form
        Whether gaps of alignments are taken out, and what becomes of several chains in a record.

    Yields
    ------
    ProteinRecord
        In file order. ``number`` counts all records of the file from 1, refused ones included,
        so records out and failures together are the records in, but that chains which are split
        share the number of their record. Ids may repeat.

    Raises
    ------
    InputError
        On iteration, not on the call. The file is missing, damaged, empty or not FASTA; this is
        raised with ``on_failure`` too, and can come after records were given (a gz file that is
        cut): they are then not the whole input. Without ``on_failure``: the first bad record.

    Examples
    --------
    >>> from importlib.resources import files
    >>> from protclip_core import read_fasta
    >>> path = str(files("protclip_core") / "bundled/example.fasta")
    >>> records = list(read_fasta(path))
    >>> len(records), records[0].id
    (12, 'sp|P69905|HBA_HUMAN')
    """
    name, form = source_name(path), form or FastaForm()
    with open_input(path) as stream:
        records = _split_records(_normalised(stream.read1), name)
        for number, (text, line) in enumerate(records, start=1):
            try:
                found = _parse_record(text, str(path), number, line, form)
            except _BadRecordError as bad:
                if on_failure is None:
                    where = record_place(name, number, bad.id)
                    code = bad.code.replace("record.", "input.")
                    raise InputError(bad.reason, code=code, where=where, hint=bad.hint) from None
                if summary is not None:
                    summary.refused += 1
                reason = f"{bad.reason}; {bad.hint}"
                on_failure(Failure(str(path), number, bad.id, reason, bad.code))
                continue
            for record in found:
                if summary is not None:
                    summary.add(record)
                yield record


def read_sequence(text: str, where: str) -> str:
    """Apply the rules for sequences to one that does not come from a file.

    Parameters
    ----------
    text
        Residue letters; blanks and line ends at the ends are taken off, as is ``*`` at the end.
    where
        Its name for the message.

    Returns
    -------
    str
        Upper-case residues, at least one.

    Raises
    ------
    InputError
        Nothing left, or a letter that stands for no residue, with its position from 1.

    Examples
    --------
    >>> read_sequence("mkv*", "example")
    'MKV'
    """
    residues = text.strip().rstrip("*").upper()
    if not residues:
        raise InputError("has no residues", code="input.no_sequence", where=where)
    allowed = STANDARD_RESIDUES + UNUSUAL_RESIDUES
    for position, letter in enumerate(residues, start=1):
        if letter not in allowed:
            raise InputError(
                f"{printable(letter)!r} at position {position} is not a residue",
                code="input.bad_residue",
                where=where,
            )
    return residues


class _BadRecordError(Exception):
    """One record that cannot be used; never leaves this module."""

    def __init__(self, id: str, reason: str, *, code: str, hint: str) -> None:
        super().__init__(reason)
        self.id, self.reason, self.code, self.hint = id, reason, code, hint


def _normalised(read: Callable[[int], bytes]) -> Iterator[bytes]:
    r"""Give the text in chunks, none empty, with ``\n`` as the only line end.

    A newline at the end of a chunk is kept back for the next one, so that neither CRLF nor the
    newline before a ``>`` is ever torn apart.
    """
    kept = b""
    while chunk := read(_CHUNK):
        chunk = kept + chunk
        body = chunk.removesuffix(b"\n").removesuffix(b"\r")
        kept = chunk[len(body) :]
        if b"\r" in body:
            body = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if body:
            yield body
    if kept:
        yield b"\n"


def _split_records(chunks: Iterator[bytes], name: str) -> Iterator[tuple[bytes, int]]:
    """Give the text of each record, without its ``>``, and the number of its header line."""
    start, line = _find_first_header(chunks, name)
    pieces: list[bytes] = []  # of the record at hand; joined once, so a long record is linear
    for text in itertools.chain([start[1:]], chunks):
        first, *others = text.split(b"\n>")
        pieces.append(first)
        for other in others:
            record = b"".join(pieces)
            yield record, line
            line += record.count(b"\n") + 1
            pieces = [other]
    yield b"".join(pieces), line


def _find_first_header(chunks: Iterator[bytes], name: str) -> tuple[bytes, int]:
    """Return the text from the first ``>`` on, and the number of its line; or say what it is."""
    text = b""
    while len(text) < _SNIFF and (chunk := next(chunks, b"")):
        text += chunk
    if encoding := wide_encoding(text):
        hint = f"convert it: iconv -f {encoding} -t UTF-8"
        raise InputError(
            f"the text is {encoding}, not UTF-8",
            code="input.bad_encoding",
            where=f"{name}:line 1",
            hint=hint,
        )
    text = text.removeprefix(b"\xef\xbb\xbf")
    line, comments = 1, 0
    while True:
        skipped = text[: _PROLOGUE.match(text).end()]  # type: ignore[union-attr]  # matches empty
        line += skipped.count(b"\n")
        comments += skipped.startswith(b";") + skipped.count(b"\n;")
        text = text[len(skipped) :]
        if text.startswith(b">"):
            break
        blank = not text.strip(_BLANKS)
        if len(text) >= _SNIFF and not blank and not text.startswith(b";"):
            raise not_fasta(text.lstrip(_BLANKS), name, line)
        chunk = next(chunks, b"")
        if not chunk:
            if blank or text.startswith(b";"):
                message = "no records: the input is empty or blank"
                raise InputError(
                    message, code="input.empty", where=name, hint="check what wrote it"
                )
            raise not_fasta(text.lstrip(_BLANKS), name, line)
        # What a blank or comment line that goes on says is of no interest: keep it short.
        text = (text[:1] if blank or text.startswith(b";") else text) + chunk
    if comments:
        _log.warning("%s: skipped %d ';' comment lines before the first header", name, comments)
    return text, line


def _parse_record(
    text: bytes, source: str, number: int, line: int, form: FastaForm
) -> list[ProteinRecord]:
    """Turn the text of one record into `ProteinRecord`, several if its chains are to be split.

    Raises `_BadRecordError`.
    """
    header, _, body = text.partition(b"\n")
    id, description = _parse_header(header, line)
    sequences, flags = [body.replace(b"\n", b"")], _NO_FLAGS
    rest = sequences[0].translate(None, _STANDARD)
    if rest:
        sequences, flags = _tidy(body, rest, id, line, form)
    found = []
    for chain, sequence in enumerate(sequences, start=1):
        if not sequence:
            only = "; its sequence is only '*'" if b"*" in rest else ""
            reason = f"header on line {line:,} has no sequence{only}"
            hint = "add its residues or remove the record"
            raise _BadRecordError(id, reason, code="record.no_sequence", hint=hint)
        done = flags
        if sequence[:3] in _SUSPECT:
            done |= _look_again(sequence, header, id, line)
        name = id if len(sequences) == 1 else f"{id}_{chain}"
        residues = sequence.decode("ascii")
        found.append(ProteinRecord(name, residues, description, source, number, done))
    return found


def _look_again(sequence: bytes, header: bytes, id: str, line: int) -> RecordFlag:
    """Refuse or flag a sequence that is hardly one of residues, although all letters are."""
    if fault := three_letter_code(sequence):
        reason = f"the sequence on line {line + 1:,} is in three-letter code"
        raise _BadRecordError(id, reason, code=fault.code, hint=fault.hint)
    # As the files of PDB and of RCSB write it.
    is_nucleic = _NUCLEOTIDES.fullmatch(sequence) and _NUCLEIC_ACID.search(header)
    if b" mol:na " in header or is_nucleic:
        reason = f"header on line {line:,} says that it is a nucleic acid"
        hint = "remove the record, as it is not a protein"
        raise _BadRecordError(id, reason, code="record.nucleotides", hint=hint)
    is_like = len(sequence) >= _LEAST_NUCLEOTIDES and _NUCLEOTIDES.fullmatch(sequence)
    return RecordFlag.NUCLEOTIDE_LIKE if is_like else _NO_FLAGS


def _parse_header(header: bytes, line: int) -> tuple[str, str]:
    """Split a header, without its ``>``, into id and description."""
    try:
        text = header.decode("utf-8").strip(" \t")
    except UnicodeDecodeError as error:
        shown = header.decode("utf-8", "backslashreplace").strip(" \t").replace("\t", " ")
        place = f"byte 0x{header[error.start]:02X} at column {error.start + 2:,}"
        raise _BadRecordError(
            shown.partition(" ")[0],
            f"header on line {line:,} is not UTF-8 ({place})",
            code="record.bad_encoding",
            hint="convert the file, for instance: iconv -f LATIN1 -t UTF-8",
        ) from None
    # Not str.split(None): apart from blank and tab, an id may hold any character.
    id, _, description = text.partition(" ")
    if "\t" in id:
        id, _, description = text.partition("\t")
    if not id:
        reason = f"header on line {line:,} has no id"
        raise _BadRecordError("", reason, code="record.no_id", hint="write an id after '>'")
    if "\0" in text:
        reason = f"header on line {line:,} has a NUL character"
        raise _BadRecordError(id, reason, code="record.nul_character", hint="remove it")
    return id, description.lstrip(" \t")


def _tidy(
    body: bytes, rest: bytes, id: str, line: int, form: FastaForm
) -> tuple[list[bytes], RecordFlag]:
    """Return a sequence (or its chains) in upper case without final stops, and what was done.

    ``rest`` holds the characters of ``body`` that are not standard residues.
    """
    lines = [part.strip(b" \t") for part in body.split(b"\n")]
    whole = b"".join(lines)
    # gffread writes a stop as a dot.
    is_stop = whole.endswith(b".") and form.gaps == "fail"
    stripped = whole[:-1] if is_stop else whole.rstrip(b"*")
    if bad := form.fault.search(stripped):
        raise _bad_residue(lines, stripped, bad.start(), id, line)
    parts, flags = form.apply(stripped)
    sequences = [part.upper() for part in parts]
    if len(stripped) < len(whole):
        flags |= RecordFlag.STOP_STRIPPED
    if sequences != parts:
        flags |= RecordFlag.LOWERCASE
    if rest.upper().translate(None, _STANDARD + b" \t*.-:/|"):
        flags |= RecordFlag.UNUSUAL_RESIDUES
    return sequences, flags


def _bad_residue(
    lines: list[bytes], sequence: bytes, index: int, id: str, line: int
) -> _BadRecordError:
    """Name the character at ``index`` of ``sequence``, which ``lines`` make up, and its place."""
    passed = 0
    for text in lines:
        line += 1  # the first of them is the one below the header
        passed += len(text)
        if index < passed:
            break
    # Four bytes hold a character whole; one that is not UTF-8 is shown as ``\xe9``.
    text_on = sequence[index : index + 4].decode("utf-8", "backslashreplace")
    letter = text_on[:4] if text_on.startswith("\\x") else text_on[0]
    reason = (
        f"'{printable(letter)}' at residue {index + 1:,} (line {line:,}) is not a residue letter"
    )
    fault = bad_residue(sequence, letter)
    return _BadRecordError(id, reason, code=fault.code, hint=fault.hint)
