"""How proteins are cut and grouped: windows of long ones, batches of short ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["token_batches", "window_starts"]


def window_starts(num_residues: int, width: int, overlap: int) -> list[int]:
    """First residues (from 0) of overlapping windows that cover a protein.

    Windows are all ``width`` long, the least number whose neighbours overlap by at least
    ``overlap``, spread evenly. A protein of at most ``width`` residues has one.

    Examples
    --------
    >>> window_starts(10, 4, 1)
    [0, 3, 6]
    >>> window_starts(4, 4, 1)
    [0]
    """
    if num_residues <= width:
        return [0]
    steps = -(-(num_residues - width) // (width - overlap))
    return [round(i * (num_residues - width) / steps) for i in range(steps + 1)]


def token_batches(num_residues: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Cut a list of lengths into neighbouring groups of at most ``batch_tokens`` tokens.

    A protein that is longer by itself makes a group of its own.
    """
    group: list[int] = []
    total = 0
    for index, length in enumerate(num_residues):
        if group and total + length + 2 > batch_tokens:
            yield group
            group, total = [], 0
        group.append(index)
        total += length + 2
    if group:
        yield group
