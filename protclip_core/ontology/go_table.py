"""GO from a table of its terms, one row each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from protclip_core.errors import InputError
from protclip_core.io.streams import open_input, source_name
from protclip_core.ontology.assemble import GO_ID, TermList, assemble, go_number
from protclip_core.ontology.lines import foreign_content, release_faults, text_lines
from protclip_core.ontology.obo import MAX_EDGES, MAX_TERMS, MAX_USED_BYTES
from protclip_core.ontology.ontology import Ontology
from protclip_core.ontology.terms import NAMESPACES, RELATIONS, Obsolete
from protclip_core.records import printable

__all__ = ["read_go_table"]

_NEEDED = ("id", "name", "namespace", "is_obsolete", "is_a")


def read_go_table(
    path: str | Path, *, data_version: str | None = None, definitions: bool = True
) -> Ontology:
    """Read a table of GO: tab-separated, with a header.

    Parameters
    ----------
    path
        Path of a file, plain or compressed, or ``-``. Columns ``id``, ``name``, ``namespace``,
        ``is_obsolete`` (``0`` or ``1``), ``is_a`` (ids with commas between); ``part_of`` and
        ``definition`` where they are there; others are passed over.
    data_version
        The release, which a table does not state.
    definitions
        Keep the definitions.

    Returns
    -------
    Ontology
        Active terms in the order of the table. An edge to a term that is not in the table, or
        obsolete, is left out with a warning.

    Raises
    ------
    ModelError
        A missing column, a row of too few columns, a value that no GO term has, an id that is
        there twice, or a term among its own ancestors; with its line.
    """
    name = source_name(path)
    terms = TermList()
    seen: dict[str, int] = {}
    used = 0
    with release_faults():
        with open_input(path) as stream:
            for line, row in _rows(text_lines(stream, name), name):
                id, where = row["id"], f"{name}:line {line}"
                if not GO_ID.fullmatch(id):
                    raise InputError(
                        f"{printable(id)!r} is not a GO id", code="input.bad_line", where=where
                    )
                where = f"{where} ({id})"
                if id in seen:
                    raise InputError(
                        f"is defined a second time, first at line {seen[id]}",
                        code="input.duplicate_id",
                        where=where,
                        hint="remove one of the two rows",
                    )
                seen[id] = line
                used += sum(map(len, row.values()))
                if used > MAX_USED_BYTES or len(seen) > MAX_TERMS or len(terms.edges) > MAX_EDGES:
                    raise InputError(
                        "is larger than any release of GO", code="input.too_large", where=where
                    )
                _take(terms, row, line, where, definitions=definitions)
        return assemble(terms, name, data_version=data_version, drop_missing=True)


def _rows(lines: Iterator[tuple[int, str]], name: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Give each row by the names of its columns."""
    number, header = next(lines, (0, ""))
    if not header.strip():
        raise InputError("is empty", code="input.empty", where=name, hint="give a GO table")
    columns = header.split("\t")
    if missing := [column for column in _NEEDED if column not in columns]:
        if len(columns) == 1:
            raise foreign_content(header.lstrip().encode(), name, "a GO table")
        raise InputError(
            f"has no column {missing[0]!r}",
            code="input.missing_column",
            where=name,
            hint="give a GO table",
        )
    for number, line in lines:
        if not line:
            continue
        values = line.split("\t")
        if len(values) < len(columns):
            raise InputError(
                f"has {len(values)} columns, the header {len(columns)}",
                code="input.truncated",
                where=f"{name}:line {number}",
                hint="the table is cut or edited; fetch it again",
            )
        yield number, dict(zip(columns, values))


def _take(
    terms: TermList, row: dict[str, str], line: int, where: str, *, definitions: bool
) -> None:
    """Add a row to the terms."""
    if row["is_obsolete"] not in ("0", "1"):
        raise InputError(
            f"is_obsolete is {printable(row['is_obsolete'])!r}, not 0 or 1",
            code="input.bad_line",
            where=where,
        )
    if row["is_obsolete"] == "1":
        terms.obsolete[row["id"]] = Obsolete()
        return
    if row["namespace"] not in NAMESPACES:
        raise InputError(
            f"unknown namespace {printable(row['namespace'])!r}",
            code="input.not_go",
            where=where,
            hint=f"GO has {', '.join(NAMESPACES)}",
        )
    terms.ids.append(row["id"])
    terms.names.append(row["name"])
    terms.aspects.append(NAMESPACES[row["namespace"]])
    if definitions:
        terms.definitions.append(row.get("definition", ""))
    for kind, relation in enumerate(RELATIONS):
        for parent in filter(None, row.get(relation, "").split(",")):
            if not GO_ID.fullmatch(parent.strip()):
                raise InputError(
                    f"{printable(parent)!r} is not a GO id", code="input.bad_line", where=where
                )
            terms.edges.add(go_number(row["id"]), go_number(parent.strip()), kind, line)
