"""The package's own promises: names that come when asked for, examples that are true."""

from __future__ import annotations

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import protclip_core

ROOT = Path(protclip_core.__file__).parents[1]
#: Modules with an example in a docstring.
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(Path(protclip_core.__file__).parent.rglob("*.py"))
    if re.search(r"^ *>>> ", path.read_text("utf-8"), re.MULTILINE)
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_true(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # some write files
    found = doctest.testmod(importlib.import_module(name))
    assert found.failed == 0
    assert found.attempted > 0


def test_examples_are_looked_for_where_there_are_any() -> None:
    assert "protclip_core.records" in MODULES
    assert len(MODULES) > 15


def test_every_public_name_can_be_had() -> None:
    assert all(hasattr(protclip_core, name) for name in protclip_core.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = protclip_core.nothing


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, protclip_core; sys.exit('torch' in sys.modules or 'h5py' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
