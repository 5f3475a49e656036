"""A first pass over an OBO file: everything that a reader of frames would let pass or hide.

pronto merges stanzas of one id, keeps the last of two names, follows imports over the network,
guesses the encoding, holds all of a file in memory however long it is, and takes a file that was
cut between two lines for whole. So each line is looked at here first, in bytes; what is left is
the lines that this package uses, with the numbers they had, ready for pronto.
"""

from __future__ import annotations

import io
import logging
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

from protclip_core.errors import InputError
from protclip_core.ontology.assemble import GO_ID, Edges, go_number
from protclip_core.ontology.lines import decoded, foreign_content, numbered_lines
from protclip_core.ontology.terms import NAMESPACES, ROOTS
from protclip_core.records import printable

__all__ = ["Scan", "Stanza", "scan_obo"]

log = logging.getLogger(__name__)

#: Most bytes, terms, edges, and bytes of used lines. The largest release, go-plus, has about
#: 150 MB, 48,000 GO terms and 14 MB of used lines; pronto takes some 20 bytes for each of these.
MAX_BYTES = 1 << 30
MAX_TERMS = 200_000
MAX_EDGES = 1_000_000
MAX_USED_BYTES = 64 << 20

_REPAIR = "fetch the file again"
_CUT = f"the file is cut; {_REPAIR}"
_FIRST = re.compile(rb"\[\w+\]|[A-Za-z][\w-]*:(\s|$)")
_EDGE = re.compile(rb"(\S+)\s*(?:\{.*\})?\s*(?:!.*)?")
#: Tags of a term that are handed on, and those that may stand once only.
_USED = frozenset(
    [b"name", b"namespace", b"def", b"is_obsolete", b"alt_id", b"replaced_by", b"consider"]
    + [b"subset"]
)
_SINGLE = frozenset([b"id", b"name", b"namespace", b"def", b"is_obsolete"])
_PART_OF = (b"part_of", b"BFO:0000050")
_HEADER = frozenset([b"format-version", b"data-version", b"default-namespace", b"ontology"])


@dataclass
class Stanza:
    """One stanza of a term while it is read."""

    line: int
    id: str = ""
    seen: set[bytes] = field(default_factory=set)
    is_obsolete: bool = False
    foreign: bool = False  # a term of another ontology
    parents: int = 0


@dataclass
class Scan:
    """What a file holds.

    Attributes
    ----------
    text
        Used lines, in pieces that end at line ends: a header, then one stanza per GO term.
    numbers
        Line in the file of each of these lines.
    terms
        Id of each GO term, in file order, with the line of its stanza.
    edges
        is_a and part_of between GO terms, of active terms.
    """

    text: list[bytes] = field(default_factory=list)
    numbers: array[int] = field(default_factory=lambda: array("i"))
    terms: dict[str, int] = field(default_factory=dict)
    edges: Edges = field(default_factory=Edges)


def scan_obo(stream: io.BufferedReader, name: str) -> Scan:
    """Check the lines of an OBO file and keep those that are used.

    Parameters
    ----------
    stream
        Its bytes, decompressed.
    name
        Of the file.

    Raises
    ------
    InputError
        Not an OBO file, cut, of an encoding other than UTF-8 where it matters, too large, an id
        that is defined twice, a stanza that lacks what a term needs; each with its line.
    """
    return _Scanner(name).run(stream)


