"""How alike proteins are by their vectors: all pairs, listed pairs, or one set against another.

Scores are those of `protclip_core.measure.pairwise`: they do not depend on how the work is cut into
blocks.

Legend: n and m proteins of the two sides; k partners of a protein.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import islice
from types import TracebackType

import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError, UsageError
from protclip_core.io.pairs.table import ListedPair
from protclip_core.measure.pairwise import METRICS, Block, block_scores, pair_scores
from protclip_core.progress import Progress, SilentProgress
from protclip_core.records import Failure, printable
from protclip_core.tasks.similarity.request import SimilarityRequest
from protclip_core.tasks.similarity.vectors import Proteins, VectorRows
from protclip_core.vector_spec import VectorSpec
from protclip_core.vectors.block import KEPT_FAILURES
from protclip_core.vectors.source import is_store, open_vectors

__all__ = ["MOST_IN_MATRIX", "Answer", "Partners", "Similarity"]

_log = logging.getLogger(__name__)

#: Proteins of a side of a matrix.
MOST_IN_MATRIX = 10_000
#: Scores that are held at once, of 4 bytes.
_SCORES = 32 << 20
#: Vectors that are compared at once with those of a block of rows.
_COLUMNS = 2048
#: Listed pairs that are looked up together.
_PAIRS = 16_384

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Partners:
    """What one protein is compared with.

    Attributes
    ----------
    row
        Number of the protein.
    columns
        Numbers of its partners, ``(c,)``.
    scores
        Their similarities, ``(c,)`` float32.
    """

    row: int
    columns: Rows
    scores: Floats


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a listed pair: a similarity, or why there is none.

    Attributes
    ----------
    protein_a, protein_b
        As they are listed.
    similarity
        None where there is none.
    reason
        Empty where there is a similarity.
    """

    protein_a: str
    protein_b: str
    similarity: float | None
    reason: str = ""


