"""Structures for a model that has none: a bundle and, beside its files, a structure encoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shutil import copyfile
from typing import TYPE_CHECKING, Any

from protclip_core.weights.bundle import (
    CONFIG,
    MANIFEST,
    STRUCTURE,
    STRUCTURE_WEIGHTS,
    Bundle,
    stored_tensors,
    write_files,
)

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["attach_structure"]


def attach_structure(
    base: Bundle,
    directory: str | Path,
    shape: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    files: Mapping[str, bytes] | None = None,
) -> Bundle:
    """Write a bundle that is another one with a structure encoder for its joint space.

    The other towers and their files stay as they are, byte by byte: what was embedded, fitted or
    indexed with the model before goes on working.

    Parameters
    ----------
    base
        The model; it needs a joint space. One that has a structure encoder gets another.
    directory
        Another folder, created if need be.
    shape
        ``structure_encoder`` and, unless it is the plain form, ``structure_projection`` of
        ``config.json``.
    tensors
        ``structure_encoder.*`` and ``structure_projection.*``, stored as float16.
    files
        Further files, such as a new model card: name to content.

    Raises
    ------
    ModelError
        A damaged ``base``, or a value that float16 cannot hold.
    ValueError
        Other tensors or fields than those of structures, or the folder of ``base``.
    """
    strange = [name for name in (*shape, *tensors) if not name.startswith(STRUCTURE)]
    if strange:
        raise ValueError(f"{strange[0]} is not of a structure encoder")
    folder = Path(directory)
    if folder.resolve() == base.path.resolve():
        raise ValueError("a bundle is not written over itself")
    base.verify()
    folder.mkdir(parents=True, exist_ok=True)
    stored = {STRUCTURE_WEIGHTS: stored_tensors(tensors, half=True)}
    config = {n: v for n, v in base.config.items() if not n.startswith(STRUCTURE)} | dict(shape)
    (folder / MANIFEST).unlink(missing_ok=True)
    for name in set(base.files) - {CONFIG, STRUCTURE_WEIGHTS}:
        copyfile(base.path / name, folder / name)
    names = {*base.files, STRUCTURE_WEIGHTS, *(files or {})}
    return write_files(folder, config, stored, dict(files or {}), names)
