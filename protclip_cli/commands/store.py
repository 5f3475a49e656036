"""``protclip store``: look into, check, export and join embedding stores."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from protclip_cli.boundary import say
from protclip_cli.options import Format, FormatOption, OverwriteOption, command_line
from protclip_cli.output import Value, stdout, write_rows, write_tsv_line
from protclip_cli.output_file import refuse_existing
from protclip_core.errors import ModelError, UsageError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look into, check, export and join embedding stores (HDF5).",
)

StorePath = Annotated[Path, typer.Argument(metavar="STORE", help="A store that embed wrote.")]


class Layout(StrEnum):
    """Shape of the HDF5 file."""

    PACKED = "packed"
    PER_PROTEIN = "per-protein"


@app.command(epilog="Example:\n\n  protclip store info proteins.h5")
def info(path: StorePath, *, form: FormatOption = Format.AUTO) -> None:
    """Tell what a store holds and how it was made."""
    from protclip_core.store.reader import EmbeddingStore

    with EmbeddingStore.open(path) as store:
        residues = int(store.lengths.sum())
        facts: dict[str, Value] = {
            "file": str(path),
            "layout": store.layout,
            "proteins": len(store),
            "dimension": store.dim,
            "type": str(store.dtype),
            "per residue": "yes" if store.per_residue else "no",
            "residues": residues,
        }
        facts |= {n: v for n, v in store.attributes.items() if n not in _FORMAT_ATTRIBUTES}
    rows = [{"what": what, "value": value} for what, value in facts.items()]
    write_rows(rows, ["what", "value"], form)


_FORMAT_ATTRIBUTES = {"layout", "dim", "per_residue", "flags_meaning", "ids_sha256"}


@app.command(epilog="Example:\n\n  protclip store show proteins.h5 sp|P69905|HBA_HUMAN")
def show(
    path: StorePath,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", show_default=False)] = None,
    *,
    head: Annotated[int, typer.Option(min=1, help="Proteins shown if no id is given.")] = 20,
    form: FormatOption = Format.AUTO,
) -> None:
    """Show proteins with their length, flags, norm and first numbers."""
    import numpy as np

    from protclip_core.store.reader import EmbeddingStore

    with EmbeddingStore.open(path) as store:
        chosen = [store.row(id) for id in ids] if ids else list(range(min(head, len(store))))
        vectors = store.read(np.array(chosen, np.int64))
        rows: list[dict[str, Value]] = []
        for row, vector in zip(chosen, vectors, strict=True):
            first = " ".join(f"{x:.3f}" for x in vector[:4])
            rows.append(
                {
                    "protein_id": store.ids[row],
                    "length": int(store.lengths[row]),
                    "flags": _flag_names(int(store.flags[row])),
                    "norm": float(np.linalg.norm(vector)),
                    "embedding": f"{first} …" if len(vector) > 4 else first,
                }
            )
        write_rows(rows, ["protein_id", "length", "flags", "norm", "embedding"], form)
        if not ids and len(store) > len(chosen):
            say(f"{len(chosen)} of {len(store):,} proteins (more with --head)")


def _flag_names(flags: int) -> str:
    from protclip_core.records import RecordFlag

    return ",".join(str(flag.name).lower() for flag in RecordFlag(flags) if flag.name)


@app.command(epilog="Example:\n\n  protclip store verify proteins.h5")
def verify(
    paths: Annotated[list[Path], typer.Argument(metavar="STORE...", help="Stores to check.")],
) -> None:
    """Check stores byte by byte; any flipped, missing or added byte is found."""
    from protclip_core.store.tools import verify_store

    problems = []
    for path in paths:
        try:
            found = [f"{path}: {problem}" for problem in verify_store(path)]
        except ModelError as error:  # a store that is missing does not hide what others have
            found = [str(error)]
        problems += found
        if not found:
            write_tsv_line(stdout(), [str(path), "sound"])
    if problems:
        raise ModelError(
            f"{len(problems)} problem{'s' if len(problems) > 1 else ''} found",
            hint="restore from a copy or embed again",
            details=problems[:5],
        )


@app.command(
    epilog="Examples:\n\n  protclip store export proteins.h5 | awk '{print $1, $4}'\n\n"
    "  protclip store export proteins.h5 -o proteins.npy   with proteins.npy.ids.txt beside it"
)
def export(
    path: StorePath,
    *,
    output: Annotated[
        str, typer.Option("-o", "--output", help="'-' (TSV to standard output), .tsv or .npy.")
    ] = "-",
    overwrite: OverwriteOption = False,
) -> None:
    """Write the vectors as TSV (protein_id, length, flags, e1, e2, …) or as a NumPy matrix."""
    from protclip_core.io.atomic import check_writable_target, open_atomic
    from protclip_core.io.outputs import check_outputs
    from protclip_core.store.reader import EmbeddingStore
    from protclip_core.store.tools import export_npy, iter_tsv_rows

    with EmbeddingStore.open(path) as store:
        if output == "-":
            out = stdout()
            for values in iter_tsv_rows(store):
                write_tsv_line(out, values)
            return
        target = Path(output)
        if target.suffix not in (".tsv", ".npy"):
            raise UsageError(f"{output}: unknown form", hint="use a name in .tsv or .npy, or -")
        names = target.with_name(f"{target.name}.ids.txt")
        outputs = (target, names) if target.suffix == ".npy" else (target,)
        check_outputs((path,), outputs, hint="choose another -o")
        for written in outputs:
            check_writable_target(written)
            refuse_existing(written, overwrite=overwrite)
        if target.suffix == ".npy":
            export_npy(store, target)
            with open_atomic(names) as file:
                for id in store.ids:
                    file.write(f"{id}\n".encode())
            return
        with open_atomic(target) as file:
            for values in iter_tsv_rows(store):
                cells = [f"{v:.9g}" if isinstance(v, float) else str(v) for v in values]
                file.write(("\t".join(cells) + "\n").encode())


@app.command(epilog="Example:\n\n  protclip store merge human.h5 mouse.h5 -o both.h5")
def merge(
    paths: Annotated[list[Path], typer.Argument(metavar="STORE...", help="Stores to join.")],
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="The store to write.")],
    layout: Annotated[Layout, typer.Option(help="Shape of the new store.")] = Layout.PACKED,
    overwrite: OverwriteOption = False,
) -> None:
    """Join stores that were made by one model with one set of settings."""
    from protclip_core._version import __version__
    from protclip_core.io.outputs import check_outputs, lock_name
    from protclip_core.records import printable
    from protclip_core.store.tools import merge_stores

    refuse_existing(output, overwrite=overwrite)
    check_outputs(paths, (output, lock_name(output)), hint="give the new store its own name")
    attributes = {
        "created_by": f"protclip {__version__}",
        "command": command_line(),
        "input": " ".join(printable(str(path), 200) for path in paths),
    }
    count = merge_stores(paths, output, attributes=attributes, layout=layout.value)
    say(f"{output}: {count:,} proteins")
