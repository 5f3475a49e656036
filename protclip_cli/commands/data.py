"""``protclip data``: what commands need beside models, fetched and made ready."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from protclip_cli.boundary import say
from protclip_cli.options import DeviceOption, GlobalOptions, OverwriteOption
from protclip_cli.output_file import refuse_existing
from protclip_cli.progress import make_progress
from protclip_core.models.info import DEFAULT_MODEL

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Fetch data and make it ready.",
)
go_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Releases of the Gene Ontology, and indexes of them for models.",
)
app.add_typer(go_app, name="go")

CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        help="Cache folder; other commands find it by PROTCLIP_CACHE.",
        show_default=False,
    ),
]


@go_app.command(epilog="Example:\n\n  protclip data go pull && protclip data go build")
def pull(
    context: typer.Context,
    *,
    url: Annotated[
        str | None,
        typer.Option(help="Another address of an OBO file.", show_default="that of the consortium"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Fetch the latest release although one is there.")
    ] = False,
    cache: CacheOption = None,
) -> None:
    """Fetch the latest release of GO (go-basic.obo) into the cache."""
    from protclip_core.tasks.data.task import GO_URL, pull_go

    options: GlobalOptions = context.obj
    progress = make_progress(quiet=options.quiet)
    path, ontology = pull_go(url or GO_URL, cache=cache, force=force, progress=progress)
    say(f"{path}: GO release {ontology.release or 'unknown'}, {len(ontology):,} terms")


@go_app.command(
    epilog="Examples:\n\n  protclip data go build                 the release that was pulled\n\n"
    "  protclip data go build go.obo --model my-model -o my.npz"
)
def build(
    context: typer.Context,
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[OBO]",
            help="OBO file, or table of GO; default: what pull has fetched.",
            show_default=False,
        ),
    ] = None,
    *,
    model: Annotated[str, typer.Option(help="Name or path of a ProtCLIP model.")] = DEFAULT_MODEL,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File.", show_default="in the cache"),
    ] = None,
    overwrite: OverwriteOption = False,
    template: Annotated[
        str | None,
        typer.Option(
            help="Text of a term: name, definition or both.",
            show_default="as the model's own index, else both",
        ),
    ] = None,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
) -> None:
    """Embed the text of every GO term once, for protclip annotate --go."""
    from protclip_core.tasks.data.task import build_index

    options: GlobalOptions = context.obj
    if output is not None:
        refuse_existing(output, overwrite=overwrite)
    made = build_index(
        model,
        source,
        output=output,
        template=template,
        device=device,
        cache=cache,
        progress=make_progress(quiet=options.quiet),
    )
    if options.quiet:
        return
    index = made.index
    kept = ", with probabilities" if index.calibration is not None else ", without probabilities"
    say(f"{made.path}: {len(index):,} terms of GO release {index.release}{kept}")
    if not made.is_default:
        say(f"use it with: protclip annotate --go --go-index {made.path}")
