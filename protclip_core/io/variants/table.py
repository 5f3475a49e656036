"""Variants from tables and lists: TSV, CSV, one variant a line.

A row is a line: quotes of CSV may hold the separator, but no line end, so that one quote that is
not closed spoils one row and not all that follow.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

from protclip_core.errors import InputError, UsageError
from protclip_core.io.protein_names import ProteinNames
from protclip_core.io.text_rows import Line, made_visible
from protclip_core.io.variants.columns import Role, find_columns, holds_variant, role_of
from protclip_core.io.variants.rows import RowParts
from protclip_core.records import counted, printable
from protclip_core.variants import Variant, read_variant

__all__ = ["Wanted", "table_parts"]

_log = logging.getLogger(__name__)

_SAMPLE = 100  # rows that columns are told by
_SHOWN = 12  # columns named in a message
_KINDS = {"\t": "tab-separated table", ",": "CSV", ";": "CSV with ';'", None: "list"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the caller says of a table; nothing is told from the table where it is said here.

    Attributes
    ----------
    variant, protein
        Name of a column, or its number from 1; names go before numbers.
    """

    variant: str | None = None
    protein: str | None = None


@dataclass(frozen=True, slots=True)
class _Layout:
    separator: str | None  # None: a line is a value
    header: list[str] | None
    columns: dict[Role, int]


def table_parts(
    lines: Iterable[Line],
    source: str,
    name: str,
    *,
    proteins: ProteinNames | None = None,
    wanted: Wanted | None = None,
) -> Iterator[RowParts]:
    """Give the parts of each row.

    Lines that start with ``#`` are comments, but the last of them before the rows is the header
    where it names columns. The first line is a header where it names a column that is known
    (`variant_columns`), or where it holds no variant and no digit in the column that does below.

    Parameters
    ----------
    lines
        Of the file, none blank.
    source, name
        Path, and its form for messages.
    proteins
        Ids of the FASTA file, to tell the column of proteins by.
    wanted
        Columns that the caller names.

    Raises
    ------
    InputError
        A header and no rows, or a table of several columns none of which holds variants.
    UsageError
        A column that is named and not there.
    """
    lines = iter(lines)
    comments: list[str] = []
    sample: list[Line] = []
    for line in lines:
        if not line[1].startswith("#"):
            sample = [line, *islice(lines, _SAMPLE)]
            break
        comments.append(line[1])
    if not sample:
        raise InputError(
            "has only comments", code="input.empty", where=name, hint="give one variant a line"
        )
    shown = [line for line in sample if not line[1].startswith("#")]
    header = comments[-1].lstrip("# ") if comments else ""
    wanted = wanted or Wanted()
    separator = _separator_of_names(header, wanted)
    if header and separator is not _NONE:
        names = _fields(header, separator)
        comments.pop()
        layout = _layout(shown, separator, names, proteins, wanted, name)
    else:
        layout, headed = _told(shown, proteins, wanted, name)
        if headed == len(shown):
            raise InputError(
                "has a header and no rows",
                code="input.empty",
                where=name,
                hint="give a row per variant",
            )
        sample = sample[headed:]
    _say(layout, name)
    skipped = sum(not comment.startswith("##") for comment in comments)
    yield from _rows(chain(sample, lines), layout, source, name, skipped)


#: Told apart from None, the separator of a list.
_NONE = "none"


def _separator_of_names(line: str, wanted: Wanted) -> str | None:
    """Separator that makes names of a line, known or given; `_NONE` where none does."""
    given = {name for name in (wanted.variant, wanted.protein) if name and not name.isdecimal()}
    # `protein,variant` as one name would be known as well.
    for separator in (*(one for one in "\t,;" if one in line), None):
        names = [field.strip() for field in _fields(line, separator)]
        if given & set(names) or any(map(role_of, names)):
            return separator
    return _NONE


def _told(
    sample: list[Line], proteins: ProteinNames | None, wanted: Wanted, name: str
) -> tuple[_Layout, int]:
    """Tell the layout of a table, and how many lines its header takes."""
    top = sample[0][1]
    separator = _separator_of_names(top, wanted)
    if separator is not _NONE and not any(map(holds_variant, _fields(top, separator))):
        names = _fields(top, separator)
        return _layout(sample[1:], separator, names, proteins, wanted, name), 1
    separator = _separator(sample)
    layout = _layout(sample, separator, None, proteins, wanted, name)
    column = layout.columns.get(Role.VARIANT, 0)
    names = _fields(top, separator)
    below = [_fields(text, separator) for _, text in sample[1:]]
    held = sum(column < len(row) and holds_variant(row[column]) for row in below)
    title = names[column] if column < len(names) else ""
    if 2 * held >= len(below) > 0 and not _is_value(title):
        shown = printable(made_visible(top), 40)
        _log.warning("%s: took its first line for a header: '%s'", name, shown)
        return _layout(sample[1:], separator, names, proteins, wanted, name), 1
    return layout, 0


def _is_value(text: str) -> bool:
    """Whether a field is rather a variant, if a bad one, than the name of a column."""
    return any(map(str.isdigit, text)) or isinstance(read_variant(text), Variant)


