"""What a head was fitted on, as short keys in its card: so that nothing is measured on it again.

A key is the first 8 bytes of a sha256, as the embedding store has one of each sequence. Among a
million keys, a sequence that was not there is taken for one that was once in 10^13 times.

Legend: N rows.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable

import numpy as np

from protclip_core.errors import ModelError

__all__ = ["keys_of_digests", "keys_of_texts", "pack_keys", "unpack_keys"]


def keys_of_digests(digests: np.ndarray) -> np.ndarray:
    """Give keys ``(N,)`` uint64 of sha256 digests ``(N, 32)`` uint8."""
    return np.ascontiguousarray(digests[:, :8]).view("<u8")[:, 0].astype(np.uint64)


def keys_of_texts(texts: Iterable[str]) -> np.ndarray:
    """Give keys ``(N,)`` uint64 of texts, such as sequences or pairs of ids."""
    hashed = [hashlib.sha256(t.encode("utf-8", "surrogateescape")).digest()[:8] for t in texts]
    return np.frombuffer(b"".join(hashed), "<u8").astype(np.uint64)


def pack_keys(keys: np.ndarray) -> str:
    """Write keys as text for a card, each once."""
    return base64.b64encode(np.unique(keys).astype("<u8").tobytes()).decode("ascii")


def unpack_keys(text: str, where: str) -> np.ndarray:
    """Read keys back, sorted, uint64.

    Raises
    ------
    ModelError
        The card does not hold keys.
    """
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), "<u8").astype(np.uint64)
    except (ValueError, binascii.Error) as error:
        raise ModelError(
            f"its list of what it was fitted on is damaged ({error})",
            code="model.bad_head",
            where=where,
        ) from error
