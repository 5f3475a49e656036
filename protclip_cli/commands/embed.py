"""``protclip embed``: sequences or structures become an HDF5 store of vectors."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from protclip_cli.boundary import EXIT_PARTIAL, say
from protclip_cli.output import Target, Value, split_suffix, target, write_rows, write_values
from protclip_cli.terminal import Terminal, list_left_out
from protclip_core.errors import UsageError
from protclip_core.options import OUTPUT, Opt
from protclip_core.records import counted
from protclip_core.vectors.embed_request import EmbedRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from protclip_core.store.spool import SpooledRecord
    from protclip_core.vectors.embed_job import EmbedReport

EPILOG = """\
Examples:
  protclip embed proteins.fasta                  writes proteins.h5
  zcat x.fa.gz | protclip embed - -o x.h5        from a pipe
  protclip embed proteomes/ -o all.h5            the FASTA files of a folder
  ls */*.faa | protclip embed @- -o all.h5       the files of a list
  protclip embed model.cif.gz --modality sequence
  protclip embed x.fa -o - | cut -f 1-4          vectors as TSV:
    protein_id  length  flags  e1
    P69905      142     0      -0.0123"""
_STORES = (".h5", ".hdf5", ".he5")
_TABLES = {".tsv": "tsv", ".csv": "csv"}


def embed(
    terminal: Terminal,
    request: EmbedRequest,
    *,
    to_tsv: Annotated[
        bool,
        Opt(
            "Write TSV instead of HDF5, to -o or standard output; length: the embedded residues.",
            panel=OUTPUT,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        Opt(
            "Only report records, residues, disk, memory and, by a short trial, time.", panel=OUTPUT
        ),
    ] = False,
) -> None:
    """Embed proteins: FASTA or structures in, vectors out, nothing lost."""
    from protclip_core.io.inputs import expand_inputs

    output = request.output
    suffix = "" if output is None else split_suffix(output)[0]
    if to_tsv or str(output) == "-" or suffix in _TABLES:
        request = replace(request, inputs=expand_inputs(request.inputs))
        if dry_run:
            _show_plan(replace(request, output=None), terminal)
        else:
            form = "auto" if suffix in _TABLES else "tsv"
            to = target(
                None if output is None else str(output),
                form,
                overwrite=request.overwrite,
                inputs=request.inputs,
            )
            _to_table(replace(request, output=None), replace(to, form=_form(to)), terminal)
        return
    if not (dry_run and output is None):
        request = replace(request, output=_store_path(output, request.inputs))
    request = replace(request, inputs=expand_inputs(request.inputs))
    if dry_run:
        _show_plan(request, terminal)
    else:
        _to_store(request, terminal)


def _form(to: Target) -> str:
    return "tsv" if to.form == "auto" else to.form


def _store_path(output: Path | None, sources: tuple[str, ...]) -> Path:
    """Return where the store goes: the given name, else the one input's name with .h5."""
    from protclip_core.io.outputs import check_outputs

    hint = "give the store a name with -o OUT.h5"
    if output is not None:
        check_outputs(sources, (output,), hint="choose another -o")
        if output.is_dir():
            hint = "give the name of a file"
            raise UsageError("is a folder", code="usage.is_directory", where=str(output), hint=hint)
        if output.suffix.lower() not in _STORES and not (output.exists() and not output.is_file()):
            raise UsageError(
                "a store is HDF5",
                code="usage.output_suffix",
                where=str(output),
                hint=f"name it {output.with_suffix('.h5').name}, or write .tsv or .csv; "
                "protclip store export makes .npy of a store",
            )
        return output
    if sources == ("-",):
        raise UsageError("standard input has no name", code="usage.unnamed_output", hint=hint)
    if len(sources) > 1 or sources[0].startswith("@"):
        message = "several inputs need a name for the store"
        raise UsageError(message, code="usage.unnamed_output", hint=hint)
    path = Path(sources[0])
    if path.is_dir():
        if path.name in ("", ".."):
            message = "this folder does not name a store"
            raise UsageError(message, code="usage.unnamed_output", where=sources[0], hint=hint)
        return path.with_name(f"{path.name}.h5")
    # What a descriptor's path leads to may well be a plain file; its name does not name a store.
    descriptor = re.fullmatch(r"/dev/(stdin|fd/\d+)|/proc/\w+/fd/\d+", sources[0])
    if descriptor or (path.exists() and not path.is_file()):
        message = "is not a plain file"
        raise UsageError(message, code="usage.unnamed_output", where=sources[0], hint=hint)
    if path.suffix.lower() in (".gz", ".bz2", ".zst", ".xz"):
        path = path.with_suffix("")
    return path.with_suffix(".h5")


def _to_store(request: EmbedRequest, terminal: Terminal) -> None:
    from protclip_core.tasks.embed.task import embed_to_store

    report = embed_to_store(request, terminal.progress())
    rate = f" ({report.residues / report.seconds:,.0f} residues/s)" if report.computed else ""
    reused = f", {report.reused:,} reused" if report.reused else ""
    computed = counted(report.computed, report.modality)
    terminal.tell(
        f"{request.output}: {counted(report.records, 'protein')}; "
        f"{computed} embedded in {report.seconds:.1f} s{rate}{reused}"
    )
    _end_partial(report)


def _to_table(request: EmbedRequest, to: Target, terminal: Terminal) -> None:
    """Stream rows to standard output, or whole into a file."""
    for chosen, name in (
        (request.resume, "--resume"),
        (request.per_residue, "--per-residue"),
        (request.layout != "packed", "--layout"),
        (request.store_dtype != "float32", "--store-dtype"),
    ):
        if chosen:
            hint = "write a store (-o OUT.h5)"
            raise UsageError(
                f"{name} is for stores only", code="usage.conflicting_options", hint=hint
            )
    from protclip_core.vectors.embed_job import EmbedReport
    from protclip_core.vectors.embed_rows import embed_rows

    report = EmbedReport()
    with to.open() as out:
        blocks = embed_rows(request, terminal.progress(out))
        first = next(blocks)
        if isinstance(first, EmbedReport):
            report = first
        else:
            columns = ["protein_id", "length", "flags"]
            columns += [f"e{number + 1}" for number in range(first[1].shape[1])]

            def rows() -> Iterator[list[Value]]:
                nonlocal report
                block: tuple[list[SpooledRecord], np.ndarray] | EmbedReport = first
                while not isinstance(block, EmbedReport):
                    records, vectors = block
                    for record, vector in zip(records, vectors, strict=True):
                        yield [record.id, record.length, int(record.flags), *vector.tolist()]
                    out.flush()
                    block = next(blocks)
                report = block

            write_values(rows(), columns, to.form, out)
    _end_partial(report)


def _show_plan(request: EmbedRequest, terminal: Terminal) -> None:
    from protclip_core.tasks.embed.plan import plan_embedding

    plan = plan_embedding(request, terminal.progress())
    rows = [{"what": what, "value": value} for what, value in plan.rows()]
    write_rows(rows, ["what", "value"], "auto")
    if plan.failures:
        list_left_out(plan.num_failures, plan.failures)
        raise SystemExit(3 if plan.refused else EXIT_PARTIAL)


def _end_partial(report: EmbedReport) -> None:
    """List what is not in the output, if anything, and end with the code for it."""
    if report.num_failures == 0:
        return
    list_left_out(report.num_failures, report.first_failures)
    if report.failures_path is not None:
        say(f"warning: all of them are listed in {report.failures_path}")
    raise SystemExit(EXIT_PARTIAL)
