"""Chains as bytes, for files that live as long as a run."""

from __future__ import annotations

import struct

import numpy as np

from protclip_core.io.structures.chain import BACKBONE, Chain

__all__ = ["pack_chain", "unpack_chain"]

_HEAD = struct.Struct("<I?")
_ATOMS = 3 * len(BACKBONE)


def pack_chain(chain: Chain) -> bytes:
    """Return all of a chain but its id, so that equal structures are equal bytes."""
    parts = [
        _HEAD.pack(len(chain), chain.confidence is not None),
        chain.sequence.encode("ascii"),
        chain.starts.tobytes(),
        chain.backbone.astype("<f4").tobytes(),
    ]
    if chain.confidence is not None:
        parts.append(chain.confidence.astype("<f4").tobytes())
    return b"".join(parts)


def unpack_chain(content: bytes, id: str = "") -> Chain:
    """Return what `pack_chain` was given, under an id."""
    length, has_confidence = _HEAD.unpack_from(content)
    place = _HEAD.size
    sequence = content[place : place + length].decode("ascii")
    place += length
    starts = np.frombuffer(content, bool, length, place)
    place += length
    backbone = np.frombuffer(content, "<f4", _ATOMS * length, place)
    place += backbone.nbytes
    confidence = np.frombuffer(content, "<f4", length, place) if has_confidence else None
    shaped = backbone.reshape(length, len(BACKBONE), 3).astype(np.float32)
    return Chain(
        id,
        sequence,
        shaped,
        starts.copy(),
        None if confidence is None else confidence.astype(np.float32),
    )
