"""``protclip data``: what commands need besides models, fetched and prepared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from protclip_cli.boundary import say
from protclip_cli.groups import Entry, new_group
from protclip_cli.output import refuse_existing
from protclip_cli.terminal import Terminal
from protclip_core.models.info import DEFAULT_MODEL
from protclip_core.options import COMPUTE, OUTPUT, Device, Opt, Overwrite

Cache = Annotated[
    Path | None,
    Opt("Cache folder; other commands find it through PROTCLIP_CACHE.", metavar="DIR"),
]


def pull(
    terminal: Terminal,
    *,
    url: Annotated[
        str | None, Opt("Address of another OBO file.", default="the GO consortium's")
    ] = None,
    force: Annotated[
        bool, Opt("Fetch the latest release even if one is already here.", "--force")
    ] = False,
    cache: Cache = None,
) -> None:
    """Fetch the latest GO release (go-basic.obo) into the cache."""
    from protclip_core.tasks.data.task import GO_URL, pull_go

    path, ontology = pull_go(url or GO_URL, cache=cache, force=force, progress=terminal.progress())
    say(f"{path}: GO release {ontology.release or 'unknown'}, {len(ontology):,} terms")


def build(
    terminal: Terminal,
    source: Annotated[
        Path | None,
        Opt("OBO file, or GO table.", metavar="OBO", argument=True, default="what pull fetched"),
    ] = None,
    *,
    model: Annotated[str, Opt("Name or path of a ProtCLIP model.", panel=COMPUTE)] = DEFAULT_MODEL,
    output: Annotated[
        Path | None,
        Opt("Index to write.", "-o", "--output", panel=OUTPUT, default="in the cache"),
    ] = None,
    overwrite: Overwrite = False,
    template: Annotated[
        str | None,
        Opt(
            "Text of a term: name, definition or both.",
            default="as in the model's own index, else both",
        ),
    ] = None,
    device: Device = "auto",
    cache: Cache = None,
) -> None:
    """Embed the text of every GO term once, for protclip annotate --go."""
    from protclip_core.tasks.data.task import build_index

    if output is not None:
        refuse_existing(output, overwrite=overwrite)
    made = build_index(
        model,
        source,
        output=output,
        template=template,
        device=device,
        cache=cache,
        progress=terminal.progress(),
    )
    index = made.index
    kept = "without" if index.calibration is None else "with"
    terminal.tell(
        f"{made.path}: {len(index):,} terms of GO release {index.release}, {kept} probabilities"
    )
    if not made.is_default:
        terminal.tell(f"use it with: protclip annotate --go --go-index {made.path}")


_HERE = "protclip_cli.commands.data"
go_group = new_group(
    "GO releases, and indexes of them for models.",
    {
        "pull": Entry(
            f"{_HERE}:pull",
            "Fetch the latest GO release into the cache.",
            """\
Example:
  protclip data go pull && protclip data go build
    ~/.cache/protclip/go/go-basic.obo: GO release 2026-01-15, 39,906 terms""",
        ),
        "build": Entry(
            f"{_HERE}:build",
            "Embed the text of every GO term once.",
            """\
Examples:
  protclip data go build                 the release that was pulled
  protclip data go build go.obo --model my-model -o my.npz
    my.npz: 39,906 terms of GO release 2026-01-15, with probabilities""",
        ),
    },
)
data_group = new_group(
    "Fetch and prepare data.",
    {"go": Entry(f"{_HERE}:go_group", "GO releases, and indexes of them for models.")},
)
