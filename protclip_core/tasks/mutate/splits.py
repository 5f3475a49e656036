"""Ways to hold variants of an assay out: at random, by position, and by number of mutations.

Legend: N variants.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from protclip_core.heads.folds import deal
from protclip_core.variants import Variant

__all__ = ["FOLDED_ROWS", "LEAST_ROWS", "HeldOut", "held_out_splits"]

_log = logging.getLogger(__name__)

_PARTS = 5
#: Up to this many variants, each fifth is held out once; beyond them one fifth is enough to tell.
FOLDED_ROWS = 500
#: Fewer to fit on, or to measure on, and a split is left out.
LEAST_ROWS = 20
#: Least share of the variants that the few mutations of a split by count have.
_FEW = 0.2


@dataclass(frozen=True, eq=False)
class HeldOut:
    """One way to hold out.

    Attributes
    ----------
    name
        ``"random"``, ``"position"``, or ``"count <= 2"``: fitted on those, measured on the rest.
    folds
        Rows to fit on and to measure on, ``(N,)`` bool each; no row is measured on twice.
    """

    name: str
    folds: list[tuple[np.ndarray, np.ndarray]]

    @property
    def tested(self) -> np.ndarray:
        """Rows that are measured on ``(N,)`` bool."""
        found: np.ndarray = np.any([test for _, test in self.folds], axis=0)
        return found


def held_out_splits(variants: Sequence[Variant], seed: int) -> Iterator[HeldOut]:
    """Make the splits that the variants allow; one that they do not is told in the log.

    By position, no variant that is fitted on changes a position of those measured on; variants
    that change positions of both kinds are in neither.

    Parameters
    ----------
    variants
        Distinct.
    seed
        Of what is drawn.
    """
    count = len(variants)
    places = [{position for _, position, _ in variant.substitutions} for variant in variants]
    own = deal(np.arange(count), [1.0] * _PARTS, seed)
    parts = range(_PARTS if count <= FOLDED_ROWS else 1)
    splits = [HeldOut("random", [(own != part, own == part) for part in parts])]
    positions = sorted(set().union(*places))
    dealt = dict(zip(positions, deal(np.arange(len(positions)), [1.0] * _PARTS, seed)))
    folds = []
    for part in parts:
        inside = np.array([sum(dealt[p] == part for p in own) for own in places])
        sizes = np.array([len(own) for own in places])
        folds.append((inside == 0, (inside == sizes) & (sizes > 0)))
    splits.append(HeldOut("position", folds))
    numbers = np.array([len(variant.substitutions) for variant in variants])
    if count and (few := _few(numbers)) is not None:
        splits.append(HeldOut(f"count <= {few}", [(numbers <= few, numbers > few)]))
    for split in splits:
        least = min((int(train.sum()) for train, _ in split.folds), default=0)
        tested = int(split.tested.sum())
        if least < LEAST_ROWS or tested < LEAST_ROWS:
            _log.warning(
                "no split %s: %d variants to fit on and %d to measure on, fewer than %d",
                split.name,
                least,
                tested,
                LEAST_ROWS,
            )
            continue
        yield split


def _few(numbers: np.ndarray) -> int | None:
    """Give the least number of mutations up to which there are enough variants; None: no split."""
    for few in range(1, int(numbers.max())):
        if (numbers <= few).sum() >= max(LEAST_ROWS, _FEW * len(numbers)):
            return few
    return None
