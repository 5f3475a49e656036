"""``protclip embed``: a FASTA file becomes an HDF5 store of vectors."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from protclip_cli.boundary import EXIT_PARTIAL, say
from protclip_cli.left_out import list_left_out
from protclip_cli.options import (
    DeviceOption,
    Format,
    GlobalOptions,
    OnError,
    OnErrorOption,
    OverwriteOption,
    Space,
    WorkersOption,
    command_line,
    inputs_or_pipe,
    parse_batch_tokens,
)
from protclip_cli.output import write_rows, write_tsv_line
from protclip_cli.output_file import checked_output, open_output
from protclip_cli.progress import make_progress
from protclip_core.errors import UsageError
from protclip_core.models.info import DEFAULT_MODEL

if TYPE_CHECKING:
    from typing import TextIO

    from protclip_core.vectors.embed_job import EmbedReport, EmbedRequest

EPILOG = (
    "Examples:\n\n"
    "  protclip embed proteins.fasta                  writes proteins.h5\n\n"
    "  zcat x.fa.gz | protclip embed - -o x.h5        from a pipe\n\n"
    "  protclip embed x.fa -o - | head -3             vectors as TSV"
)


class Pooling(StrEnum):
    """Which token vectors are averaged."""

    TOKENS = "tokens"
    RESIDUES = "residues"


class Dtype(StrEnum):
    """Type of the matrix products."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class StoreDtype(StrEnum):
    """Type in the file."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"


class Long(StrEnum):
    """What to do with long proteins."""

    WINDOW = "window"
    TRUNCATE = "truncate"
    SKIP = "skip"
    ERROR = "error"


class Layout(StrEnum):
    """Shape of the HDF5 file."""

    PACKED = "packed"
    PER_PROTEIN = "per-protein"


def embed(
    context: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT...",
            help="FASTA files, plain or gz, bz2, zst, xz; '-' or nothing and a pipe: stdin.",
            show_default=False,
        ),
    ] = None,
    *,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            help="Store to write; '-' prints TSV instead. Default: the input's name with .h5.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Name of a model, a bundle, an ESM-2 directory, a fair-esm .pt.")
    ] = DEFAULT_MODEL,
    pooling: Annotated[
        Pooling | None,
        typer.Option(help="Average residues, or tokens (with BOS, EOS). Default: the model's."),
    ] = None,
    space: Annotated[
        Space, typer.Option(help="Encoder vectors, or projected into the space of the texts.")
    ] = Space.ENCODER,
    per_residue: Annotated[
        bool, typer.Option("--per-residue", help="Keep the vector of every residue as well.")
    ] = False,
    layer: Annotated[
        int | None,
        typer.Option(help="Encoder layer, 0 to the last; -1 is the last.", show_default="last"),
    ] = None,
    dtype: Annotated[
        Dtype, typer.Option(help="bfloat16: faster products where the processor has them.")
    ] = Dtype.FLOAT32,
    store_dtype: Annotated[StoreDtype, typer.Option(help="Type of the stored vectors.")] = (
        StoreDtype.FLOAT32
    ),
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    batch_tokens: Annotated[
        str, typer.Option(help="Tokens of one batch; halved when memory runs out.")
    ] = "auto",
    long: Annotated[
        Long, typer.Option(help="Proteins beyond one window: average windows, or else.")
    ] = Long.WINDOW,
    max_length: Annotated[
        int | None,
        typer.Option(help="Residues of one window.", show_default="the model's, 1022"),
    ] = None,
    on_error: OnErrorOption = OnError.FAIL,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run or add to a store.")
    ] = False,
    overwrite: OverwriteOption = False,
    layout: Annotated[
        Layout, typer.Option(help="packed: one matrix; per-protein: a dataset an id.")
    ] = Layout.PACKED,
    to_tsv: Annotated[
        bool,
        typer.Option(
            "--to-tsv",
            help="Write TSV instead of HDF5, to -o or stdout; length: the embedded residues.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell records, residues, disk and memory.")
    ] = False,
) -> None:
    """Embed proteins: FASTA in, vectors out, nothing lost."""
    from protclip_core.vectors.embed_job import EmbedRequest

    options: GlobalOptions = context.obj
    sources = inputs_or_pipe(inputs)
    tsv = to_tsv or output == "-"
    request = EmbedRequest(
        inputs=sources,
        output=None if tsv or (dry_run and output is None) else _store_path(output, sources),
        model=model,
        # Plain text from here on: the words go into the store's attributes.
        pooling=pooling.value if pooling else None,
        space=space.value,
        layer=layer,
        per_residue=per_residue,
        dtype=dtype.value,
        store_dtype=store_dtype.value,
        device=device,
        workers=workers,
        batch_tokens=parse_batch_tokens(batch_tokens),
        long=long.value,
        max_residues=max_length,
        on_error=on_error.value,
        resume=resume,
        overwrite=overwrite,
        layout=layout.value,
        command=command_line(),
    )
    if dry_run:
        _show_plan(request, options)
    elif tsv:
        _to_tsv(request, output, options)
    else:
        _to_store(request, options)


def _store_path(output: str | None, sources: tuple[str, ...]) -> Path:
    """Return where the store goes: what was asked for, else the one input's name with .h5."""
    if output is not None:
        if output.lower().endswith(".tsv"):
            raise UsageError("a store is HDF5", where=output, hint="add --to-tsv, or name it .h5")
        return Path(output)
    if sources == ("-",):
        raise UsageError("standard input has no name", hint="give the store one with -o OUT.h5")
    if len(sources) > 1:
        raise UsageError("several inputs need a name for the store", hint="give -o OUT.h5")
    path = Path(sources[0])
    if not path.name:
        raise UsageError("is a directory", where=sources[0], hint="name a file in it")
    # What a descriptor's path leads to may well be a plain file; its name is none for a store.
    descriptor = re.fullmatch(r"/dev/(stdin|fd/\d+)|/proc/\w+/fd/\d+", sources[0])
    if descriptor or (path.exists() and not path.is_file() and not path.is_dir()):
        hint = "give the store a name with -o OUT.h5"
        raise UsageError("is not a plain file", where=sources[0], hint=hint)
    if path.suffix.lower() in (".gz", ".bz2", ".zst", ".xz"):
        path = path.with_suffix("")
    return path.with_suffix(".h5")


