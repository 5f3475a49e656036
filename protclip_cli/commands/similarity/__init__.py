"""``protclip similarity`` and its sub-command."""

from __future__ import annotations

from protclip_cli.commands.similarity import compare, evaluate
from protclip_cli.groups import Entry, new_group

_HERE = "protclip_cli.commands.similarity"
similarity_group = new_group(
    "Compare proteins with each other by their vectors.",
    {
        "evaluate": Entry(
            f"{_HERE}.evaluate:evaluate",
            "Correlate similarities with a table, or with GO.",
            evaluate.EPILOG,
        ),
    },
    default=Entry(f"{_HERE}.compare:similarity", epilog=compare.EPILOG),
)