class _Scanner:
    """State of the pass."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.scan = Scan()
        self.stanza: Stanza | None = None  # of a term
        self.kind = b""  # of the stanza at hand; empty in the header
        self.header: set[bytes] = set()
        self.has_default = False
        self.typedefs = 0
        self.relations = 0
        self.foreign = 0
        self.unread = 0  # lines that are not UTF-8 and not used
        self.used = 0
        self.last = 0

    def run(self, stream: io.BufferedReader) -> Scan:
        """Read all lines."""
        for number, line, tag, value in self._clauses(stream):
            if not tag:
                self._close(at_end=False)
                self._open(value, number)
            elif not self.kind:
                self._head(tag, value, line, number)
            elif self.stanza is not None and not self.stanza.foreign:
                self._clause(self.stanza, tag, value, line, number)
        self._close(at_end=True)
        self._end()
        return self.scan

    def _clauses(self, stream: io.BufferedReader) -> Iterator[tuple[int, bytes, bytes, bytes]]:
        """Give number, line, tag and value; the start of a stanza has no tag."""
        total, started = 0, False
        raw = b"\n"
        for number, raw in numbered_lines(stream, self.name):
            self.last = number
            total += len(raw)
            if total > MAX_BYTES:
                raise self._refuse(f"has more than {MAX_BYTES:,} bytes", 0, "give a release of GO")
            line = raw.strip()
            if not line or line.startswith(b"!"):
                continue
            if not started and not _FIRST.match(line):
                raise foreign_content(line, self.name, "an OBO file")
            started = True
            if not raw.endswith(b"\n"):
                break
            if line.startswith(b"["):
                yield number, line, b"", line
                continue
            tag, colon, value = line.partition(b":")
            if not colon:
                shown = printable(line[:40].decode("utf-8", "replace"))
                raise self._refuse(f"'{shown}' is no 'tag: value'", number, _REPAIR)
            yield number, line, tag.strip(), value.strip()
        if not started:
            raise InputError("is empty", where=self.name, hint="give a release of GO")
        if not raw.endswith(b"\n") and raw.strip():
            raise self._refuse(
                "ends in the middle of this line",
                self.last,
                f"{_CUT}, or add a line end if it is whole",
            )

    def _open(self, line: bytes, number: int) -> None:
        """Begin a stanza."""
        self.kind = line
        if line == b"[Term]":
            self.stanza = Stanza(number)
        elif line == b"[Typedef]":
            self.typedefs += 1
        elif line != b"[Instance]":
            shown = printable(line.decode("utf-8", "replace"))
            raise self._refuse(f"'{shown}' is no stanza of OBO", number, _REPAIR)

    def _head(self, tag: bytes, value: bytes, line: bytes, number: int) -> None:
        """Take a line of the header."""
        if tag == b"import":
            log.warning(
                "%s:line %d: imports are not followed: %s",
                self.name,
                number,
                printable(value.decode("utf-8", "replace")),
            )
        if tag in _HEADER:
            if tag in self.header:
                raise self._refuse(f"a second {tag.decode()} in the header", number, _REPAIR)
            self.header.add(tag)
            if tag == b"default-namespace":
                # GO's own header names one that is none of its three.
                self.has_default = value.decode("utf-8", "replace") in NAMESPACES
            if tag != b"format-version":
                self._keep(line, number)

    def _clause(self, stanza: Stanza, tag: bytes, value: bytes, line: bytes, number: int) -> None:
        """Take a line of a term."""
        if not stanza.id and tag != b"id":
            raise self._refuse("a stanza does not begin with its id", number, _REPAIR)
        if tag in _SINGLE:
            if tag in stanza.seen:
                raise self._refuse(f"a second {tag.decode()} in one stanza", number, _REPAIR)
            stanza.seen.add(tag)
        if tag == b"id":
            self._begin(stanza, value, number)
        elif tag == b"is_a":
            self._edge(stanza, value, 0, number)
        elif tag == b"relationship":
            relation, _, target = value.partition(b" ")
            self.relations += 1
            if relation in _PART_OF:
                self._edge(stanza, target.strip(), 1, number)
        elif tag in _USED:
            if tag == b"is_obsolete":
                stanza.is_obsolete = self._flag(value, number)
            self._keep(line, number)
        elif not line.isascii():
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                self.unread += 1

    def _begin(self, stanza: Stanza, value: bytes, number: int) -> None:
        """Take the id of a term."""
        id = decoded(value, f"{self.name}:line {number}").partition(" ")[0]
        stanza.id = id
        if not id:
            raise self._refuse("an id is empty", number, _CUT)
        if not id.startswith("GO:"):
            stanza.foreign = True
            self.foreign += 1
            return
        if not GO_ID.fullmatch(id):
            raise self._refuse(f"{printable(id)!r} is no GO id", number, _CUT)
        if id in self.scan.terms:
            raise self._refuse(
                f"is defined a second time, first at line {self.scan.terms[id]}",
                number,
                "remove one of the two stanzas, or fetch the file again",
            )
        self.scan.terms[id] = stanza.line
        if len(self.scan.terms) > MAX_TERMS:
            raise self._refuse(f"has more than {MAX_TERMS:,} terms", number, "give a release of GO")
        self._keep(b"\n[Term]", number)
        self._keep(b"id: " + id.encode(), number)

    def _edge(self, stanza: Stanza, value: bytes, kind: int, number: int) -> None:
        """Take an edge to another term."""
        match = _EDGE.fullmatch(value)
        target = match[1].decode("utf-8", "replace") if match else ""
        if not GO_ID.fullmatch(target):
            if match and ":" in target and not target.startswith("GO:"):
                return  # to a term of another ontology, which is not part of GO's graph
            shown = printable(value[:40].decode("utf-8", "replace"))
            raise self._refuse(f"'{shown}' is no GO id", number, _CUT)
        stanza.parents += 1
        self.scan.edges.add(go_number(stanza.id), go_number(target), kind, number)
        if len(self.scan.edges) > MAX_EDGES:
            raise self._refuse(f"has more than {MAX_EDGES:,} edges", number, "give a release of GO")

    def _flag(self, value: bytes, number: int) -> bool:
        word = value.partition(b"!")[0].partition(b"{")[0].strip()
        if word not in (b"true", b"false"):
            shown = printable(value.decode("utf-8", "replace"))
            raise self._refuse(f"is_obsolete is '{shown}', not true or false", number, _REPAIR)
        return word == b"true"

    def _keep(self, line: bytes, number: int) -> None:
        """Keep a line for pronto."""
        if not line.isascii() or b"\0" in line:
            decoded(line, f"{self.name}:line {number}")
        self.used += len(line)
        if self.used > MAX_USED_BYTES:
            raise self._refuse(
                f"has more than {MAX_USED_BYTES:,} bytes of names and definitions",
                number,
                "give a release of GO",
            )
        self.scan.text.append(line + b"\n")
        self.scan.numbers.extend([number] * (line.count(b"\n") + 1))

    def _close(self, *, at_end: bool) -> None:
        """Check that the stanza at hand is whole."""
        stanza, self.stanza = self.stanza, None
        if stanza is None or stanza.foreign:
            return
        if not stanza.id:
            raise self._refuse("this stanza has no id", stanza.line, _CUT)
        if stanza.is_obsolete:
            self._drop_edges(stanza)
            return
        has_namespace = b"namespace" in stanza.seen or self.has_default
        for what, there in (("name", b"name" in stanza.seen), ("namespace", has_namespace)):
            if not there:
                hint = _CUT if at_end else _REPAIR
                raise self._refuse(f"has no {what}", stanza.line, hint, stanza.id)
        if at_end and not stanza.parents and stanza.id not in ROOTS:
            raise self._refuse("the last stanza has no parent", stanza.line, _CUT, stanza.id)

    def _drop_edges(self, stanza: Stanza) -> None:
        """Take back the edges of a term that turned out to be obsolete."""
        if stanza.parents:
            log.warning(
                "%s:line %d (%s): edges of an obsolete term are not used",
                self.name,
                stanza.line,
                stanza.id,
            )
            edges = self.scan.edges
            for values in (edges.children, edges.parents, edges.kinds, edges.lines):
                del values[-stanza.parents :]

    def _end(self) -> None:
        """Check the file as a whole."""
        if not self.scan.terms:
            raise InputError("holds no GO term", where=self.name, hint="give a release of GO")
        if self.relations and not self.typedefs:
            # Writers of OBO put the relations last, and every relation that is used is there.
            raise self._refuse(
                "ends before the [Typedef] stanzas of its relations",
                self.last,
                f"{_CUT}, or add them if it is whole",
            )
        if self.foreign:
            log.warning(
                "%s: %s terms of other ontologies are left out", self.name, f"{self.foreign:,}"
            )
        if self.unread:
            log.warning(
                "%s: %s lines that are not used are not UTF-8", self.name, f"{self.unread:,}"
            )

    def _refuse(self, message: str, number: int, hint: str, id: str = "") -> InputError:
        place = f"{self.name}:line {number}" if number else self.name
        if not id and self.stanza is not None and GO_ID.fullmatch(self.stanza.id):
            id = self.stanza.id
        return InputError(message, where=f"{place} ({id})" if id else place, hint=hint)
