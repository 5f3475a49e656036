"""Head files of version 1: a zip of a card and of what skops wrote of an estimator.

Neither skops nor scikit-learn is needed: of the tree that skops wrote, names of classes, plain
values and arrays are taken, and nothing is created of them or run. What is found goes through
`protclip_core.heads.convert.form_of`, as an estimator in memory does.
"""

from __future__ import annotations

import hashlib
import io
import json
from types import SimpleNamespace
from typing import Any

import numpy as np

from protclip_core.errors import ModelError, UsageError
from protclip_core.heads.convert import form_of
from protclip_core.io.zips import unpack_entries

__all__ = ["is_old", "read_old"]

_CARD, _ESTIMATOR, _SCHEMA = "head.json", "estimator.skops", "schema.json"
_CHECKSUM_BYTES = 64
_FIT_AGAIN = "fetch or fit the head again"


def is_old(data: bytes) -> bool:
    """Tell whether this may be a head file of version 1."""
    return data.startswith(b"PK\x03\x04")


def read_old(data: bytes, where: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Give card and tensors as a file of this version would have them; the card is not checked.

    Raises
    ------
    ModelError
        A damaged file, or an estimator of a kind that heads no longer have (it is named).
    """
    if hashlib.sha256(data[:-_CHECKSUM_BYTES]).hexdigest().encode() != data[-_CHECKSUM_BYTES:]:
        raise ModelError(
            "not a head file, or one that was cut or changed (its checksum does not match)",
            code="model.hash_mismatch",
            where=where,
            hint=_FIT_AGAIN,
        )
    entries = unpack_entries(data, where, _FIT_AGAIN)
    try:
        content = json.loads(entries[_CARD])
        if (content["format"], content["format_version"]) != ("protclip-head", 1):
            raise ValueError(f"format {content['format']!r} {content['format_version']!r}")
        inner = unpack_entries(entries[_ESTIMATOR], where, _FIT_AGAIN)
        estimator = _Tree(inner).part(json.loads(inner[_SCHEMA]))
        form = form_of(estimator)
        content["form"] = {"kind": form.kind, "link": form.link}
        answers = content["test"]["values" if content.get("regression") else "probabilities"]
        tensors = {f"form.{name}": array for name, array in form.arrays.items()}
        tensors["test.inputs"] = np.array(content["test"]["inputs"], np.float64)
        tensors["test.answers"] = np.array(answers, np.float64)
        return content, tensors
    except UsageError as error:
        raise ModelError(
            f"an old head that this protclip cannot read: {error.message}",
            code="model.old_head",
            where=where,
            hint=_FIT_AGAIN,
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError, OSError, EOFError, RecursionError,
            MemoryError) as error:  # fmt: skip
        reason = str(error).strip().partition("\n")[0][:120]
        raise ModelError(
            f"cannot be read as a head file ({type(error).__name__}: {reason})",
            code="model.bad_head",
            where=where,
            hint=_FIT_AGAIN,
        ) from error


class _Tree:
    """What skops wrote, as plain values."""

    def __init__(self, entries: dict[str, bytes]) -> None:
        self._entries = entries
        self._known: dict[int, Any] = {}

    def part(self, node: dict[str, Any]) -> Any:
        """Give what a node stands for; an object is a `SimpleNamespace` with its class's name."""
        kind, content = node["__loader__"], node.get("content")
        found: Any = None
        if kind == "CachedNode":
            return self._known[node["__id__"]]
        if kind == "JsonNode":
            found = json.loads(str(content))
        elif kind == "NdArrayNode" and node.get("type") == "numpy":
            found = np.load(io.BytesIO(self._entries[node["file"]]), allow_pickle=False)
        elif kind == "DictNode":
            found = {str(name): self.part(one) for name, one in dict(content or {}).items()}
        elif kind in ("ListNode", "TupleNode"):
            found = [self.part(one) for one in content or ()]
        elif kind == "ObjectNode":
            fields = self.part(content) if isinstance(content, dict) else None
            found = SimpleNamespace(**fields if isinstance(fields, dict) else {})
            found.class_name = str(node["__class__"])
        elif kind != "TypeNode":
            found = SimpleNamespace(class_name=f"{node.get('__module__')}.{node.get('__class__')}")
        self._known[node.get("__id__", -1)] = found
        return found
