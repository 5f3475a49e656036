"""Reading a variant from the notations that people use.

What is read
    ``A42G``, ``p.A42G``, ``p.Ala42Gly``, ``p.(Ala42Gly)``, of any case; ``*``, Ter or Stop for
    a stop; ``=`` or the same residue for synonymous; del, ins, dup, delins, fs, ext, ``?``;
    ``WT``, ``wild type``, ``p.=`` for the wild type; ``p.0`` and ``p.?``. Residues U (Sec) and
    O (Pyl) count as residues; B, Z and J are read, and are not scorable as new residues.
Several changes
    ``A42G:L50P``; also ``,`` ``;`` ``/`` ``+`` ``_`` or blanks between them, and
    ``p.[Ala42Gly;Leu50Pro]``.
A protein before it
    ``NP_000537.3:p.Arg175His``, ``protein:A42G``, ``PROT_A42G``, ``TP53 R175H``,
    ``NM_000546.6(TP53):c.524G>A (p.Arg175His)``. What can be read as a change is one: the H2A of
    ``H2A:K5R`` is histidine 2. Before ``p.`` all is a protein: ``H2A:p.Lys5Arg``.
What is ambiguous, and refused
    X, which was a stop in old HGVS and is any residue elsewhere (but ``fsX23`` and ``extX5`` are
    clear); an insertion with one neighbour; two alleles, unknown phase, mosaics, alternatives.
"""

from __future__ import annotations

import re

from protclip_core.errors import InputError
from protclip_core.records import printable
from protclip_core.variants.changes import Change, Kind
from protclip_core.variants.explain import explain
from protclip_core.variants.model import ParseFailure, Variant
from protclip_core.variants.residues import STOP, THREE_LETTERS, one_letter

__all__ = ["parse_variant", "read_variant"]

#: Longest text that is read; a hundred changes in three letters have a tenth of it.
_LONGEST = 20_000
_FLAGS = re.IGNORECASE | re.ASCII


def _pattern(residue: str, letters: str) -> re.Pattern[str]:
    """Pattern of one change; operations stand before single residues, which may look alike."""
    return re.compile(
        rf"""(?P<first>{residue}) (?P<start>-?[0-9]{{1,9}})
        (?: _ (?P<last>{residue}) (?P<end>-?[0-9]{{1,9}}) )?
        (?: (?P<same>=)
          | del (?P<replaced>{letters}*?) ins (?P<put>{letters}+)
          | del (?P<lost>{letters}*)
          | dup (?P<doubled>{letters}*)
          | ins (?P<added>{letters}+)
          | (?P<shifted>{residue})? (?P<fs>fs) (?: (?:\*|Ter|Stop|X) (?P<until>[0-9]+|\?)? )?
          | (?P<turned>{residue})? (?P<ext>ext)
            (?: (?P<stop>\*|Ter|Stop|X) (?P<more>[0-9]+|\?)? | (?P<ahead>-(?:[0-9]+|\?)) )?
          | (?P<new>{residue})
          | (?P<unknown>\?)
        )""",
        _FLAGS | re.VERBOSE,
    )


_NAMES = "|".join([*THREE_LETTERS.values(), "Stop", "Xaa", "X"])
# The residue before the first number says how many letters the whole change is written in:
# of `K23_L24insARG` and `Lys23_Leu24insARG` the first inserts three residues.
_IN_THREE = _pattern(rf"(?:{_NAMES}|\*)", rf"(?:{_NAMES}|\*)")
_IN_ONE = _pattern(r"[A-Z*]", r"[A-Z*]")
_SITE = re.compile(rf"(?:{_NAMES}|[A-Z*])-?[0-9]+", _FLAGS)
_BEFORE = re.compile(r"(?:p\.)?(\()?", _FLAGS)
_BETWEEN = re.compile(r"\s*[:;,/+_]\s*|\s+")
_PHASED = re.compile(r"\s*;\s*")
_WHOLE = {"=": (), "?": (Change(Kind.UNKNOWN, 0, 0, "", ""),)} | dict.fromkeys(
    ("0", "0?"), (Change(Kind.NO_PROTEIN, 0, 0, "", ""),)
)
_WILD_TYPE = re.compile(r"_?wt|wild[ _-]?type|=", _FLAGS)
_WITH_DNA = re.compile(r"(\S+?):[cgnmr]\.\S+\s+\((p\..+)\)", _FLAGS)
_WITH_PROTEIN = re.compile(r"(?!\(?\[?\(?p\.)(\S+?)(?::\s*|\s+)(\(?p\..+)", _FLAGS)
_NAMED = re.compile(r":\s*|\s+")
_JOINED = re.compile("_")
# The one form of UniProt accession that looks like a site: of `P04637_A42G` it is the protein,
# while `A42_L50P` is a range gone wrong.
_ACCESSION = re.compile(r"[OPQ][0-9]{5}")
_GENE = re.compile(r"\([^()]*\)$")


