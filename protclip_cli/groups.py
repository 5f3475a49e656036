"""Commands in groups: built when they are needed, with help in panels."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Annotated, Any

import typer
import typer.core

from protclip_cli.boundary import OutputClosed, say
from protclip_cli.terminal import Terminal
from protclip_cli.wire import GLOBAL, GLOBAL_PANEL, JOB_PANEL, Spec, parameter
from protclip_core.errors import UsageError

__all__ = ["Entry", "Group", "new_group"]

#: Options of which a user may well want several results at once: two values are refused. Of others
#: the last one wins, as in most programs, so that one can override an alias.
_ONE_AT_A_TIME = {"layer", "modality", "model", "output", "pooling", "space"}
_HELP = {"help_option_names": ["-h", "--help"]}


@dataclass(frozen=True)
class Entry:
    """A command of a group.

    Attributes
    ----------
    place
        Its function or `Group`; or where that is, ``"module:name"``, so that listing the command
        imports nothing.
    epilog
        Columns and examples, shown as they are; default: ``EPILOG`` of the module.
    help
        One line for the list of commands; default: the first of the function's description.
    hidden
        Whether the list leaves it out (another name of a command).
    instead
        Of an earlier name: the present one.
    """

    place: Any
    epilog: str = ""
    help: str = ""
    hidden: bool = False
    instead: str = ""

    def load(self) -> Any:
        """Return the function or group, imported if need be."""
        if not isinstance(self.place, str):
            return self.place
        module, _, name = self.place.partition(":")
        return getattr(import_module(module), name)


class _Command(typer.core.TyperCommand):
    """A command whose help has a heading for each panel, and its epilog as it is written."""

    #: Commands of the group that this one stands for, where it is the group's own.
    siblings: Sequence[tuple[str, str]] = ()

    def make_parser(self, ctx: Any) -> Any:
        """Let some options have one value; by default the last of several wins without a word."""
        parser = super().make_parser(ctx)
        if not ctx.resilient_parsing:
            options: set[Any] = {*parser._long_opt.values(), *parser._short_opt.values()}
            for option in options:
                if option.action == "store" and option.dest in _ONE_AT_A_TIME:
                    option.process = partial(_take_once, option, option.process)
        return parser

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the panels."""
        panels: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            if param.param_type_name == "argument":
                panels["Arguments"].append((str(param.metavar or param.name), record[1]))
            else:
                panel = getattr(param, "rich_help_panel", None) or GLOBAL_PANEL
                panels.setdefault(panel, []).append(record)
        for last in (JOB_PANEL, GLOBAL_PANEL):
            panels[last] = panels.pop(last, [])
        for panel, records in panels.items():
            if records:
                with formatter.section(panel):
                    formatter.write_dl(records, col_max=26)
        if self.siblings:
            with formatter.section("Commands"):
                formatter.write_dl(self.siblings)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the epilog without wrapping it."""
        if self.epilog:
            formatter.write(f"\n{self.epilog}\n")


def _take_once(option: Any, process: Callable[[Any, Any], None], value: Any, state: Any) -> None:
    """Take the value of an option, unless it has another one already."""
    earlier = state.opts.get(option.dest, value)
    if earlier != value:
        name = option.obj.opts[-1]
        raise UsageError(
            f"{name} is given twice, as {earlier} and as {value}",
            code="usage.conflicting_options",
            hint=f"give it once, or run the command once for each {name}",
        )
    process(value, state)


class Group(typer.core.TyperGroup):
    """Commands that are built when they are needed.

    ``default`` is the command that the group itself is, as in ``protclip mutate wt.fa``; it runs
    where the first word is not the name of another command.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.entries: dict[str, Entry] = {}
        self.default: Entry | None = None

    def list_commands(self, ctx: Any) -> list[str]:
        """Give the names of the commands."""
        return list(self.entries)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Build a command."""
        entry = self.entries.get(cmd_name)
        return None if entry is None else _build(cmd_name, entry)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands."""
        with formatter.section("Commands"):
            formatter.write_dl(self.lines())

    def lines(self) -> list[tuple[str, str]]:
        """Give the commands with their lines, without building them."""
        shown = {name: one for name, one in self.entries.items() if not one.hidden}
        return [(name, one.help or _first_line(one.load())) for name, one in shown.items()]

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **more: Any) -> Any:
        """Hand over to the default command where no other one is named."""
        before = {flag for _, _, option in GLOBAL.values() for flag in _flags(option)} | {"-vv"}
        first = next((word for word in args if word not in before), None)
        completing = more.get("resilient_parsing") and first is None
        if self.default is None or first in self.entries or completing:
            return super().make_context(info_name, args, parent, **more)
        command = _build(str(info_name), self.default)
        command.siblings = self.lines()
        return command.make_context(info_name, args, parent, **more)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Complete the options of the default command as well."""
        found = super().shell_complete(ctx, incomplete)
        if self.default is not None and incomplete.startswith("-"):
            known = {one.value for one in found}
            more = _build(str(ctx.info_name), self.default).shell_complete(ctx, incomplete)
            found += [one for one in more if one.value not in known]
        return found

    def invoke(self, ctx: Any) -> Any:
        """Keep a closed pipe out of typer's hands, which would end with code 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise OutputClosed from error


def _first_line(found: Any) -> str:
    text = found.help if isinstance(found, Group) else inspect.getdoc(found)
    return str(text).partition("\n")[0]


def _flags(option: Any) -> tuple[str, ...]:
    return (option.default, *(option.param_decls or ()))


def _build(name: str, entry: Entry) -> Any:
    """Make the command or group of an entry."""
    found = entry.load()
    if isinstance(found, Group):
        return found
    spec = Spec(found)

    def callback(**given: Any) -> None:
        if entry.instead:
            say(f"warning: {name} is now {entry.instead}; the old name goes with the next release")
        spec.call(**given)

    signature = spec.signature()
    callback.__signature__ = signature  # type: ignore[attr-defined]
    callback.__annotations__ = {n: p.annotation for n, p in signature.parameters.items()}
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    settings = {"help": inspect.getdoc(found), "hidden": entry.hidden, "context_settings": _HELP}
    epilog = entry.epilog or getattr(sys.modules[found.__module__], "EPILOG", None)
    app.command(name, cls=_Command, epilog=epilog, **settings)(callback)  # type: ignore[arg-type]
    return typer.main.get_command(app)


def new_group(
    help: str,
    entries: dict[str, Entry],
    *,
    default: Entry | None = None,
    completion: bool = False,
    **more: tuple[Any, Any],
) -> Group:
    """Make a group of commands; ``more`` are further options of it, with their defaults."""
    parameters = [parameter("context", typer.Context, inspect.Parameter.empty)]
    for name, (kind, fallback, option) in GLOBAL.items():
        parameters.append(parameter(name, Annotated[kind, option], fallback))
    for name, (annotation, fallback) in more.items():
        parameters.append(parameter(name, annotation, fallback))

    def callback(context: typer.Context, **given: Any) -> None:
        context.obj = Terminal.of(context, given)

    callback.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    callback.__annotations__ = {one.name: one.annotation for one in parameters}
    app = typer.Typer(
        cls=Group,
        no_args_is_help=True,
        add_completion=completion,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=_HELP,
        help=help,
    )
    app.callback()(callback)
    group = typer.main.get_command(app)
    assert isinstance(group, Group)
    group.entries, group.default = entries, default
    group.commands = dict.fromkeys(entries)  # type: ignore[assignment]
    return group
