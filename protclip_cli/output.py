"""Rows to standard output or a file: a table for people, TSV, CSV or JSON for programs."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TextIO, TypeVar

from protclip_core.errors import ResourceError, UsageError
from protclip_core.options import OUTPUT, Opt, Overwrite
from protclip_core.records import printable

__all__ = [
    "Format",
    "Output",
    "Target",
    "Value",
    "begun",
    "check_picture",
    "defined",
    "is_plain_tsv",
    "one_cell",
    "refuse_existing",
    "rows_form",
    "safe_for",
    "split_suffix",
    "stdout",
    "target",
    "write_json",
    "write_rows",
    "write_tsv_line",
    "write_values",
]

Format = Annotated[
    Literal["auto", "table", "tsv", "csv", "jsonl", "json"],
    Opt("auto: by the suffix of -o, else a table on a terminal and TSV elsewhere.", panel=OUTPUT),
]
Output = Annotated[
    str | None,
    Opt(
        "File to write; NAME.gz is compressed.",
        "-o",
        "--output",
        panel=OUTPUT,
        shown="standard output",
    ),
]
Value = str | int | float | None
_Row = TypeVar("_Row")
_Paths = Iterable[str | Path | None]
_BREAKS = "\t\r\n\v\f\x85\u2028\u2029"
#: Control characters as escapes: a pipe may end in a terminal, which would obey them.
_CONTROLS = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in _BREAKS
}
_IN_CELL = {**_CONTROLS, **dict.fromkeys(map(ord, _BREAKS), " ")}
#: What JSON leaves as it is.
_NOT_IN_JSON = {code: f"\\u{code:04x}" for code in range(127, 160)}
#: What a suffix of a file says about its form; a file without one is TSV.
_SUFFIXES = {
    ".tsv": "tsv",
    ".tab": "tsv",
    ".txt": "tsv",
    "": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
}
_PACKED = {".bz2", ".zst", ".xz", ".zip"}  # and .gz, which is written


def stdout() -> TextIO:
    """Return standard output.

    Raises
    ------
    ResourceError
        It was closed before the program began (``>&-``).
    """
    if sys.stdout is None:
        raise ResourceError(
            "standard output is closed",
            code="resource.closed_output",
            hint="redirect it to a file or a pipe",
        )
    return sys.stdout


@dataclass(frozen=True, kw_only=True)
class Results:
    """Options of every command that prints rows."""

    format: Format = "auto"
    output: Output = None
    overwrite: Overwrite = False
    #: Further suffixes of a command, with their forms.
    more: ClassVar[Mapping[str, str]] = {}

    def target(self, *inputs: str | Path | None) -> Target:
        """Say where results go; ``inputs`` are all paths that are read. Errors as `target`."""
        return target(
            self.output, self.format, overwrite=self.overwrite, inputs=inputs, more=self.more
        )


@dataclass(frozen=True)
class Target:
    """Where results go, and in what form.

    Attributes
    ----------
    path
        None for standard output.
    form
        As asked for, or as the suffix says; ``"auto"`` is left for `rows_form`.
    is_packed
        Whether the file is compressed with gzip.
    """

    path: Path | None
    form: str
    is_packed: bool = False

    @contextmanager
    def open(self) -> Iterator[TextIO]:
        """Give standard output, or a file that appears when all is written."""
        if self.path is None:
            yield stdout()
            return
        from protclip_core.io.atomic import open_atomic

        with ExitStack() as stack:
            file: Any = stack.enter_context(open_atomic(self.path))
            if self.is_packed:
                # Without a name and a time, equal rows are equal files.
                packed = gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0)
                file = stack.enter_context(packed)
            # Nothing waits in the text layer: after an error it would go to a closed file.
            text = io.TextIOWrapper(
                file, encoding="utf-8", errors="surrogateescape", newline="\n", write_through=True
            )
            yield text
            text.flush()
            text.detach()

    def write(self, rows: Iterable[object], columns: Sequence[str], **renamed: str) -> None:
        """Write rows as `write_rows` does.

        A row is a mapping, or an object whose attributes are the columns; ``renamed`` are columns
        whose attributes have another name.
        """
        with self.open() as out:
            write_rows((_cells(row, columns, renamed) for row in rows), columns, self.form, out)

    @property
    def screen(self) -> TextIO | None:
        """Standard output where results go there, so that no bar is drawn over them."""
        return stdout() if self.path is None else None


def target(
    output: str | None,
    form: str = "auto",
    *,
    overwrite: bool = False,
    inputs: Iterable[str | Path | None] = (),
    more: Mapping[str, str] | None = None,
) -> Target:
    """Say where results go, and refuse early what cannot be written.

    A file whose name ends in ``.gz`` is compressed; the suffix before it says the form.

    Parameters
    ----------
    output
        As given by ``-o``; None or ``-`` for standard output.
    form
        As given by ``--format``.
    overwrite
        Whether a file that exists may be replaced.
    inputs
        Paths that are read, and so must not be written; None among them is passed over.
    more
        Further suffixes of this command, with their forms.

    Raises
    ------
    UsageError
        The file cannot be written, exists, is an input, or has a suffix for another form.
    """
    if output in (None, "-"):
        return Target(None, form)
    from protclip_core.io.atomic import check_writable_target
    from protclip_core.io.outputs import check_outputs

    path = Path(str(output))
    check_outputs(inputs, (path,), hint="choose another -o")
    known = {**_SUFFIXES, **(more or {})}
    suffix, is_packed = split_suffix(path)
    is_packed &= not _is_device(path)
    if (
        suffix in _PACKED
        or known.get(suffix) == "npy"
        or (form == "auto" and suffix not in known and not _is_device(path))
    ):
        raise UsageError(
            f"cannot write a {suffix} file",
            code="usage.output_suffix",
            where=str(path),
            hint=f"name it {', '.join(s for s in known if s)}, or choose a --format",
        )
    if form not in ("auto", "table", known.get(suffix, form)) and suffix not in ("", ".txt"):
        raise UsageError(
            f"--format {form} does not match the suffix {suffix}",
            code="usage.output_suffix",
            where=str(path),
            hint="drop --format, or rename the file",
        )
    check_writable_target(path)
    refuse_existing(path, overwrite=overwrite)
    form = known.get(suffix, "tsv") if form == "auto" else form
    return Target(path, form, is_packed)


def split_suffix(path: Path) -> tuple[str, bool]:
    """Return the suffix in lower case, before ``.gz`` if there is one, and whether there is."""
    is_packed = path.suffix.lower() == ".gz"
    return (path.with_suffix("") if is_packed else path).suffix.lower(), is_packed


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file()


def refuse_existing(path: Path, *, overwrite: bool, other: str = "-o") -> None:
    """Refuse a file that exists, unless it may be replaced; ``other`` says what to rename.

    Raises
    ------
    UsageError
        It exists.
    """
    if path.exists() and not overwrite:
        hint = f"choose another {other}, or replace it with --overwrite"
        raise UsageError("already exists", code="usage.output_exists", where=str(path), hint=hint)


def check_picture(
    path: Path,
    *,
    overwrite: bool,
    inputs: Iterable[str | Path | None] = (),
    other: Path | None = None,
) -> None:
    """Refuse early a picture that cannot be drawn: its suffix, its place, or what is there.

    Raises
    ------
    UsageError
        As `target`; or ``other``, the file of the results, is the same one.
    """
    from protclip_core.io.atomic import check_writable_target
    from protclip_core.io.outputs import check_outputs
    from protclip_core.report.figures import plot_form

    plot_form(path)
    check_outputs(inputs, (path, other), hint="choose another --plot")
    check_writable_target(path)
    refuse_existing(path, overwrite=overwrite, other="--plot")


def _cells(row: object, columns: Sequence[str], renamed: Mapping[str, str]) -> Mapping[str, Value]:
    if isinstance(row, Mapping):
        return row
    values = {column: getattr(row, renamed.get(column, column)) for column in columns}
    return {column: _plain(value) for column, value in values.items()}


def _plain(value: Any) -> Value:
    if isinstance(value, tuple):
        return ",".join(value)
    return defined(value) if isinstance(value, float) else value


def begun(rows: Iterable[_Row]) -> Iterator[_Row]:
    """Wait for the first row: an error before it shall not leave a header behind."""
    rows = iter(rows)
    first = list(islice(rows, 1))
    return chain(first, rows)


def defined(value: float) -> float | None:
    """Return None for NaN, which JSON cannot express."""
    return value if value == value else None


def rows_form(form: str, out: TextIO) -> str:
    """Decide what ``auto`` is: a table on a terminal, TSV elsewhere."""
    if form == "auto":
        return "table" if out.isatty() else "tsv"
    return form


def is_plain_tsv(form: str, out: TextIO) -> bool:
    """Whether rows may be written as ready lines: TSV, and no terminal that obeys escapes."""
    return rows_form(form, out) == "tsv" and not out.isatty()


def write_rows(
    rows: Iterable[Mapping[str, Value]],
    columns: Sequence[str],
    form: str,
    out: TextIO | None = None,
) -> None:
    """Write rows.

    Parameters
    ----------
    rows
        Column name to value; a column that a row does not have is empty.
    columns
        Columns in order; the header of TSV and CSV.
    form
        One of `Format`. Numbers have full precision but in a table, where they have 4 digits.
    out
        Where to; default standard output.
    """
    write_values(([row.get(c) for c in columns] for row in rows), columns, form, out)


def write_values(
    rows: Iterable[Sequence[Value]], columns: Sequence[str], form: str, out: TextIO | None = None
) -> None:
    """Write rows as `write_rows` does, each given as the values of all columns."""
    out = out or stdout()
    form = rows_form(form, out)
    if form in ("json", "jsonl"):
        write_json((dict(zip(columns, row)) for row in rows), out, lines=form == "jsonl")
    elif form == "tsv":
        safe = safe_for(out)
        out.write("\t".join(columns) + "\n")
        for row in rows:
            out.write("\t".join([_text(value, safe) for value in row]) + "\n")
    elif form == "csv":
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        safe = safe_for(out) if out.isatty() else _without_controls
        for row in rows:
            writer.writerow([_text(value, safe) for value in row])
    else:
        _write_table(rows, columns, out)


def write_json(objects: Iterable[Mapping[str, Any]], out: TextIO, *, lines: bool = False) -> int:
    """Write one array of objects, or an object a line; return how many."""
    ascii_only = out.isatty()
    count = 0
    for one in objects:
        if not lines:
            out.write(",\n" if count else "[\n")
        text = json.dumps(one, ensure_ascii=ascii_only).translate(_NOT_IN_JSON)
        out.write(text + ("\n" if lines else ""))
        count += 1
    if not lines:
        out.write("\n]\n" if count else "[]\n")
    return count


def write_tsv_line(out: TextIO, values: Sequence[Value]) -> None:
    """Write one TSV line; values are made safe as `safe_for` does."""
    safe = safe_for(out)
    out.write("\t".join([_text(value, safe) for value in values]) + "\n")


def safe_for(out: TextIO) -> Callable[[str], str]:
    """Return what makes text safe for a line: `one_cell`, or for a terminal `printable`."""
    return (lambda text: printable(text, 200)) if out.isatty() else one_cell


def one_cell(text: str) -> str:
    r"""Return text with blanks for tabs and line breaks, which would begin a cell or a row.

    Other control characters become escapes such as ``\x1b``.
    """
    return text if text.isprintable() else text.translate(_IN_CELL)


def _without_controls(text: str) -> str:
    """Return text with escapes for control characters; its line breaks are quoted in CSV."""
    return text if text.isprintable() else text.translate(_CONTROLS)


def _text(value: Value, safe: Callable[[str], str]) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return safe(value)
    return str(value) if isinstance(value, int) else f"{value:.9g}"


def _write_table(rows: Iterable[Sequence[Value]], columns: Sequence[str], out: TextIO) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    rows = list(rows)
    for number, column in enumerate(columns):
        right = all(isinstance(row[number], int | float | None) for row in rows)
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row))
    Console(file=out, highlight=False, markup=False).print(table)


def _cell(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else printable(value, 200)
