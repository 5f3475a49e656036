"""Which files of a transformers repository protclip needs, and which repositories it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from protclip_core.errors import ModelError
from protclip_core.io.json_fields import one_line

__all__ = ["pick_files", "refuse_remote_code", "some_names"]

#: Files next to the weights that an importer reads.
_SMALL_FILES = (
    "config.json",
    "tokenizer.json",
    "vocab.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
#: Weights by preference: what code cannot hide in comes first.
_WEIGHTS = (("model", "safetensors"), ("pytorch_model", "bin"))


def pick_files(available: Iterable[str], *, where: str) -> tuple[str, ...]:
    """Choose what an importer needs of a repository that transformers reads.

    Parameters
    ----------
    available
        Names of all its files.
    where
        For the message.

    Returns
    -------
    tuple of str
        ``config.json`` first, then the tokenizer's files, then the weights: safetensors, else
        PyTorch's, in one file or in shards with their index. Never code, nor weights for others.

    Raises
    ------
    ModelError
        There are no such weights, or shards of them are missing.
    """
    names = set(available)
    small = tuple(name for name in _SMALL_FILES if name in names)
    for stem, ending in _WEIGHTS:
        if f"{stem}.{ending}" in names:
            return (*small, f"{stem}.{ending}")
        index = f"{stem}.{ending}.index.json"
        pattern = re.compile(re.escape(stem) + r"-(\d{5})-of-(\d{5})\." + ending)
        shards = sorted(name for name in names if pattern.fullmatch(name))
        if index in names and shards:
            wanted = int(shards[0].rpartition("-of-")[2][:5])
            if len(shards) != wanted:
                raise ModelError(
                    f"has {len(shards)} of {wanted} shards of {stem}",
                    code="model.missing_file",
                    where=where,
                )
            return (*small, index, *shards)
    raise ModelError(
        f"has neither model.safetensors nor pytorch_model.bin; it has {some_names(names)}",
        code="model.no_weights",
        where=where,
        hint="fetch it by hand and use: protclip models import",
    )


def refuse_remote_code(config: Any, where: str) -> None:
    """Refuse a model that is only complete with code of its own.

    Parameters
    ----------
    config
        Content of ``config.json``.
    where
        For the message.

    Raises
    ------
    ModelError
        The configuration names Python code to be run (``auto_map``, custom pipelines).
    """
    if not isinstance(config, Mapping):
        raise ModelError(
            f"config.json is {str(config)[:40]!r}, not an object",
            code="model.bad_json",
            where=where,
        )
    for key in ("auto_map", "custom_pipelines"):
        if config.get(key):
            named = json.dumps(config[key])[:100]
            raise ModelError(
                f"wants its own code to be run ({key}: {named}), which protclip never does",
                code="model.untrusted",
                where=where,
                hint="use a model that transformers reads without trust_remote_code",
            )


def some_names(names: Iterable[str]) -> str:
    """List a few names for a message."""
    listed = sorted(names)
    more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
    return (", ".join(one_line(name, 60) for name in listed[:5]) or "none") + more
