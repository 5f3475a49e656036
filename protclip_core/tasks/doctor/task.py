"""The self-test: is this installation sound, and what does it find on this machine.

Nothing is asked of any server and nothing is left on the disk. A check that fails does not keep
the others from running; a check never fails for being slow.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from protclip_core._version import __version__
from protclip_core.errors import ModelError, ProtclipError, ResourceError, UsageError
from protclip_core.tasks.doctor.checks import FAIL, OK, WARN, Check

__all__ = ["Check", "run_checks", "verdict"]

#: Libraries that get a row each; the others share one.
LIBRARIES = (
    "torch",
    "numpy",
    "transformers",
    "tokenizers",
    "safetensors",
    "h5py",
    "scikit-learn",
)
#: What the network part looks at; values may hold passwords.
NETWORK = (
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "PROTCLIP_MIRROR",
    "PROTCLIP_TIMEOUT",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
)
_INSTALL = "install protclip again: pip install --upgrade protclip"


def run_checks(
    *, cache: str | Path | None = None, model: str | Path | None = None
) -> Iterator[Check]:
    """Run all checks, one after the other, in about five seconds.

    Parameters
    ----------
    cache
        Cache folder; default as everywhere.
    model
        Name or path of the model that the stored reference vectors belong to; default the default
        model.

    Yields
    ------
    Check
        In a fixed order: versions, machine, folders, models, environment.
    """
    # Here, so that a broken library is a row of the table and not the end of it.
    groups: list[tuple[str, Callable[[], Iterable[Check]]]] = [
        ("versions", _versions),
        ("machine", lambda: _module("machine").machine_checks()),
        ("folders", lambda: _module("folders").folder_checks(cache)),
        ("models", lambda: _module("models").model_checks(model, cache)),
        ("environment", _environment),
    ]
    for name, group in groups:
        try:
            yield from group()
        except ProtclipError as error:
            yield Check.failed(name, error)
        # A self-test has to survive what it is there to find.
        except Exception as error:  # noqa: BLE001
            text = str(error).partition("\n")[0][:200]
            yield Check(
                name=name,
                status=FAIL,
                found=f"{type(error).__name__}: {text}",
                advice=_INSTALL,
                trouble=ModelError,
            )


def verdict(checks: Iterable[Check]) -> ProtclipError | None:
    """Return what is to be raised after these checks; ``None`` if none failed.

    The kind is that of the most serious failure: a library or a model (`ModelError`), then disk
    and memory (`ResourceError`), then a folder that cannot be used (`UsageError`).
    """
    checks = list(checks)
    failed = [check for check in checks if check.status == FAIL]
    if not failed:
        return None
    kinds = {check.trouble for check in failed}
    kind = next((k for k in (ModelError, ResourceError) if k in kinds), UsageError)
    names = ", ".join(check.name for check in failed[:5])
    return kind(
        f"{len(failed)} of {len(checks)} checks failed ({names})",
        hint="the table says what to do",
    )


def _module(name: str) -> Any:
    from importlib import import_module

    return import_module(f"protclip_core.tasks.doctor.{name}")


def _versions() -> Iterator[Check]:
    """Compare installed libraries with the ranges that the package declares."""
    yield Check(name="protclip", status=OK, found=__version__)
    yield Check(
        name="python", status=OK, found=f"{platform.python_version()} on {platform.platform()}"
    )
    ranges = _declared()
    wrong = {name: reason for name in ranges if (reason := _version_fault(name, ranges[name]))}
    for name in LIBRARIES:
        reason = wrong.get(name) or _version_fault(name, ranges.get(name, ""))
        if reason:
            yield _library(name, reason)
            continue
        wanted = f" (needs {ranges[name]})" if ranges.get(name) else ""
        yield Check(name=name, status=OK, found=f"{version(name)}{_inside(name)}{wanted}")
    others = [name for name in ranges if name not in LIBRARIES]
    for name in others:
        if name in wrong:
            yield _library(name, wrong[name])
    if not set(others) & set(wrong):
        yield Check(name="other libraries", status=OK, found=f"{len(others)}, all in range")


def _inside(name: str) -> str:
    """Say which HDF5 is inside h5py: files are as sound as that library."""
    if name != "h5py":
        return ""
    import h5py

    return f" with HDF5 {h5py.version.hdf5_version}"


def _library(name: str, reason: str) -> Check:
    advice = f"pip install --upgrade {name}"
    return Check(name=name, status=FAIL, found=reason, advice=advice, trouble=ModelError)


def _declared() -> dict[str, str]:
    """Name to range of what the installed package needs, extras left out."""
    try:
        lines = requires("protclip") or []
    except PackageNotFoundError:  # run from a checkout
        lines = []
    found = {}
    for line in lines:
        need, _, marker = line.partition(";")
        match = re.match(r"\s*([A-Za-z0-9._-]+)\s*(.*?)\s*$", need)
        if match and "extra" not in marker:
            found[match[1]] = match[2].strip("()")
    return found


def _version_fault(name: str, wanted: str) -> str:
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion

    try:
        installed = version(name)
    except PackageNotFoundError:
        return "is not installed"
    try:
        fits = SpecifierSet(wanted, prereleases=True).contains(installed)
    except InvalidVersion:
        fits = True  # a private build; its number says nothing
    return "" if fits else f"{installed} is installed, needs {wanted}"


def _environment() -> Iterator[Check]:
    found = []
    for name in NETWORK:
        for spelling in (name, name.lower()):
            if value := os.environ.get(spelling):
                found.append(f"{spelling}={'(set)' if name == 'HF_TOKEN' else _public(value)}")
    told = ", ".join(found) or "none: servers are asked directly"
    yield Check(name="network settings", status=OK, found=told)
    if "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" in os.environ:
        yield Check(
            name="unsafe loading",
            status=WARN,
            found="TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set; protclip ignores it",
            advice="unset it: other programs would run code from model files",
        )
    yield Check(
        name="HDF5 locking",
        status=OK,
        found=f"HDF5_USE_FILE_LOCKING={os.environ.get('HDF5_USE_FILE_LOCKING', '(not set)')}; "
        "protclip has locks of its own",
    )


def _public(value: str) -> str:
    """Leave user and password out of an address."""
    try:
        user = urlsplit(value).username or urlsplit(f"//{value}").username
    except ValueError:
        return "(unreadable)"
    return value if user is None else re.sub(r"(^|//)[^/]*@", r"\1…@", value)