class Similarity(AbstractContextManager["Similarity"]):
    """A comparison: opens its inputs, and gives scores in one of several forms.

    Parameters
    ----------
    request
        What for.
    progress
        Told how many proteins have been read and compared.

    Attributes
    ----------
    left, right
        The proteins of the two sides; the same object where all pairs of one set are compared.
    space
        In which they are compared.

    Raises
    ------
    UsageError
        Options that contradict each other, or sides that are not comparable.
    InputError, ModelError, ResourceError
        As `open_vectors` and `Proteins.vectors`.

    Examples
    --------
    >>> from importlib.resources import files
    >>> from protclip_core import Similarity, SimilarityRequest
    >>> path = str(files("protclip_core") / "bundled/example.fasta")
    >>> with Similarity(SimilarityRequest(inputs=(path,))) as similarity:
    ...     similarity.matrix().shape
    (12, 12)
    """

    def __init__(self, request: SimilarityRequest, progress: Progress | None = None) -> None:
        self.request, self._progress = request, progress or SilentProgress()
        _check(request)
        with ExitStack() as stack:
            self.left, self.right = self._open(stack)
            self._left = self.left.vectors(request.space, self._progress)
            self._right = self._left
            if self.right is not self.left:
                self._right = self.right.vectors(self._left.space, self._progress)
                _check_comparable(self.left, self.right, self._left, self._right)
            self.space = self._left.space
            self._stack = stack.pop_all()

    def _open(self, stack: ExitStack) -> tuple[Proteins, Proteins]:
        """Open both sides; FASTA files are embedded as the store on the other side was."""
        request = self.request
        if request.against is None:
            one = stack.enter_context(self._proteins(request.inputs, None))
            return one, one
        other = (request.against,)
        if is_store(request.against):
            right = stack.enter_context(self._proteins(other, None))
            left = stack.enter_context(self._proteins(request.inputs, right.source.spec))
            return left, right
        left = stack.enter_context(self._proteins(request.inputs, None))
        return left, stack.enter_context(self._proteins(other, left.source.spec))

    def _proteins(self, inputs: tuple[str, ...], like: VectorSpec | None) -> Proteins:
        request = self.request
        return Proteins(
            open_vectors(
                inputs,
                like=like,
                model=request.model,
                vectors_model=request.vectors_model,
                device=request.device,
                workers=request.workers,
                on_error=request.on_error,
                unusable="keep",
                several=True,
            )
        )

    def __exit__(
        self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def is_symmetric(self) -> bool:
        """Whether the proteins of one set are compared with each other."""
        return self.left is self.right

    @property
    def num_failures(self) -> int:
        """Proteins that are not compared: bad records, and vectors without a direction."""
        return self.left.num_failures + (0 if self.is_symmetric else self.right.num_failures)

    @property
    def first_failures(self) -> list[Failure]:
        """The first five of them."""
        others = [] if self.is_symmetric else self.right.first_failures
        return (self.left.first_failures + others)[:KEPT_FAILURES]

    def partners(self) -> Iterator[Partners]:
        """Give each protein with those that it is compared with, in input order.

        Without ``top_k`` each unordered pair of one set comes once, with its earlier protein;
        with it, each protein comes with its best partners, best first, of equal similarity the
        earlier one first, so that a pair can come with both of its proteins. Proteins whose
        vector has no direction are left out, see `num_failures`. Memory does not grow with the
        number of pairs.

        Yields
        ------
        Partners
            One for each protein of the left side that has a partner.
        """
        top_k = self.request.top_k
        asked = self.request.min_similarity
        least = -np.inf if asked is None else np.float32(asked)
        for start, scores in self._blocks(triangle=self.is_symmetric and top_k is None):
            first = len(self._right) - scores.shape[1]
            for place, found in enumerate(scores):
                row = start + place
                if self.is_symmetric and top_k is None:
                    found[: row + 1 - first] = np.nan
                elif self.is_symmetric:
                    found[row] = np.nan
                kept = np.flatnonzero(found >= least)
                if top_k is not None:
                    kept = _best(found, kept, top_k)
                if len(kept):
                    yield Partners(row, kept + first, found[kept])

    def matrix(self) -> Floats:
        """Return all similarities ``(n, m)``; NaN where a vector has no direction.

        Raises
        ------
        UsageError
            A side has more than `MOST_IN_MATRIX` proteins.
        """
        return np.concatenate(list(self.matrix_rows()))

    def matrix_rows(self) -> Iterator[Floats]:
        """Yield the matrix in runs of rows ``(c, m)``; errors as `matrix`."""
        most = max(len(self._left), len(self._right))
        if most > MOST_IN_MATRIX:
            raise UsageError(
                f"{most:,} proteins are too many for a matrix of at most {MOST_IN_MATRIX:,}",
                code="usage.too_many",
                hint="drop --format matrix, and narrow the pairs by --min-similarity or --top-k",
            )
        for _, scores in self._blocks(triangle=False):
            yield scores

    def answers(self, pairs: Iterable[ListedPair]) -> Iterator[Answer]:
        """Answer listed pairs one by one, in their order; none is left out.

        The first name is looked for on the left side, the second on the right.
        """
        pairs = iter(pairs)
        while some := list(islice(pairs, _PAIRS)):
            rows = [(self.left.find(p.protein_a), self.right.find(p.protein_b)) for p in some]
            reasons = [
                pair.fault or self._reason(*found) for pair, found in zip(some, rows, strict=True)
            ]
            good = [found for found, reason in zip(rows, reasons, strict=True) if not reason]
            scores = iter(self.scores(np.array(good, np.int64).reshape(-1, 2)).tolist())
            for pair, reason in zip(some, reasons, strict=True):
                score = None if reason else next(scores)
                yield Answer(pair.protein_a, pair.protein_b, score, reason)

    def scores(self, rows: Rows, metric: str | None = None) -> Floats:
        """Return the similarities of pairs of rows ``(M, 2)``: ``(M,)``; NaN without direction."""
        metric = metric or self.request.metric
        found = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), _COLUMNS):
            left, right = rows[start : start + _COLUMNS].T
            found[start : start + _COLUMNS] = pair_scores(
                Block.of(self._left.read(left), metric),
                Block.of(self._right.read(right), metric),
                metric,
            )
        return found

    def _reason(self, row: int | str, column: int | str) -> str:
        """Say why two proteins cannot be compared; empty where they can."""
        for found, proteins, vectors in (
            (row, self.left, self._left),
            (column, self.right, self._right),
        ):
            if isinstance(found, str):
                return found
            if not vectors.usable[found]:
                id = printable(proteins.ids[found])
                return f"the vector of {id} in {proteins.name} is zero or not finite"
        return ""

    def _blocks(self, *, triangle: bool) -> Iterator[tuple[int, Floats]]:
        """Yield runs of rows: the first of them, and their scores.

        Scores are those with the last ``c`` columns, ``(r, c)``: with all, or for a triangle with
        those from the first row of the run on.
        """
        n, m, metric = len(self._left), len(self._right), self.request.metric
        self._progress.start("comparing", n, "proteins")
        start = 0
        while start < n:
            first = start if triangle else 0
            rows = slice(start, min(n, start + max(1, min(_COLUMNS, _SCORES // (m - first)))))
            own = Block.of(self._left.read(rows), metric)
            scores = np.empty((len(own), m - first), np.float32)
            for column in range(first, m, _COLUMNS):
                others = Block.of(self._right.read(slice(column, column + _COLUMNS)), metric)
                place = column - first
                scores[:, place : place + len(others)] = block_scores(own, others, metric)
            yield start, scores
            self._progress.advance(len(own))
            start = rows.stop
        self._progress.finish()


def _best(scores: Floats, kept: Rows, k: int) -> Rows:
    """Return the k places of the highest scores among ``kept``; of equal ones, the first."""
    if len(kept) > k:
        floor = np.partition(scores[kept], len(kept) - k)[len(kept) - k]
        kept = kept[scores[kept] >= floor]
    return kept[np.argsort(-scores[kept], kind="stable")[:k]]


def _check(request: SimilarityRequest) -> None:
    """Refuse what needs no input to be seen as wrong."""
    if request.metric not in METRICS:
        raise UsageError(
            f"metric {request.metric!r} is not known",
            code="usage.unknown_value",
            hint=f"use {', '.join(METRICS)}",
        )
    if request.top_k is not None and request.top_k < 1:
        raise UsageError(
            f"--top-k {request.top_k} finds nothing",
            code="usage.bad_value",
            hint="ask for 1 or more",
        )
    if request.min_similarity is not None and not -1 <= request.min_similarity <= 1:
        raise UsageError(
            f"--min-similarity {request.min_similarity} is not a similarity",
            code="usage.bad_value",
            hint="use -1 to 1",
        )
    if [*request.inputs, request.against].count("-") > 1:
        raise UsageError("standard input (-) can be read once only", code="usage.stdin_twice")


def _check_comparable(left: Proteins, right: Proteins, one: VectorRows, other: VectorRows) -> None:
    """Refuse vectors of different models."""
    own, given = right.source.spec, left.source.spec
    if own.model and given.model and (told := own.diff(given, ("weights_sha256",))):
        raise UsageError(
            f"and {left.name} were made by different models ({'; '.join(told)})",
            code="usage.other_vectors",
            where=right.name,
            hint="embed both with one model",
        )
    if one.width != other.width:
        raise InputError(
            f"has vectors of {other.width} numbers, {left.name} of {one.width}",
            code="input.other_width",
            where=right.name,
            hint="embed both with one model",
        )
    if not (own.model and given.model):
        unnamed = right if given.model else left
        _log.warning(
            "%s: does not say which model made it; make sure that it is the same model",
            unnamed.name,
        )
