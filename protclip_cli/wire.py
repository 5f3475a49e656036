"""A function and its request become a command, and a job file becomes a request.

A command is a function ``run(terminal, request, ...)``. The fields of each parameter that is a
dataclass, and each further parameter that carries an `Opt`, are its options; see
`protclip_core.options`.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

from protclip_cli.boundary import say
from protclip_cli.terminal import Terminal, command_line, inputs_or_pipe
from protclip_core.errors import UsageError
from protclip_core.options import Opt

__all__ = ["GLOBAL", "GLOBAL_PANEL", "JOB_PANEL", "Spec", "parameter"]

_EMPTY = inspect.Parameter.empty
_METAVARS = {str: "TEXT", int: "N", float: "X", Path: "FILE", list[str]: "TEXT"}
GLOBAL_PANEL, JOB_PANEL = "Global options", "Job files"
#: Global options, which stand before or after the command.
GLOBAL = {
    "quiet": (bool, False, typer.Option("-q", "--quiet", help="Warnings and errors only.")),
    "verbose": (
        int,
        0,
        typer.Option(
            "-v",
            "--verbose",
            count=True,
            show_default=False,
            help="More messages, with their time; -vv: all.",
        ),
    ),
    "debug": (bool, False, typer.Option("--debug", help="Show the traceback of an error.")),
}


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
        elif opt.choices:
            kind = Literal[opt.choices]
        elif self.is_list:
            kind = list[get_args(kind)[0]] | None  # type: ignore[misc]
            default = None if default == () else default
        words = opt.shown
        if words is None and default not in (None, _EMPTY, False, ""):
            words = "on" if default is True else str(default)
        if words:
            text = f"{text.removesuffix('.')} [default: {words}]."
        if self.is_list and opt.pipe:
            default = None
        metavar = opt.metavar or _METAVARS.get(_plain(kind)) or ("TEXT" if opt.read else None)
        more: dict[str, Any] = {"help": text, "metavar": metavar, "show_default": False}
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


def _field(name: str, hint: Any, default: Any, opt: Opt | None = None) -> _Field | None:
    kind, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    opts = [mark for mark in (*marks, opt) if isinstance(mark, Opt)]
    return _Field(name, kind, opts[-1], default) if opts else None


class Spec:
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
            field = _field(one.name, hints[one.name], default, one.metadata.get("opt"))
            if field is not None:
                self.fields[one.name] = field
                names.append(one.name)
        self.requests[name] = (request, names)

    def signature(self) -> inspect.Signature:
        """Return what typer shall read."""
        parameters = [parameter("context", typer.Context, _EMPTY)]
        ordered = sorted(self.fields.values(), key=lambda field: not field.opt.argument)
        for field in ordered:
            parameters.append(parameter(field.name, *field.annotated()))
        for number, (field, old, _value) in enumerate(self._old()):
            is_switch = "=" in old or _plain(field.kind) is bool
            kind: Any = bool if is_switch else field.annotated()[0].__args__[0]
            option = typer.Option(old.partition("=")[0], hidden=True, show_default=False)
            default = None if not is_switch else False
            kind = kind if is_switch else kind | None
            parameters.append(parameter(f"old_{number}", Annotated[kind, option], default))
        if "request" in self.requests:
            load = typer.Option(
                "--job",
                metavar="FILE",
                is_eager=True,
                callback=self._load_job,
                rich_help_panel=JOB_PANEL,
                help="Run the request saved in this file; options given here override it.",
            )
            save = typer.Option(
                "--save-job",
                metavar="FILE",
                rich_help_panel=JOB_PANEL,
                help="Save the request as JSON and stop without running it.",
            )
            parameters.append(parameter("job", Annotated[Path | None, load], None))
            parameters.append(parameter("save_job", Annotated[Path | None, save], None))
        for name, (shape, fallback, option) in GLOBAL.items():
            option.rich_help_panel = GLOBAL_PANEL
            parameters.append(parameter(name, Annotated[shape, option], fallback))
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
            if found is None or found is False:
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
            if self.fields[key].opt.read is not None and not isinstance(job[key], str | None):
                many = job[key] if isinstance(job[key], list) else [job[key]]
                job[key] = ",".join(map(str, many))
        context.default_map = job
        return value


def parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    """Return a parameter as `Spec.signature` has them."""
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
    except (ValueError, RecursionError) as error:  # the second: nested far too deep
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
