"""Variants from JSON Lines: one object a row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from protclip_core.io.text_rows import Line, made_visible
from protclip_core.io.variants.columns import Role, role_of
from protclip_core.io.variants.rows import RowParts
from protclip_core.records import printable

__all__ = ["json_parts"]


def json_parts(lines: Iterable[Line], source: str) -> Iterator[RowParts]:
    """Give the parts of each row.

    Keys are known by the names that columns of tables have (`variant_columns`): ``protein_id``,
    ``variant``, ``original_sequence``, ``mutated_sequence``. Of several for the same part the
    best known is taken. All others go to ``extra``, as text.
    """
    for number, (line, text) in enumerate(lines, start=1):
        row = RowParts(number, line, source)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            yield _parts(value, row)
        else:
            fault = f"'{printable(made_visible(text), 40)}' is not a JSON object"
            yield replace(row, text=text[:200], fault=fault)


def _parts(value: dict[str, Any], row: RowParts) -> RowParts:
    """Sort the values of one object by what they are."""
    best: dict[Role, tuple[int, str]] = {}
    for key, content in value.items():
        if content is not None and (known := role_of(key)):
            role, rank = known
            best[role] = min(best.get(role, (rank, key)), (rank, key))
    text = {key: _text(content) for key, content in value.items()}
    part = {role: text[key] for role, (_, key) in best.items()}
    used = {key for _, key in best.values()}
    neither = not {Role.VARIANT, Role.MUTATED} & set(part)
    return replace(
        row,
        protein=part.get(Role.PROTEIN, ""),
        text=part.get(Role.VARIANT, ""),
        wild_type=part.get(Role.WILD_TYPE, ""),
        mutated=part.get(Role.MUTATED, ""),
        extra={key: shown for key, shown in text.items() if key not in used},
        fault="has neither a variant nor a mutated sequence" if neither else "",
    )


def _text(content: object) -> str:
    """Value as text; a list of changes is a variant of several."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(one, str) for one in content):
        return ":".join(content)
    return "" if content is None else json.dumps(content, ensure_ascii=False)
