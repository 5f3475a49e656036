"""GO from OBO files: each line is checked, what is used is kept, the rest is passed over.

A reader has to refuse what would otherwise give a wrong graph in silence: stanzas that share an
id, a second name, a file that was cut between two lines, text that is not UTF-8. Imports are
never followed, and neither a long line nor a long file fills the memory.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from protclip_core.errors import InputError
from protclip_core.io.streams import open_input, source_name
from protclip_core.ontology.assemble import GO_ID, TermList, assemble, go_number
from protclip_core.ontology.lines import decoded, foreign_content, numbered_lines, release_faults
from protclip_core.ontology.obo_values import (
    Stanza,
    definition_value,
    has_odd_reference,
    id_value,
    plain_value,
)
from protclip_core.ontology.ontology import Ontology
from protclip_core.ontology.terms import NAMESPACES, RELATIONS, ROOTS, Obsolete, check_relations
from protclip_core.records import counted, printable

__all__ = ["MAX_EDGES", "MAX_TERMS", "MAX_USED_BYTES", "read_obo"]

_log = logging.getLogger(__name__)

#: Most bytes, terms, edges, and bytes of used lines. The largest release, go-plus, has about
#: 150 MB, 48,000 GO terms and 14 MB of used lines.
MAX_BYTES = 1 << 30
MAX_TERMS = 200_000
MAX_EDGES = 1_000_000
MAX_USED_BYTES = 64 << 20

_REPAIR = "fetch the file again"
_CUT = f"the file is cut; {_REPAIR}"
_RELEASE, _LARGE = "give a release of GO", "input.too_large"
_FIRST = re.compile(rb"\[\w+\]|[A-Za-z][\w-]*:(\s|$)")
_EDGE = re.compile(rb"(\S+)\s*(?:\{.*\})?\s*(?:!.*)?")
#: Tags of a term that are used, and those that may stand once only.
_USED = frozenset(
    [b"name", b"namespace", b"def", b"is_obsolete", b"alt_id", b"replaced_by", b"consider"]
    + [b"subset"]
)
_SINGLE = frozenset([b"id", b"name", b"namespace", b"def", b"is_obsolete"])
_CONSTRAINT = re.compile(
    rb"(?:(only|never)_in_taxon|(RO:0002160|RO:0002161)) NCBITaxon:([0-9]{1,9})(?=\s|$)"
)
_PART_OF = (b"part_of", b"BFO:0000050")
_HEADER = frozenset([b"format-version", b"data-version", b"default-namespace", b"ontology"])


def read_obo(
    path: str | Path,
    *,
    relations: Iterable[str] = RELATIONS,
    definitions: bool = True,
) -> Ontology:
    r"""Read a release of GO.

    Any of GO's OBO files will do (``go-basic.obo``, ``go.obo``, a slim), plain or compressed.
    Nothing is fetched: ``import:`` headers are named in a warning and not followed.

    Parameters
    ----------
    path
        Path of a file, or ``-`` for standard input.
    relations
        Relations that count as parents, of ``is_a`` and ``part_of``. Cycles and missing parents
        are looked for over both in any case.
    definitions
        Keep the definitions, which take half of the memory.

    Returns
    -------
    Ontology
        Its terms in the order of the file.

    Raises
    ------
    ModelError
        The file is missing, damaged, cut, of another kind or encoding; an id occurs twice, a
        parent is missing, a term is its own ancestor, a term has no name or namespace. One line
        that names file, line or term, and the way out.

    Examples
    --------
    >>> from pathlib import Path
    >>> from protclip_core import read_obo
    >>> header = "format-version: 1.2\ndata-version: releases/2024-01-17\nontology: go\n"
    >>> root = "id: GO:0003674\nname: molecular_function\nnamespace: molecular_function\n"
    >>> _ = Path("go.obo").write_text(f"{header}\n[Term]\n{root}")
    >>> ontology = read_obo("go.obo")
    >>> ontology.ids, ontology.release
    (('GO:0003674',), '2024-01-17')
    """
    wanted = check_relations(relations)
    name = source_name(path)
    reader = _Reader(name, definitions=definitions)
    with release_faults():
        with open_input(path) as stream:
            terms = reader.run(stream)
        ontology = assemble(terms, name, data_version=reader.data_version)
    return ontology if wanted == RELATIONS else ontology.with_relations(wanted)


class _Reader:
    """One pass over a file; `run` gives its terms, ``data_version`` is then what it states."""

    def __init__(self, name: str, *, definitions: bool) -> None:
        self.name, self.definitions = name, definitions
        self.terms = TermList()
        self.data_version: str | None = None
        self.default_namespace = ""
        self.lines: dict[str, int] = {}  # id -> line of its stanza
        self.stanza: Stanza | None = None  # of a term
        self.kind = b""  # of the stanza at hand; empty in the header
        self.header: set[bytes] = set()
        self.typedefs = 0
        self.relations = 0
        self.foreign = 0
        self.unread = 0  # lines that are not UTF-8 and not used
        self.odd = 0  # lists of references that break the format
        self.used = 0
        self.last = 0

    def run(self, stream: io.BufferedReader) -> TermList:
        """Read all lines."""
        for number, tag, value in self._clauses(stream):
            if not tag:
                self._close(at_end=False)
                self._open(value, number)
            elif not self.kind:
                self._head(tag, value, number)
            elif self.stanza is not None and not self.stanza.foreign:
                self._clause(self.stanza, tag, value, number)
        self._close(at_end=True)
        self._end()
        return self.terms

    def _clauses(self, stream: io.BufferedReader) -> Iterator[tuple[int, bytes, bytes]]:
        """Give line number, tag and value; the start of a stanza has no tag."""
        total, started = 0, False
        raw = b"\n"
        for number, raw in numbered_lines(stream, self.name):
            self.last = number
            total += len(raw)
            if total > MAX_BYTES:
                raise self._refuse(f"has more than {MAX_BYTES:,} bytes", 0, _RELEASE, _LARGE)
            line = raw.strip()
            if not line or line.startswith(b"!"):
                continue
            if not started and not _FIRST.match(line):
                raise foreign_content(line, self.name, "an OBO file")
            started = True
            if not raw.endswith(b"\n"):
                break
            if line.startswith(b"["):
                yield number, b"", line
                continue
            tag, colon, value = line.partition(b":")
            if not colon:
                shown = printable(line[:40].decode("utf-8", "replace"))
                raise self._refuse(f"'{shown}' is not 'tag: value'", number, _REPAIR)
            yield number, tag.strip(), value.strip()
        if not started:
            raise self._refuse("is empty", 0, _RELEASE, "input.empty")
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
            raise self._refuse(f"'{shown}' is not a stanza of OBO", number, _REPAIR)

    def _head(self, tag: bytes, value: bytes, number: int) -> None:
        """Take a line of the header."""
        if tag == b"import":
            _log.warning(
                "%s:line %d: imports are not followed: %s",
                self.name,
                number,
                printable(value.decode("utf-8", "replace")),
            )
        if tag in _HEADER:
            if tag in self.header:
                raise self._refuse(f"a second {tag.decode()} in the header", number, _REPAIR)
            self.header.add(tag)
            text = self._text(value, number) if tag != b"format-version" else ""
            if tag == b"default-namespace":
                self.default_namespace = plain_value(text)
            elif tag == b"data-version":
                self.data_version = text

    def _clause(self, stanza: Stanza, tag: bytes, value: bytes, number: int) -> None:
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
            else:
                self._taxon(stanza, value)
        elif tag == b"property_value":
            self._taxon(stanza, value)
        elif tag in _USED:
            self._use(stanza, tag, value, number)
        elif not value.isascii():
            try:
                value.decode("utf-8")
            except UnicodeDecodeError:
                self.unread += 1

    def _taxon(self, stanza: Stanza, value: bytes) -> None:
        """Take a constraint of taxa, as a subset of terms of its own."""
        if found := _CONSTRAINT.match(value):
            kind = "only" if b"only" in found[0] or found[2] == b"RO:0002160" else "never"
            name = f"{kind}_in_taxon:{found[3].decode()}"
            stanza.lists.setdefault(b"subset", set()).add(name)

    def _use(self, stanza: Stanza, tag: bytes, value: bytes, number: int) -> None:
        """Take a clause that says something of the term itself."""
        self._count(len(tag) + len(value), number)
        if tag == b"is_obsolete":
            stanza.is_obsolete = self._flag(value, number)
            return
        text = self._text(value, number, len(tag) + 2)
        if tag == b"name":
            stanza.name = plain_value(text)
        elif tag == b"namespace":
            stanza.namespace = id_value(text)
        elif tag == b"def":
            found = definition_value(text)
            if found is None:
                shown = printable(text, 40)
                raise self._refuse(f"'{shown}' is not a quoted definition", number, _REPAIR)
            stanza.definition = found[0] if self.definitions else ""
            self.odd += has_odd_reference(found[1])
        elif id := id_value(text):
            stanza.lists.setdefault(tag, set()).add(id)
        else:
            raise self._refuse(f"{tag.decode()} is empty", number, _REPAIR)

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
            raise self._refuse(f"{printable(id)!r} is not a GO id", number, _CUT)
        if id in self.lines:
            raise self._refuse(
                f"is defined a second time, first at line {self.lines[id]}",
                number,
                "remove one of the two stanzas, or fetch the file again",
                "input.duplicate_id",
            )
        self.lines[id] = stanza.line
        self._count(len(id), number)
        if len(self.lines) > MAX_TERMS:
            raise self._refuse(f"has more than {MAX_TERMS:,} terms", 0, _RELEASE, _LARGE)

    def _edge(self, stanza: Stanza, value: bytes, kind: int, number: int) -> None:
        """Take an edge to another term."""
        match = _EDGE.fullmatch(value)
        target = match[1].decode("utf-8", "replace") if match else ""
        if not GO_ID.fullmatch(target):
            if match and ":" in target and not target.startswith("GO:"):
                return  # to a term of another ontology, which is not part of GO's graph
            shown = printable(value[:40].decode("utf-8", "replace"))
            raise self._refuse(f"'{shown}' is not a GO id", number, _CUT)
        stanza.parents += 1
        self.terms.edges.add(go_number(stanza.id), go_number(target), kind, number)
        if len(self.terms.edges) > MAX_EDGES:
            raise self._refuse(f"has more than {MAX_EDGES:,} edges", 0, _RELEASE, _LARGE)

    def _flag(self, value: bytes, number: int) -> bool:
        word = value.partition(b"!")[0].partition(b"{")[0].strip()
        if word not in (b"true", b"false"):
            shown = printable(value.decode("utf-8", "replace"))
            raise self._refuse(f"is_obsolete is '{shown}', not true or false", number, _REPAIR)
        return word == b"true"

    def _text(self, value: bytes, number: int, column: int = 0) -> str:
        """Decode a value that is used; ``column`` bytes stand before it in the line."""
        return decoded(b" " * column + value, f"{self.name}:line {number}")[column:]

    def _count(self, size: int, number: int) -> None:
        """Count what is kept in memory."""
        self.used += size
        if self.used > MAX_USED_BYTES:
            message = f"has more than {MAX_USED_BYTES:,} bytes of names and definitions"
            raise self._refuse(message, number, _RELEASE, _LARGE)

    def _close(self, *, at_end: bool) -> None:
        """Check that the stanza at hand is whole."""
        stanza, self.stanza = self.stanza, None
        if stanza is None or stanza.foreign:
            return
        if not stanza.id:
            raise self._refuse("this stanza has no id", stanza.line, _CUT)
        self.terms.alternatives.extend((other, stanza.id) for other in stanza.ids(b"alt_id"))
        if stanza.is_obsolete:
            self._drop_edges(stanza)
            fate = Obsolete(stanza.ids(b"replaced_by"), stanza.ids(b"consider"))
            self.terms.obsolete[stanza.id] = fate
            return
        # GO's own header may name a default that is not one of its three.
        has_namespace = b"namespace" in stanza.seen or self.default_namespace in NAMESPACES
        for what, there in (("name", bool(stanza.name)), ("namespace", has_namespace)):
            if not there:
                hint = _CUT if at_end else _REPAIR
                raise self._refuse(f"has no {what}", stanza.line, hint, id=stanza.id)
        if at_end and not stanza.parents and stanza.id not in ROOTS:
            raise self._refuse("the last stanza has no parent", stanza.line, _CUT, id=stanza.id)
        namespace = stanza.namespace or self.default_namespace
        if namespace not in NAMESPACES:
            message = f"unknown namespace {printable(namespace)!r}"
            hint = f"GO has {', '.join(NAMESPACES)}"
            raise self._refuse(message, stanza.line, hint, "input.not_go", id=stanza.id)
        terms = self.terms
        terms.ids.append(stanza.id)
        terms.names.append(stanza.name)
        terms.aspects.append(NAMESPACES[namespace])
        if self.definitions:
            terms.definitions.append(stanza.definition)
        for subset in sorted(stanza.lists.get(b"subset", ())):
            terms.subsets.setdefault(subset, []).append(stanza.id)

    def _drop_edges(self, stanza: Stanza) -> None:
        """Take back the edges of a term that turned out to be obsolete."""
        if stanza.parents:
            _log.warning(
                "%s:line %d (%s): edges of an obsolete term are not used",
                self.name,
                stanza.line,
                stanza.id,
            )
            edges = self.terms.edges
            for values in (edges.children, edges.parents, edges.kinds, edges.lines):
                del values[-stanza.parents :]

    def _end(self) -> None:
        """Check the file as a whole."""
        if not self.lines:
            raise self._refuse("has no GO terms", 0, _RELEASE, "input.not_go")
        if self.relations and not self.typedefs:
            # Writers of OBO put the relations last, and every relation that is used is there.
            raise self._refuse(
                "ends before the [Typedef] stanzas of its relations",
                self.last,
                f"{_CUT}, or add them if it is whole",
            )
        if self.odd:
            _log.warning(
                "%s: the references of %s break the format (a space in one, for example); they "
                "are not used",
                self.name,
                counted(self.odd, "definition"),
            )
        if self.foreign:
            _log.warning(
                "%s: %s of other ontologies left out", self.name, counted(self.foreign, "term")
            )
        if self.unread:
            _log.warning("%s: %s not UTF-8, and not used", self.name, counted(self.unread, "line"))

    def _refuse(
        self, message: str, number: int, hint: str, code: str = "", *, id: str = ""
    ) -> InputError:
        place = f"{self.name}:line {number}" if number else self.name
        if not id and number and self.stanza is not None and GO_ID.fullmatch(self.stanza.id):
            id = self.stanza.id
        return InputError(
            message,
            code=code or ("input.truncated" if hint.startswith(_CUT) else "input.bad_line"),
            where=f"{place} ({id})" if id else place,
            hint=hint,
        )
