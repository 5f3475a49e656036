"""``protclip similarity`` and its sub-command."""

from __future__ import annotations

from protclip_cli.commands.similarity import compare, evaluate
from protclip_cli.groups import Entry, new_group

similarity_group = new_group(
    "Compare proteins with each other by their vectors.",
    {"evaluate": Entry(evaluate.evaluate)},
    default=Entry(compare.similarity),
)
