"""``protclip models``: list, fetch, import, check and remove models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from protclip_cli.boundary import say
from protclip_cli.groups import Entry, new_group
from protclip_cli.output import Results, Value, stdout
from protclip_cli.terminal import Terminal
from protclip_core.errors import ModelError
from protclip_core.options import Opt
from protclip_core.records import counted, printable

if TYPE_CHECKING:
    from protclip_core.models.importers import Imported
    from protclip_core.tasks.models.install import PullPlan

Name = Annotated[str, Opt("Name of a model.", metavar="NAME", argument=True)]
Cache = Annotated[
    Path | None,
    Opt("Where models are kept; other commands find it through PROTCLIP_CACHE.", metavar="DIR"),
]


def list_(
    terminal: Terminal,
    *,
    installed: Annotated[bool, Opt("Only those that are installed.")] = False,
    cache: Cache = None,
    results: Results,
) -> None:
    """List bundled, installed and available models."""
    from protclip_core.tasks.models.task import list_models

    to = results.target()
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
    columns = ["name", "state", "contents", "parameters", "MB", "license", "summary"]
    to.write(rows, columns)


def info(
    terminal: Terminal,
    name: Name,
    *,
    card: Annotated[bool, Opt("Print the model card instead.")] = False,
    cache: Cache = None,
    results: Results,
) -> None:
    """Show what a model is, where it came from, and where it is kept."""
    from protclip_core.fetch.cache import is_installed
    from protclip_core.fetch.catalog import find_entry
    from protclip_core.models.info import describe_model

    to = results.target()
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
    rows = [{"what": k, "value": v} for k, v in facts.items()]
    to.write(rows, ["what", "value"])


def _print_card(path: Path) -> None:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        message = "has no model card"
        raise ModelError(message, code="model.no_card", where=str(path.parent)) from None
    out = stdout()
    for line in text.splitlines():
        # A card is data from elsewhere: none of its escape codes may reach a terminal.
        out.write((printable(line, 10_000) if out.isatty() else line) + "\n")


def pull(
    terminal: Terminal,
    name: Name,
    *,
    source: Annotated[
        str | None,
        Opt(
            "doi:…, hub:OWNER/REPO[@REVISION] or https://….",
            "--from",
            metavar="SOURCE",
            shown="the catalog's",
        ),
    ] = None,
    sha256: Annotated[str | None, Opt("Hash that the file of a URL must have.")] = None,
    offline: Annotated[bool, Opt("Ask no server; use what was downloaded before.")] = False,
    force: Annotated[bool, Opt("Fetch it even if it is already here.")] = False,
    cache: Cache = None,
) -> None:
    """Fetch a model, check it and install it."""
    from protclip_core.tasks.models import install as models

    plan = models.plan_pull(
        name, source=source, sha256=sha256, cache=cache, offline=offline, force=force
    )
    if plan.installed is not None:
        origin = models.origin_of(plan.installed)
        since = f", from {origin}" if origin else ""
        say(f"{plan.name}: already installed, and sound: {plan.target}{since}")
        return
    if not terminal.quiet:
        _announce(plan)
    imported = models.pull(plan, progress=terminal.progress())
    if imported is None:
        say(f"{plan.name}: another process has installed it: {plan.target}")
    elif not terminal.quiet:
        _report(imported, plan.name)


def _announce(plan: PullPlan) -> None:
    """Say before the first byte which licence applies, how much comes, and from where."""
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


def import_(
    terminal: Terminal,
    path: Annotated[
        Path,
        Opt(
            "Folder, file or archive of a model, or a fair-esm name in torch's cache.",
            metavar="PATH",
            argument=True,
        ),
    ],
    *,
    name: Annotated[str, Opt("Name to install it under.")],
    tokenizer: Annotated[
        Path | None, Opt("vocab.txt or tokenizer.json of the text encoder, if PATH has none.")
    ] = None,
    license: Annotated[str | None, Opt("Its licence, to be kept with it.")] = None,
    force: Annotated[bool, Opt("Replace a model of this name.")] = False,
    cache: Cache = None,
) -> None:
    """Install a model from files: official ProtCLIP, ESM-2, ESM-1b, ProtBERT, PubMedBERT."""
    from protclip_core.tasks.models.install import import_local

    imported = import_local(
        path, name, tokenizer=tokenizer, license=license, cache=cache, force=force
    )
    if not terminal.quiet:
        _report(imported, name)


def verify(
    terminal: Terminal,
    names: Annotated[
        tuple[str, ...],
        Opt("Models to check.", metavar="NAME", argument=True, shown="all installed"),
    ] = (),
    *,
    cache: Cache = None,
    results: Results,
) -> None:
    """Compare every file of models with its hash."""
    from protclip_core.tasks.models.task import list_models, verify_model

    to = results.target()
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
    to.write(rows, ["model", "file", "state"])
    if problems:
        raise ModelError(
            f"{counted(len(problems), 'problem')} found",
            code="model.damaged",
            hint="pull or import such a model again with --force, or remove it",
            details=problems[:5],
        )


def remove(
    terminal: Terminal,
    names: Annotated[tuple[str, ...], Opt("Installed models.", metavar="NAME", argument=True)],
    *,
    cache: Cache = None,
) -> None:
    """Remove installed models and their downloads."""
    from protclip_core.tasks.models.task import remove_model

    for name in names:
        say(f"{name}: removed from {remove_model(name, cache).parent}")


def path(terminal: Terminal, name: Name, *, cache: Cache = None) -> None:
    """Print the folder or file of a model."""
    from protclip_core.models.info import describe_model

    stdout().write(f"{describe_model(name, cache).path}\n")


models_group = new_group(
    "List, fetch, import, check and remove models.",
    {
        "list": Entry(
            list_,
            """\
Example:
  protclip models list
    name           state    contents        parameters  MB    license
    protclip-mini  bundled  protein + text  11,027,201  25.7  Apache-2.0""",
        ),
        "info": Entry(
            info,
            """\
Example:
  protclip models info protclip-mini
    what      value
    name      protclip-mini
    contents  protein + text""",
        ),
        "pull": Entry(
            pull,
            """\
Examples:
  protclip models pull my-esm --from hub:owner/repository@revision
  protclip models pull my-model --from https://lab.org/model.zip --sha256 9f86d0…
  protclip models pull esm2-650m
    esm2-650m: licence MIT
    esm2-650m: 2,609.5 MB from hub:facebook/esm2_t33_650M_UR50D""",
        ),
        "import": Entry(
            import_,
            """\
Examples:
  protclip models import esm2_t33_650M_UR50D --name esm2-650m   from torch's hub cache
  protclip models import official/ --name protclip-650m --tokenizer vocab.txt
    protclip-650m: installed in ~/.cache/protclip/models/protclip-650m""",
        ),
        "verify": Entry(
            verify,
            """\
Example:
  protclip models verify esm2-650m
    model      file               state
    esm2-650m  model.safetensors  sound""",
        ),
        "remove": Entry(
            remove,
            """\
Example:
  protclip models remove esm2-650m
    esm2-650m: removed from ~/.cache/protclip/models""",
        ),
        "path": Entry(
            path,
            """\
Example:
  ls $(protclip models path protclip-mini)
    MODEL_CARD.md  bundle.json  model.safetensors""",
        ),
    },
)
