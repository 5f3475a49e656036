"""What of a test was in the training: proteins by their sequences, and pairs.

A head that has seen both proteins of a pair may know how often each interacts at all; a figure on
such pairs says little of pairs of new proteins. So a head for pairs keeps short keys of what it was
fitted on, and an evaluation counts test pairs by how many of their proteins were there.

Legend: M pairs, N proteins.
"""

from __future__ import annotations

import base64
import binascii
import logging
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from protclip_core.errors import ModelError
from protclip_core.heads.card import HeadCard
from protclip_core.heads.seen import pack_keys, unpack_keys
from protclip_core.tasks.ppi.pairs import codes_of

_log = logging.getLogger(__name__)
__all__ = ["CLASSES", "LeakReport", "TrainedOn"]

#: Pairs by how many of their proteins training has seen: 2, 1, 0.
CLASSES = ("c1", "c2", "c3")
#: Name of the pairs among what a card says of the fit.
PAIRS = "trained_pairs"
_MOST_BYTES = 1 << 30
Keys = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TrainedOn:
    """Keys of the proteins of a training, and its pairs.

    Attributes
    ----------
    proteins
        Sorted keys, see `protclip_core.heads.seen`.
    pairs
        Sorted codes (`codes_of`) of pairs of places in ``proteins``.
    """

    proteins: Keys
    pairs: Rows

    @classmethod
    def of(cls, keys: Keys, a: Rows, b: Rows) -> TrainedOn:
        """Take the proteins of pairs ``(M,)``, numbered in ``keys`` ``(N,)``."""
        proteins = np.unique(keys[np.concatenate([a, b])])
        one, other = np.searchsorted(proteins, keys[a]), np.searchsorted(proteins, keys[b])
        return cls(proteins, np.unique(codes_of(one, other, len(proteins))))

    @classmethod
    def of_card(cls, card: HeadCard, where: str) -> TrainedOn:
        """Read what a head says of itself; nothing where it says nothing.

        Raises
        ------
        ModelError
            What it says is damaged.
        """
        proteins = unpack_keys(card.trained_on, where)
        text = str(card.fit.get(PAIRS, ""))
        try:
            packed = zlib.decompressobj()
            data = packed.decompress(base64.b64decode(text, validate=True), _MOST_BYTES)
            pairs = np.cumsum(np.frombuffer(data, "<u4").astype(np.int64))
        except (ValueError, binascii.Error, zlib.error) as error:
            raise ModelError(
                f"its list of pairs is damaged ({error})", code="model.bad_head", where=where
            ) from error
        return cls(proteins, pairs)

    def pack(self) -> tuple[str, str]:
        """Write proteins and pairs as text for a card; pairs are left out beyond 2^32 apart."""
        steps = np.diff(self.pairs, prepend=0)
        if steps.max(initial=0) >= 1 << 32:
            steps = steps[:0]
        packed = zlib.compress(steps.astype("<u4").tobytes(), 9)
        return pack_keys(self.proteins), base64.b64encode(packed).decode("ascii")

    def has(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Tell which proteins were there."""
        return _among(keys, self.proteins)

    def has_pairs(self, a: Keys, b: Keys) -> npt.NDArray[np.bool_]:
        """Tell which pairs of keys ``(M,)`` were there, in either order."""
        known = self.has(a) & self.has(b)
        if not len(self.pairs):
            return np.zeros(len(a), bool)
        last = len(self.proteins) - 1
        one = np.minimum(np.searchsorted(self.proteins, a), last)
        other = np.minimum(np.searchsorted(self.proteins, b), last)
        codes = codes_of(one, other, len(self.proteins))
        return np.asarray(known & _among(codes, self.pairs))


@dataclass(frozen=True, kw_only=True)
class LeakReport:
    """What of M test pairs training has seen.

    Attributes
    ----------
    classes
        Pairs of each of `CLASSES`.
    pairs_seen
        Pairs that training had, by the sequences of both.
    proteins, proteins_seen
        Proteins of the test, and those of them whose sequence training had.
    other_names
        Of ``proteins_seen``, those that training had under another name; None where names of
        training are not known.
    by_sequence
        Whether sequences were compared; else names.
    """

    classes: dict[str, int]
    pairs_seen: int
    proteins: int
    proteins_seen: int
    other_names: int | None = None
    by_sequence: bool = True

    @classmethod
    def of(
        cls,
        trained: TrainedOn,
        keys: Keys,
        a: Rows,
        b: Rows,
        *,
        by_sequence: bool = True,
        train_proteins: Rows | None = None,
    ) -> LeakReport:
        """Compare test pairs with a training.

        Parameters
        ----------
        trained
            The training.
        keys
            Of all proteins ``(N,)``.
        a, b
            Numbers of the proteins of the test pairs ``(M,)``.
        by_sequence
            Whether keys are those of sequences.
        train_proteins
            Numbers of the training's proteins among the N, where they are known.
        """
        counted = np.bincount(seen_partners(trained, keys, a, b), minlength=3)
        tested = np.unique(np.concatenate([a, b]))
        seen = tested[trained.has(keys[tested])]
        others = None
        if train_proteins is not None:
            others = int((~np.isin(seen, train_proteins)).sum())
        return cls(
            classes=dict(zip(CLASSES, counted[::-1].tolist(), strict=True)),
            pairs_seen=int(trained.has_pairs(keys[a], keys[b]).sum()),
            proteins=len(tested),
            proteins_seen=len(seen),
            other_names=others,
            by_sequence=by_sequence,
        )

    def warn(self, part: str) -> None:
        """Warn where pairs of a part were in the training."""
        total = sum(self.classes.values())
        if not self.pairs_seen:
            return
        what = (
            "nothing new is measured" if self.pairs_seen == total else "see 'unseen' for the others"
        )
        _log.warning(
            "%s of %s %s pairs are training pairs, in either order: %s",
            f"{self.pairs_seen:,}",
            f"{total:,}",
            part,
            what,
        )

    def lines(self, part: str = "test") -> Iterator[str]:
        """Say it in words; ``part`` names the pairs that were compared with the training."""
        total = sum(self.classes.values())
        what = "sequences" if self.by_sequence else "names"
        shares = ", ".join(
            f"{word} {count:,} ({count / max(1, total):.0%})"
            for word, count in zip(("both", "one", "none"), self.classes.values(), strict=True)
        )
        yield f"{part} pairs by proteins that training has seen ({what} compared): {shares}"
        told = f"{self.pairs_seen:,} {part} pairs were training pairs; {self.proteins_seen:,} of "
        told += f"{self.proteins:,} {part} proteins were in training"
        if self.other_names:
            told += f", {self.other_names:,} of them under another name"
        yield told


def _among(values: npt.NDArray[Any], held: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Tell which values are among sorted ones."""
    if not len(held):
        return np.zeros(len(values), bool)
    places = np.minimum(np.searchsorted(held, values), len(held) - 1)
    return np.asarray(held[places] == values)


def seen_partners(trained: TrainedOn, keys: Keys, a: Rows, b: Rows) -> Rows:
    """Count of each pair ``(M,)`` how many of its proteins training has seen: 0, 1 or 2."""
    known = trained.has(keys)
    return known[a].astype(np.int64) + known[b]
