"""A function and its request become a command: options, help in panels, job files.

A command is a function ``run(terminal, request, ...)``. The fields of each parameter that is a
dataclass, and each further parameter that carries an `Opt`, are its options; see
`protclip_core.options`. Commands are built when they are run or their help is shown, so that
``protclip --help`` imports none of them.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer
import typer.core

from protclip_cli.boundary import OutputClosed, say
from protclip_cli.terminal import Terminal, command_line, inputs_or_pipe
from protclip_core.errors import UsageError
from protclip_core.options import Opt

__all__ = ["Entry", "Group", "new_group"]

_HELP = {"help_option_names": ["-h", "--help"]}
_EMPTY = inspect.Parameter.empty
_METAVARS = {str: "TEXT", int: "N", float: "X", Path: "FILE", tuple[str, ...]: "TEXT"}
_GLOBAL_PANEL, _JOB_PANEL = "Global options", "Job files"
#: Global options, which stand before or after the command.
_GLOBAL = {
    "quiet": (bool, False, typer.Option("-q", "--quiet", help="Warnings and errors only.")),
    "verbose": (
        int,
        0,
        typer.Option(
            "-v", "--verbose", count=True, show_default=False, help="More messages; -vv: all."
        ),
    ),
    "debug": (bool, False, typer.Option("--debug", help="Show the traceback of an error.")),
}


@dataclass(frozen=True)
class Entry:
    """A command by the place of its function, so that listing it imports nothing.

    Attributes
    ----------
    place
        ``"module:function"``, or ``"module:group"`` for a `Group`.
    help
        One line, for the list of commands.
    epilog
        Columns and examples, shown as they are; default: ``EPILOG`` of the module.
    hidden
        Whether the list leaves it out (another name of a command).
    instead
        Of an earlier name: the present one.
    """

    place: str
    help: str = ""
    epilog: str = ""
    hidden: bool = False
    instead: str = ""

    def load(self) -> Any:
        """Import what the entry names."""
        module, _, name = self.place.partition(":")
        return getattr(import_module(module), name)


@dataclass(frozen=True)
class _Field:
    """An option before typer sees it."""

    name: str
    kind: Any
    opt: Opt
    default: Any

    @property
    def is_list(self) -> bool:
        args = get_args(self.kind)
        return get_origin(self.kind) is tuple and len(args) == 2 and args[1] is Ellipsis

    def annotated(self) -> tuple[Any, Any]:
        """Return the annotation and the default that typer takes."""
        opt, kind, default = self.opt, self.kind, self.default
        text = opt.help
        if opt.read is not None:
            kind = str | None
        elif self.is_list:
            kind = list[get_args(kind)[0]] | None  # type: ignore[misc]
            default = None if default == () else default
        words = opt.default
        if words is None and default not in (None, _EMPTY, False, ""):
            words = "on" if default is True else str(default)
        if words:
            text = f"{text.removesuffix('.')} [default: {words}]."
        if self.is_list and opt.pipe:
            default = None
        metavar = opt.metavar or _METAVARS.get(_plain(self.kind)) or ("TEXT" if opt.read else None)
        more = {"help": text, "metavar": metavar, "show_default": False}
        more |= {"min": opt.min, "max": opt.max, "rich_help_panel": opt.panel}
        if opt.argument:
            return Annotated[kind, typer.Argument(**more)], default
        flags = opt.flags or (f"--{self.name.replace('_', '-')}",)
        return Annotated[kind, typer.Option(*flags, **more)], default

    def value(self, given: Any) -> Any:
        """Turn what typer gives into the field's value."""
        if self.opt.read is not None and isinstance(given, str):
            given = self.opt.read(given)
        if isinstance(given, list):
            given = tuple(given)
        if self.is_list and given is None:
            given = ()
        return inputs_or_pipe(given) if self.opt.pipe else given


def _field(name: str, hint: Any, default: Any) -> _Field | None:
    if get_origin(hint) is not Annotated:
        return None
    kind, *marks = get_args(hint)
    opts = [mark for mark in marks if isinstance(mark, Opt)]
    return _Field(name, kind, opts[-1], default) if opts else None


