"""What files given as FASTA often are instead, and what a bad record often holds: with a way out.

Each fault has a code of its own. What is said here is a guess from the text that was found; the
guess changes the words and the code, never whether something is refused.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from protclip_core.errors import InputError
from protclip_core.io.streams import looks_like
from protclip_core.records import printable

__all__ = ["CODES", "Fault", "bad_residue", "not_fasta", "three_letter_code"]

#: The codes of three letters.
CODES = frozenset(
    b"ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL".split()
)
#: Fewer codes in a row can be residues: METLYS is also M, E, T, L, Y, S.
_THREE_LETTER_CODE = re.compile(b"(?:" + b"|".join(sorted(CODES)) + b"){3,}", re.IGNORECASE)
_CHAINS = re.compile(rb"[A-Za-z*]+(?:[:/|]+[A-Za-z*]*)+")
_MODIFIED = re.compile(rb"[(\[{<_+]")
#: What may stand at the ends of a peptide, such as Ac-PEPTIDE-NH2; its sign is not a gap.
_ENDS = re.compile(rb"(?:(?:Ac|Acetyl|H|Boc|Fmoc|Biotin|Suc|pGlu)-)?[A-Za-z]+(?:-(?:NH2|OH|NHMe))?")
#: A peptide between the residues before and behind it, as search engines write it.
_FLANKED = re.compile(rb"[A-Za-z-]\.[A-Za-z]{2,}\.[A-Za-z-]")
#: Accessions, one a line.
_NAMES = re.compile(r"(?:(?=\S*\d)[\w.|:-]{4,40}(?:\n|$))+")
_WITHOUT_GAPS = "take out gaps: protclip embed --gaps strip, or first sed '/^>/!s/[-.]//g' IN > OUT"


@dataclass(frozen=True)
class Fault:
    """A fault by name, and the way out."""

    code: str
    hint: str


@dataclass(frozen=True)
class _Seen:
    """What a file looks like, by code and in words, and the way out."""

    code: str
    look: str
    hint: str


# Characters that are often met inside sequences.
_FAULTS = {
    "-": Fault(code="record.gap", hint=_WITHOUT_GAPS),
    ".": Fault(
        code="record.stop_or_gap",
        hint="a stop codon, as gffread writes it: cut there or split the record; a gap of an "
        "alignment: protclip embed --gaps strip, or first sed '/^>/!s/[.]//g' IN > OUT",
    ),
    "*": Fault(code="record.stop_inside", hint="a stop codon: cut there, or split the record"),
    ">": Fault(code="record.no_newline", hint="a newline is missing before '>'"),
    "\ufeff": Fault(
        code="record.byte_order_mark", hint="remove the byte order mark, left from joining files"
    ),
    **dict.fromkeys(
        "0123456789", Fault(code="record.digits_inside", hint="remove digits from the sequence")
    ),
    **dict.fromkeys(
        " \t", Fault(code="record.blanks_inside", hint="remove blanks inside the sequence")
    ),
}
_OTHER = Fault(code="record.bad_residue", hint="correct it or remove the record")
_THREE_LETTERS = Fault(
    code="record.three_letter_code", hint="write one letter for each residue, M for Met"
)
_SEVERAL_CHAINS = Fault(
    code="record.several_chains",
    hint="several chains in one record: protclip embed --complexes split, or --complexes join",
)
_NEIGHBOURS = Fault(
    code="record.modification",
    hint="a peptide with its neighbours: leave what is between the dots",
)
_MODIFICATION = Fault(
    code="record.modification",
    hint="notation of a modification: leave the residue letters only, M for M(ox)",
)


def bad_residue(sequence: bytes, letter: str) -> Fault:
    """Say what a sequence that holds ``letter``, which is not a residue, seems to be."""
    if three_letter_code(re.sub(rb"[-\s]", b"", sequence)):
        return _THREE_LETTERS
    if letter in ":/|" and _CHAINS.fullmatch(sequence):
        return _SEVERAL_CHAINS
    if _FLANKED.fullmatch(sequence):
        return _NEIGHBOURS
    if _MODIFIED.search(sequence) or _ENDS.fullmatch(sequence):
        return _MODIFICATION
    if letter == "." and b"-" in sequence:
        return _FAULTS["-"]
    return _FAULTS.get(letter, _OTHER)


def three_letter_code(sequence: bytes) -> Fault | None:
    """Tell whether a sequence is one of three or more three-letter codes, as MetLysThr.

    By chance alone that is true of one sequence in 64 million of nine residues.
    """
    return _THREE_LETTERS if _THREE_LETTER_CODE.fullmatch(sequence) else None


def not_fasta(text: bytes, name: str, line: int) -> InputError:
    """Say what a text that does not start with ``>`` looks like.

    Parameters
    ----------
    text
        Its beginning, some lines at least where it has them.
    name
        Of the file.
    line
        Number of its first line that is not blank.
    """
    lines = [one.strip() for one in text[:20_000].decode("utf-8", "replace").splitlines()]
    lines = [one for one in lines if one]
    seen = _seen(text, lines, name)
    shown = printable(lines[0] if lines else "", 30)
    message = f"not FASTA: no '>' at its start, it looks like {seen.look}: '{shown}'"
    return InputError(message, code=seen.code, where=f"{name}:line {line:,}", hint=seen.hint)


def _seen(text: bytes, lines: list[str], name: str) -> _Seen:
    """Tell what a text is, the special before the general."""
    if _is_list(lines):
        return _Seen(
            code="input.sequence_list",
            look="a list of sequences, one a line",
            hint=f"number them: awk 'NF {{print \">seq\" ++n; print}}' {_files(name)}",
        )
    if _NAMES.fullmatch("\n".join(lines[:50])):
        return _Seen(
            code="input.names_only",
            look="a list of names without sequences",
            hint="fetch their sequences, as from https://www.uniprot.org/id-mapping",
        )
    look, hint = looks_like(text)
    # Sources of features, such as HAVANA, are words that could be sequences.
    if not look.startswith("GFF") and (command := _command_for_table(lines, name)):
        return _Seen(code="input.table", look="a table", hint=f"make FASTA of it: {command}")
    return _Seen(code="input.not_fasta", look=look, hint=hint)


def _is_list(lines: list[str]) -> bool:
    """Tell several sequences from one that is broken into lines of one width."""
    if len(lines) < 2 or not all(re.fullmatch(r"[A-Za-z*]{2,}", one) for one in lines[:-1]):
        return False
    widths = {len(one) for one in lines[:-1]}
    wrapped = len(widths) == 1 and len(lines[-1]) <= min(widths) and min(widths) >= 50
    return not wrapped and re.fullmatch(r"[A-Za-z*]+", lines[-1]) is not None


def _command_for_table(lines: list[str], name: str) -> str | None:
    """Return a command that makes FASTA of a table of names and sequences; None for no table."""
    for sign in ("\t", ",", ";", None):
        rows = [one.split(sign) for one in lines[:3]]
        if len(rows) < 2 or len(rows[0]) < 2 or len({len(row) for row in rows}) > 1:
            continue
        cells = [cell.strip('" ') for cell in rows[1]]
        lengths = [len(cell) if re.fullmatch(r"[A-Z]{5,}\*?", cell) else 0 for cell in cells]
        if not any(lengths):
            continue
        column = lengths.index(max(lengths))
        names = next(place for place in range(len(cells)) if place != column)
        first = rows[0][column].strip('" ')
        rule = "" if re.fullmatch(r"[A-Z]{5,}\*?", first) and first != "SEQUENCE" else "NR > 1 "
        quotes = 'gsub(/"/, ""); ' if '"' in lines[1] else ""
        shown = {"\t": "-F'\\t' ", None: ""}.get(sign, f"-F'{sign}' ")
        row = f'{quotes}print ">" ${names + 1}; print ${column + 1}'
        return f"awk {shown}'{rule}{{{row}}}' {_files(name)}"
    return None


def _files(name: str) -> str:
    """Return the end of a command that reads a file and writes FASTA next to it."""
    stem = "sequences" if name == "<stdin>" else name.rpartition(".")[0] or name
    return f"{'' if name == '<stdin>' else shlex.quote(name)} > {shlex.quote(stem + '.fa')}"
