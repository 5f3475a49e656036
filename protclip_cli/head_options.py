"""Arguments and options of ``protclip classify``, each with the help that it has everywhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "HeadOption",
    "Kind",
    "LabelsArgument",
    "SequencesOption",
    "SplitKind",
    "Task",
    "Weight",
]


class Task(StrEnum):
    """What labels are."""

    AUTO = "auto"
    CLASSES = "classes"
    LABELS = "labels"
    REGRESSION = "regression"


class Kind(StrEnum):
    """Which estimator."""

    AUTO = "auto"
    LOGISTIC = "logistic"
    RIDGE = "ridge"
    MLP = "mlp"
    BOOSTING = "boosting"


class SplitKind(StrEnum):
    """How proteins are divided."""

    AUTO = "auto"
    COLUMN = "column"
    CLUSTER = "cluster"
    RANDOM = "random"
    NONE = "none"


class Weight(StrEnum):
    """Whether rare classes weigh more."""

    AUTO = "auto"
    BALANCED = "balanced"
    NONE = "none"


LabelsArgument = Annotated[
    str,
    typer.Argument(
        metavar="LABELS", help="Table with the columns protein_id, label and, if wanted, split."
    ),
]
HeadOption = Annotated[
    Path, typer.Option("--head", metavar="HEAD", help="Head that fit wrote.", show_default=False)
]
SequencesOption = Annotated[
    str | None,
    typer.Option(
        metavar="FASTA",
        help="Sequences of a store's proteins: for the baseline of composition, and clusters.",
        show_default=False,
    ),
]