def _separator(sample: Sequence[Line]) -> str | None:
    """Separator of a table without known names: what makes the most variants of its lines."""
    if "\t" in sample[0][1]:
        return "\t"

    def variants(separator: str | None) -> int:
        rows = [_fields(text, separator) for _, text in sample]
        return sum(any(map(holds_variant, row)) for row in rows)

    # A line that is a variant as it stands (`A42G,L50P`) is not taken apart.
    return max((None, ",", ";"), key=variants)


def _fields(line: str, separator: str | None) -> list[str]:
    """Split a line; raises `csv.Error` never, a bad quote is an ordinary character here."""
    try:
        return _split(line, separator)
    except csv.Error:
        return line.split(separator or "\n")


def _split(line: str, separator: str | None) -> list[str]:
    if separator is None:
        text = line.strip()
        return [text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text]
    if '"' not in line:
        return line.split(separator)
    if separator == "\t":  # few writers of TSV quote, and many have a '"' in a value
        return [_split(field, None)[0] for field in line.split(separator)]
    return next(csv.reader([line], delimiter=separator, strict=True, skipinitialspace=True))


def _layout(
    sample: Sequence[Line],
    separator: str | None,
    header: list[str] | None,
    proteins: ProteinNames | None,
    wanted: Wanted,
    name: str,
) -> _Layout:
    """Find the columns; those that the caller names first."""
    rows = [_fields(text, separator) for _, text in sample]
    header = [one.strip() for one in header] if header else None
    width = max(map(len, [header or [], *rows]))
    columns = find_columns(header, rows, proteins)
    for role, text in ((Role.VARIANT, wanted.variant), (Role.PROTEIN, wanted.protein)):
        if text is not None:
            columns = {known: at for known, at in columns.items() if known is not role}
            columns[role] = _named(text, header, width, name)
    if not {Role.VARIANT, Role.MUTATED} & set(columns):
        if header is None and width <= 2:
            columns[Role.VARIANT] = width - 1
            if columns.get(Role.PROTEIN) == width - 1:
                del columns[Role.PROTEIN]
            if width == 2:
                columns.setdefault(Role.PROTEIN, 0)
        else:
            shown = ", ".join(printable(made_visible(one), 30) for one in (header or [])[:_SHOWN])
            raise InputError(
                f"no column holds variants ({shown or f'{width} columns without a header'})",
                code="input.missing_column",
                where=name,
                hint="name the column",
            )
    return _Layout(separator, header, columns)


def _named(text: str, header: list[str] | None, width: int, name: str) -> int:
    """Column that the caller names."""
    if header and text in header:
        return header.index(text)
    if text.isdecimal() and 1 <= int(text) <= width:
        return int(text) - 1
    shown = ", ".join(printable(made_visible(one), 30) for one in (header or [])[:_SHOWN])
    raise UsageError(
        f"no column '{printable(text)}'",
        code="usage.no_such_column",
        where=name,
        hint=f"it has {shown}" if shown else f"it has {width} columns and no header",
    )


def _say(layout: _Layout, name: str) -> None:
    """Log what was detected."""

    def column(at: int) -> str:
        if layout.header and at < len(layout.header):
            return f"column '{printable(made_visible(layout.header[at]))}'"
        return f"column {at + 1}"

    roles = ", ".join(f"{role} in {column(at)}" for role, at in layout.columns.items())
    head = "with a header" if layout.header else "without a header"
    _log.info("%s: %s %s: %s", name, _KINDS[layout.separator], head, roles)


def _rows(
    lines: Iterable[Line], layout: _Layout, source: str, name: str, comments: int
) -> Iterator[RowParts]:
    """Give the parts of each row of a layout; ``comments`` were passed over before."""
    number = 0
    for line, text in lines:
        if text.startswith("#"):
            comments += 1
            continue
        number += 1
        row = RowParts(number, line, source)
        try:
            fields = _split(text, layout.separator)
        except csv.Error:
            fault = f"'{printable(made_visible(text), 40)}' has a quote that is not closed"
            yield replace(row, text=text[:200], fault=fault)
            continue
        yield _parts(row, fields, layout)
    if comments:
        _log.warning("%s: passed over %s starting with '#'", name, counted(comments, "line"))


def _parts(row: RowParts, fields: list[str], layout: _Layout) -> RowParts:
    """Sort the fields of one row."""
    part = {role: fields[at].strip() for role, at in layout.columns.items() if at < len(fields)}
    fault = ""
    header = layout.header
    if header and any(map(str.strip, fields[len(header) :])):
        fault = f"has {len(fields)} columns, the header {len(header)}; quote what holds a separator"
    elif not {Role.VARIANT, Role.MUTATED} & set(part):
        wanted = 1 + min(at for role, at in layout.columns.items() if role in _TELLING)
        fault = f"has {len(fields)} columns, and its variant should be in column {wanted}"
    names = header or [f"column {at + 1}" for at in range(len(fields))]
    used = set(layout.columns.values())
    extra = {
        key: value.strip() for at, (key, value) in enumerate(zip(names, fields)) if at not in used
    }
    return replace(
        row,
        protein=part.get(Role.PROTEIN, ""),
        text=part.get(Role.VARIANT, ""),
        wild_type=part.get(Role.WILD_TYPE, ""),
        mutated=part.get(Role.MUTATED, ""),
        extra=extra,
        fault=fault,
    )


_TELLING = (Role.VARIANT, Role.MUTATED)
