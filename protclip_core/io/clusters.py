"""Groups of similar sequences, so that no part of a data set holds kin of another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from protclip_core.errors import UsageError
from protclip_core.io.aligners import Aligner, align, find_aligner

__all__ = ["COVERAGE", "IDENTITY", "connected", "similar_groups", "some_aligner"]

#: Percent of identical residues, and of the shorter side's residues that are aligned, from which
#: two sequences are kin.
IDENTITY, COVERAGE = 30.0, 50.0


def some_aligner() -> Aligner | None:
    """Find MMseqs2 or DIAMOND on the path; ``None`` where neither is."""
    for name in ("mmseqs", "diamond"):
        try:
            return find_aligner(name)
        except UsageError:
            continue
    return None


def similar_groups(
    aligner: Aligner, sequences: Sequence[str], *, threads: int | None = None
) -> np.ndarray:
    """Group sequences that are linked, over any number of others, by an alignment.

    Parameters
    ----------
    aligner
        From `some_aligner`.
    sequences
        Residues; the same may come again.
    threads
        Of the aligner; default one a core.

    Returns
    -------
    numpy.ndarray
        Number of the group of each sequence ``(N,)``. Two sequences in different groups have no
        alignment, that the aligner found, of `IDENTITY` over `COVERAGE` of one of them.

    Raises
    ------
    WorkerLostError, ResourceError
        As `protclip_core.io.aligners.align`.
    """
    distinct = {sequence: number for number, sequence in enumerate(dict.fromkeys(sequences))}
    hits = align(aligner, distinct, distinct, threads=threads)
    # Of a pair the shorter one is covered the more, and both are queries.
    links = [(h.query, h.target) for h in hits if h.identity >= IDENTITY and h.coverage >= COVERAGE]
    groups = connected(len(distinct), links)
    return groups[[distinct[sequence] for sequence in sequences]]


def connected(count: int, links: Iterable[tuple[int, int]]) -> np.ndarray:
    """Give the number of the connected component of each node of a graph ``(count,)``."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = np.array(list(links), np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), (count, count))
    found: np.ndarray = connected_components(graph, directed=False)[1].astype(np.int64)
    return found
