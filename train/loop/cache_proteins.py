"""Vectors of whole proteins, computed once by a frozen protein encoder."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np

from protclip_core.encoders.alphabet import BOS, EOS
from protclip_core.encoders.packing import pack
from protclip_core.errors import UsageError
from train.config.run import RunConfig
from train.data.cached_tables import hash_tensors, keep, open_kept
from train.data.pairs import PairSource
from train.loop.prepare import Prepared
from train.loop.ranks import Ranks
from train.loop.trainee import Trainee

__all__ = ["cache_proteins"]

_log = logging.getLogger(__name__)
_VECTORS, _STAGE = "protein_vectors.npy", "proteins"
#: Tokens that go through the encoder together.
_TOKENS_OF_A_BATCH = 16_384


def cache_proteins(
    config: RunConfig, run_dir: Path, ready: Prepared, model: Trainee, ranks: Ranks
) -> None:
    """Load or compute the vectors of all training proteins, if the configuration asks for them.

    They are those before the projection, of the whole protein up to the longest of ``crops``. The
    first rank computes what is not in the folder yet, and the others wait.

    Raises
    ------
    UsageError
        The encoder learns, or an objective looks at residues.
    ResourceError
        No room for them.
    """
    if not config.protein.cache:
        return
    on = config.objectives
    if not model.towers.encoders_frozen[0] or on.on_residues:
        what = "objectives on whole proteins" if on.on_residues else "a frozen protein encoder"
        raise UsageError(f"needs {what}", code="usage.not_frozen", where="[protein] cache")
    source, limit = ready.data.source, max(config.data.crops)
    facts: dict[str, Any] = {
        "encoder": hash_tensors(model.towers.protein_encoder.state_dict()),
        "proteins": _hash(source),
        "residues": limit,
        "pooling": config.model.pooling,
        "precision": config.train.precision,
    }
    path = run_dir / _VECTORS
    if ranks.first:
        if open_kept(path, facts) is None:
            _log.info("encoding %d proteins, once", len(source.lengths))
            _encode(path, facts, source, limit, model, ranks)
        ranks.prepared(_STAGE)
    else:
        ranks.wait_for_first(_STAGE)
    ready.data.pooled = open_kept(path, facts)


def _encode(
    path: Path, facts: dict[str, Any], source: PairSource, limit: int, model: Trainee, ranks: Ranks
) -> None:
    # In the order of their lengths, so that all passes are about as large.
    order = np.argsort(source.lengths, kind="stable")
    found: np.ndarray | None = None
    start = 0
    while start < len(order):
        stop, tokens = start, 0
        while stop < len(order) and (stop == start or tokens < _TOKENS_OF_A_BATCH):
            tokens += min(int(source.lengths[order[stop]]), limit)
            stop += 1
        rows = order[start:stop]
        packed = pack(
            np.concatenate(([BOS], source.residues(int(row))[:limit], [EOS])) for row in rows
        )
        vectors = model.encode_proteins(packed.to(ranks.device)).cpu().numpy()
        if found is None:
            found = np.empty((len(order), vectors.shape[1]), dtype=np.float16)
        found[rows] = vectors
        start = stop
    assert found is not None
    with keep(path, facts, found.shape, np.float16) as add:
        add(found)


def _hash(source: PairSource) -> str:
    digest = hashlib.sha256()
    for row in range(len(source.lengths)):
        digest.update(np.ascontiguousarray(source.residues(row)).tobytes())
    return digest.hexdigest()
