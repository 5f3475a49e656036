"""Variants as a head of one assay takes them: matched, scored without it, with their vectors.

Legend: N variants, D width of a vector.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from protclip_core.engines.masked import MaskedEngine
from protclip_core.errors import InputError, ModelError, UsageError
from protclip_core.heads.card import HeadInput
from protclip_core.models.info import describe_model
from protclip_core.models.loading import load_model
from protclip_core.models.masked import MaskedReader
from protclip_core.progress import Progress
from protclip_core.store.reader import EmbeddingStore
from protclip_core.tasks.mutate.input import AskedRow, Proteins, match_rows
from protclip_core.tasks.mutate.scores import MarginalScorer, Method, Percentile, ProteinAsked
from protclip_core.variants import Variant
from protclip_core.variants.substitution_prior import prior_table, resolve_prior

__all__ = [
    "SCORE_COLUMNS",
    "VariantVectors",
    "ZeroShot",
    "at_home",
    "read_asked",
    "reconstructed",
    "score_of",
    "usable",
    "zero_shot_of_prior",
]

_log = logging.getLogger(__name__)

#: Names of a column of measured values, the surest first; compared without case.
SCORE_COLUMNS = ("DMS_score", "fitness", "score", "target", "value", "measured", "label", "y")


def read_asked(
    path: str, proteins: Proteins, offset: int, variant_column: str | None
) -> list[AskedRow]:
    """Read variants; without a FASTA file, what a row states is taken for the wild type.

    A row that is not of substitutions alone, or has residues beyond the 20, ends with a reason.
    """
    rows = match_rows(path, proteins, offset=offset, variant_column=variant_column)
    for row in rows:
        if not len(proteins) and row.sequence is None and row.variant is not None:
            row.reason = row.variant.unscorable or ""
        if row.variant is not None and not row.reason:
            row.reason = _unfit(row.variant)
    return rows


def _unfit(variant: Variant) -> str:
    if variant.is_wild_type or variant.only_substitutions:
        return ""
    return "is more than substitutions, and a head of an assay takes these alone"


def usable(rows: Sequence[AskedRow]) -> list[int]:
    """Give the numbers of the rows that can be used."""
    return [number for number, row in enumerate(rows) if row.variant is not None and not row.reason]


def at_home(variant: Variant, offset: int) -> Variant:
    """Give a variant with positions counted in the sequence."""
    moved = tuple(
        replace(change, start=change.start - offset, end=change.end - offset)
        for change in variant.changes
    )
    return Variant(moved, variant.protein)


def reconstructed(variants: Sequence[Variant]) -> str:
    """Put a wild type together from what variants say was there; X elsewhere.

    Raises
    ------
    InputError
        Two variants name different residues at a position; a position before the first.
    """
    letters: dict[int, str] = {}
    for variant in variants:
        for old, position, _ in variant.substitutions:
            if position < 1:
                raise InputError(
                    f"position {position} is before the first",
                    code="input.bad_variant",
                    hint="use --offset",
                )
            if letters.setdefault(position, old) != old:
                raise InputError(
                    f"variants name both {letters[position]} and {old} at position {position}",
                    code="input.two_sequences",
                    hint="give the wild type with --sequences",
                )
    last = max(letters, default=0)
    return "".join(letters.get(position, "X") for position in range(1, last + 1))


def score_of(rows: Sequence[AskedRow], column: str | None, where: str) -> str:
    """Find the column of measured values.

    Raises
    ------
    UsageError
        None of that name.
    InputError
        None that can be told.
    """
    names = list(rows[0].extra) if rows else []
    shown = ", ".join(names[:8]) or "none"
    if column is not None:
        if column not in names:
            raise UsageError(
                f"no column of values is named {column!r}",
                code="usage.unknown_value",
                where=where,
                hint=f"it has: {shown}",
            )
        return column
    known = {name.lower(): name for name in reversed(names)}
    for wanted in SCORE_COLUMNS:
        if wanted.lower() in known:
            return known[wanted.lower()]
    raise InputError(
        "has no column of measured values that can be told",
        code="input.missing_column",
        where=where,
        hint=f"name it with --score-column; it has: {shown}",
    )


def number_of(text: str) -> float:
    """Read a number; NaN where it is none."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


