"""Parts of labelled proteins: to fit on, to choose by, to measure on; none shares a sequence.

Legend: N proteins.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from protclip_core.errors import InputError, UsageError
from protclip_core.heads.folds import deal, group_numbers, strata
from protclip_core.heads.targets import CLASSES, Targets
from protclip_core.io.clusters import COVERAGE, IDENTITY, connected, similar_groups, some_aligner
from protclip_core.io.labels import SPLITS, LabelTable
from protclip_core.records import counted, printable
from protclip_core.tasks.classify.data import LabelledProteins

__all__ = ["SPLIT_KINDS", "TEST", "TRAIN", "VALID", "Split", "split_proteins"]

_log = logging.getLogger(__name__)

AUTO, COLUMN, CLUSTER, RANDOM, NONE = SPLIT_KINDS = ("auto", "column", "cluster", "random", "none")
TRAIN, VALID, TEST = range(3)
#: Part of proteins whose sequence stands in a part that is measured on as well.
DROPPED = 3


@dataclass(frozen=True, eq=False)
class Split:
    """Which protein is in which part.

    Attributes
    ----------
    kind
        Of `SPLIT_KINDS`, but ``"auto"``.
    parts
        `TRAIN`, `VALID`, `TEST` or `DROPPED` ``(N,)``.
    groups
        Sequences, or clusters of them ``(N,)``: folds within training do not tear them either.
    leakage
        What is known of likeness between training and test, in words, a line each.
    """

    kind: str
    parts: np.ndarray
    groups: np.ndarray
    leakage: tuple[str, ...]

    def take(self, rows: np.ndarray) -> Split:
        """Give that of some proteins."""
        return replace(self, parts=self.parts[rows], groups=self.groups[rows])


def split_proteins(
    proteins: LabelledProteins,
    targets: Targets,
    asked: str,
    *,
    test_share: float,
    seed: int,
    table: LabelTable,
) -> Split:
    """Divide proteins.

    Parameters
    ----------
    proteins, targets
        What is divided; classes are spread evenly.
    asked
        ``"column"``: as the table says; ``"cluster"``: by groups of similar sequences, which
        needs sequences and MMseqs2 or DIAMOND; ``"random"``; ``"none"``: all is fitted on;
        ``"auto"``: as the table says, else random. Equal sequences are always together: of those
        that a table puts apart, the ones to be measured on stay.
    test_share
        Of proteins that are made the test, between 0 and 1.
    seed
        Of what is drawn.
    table
        Where the labels are from: proteins of one of its groups are together, too.

    Raises
    ------
    UsageError
        An unknown word, a share out of range, or clusters that cannot be made.
    InputError
        Nothing is left to fit on, or to measure on.
    """
    if asked not in SPLIT_KINDS:
        raise UsageError(
            f"split {asked!r} is not known",
            code="usage.unknown_value",
            hint=f"use {', '.join(SPLIT_KINDS)}",
        )
    if not 0 < test_share < 1:
        raise UsageError(
            f"--test-share {test_share:g} is out of range",
            code="usage.bad_value",
            hint="use 0.1 to 0.5",
        )
    has_column = any(p.split for p in proteins.labelled)
    if asked == COLUMN and not has_column:
        raise UsageError(
            "the table does not have a column 'split'",
            code="usage.no_split_column",
            hint="use --split random",
        )
    sequences = _sequence_numbers(proteins)
    # Never by what is on the path: the same command makes the same split everywhere.
    kind = (COLUMN if has_column else RANDOM) if asked == AUTO else asked
    groups = _clusters(proteins) if kind == CLUSTER else sequences
    groups, of_groups = _with_groups(groups, proteins, table)
    _tell_column(kind, table)
    if kind == COLUMN:
        parts, told = _by_column(proteins, sequences)
        of_groups += _torn_groups(proteins, parts)
    elif kind == NONE:
        parts, told = np.full(len(proteins), TRAIN), ()
    else:
        parts = np.where(
            deal(groups, [1 - test_share, test_share], seed, strata(targets)) == 0, TRAIN, TEST
        )
        told = (_repeats(sequences),)
    _check_parts(parts, kind, groups, targets, test_share)
    return Split(kind, parts, groups, (*told, *of_groups, _kinship(kind)))


def _with_groups(
    groups: np.ndarray, proteins: LabelledProteins, table: LabelTable
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Join what equal sequences, clusters and the groups of the table hold together."""
    if not table.group_column:
        return groups, ()
    nodes: dict[object, int] = {}
    links = list[tuple[int, int]]()
    for row, protein in enumerate(proteins.labelled):
        links.append((row, len(proteins) + int(groups[row])))
        if protein.group:
            node = nodes.setdefault(protein.group, 2 * len(proteins) + len(nodes))
            links.append((row, node))
    joined = connected(2 * len(proteins) + len(nodes), links)[: len(proteins)]
    return group_numbers(joined.tolist()), (
        f"the {len(nodes):,} groups of column {printable(table.group_column)!r} are kept whole",
    )


