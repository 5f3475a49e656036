"""Weights files read without running anything in them, and put into modules without a gap.

Nothing is unpickled beyond tensors and, for fair-esm, one `argparse.Namespace` (the training
arguments that those files carry). Tensor names and shapes must fit exactly: a missing, a
wrong-shaped or a surplus tensor is an error that names it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from protclip_core.errors import ModelError
from protclip_core.models.bundle import sha256_of

__all__ = [
    "fill_module",
    "load_pickled_tensors",
    "read_transformers_weights",
]

_FETCH_AGAIN = "fetch the file again"


def fill_module(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Put tensors into a module, all of them and nothing else.

    Parameters
    ----------
    module
        Its parameters are replaced, as float32.
    tensors
        Name to value, names as in the module's state dict.
    where
        File for the message.

    Raises
    ------
    ModelError
        Missing, surplus or wrong-shaped tensors, with the first three of each and their count,
        or values that are not finite. Nothing is ever left at its random start.
    """
    expected = module.state_dict()
    missing = sorted(set(expected) - set(tensors))
    surplus = sorted(set(tensors) - set(expected))
    wrong = [
        f"{name} is {tuple(tensors[name].shape)}, not {tuple(expected[name].shape)}"
        for name in sorted(set(expected) & set(tensors))
        if tensors[name].shape != expected[name].shape
    ]
    faults = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for what, names in (("missing", missing), ("unknown", surplus), ("of wrong shape", wrong))
        if names
    ]
    if faults:
        raise ModelError(
            "tensors do not fit the model: " + "; ".join(faults),
            where=where,
            hint="the file is of another model or damaged",
        )
    values = {name: value.to(torch.float32) for name, value in tensors.items()}
    for name, value in values.items():
        if not bool(torch.isfinite(value).all()):
            raise ModelError(f"tensor {name} holds NaN or infinity", where=where, hint=_FETCH_AGAIN)
    module.load_state_dict(values)


def read_transformers_weights(directory: Path) -> tuple[dict[str, Tensor], str]:
    """Read ``model.safetensors`` (or its shards), else ``pytorch_model.bin``, of a directory.

    Returns
    -------
    tuple
        The tensors by their own names, and the sha256 of the file (of the files' hashes, in
        the order of their names, where there are several).
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    files = _safetensors_files(directory)
    tensors: dict[str, Tensor] = {}
    for path in files:
        try:
            tensors.update(load_file(path))
        except SafetensorError as error:
            raise ModelError(
                f"not a readable safetensors file ({error})", where=str(path), hint=_FETCH_AGAIN
            ) from error
    if not files:
        files = [directory / "pytorch_model.bin"]
        tensors = load_pickled_tensors(files[0])
    hashes = [sha256_of(path) for path in files]
    joined = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
    return tensors, joined


def _safetensors_files(directory: Path) -> list[Path]:
    """Return ``model.safetensors``, or the shards that its index names, and no stray file."""
    whole = directory / "model.safetensors"
    if whole.is_file():
        return [whole]
    index = directory / "model.safetensors.index.json"
    if not index.is_file():
        return []
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"cannot be read ({error})", where=str(index), hint=_FETCH_AGAIN) from None
    strange = [name for name in names if not isinstance(name, str) or Path(name).name != name]
    if strange or not names:
        raise ModelError("names no shards of its own directory", where=str(index))
    files = [directory / name for name in sorted(names)]
    for path in files:
        if not path.is_file():
            raise ModelError("shard of the model is missing", where=str(path), hint=_FETCH_AGAIN)
    return files


def load_pickled_tensors(path: Path) -> dict[str, Any]:
    """Load a pickled file through torch's allow-list; only a Namespace is added to it.

    Raises
    ------
    ModelError
        Missing, truncated, not a weights file, or holding anything beyond tensors and plain
        data. No code of the file runs.
    """
    where = str(path)
    try:
        with (
            _weights_only(),
            torch.serialization.safe_globals([argparse.Namespace]),
            # torch remarks on pickle protocols other than its own; what it cannot read raises.
            warnings.catch_warnings(action="ignore", category=UserWarning),
        ):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError("no such weights file", where=where) from None
    except pickle.UnpicklingError as error:
        # torch's own text tells how to switch the check off, which we never advise.
        found = re.search(r"Unsupported (?:global|class|operand)[^.]*|GLOBAL [\w.]+", str(error))
        what = f" ({found.group(0).strip()})" if found else ""
        raise ModelError(
            f"refused: not a plain weights file{what}", where=where, hint=_TRUSTED_FORM
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0][:120] or type(error).__name__
        raise ModelError(
            f"cannot be read as a weights file ({reason})", where=where, hint=_FETCH_AGAIN
        ) from error
    if not isinstance(content, dict):
        raise ModelError("is not a table of tensors", where=where, hint=_TRUSTED_FORM)
    return content


_TRUSTED_FORM = "get it as safetensors, or from the original publisher"


@contextmanager
def _weights_only() -> Iterator[None]:
    """Hide the environment variable that can switch torch's check off, for one load."""
    forced = os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
    try:
        yield
    finally:
        if forced is not None:
            os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = forced
