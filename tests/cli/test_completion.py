"""Completion in the shell: what is offered, and that it is installed where the shell looks."""

from __future__ import annotations

import pytest


def offered(protclip, words, folder):
    """Return what bash offers for the last of some words."""
    env = {
        "_PROTCLIP_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = protclip(cwd=folder, env=env, fresh=True)
    assert (done.rc, done.err) == (0, "")
    return done.out.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("protclip em", ["embed"]),
        ("protclip store in", ["info"]),
        ("protclip embed --la", ["--layer", "--layout"]),
        ("protclip embed x.fa --long tr", ["truncate"]),
        ("protclip mutate fi", ["fit"]),
        ("protclip mutate --metho", ["--method"]),
        ("protclip mutate wt.fa --metho", ["--method"]),
        ("protclip nothing --la", []),
    ],
)
def test_words_are_completed(protclip, tmp_path, words, expected):
    assert offered(protclip, words, tmp_path) == expected


@pytest.mark.parametrize(
    ("shell", "variables"),
    [
        ("zsh", {"_TYPER_COMPLETE_ARGS": "protclip em"}),
        (
            "fish",
            {"_TYPER_COMPLETE_ARGS": "protclip em", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
        ),
    ],
)
def test_other_shells_ask_in_their_own_way(protclip, tmp_path, shell, variables):
    env = {"_PROTCLIP_COMPLETE": f"complete_{shell}"} | variables
    done = protclip(cwd=tmp_path, env=env, fresh=True)
    assert done.rc == 0
    assert "embed" in done.out
    assert "search" not in done.out


def test_completion_is_shown_and_installed(protclip, tmp_path):
    # The shell is the one that is named, not the one that runs the tests.
    env = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = protclip("--show-completion", "bash", cwd=tmp_path, env=env, fresh=True)
    assert (shown.rc, "_PROTCLIP_COMPLETE=complete_bash" in shown.out) == (0, True)
    done = protclip("--install-completion", "bash", cwd=tmp_path, env=env, fresh=True)
    assert done.rc == 0
    script = tmp_path / ".bash_completions" / "protclip.sh"
    assert "_PROTCLIP_COMPLETE=complete_bash" in script.read_text()
    assert str(script) in (tmp_path / ".bashrc").read_text()
