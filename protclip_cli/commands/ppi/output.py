"""Answers of pairs on standard output: millions of rows, so each is a few operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from protclip_cli.output import Value, rows_form, safe_for, write_json, write_values

if TYPE_CHECKING:
    from protclip_core.tasks.ppi.predict import Predicted

__all__ = ["columns_of", "write_pairs"]


def columns_of(labels: Sequence[str] | None, *, notes: bool) -> tuple[str, ...]:
    """Give the columns; ``labels`` are the types of a head that has such."""
    said = ("probability",) if labels is None else ("interaction_type", "confidence")
    return ("protein_a", "protein_b", *said, *(("note",) if notes else ()))


def write_pairs(
    blocks: Iterable[Predicted],
    labels: Sequence[str] | None,
    form: str,
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
    form = rows_form(form, out)
    writer = _Writer(labels, notes=notes, every_type=every_type, least=least)
    count = 0
    if form == "tsv":
        safe = safe_for(out)
        out.write("\t".join(writer.columns) + "\n")
        for block in blocks:
            lines = writer.lines(block, safe)
            out.write("".join(lines))
            count += len(lines)
        return count
    rows = (row for block in blocks for row in writer.rows(block))
    if form == "json":
        return write_json((_named(row, labels) for row in rows), out)

    def counted() -> Iterator[tuple[Value, ...]]:
        nonlocal count
        for row in rows:
            count += 1
            yield row[: len(writer.columns)]

    write_values(counted(), writer.columns, form, out)
    return count


class _Writer:
    def __init__(
        self, labels: Sequence[str] | None, *, notes: bool, every_type: bool, least: float
    ) -> None:
        self.labels, self._every, self._least = labels, every_type, least
        self.columns = columns_of(labels, notes=notes)
        self._notes = notes

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


def _named(row: Sequence[Value], labels: Sequence[str] | None) -> dict[str, Value]:
    a, b, *cells, note = row
    kind, score = (cells[0], cells[1]) if labels is not None else ("interaction", cells[0])
    named = {
        "protein_A": a,
        "protein_B": b,
        "interaction_type": kind if score is not None else None,
        "confidence_score": score,
    }
    return {**named, "note": note} if note else named


def _numbers(said: object) -> list[float | None]:
    """Give probabilities with six digits, and None for NaN."""
    numbers = said.tolist()  # type: ignore[attr-defined]
    return [None if p != p else float(f"{p:.6g}") for p in numbers]