class _UnreadableError(Exception):
    """A text that is not a variant; its message is a predicate (``names no new residue``)."""


def parse_variant(text: str) -> Variant:
    """Read a variant; see the module for what is understood.

    Parameters
    ----------
    text
        One variant; blanks around it do not count, ``%3D`` is ``=``.

    Returns
    -------
    Variant
        With what was named before it as ``protein``.

    Raises
    ------
    InputError
        It is none, or none that can be told for sure; names the text.

    Examples
    --------
    >>> parse_variant("NP_000537.3:p.(Arg175His)").protein
    'NP_000537.3'
    >>> str(parse_variant("lys23_val25delinsargser"))
    'K23_V25delinsRS'
    """
    found = read_variant(text)
    if isinstance(found, ParseFailure):
        raise InputError(found.reason, code="input.bad_variant")
    return found


def read_variant(text: str) -> Variant | ParseFailure:
    """Read a variant as `parse_variant` does, with the failure as a value.

    Never raises for any text, so that every row of a file is answered.
    """
    text = text.strip()
    try:
        if not text:
            raise _UnreadableError("is empty; write WT for the wild type")
        if len(text) > _LONGEST:
            raise _UnreadableError(f"has {len(text):,} characters")
        return _read(text.replace("%3D", "=").replace("%3d", "="))
    except _UnreadableError as error:
        shown = printable(text, 40)
        return ParseFailure(shown, f"'{shown}' {error}")
    except InputError as error:  # changes that contradict each other
        shown = printable(text, 40)
        return ParseFailure(shown, f"'{shown}' contradicts itself: {error}")


def _read(text: str) -> Variant:
    """Tell the protein from the changes."""
    if _WILD_TYPE.fullmatch(text):
        return Variant()
    if match := _WITH_DNA.fullmatch(text) or _WITH_PROTEIN.fullmatch(text):
        return Variant(_changes(match[2]), _GENE.sub("", match[1]))
    try:
        return Variant(_changes(text))
    except _UnreadableError:
        for separator in (_NAMED, _JOINED):
            if found := _behind_protein(text, separator):
                return found
        raise


def _behind_protein(text: str, separator: re.Pattern[str]) -> Variant | None:
    """Read what follows the first separator after which all can be read; None where none is."""
    before = 0
    for match in separator.finditer(text):
        protein, rest = text[: match.start()], text[match.end() :]
        if not protein or _readable(text[before : match.start()]):
            return None  # a change, not a protein: the fault is further on
        if separator is _JOINED and _SITE.fullmatch(protein) and not _ACCESSION.fullmatch(protein):
            return None
        if _WILD_TYPE.fullmatch(rest):
            return Variant((), protein)
        if _readable(rest):
            return Variant(_changes(rest), protein)
        before = match.end()
    return None


def _readable(text: str) -> bool:
    try:
        _changes(text)
    except _UnreadableError:
        return False
    return True


def _changes(text: str) -> tuple[Change, ...]:
    """Read changes of one molecule, with or without ``p.``, brackets and parentheses."""
    body, phased = _unwrapped(text)
    if body in _WHOLE and (body, text) != ("0", "0"):
        return _WHOLE[body]
    between = _PHASED if phased else _BETWEEN
    found: list[re.Match[str]] = []
    place = 0
    while True:
        opened = _BEFORE.match(body, place)
        match = _match(body, opened.end() if opened else place)
        if match is None:
            raise _UnreadableError(explain(text))
        place = match.end()
        if opened and opened[1]:
            if body[place : place + 1] != ")":
                raise _UnreadableError(explain(text))
            place += 1
        found.append(match)
        if place == len(body):
            return tuple(map(_change, found))
        gap = between.match(body, place)
        if gap is None:
            raise _UnreadableError(explain(text))
        place = gap.end()


