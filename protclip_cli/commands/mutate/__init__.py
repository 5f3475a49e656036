"""``protclip mutate`` and its sub-commands."""

from __future__ import annotations

from protclip_cli.commands.mutate import heads, score
from protclip_cli.groups import Entry, new_group

mutate_group = new_group(
    "Score protein variants with a language model, or scan a protein.",
    {
        "fit": Entry(heads.fit, heads.FIT_EPILOG),
        "predict": Entry(heads.predict, heads.PREDICT_EPILOG),
    },
    default=Entry(score.mutate),
)
