"""The package's own promises: names that come when asked for, examples that are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import protclip_core

MODULES = [m.name for m in pkgutil.walk_packages(protclip_core.__path__, "protclip_core.")]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_every_public_name_can_be_had() -> None:
    assert all(hasattr(protclip_core, name) for name in protclip_core.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = protclip_core.nothing


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, protclip_core; sys.exit('torch' in sys.modules or 'h5py' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
