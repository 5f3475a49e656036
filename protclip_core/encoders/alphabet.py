"""The residue alphabet of ESM-2 and the turning of sequences into token ids.

The 33 tokens and their order are those of fair-esm's ``ESM-1b`` alphabet, which ESM-1b,
ESM-1v and ESM-2 share; transformers uses the same order. No torch here.
"""

from __future__ import annotations

import numpy as np

__all__ = ["BOS", "EOS", "MASK", "PAD", "TOKENS", "UNKNOWN", "encode", "residue_token"]

TOKENS: tuple[str, ...] = (
    "<cls>", "<pad>", "<eos>", "<unk>",
    "L", "A", "G", "V", "S", "E", "R", "T", "I", "D", "P", "K", "Q", "N", "F", "Y", "M", "H",
    "W", "C", "X", "B", "U", "Z", "O", ".", "-", "<null_1>", "<mask>",
)  # fmt: skip
BOS, PAD, EOS, UNKNOWN, MASK = 0, 1, 2, 3, 32

_CODES = np.full(256, UNKNOWN, dtype=np.uint8)
for _index, _token in enumerate(TOKENS):
    if len(_token) == 1:
        _CODES[ord(_token)] = _index
# J (leucine or isoleucine) has no token of its own; X (any residue) is the nearest that has.
_CODES[ord("J")] = TOKENS.index("X")


def encode(sequence: str) -> np.ndarray:
    """Turn residues into token ids with BOS before and EOS behind.

    Parameters
    ----------
    sequence
        Upper-case residues, ``L`` of them. X, B, U, Z and O have tokens of their own, J is read
        as X; any other character becomes ``<unk>`` (the readers never let one through).

    Returns
    -------
    numpy.ndarray
        Token ids, shape ``(L + 2,)``, uint8. An empty sequence gives ``[BOS, EOS]``.

    Examples
    --------
    >>> encode("MKJ").tolist()
    [0, 20, 15, 24, 2]
    """
    tokens = np.empty(len(sequence) + 2, dtype=np.uint8)
    tokens[0], tokens[-1] = BOS, EOS
    tokens[1:-1] = _CODES[np.frombuffer(sequence.encode("latin-1", "replace"), dtype=np.uint8)]
    return tokens


def residue_token(residue: str) -> int:
    """Token id of one residue letter.

    Examples
    --------
    >>> residue_token("A")
    5
    """
    return int(_CODES[ord(residue)])
