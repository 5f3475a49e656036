"""Answers of pairs on standard output: millions of rows, so each is a few operations."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TextIO
from xml.sax.saxutils import escape, quoteattr

from protclip_cli.output import Results, Value, rows_form, safe_for, write_json, write_values
from protclip_core.options import OUTPUT, Opt

if TYPE_CHECKING:
    from protclip_core.tasks.ppi.predict import Predicted

__all__ = ["NetworkResults", "columns_of", "write_pairs"]

#: What an edge is called where the head says whether two proteins interact, not how; the second
#: name is Cytoscape's.
_EDGE, _SIF_EDGE = "interaction", "pp"
#: Characters that XML cannot hold.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_GRAPHML = """\
<?xml version="1.0" encoding="UTF-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
<key id="probability" for="edge" attr.name="probability" attr.type="double"/>
<key id="type" for="edge" attr.name="type" attr.type="string"/>
<graph edgedefault="undirected">
"""


@dataclass(frozen=True, kw_only=True)
class NetworkResults(Results):
    """Options of a command that prints pairs: also as a network for other programs."""

    format: Annotated[
        Any,  # a str; other commands have fewer forms
        Opt(
            "auto: by the suffix of -o, else a table on a terminal and TSV elsewhere. sif and "
            "graphml: a network for Cytoscape and others; pairs without an answer are left out.",
            panel=OUTPUT,
            choices=("auto", "table", "tsv", "csv", "jsonl", "json", "sif", "graphml"),
        ),
    ] = "auto"
    more: ClassVar[Mapping[str, str]] = {".sif": "sif", ".graphml": "graphml"}


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
    if form in ("sif", "graphml"):
        edges = (row for row in rows if row[-2] is not None)
        write = _write_sif if form == "sif" else _write_graphml
        return write(edges, out, is_typed=labels is not None)
    if form == "json":
        return write_json((_named(row, labels) for row in rows), out)

    def counted() -> Iterator[tuple[Value, ...]]:
        nonlocal count
        for row in rows:
            count += 1
            yield row[: len(writer.columns)]

    write_values(counted(), writer.columns, form, out)
    return count


def _write_sif(edges: Iterable[Sequence[Value]], out: TextIO, *, is_typed: bool) -> int:
    """Write edges for Cytoscape; divided by tabs, so names may have blanks."""
    safe, count = safe_for(out), 0
    for a, b, *cells, _note in edges:
        kind = safe(str(cells[0])) if is_typed else _SIF_EDGE
        out.write(f"{safe(str(a))}\t{kind}\t{safe(str(b))}\n")
        count += 1
    return count


def _write_graphml(edges: Iterable[Sequence[Value]], out: TextIO, *, is_typed: bool) -> int:
    """Write a graph; a protein stands before its first edge, so memory holds names only."""
    safe, count = safe_for(out), 0
    nodes: dict[str, str] = {}
    out.write(_GRAPHML)
    for a, b, *cells, _note in edges:
        for name in map(str, (a, b)):
            if name not in nodes:
                nodes[name] = quoteattr(_xml(safe(name)))
                out.write(f"<node id={nodes[name]}/>\n")
        kind = escape(_xml(safe(str(cells[0])))) if is_typed else _EDGE
        out.write(
            f"<edge source={nodes[str(a)]} target={nodes[str(b)]}>"
            f'<data key="probability">{cells[-1]:.6g}</data>'
            f'<data key="type">{kind}</data></edge>\n'
        )
        count += 1
    out.write("</graph>\n</graphml>\n")
    return count


def _xml(text: str) -> str:
    return _NO_XML.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


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
