"""Predict which proteins interact: of a list, of two groups, or of all with all.

Pairs are scored in blocks, so memory holds the vectors of the proteins and no more, however many
pairs there are; one block is computed while another one is written.

Legend: N proteins, M pairs of a block, C answers of a pair.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from protclip_core.engines.ahead import compute_ahead
from protclip_core.errors import InputError, UsageError
from protclip_core.heads.pair_features import embedding_input
from protclip_core.heads.pair_scores import PairScorer
from protclip_core.io.pairs.lists import PairBlock, read_pair_blocks
from protclip_core.io.streams import source_name
from protclip_core.io.text_rows import is_decoded, made_visible
from protclip_core.progress import Progress, SilentProgress
from protclip_core.records import Failure, printable
from protclip_core.tasks.ppi.groups import has_proteins, names_of_group
from protclip_core.tasks.ppi.head import load_pair_head
from protclip_core.tasks.ppi.leaks import TrainedOn
from protclip_core.tasks.ppi.pairs import codes_of
from protclip_core.tasks.ppi.request import PredictRequest
from protclip_core.tasks.ppi.vectors import load_proteins
from protclip_core.vectors.block import KEPT_FAILURES, no_vector

__all__ = ["Predicted", "Prediction"]

_log = logging.getLogger(__name__)
#: Scores that are held at once, and lines of a list that are.
_SCORES, _LINES = 1 << 21, 8192
_FEWEST, _MOST = 16, 512
#: Pairs of a list that are remembered to tell repeats by.
_MOST_SEEN = 2_000_000
_SAME = "a protein with itself"
Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Predicted:
    """Answers of some pairs, in order.

    Attributes
    ----------
    a, b
        Names of both proteins.
    said
        Probabilities ``(M, C)`` float32; NaN where there is no answer.
    notes
        Remarks by place: why there is no answer, or what is odd.
    """

    a: Sequence[str]
    b: Sequence[str]
    said: Floats
    notes: dict[int, str] = field(default_factory=dict)


class _Work(NamedTuple):
    """Lines of a list: rows of both proteins, -1 where there is a reason why there are none."""

    block: PairBlock
    a: Rows
    b: Rows
    notes: dict[int, str]


class Prediction:
    """A request with its head and its proteins loaded.

    Parameters
    ----------
    request
        What to do.
    progress
        Told of embedding and predicting.

    Attributes
    ----------
    proteins, scorer
        What is looked at, and with what.
    head_path
        Where the head came from.
    rows, answered
        Pairs of the request, and those with an answer; known at the end.
    num_failures, first_failures
        Pairs and proteins without an answer.

    Raises
    ------
    UsageError
        Not one of list, two groups and all; options that contradict each other.
    InputError, ModelError
        As `load_proteins` and `load_pair_head`.
    """

    def __init__(self, request: PredictRequest, progress: Progress | None = None) -> None:
        self.request, self._progress = request, progress or SilentProgress()
        _check(request)
        self.head, self.head_path = load_pair_head(request.head)
        self.scorer = PairScorer(self.head, self.head_path)
        self._corrected(np.zeros((1, self.scorer.answers), np.float32))  # refuses before any work
        like = embedding_input(self.head.card.input, self.head_path)
        self.proteins = load_proteins(request.vectors, self._progress, like)
        self.proteins.leave_out(self.head)
        self.rows = self.answered = self.self_pairs = self.repeated = self.trained = 0
        self.num_failures = self.proteins.num_failures
        self.first_failures = list(self.proteins.first_failures)
        self._trained = TrainedOn.of_card(self.head.card, self.head_path)

    def blocks(self) -> Iterator[Predicted]:
        """Yield the answers; of a list one for each line, in its order.

        Raises
        ------
        InputError
            Nothing can be answered.
        """
        request = self.request
        if request.pairs is not None:
            yield from self._listed(request.pairs)
        elif request.bipartite is not None:
            one, other = (self._named(path) for path in request.bipartite)
            yield from self._all(one, other, same=False)
        else:
            usable = np.flatnonzero(self.proteins.usable)
            for row in np.flatnonzero(~self.proteins.usable).tolist():
                failure = no_vector(self.proteins.name, row, self.proteins.ids[row])
                if row in self.proteins.outside:
                    note = self.proteins.outside[row]
                    failure = replace(failure, reason=note, code="record.out_of_domain")
                self._fail(failure)
            if len(usable) < 2:
                raise InputError(
                    "holds fewer than two proteins",
                    code="input.too_few_proteins",
                    where=self.proteins.name,
                )
            yield from self._all(usable, usable, same=True)

    def _fail(self, failure: Failure) -> None:
        self.num_failures += 1
        if len(self.first_failures) < KEPT_FAILURES:
            self.first_failures.append(failure)

    def _listed(self, path: str) -> Iterator[Predicted]:
        seen: dict[int, int] = {}
        found: dict[str, int] = {}
        missing: dict[str, str] = {}
        reasons: list[str] = []
        self.scorer.keep(self.proteins.vectors)
        read = read_pair_blocks(
            path,
            _LINES,
            names_only=True,
            is_known=self.proteins.rows.__contains__,
            least_score=self.request.min_score,
        )
        blocks = (self._look_up(block, found, missing) for block in read)
        self._progress.start("predicting", 0, "pairs")
        for work, predicted in compute_ahead(blocks, self._score, self.request.blocks):
            block, faults = work.block, dict(predicted.notes)
            self.rows += len(block)
            self.answered += len(block) - len(faults)
            for place in sorted(faults):
                if len(reasons) < KEPT_FAILURES:
                    reasons.append(f"{block.source}:line {block.lines[place]}: {faults[place]}")
                self._fail(
                    Failure(
                        block.source, block.lines[place], "", faults[place], code="record.bad_pair"
                    )
                )
            self._remark(work, predicted.notes, seen)
            self._progress.advance(len(block))
            yield self._enough(predicted)
        self._progress.finish()
        if not self.answered:
            raise InputError(
                f"none of its {self.rows:,} pairs can be answered",
                code="input.no_pairs",
                where=source_name(path),
                hint="do the names match the ids of the proteins?",
                details=reasons,
            )

    def _look_up(self, block: PairBlock, found: dict[str, int], reasons: dict[str, str]) -> _Work:
        """Find the proteins of a block by name; what is known of names is kept."""
        notes = dict(block.faults)
        for name in {*block.a, *block.b} - found.keys():
            told = self.proteins.find(name) if name else "is empty"
            found[name] = -1 if isinstance(told, str) else told
            if isinstance(told, str):
                reasons[name] = told
        a = np.array([found[name] for name in block.a], np.int64)
        b = np.array([found[name] for name in block.b], np.int64)
        for place in np.flatnonzero((a < 0) | (b < 0)).tolist():
            told_of = [reasons[n] for n in (block.a[place], block.b[place]) if n in reasons]
            notes.setdefault(place, "; ".join(dict.fromkeys(told_of)))
        bad = list(notes)
        a[bad] = b[bad] = -1
        return _Work(block, a, b, notes)

    def _score(self, work: _Work) -> Predicted:
        said = np.full((len(work.a), self.scorer.answers), np.nan, np.float32)
        asked = np.flatnonzero(work.a >= 0)
        scores = self.scorer.listed(self.proteins.vectors, work.a[asked], work.b[asked])
        said[asked] = self._corrected(scores)
        return Predicted(work.block.a, work.block.b, said, work.notes)

    def _corrected(self, said: Floats) -> Floats:
        """Correct probabilities ``(M, C)`` to the prevalence of the request, if it has one."""
        wanted = self.request.prevalence
        return said if wanted is None else self.head.at_prevalence(said, wanted)

    def _remark(self, work: _Work, notes: dict[int, str], seen: dict[int, int]) -> None:
        """Note what is odd about pairs that have an answer."""
        a, b, keys = work.a, work.b, self.proteins.keys
        asked = np.flatnonzero(a >= 0)
        trained = np.zeros(len(a), bool)
        trained[asked] = self._trained.has_pairs(keys[a[asked]], keys[b[asked]])
        same = (a == b) & (a >= 0)
        self.trained += int(trained.sum())
        self.self_pairs += int(same.sum())
        codes = codes_of(a, b, len(self.proteins)).tolist()
        told: dict[int, list[str]] = {place: [_SAME] for place in np.flatnonzero(same).tolist()}
        for place in asked.tolist():
            line = work.block.lines[place]
            earlier = seen.get(codes[place])
            if earlier is not None:
                told.setdefault(place, []).append(f"the pair of line {earlier}")
                self.repeated += 1
            elif len(seen) < _MOST_SEEN:
                seen[codes[place]] = line
                if len(seen) == _MOST_SEEN:
                    _log.warning(
                        "%s: repeats are told among its first %s pairs only",
                        work.block.source,
                        f"{_MOST_SEEN:,}",
                    )
        for place in np.flatnonzero(trained).tolist():
            told.setdefault(place, []).append("the head was trained on it")
        notes |= {place: "; ".join(parts) for place, parts in told.items()}

    def _enough(self, predicted: Predicted) -> Predicted:
        """Leave out pairs below the least probability; what has no answer stays."""
        least = self.request.min_probability
        if least is None:
            return predicted
        best = predicted.said.max(axis=1)
        kept = np.flatnonzero(~(best < np.float32(least)))
        places = {old: new for new, old in enumerate(kept.tolist())}
        return Predicted(
            [predicted.a[p] for p in places],
            [predicted.b[p] for p in places],
            predicted.said[kept],
            {places[p]: note for p, note in predicted.notes.items() if p in places},
        )

    def _named(self, path: str) -> Rows:
        """Find the proteins of a group; those that are not there are told and left out."""
        name = source_name(path)
        rows: dict[int, None] = {}
        count = 0
        is_embedded = path in self.request.vectors.inputs
        for number, own in names_of_group(path):
            count += 1
            if is_embedded and own not in self.proteins.rows:
                continue  # told when it was embedded
            found: int | str = "is not UTF-8"
            if is_decoded(own):
                found = self.proteins.find(own)
            if isinstance(found, str):
                shown = printable(made_visible(own))
                failure = Failure(name, number, shown, found, code="record.unknown_protein")
                self._fail(failure)
            elif found in rows:
                _log.warning("%s:line %d repeats %s", name, number, printable(own))
            else:
                rows[found] = None
        if not rows:
            raise InputError(
                f"none of its {count:,} proteins has a vector",
                code="input.unknown_protein",
                where=name,
                hint="give ids of the proteins, one a line",
            )
        return np.array(list(rows), np.int64)

    def _all(self, one: Rows, other: Rows, *, same: bool) -> Iterator[Predicted]:
        """Score all of one with all of the other, some rows at a time."""
        top = self.request.top_k
        step = _SCORES // (len(other) * self.scorer.answers)
        step = min(_MOST, max(_FEWEST, step))
        vectors, ids = self.proteins.vectors, np.array(self.proteins.ids, object)
        names = ids[other]
        second = vectors[other]

        def score(start: int) -> list[tuple[str, Rows, Floats]]:
            rows = one[start : start + step]
            first = 0 if top is not None or not same else start
            table = self.scorer.block(vectors[rows], second[first:])
            found = []
            for number, row in enumerate(rows.tolist()):
                own, places = table[number], np.arange(first, len(other))
                if same:
                    # Of all with all each pair once; for partners each protein has its own rows.
                    at = start + number - first
                    chosen = np.arange(len(own)) != at if top is not None else slice(at + 1, None)
                    own, places = own[chosen], places[chosen]
                found.append((ids[row], *self._chosen(self._corrected(own), places)))
            return found

        pairs = len(one) * (len(one) - 1) // 2 if same else len(one) * len(other)
        self._progress.start("predicting", pairs, "pairs")
        for start, stripe in compute_ahead(range(0, len(one), step), score, self.request.blocks):
            a: list[str] = []
            b: list[str] = []
            for name, places, _said in stripe:
                a += [name] * len(places)
                b += names[places].tolist()
            if a:
                yield Predicted(a, b, np.concatenate([said for _name, _places, said in stripe]))
            done = min(step, len(one) - start)
            last = start + done
            covered = sum(len(one) - 1 - r for r in range(start, last)) if same else 0
            self._progress.advance(covered if same else done * len(other))
        self.rows = self.answered = pairs
        self._progress.finish()

    def _chosen(self, said: Floats, places: Rows) -> tuple[Rows, Floats]:
        """Choose what is given of one protein: all, enough probability, the best partners."""
        best = said.max(axis=1) if said.shape[1] > 1 else said[:, 0]
        kept = np.arange(len(said))
        if self.request.min_probability is not None:
            kept = np.flatnonzero(best >= np.float32(self.request.min_probability))
        top = self.request.top_k
        if top is not None:
            if len(kept) > top:
                # Of equal ones the earlier protein, so all that reach the last place take part.
                last = np.partition(best[kept], len(kept) - top)[len(kept) - top]
                kept = kept[best[kept] >= last]
            kept = kept[np.argsort(-best[kept], kind="stable")][:top]
        return places[kept], said[kept]


def _check(request: PredictRequest) -> None:
    asked = [request.pairs is not None, request.bipartite is not None, request.every]
    if sum(asked) != 1:
        what = "nothing to predict" if not any(asked) else "more than one thing to predict"
        raise UsageError(
            what,
            code="usage.conflicting_options",
            hint="give a list of pairs, --bipartite A B, or --all",
        )
    if request.top_k is not None and request.pairs is not None:
        raise UsageError(
            "--top-k is for --all and --bipartite",
            code="usage.conflicting_options",
            hint="drop it",
        )
    if request.min_score is not None and request.pairs is None:
        raise UsageError(
            "--min-score is for a list of pairs", code="usage.conflicting_options", hint="drop it"
        )
    if request.top_k is not None and request.top_k < 1:
        raise UsageError(
            f"--top-k {request.top_k} gives none",
            code="usage.bad_value",
            hint="ask for 1",
        )
    least = request.min_probability
    if least is not None and not 0 <= least <= 1:
        raise UsageError(
            f"--min-probability {least:g} is not a probability",
            code="usage.bad_value",
            hint="use 0 to 1",
        )
    read = [request.pairs, *(request.bipartite or ()), *request.inputs]
    if not request.inputs and not (request.bipartite and all(map(has_proteins, request.bipartite))):
        raise UsageError(
            "no vectors and no sequences of the proteins",
            code="usage.no_input",
            hint="give stores or FASTA files with --embeddings, or two of them to --bipartite",
        )
    if read.count("-") > 1:
        raise UsageError("standard input (-) can be read once only", code="usage.stdin_twice")
