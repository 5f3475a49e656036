"""Property-driven sampling of ProtAnno, in the paper's and in the release's form, and uniform.

A cluster is one pair of confidence C (the level of protein existence, 1 the best) and coverage
R (the share of the four properties that an entry has). ProtCLIP, AAAI 2025, gives a cluster of
N entries the probability ``(1/C)^a R^b N^c``, normalised over the clusters; the official
release drops what has fewer than three properties or C above 3, and keeps the rest with
probability ``sqrt(R) / C^3``.

**One pass, constant memory.** The paper's form needs N, which is known at the end only. But
with c between 0 and 1 the probability to keep an entry can only fall while counts grow: so what
passes under the counts so far is written to a spool, and the spool is thinned with the final
counts. For a sample of T among N entries the spool holds about T (1 + ln(N/T)). The result is
exactly that of two passes. (With any other c the whole input is spooled.)

**Independent draws.** Whether an entry is kept is decided by a number that is a hash of the
seed and its accession, compared with the probability of its cluster. So the sample depends
neither on the order of the input, nor on how it is cut into files, nor on where a run was
interrupted; and a sample of a larger target holds the smaller one of the same seed.

Legend: counts are ``(6, 5)`` integers: rows are levels, row 0 unknown; columns are the number
of properties, 0 to 4.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from protclip_core.errors import UsageError

__all__ = ["FORMS", "SHAPE", "Sampling", "new_counts"]

FORMS = ("none", "paper", "release", "uniform")
SHAPE = (6, 5)
_DEFAULTS: dict[str, tuple[float, ...]] = {"paper": (1.0, 1.0, 1.0), "release": (3.0, 0.5)}
_LEAST_PROPERTIES, _LAST_LEVEL = 3, 3


def new_counts() -> np.ndarray:
    """Return counts of nothing."""
    return np.zeros(SHAPE, dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How entries are chosen.

    Parameters
    ----------
    form
        ``none`` keeps every entry with a property; ``paper``, ``release`` and ``uniform`` as the
        module says. No form but ``none`` can keep an entry without any property.
    exponents
        Of 1/C, R and N in the paper's form (default 1, 1, 1), of 1/C and R in the release's
        (default 3, 0.5).
    target
        Expected number of entries kept. ``uniform`` needs it. For the paper's form the default
        is the unnormalised weight: of a cluster ``(1/C)^a R^b N^c`` entries are expected, which
        with c = 1 keeps each entry with probability ``(1/C)^a R^b``. A cluster that has fewer
        entries than are its due is kept whole, and the others share what is left.
    unknown_level
        Level that entries of unknown existence are weighted as. The default, 4, is UniProt's own
        for what has no evidence of protein or transcript and no homologue ("predicted"); the
        release's form drops it. They stay a cluster of their own in the counts.
    seed
        Of the draws.

    Raises
    ------
    UsageError
        A value that is out of range, or that the form has no use for.
    """

    form: str = "none"
    exponents: tuple[float, ...] | None = None
    target: int | None = None
    unknown_level: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise UsageError(
                f"no sampling {self.form!r}; there are {', '.join(FORMS)}",
                code="usage.unknown_value",
            )
        if self.exponents is not None:
            wanted = len(_DEFAULTS.get(self.form, ()))
            if len(self.exponents) != wanted:
                message = (
                    f"sampling {self.form} takes {wanted} exponents, not {len(self.exponents)}"
                )
                raise UsageError(message, code="usage.bad_value", where="--exponents")
            if not np.isfinite(self.exponents).all():
                raise UsageError(
                    f"{self.exponents} are not all finite",
                    code="usage.bad_value",
                    where="--exponents",
                )
            if min(self.exponents[:2]) < 0:
                message = f"{self.exponents} would prefer what is uncertain, or says little"
                raise UsageError(
                    message,
                    code="usage.bad_value",
                    where="--exponents",
                    hint="give 0 or more for 1/C and R",
                )
        if self.target is not None and self.form in ("none", "release"):
            raise UsageError(
                f"sampling {self.form} has its own size",
                code="usage.conflicting_options",
                where="--target",
                hint="leave it out",
            )
        if self.target is not None and self.target < 1:
            raise UsageError(
                f"{self.target} entries are not a sample", code="usage.bad_value", where="--target"
            )
        if self.form == "uniform" and self.target is None:
            raise UsageError(
                "uniform sampling needs the number of entries",
                code="usage.missing_option",
                hint="add --target N",
            )
        if not 1 <= self.unknown_level <= 5:
            raise UsageError(
                f"{self.unknown_level} is not 1 to 5",
                code="usage.bad_value",
                where="--unknown-level",
            )
        if not 0 <= self.seed < 1 << 63:
            raise UsageError(
                f"{self.seed} is not between 0 and 2^63 - 1", code="usage.bad_value", where="--seed"
            )

    @property
    def needs_counts(self) -> bool:
        """Whether the probabilities depend on the counts, so that a spool is needed."""
        return self.form == "uniform" or (
            self.form == "paper" and (self.target is not None or self._powers[2] != 1)
        )

    @property
    def only_falls(self) -> bool:
        """Whether the probabilities never rise while counts grow."""
        return self.form != "paper" or 0 <= self._powers[2] <= 1

    def draw(self, accession: str) -> float:
        """Return the entry's number in [0, 1); it is kept if that is below its probability."""
        salt = self.seed.to_bytes(16, "little")
        digest = blake2b(accession.encode(), digest_size=8, salt=salt).digest()
        return (int.from_bytes(digest, "little") >> 11) * 2.0**-53

    def cluster_probabilities(self, counts: np.ndarray) -> np.ndarray:
        """Return the share of the sample that each cluster is due, as the paper gives it.

        Parameters
        ----------
        counts
            Entries of each cluster.

        Returns
        -------
        numpy.ndarray
            Shape (6, 5), sum 1; all 0 where no entry can be kept. A cluster without entries has 0.
        """
        due = self._due(counts)
        total = due.sum()
        return due / total if total else due

    def keep_probabilities(self, counts: np.ndarray) -> np.ndarray:
        """Return the probability to keep an entry of each cluster.

        Parameters
        ----------
        counts
            Entries of each cluster.

        Returns
        -------
        numpy.ndarray
            Shape (6, 5), in [0, 1].
        """
        if not self.needs_counts:
            return np.minimum(self._weights(), 1.0)
        due = self._due(counts)
        scale = 1.0 if self.target is None else _scale(due, counts, self.target)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(due > 0, scale * due / counts, 0.0)
        # Of a cluster not met yet the first entry may be kept.
        share = np.where(counts > 0, share, self._weights() > 0)
        return np.clip(share, 0.0, 1.0)

    def bounds(self, counts: np.ndarray) -> np.ndarray:
        """Return what the final probabilities cannot exceed, by the counts so far."""
        if not self.only_falls:
            return (self._weights() > 0).astype(float)
        # The margin is for rounding, which may order two equal values either way.
        return self.keep_probabilities(counts) * (1 + 1e-9)

    def key(self) -> dict[str, Any]:
        """Return the settings as JSON takes them, with the defaults filled in."""
        powers = self._powers if self.form in _DEFAULTS else None
        return {**asdict(self), "exponents": list(powers) if powers else None}

    @property
    def _powers(self) -> tuple[float, ...]:
        return self.exponents or _DEFAULTS[self.form]

    def _weights(self) -> np.ndarray:
        """``(1/C)^a R^b`` of each cluster, and 0 where nothing is kept; (6, 5)."""
        level = np.array([self.unknown_level, 1, 2, 3, 4, 5], dtype=float)[:, None]
        coverage = np.arange(SHAPE[1])[None, :] / (SHAPE[1] - 1)
        some = np.broadcast_to(coverage > 0, SHAPE).astype(float)
        if self.form in ("none", "uniform"):
            return some
        a, b = self._powers[:2]
        weights = level**-a * coverage**b * some
        if self.form == "release":
            enough = coverage * (SHAPE[1] - 1) >= _LEAST_PROPERTIES
            weights = weights * enough * (level <= _LAST_LEVEL)
        return weights

    def _due(self, counts: np.ndarray) -> np.ndarray:
        """Weight of each cluster as a whole: that of its entries, times N to its power."""
        power = self._powers[2] if self.form == "paper" else 1.0
        with np.errstate(divide="ignore"):
            size = np.where(counts > 0, counts.astype(float) ** power, 0.0)
        return self._weights() * size


def _scale(due: np.ndarray, counts: np.ndarray, target: int) -> float:
    """Factor on ``due`` whose sum, no cluster above its count, is the target.

    Infinite where there are not as many entries.
    """
    some = due > 0
    weights, sizes = due[some], counts[some].astype(float)
    if sizes.sum() <= target:
        return np.inf
    # In the order in which clusters reach their count, as the factor grows.
    order = np.argsort(sizes / weights)
    weights, sizes = weights[order], sizes[order]
    full = np.concatenate([[0.0], np.cumsum(sizes)])[:-1]
    rest = np.cumsum(weights[::-1])[::-1]
    scales = (target - full) / rest
    first = int(np.argmax(scales * weights <= sizes))
    return float(scales[first])
