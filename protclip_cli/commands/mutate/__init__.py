"""``protclip mutate`` and its sub-commands."""

from __future__ import annotations

from protclip_cli.commands.mutate import heads, score
from protclip_cli.groups import Entry, new_group

_HERE = "protclip_cli.commands.mutate"
mutate_group = new_group(
    "Score protein variants with a language model, or scan a protein.",
    {
        "fit": Entry(
            f"{_HERE}.heads:fit",
            "Fit a head to measured variants of one protein, and measure it.",
            heads.FIT_EPILOG,
        ),
        "predict": Entry(
            f"{_HERE}.heads:predict",
            "Predict the effects of variants with a fitted head.",
            heads.PREDICT_EPILOG,
        ),
    },
    default=Entry(f"{_HERE}.score:mutate", epilog=score.EPILOG),
)