class _Spec:
    """The options of a command's function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.fields: dict[str, _Field] = {}
        self.requests: dict[str, tuple[type, list[str]]] = {}
        hints = get_type_hints(function, include_extras=True)
        for name, parameter in inspect.signature(function).parameters.items():
            hint = hints[name]
            if dataclasses.is_dataclass(hint) and hint is not Terminal:
                self._add_request(name, hint)
            elif field := _field(name, hint, parameter.default):
                self.fields[name] = field

    def _add_request(self, name: str, request: Any) -> None:
        hints = get_type_hints(request, include_extras=True)
        names = []
        for one in dataclasses.fields(request):
            default = _EMPTY if one.default is dataclasses.MISSING else one.default
            if field := _field(one.name, hints[one.name], default):
                self.fields[one.name] = field
                names.append(one.name)
        self.requests[name] = (request, names)

    def signature(self) -> inspect.Signature:
        """Return what typer shall read."""
        parameters = [_parameter("context", typer.Context, _EMPTY)]
        ordered = sorted(self.fields.values(), key=lambda field: not field.opt.argument)
        for field in ordered:
            parameters.append(_parameter(field.name, *field.annotated()))
        for number, (field, old, _value) in enumerate(self._old()):
            is_switch = "=" in old or _plain(field.kind) is bool
            kind = bool if is_switch else field.annotated()[0].__args__[0]
            option = typer.Option(old.partition("=")[0], hidden=True, show_default=False)
            default = None if not is_switch else False
            kind = kind if is_switch else kind | None
            parameters.append(_parameter(f"old_{number}", Annotated[kind, option], default))
        if self.requests:
            load = typer.Option(
                "--job",
                metavar="FILE",
                is_eager=True,
                callback=self._load_job,
                rich_help_panel=_JOB_PANEL,
                help="Run the request saved in this file; options given here override it.",
            )
            save = typer.Option(
                "--save-job",
                metavar="FILE",
                rich_help_panel=_JOB_PANEL,
                help="Save the request as JSON and stop without running it.",
            )
            parameters.append(_parameter("job", Annotated[Path | None, load], None))
            parameters.append(_parameter("save_job", Annotated[Path | None, save], None))
        for name, (kind, default, option) in _GLOBAL.items():
            option.rich_help_panel = _GLOBAL_PANEL
            parameters.append(_parameter(name, Annotated[kind, option], default))
        return inspect.Signature(parameters)

    def _old(self) -> Iterator[tuple[_Field, str, Any]]:
        for field in self.fields.values():
            for old in field.opt.old:
                yield field, old, old.partition("=")[2]

    def call(self, **given: Any) -> None:
        """Take over from typer: make the requests and run the function."""
        context = given.pop("context")
        terminal = Terminal.of(context, given)
        self._take_old(given)
        saved = context.default_map or {}
        for name, field in self.fields.items():
            if field.opt.argument and not given[name] and name in saved:
                given[name] = saved[name]
        if given.get("save_job") is not None:
            _save_job(given["save_job"], _command_name(context), given, list(self.fields))
            return
        values = {name: field.value(given[name]) for name, field in self.fields.items()}
        inputs: dict[str, Any] = {}
        for name, (request, names) in self.requests.items():
            fixed = {one: values.pop(one) for one in names}
            if any(one.name == "command" for one in dataclasses.fields(request)):
                fixed["command"] = command_line()
            inputs[name] = request(**fixed)
        self.function(terminal, **inputs, **values)

    def _take_old(self, given: dict[str, Any]) -> None:
        """Let an earlier spelling do what the present one does, with one line of warning."""
        for number, (field, old, value) in enumerate(self._old()):
            found = given.pop(f"old_{number}")
            if found in (None, False):
                continue
            flag = (field.opt.flags or (f"--{field.name.replace('_', '-')}",))[-1]
            given[field.name] = value or found
            old, new = old.partition("=")[0], f"{flag} {value}" if value else flag
            say(f"warning: {old} is now {new}; the old name goes with the next release")

    def _load_job(self, context: typer.Context, value: Path | None) -> Path | None:
        if value is None or context.resilient_parsing:
            return value
        job = _read_job(value)
        command = _command_name(context)
        if job.pop("command", command) != command:
            raise UsageError(
                "is a job of another command", code="usage.other_job", where=str(value)
            )
        for key in job:
            if key not in self.fields:
                near = difflib.get_close_matches(key, self.fields, n=1, cutoff=0.0)
                raise UsageError(
                    f"unknown key {key!r}",
                    code="usage.unknown_key",
                    where=str(value),
                    hint=f"the nearest is {near[0]!r}",
                )
        context.default_map = job
        return value


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, annotation=annotation, default=default)


def _plain(kind: Any) -> Any:
    """Return a type without its ``| None``."""
    if get_origin(kind) in (Union, UnionType):
        return next(one for one in get_args(kind) if one is not type(None))
    return kind


def _command_name(context: typer.Context) -> str:
    return str(context.command_path).partition(" ")[2]


def _read_job(path: Path) -> dict[str, Any]:
    try:
        job = json.loads(path.read_text("utf-8"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(reason, code="usage.bad_job", where=str(path)) from error
    except ValueError as error:
        message = f"is not a job file: {error}"
        raise UsageError(message, code="usage.bad_job", where=str(path)) from error
    if not isinstance(job, dict):
        raise UsageError("is not a job file: no object", code="usage.bad_job", where=str(path))
    return job


def _save_job(path: Path, command: str, given: dict[str, Any], names: Sequence[str]) -> None:
    from protclip_core.io.atomic import open_atomic

    job: dict[str, Any] = {"command": command}
    for name in names:
        value = given[name]
        if value is not None:
            job[name] = str(value) if isinstance(value, Path) else value
    with open_atomic(path) as file:
        file.write((json.dumps(job, indent=2, default=str) + "\n").encode())
    say(f"{path}: saved; run it with protclip {command} --job {path}")


class _Command(typer.core.TyperCommand):
    """A command whose help has a heading for each panel, and its epilog as it is written."""

    #: Commands of the group that this one stands for, where it is the group's own.
    siblings: Sequence[tuple[str, str]] = ()

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
                panel = getattr(param, "rich_help_panel", None) or _GLOBAL_PANEL
                panels.setdefault(panel, []).append(record)
        for last in (_JOB_PANEL, _GLOBAL_PANEL):
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
        return [(name, one.help) for name, one in self.entries.items() if not one.hidden]

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **more: Any) -> Any:
        """Hand over to the default command where no other one is named."""
        before = {flag for _, _, option in _GLOBAL.values() for flag in _flags(option)} | {"-vv"}
        first = next((word for word in args if word not in before), None)
        completing = more.get("resilient_parsing") and first is None
        if self.default is None or first in self.entries or completing:
            return super().make_context(info_name, args, parent, **more)
        command = _build(str(info_name), self.default)
        command.siblings = self.lines()
        return command.make_context(info_name, args, parent, **more)

    def invoke(self, ctx: Any) -> Any:
        """Keep a closed pipe out of typer's hands, which would end with code 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise OutputClosed from error


def _flags(option: Any) -> tuple[str, ...]:
    return (option.default, *(option.param_decls or ()))


def _build(name: str, entry: Entry) -> Any:
    """Make the command or group of an entry."""
    found = entry.load()
    if isinstance(found, Group):
        return found
    spec = _Spec(found)

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
    parameters = [_parameter("context", typer.Context, _EMPTY)]
    for name, (kind, fallback, option) in _GLOBAL.items():
        parameters.append(_parameter(name, Annotated[kind, option], fallback))
    for name, (annotation, fallback) in more.items():
        parameters.append(_parameter(name, annotation, fallback))

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
    group.commands = dict.fromkeys(entries)  # type: ignore[arg-type]
    return group
