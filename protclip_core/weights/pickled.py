"""Files of ``torch.save`` read through an allow-list: tensors and plain data, and no code.

For fair-esm one `argparse.Namespace` is let in beside them: the training arguments that those
files carry.
"""

from __future__ import annotations

import argparse
import os
import pickle
import re
import reprlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from protclip_core.errors import ModelError
from protclip_core.io.json_fields import one_line
from protclip_core.weights.file_kinds import MOST_TENSORS, describe_content

__all__ = ["TRUSTED_FORM", "load_pickled_tensors", "shown"]

TRUSTED_FORM = "get it as safetensors, or from the original publisher"
_FETCH_AGAIN = "fetch the file again"
#: A tensor may be this much larger than what is stored of it (a few numbers repeated, as tables
#: of positions are in old files); work on larger ones costs a stranger nothing and us everything.
_MOST_REPEATED_BYTES = 100_000_000


def load_pickled_tensors(path: Path) -> dict[str, Any]:
    """Load a pickled file through torch's allow-list; only a Namespace is added to it.

    Raises
    ------
    ModelError
        Missing, truncated, not a weights file, or holding anything beyond plain tensors, under
        names that are text, and plain data. No code of the file runs.
    """
    where = str(path)
    try:
        with (
            _weights_only(),
            torch.serialization.safe_globals([argparse.Namespace]),
            # torch remarks on pickle protocols other than its own; what it cannot read raises.
            warnings.catch_warnings(action="ignore"),
        ):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError("no such weights file", code="model.not_found", where=where) from None
    except pickle.UnpicklingError as error:
        # torch's own text tells how to switch the check off, which we never advise.
        found = re.search(
            r"Unsupported (?:global|class|operand)[^.\\\n]*|GLOBAL [\w.]+", str(error)
        )
        looks = describe_content(path)
        if found and looks in ("a file of torch.save", "a pickle"):
            what = f" ({found.group(0).strip()})"
        else:
            what = f" (it looks like {looks})"
        raise ModelError(
            f"refused: not a plain weights file{what}",
            code="model.untrusted",
            where=where,
            hint=TRUSTED_FORM,
        ) from None
    except MemoryError as error:
        raise ModelError(
            f"asks for more memory than there is (it looks like {describe_content(path)}, of "
            f"{path.stat().st_size:,} bytes)",
            code="model.too_large",
            where=where,
            hint=_FETCH_AGAIN,
        ) from error
    # A crafted or cut pickle can make torch's reader stumble in any way.
    except Exception as error:
        raise ModelError(
            f"cannot be read as a weights file (it looks like {describe_content(path)}; "
            f"{type(error).__name__})",
            code="model.damaged",
            where=where,
            hint=_FETCH_AGAIN,
        ) from error
    if not isinstance(content, dict):
        raise ModelError(
            "is not a table of tensors", code="model.unknown_layout", where=where, hint=TRUSTED_FORM
        )
    _check_plain(content, where)
    return content


def _check_plain(content: dict[Any, Any], where: str) -> None:
    """Refuse names that are no text, and tensors that are not numbers side by side in memory."""
    # As fair-esm nests them; deeper down no tensor is looked at.
    tables = [content, *(value for value in content.values() if isinstance(value, dict))]
    for table in tables:
        if sum(isinstance(value, Tensor) for value in table.values()) > MOST_TENSORS:
            raise ModelError(
                f"holds more than {MOST_TENSORS:,} tensors", code="model.too_large", where=where
            )
        for name, value in table.items():
            if not isinstance(name, str) and (table is content or isinstance(value, Tensor)):
                raise ModelError(
                    f"names an entry by {shown(name)}, not by text",
                    code="model.unknown_layout",
                    where=where,
                    hint=TRUSTED_FORM,
                )
            if isinstance(value, Tensor) and (fault := _tensor_fault(value)):
                raise ModelError(
                    f"tensor {shown(name)} is {fault}",
                    code="model.bad_tensor",
                    where=where,
                    hint=TRUSTED_FORM,
                )


def _tensor_fault(value: Tensor) -> str:
    """Say what keeps a tensor from being a plain one on the CPU; empty where nothing does."""
    if value.is_nested:
        return "a nested one, not plain numbers"
    if value.layout != torch.strided:
        return f"a sparse one ({str(value.layout).removeprefix('torch.')}), not plain numbers"
    if value.is_quantized:
        return "a quantized one, not plain numbers"
    if value.device.type != "cpu":
        return f"on device {value.device.type}, without numbers"
    size = value.numel() * value.element_size()
    if size > max(value.untyped_storage().nbytes(), _MOST_REPEATED_BYTES):
        return f"{size:,} bytes of numbers repeated"
    return ""


@contextmanager
def _weights_only() -> Iterator[None]:
    """Hide the environment variable that can switch torch's check off, for one load."""
    forced = os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
    try:
        yield
    finally:
        if forced is not None:
            os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = forced


def shown(value: object) -> str:
    """Return a stranger's value as a short line, however long or deep it is."""
    return one_line(reprlib.repr(value), 80)
