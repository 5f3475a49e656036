"""An option is declared once: as an annotated field of a request.

A request is a frozen dataclass whose fields carry an `Opt`: its help, its spellings, its bounds.
`protclip_cli.wire` makes a command of it, with help in panels, and reads and writes it as a JSON
job file; a library user makes the dataclass and passes it to the task. What several commands share
stands here, so that it has one name, one meaning and one help everywhere.

This module knows nothing of the terminal and imports nothing that takes time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from protclip_core.errors import UsageError

#: Panels of the help; an option without one stands under "Options".
INPUT, OUTPUT, COMPUTE = "Input", "Output", "Model and device"
_READ = {"A B", "FASTA", "FILE", "HEAD", "ID|FASTA", "NAME", "OBO", "PAIRS", "STORE", "STORE|FASTA"}
#: Bootstrap resamples of an interval.
RESAMPLES = 1000


class Opt:
    """How a field is given on the command line.

    Parameters
    ----------
    help
        One sentence.
    flags
        Spellings; none: ``--field-name``. ``"--a/--no-a"`` switches on and off.
    metavar
        What stands for the value.
    panel
        Heading in the help; default: "Input" where the metavar says that something is read, else
        "Options".
    shown
        The default in words, where it is more than the value; "" shows none.
    min, max
        Bounds of a number.
    argument
        A positional argument.
    pipe
        Of inputs: where none are given and something is piped in, standard input is read.
    read
        Reads the value from its text; a value that comes from a job file is not text.
    choices
        The words to choose from, of a field that is plain text for the library.
    old
        Earlier spellings, which work with a warning; ``"--strict=fail"`` is a switch that stands
        for a value.
    """

    def __init__(
        self,
        help: str,
        *flags: str,
        metavar: str | None = None,
        panel: str | None = None,
        shown: str | None = None,
        min: float | None = None,
        max: float | None = None,
        argument: bool = False,
        pipe: bool = False,
        read: Callable[[str], Any] | None = None,
        choices: tuple[str, ...] = (),
        old: tuple[str, ...] = (),
    ) -> None:
        self.help, self.flags, self.metavar = help, flags, metavar
        self.panel = panel or (INPUT if metavar in _READ else "Options")
        self.shown, self.min, self.max = shown, min, max
        self.argument, self.pipe, self.read = argument, pipe, read
        self.choices, self.old = choices, old


def opt(default: Any, help: str, *flags: str, **more: Any) -> Any:
    """Return a field of a request with its default and its `Opt`.

    Types that several requests share carry an `Opt` as ``Annotated`` instead; where a field has
    both, this one counts.
    """
    return field(default=default, metadata={"opt": Opt(help, *flags, **more)})


def read_list(text: str) -> tuple[str, ...]:
    """Read ``a,b`` as its parts.

    Examples
    --------
    >>> read_list("mf, BP")
    ('mf', 'BP')
    """
    return tuple(part.strip() for part in text.split(",") if part.strip())


def read_shares(text: str) -> tuple[float, ...]:
    """Read ``0.001``, or shares of several classes divided by commas.

    Raises
    ------
    UsageError
        A share that is not a number.

    Examples
    --------
    >>> read_shares("0.2,0.7,0.1")
    (0.2, 0.7, 0.1)
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        message = f"--prevalence {text!r} is not a number"
        hint = "give the share of the class where the head is used, such as 0.001"
        raise UsageError(message, code="usage.bad_prevalence", hint=hint) from error


def read_range(text: str) -> tuple[int, int]:
    """Read ``100-180``, or one position.

    Raises
    ------
    UsageError
        Not a range, or one that ends before it begins.

    Examples
    --------
    >>> read_range("100-180"), read_range("-5--2"), read_range("7")
    ((100, 180), (-5, -2), (7, 7))
    """
    import re

    found = re.fullmatch(r"(-?[0-9]{1,9})(?:-(-?[0-9]{1,9}))?", text.strip(), re.ASCII)
    hint = "write it as 100-180"
    if found is None:
        raise UsageError(f"--region {text!r} is not a range", code="usage.bad_value", hint=hint)
    first = int(found[1])
    last = int(found[2]) if found[2] else first
    if last < first:
        message = f"--region {text!r} ends before it begins"
        raise UsageError(message, code="usage.bad_value", hint=hint)
    return first, last


def read_tokens(text: str) -> int | None:
    """Read ``auto`` (None) or a positive number of tokens.

    Raises
    ------
    UsageError
        Anything else.
    """
    if text == "auto":
        return None
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    message = f"--batch-tokens {text!r} is not a number"
    raise UsageError(message, code="usage.bad_value", hint="use auto or a number")


