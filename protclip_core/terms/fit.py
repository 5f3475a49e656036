"""Fitting the calibration of a GO index on proteins whose terms are known.

Only proteins with a term of an aspect take part in it, unless others are known to have none; what
they are not said to have counts as wrong there. So probabilities are those of being annotated,
which is less than of being true.

Legend: N proteins, G terms, C terms of an aspect, E pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from protclip_core.errors import InputError
from protclip_core.measure.calibration import logit, sigmoid
from protclip_core.terms.calibration import AspectCalibration, Calibration
from protclip_core.terms.index import GoIndex
from protclip_core.terms.scores import GoScorer

__all__ = ["fit_calibration", "fit_gate", "fit_knots", "fit_line", "fit_lines"]

_BLOCK = 64
#: The likeliest terms of each protein are all looked at, of the others one in so many.
_LIKELY, _ONE_IN = 400, 20
#: The monotone step is fitted on log odds from here on (a probability of 0.001) …
_LEAST = -6.9
#: … in bins of this width, each with so many right pairs.
_WIDTH, _RIGHT_PAIRS = 0.5, 40
_PULL = 1.0
#: How far addends and factors of single terms are expected to lie from 0 and 1: of few pairs they
#: stay near. Chosen on split ``valid``, by log loss over five folds.
_ADDEND, _FACTOR, _STEPS = 0.5, 0.4, 40
#: Brings cosines to about the size of 1, so that a logistic regression does not pull them down.
_SPREAD = 10.0


def fit_calibration(
    index: GoIndex, vectors: np.ndarray, annotations: Sequence[np.ndarray], *, bare: bool = False
) -> Calibration:
    """Fit a calibration.

    Parameters
    ----------
    index
        The terms, with priors where they are known; its own calibration is passed over, not so
        its lines and its gate. With a gate, give proteins with a term alone: what is fitted is
        the chance of a protein that has some.
    vectors
        Unit vectors of proteins that the model did not learn from, ``(N, P)``.
    annotations
        Numbers of each protein's terms, propagated; roots may be there or not.
    bare
        Proteins without a term of an aspect take part in it, as proteins that are known to have
        none; by default they are left out, as nothing is known of them.

    Returns
    -------
    Calibration
        For the model whose weights the index names.

    Raises
    ------
    InputError
        An aspect of the ontology in which no protein has a term.
    """
    scorer = GoScorer(replace(index, calibration=None))
    fitted = []
    for aspect, name in enumerate(index.ontology.aspect_names):
        data = _AspectData.of(scorer, vectors, annotations, aspect, bare=bare)
        if not len(data.columns):
            fitted.append(AspectCalibration())
            continue
        if not any(map(len, data.right)):
            raise InputError(
                f"none of {len(vectors):,} proteins has a term of aspect {name}",
                code="input.nothing_to_fit",
                hint="give annotated proteins of all aspects",
            )
        *pairs, rows = data.sample()
        shift = data.shift[rows]
        slope, weight, offset = fit_line(*pairs, shift=shift, use_prior=data.has_prior)
        knots = fit_knots(*data.propagated(slope, weight, offset))
        fitted.append(AspectCalibration(slope, weight, offset, knots, len(data.rows)))
    return Calibration(tuple(fitted), index.weights_sha256)


def fit_lines(index: GoIndex, vectors: np.ndarray, annotations: Sequence[np.ndarray]) -> np.ndarray:
    """Fit what each term of a vocabulary of one aspect adds to the calibration.

    The cosine says more of some terms than of others, and some are more frequent here than among
    the proteins that the model learned from. Terms are fitted one by one, by logistic regressions
    that are pulled towards a factor of 1 and an addend of 0.

    Parameters
    ----------
    index
        With a calibration that was fitted without lines.
    vectors, annotations
        As of `fit_calibration`, of proteins that take part.

    Returns
    -------
    numpy.ndarray
        ``lines`` of the index, ``(2, G)`` float32.
    """
    told, cosines = GoScorer(replace(index, lines=None)).own_log_odds(vectors)
    right = np.zeros(told.shape)
    for row, terms in enumerate(annotations):
        right[row, np.asarray(terms, dtype=np.int64)] = 1.0
    middle = cosines.mean(axis=0)
    away = cosines - middle
    addend, factor = np.zeros((2, len(index)))
    for _ in range(_STEPS):
        # A step of Newton for each in turn; about the middle the two hardly depend on each other.
        chance = sigmoid(told + addend + factor * away)
        gain, bend = (right - chance).sum(0), (chance * (1 - chance)).sum(0)
        addend += (gain - addend / _ADDEND**2) / (bend + 1 / _ADDEND**2)
        chance = sigmoid(told + addend + factor * away)
        gain = ((right - chance) * away).sum(0)
        bend = (chance * (1 - chance) * away**2).sum(0)
        factor += (gain - factor / _FACTOR**2) / (bend + 1 / _FACTOR**2)
    factor = np.maximum(factor, -1.0)
    return np.stack([1 + factor, addend - factor * middle]).astype(np.float32)


def fit_gate(
    index: GoIndex,
    learned: tuple[np.ndarray, np.ndarray],
    vectors: np.ndarray,
    annotations: Sequence[np.ndarray],
    hint: np.ndarray,
) -> np.ndarray:
    """Fit the log odds that a protein has any term, and how far they move those of each term.

    A logistic regression on proteins that the model learned from gives a direction; that, and the
    vector of a text that says the same, are weighed on proteins that it has not seen.

    Parameters
    ----------
    index
        Of one aspect.
    learned
        Unit vectors ``(N, P)`` of training proteins, and whether each has a term, ``(N,)``.
    vectors, annotations
        As of `fit_calibration`; proteins without a term are known to have none.
    hint
        Unit vector of a text that fits all proteins with a term, ``(P,)``.

    Returns
    -------
    numpy.ndarray
        ``gate`` of the index, ``(P + 2,)`` float32.
    """
    from scipy.optimize import minimize_scalar
    from sklearn.linear_model import LogisticRegression

    way = LogisticRegression(C=100.0, max_iter=5000).fit(*learned).coef_[0]
    sides = np.stack([way, hint]) / np.linalg.norm([way, hint], axis=1, keepdims=True) * _SPREAD
    has = [len(terms) > 0 for terms in annotations]
    fitted = LogisticRegression().fit(vectors @ sides.T, has)
    gate = np.concatenate([fitted.coef_[0] @ sides, fitted.intercept_, [0.0]])
    kept = np.flatnonzero(has)
    data = _AspectData.of(
        GoScorer(replace(index, calibration=None)),
        vectors[kept],
        [annotations[row] for row in kept.tolist()],
        0,
        bare=False,
    )
    scores, priors, right, weights, rows = data.sample()
    odds = (vectors[kept] @ gate[:-2] + gate[-2])[rows]

    def loss(tilt: float) -> float:
        slope, weight, offset = fit_line(scores, priors, right, weights, shift=tilt * odds)
        told = slope * scores + weight * priors + offset + tilt * odds
        return float(weights @ (np.logaddexp(0.0, told) - right * told))

    gate[-1] = minimize_scalar(loss, bounds=(-2.0, 1.0), method="bounded").x
    return gate.astype(np.float32)


@dataclass(frozen=True, eq=False)
class _AspectData:
    """Proteins with a term of an aspect, against all terms of it.

    Attributes
    ----------
    scorer, vectors
        For cosines.
    columns
        Terms but the root, ``(C,)``.
    rows, right
        Proteins that take part, and places in ``columns`` of their terms.
    """

    scorer: GoScorer
    vectors: np.ndarray
    columns: np.ndarray
    rows: list[int]
    right: list[np.ndarray]

    @classmethod
    def of(
        cls,
        scorer: GoScorer,
        vectors: np.ndarray,
        annotations: Sequence[np.ndarray],
        aspect: int,
        *,
        bare: bool,
    ) -> _AspectData:
        ontology = scorer.ontology
        columns = np.setdiff1d(np.flatnonzero(ontology.aspects == aspect), ontology.roots)
        place = np.full(len(ontology), -1)
        place[columns] = np.arange(len(columns))
        own = [place[np.asarray(terms, dtype=np.int64)] for terms in annotations]
        own = [places[places >= 0] for places in own]
        rows = [row for row, places in enumerate(own) if bare or len(places)]
        return cls(scorer, vectors, columns, rows, [own[row] for row in rows])

    @property
    def has_prior(self) -> bool:
        return not bool(np.isnan(self.scorer.index.log_prior[self.columns]).all())

    @property
    def prior(self) -> np.ndarray:
        found: np.ndarray = self.scorer.index.filled_prior[self.columns]
        return found

    @property
    def shift(self) -> np.ndarray:
        """By what a gate moves the log odds of all terms of a protein, one for each of `rows`."""
        if self.scorer.index.gate is None:
            return np.zeros(len(self.rows))
        gate = self.scorer.index.gate.astype(np.float64)
        found: np.ndarray = gate[-1] * (self.vectors[self.rows] @ gate[:-2] + gate[-2])
        return found

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Give scaled cosines ``(n, C)`` and whether each pair is right, block by block."""
        for start in range(0, len(self.rows), _BLOCK):
            rows = self.rows[start : start + _BLOCK]
            scores = self.scorer.cosines(self.vectors[rows])[:, self.columns]
            right = np.zeros(scores.shape, dtype=bool)
            for number, places in enumerate(self.right[start : start + _BLOCK]):
                right[number, places] = True
            yield scores * np.float32(self.scorer.index.go_scale), right

    def sample(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return scaled cosines, priors, whether right, weights, and places in `rows`, of pairs.

        ``(E,)`` each.

        All right pairs and the likeliest others are there; the rest is thinned out.
        """
        draw = np.random.default_rng(0)
        found: list[tuple[np.ndarray, ...]] = []
        prior = self.prior
        for number, (scores, right) in enumerate(self.blocks()):
            likely = scores + prior
            if likely.shape[1] > _LIKELY:
                least = np.partition(likely, -_LIKELY, axis=1)[:, -_LIKELY, None]
                certain = right | (likely >= least)
            else:
                certain = np.ones_like(right)
            taken = certain | (draw.random(right.shape, dtype=np.float32) < 1 / _ONE_IN)
            places = np.nonzero(taken)
            weights = np.where(certain[places], 1.0, float(_ONE_IN))
            rows = places[0] + number * _BLOCK
            found.append((scores[places], prior[places[1]], right[places], weights, rows))
        scores, priors, truth, weights, rows = (np.concatenate(part) for part in zip(*found))
        return scores, priors, truth, weights, rows

    def propagated(
        self, slope: float, weight: float, offset: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return log odds after propagation, and whether right, of pairs of some likelihood."""
        found: list[tuple[np.ndarray, np.ndarray]] = []
        lines = np.repeat([[1.0], [0.0]], len(self.columns), axis=1)
        if self.scorer.index.lines is not None:
            lines = self.scorer.index.lines[:, self.columns].astype(np.float64)
        slopes = (slope * lines[0]).astype(np.float32)
        bias = (weight * self.prior + offset + lines[1]).astype(np.float32)
        shift = self.shift.astype(np.float32)[:, None]
        for number, (scores, right) in enumerate(self.blocks()):
            odds = scores * slopes + bias + shift[number * _BLOCK :][: len(scores)]
            odds = self.scorer.ontology.propagate_scores(odds, self.columns)
            kept = odds >= _LEAST
            found.append((odds[kept], right[kept]))
        odds, truth = (np.concatenate(part) for part in zip(*found))
        return odds, truth


def fit_line(
    scores: np.ndarray,
    priors: np.ndarray,
    right: np.ndarray,
    weights: np.ndarray,
    *,
    shift: np.ndarray | float = 0.0,
    use_prior: bool = True,
) -> tuple[float, float, float]:
    """Fit a weighted logistic regression on two features, whose slopes are not negative.

    Few pairs that a line parts without an error would make the slopes infinite; they are pulled
    towards 1, which is what a model trained with priors has, as if by one pair.

    Parameters
    ----------
    scores, priors, right, weights
        Of each pair, ``(E,)``.
    shift
        What is added to the log odds of each pair as it stands, ``(E,)``.
    use_prior
        False keeps the slope of the prior at 0.

    Returns
    -------
    tuple
        Slope of the score, slope of the prior, offset.
    """
    from scipy.optimize import minimize

    features = np.stack([scores, priors, np.ones(len(scores))]).astype(np.float64)
    # Features of one size make the search short.
    sizes = np.array([max(float(np.std(row)), 1e-3) for row in features[:2]] + [1.0])
    features /= sizes[:, None]
    target, share = right.astype(np.float64), weights / weights.sum()

    usual = np.array([1.0, 1.0 if use_prior else 0.0, 0.0])
    pull = np.array([1.0, 1.0, 0.0]) * _PULL / weights.sum()

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        odds = values @ features + shift
        each = np.logaddexp(0.0, odds) - target * odds
        away = values / sizes - usual
        slope = features @ (share * (sigmoid(odds) - target)) + 2 * pull * away / sizes
        return float(share @ each + pull @ away**2), slope

    base = float(share @ target)
    start = usual * sizes
    start[2] = logit(min(max(base, 1e-6), 1 - 1e-6))
    bounds = [(0.0, None), (0.0, None if use_prior else 0.0), (None, None)]
    options = {"maxiter": 500, "ftol": 1e-13, "gtol": 1e-9}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    slope, weight, offset = (found.x / sizes).tolist()
    return slope, weight, offset


def fit_knots(odds: np.ndarray, right: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Fit a monotone step from log odds to log odds that have come true.

    Bins of equal width are joined until each has some right pairs, and then by isotonic
    regression (Barlow et al. 1972), so few knots are left.

    Parameters
    ----------
    odds, right
        Of each pair, ``(E,)``; none at all gives no knots.

    Returns
    -------
    tuple
        Knots as `AspectCalibration` has them, both numbers rising.
    """
    from sklearn.isotonic import IsotonicRegression

    place = np.floor((odds - _LEAST) / _WIDTH).astype(np.int64)
    bins: list[list[float]] = []  # pairs, right ones, sum of log odds
    for number in np.unique(place):
        inside = place == number
        own = [float(inside.sum()), float(right[inside].sum()), float(odds[inside].sum())]
        if bins and bins[-1][1] < _RIGHT_PAIRS:
            bins[-1] = [a + b for a, b in zip(bins[-1], own)]
        else:
            bins.append(own)
    if len(bins) > 1 and bins[-1][1] < _RIGHT_PAIRS:
        last = bins.pop()
        bins[-1] = [a + b for a, b in zip(bins[-1], last)]
    if not bins:
        return ()
    counts, truth, total = np.array(bins).T
    # Half a pair on either side, for a bin without a wrong or a right one.
    shares = (truth + 0.5) / (counts + 1.0)
    places = np.arange(len(counts))
    smooth = IsotonicRegression().fit(places, shares, sample_weight=counts).predict(places)
    knots = []
    for share in np.unique(smooth):
        same = smooth == share
        knots.append((float(total[same].sum() / counts[same].sum()), logit(float(share))))
    return tuple(knots)
