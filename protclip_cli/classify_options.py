"""Arguments and options of ``protclip classify``, each with the help that it has everywhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from protclip_cli.commands.embed import OnError
from protclip_cli.options import Format

__all__ = [
    "DeviceOption",
    "FormatOption",
    "HeadOption",
    "InputsArgument",
    "Kind",
    "LabelsArgument",
    "ModelOption",
    "OnErrorOption",
    "PlotOption",
    "RESAMPLES",
    "ResamplesOption",
    "SequencesOption",
    "SplitKind",
    "Task",
    "Weight",
    "WorkersOption",
]

RESAMPLES = 1000


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
InputsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT...",
        help="A store, or FASTA files; '-' or nothing and a pipe: stdin.",
        show_default=False,
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
PlotOption = Annotated[
    Path | None,
    typer.Option(
        "--plot", metavar="DIR", help="Draw curves there: precision and recall, calibration."
    ),
]
FormatOption = Annotated[
    Format, typer.Option("--format", help="auto: table on a terminal, TSV elsewhere.")
]
ModelOption = Annotated[
    str | None,
    typer.Option(help="Name or path of a model, for FASTA.", show_default="the head's"),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, help="CPU workers, for FASTA.", show_default="one a core")
]
OnErrorOption = Annotated[
    OnError, typer.Option(help="Bad records: do nothing, or leave them out and name them.")
]
ResamplesOption = Annotated[
    int, typer.Option(min=0, help="Resamples of the 95 % intervals; 0: none.")
]