def _to_store(request: EmbedRequest, options: GlobalOptions) -> None:
    from protclip_core.tasks.embed.task import embed_to_store

    report = embed_to_store(request, make_progress(quiet=options.quiet))
    if not options.quiet:
        rate = f" ({report.residues / report.seconds:,.0f} residues/s)" if report.computed else ""
        reused = f", {report.reused:,} reused" if report.reused else ""
        say(
            f"{request.output}: {report.records:,} proteins; {report.computed:,} sequences "
            f"embedded in {report.seconds:.1f} s{rate}{reused}"
        )
    _end_partial(report)


def _to_tsv(request: EmbedRequest, output: str | None, options: GlobalOptions) -> None:
    """Stream rows to standard output, or whole into a file."""
    for chosen, name in (
        (request.resume, "--resume"),
        (request.per_residue, "--per-residue"),
        (request.layout != Layout.PACKED, "--layout"),
        (request.store_dtype != StoreDtype.FLOAT32, "--store-dtype"),
    ):
        if chosen:
            raise UsageError(f"{name} has no meaning for TSV", hint="write a store (-o OUT.h5)")
    path = checked_output(output, overwrite=request.overwrite, inputs=request.inputs)
    with open_output(path) as out:
        report = _write_vectors(request, out, options)
    _end_partial(report)


def _write_vectors(request: EmbedRequest, out: TextIO, options: GlobalOptions) -> EmbedReport:
    from protclip_core.vectors.embed_job import EmbedReport
    from protclip_core.vectors.embed_rows import embed_rows

    header_done = False
    # A bar and rows on one terminal would overwrite each other.
    progress = make_progress(quiet=options.quiet or out.isatty())
    for block in embed_rows(request, progress):
        if isinstance(block, EmbedReport):
            return block
        records, vectors = block
        if not header_done:
            names = [f"e{i + 1}" for i in range(vectors.shape[1])]
            write_tsv_line(out, ["protein_id", "length", "flags", *names])
            header_done = True
        for record, vector in zip(records, vectors, strict=True):
            write_tsv_line(out, [record.id, record.length, int(record.flags), *vector.tolist()])
        out.flush()
    return EmbedReport()


def _show_plan(request: EmbedRequest, options: GlobalOptions) -> None:
    from protclip_core.tasks.embed.plan import plan_embedding

    plan = plan_embedding(request, make_progress(quiet=options.quiet))
    rows = [{"what": what, "value": value} for what, value in plan.rows()]
    write_rows(rows, ["what", "value"], Format.AUTO)
    if plan.failures:
        list_left_out(plan.num_failures, plan.failures)
        raise typer.Exit(3 if plan.refused else EXIT_PARTIAL)


def _end_partial(report: EmbedReport) -> None:
    """List what is not in the output, if anything, and end with the code for it."""
    if report.num_failures == 0:
        return
    list_left_out(report.num_failures, report.first_failures)
    if report.failures_path is not None:
        say(f"warning: all of them are listed in {report.failures_path}")
    raise typer.Exit(EXIT_PARTIAL)
