"""What users type: the list of commands and options, and what means the same everywhere."""

from __future__ import annotations

import pytest

from protclip_cli.main import app
from tests.cli.surface import FILE, commands, surface

COMMANDS = {words: command for words, command, _hidden in commands(app, "protclip")}


def spellings(command):
    return {
        spelling: param
        for param in command.params
        if param.param_type_name == "option"
        for spelling in param.opts
    }


def test_commands_and_options_are_the_listed_ones():
    assert surface() == FILE.read_text("utf-8"), "if meant so: python -m tests.cli.surface"


@pytest.mark.parametrize("words", COMMANDS)
def test_options_of_all_commands(words):
    found = spellings(COMMANDS[words])
    assert {"-q", "-v", "--debug"} <= {*found}
    assert ("-o" in found) == ("--output" in found)
    if "--format" in found and words.split()[-1] not in ("fit", "train"):
        assert {"-o", "--overwrite"} <= {*found}, "results can go to a file"
    for name in ("--head", "--plot", "--seed", "--device", "--workers"):
        assert name not in found or found[name].help


def test_one_option_has_one_help_everywhere():
    for name in ("--device", "--workers", "--seed", "--threads", "--overwrite", "-o"):
        told = {
            (words.split()[-1] if name == "-o" else "", found[name].help)
            for words, command in COMMANDS.items()
            if name in (found := spellings(command)) and name != "-o"
        }
        assert len(told) <= 1, name


def test_every_command_has_an_example_with_its_output():
    for words, command in COMMANDS.items():
        lines = (command.epilog or "").splitlines()
        assert any(line.startswith("Example") for line in lines), words
        assert any(line.startswith("    ") for line in lines), words
        assert max(map(len, lines)) <= 90, words
