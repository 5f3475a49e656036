"""Tables that a run computes once and keeps in its folder, each with what it depends on.

``NAME.npy`` has the numbers and ``NAME.json`` the facts; a table with other facts is not used. The
facts are written last, so that a table that has them is complete.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from protclip_core.io.atomic import open_atomic, require_space, write_atomic

__all__ = ["hash_tensors", "keep", "open_kept"]


def open_kept(path: Path, facts: Mapping[str, Any]) -> np.ndarray | None:
    """Open a table read-only, without loading it; ``None`` where there is none of these facts."""
    try:
        if json.loads(_facts_of(path).read_text(encoding="utf-8")) != _plain(facts):
            return None
        found: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return None
    return found


@contextmanager
def keep(
    path: Path, facts: Mapping[str, Any], shape: tuple[int, ...], kind: type[np.generic]
) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield a function that writes the rows of a table block by block; then keep the table.

    Raises
    ------
    ResourceError
        The disk is full, or will be.
    UsageError
        The folder cannot be written.
    """
    dtype = np.dtype(kind)
    require_space(path, int(np.prod(shape)) * dtype.itemsize)
    _facts_of(path).unlink(missing_ok=True)
    with open_atomic(path) as file:
        np.lib.format.write_array_header_1_0(
            file,
            {
                "descr": np.lib.format.dtype_to_descr(dtype),
                "fortran_order": False,
                "shape": shape,
            },
        )
        yield lambda block: _write(file, block, dtype)
    write_atomic(_facts_of(path), (json.dumps(_plain(facts), indent=2) + "\n").encode())


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return a sha256 of names and values."""
    digest = hashlib.sha256()
    for name, value in tensors.items():
        digest.update(name.encode())
        digest.update(value.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _write(file: Any, block: np.ndarray, dtype: np.dtype[Any]) -> None:
    file.write(np.ascontiguousarray(block, dtype=dtype).tobytes())


def _facts_of(path: Path) -> Path:
    return path.with_suffix(".json")


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(json.dumps(facts))
    return content
