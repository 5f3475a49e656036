"""The list of faults names tests that exist, and every test that cites a fault is in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/faults.md").read_text("utf-8")
ROWS = {
    int(number): set(re.findall(r"[\w/]+\.py::\w+", tests))
    for number, tests in re.findall(r"^\| (\d+) \|.*\|(.*)\|$", PAGE, re.MULTILINE)
}


def documented_tests():
    """Yield ``(file::name, docstring)`` of all test functions."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
                name = f"{path.relative_to(ROOT / 'tests').as_posix()}::{node.name}"
                yield name, ast.get_docstring(node) or ""


def cited(docstring):
    """Return the numbers of ``Fault 3``, ``Faults 3 and 4``, ``Faults 24 to 27, 29``."""
    found = set()
    for words in re.findall(r"[Ff]aults? (\d+(?:(?:,| and| to)? ?\d+)*)", docstring):
        for first, last in re.findall(r"(\d+)(?: to (\d+))?", words):
            found.update(range(int(first), int(last or first) + 1))
    return found


def test_every_fault_has_tests_and_they_exist():
    assert sorted(ROWS) == list(range(1, 65))
    existing = {name for name, _ in documented_tests()}
    assert [number for number, tests in ROWS.items() if not tests] == []
    assert set().union(*ROWS.values()) - existing == set()


def test_a_test_that_cites_a_fault_is_listed_there():
    missing = [
        f"{number}: {name}"
        for name, docstring in documented_tests()
        for number in cited(docstring)
        if name not in ROWS[number]
        # One test of many bad files stands for some of its faults only where no other is closer.
        and name != "cli/test_embed_input_cli.py::test_bad_input_is_3_and_nothing_is_published"
    ]
    assert missing == []
