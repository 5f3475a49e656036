"""Labels joined with vectors and divided into parts that share no sequence.

Legend: N proteins, D width of a vector.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from protclip_core.errors import InputError
from protclip_core.heads.targets import CLASSES, LABELS, VALUES, Targets
from protclip_core.io.labels import Labelled, LabelTable
from protclip_core.records import Failure, printable
from protclip_core.vectors.block import VectorBlock
from protclip_core.vectors.named import NamedRows

__all__ = [
    "LabelledProteins",
    "as_targets",
    "join",
    "keep_common",
    "keep_known",
    "resolve_task",
    "with_label",
    "with_number",
]

_log = logging.getLogger(__name__)
_SHOWN = 5
#: Of all proteins: with fewer that have several labels, these may be mistakes.
_FEW = 0.05
#: The largest value that a head can hold, which computes in float32.
_LARGEST = float(np.finfo(np.float32).max)
#: How programs write that a value is not known.
_MISSING = {"na", "nan", "n/a", "#n/a", "null", "none"}
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


@dataclass(frozen=True, eq=False)
class LabelledProteins:
    """Proteins that have both a vector and a label.

    Attributes
    ----------
    ids
        Of the proteins, as the vectors have them.
    vectors, digests, lengths, sequences
        As in `VectorBlock`.
    labelled
        Labels and split of each.
    unlabelled, without_vector
        Counts of proteins without a label, and of labels without a protein.
    """

    ids: list[str]
    vectors: np.ndarray
    digests: np.ndarray
    lengths: np.ndarray
    sequences: list[str] | None
    labelled: list[Labelled] = field(default_factory=list)
    unlabelled: int = 0
    without_vector: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: np.ndarray) -> LabelledProteins:
        """Give some of them."""
        numbers = np.flatnonzero(rows) if rows.dtype == bool else rows
        chosen = numbers.tolist()
        return LabelledProteins(
            [self.ids[row] for row in chosen],
            self.vectors[numbers],
            self.digests[numbers],
            self.lengths[numbers],
            None if self.sequences is None else [self.sequences[row] for row in chosen],
            [self.labelled[row] for row in chosen],
        )


def join(table: LabelTable, block: VectorBlock, where: str) -> LabelledProteins:
    """Find the protein of each label; what has no counterpart is counted and named.

    A name of the table is an id of the input, or stands for one as `NamedRows` has it.

    Parameters
    ----------
    table
        Labels.
    block
        All proteins.
    where
        Name of their input.

    Raises
    ------
    InputError
        No label has a protein, or two names of the table are one protein with unlike splits.
    """
    names = NamedRows(where, block.ids)
    found: dict[int, Labelled] = {}
    missing: list[str] = []
    for name, labelled in table.proteins.items():
        row = names.find(name)
        if isinstance(row, str):
            missing.append(name)
            continue
        earlier = found.setdefault(row, labelled)
        if earlier is labelled:
            continue
        if earlier.split != labelled.split:
            raise InputError(
                f"{printable(name)} is {printable(block.ids[row])}, which is in another split in "
                f"line {earlier.place}",
                code="input.two_splits",
                where=f"{table.name}:line {labelled.place}",
            )
        both = list(dict.fromkeys([*earlier.labels, *labelled.labels]))
        found[row] = replace(earlier, labels=both)
    lacking = [id for number, id in enumerate(block.ids) if number not in found]
    _tell(missing, f"of {len(table.proteins):,} labelled proteins are not in {where}")
    _tell(lacking, f"of {len(block.ids):,} proteins of {where} have no label")
    if table.repeats:
        _log.warning("%s: %s lines say nothing new", table.name, f"{table.repeats:,}")
    if not found:
        raise InputError(
            f"none of its {len(table.proteins):,} proteins is in {where}",
            code="input.unknown_protein",
            where=table.name,
            hint="use the ids of the embedded proteins",
        )
    numbers = np.array(sorted(found), np.int64)
    lengths, digests = block.columns()
    kept = LabelledProteins(
        block.ids,
        block.vectors,
        digests,
        lengths,
        block.sequences,
        [Labelled([], "", 0)] * len(block.ids),
    ).take(numbers)
    kept.labelled[:] = [found[row] for row in numbers.tolist()]
    return LabelledProteins(
        **{**vars(kept), "unlabelled": len(lacking), "without_vector": len(missing)}
    )


def resolve_task(asked: str, proteins: LabelledProteins, table: LabelTable) -> tuple[str, str]:
    """Give the task and why: ``"auto"`` is labels where a protein has several, else classes.

    Warns where few proteins decide, and where labels seem to have another mark between them.
    """
    if asked == "regression":
        return VALUES, "--task regression"
    if mark := table.likely_separator():
        _log.warning(
            "%s: most labels hold %r and are taken whole; if it divides labels: "
            "--label-separator '%s'",
            table.name,
            mark,
            mark,
        )
    if asked != "auto":
        return asked, f"--task {asked}"
    if table.is_wide:
        return LABELS, "each label has a column of 0 and 1"
    several = [n for n, p in enumerate(proteins.labelled) if len(p.labels) > 1]
    if not several:
        return CLASSES, "each protein has one label"
    if len(several) < _FEW * len(proteins):
        first = proteins.labelled[several[0]]
        _log.warning(
            "%s: %s of %s proteins with several labels, such as %s (%s), make each label a yes or "
            "no of its own; if that is right, say --task labels, else correct them and say --task "
            "classes",
            table.name,
            f"{len(several):,}",
            f"{len(proteins):,}",
            printable(proteins.ids[several[0]]),
            ", ".join(map(printable, first.labels[:_SHOWN])),
        )
    return LABELS, f"proteins with several labels: {len(several):,} of {len(proteins):,}"


def as_targets(
    task: str, proteins: LabelledProteins, where: str, names: Sequence[str] | None = None
) -> Targets:
    """Read the labels as what a task needs.

    Parameters
    ----------
    task
        Of `protclip_core.heads.targets.TASKS`.
    proteins
        All with a label, see `with_label`.
    where
        Name of the table.
    names
        Labels that are known; default all there are.

    Raises
    ------
    InputError
        Several classes of a protein, a value that is not a number, an unknown label.
    """
    if task == LABELS:
        return Targets.of_labels([p.labels for p in proteins.labelled], names)
    for id, labelled in zip(proteins.ids, proteins.labelled, strict=True):
        if len(labelled.labels) != 1:
            shown = ", ".join(map(printable, labelled.labels[:_SHOWN])) or "none"
            what = "value" if task == VALUES else "class"
            raise InputError(
                f"{printable(id)} has {len(labelled.labels)} labels ({shown}), not one {what}",
                code="input.several_labels",
                where=f"{where}:line {labelled.place}",
                hint="use --task labels" if task == CLASSES else "give each protein one number",
            )
    if task == CLASSES:
        return Targets.of_classes([p.labels[0] for p in proteins.labelled], names)
    return Targets.of_values([_number(p, where) for p in proteins.labelled])


def with_label(proteins: LabelledProteins, task: str) -> LabelledProteins:
    """Leave out proteins whose cell is empty; in a task of labels they have none of them.

    In a regression, NA and NaN are empty cells as well.
    """
    if task == LABELS:
        return proteins
    if task == VALUES:
        proteins.labelled[:] = [
            replace(p, labels=[text for text in p.labels if text.lower() not in _MISSING])
            for p in proteins.labelled
        ]
    bare = [id for id, p in zip(proteins.ids, proteins.labelled, strict=True) if not p.labels]
    if not bare:
        return proteins
    _tell(bare, "proteins have an empty label and are left out")
    return proteins.take(np.array([bool(p.labels) for p in proteins.labelled]))


def with_number(proteins: LabelledProteins, where: str) -> tuple[LabelledProteins, list[Failure]]:
    """Leave out proteins whose value cannot be used, and say which and why."""
    failures = list[Failure]()
    keep = np.ones(len(proteins), bool)
    for row, (id, labelled) in enumerate(zip(proteins.ids, proteins.labelled, strict=True)):
        try:
            _number(labelled, where)
        except InputError as error:
            keep[row] = False
            reason = error.message
            failures.append(Failure(where, labelled.place, id, reason, code="record.not_a_number"))
    return proteins.take(keep), failures


def keep_common(
    proteins: LabelledProteins, task: str, fitted_on: np.ndarray, least: int
) -> tuple[LabelledProteins, np.ndarray]:
    """Leave out classes or labels with fewer than ``least`` proteins to fit on.

    Parameters
    ----------
    proteins
        All with a label.
    task
        Of `protclip_core.heads.targets.TASKS`; values are left as they are.
    fitted_on
        Which are fitted on ``(N,)`` bool.
    least
        At least 1.

    Returns
    -------
    tuple
        Those that are left, and which they are ``(N,)`` bool.

    Raises
    ------
    InputError
        Fewer than two classes or labels are left.
    """
    if task == VALUES:
        return proteins, np.ones(len(proteins), bool)
    counts: dict[str, int] = {}
    for labelled, counts_too in zip(proteins.labelled, fitted_on.tolist(), strict=True):
        for label in labelled.labels:
            counts[label] = counts.get(label, 0) + counts_too
    if len(counts) == 1:
        raise InputError(
            f"all labels are {printable(next(iter(counts)))!r}",
            code="input.one_class",
            hint="give proteins of a second class as well",
        )
    rare = {label: count for label, count in counts.items() if count < least}
    if len(counts) - len(rare) < 2:
        left = sorted(counts.keys() - rare.keys())
        shown = f"only {printable(left[0])!r} has" if left else "none has"
        raise InputError(
            f"of {len(counts):,} labels {shown} {least} proteins or more to fit on, and a head "
            "tells two or more apart",
            code="input.too_few_labels",
            hint="give more data, or lower --min-members",
        )
    shown_rare = [f"{name} ({count})" for name, count in sorted(rare.items())]
    _tell(
        shown_rare,
        f"of {len(counts):,} labels have fewer than {least} proteins to fit on and are left out",
    )
    return _only(proteins, counts.keys() - rare.keys())


def keep_known(
    proteins: LabelledProteins, names: Sequence[str]
) -> tuple[LabelledProteins, np.ndarray]:
    """Leave out labels that a head does not know; returns as `keep_common`."""
    known, unknown = set(names), dict[str, int]()
    for labelled in proteins.labelled:
        for label in labelled.labels:
            if label not in known:
                unknown[label] = unknown.get(label, 0) + 1
    shown = [f"{name} ({count})" for name, count in sorted(unknown.items())]
    _tell(shown, "labels are not known to the head and are left out")
    return _only(proteins, known)


def _only(proteins: LabelledProteins, names: Iterable[str]) -> tuple[LabelledProteins, np.ndarray]:
    """Keep some labels, and no protein that had others alone: it is no example of having none."""
    known = set(names)
    fewer = [
        replace(p, labels=[name for name in p.labels if name in known]) for p in proteins.labelled
    ]
    pairs = zip(fewer, proteins.labelled, strict=True)
    keep = np.array([bool(new.labels) or not old.labels for new, old in pairs], bool)
    kept = proteins.take(keep)
    kept.labelled[:] = [fewer[row] for row in np.flatnonzero(keep).tolist()]
    return kept, keep


def _number(labelled: Labelled, where: str) -> float:
    text = labelled.labels[0]
    place = f"{where}:line {labelled.place}"
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise InputError(
            f"{printable(text)!r} is not a finite number",
            code="input.not_a_number",
            where=place,
            hint="write a point, not a comma, before decimals"
            if _DECIMAL_COMMA.fullmatch(text)
            else "correct it, or leave such lines out with --on-error skip",
        )
    if abs(value) > _LARGEST:
        raise InputError(
            f"{printable(text)} is beyond what a head can hold, {_LARGEST:.2g}",
            code="input.value_too_large",
            where=place,
            hint="use another unit or a logarithm, or leave the line out",
        )
    return value


def _tell(names: Sequence[str], what: str) -> None:
    """Warn with the number and the first five; nothing where there are none."""
    if names:
        shown = ", ".join(printable(name) for name in names[:_SHOWN])
        more = ", …" if len(names) > _SHOWN else ""
        _log.warning("%s %s: %s%s", f"{len(names):,}", what, shown, more)
