"""Numbers of a protein's variants, for a head that learns one assay.

A variant is the sum of its substitutions, so several add up as far as a linear head goes. Of each
substitution:

site
    which position, of those that the assay has (one column each); where a substitution stands in
    two variants or more, a column of its own as well;
near
    a bump over neighbouring positions (Gaussian, `WIDTH` residues): what stands side by side is
    alike, and a position that was never measured borrows from those next to it;
residues
    which residue goes and which comes, what changes in hydropathy, volume, charge and kind, and
    BLOSUM62;
context
    the means of these properties in windows of 5 and 9 residues around the position.

Then the zero-shot score in units of its spread and, where vectors are given, the vector less the
mean vector, in units of the root of the total variance.

Which blocks there are, and their scale, was chosen on deep mutational scans that are for measuring
only; no number fitted there is kept. Properties of residues times positions made random splits
worse; the mean-pooled vector of the small model adds next to nothing to the rest.

Legend: N variants, F columns, P positions of the assay, L residues, D width of a vector.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from protclip_core.variants import Variant
from protclip_core.variants.residues import LETTERS, NUM_STANDARD
from protclip_core.variants.substitution_prior import HYDROPATHY, blosum62

__all__ = ["RECIPE", "WIDTH", "VariantFeatures"]

RECIPE = "variant-effects-1"
#: Spread of a bump over neighbouring positions, in residues.
WIDTH = 2.0

#: The zero-shot score is drawn towards no effect less than the rest.
_ZERO_WEIGHT = 2.0

_INDEX = {letter: i for i, letter in enumerate(LETTERS[:NUM_STANDARD])}
#: Residues on either side of a window of the context.
_WINDOWS = (4, 2)


def _properties() -> np.ndarray:
    """Properties of the 20 residues ``(20, 7)``, each of a spread about 1.

    Hydropathy (Kyte and Doolittle 1982), volume (Zamyatnin 1972), charge, proline, aromatic,
    branched at C-beta, glycine.
    """
    hydropathy = dict(zip(LETTERS[:NUM_STANDARD], HYDROPATHY, strict=True))
    volume = dict(
        zip(
            "ARNDCQEGHILKMFPSTWYV",
            (88.6, 173.4, 114.1, 111.1, 108.5, 143.8, 138.4, 60.1, 153.2, 166.7)
            + (166.7, 168.6, 162.9, 189.9, 112.7, 89.0, 116.1, 227.8, 193.6, 140.0),
            strict=True,
        )
    )
    rows = [
        (
            hydropathy[a] / 3,
            (volume[a] - 140) / 40,
            1.5 * ((a in "KR") - (a in "DE")),
            2.0 * (a == "P"),
            1.0 * (a in "FWYH"),
            1.0 * (a in "VIT"),
            1.5 * (a == "G"),
        )
        for a in LETTERS[:NUM_STANDARD]
    ]
    return np.array(rows)


_PROPERTIES = _properties()
_COUNT = _PROPERTIES.shape[1]


@dataclass(frozen=True, eq=False, kw_only=True)
class VariantFeatures:
    """How the columns of one assay are made; plain data, that a head keeps in its card.

    Attributes
    ----------
    wild_type
        Residues; X where they are not known.
    positions
        That the assay has, from 1, ascending.
    shared
        Substitutions that stand in two variants or more, as ``A42G``.
    zero_scale
        Spread of the zero-shot score; 0: there is none among the columns.
    centre, vector_scale
        Of vectors ``(D,)``; empty and 0: there are none.
    """

    wild_type: str
    positions: tuple[int, ...]
    shared: tuple[str, ...] = ()
    zero_scale: float = 0.0
    centre: tuple[float, ...] = ()
    vector_scale: float = 0.0

    @classmethod
    def of(
        cls,
        variants: Sequence[Variant],
        wild_type: str,
        *,
        zero_shot: np.ndarray | None = None,
        vectors: np.ndarray | None = None,
    ) -> Self:
        """Take positions, and scales, from the variants of an assay; not from what was measured.

        Parameters
        ----------
        variants
            Of substitutions, positions counted in ``wild_type``.
        wild_type
            As the attribute.
        zero_shot, vectors
            ``(N,)`` and ``(N, D)``, where there are such columns.
        """
        counts = Counter(one for variant in variants for one in variant.substitutions)
        shared = sorted((p, a, b) for (a, p, b), count in counts.items() if count > 1)
        spread = 0.0 if zero_shot is None else float(np.std(zero_shot))
        total = 0.0 if vectors is None else float(vectors.astype(np.float64).var(axis=0).sum())
        return cls(
            wild_type=wild_type,
            positions=tuple(sorted({p for _, p, _ in counts})),
            shared=tuple(f"{a}{p}{b}" for p, a, b in shared),
            zero_scale=0.0 if zero_shot is None else spread or 1.0,
            centre=() if vectors is None else tuple(vectors.astype(np.float64).mean(0).tolist()),
            vector_scale=0.0 if vectors is None else total**0.5 or 1.0,
        )

    @property
    def width(self) -> int:
        """Columns F."""
        rest = 2 * NUM_STANDARD + 2 * _COUNT + 2 + len(_WINDOWS) * _COUNT
        own = len(self.positions) + len(self.shared) + len(self.wild_type) + rest
        return int(own + (self.zero_scale > 0) + len(self.centre))

    @property
    def name(self) -> str:
        """Recipe and a hash of all of this, for `HeadInput.features`."""
        content = json.dumps(self.to_plain(), sort_keys=True).encode()
        return f"{RECIPE} {hashlib.sha256(content).hexdigest()[:16]}"

    @cached_property
    def _sites(self) -> dict[int, int]:
        return {position: i for i, position in enumerate(self.positions)}

    @cached_property
    def _places(self) -> dict[str, int]:
        return {text: i for i, text in enumerate(self.shared)}

    @cached_property
    def _around(self) -> np.ndarray:
        """Mean properties around each position ``(L, 14)``."""
        own = np.zeros((len(self.wild_type), _COUNT))
        for place, letter in enumerate(self.wild_type):
            if letter in _INDEX:
                own[place] = _PROPERTIES[_INDEX[letter]]
        found = np.zeros((len(own), len(_WINDOWS) * _COUNT))
        for place in range(len(own)):
            means = [own[max(0, place - w) : place + w + 1].mean(0) for w in _WINDOWS]
            found[place] = np.concatenate(means)
        return found

    def knows(self, variant: Variant) -> bool:
        """Whether all its positions were measured."""
        return all(position in self._sites for _, position, _ in variant.substitutions)

    def takes(self, variant: Variant) -> bool:
        """Whether all its residues are among the 20."""
        return all(a in _INDEX and b in _INDEX for a, _, b in variant.substitutions)

    def table(
        self,
        variants: Sequence[Variant],
        *,
        zero_shot: np.ndarray | None = None,
        vectors: np.ndarray | None = None,
    ) -> np.ndarray:
        """Give the columns of variants ``(N, F)`` float64; the last is 1 for all.

        The wild type is 0 in all but that one, the zero-shot score and the vector.

        Parameters
        ----------
        variants
            Of the 20 residues; positions may be new.
        zero_shot, vectors
            Where there are such columns.
        """
        one, bumps, rest = self.substitutions(variants)
        near = bumps / np.sqrt(WIDTH * np.sqrt(np.pi))
        parts = [one, near, rest]
        if self.zero_scale:
            assert zero_shot is not None
            score = np.asarray(zero_shot, np.float64)[:, None] / self.zero_scale
            parts.append(_ZERO_WEIGHT * score)
        if self.vector_scale:
            assert vectors is not None
            parts.append((vectors - np.array(self.centre)) / self.vector_scale)
        parts.append(np.ones((len(variants), 1)))
        return np.concatenate(parts, axis=1)

    def one_hot(self, variants: Sequence[Variant]) -> np.ndarray:
        """Give position, new residue and shared substitutions alone, for the baseline."""
        one, _, rest = self.substitutions(variants)
        return np.concatenate([one, rest[:, :NUM_STANDARD]], axis=1)

    def substitutions(self, variants: Sequence[Variant]) -> tuple[np.ndarray, ...]:
        """Give the blocks site ``(N, P + shared)``, near ``(N, L)`` and the rest, unscaled."""
        sites, length = len(self.positions), len(self.wild_type)
        one = np.zeros((len(variants), sites + len(self.shared)))
        near = np.zeros((len(variants), length))
        residues = 2 * NUM_STANDARD
        rest = np.zeros((len(variants), residues + 2 * _COUNT + 1 + self._around.shape[1]))
        grid, scores = np.arange(1, length + 1), blosum62()
        for row, variant in enumerate(variants):
            for old, position, new in variant.substitutions:
                if (site := self._sites.get(position)) is not None:
                    one[row, site] += 1
                if (place := self._places.get(f"{old}{position}{new}")) is not None:
                    one[row, sites + place] += 1
                near[row] += np.exp(-0.5 * ((grid - position) / WIDTH) ** 2)
                a, b = _INDEX[old], _INDEX[new]
                change = _PROPERTIES[b] - _PROPERTIES[a]
                own = rest[row]
                own[b] += 1
                own[NUM_STANDARD + a] += 1
                own[residues : residues + _COUNT] += change
                own[residues + _COUNT : residues + 2 * _COUNT] += np.abs(change)
                own[residues + 2 * _COUNT] += scores[a, b] / 2
                if position <= length:
                    own[residues + 2 * _COUNT + 1 :] += self._around[position - 1]
        return one, near, rest

    def to_plain(self) -> dict[str, Any]:
        """Give plain data, for a card."""
        plain = asdict(self)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in plain.items()}

    @classmethod
    def of_plain(cls, content: Mapping[str, Any]) -> Self:
        """Read plain data back.

        Raises
        ------
        KeyError, TypeError, ValueError
            What Python raises on bad data.
        """
        found = cls(
            wild_type=str(content["wild_type"]),
            positions=tuple(int(p) for p in content["positions"]),
            shared=tuple(str(text) for text in content["shared"]),
            zero_scale=float(content["zero_scale"]),
            centre=tuple(float(x) for x in content["centre"]),
            vector_scale=float(content["vector_scale"]),
        )
        scales = np.array([found.zero_scale, found.vector_scale])
        if not np.isfinite(scales).all() or (scales < 0).any():
            raise ValueError(f"scales {scales.tolist()}")
        if bool(found.centre) != (found.vector_scale > 0):
            raise ValueError("a scale of vectors and none of them")
        return found