Inputs = Annotated[
    tuple[str, ...],
    Opt(
        "A store, or FASTA or structure files, plain or compressed; '-', or nothing and a pipe: "
        "standard input.",
        metavar="INPUT",
        argument=True,
        pipe=True,
    ),
]
Vectors = Annotated[
    tuple[str, ...],
    Opt("Stores and FASTA files (repeatable), or '-'.", "--embeddings", metavar="STORE|FASTA"),
]
Labels = Annotated[
    str,
    Opt(
        "Table with the columns protein_id, label and, optionally, split.",
        metavar="LABELS",
        argument=True,
    ),
]
Pairs = Annotated[str, Opt("List of pairs; '-': standard input.", metavar="PAIRS", argument=True)]
Sequences = Annotated[
    str | None, Opt("Sequences of the proteins of a store.", "--sequences", metavar="FASTA")
]
Annotations = Annotated[
    str | None, Opt("GO terms of known proteins: GAF, or protein<TAB>term.", metavar="FILE")
]
Evidence = Annotated[
    tuple[str, ...] | None,
    Opt(
        "Annotations to keep: experimental (also of high throughput), curated (all but IEA), "
        "all, or codes such as IDA,IMP.",
        metavar="CODES",
        shown="all but ND",
        read=read_list,
    ),
]
VariantColumn = Annotated[
    str | None, Opt("Column with the variants.", metavar="NAME", shown="detected")
]
HeadFile = Annotated[Path, Opt("Head to use.", "--head", metavar="HEAD")]
HeadOutput = Annotated[
    Path, Opt("Head file to write.", "-o", "--output", metavar="HEAD", panel=OUTPUT)
]
Overwrite = Annotated[
    bool, Opt("Replace output files that already exist.", "--overwrite", panel=OUTPUT)
]

Model = Annotated[
    str | None,
    Opt("Name or path of a model.", panel=COMPUTE, shown="the store's own, else protclip-mini"),
]
FitModel = Annotated[
    str | None,
    Opt("Name or path of the model for FASTA input.", panel=COMPUTE, shown="protclip-mini"),
]
HeadModel = Annotated[
    str | None, Opt("Name or path of the model for FASTA input.", panel=COMPUTE, shown="the head's")
]
VectorsModel = Annotated[
    str | None,
    Opt("Model of stored vectors that do not name one, as other tools write them.", metavar="NAME"),
]
Space = Literal["encoder", "joint"]
Device = Annotated[str, Opt("auto, cpu, cuda, cuda:N or mps.", panel=COMPUTE)]
Workers = Annotated[
    int | None,
    Opt(
        "CPU workers.",
        min=1,
        panel=COMPUTE,
        shown="one per core, at most OMP_NUM_THREADS or SLURM_CPUS_PER_TASK",
    ),
]
Threads = Annotated[int, Opt("Threads for fitting.", min=1, panel=COMPUTE)]
Seed = Annotated[int, Opt("Random seed.", min=0)]
Resamples = Annotated[
    int, Opt("Bootstrap resamples for the 95 % intervals; 0: no intervals.", min=0)
]
OnError = Annotated[
    str,
    Opt(
        "Bad records: stop without results, or leave them out and list them.",
        panel=INPUT,
        choices=("fail", "skip"),
    ),
]
#: Of commands that compare proteins: there a pair without a vector still has its row or reason.
PairOnError = Annotated[
    str,
    Opt(
        "Bad FASTA records: stop without results, or leave them out and list them. Stored vectors "
        "that are zero or not finite are always left out and listed.",
        panel=INPUT,
        choices=("fail", "skip"),
    ),
]
Modality = Annotated[
    Literal["auto", "sequence", "structure"],
    Opt(
        "Of structure files embed the sequences of the chains, or their structure; auto: the "
        "structure.",
        panel=INPUT,
    ),
]
Chains = Annotated[
    tuple[str, ...] | None,
    Opt(
        "Chains to read of structure files.",
        "--chain",
        metavar="A,B",
        panel=INPUT,
        shown="all",
        read=read_list,
    ),
]
TopK = Annotated[int | None, Opt("List at most this many.", metavar="K", shown="")]
MinProbability = Annotated[
    float | None, Opt("List only what has at least this probability.", shown="")
]
MinScore = Annotated[
    float | None,
    Opt(
        "Leave out pairs with a lower score in the list, such as 700 of STRING's combined score.",
        panel=INPUT,
        shown="",
    ),
]
Prevalence = Annotated[
    tuple[float, ...] | None,
    Opt(
        "Correct probabilities to this share of the positive class (or of each class, divided by "
        "commas).",
        metavar="X",
        read=read_shares,
        shown="as the head was calibrated",
    ),
]
ExcludeSelf = Annotated[bool, Opt("Ignore a match with the same id.", "--exclude-self")]
Ratio = Annotated[float, Opt("Negatives to sample per interaction, if the list has none.")]
Negatives = Annotated[
    Literal["uniform", "degree"],
    Opt("Sample them uniformly, or by how many interactions each protein has.", "--negatives"),
]
#: The command line, for files that say how they were made; not an option.
Command = Annotated[str, "the command line"]
