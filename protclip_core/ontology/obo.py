"""GO from OBO files: `scan_obo` checks the lines, pronto reads the frames."""

from __future__ import annotations

import io
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from protclip_core.errors import InputError
from protclip_core.io.streams import open_input, source_name
from protclip_core.ontology.assemble import GO_ID, TermList, assemble
from protclip_core.ontology.lines import release_faults
from protclip_core.ontology.obo_scan import Scan, scan_obo
from protclip_core.ontology.ontology import Ontology
from protclip_core.ontology.terms import NAMESPACES, RELATIONS, Obsolete, check_relations
from protclip_core.records import printable

__all__ = ["read_obo"]


def read_obo(
    path: str | Path,
    *,
    relations: Iterable[str] = RELATIONS,
    definitions: bool = True,
) -> Ontology:
    """Read a release of GO.

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
        The file is missing, damaged, cut, of another kind or encoding; an id is there twice, a
        parent is missing, a term is its own ancestor, a term has no name or namespace. One line
        that names file, line or term, and the way out.
    """
    wanted = check_relations(relations)
    name = source_name(path)
    with release_faults():
        with open_input(path) as stream:
            scan = scan_obo(stream, name)
        frames = _frames(scan, name)
        terms = _term_list(frames, scan, name, definitions=definitions)
        ontology = assemble(terms, name, data_version=frames.metadata.data_version)
    return ontology if wanted == RELATIONS else ontology.with_relations(wanted)


class _Lines(io.RawIOBase):
    """The lines of a scan as a file; the first read gives the first line alone.

    pronto guesses the encoding from what a first look shows, and guesses wrong where that ends
    inside a letter; the first line is plain ASCII, which it takes for UTF-8 without a doubt.
    """

    def __init__(self, lines: list[bytes]) -> None:
        self._pieces = _pieces(lines)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def _pieces(lines: list[bytes]) -> Iterator[bytes]:
    yield b"format-version: 1.4\n"
    for start in range(0, len(lines), 1000):
        yield b"".join(lines[start : start + 1000])


def _frames(scan: Scan, name: str) -> Any:
    """Let pronto read the lines that were kept."""
    import pronto

    # One line that the file does not have stands first.
    numbers = array("i", [0]) + scan.numbers
    try:
        return pronto.Ontology(cast(BinaryIO, _Lines(scan.text)), import_depth=0)
    except SyntaxError as error:
        number = numbers[min(error.lineno or 1, len(numbers)) - 1]
        what = str(error.msg).partition(" (")[0]
        raise InputError(
            f"cannot be read: {printable(what)}",
            where=f"{name}:line {number}",
            hint="correct the line, or fetch the file again",
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise InputError(
            f"cannot be read as OBO ({type(error).__name__}: {printable(str(error))})",
            where=name,
            hint="fetch the file again",
        ) from error


def _term_list(frames: Any, scan: Scan, name: str, *, definitions: bool) -> TermList:
    """Take from pronto's terms what is kept."""
    terms = TermList(edges=scan.edges)
    default = frames.metadata.default_namespace
    for id, line in scan.terms.items():
        term = frames.get_term(id)
        where = f"{name}:line {line} ({id})"
        if term.obsolete:
            terms.obsolete[id] = Obsolete(_go_ids(term.replaced_by.ids), _go_ids(term.consider.ids))
            terms.alternatives.extend((other, id) for other in _go_ids(term.alternate_ids))
            continue
        namespace = term.namespace or default
        if namespace not in NAMESPACES:
            raise InputError(
                f"unknown namespace {printable(str(namespace))!r}",
                where=where,
                hint=f"GO has {', '.join(NAMESPACES)}",
            )
        terms.ids.append(id)
        terms.names.append(term.name)
        terms.aspects.append(NAMESPACES[namespace])
        if definitions:
            terms.definitions.append(str(term.definition or ""))
        terms.alternatives.extend((other, id) for other in _go_ids(term.alternate_ids))
        for subset in sorted(term.subsets):
            terms.subsets.setdefault(subset, []).append(id)
    return terms


def _go_ids(ids: Iterable[str]) -> tuple[str, ...]:
    """Return the ids that are of GO, sorted; replacements may be of other ontologies."""
    return tuple(sorted(id for id in ids if GO_ID.fullmatch(id)))
