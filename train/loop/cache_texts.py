"""Vectors of a frozen text tower, computed once per run: texts of the pairs, and GO terms."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from protclip_core.errors import UsageError
from train.config.run import RunConfig
from train.data.cached_tables import hash_tensors, keep, open_kept
from train.data.go_bank import GoBank
from train.data.text_variants import open_variants, write_variants
from train.loop.prepare import Prepared
from train.loop.ranks import Ranks
from train.loop.run_folder import TOKENIZER
from train.loop.trainee import Trainee

__all__ = ["cache_texts"]

_log = logging.getLogger(__name__)
_TERMS, _STAGE = "go_vectors.npy", "texts"


def cache_texts(
    config: RunConfig, run_dir: Path, ready: Prepared, model: Trainee, ranks: Ranks
) -> None:
    """Load or compute the vectors of a frozen text tower; do nothing for one that learns.

    Where the text encoder alone is frozen, texts are kept as they are before the projection.
    The first rank computes what is not in the folder yet, and the others wait. It comes before
    the model is shared out to the ranks.

    Raises
    ------
    UsageError
        Variants of texts are to be kept, and the text encoder learns.
    ResourceError
        No room for them.
    """
    number = config.text.cache_variants if config.objectives.on_texts else 0
    whole = model.towers.text_frozen
    if not model.towers.encoders_frozen[1] and number:
        raise UsageError(
            "needs a frozen text encoder",
            code="usage.not_frozen",
            where="[text] cache_variants",
            hint="set frozen, or start from a model",
        )
    if not whole and not number:
        return
    facts = _facts(config, run_dir, model)
    variants = facts | _facts_of_pairs(config, ready) | {"variants": number}
    if not whole:
        # Before the projection, which learns.
        variants |= {"pooled": True, "text": {"encoder": facts["text"]["encoder"]}}
    encode = model.embed_texts if whole else model.encode_texts
    width = model.towers.projection_dim if whole else model.towers.text_encoder.config.hidden_size
    if ranks.first:
        if number and open_variants(run_dir, variants) is None:
            _log.info("encoding %d texts of each protein, once", number)
            write_variants(
                run_dir,
                variants,
                ready.data.source,
                ready.data.texts,
                lambda ids, mask: encode(ids.to(ranks.device), mask.to(ranks.device)),
                number=number,
                width=width,
                seed=config.train.seed,
                whole=config.data.texts == "whole",
            )
        if whole:
            _keep_terms(run_dir, ready, model, facts)
        ranks.prepared(_STAGE)
    else:
        ranks.wait_for_first(_STAGE)
    if number:
        ready.data.variants = open_variants(run_dir, variants)
    if whole and ready.bank is not None and ready.every is not None:
        found = open_kept(run_dir / _TERMS, facts | _facts_of_terms(ready.every))
        assert found is not None
        model.every_vectors = torch.from_numpy(np.array(found)).to(ranks.device)
        if model.go is not None:
            rows = np.searchsorted(ready.every.columns, ready.bank.columns)
            model.go.vectors = model.every_vectors[torch.from_numpy(rows).to(ranks.device)]


def _keep_terms(run_dir: Path, ready: Prepared, model: Trainee, facts: Mapping[str, Any]) -> None:
    every, path = ready.every, run_dir / _TERMS
    if every is None:
        return
    facts = {**facts, **_facts_of_terms(every)}
    if open_kept(path, facts) is None:
        _log.info("encoding %d GO terms, once", len(every.columns))
        vectors = model.unit_bank(every).cpu().numpy()
        with keep(path, facts, vectors.shape, np.float32) as add:
            add(vectors)


def _facts(config: RunConfig, run_dir: Path, model: Trainee) -> dict[str, Any]:
    towers = model.towers
    sides = {"encoder": towers.text_encoder, "projection": towers.text_projection}
    return {
        "tokenizer": hashlib.sha256((run_dir / TOKENIZER).read_bytes()).hexdigest(),
        "text": {name: hash_tensors(side.state_dict()) for name, side in sides.items()},
        "precision": config.train.precision,
    }


def _facts_of_pairs(config: RunConfig, ready: Prepared) -> dict[str, Any]:
    data = config.data
    composed = ready.wordings is not None and ready.wordings.composed
    told = {"wordings": ready.wordings.record} if ready.wordings and composed else {}
    return told | {
        "pairs": ready.data.source.fingerprint,
        "seed": config.train.seed,
        "texts": data.texts,
        "tag_dropout": data.tag_dropout,
        "max_go_names": data.max_go_names,
        "max_tokens": ready.data.texts.max_tokens,
    }


def _facts_of_terms(bank: GoBank) -> dict[str, Any]:
    digest = hashlib.sha256(np.ascontiguousarray(bank.columns).tobytes())
    for rows, ids, mask in bank.batches:
        for part in (rows, ids, mask):
            digest.update(part.contiguous().numpy().tobytes())
    return {"terms": digest.hexdigest()}
