"""Answers of pairs on standard output: millions of rows, so each is a few operations."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, TextIO

from protclip_cli.options import Format
from protclip_cli.output import Value, one_cell, write_rows
from protclip_core.records import printable

if TYPE_CHECKING:
    from protclip_core.tasks.ppi.predict import Predicted

__all__ = ["PairFormat", "columns_of", "write_pairs"]


class PairFormat(StrEnum):
    """Form of the answers."""

    AUTO = "auto"
    TABLE = "table"
    TSV = "tsv"
    JSONL = "jsonl"
    JSON = "json"


def columns_of(labels: Sequence[str] | None, *, notes: bool) -> tuple[str, ...]:
    """Give the columns; ``labels`` are the types of a head that has such."""
    said = ("probability",) if labels is None else ("interaction_type", "confidence")
    return ("protein_a", "protein_b", *said, *(("note",) if notes else ()))


def write_pairs(
    blocks: Iterable[Predicted],
    labels: Sequence[str] | None,
    form: PairFormat,
    out: TextIO,
    *,
    notes: bool = True,
    every_type: bool = False,
    least: float = 0.0,
) -> int:
    """Write answers; return how many rows.

    Parameters
    ----------
    blocks
        The answers.
    labels
        Types of interaction; None for a head that says whether there is one.
    form
        ``json`` is one array of objects with ``protein_A``, ``protein_B``, ``interaction_type``
        and ``confidence_score``.
    out
        Where to.
    notes
        Whether there is a column for what is to be said of a pair besides.
    every_type
        Whether a pair has a row for each type; else for the most probable one.
    least
        Least confidence of a row with a type.
    """
    if form is PairFormat.AUTO:
        form = PairFormat.TABLE if out.isatty() else PairFormat.TSV
    writer = _Writer(labels, notes=notes, every_type=every_type, least=least)
    if form is PairFormat.TABLE:
        rows = [row for block in blocks for row in writer.rows(block)]
        names = writer.columns
        table = (dict(zip(names, row, strict=False)) for row in rows)
        write_rows(table, names, Format.TABLE, out)
        return len(rows)
    if form is PairFormat.JSON:
        return _write_json(blocks, writer, labels, out)
    if form is PairFormat.TSV:
        out.write("\t".join(writer.columns) + "\n")
    safe = _safe_for(out)
    for block in blocks:
        lines = (
            _jsonl(block, writer, out) if form is PairFormat.JSONL else writer.lines(block, safe)
        )
        out.write("".join(lines))
        writer.written += len(lines)
    return writer.written


class _Writer:
    def __init__(
        self, labels: Sequence[str] | None, *, notes: bool, every_type: bool, least: float
    ) -> None:
        self.labels, self._every, self._least = labels, every_type, least
        self.columns = columns_of(labels, notes=notes)
        self._notes = notes
        self.written = 0

    def rows(self, block: Predicted) -> list[tuple[Value, ...]]:
        """Give the rows of a block, as tuples of `columns_of`."""
        notes = block.notes
        if self.labels is None:
            numbers = _numbers(block.said[:, 0])
            return [
                (a, b, p, notes.get(place, ""))
                for place, (a, b, p) in enumerate(zip(block.a, block.b, numbers, strict=True))
            ]
        found: list[tuple[Value, ...]] = []
        best = block.said.argmax(axis=1).tolist()
        for place, (a, b, said) in enumerate(zip(block.a, block.b, block.said, strict=True)):
            note = notes.get(place, "")
            numbers = _numbers(said)
            if numbers[0] is None:
                found.append((a, b, None, None, note))
                continue
            chosen = range(len(self.labels)) if self._every else (best[place],)
            for column in chosen:
                confidence = numbers[column]
                if confidence is not None and confidence >= self._least:
                    found.append((a, b, self.labels[column], confidence, note))
        return found

    def lines(self, block: Predicted, safe: Callable[[str], str]) -> list[str]:
        """Give the lines of a block, divided by tabs."""
        names = {name: safe(name) for name in {*block.a, *block.b}}
        if self.labels is None:
            end = "\t\n" if self._notes else "\n"
            lines = [
                f"{names[a]}\t{names[b]}\t{p:.6g}{end}"
                for a, b, p in zip(block.a, block.b, block.said[:, 0].tolist(), strict=True)
            ]
            for place, remark in block.notes.items():
                start = lines[place].removesuffix(end)
                if block.said[place, 0] != block.said[place, 0]:
                    start = start.removesuffix("nan")
                lines[place] = f"{start}\t{safe(remark)}\n" if self._notes else f"{start}\n"
            return lines
        found = []
        for one, other, *cells, note in self.rows(block):
            told = "\t".join(
                "" if cell is None else f"{cell:.6g}" if isinstance(cell, float) else str(cell)
                for cell in cells
            )
            end = f"\t{safe(str(note))}\n" if self._notes else "\n"
            found.append(f"{names[str(one)]}\t{names[str(other)]}\t{told}{end}")
        return found


def _jsonl(block: Predicted, writer: _Writer, out: TextIO) -> list[str]:
    return [
        json.dumps(dict(zip(writer.columns, row, strict=False)), ensure_ascii=out.isatty()) + "\n"
        for row in writer.rows(block)
    ]


def _write_json(
    blocks: Iterable[Predicted], writer: _Writer, labels: Sequence[str] | None, out: TextIO
) -> int:
    count = 0
    for block in blocks:
        for a, b, *cells, note in writer.rows(block):
            kind, score = (cells[0], cells[1]) if labels is not None else ("interaction", cells[0])
            row = {
                "protein_A": a,
                "protein_B": b,
                "interaction_type": kind if score is not None else None,
                "confidence_score": score,
            }
            if note:
                row["note"] = note
            out.write(("[\n" if not count else ",\n") + json.dumps(row, ensure_ascii=out.isatty()))
            count += 1
    out.write("\n]\n" if count else "[]\n")
    return count


def _numbers(said: object) -> list[float | None]:
    """Give probabilities with six digits, and None for NaN."""
    numbers = said.tolist()  # type: ignore[attr-defined]
    return [None if p != p else float(f"{p:.6g}") for p in numbers]


def _safe_for(out: TextIO) -> Callable[[str], str]:
    if out.isatty():
        return lambda text: printable(text, 200)
    return one_cell
