"""Options of the commands for pairs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from protclip_cli.commands.embed import OnError
from protclip_cli.commands.search import Space
from protclip_cli.options import Format
from protclip_cli.output import stdout

if TYPE_CHECKING:
    from protclip_core.tasks.ppi_vectors import VectorOptions


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
EmbeddingsOption = Annotated[
    list[str],
    typer.Option(
        "--embeddings",
        metavar="STORE|FASTA",
        help="A store, or FASTA files (repeatable) or '-'.",
        show_default=False,
    ),
]
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
SeedOption = Annotated[int, typer.Option(min=0, help="Of all that is drawn.")]
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
    int | None, typer.Option(min=1, help="CPU workers.", show_default="one a core")
]
OnErrorOption = Annotated[
    OnError, typer.Option(help="Bad FASTA records: end, or leave them out and name them.")
]
OutputOption = Annotated[
    str | None,
    typer.Option("-o", "--output", help="File; default standard output.", show_default=False),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


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
    from protclip_core.tasks.ppi_vectors import VectorOptions

    return VectorOptions(
        inputs=tuple(embeddings),
        model=model,
        space=space.value if space is not None else None,
        device=device,
        workers=workers,
        on_error=on_error.value,
    )


def checked_output(output: str | None, *, overwrite: bool) -> Path | None:
    """Refuse early a file that cannot be written."""
    if output in (None, "-"):
        return None
    from protclip_core.errors import UsageError
    from protclip_core.io.atomic import check_writable_target

    path = Path(str(output))
    check_writable_target(path)
    if path.exists() and not overwrite:
        hint = "choose another -o, or replace it with --overwrite"
        raise UsageError("is there already", where=str(path), hint=hint)
    return path


@contextmanager
def opened(path: Path | None) -> Iterator[TextIO]:
    """Give standard output, or a file that appears when all is written."""
    if path is None:
        yield stdout()
        return
    import io

    from protclip_core.io.atomic import open_atomic

    with open_atomic(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="\n")
        yield text
        text.flush()
        text.detach()
