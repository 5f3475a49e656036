"""``protclip models``: what there is, fetched, imported, checked, removed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from protclip_cli.boundary import say
from protclip_cli.options import Format, GlobalOptions
from protclip_cli.output import Value, stdout, write_rows
from protclip_cli.progress import make_progress
from protclip_core.errors import ModelError
from protclip_core.records import printable

if TYPE_CHECKING:
    from protclip_core.models.importers import Imported
    from protclip_core.tasks.models.install import PullPlan

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List, fetch, import, check and remove models.",
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of a model.")]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        help="Where models are kept; other commands find it by PROTCLIP_CACHE.",
        show_default=False,
    ),
]
FormatOption = Annotated[Format, typer.Option("--format", help="Form of the rows.")]


@app.command(name="list", epilog="Example:\n\n  protclip models list")
def list_(
    *,
    installed: Annotated[
        bool, typer.Option("--installed", help="Only those that are here.")
    ] = False,
    cache: CacheOption = None,
    form: FormatOption = Format.AUTO,
) -> None:
    """List bundled, installed and available models."""
    from protclip_core.tasks.models.task import list_models

    rows: list[dict[str, Value]] = []
    for row in list_models(cache):
        if installed and row.state == "available":
            continue
        size = row.megabytes
        if size is not None:
            size = round(size) if size >= 100 else round(size, 1)
        rows.append(
            {
                "name": row.name,
                "state": row.state,
                "contents": row.contents,
                "parameters": row.parameters,
                "MB": size,
                "license": row.license,
                "summary": row.summary,
            }
        )
    write_rows(rows, ["name", "state", "contents", "parameters", "MB", "license", "summary"], form)


@app.command(epilog="Example:\n\n  protclip models info protclip-mini")
def info(
    name: NameArgument,
    *,
    card: Annotated[bool, typer.Option("--card", help="Print the model card instead.")] = False,
    cache: CacheOption = None,
    form: FormatOption = Format.AUTO,
) -> None:
    """Tell what a model is, where it came from, and where it lies."""
    from protclip_core.fetch.cache import is_installed
    from protclip_core.fetch.catalog import find_entry
    from protclip_core.models.info import describe_model

    try:
        described = describe_model(name, cache)
    except ModelError:
        entry = find_entry(name)
        if entry is None or card or is_installed(name, cache):
            raise
        facts: dict[str, Value] = {
            "name": entry.name,
            "state": f"available: protclip models pull {entry.name}",
            "contents": entry.kind,
            "parameters": entry.parameters,
            "license": entry.license,
            "license stated by": entry.license_notes,
            "source": " + ".join(source.text for source in entry.sources),
            "summary": entry.summary,
        }
    else:
        if card:
            _print_card(described.path / "MODEL_CARD.md")
            return
        from protclip_core.terms.vocabularies import index_facts

        facts = {**dict(described.facts()), **dict(index_facts(described))}
    write_rows([{"what": k, "value": v} for k, v in facts.items()], ["what", "value"], form)


def _print_card(path: Path) -> None:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        raise ModelError("has no model card", where=str(path.parent)) from None
    out = stdout()
    for line in text.splitlines():
        # A card is data from elsewhere: no escape code of its may reach a terminal.
        out.write((printable(line, 10_000) if out.isatty() else line) + "\n")


@app.command(
    epilog="Examples:\n\n  protclip models pull esm2-650m\n\n"
    "  protclip models pull my-esm --from hub:owner/repository@revision\n\n"
    "  protclip models pull my-model --from https://lab.org/model.zip --sha256 9f86d0…"
)
def pull(
    context: typer.Context,
    name: NameArgument,
    *,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="SOURCE",
            help="doi:…, hub:OWNER/REPO[@REVISION] or https://…; default: the catalog's.",
            show_default=False,
        ),
    ] = None,
    sha256: Annotated[
        str | None, typer.Option(help="Hash that the file of a URL must have.", show_default=False)
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no server; use what was downloaded before.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Fetch it although it is there.")] = False,
    cache: CacheOption = None,
) -> None:
    """Fetch a model, check it and install it."""
    from protclip_core.tasks.models import install as models

    options: GlobalOptions = context.obj
    plan = models.plan_pull(
        name, source=source, sha256=sha256, cache=cache, offline=offline, force=force
    )
    if plan.installed is not None:
        origin = models.origin_of(plan.installed)
        since = f", from {origin}" if origin else ""
        say(f"{plan.name}: is here already, and sound: {plan.target}{since}")
        return
    if not options.quiet:
        _announce(plan)
    imported = models.pull(plan, progress=make_progress(quiet=options.quiet))
    if imported is None:
        say(f"{plan.name}: another process has installed it: {plan.target}")
    elif not options.quiet:
        _report(imported, plan.name)


def _announce(plan: PullPlan) -> None:
    """Say before the first byte whose terms hold, how much comes, and from where."""
    size = plan.download_bytes
    what = f"{size / 1e6:,.1f} MB" if size is not None else "a download of unknown size"
    notes = f" ({plan.entry.license_notes})" if plan.entry else ""
    say(f"{plan.name}: licence {plan.license or 'not known: see its publisher'}{notes}")
    say(f"{plan.name}: {what} from {plan.origin}")


def _report(imported: Imported, name: str) -> None:
    for note in imported.notes:
        say(f"{name}: {note}")
    left_out = sum(len(names) for names in imported.left_out.values())
    dropped = f", {left_out} left out (not needed; see the model card)" if left_out else ""
    say(f"{name}: {imported.kind}, {imported.kept} tensors{dropped}")
    say(f"{name}: installed in {imported.bundle.path}; use it with --model {name}")


@app.command(
    name="import",
    epilog="Examples:\n\n  protclip models import official/ --name protclip-650m "
    "--tokenizer vocab.txt\n\n"
    "  protclip models import esm2_t33_650M_UR50D --name esm2-650m   from torch's hub cache",
)
def import_(
    context: typer.Context,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="Folder, file or archive of a model, or a name of fair-esm in torch's cache.",
        ),
    ],
    *,
    name: Annotated[str, typer.Option("--name", help="Name to install it under.")],
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            help="vocab.txt or tokenizer.json of the text encoder, if PATH has none.",
            show_default=False,
        ),
    ] = None,
    license: Annotated[
        str | None, typer.Option(help="Its licence, to be kept with it.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a model of this name.")] = False,
    cache: CacheOption = None,
) -> None:
    """Install a model from files: official ProtCLIP, ESM-2, ESM-1b, ProtBERT, PubMedBERT."""
    from protclip_core.tasks.models.install import import_local

    options: GlobalOptions = context.obj
    imported = import_local(
        path, name, tokenizer=tokenizer, license=license, cache=cache, force=force
    )
    if not options.quiet:
        _report(imported, name)


@app.command(epilog="Example:\n\n  protclip models verify esm2-650m")
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Default: all here.", show_default=False),
    ] = None,
    *,
    cache: CacheOption = None,
    form: FormatOption = Format.AUTO,
) -> None:
    """Compare every file of models with its hash."""
    from protclip_core.tasks.models.task import list_models, verify_model

    chosen = names or [row.name for row in list_models(cache) if row.state != "available"]
    rows: list[dict[str, Value]] = []
    problems = []
    for name in chosen:
        try:
            found = verify_model(name, cache)
        except ModelError as error:  # one that is missing does not hide what others have
            problems.append(str(error))
            continue
        for file, problem in found:
            rows.append({"model": name, "file": file, "state": problem or "sound"})
            if problem:
                problems.append(f"{name}: {file}: {problem}")
    write_rows(rows, ["model", "file", "state"], form)
    if problems:
        raise ModelError(
            f"{len(problems)} problem{'s' if len(problems) > 1 else ''} found",
            hint="pull or import such a model again with --force, or remove it",
            details=problems[:5],
        )


@app.command(epilog="Example:\n\n  protclip models remove esm2-650m")
def remove(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Installed models.")],
    *,
    cache: CacheOption = None,
) -> None:
    """Remove installed models and what was downloaded of them."""
    from protclip_core.tasks.models.task import remove_model

    for name in names:
        say(f"{name}: removed from {remove_model(name, cache).parent}")


@app.command(epilog="Example:\n\n  ls $(protclip models path protclip-mini)")
def path(name: NameArgument, *, cache: CacheOption = None) -> None:
    """Print the folder or file of a model."""
    from protclip_core.models.info import describe_model

    stdout().write(f"{describe_model(name, cache).path}\n")
