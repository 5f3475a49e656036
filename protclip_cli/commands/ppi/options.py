"""Arguments and options of ``protclip ppi``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from protclip_cli.options import OnError, Space

if TYPE_CHECKING:
    from protclip_core.tasks.ppi.vectors import VectorOptions


class Task(StrEnum):
    """What is predicted."""

    AUTO = "auto"
    INTERACTION = "interaction"
    TYPES = "types"


class Kind(StrEnum):
    """Which estimator."""

    AUTO = "auto"
    LOGISTIC = "logistic"
    MLP = "mlp"
    BOOSTING = "boosting"


class Features(StrEnum):
    """What is made of two vectors."""

    DIFFERENCE = "difference"
    SQUARES = "squares"


class Method(StrEnum):
    """How pairs are split."""

    RANDOM = "random"
    C1 = "c1"
    C2 = "c2"
    C3 = "c3"
    BFS = "bfs"
    DFS = "dfs"
    CLUSTER = "cluster"


class Rule(StrEnum):
    """How negatives are drawn."""

    UNIFORM = "uniform"
    DEGREE = "degree"


PairsArgument = Annotated[str, typer.Argument(metavar="PAIRS", help="List of pairs; '-': stdin.")]
HeadOption = Annotated[
    Path | None,
    typer.Option("--head", metavar="HEAD", help="Head.", show_default="protclip-mini's own"),
]
RatioOption = Annotated[
    float,
    typer.Option(help="Negatives drawn for each interaction, where a list has no negatives."),
]
RuleOption = Annotated[
    Rule,
    typer.Option(
        "--negatives",
        help="How they are drawn: all proteins alike, or by how many interactions each has.",
    ),
]


def cores() -> int:
    """Count the cores that this process may use."""
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def vectors_of(
    embeddings: list[str],
    model: str | None,
    space: Space | None,
    device: str,
    workers: int | None,
    on_error: OnError,
) -> VectorOptions:
    """Gather what says where vectors come from."""
    from protclip_core.tasks.ppi.vectors import VectorOptions

    return VectorOptions(
        inputs=tuple(embeddings),
        model=model,
        space=space.value if space is not None else None,
        device=device,
        workers=workers,
        on_error=on_error.value,
    )
