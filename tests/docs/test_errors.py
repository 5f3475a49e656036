"""docs/errors.md lists the code of every error, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KINDS = {"usage", "input", "record", "model", "resource", "busy", "worker"}


def codes_in_the_source():
    """Return the literals that are given as ``code=``, those of `a if b else c` included."""
    found = set()
    for package in ("protclip_core", "protclip_cli", "train"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.keyword) and node.arg == "code":
                    found |= {
                        part.value
                        for part in ast.walk(node.value)
                        if isinstance(part, ast.Constant)
                        and re.fullmatch(r"[a-z]+\.[a-z_0-9]+", str(part.value))
                    }
    return found


def test_every_code_is_explained_once():
    text = (ROOT / "docs/errors.md").read_text("utf-8")
    listed = re.findall(r"^\| `([a-z_.0-9]+)` \|", text, re.MULTILINE)
    assert sorted(listed) == sorted(set(listed))
    codes = {code for code in codes_in_the_source() if not code.endswith(".other")}
    assert codes - set(listed) == set()
    assert set(listed) - codes == set()
    assert {code.partition(".")[0] for code in codes} <= KINDS
    assert len(codes) > 50
