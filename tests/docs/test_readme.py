"""The README's own words: its commands run, and print what it shows."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from protclip_cli.main import app
from tests.cli.surface import commands
from tests.support.environment import patient

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
EXAMPLE = "protclip_core/bundled/example.fasta"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def lines(start: str) -> list[str]:
    """Return the README's shell lines that begin with a word, without their remarks."""
    found = [
        re.split(r"\s#", line)[0].strip() for block in blocks("sh") for line in block.splitlines()
    ]
    return [line for line in found if line.startswith(start)]


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "protclip_cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
    )


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example where the README expects it."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / EXAMPLE).parent.mkdir(parents=True)
    shutil.copy(ROOT / EXAMPLE, folder / EXAMPLE)
    return folder


def test_the_main_command_prints_what_the_readme_shows(workplace: Path) -> None:
    install, embed, show = lines("python3 -m venv .venv && .venv/bin/pip")[0].split(" && ")[1:]
    assert shlex.split(install)[1:] == ["install", "-c", "constraints.txt", "-e", "."]
    outputs = []
    for command in (embed, show):
        words = shlex.split(command)
        assert words[0] == ".venv/bin/protclip"
        done = run(words[1:], workplace)
        assert done.returncode == 0, done.stderr
        outputs.append(done)
    shown = README.split("<!-- output of the command above -->")[1].split("```")[1].strip()
    # Names and lengths must be these; times differ, and vectors in their last digits.
    ids = [line.split()[0] for line in shown.splitlines() if line.startswith("sp|")]
    printed = [line.split("\t")[:2] for line in outputs[1].stdout.splitlines()[1:]]
    assert ids == [id for id, _ in printed]
    for id, length in printed:
        (line,) = [line for line in shown.splitlines() if line.startswith(id)]
        assert line.split()[1].replace(",", "") == length
    assert "12 proteins; 12 sequences embedded" in outputs[0].stderr


def test_every_protclip_line_is_understood() -> None:
    """Each option in the README exists: the command's own parser takes the line."""
    known = {words: command for words, command, hidden in commands(app, "protclip") if not hidden}
    seen = 0
    for line in lines("protclip ") + [lines("zcat")[0].partition("| ")[2]]:
        words = shlex.split(line)
        words = words[: words.index("|")] if "|" in words else words
        words = words[: words.index("<")] if "<" in words else words
        length = max(n for n in range(1, len(words) + 1) if " ".join(words[:n]) in known)
        command = known[" ".join(words[:length])]
        command.make_context("test", words[length:])
        old = {name for p in command.params if getattr(p, "hidden", False) for name in p.opts}
        assert not old & set(words), "an old spelling"
        seen += 1
    assert seen >= 10


def test_the_python_blocks_run(workplace: Path) -> None:
    # A folder of its own: next to the example's folder, `protclip_core` would be that.
    folder = workplace / "python"
    folder.mkdir()
    shutil.copy(workplace / "example.h5", folder)
    for name, block in enumerate(blocks("python")):
        script = folder / f"block{name}.py"
        script.write_text(block)
        done = subprocess.run(
            [sys.executable, script],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=patient(60),
            check=False,
        )
        assert done.returncode == 0, done.stderr


PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    ROOT / "tests/README.md",
    ROOT / "tests/benchmarks/README.md",
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_files_that_pages_name_are_there(page: Path) -> None:
    text = page.read_text("utf-8")
    for path in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / path).exists(), path
    if page.name == "CHANGELOG.md" or "howto" in page.parts:
        return  # they name what was, and what is to be written
    for path in re.findall(r"`((?:protclip_core|protclip_cli|train|tests)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path