def _unwrapped(text: str) -> tuple[str, bool]:
    """Take off ``p.`` and what encloses all; say whether that were brackets.

    In brackets only ``;`` may part changes: a comma there means two proteins of one allele.
    """
    body, phased = text[2:] if text[:2].lower() == "p." else text, False
    while body[:1] + body[-1:] in ("()", "[]") and len(body) > 1:
        inner = body[1:-1]
        if body[0] == "(" and -1 < inner.find(")") < inner.find("("):
            break  # `(Ala42Gly);(Leu50Pro)`: each has its own
        phased = phased or body[0] == "["
        body = inner
    return body, phased


def _match(text: str, place: int) -> re.Match[str] | None:
    return _IN_THREE.match(text, place) or _IN_ONE.match(text, place)


def _change(match: re.Match[str]) -> Change:
    """Turn what was matched into a change, or say why it is none."""
    part = match.groupdict()
    extends = part["ext"] is not None
    first = _site_letter(part["first"], extends=extends)
    start, last, end = int(part["start"]), first, int(part["start"])
    if part["last"] is not None:
        last, end = _site_letter(part["last"], extends=extends), int(part["end"])
        if end <= start:
            raise _UnreadableError(f"has a range from {start} to {end}; write the lower first")
    ranged = end > start
    if part["same"]:
        return Change(Kind.SYNONYMOUS, start, end, first, last)
    if part["unknown"]:
        lost = (first, start, end) == ("M", 1, 1)
        return Change(Kind.START_LOSS if lost else Kind.UNKNOWN, start, end, first, last)
    if part["fs"] or extends or part["new"]:
        if ranged:
            raise _UnreadableError("has a range, which takes del, ins, dup or delins")
        return _of_one_residue(part, start, first)
    if part["added"]:
        if end != start + 1:
            raise _UnreadableError("inserts at no gap; name the two neighbours, as in K23_L24insRS")
        return Change(Kind.INSERTION, start, end, first, last, _letters(match, part["added"]))
    deleted = _letters(match, part["replaced"] or part["lost"] or part["doubled"] or "")
    if deleted and (len(deleted), deleted[0], deleted[-1]) != (end - start + 1, first, last):
        raise _UnreadableError(f"states {deleted} for the residues {start} to {end}")
    if part["put"] is None:
        kind = Kind.DELETION if part["lost"] is not None else Kind.DUPLICATION
        return Change(kind, start, end, first, last, deleted=deleted)
    put = _letters(match, part["put"])
    if len(put) == 1 and not ranged:
        return _exchange(start, first, put)
    return Change(Kind.DELINS, start, end, first, last, put, deleted=deleted)


def _of_one_residue(part: dict[str, str | None], start: int, first: str) -> Change:
    """Frameshift, extension or exchange of one residue."""
    new = _residue(part["shifted"] or part["turned"] or part["new"] or "")
    if part["fs"]:
        return Change(Kind.FRAMESHIFT, start, start, first, first, new, part["until"] or "")
    if part["ext"]:
        tail = STOP + (part["more"] or "") if part["stop"] else part["ahead"] or ""
        return Change(Kind.EXTENSION, start, start, first, first, new, tail)
    return _exchange(start, first, new)


def _exchange(start: int, first: str, new: str) -> Change:
    if new == first:
        return Change(Kind.SYNONYMOUS, start, start, first, first)
    kind = Kind.STOP if new == STOP else Kind.SUBSTITUTION
    return Change(kind, start, start, first, first, new)


def _site_letter(name: str, *, extends: bool) -> str:
    """Wild-type letter; the X of an extension is the stop, the only residue that has one."""
    return STOP if extends and name in "Xx" else _residue(name)


def _letters(match: re.Match[str], text: str) -> str:
    """Letters of several residues, in the style of the change they belong to."""
    names = re.findall(_NAMES + r"|\*", text, _FLAGS) if match.re is _IN_THREE else list(text)
    letters = "".join(map(_residue, names))
    if STOP in letters[:-1]:
        raise _UnreadableError("has a stop before its last residue")
    return letters


def _residue(name: str) -> str:
    """Letter of a residue, empty for no name; X is refused."""
    if name and not one_letter(name):
        raise _UnreadableError(
            "holds X, a stop in old notation and any residue elsewhere, which cannot be scored; "
            "write * for a stop"
            if len(name) == 1
            else "holds Xaa, an unknown residue, which cannot be scored"
        )
    return one_letter(name) if name else ""
