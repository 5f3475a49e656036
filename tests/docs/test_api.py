"""The public names: all there, lazy, documented and typed; `test_package` runs their examples."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys

import pytest
from numpydoc.validate import validate

import protclip_core

NAMES = sorted(set(protclip_core.__all__) - {"__version__"})
#: A summary that is a sentence, parameters that are documented and exist, an example. PR01 does
#: not apply to dataclasses: their fields stand under Attributes, or carry an `Opt`.
CHECKS = {"GL07", "GL08", "SS01", "SS02", "SS03", "SS05", "PR01", "PR02", "PR03", "EX01"}
#: Errors have the example of their base.
ERRORS = {name for name in NAMES if name.endswith("Error")}


def home_of(name):
    found = getattr(protclip_core, name)
    return f"{found.__module__}.{found.__qualname__}"


def test_the_names_are_listed_and_nothing_heavy_comes_with_them():
    code = (
        "import sys, protclip_core as pc\n"
        "assert {one for one in dir(pc) if one[0] != '_'} == {*pc.__all__} - {'__version__'}\n"
        "import protclip_core.io\n"
        "assert 'io' in dir(pc)\n"
        "assert not {'torch', 'numpy', 'h5py'} & set(sys.modules)\n"
        "try: pc.nothing\n"
        "except AttributeError as error: assert 'nothing' in str(error)\n"
        "for name in pc.__all__: getattr(pc, name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    homes = " ".join(protclip_core._HOMES.values()).split()
    assert sorted(homes) == NAMES
    assert 20 <= len(NAMES) - len(ERRORS) <= 30


@pytest.mark.parametrize("name", NAMES)
def test_docstrings_are_whole(name):
    found = getattr(protclip_core, name)
    doc = inspect.getdoc(found) or ""
    left_out = set()
    if dataclasses.is_dataclass(found):
        left_out |= {"PR01"}
    if inspect.isclass(found) and re.search("[Gg]et one from|make (one|them) with", doc):
        left_out |= {"PR01"}  # not made by its constructor
    if name in ERRORS - {"ProtclipError"}:
        left_out |= {"PR01", "EX01"}
    wrong = [f"{code} {text}" for code, text in validate(home_of(name))["errors"]]
    assert [w for w in wrong if w[:4] in CHECKS - left_out] == []


def public_callables(name):
    """Yield the callable of a name and, for a class, its public methods."""
    found = getattr(protclip_core, name)
    if not inspect.isclass(found):
        yield found
        return
    for key, value in vars(found).items():
        if not key.startswith("_") and callable(getattr(value, "__func__", value)):
            yield getattr(value, "__func__", value)


@pytest.mark.parametrize("name", NAMES)
def test_signatures_say_their_types(name):
    for function in public_callables(name):
        if not inspect.isfunction(function):
            continue
        hints = inspect.get_annotations(function)
        parameters = set(inspect.signature(function).parameters) - {"self", "cls"}
        assert parameters | {"return"} <= set(hints), function
        for key, hint in hints.items():
            text = hint if isinstance(hint, str) else str(hint)
            bare = re.search(r"(?<![\[.\w])Any\b|(?<![\w.])np\.ndarray", text)
            assert bare is None, (function.__qualname__, key, text)