def _torn_groups(proteins: LabelledProteins, parts: np.ndarray) -> tuple[str, ...]:
    """Tell of groups that the table itself puts in two parts."""
    places: dict[str, set[int]] = {}
    for protein, part in zip(proteins.labelled, parts.tolist(), strict=True):
        if protein.group and part != DROPPED:
            places.setdefault(protein.group, set()).add(part)
    torn = [group for group, where in places.items() if len(where) > 1]
    if not torn:
        return ()
    told = (
        f"{len(torn):,} groups, such as {printable(torn[0])!r}, stand in two parts of the table's "
        "own split, which flatters the figures"
    )
    _log.warning("%s", told)
    return (told,)


def _tell_column(kind: str, table: LabelTable) -> None:
    """Warn where a column is taken as the split by its cells, or looks like one and is not."""
    if kind == COLUMN and table.split_column.lower() != "split":
        _log.warning(
            "%s: column %r is taken as the split; --split random makes another",
            table.name,
            table.split_column,
        )
    elif table.passed_over:
        _log.warning(
            "%s: column %r is passed over: its cells are not train, valid and test; to keep its "
            "proteins together: --group-column '%s'",
            table.name,
            table.passed_over[0],
            table.passed_over[0],
        )


def _sequence_numbers(proteins: LabelledProteins) -> np.ndarray:
    """Give equal sequences one number; a protein whose sequence is unknown is alone."""
    keys = [
        digest.tobytes() if digest.any() else row
        for row, digest in enumerate(np.ascontiguousarray(proteins.digests))
    ]
    return group_numbers(keys)


def _clusters(proteins: LabelledProteins) -> np.ndarray:
    if not proteins.sequences:
        raise UsageError(
            "clusters need sequences, which a store does not hold",
            code="usage.needs_sequences",
            hint="give the FASTA file with --sequences, or use --split random",
        )
    aligner = some_aligner()
    if aligner is None:
        raise UsageError(
            "neither mmseqs nor diamond is on the path",
            code="usage.no_aligner",
            hint="install one, such as with: conda install -c bioconda mmseqs2; or use "
            "--split random",
        )
    return similar_groups(aligner, proteins.sequences)


def _by_column(
    proteins: LabelledProteins, sequences: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Take the parts of the table; a sequence that stands in two stays in the later one."""
    parts = np.array([SPLITS.index(p.split) for p in proteins.labelled])
    latest = np.zeros(int(sequences.max()) + 1, np.int64)
    np.maximum.at(latest, sequences, parts)
    torn = parts < latest[sequences]
    told = "no sequence stands in two parts"
    if torn.any():
        told = (
            f"{counted(int(torn.sum()), 'protein')} left out of train and valid: the same "
            "sequence is in a part that is measured on"
        )
        _log.warning("%s", told)
    return np.where(torn, DROPPED, parts), (told,)


def _repeats(sequences: np.ndarray) -> str:
    repeated = len(sequences) - len(np.unique(sequences))
    what = counted(repeated, "protein has", "proteins have")
    return f"{what} the sequence of another, and the same part"


def _kinship(kind: str) -> str:
    if kind == CLUSTER:
        return (
            f"no two parts hold sequences of {IDENTITY:g} % identity over {COVERAGE:g} % of one "
            "of them, as far as the aligner finds"
        )
    if kind == NONE:
        return "measured on folds, which may hold similar sequences; that flatters the figures"
    told = "similar sequences may stand in two parts, which flatters the figures"
    return f"{told}; --split cluster keeps them together" if kind == RANDOM else told


def _check_parts(
    parts: np.ndarray, kind: str, groups: np.ndarray, targets: Targets, test_share: float
) -> None:
    if not (parts == TRAIN).any():
        raise InputError(
            "no protein is left to fit on", code="input.nothing_to_fit", hint="see the column split"
        )
    if kind not in (CLUSTER, RANDOM) or (parts == TEST).any():
        return
    most = int(targets.counts().max()) if targets.task == CLASSES else 0
    if len(targets.names) > 1 and len(np.unique(groups)) == len(groups) and most:
        raise InputError(
            f"no class has more than {most:,} proteins, and a share of {test_share:g} of that "
            "leaves none for a test",
            code="input.small_classes",
            hint="give more proteins for each class, a larger --test-share, or --split none",
        )
    raise InputError(
        "too few groups of sequences for a test",
        code="input.too_few_groups",
        hint="use --split none, or give more data",
    )
