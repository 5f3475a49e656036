"""All commands and options of the program as text; see surface.txt."""

from __future__ import annotations

from pathlib import Path

FILE = Path(__file__).with_name("surface.txt")
HEADER = (
    "# Every command and option. A change here is a change for users: tell them in CHANGELOG.md.\n"
    "# Made by: python -m tests.cli.surface\n"
)


def surface():
    from protclip_cli.main import app

    return HEADER + "".join(f"{line}\n" for line in _lines(app, "protclip", hidden=False))


def commands(group, path):
    """Yield ``(words, command, hidden)`` of all commands below a group."""
    from protclip_cli.groups import Group, _build

    if group.default is not None:
        yield path, _build(path.split()[-1], group.default), False
    for name, entry in group.entries.items():
        command = group.get_command(None, name)
        if isinstance(command, Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command, entry.hidden


def _lines(app, path, hidden):
    yield from _options(path, app, hidden)
    for words, command, is_hidden in commands(app, path):
        yield from _options(words, command, is_hidden)


def _options(path, command, hidden):
    yield ""
    yield f"{path}{'  (hidden)' if hidden else ''}"
    for param in command.params:
        if param.param_type_name == "argument":
            yield f"  {param.metavar or param.name}"
        else:
            spellings = ", ".join((*param.opts, *param.secondary_opts))
            yield f"  {spellings}{'  (hidden)' if param.hidden else ''}"


if __name__ == "__main__":
    FILE.write_text(surface(), encoding="utf-8")
