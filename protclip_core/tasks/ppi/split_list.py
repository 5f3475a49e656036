"""Split a list of pairs, and say what its parts share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError, UsageError
from protclip_core.heads.seen import keys_of_texts
from protclip_core.io.clusters import similar_groups, some_aligner
from protclip_core.io.fasta import read_fasta
from protclip_core.io.pairs.lists import SPLITS
from protclip_core.records import Failure, printable
from protclip_core.tasks.ppi.leaks import LeakReport, TrainedOn
from protclip_core.tasks.ppi.pairs import PairSet, read_pair_set
from protclip_core.tasks.ppi.request import SplitRequest
from protclip_core.tasks.ppi.split import split_pairs

__all__ = ["SplitReport", "split_list"]


@dataclass(kw_only=True)
class SplitReport:
    """The result.

    Attributes
    ----------
    pairs
        The list, each pair once.
    splits
        Number in `protclip_core.io.pairs.lists.SPLITS` of each pair.
    sizes
        Pairs of each part.
    leaks
        Of ``valid`` and ``test``, against ``train``.
    groups, proteins
        Distinct sequences or clusters, and proteins.
    """

    pairs: PairSet
    splits: npt.NDArray[np.int64]
    sizes: dict[str, int] = field(default_factory=dict)
    leaks: dict[str, LeakReport] = field(default_factory=dict)
    groups: int = 0
    proteins: int = 0


def split_list(request: SplitRequest) -> SplitReport:
    """Split a list.

    Raises
    ------
    UsageError
        A split by clusters without sequences, or without a program that finds them.
    InputError
        A list or a FASTA file that cannot be used; a part that stays empty.
    """
    if request.sequences is None:
        if request.settings.method == "cluster":
            raise UsageError(
                "clusters need sequences",
                code="usage.needs_sequences",
                hint="give a FASTA file with --sequences",
            )
        pairs = read_pair_set(request.pairs, least_score=request.min_score)
        names = pairs.proteins
        keys = keys_of_texts(names)
        groups = np.arange(len(names), dtype=np.int64)
    else:
        if [request.pairs, request.sequences].count("-") > 1:
            raise UsageError("standard input (-) can be read once only", code="usage.stdin_twice")
        sequences = _sequences(request.sequences)
        names, rows = list(sequences), {name: row for row, name in enumerate(sequences)}
        where = Path(request.sequences).name

        def find(name: str) -> int | str:
            return rows.get(name, f"no protein {printable(name)!r} in {where}")

        pairs = read_pair_set(request.pairs, find, names=names, least_score=request.min_score)
        keys = keys_of_texts(sequences.values())
        groups = np.unique(keys, return_inverse=True)[1].astype(np.int64)
        if request.settings.method == "cluster":
            groups = _clusters(list(sequences.values()))
    splits = split_pairs(pairs.a, pairs.b, groups, request.settings)
    used = np.unique(np.concatenate([pairs.a, pairs.b]))
    report = SplitReport(
        pairs=pairs, splits=splits, groups=len(np.unique(groups[used])), proteins=len(used)
    )
    parts = {name: np.flatnonzero(splits == number) for number, name in enumerate(SPLITS)}
    report.sizes = {name: len(rows) for name, rows in parts.items()}
    train = pairs.take(parts["train"])
    trained = TrainedOn.of(keys, train.a, train.b)
    for name in ("valid", "test"):
        if len(parts[name]):
            part = pairs.take(parts[name])
            report.leaks[name] = LeakReport.of(
                trained,
                keys,
                part.a,
                part.b,
                by_sequence=request.sequences is not None,
                train_proteins=np.unique(np.concatenate([train.a, train.b])),
            )
    return report


def _clusters(sequences: list[str]) -> npt.NDArray[np.int64]:
    aligner = some_aligner()
    if aligner is None:
        raise UsageError(
            "clusters need mmseqs or diamond, and neither is on the path",
            code="usage.no_aligner",
            hint="install one, such as with: conda install -c bioconda mmseqs2",
        )
    return similar_groups(aligner, sequences).astype(np.int64)


def _sequences(path: str) -> dict[str, str]:
    """Read sequences by id; a record that cannot be read is as if it were not there."""
    found: dict[str, str] = {}
    failed: list[Failure] = []
    for record in read_fasta(path, on_failure=failed.append):
        if found.setdefault(record.id, record.sequence) != record.sequence:
            raise InputError(
                f"{printable(record.id)!r} has another sequence in an earlier record",
                code="input.duplicate_id",
                where=record.where,
                hint="give each protein one sequence",
            )
    return found
