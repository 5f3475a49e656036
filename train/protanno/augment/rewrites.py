"""A user's own file of texts of GO terms, as a language model or a person wrote them.

TSV (``term_id<TAB>text``, no header needed) or JSON Lines (``{"term_id": …, "text": …}``, other
keys are passed over), several lines a term, compressed or not. A file that says something of a
term that is not there would teach what is wrong, so it is refused as a whole, with the first
faults by line.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protclip_core.errors import InputError, ModelError
from protclip_core.io.streams import open_input
from protclip_core.records import counted
from train.protanno.augment.release import Release

__all__ = ["MOST_TOKENS", "Rewrites", "read_rewrites", "text_fault", "word_count"]

_log = logging.getLogger(__name__)
#: Tokens (words, without a tokenizer) of a text at most.
MOST_TOKENS = 256
_ID = re.compile(r"\bGO[:_]\d{7}\b", re.IGNORECASE)
_FAULTS_SHOWN = 5
_HEADER = ("term_id", "text")


@dataclass(frozen=True)
class Fault:
    """What is wrong with a text."""

    code: str
    reason: str


@dataclass(frozen=True, eq=False)
class Rewrites:
    """Texts by term.

    Attributes
    ----------
    texts
        Id to its different texts, in the order of the file.
    sha256
        Of the content of the file, decompressed.
    release
        Name of the release that it was checked against.
    lines
        Lines that held a text.
    terms
        Active terms of the release but the roots, covered or not.
    """

    texts: Mapping[str, tuple[str, ...]]
    sha256: str
    release: str
    lines: int
    terms: int

    @property
    def record(self) -> dict[str, Any]:
        """What a model card or the record of a run says of the file."""
        return {
            "sha256": self.sha256,
            "release": self.release,
            "lines": self.lines,
            "texts": sum(map(len, self.texts.values())),
            "terms_covered": len(self.texts),
            "terms_of_release": self.terms,
        }


def word_count(text: str) -> int:
    """Count the words of a text: what stands for tokens where there is no tokenizer."""
    return len(text.split())


def read_rewrites(
    path: str | Path,
    release: Release,
    *,
    count: Callable[[str], int] = word_count,
    most: int = MOST_TOKENS,
) -> Rewrites:
    r"""Read and check a file of texts.

    Parameters
    ----------
    path
        TSV or JSON Lines.
    release
        Whose terms count.
    count
        Tokens of a text.
    most
        Tokens of a text at most.

    Raises
    ------
    ModelError
        No such file.
    InputError
        A line that is not ``term_id`` and ``text``; a term that is unknown or obsolete; a text
        that is empty, too long, or holds the id of another term; or no text at all. Up to five
        lines are named, and how many there are.

    Examples
    --------
    >>> from train.protanno.augment.release import Term
    >>> term = Term("GO:0005524", "ATP binding", "MF")
    >>> _ = Path("own.tsv").write_text("GO:0005524\tHolds ATP.\n")
    >>> read_rewrites("own.tsv", Release("2024-01-17", (), {term.id: term})).texts
    {'GO:0005524': ('Holds ATP.',)}
    """
    where = str(path)
    if not Path(path).is_file():
        raise ModelError(
            "no such file", code="model.not_found", where=where, hint="give a file of texts"
        )
    with open_input(path) as reader:
        data = reader.read()
    found: dict[str, dict[str, None]] = {}
    faults: list[tuple[int, Fault]] = []
    lines = 0
    for number, id, text in _pairs(data, where):
        lines += 1
        fault = text_fault(id, text, release, count=count, most=most)
        if fault is None:
            found.setdefault(id, {})[" ".join(text.split())] = None
        else:
            faults.append((number, fault))
    if faults:
        _refuse(faults, where)
    if not found:
        raise InputError("holds no text", code="input.empty", where=where)
    texts = {id: tuple(own) for id, own in found.items()}
    twice = lines - sum(map(len, texts.values()))
    if twice:
        _log.warning("%s: %s of the same term and text", where, counted(twice, "line"))
    terms = sum(not term.is_root for term in release.terms.values())
    return Rewrites(texts, hashlib.sha256(data).hexdigest(), release.name, lines, terms)


def text_fault(
    id: str,
    text: str,
    release: Release,
    *,
    count: Callable[[str], int] = word_count,
    most: int = MOST_TOKENS,
) -> Fault | None:
    """Return what is wrong with a text of a term; ``None`` for nothing."""
    status = release.status(id)
    there = f"in the release {release.name}".rstrip()
    if status == "obsolete":
        return Fault(code="input.obsolete_term", reason=f"{id} is obsolete {there}")
    if status != "active":
        other = release.alternatives.get(id)
        reason = f"is an alternative id of {other}" if other else f"is not {there}"
        return Fault(code="input.unknown_term", reason=f"{id[:40]!r} {reason}")
    if not text.strip():
        return Fault(code="input.empty_text", reason=f"the text of {id} is empty")
    others = [one for one in _ID.findall(text) if one.upper().replace("_", ":") != id]
    if others:
        return Fault(code="input.foreign_term", reason=f"the text of {id} names {others[0]}")
    tokens = count(text)
    if tokens > most:
        reason = f"the text of {id} has {tokens} tokens, more than {most}"
        return Fault(code="input.long_text", reason=reason)
    return None


def _refuse(faults: list[tuple[int, Fault]], where: str) -> None:
    shown = [f"line {number}: {fault.reason}" for number, fault in faults[:_FAULTS_SHOWN]]
    (number, first), rest = faults[0], len(faults) - 1
    more = f" ({counted(rest, 'more line', 'more lines')} cannot be used)" if rest else ""
    raise InputError(
        first.reason + more,
        code=first.code,
        where=f"{where}:line {number}",
        hint="mend or remove these lines; nothing was taken from the file",
        details=shown[1:],
    )


def _pairs(data: bytes, where: str) -> Iterator[tuple[int, str, str]]:
    """Give number, term and text of each line."""
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"byte {error.start} is not UTF-8", code="input.bad_line", where=where
        ) from error
    as_json = next((line for line in lines if line.strip()), "").lstrip().startswith("{")
    for number, line in enumerate(lines, start=1):
        if not line.strip() or (not as_json and line.startswith("#")):
            continue
        pair = _from_json(line) if as_json else _from_row(line)
        if pair is None:
            raise InputError(
                "is not "
                + ("an object with term_id and text" if as_json else "term_id, tab, text"),
                code="input.bad_line",
                where=f"{where}:line {number}",
            )
        if pair != _HEADER:
            yield number, *pair


def _from_json(line: str) -> tuple[str, str] | None:
    try:
        content = json.loads(line)
    except ValueError:
        return None
    if not isinstance(content, dict):
        return None
    id, text = content.get("term_id"), content.get("text")
    return (id.strip(), text) if isinstance(id, str) and isinstance(text, str) else None


def _from_row(line: str) -> tuple[str, str] | None:
    id, tab, text = line.partition("\t")
    return (id.strip(), text.strip()) if tab and "\t" not in text else None
