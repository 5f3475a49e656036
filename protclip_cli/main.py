"""The ``protclip`` program: global options, the list of commands, the way in.

Commands import the library inside their functions, so that ``protclip --help`` answers in a
fraction of a second, without torch.
"""

from __future__ import annotations

import io
import sys
from typing import Annotated, Any

import typer
import typer.core

from protclip_cli.boundary import OutputClosed, guarded
from protclip_cli.commands import data, doctor, embed, models, search, store
from protclip_cli.commands.annotate import command as annotate
from protclip_cli.commands.classify import command as classify
from protclip_cli.commands.mutate import fit as mutate_fit
from protclip_cli.commands.mutate import score as mutate
from protclip_cli.commands.ppi import command as ppi
from protclip_cli.commands.similarity import compare as similarity
from protclip_cli.commands.similarity import evaluate as similarity_evaluate
from protclip_cli.logs import set_up_logs
from protclip_cli.options import GlobalOptions
from protclip_core._version import __version__
from protclip_core.errors import UsageError

__all__ = ["app", "run"]


class _Group(typer.core.TyperGroup):
    """Keeps a closed pipe out of typer's hands, which would end with code 1."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 (typer's own click context)
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise OutputClosed from error

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 (of click)
        """Take two words for a command where they are one: ``mutate fit`` beside ``mutate``."""
        while len(args) > 1 and args[1] in _GLOBAL:  # `mutate -q fit`
            _take_global(ctx.params, self, [args[1]])
            args = [args[0], *args[2:]]
        words = " ".join(args[:2])
        found = super().resolve_command(ctx, args)
        if len(args) > 1 and words in self.commands:
            found = (words, self.commands[words], args[2:])
        return *found[:2], _take_global(ctx.params, *found[1:])


#: Global options that may stand behind the command as well: what they are and add.
_GLOBAL = {
    "-q": ("quiet", True),
    "--quiet": ("quiet", True),
    "-v": ("verbose", 1),
    "-vv": ("verbose", 2),
    "--verbose": ("verbose", 1),
    "--debug": ("debug", True),
}


def _take_global(params: dict[str, Any], command: Any, args: list[str]) -> list[str]:  # noqa: ANN401
    """Put the global options among a command's arguments where they belong; give the others.

    What follows ``--``, or an option that takes a value, is none.
    """
    left: list[str] = []
    for place, one in enumerate(args):
        if one == "--":
            return left + args[place:]
        command = getattr(command, "commands", {}).get(one, command)
        if one in _GLOBAL and not (left and _takes_value(command, left[-1])):
            name, value = _GLOBAL[one]
            params[name] = params.get(name, 0) + value if name == "verbose" else value
        else:
            left.append(one)
    return left


def _takes_value(command: Any, text: str) -> bool:  # noqa: ANN401 (of click)
    return any(
        text in param.opts and not getattr(param, "is_flag", False) for param in command.params
    )


app = typer.Typer(
    name="protclip",
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Embed, annotate, search and compare proteins on the command line.\n\n"
    "Results go to standard output, all else to standard error; '-' is stdin or stdout.\n\n"
    "Exit codes: 0 done, 2 usage, 3 bad input, 4 bad model or data file, 5 disk or memory, "
    "6 done but some records were skipped, 7 another process writes the file.",
)
app.command(name="embed", epilog=embed.EPILOG)(embed.embed)
app.command(name="search", epilog=search.EPILOG)(search.search)
app.command(name="annotate", epilog=annotate.EPILOG)(annotate.annotate)
app.command(name="mutate", epilog=mutate.EPILOG)(mutate.mutate)
app.command(name="mutate fit", epilog=mutate_fit.FIT_EPILOG)(mutate_fit.fit)
app.command(name="mutate predict", epilog=mutate_fit.PREDICT_EPILOG)(mutate_fit.predict)
app.command(name="similarity", epilog=similarity.EPILOG)(similarity.similarity)
app.command(name="similarity evaluate", epilog=similarity_evaluate.EPILOG)(
    similarity_evaluate.evaluate
)
app.command(name="doctor", epilog=doctor.EPILOG)(doctor.doctor)
app.add_typer(classify.app, name="classify")
app.add_typer(data.app, name="data")
app.add_typer(models.app, name="models")
app.add_typer(ppi.app, name="ppi")
app.add_typer(store.app, name="store")


def _print_version(wanted: bool) -> None:  # noqa: FBT001 (typer calls it so)
    if wanted:
        typer.echo(f"protclip {__version__}")
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    *,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="No progress; warnings and errors only.")
    ] = False,
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, help="More messages; twice for all.")
    ] = 0,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version and end."
        ),
    ] = False,
) -> None:
    """Take the global options."""
    set_up_logs(2 if debug else verbose)
    context.obj = GlobalOptions(quiet=quiet, debug=debug)


def run() -> None:
    """Run the program on the process's arguments and end it with the right exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Results are UTF-8 whatever the locale says, and file names pass as the bytes they are.
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    sys.exit(guarded(_run_app, debug="--debug" in sys.argv))


def _run_app() -> None:
    """Let typer read the arguments; its own errors take three lines, ours one."""
    try:
        code = app(prog_name="protclip", standalone_mode=False)
    except Exception as error:
        # click's exceptions have no name that all versions of typer share.
        said = getattr(error, "format_message", None)
        if said is None:
            raise
        context = getattr(error, "ctx", None)
        if not str(said()).isprintable():  # the help, where nothing was asked for
            typer.echo(said(), err=True)
            raise SystemExit(2) from None
        command = context.command_path if context is not None else "protclip"
        text = str(said()).rstrip(".")
        raise UsageError(text[:1].lower() + text[1:], hint=f"see {command} --help") from error
    if code:
        raise SystemExit(code)