@dataclass(frozen=True, kw_only=True)
class ZeroShot:
    """How variants are scored without the assay.

    Attributes
    ----------
    model
        Name or path.
    method
        ``"masked-marginals"`` or ``"wt-marginals"``.
    device, workers
        As in `MutateRequest`.
    """

    model: str
    method: str = "masked-marginals"
    device: str = "auto"
    workers: int | None = None

    def input(self, width: int, features: str) -> HeadInput:
        """Say which model a head leans on."""
        info = describe_model(self.model)
        if info.bundle is None:
            raise ModelError(
                f"model {info.name} is not a bundle, so a head cannot name its weights",
                code="model.not_a_bundle",
                hint="import it with protclip models import",
            )
        return HeadInput(
            width=width,
            model=info.name,
            weights_sha256=info.bundle.weights_sha256,
            config_sha256=info.config_sha256,
            pooling=info.pooling,
            space=self.method,
            layer=info.num_layers or 0,
            features=features,
        )

    def scores(self, sequence: str, variants: Sequence[Variant], progress: Progress) -> np.ndarray:
        """Score variants of one protein ``(N,)``, positions counted in it.

        Raises
        ------
        ModelError, UsageError, ResourceError
            The model cannot be loaded or predicts no residues.
        """
        distinct = tuple(dict.fromkeys(variants))
        place = {variant: i for i, variant in enumerate(distinct)}
        model = load_model(describe_model(self.model), device=self.device)
        added = resolve_prior("auto", model.info.architecture)
        with MaskedEngine(MaskedReader(model), workers=self.workers) as engine:
            scorer = MarginalScorer(engine, Method(self.method), prior=added)
            asked = ProteinAsked(sequence, distinct, 0, Percentile.NONE)
            progress.start(f"{model.info.name}: scoring", scorer.num_passes(asked), "passes")
            found = scorer.score(asked, progress.advance).scores
            progress.finish()
        if not np.isfinite(found).all():
            bad = distinct[int((~np.isfinite(found)).argmax())]
            raise ModelError(f"model {model.info.name} does not score {bad}", code="model.no_score")
        return found[[place[variant] for variant in variants]]


def zero_shot_of_prior(variants: Sequence[Variant]) -> np.ndarray:
    """Score variants by BLOSUM62 and hydropathy alone ``(N,)``."""
    from protclip_core.variants.residues import LETTERS
    from protclip_core.variants.substitution_prior import share_ratios

    table = prior_table().copy()
    count = len(share_ratios())
    table[:count, :count] += share_ratios()
    index = {letter: i for i, letter in enumerate(LETTERS)}
    return np.array(
        [sum(table[index[a], index[b]] for a, _, b in v.substitutions) for v in variants], float
    )


class VariantVectors:
    """Vectors of variants from a store whose ids are the variants, as ``A42G:L50P``.

    Parameters
    ----------
    path
        Of the store.
    """

    def __init__(self, path: str) -> None:
        with EmbeddingStore.open(Path(path)) as store:
            self.attributes: dict[str, Any] = dict(store.attributes)
            self.width = store.dim
            self._rows = {id: row for row, id in enumerate(store.ids)}
            self._vectors = store.read(slice(None))

    def find(self, row: AskedRow, variant: Variant) -> np.ndarray | None:
        """Give the vector of a variant by its text, or as ProteinGym writes it; None: none."""
        texts = (row.text, str(row.variant), str(variant), f"{row.protein_id}:{row.text}")
        found = next((self._rows[text] for text in texts if text in self._rows), None)
        if found is None or not np.isfinite(self._vectors[found]).all():
            return None
        return np.asarray(self._vectors[found], np.float32)
