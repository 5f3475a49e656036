"""``protclip store``: inspect, check, export and join embedding stores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from protclip_cli.boundary import say
from protclip_cli.groups import Entry, new_group
from protclip_cli.output import (
    Format,
    Output,
    Value,
    refuse_existing,
    target,
    write_rows,
    write_values,
)
from protclip_cli.terminal import Terminal, command_line
from protclip_core.errors import ModelError
from protclip_core.options import OUTPUT, Opt, Overwrite

if TYPE_CHECKING:
    from protclip_core.store.reader import EmbeddingStore

StorePath = Annotated[Path, Opt("A store that embed wrote.", metavar="STORE", argument=True)]


def info(
    terminal: Terminal,
    path: StorePath,
    *,
    format: Format = "auto",
    output: Output = None,
    overwrite: Overwrite = False,
) -> None:
    """Show what a store holds and how it was made."""
    from protclip_core.store.reader import EmbeddingStore

    to = target(output, format, overwrite=overwrite, inputs=(path,))
    with EmbeddingStore.open(path) as store:
        facts: dict[str, Value] = {
            "file": str(path),
            "layout": store.layout,
            "proteins": len(store),
            "dimension": store.dim,
            "type": str(store.dtype),
            "per residue": "yes" if store.per_residue else "no",
            "residues": int(store.lengths.sum()),
        }
        facts |= {n: v for n, v in store.attributes.items() if n not in _FORMAT_ATTRIBUTES}
    rows = [{"what": what, "value": value} for what, value in facts.items()]
    with to.open() as out:
        write_rows(rows, ["what", "value"], to.form, out)


_FORMAT_ATTRIBUTES = {"layout", "dim", "per_residue", "flags_meaning", "ids_sha256"}


def show(
    terminal: Terminal,
    path: StorePath,
    ids: Annotated[tuple[str, ...], Opt("Proteins to show.", metavar="ID", argument=True)] = (),
    *,
    head: Annotated[int, Opt("Proteins to show if no id is given.", min=1)] = 20,
    format: Format = "auto",
    output: Output = None,
    overwrite: Overwrite = False,
) -> None:
    """Show proteins with their length, flags, norm and first numbers."""
    import numpy as np

    from protclip_core.store.reader import EmbeddingStore

    to = target(output, format, overwrite=overwrite, inputs=(path,))
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
        with to.open() as out:
            columns = ["protein_id", "length", "flags", "norm", "embedding"]
            write_rows(rows, columns, to.form, out)
        if not ids and len(store) > len(chosen):
            say(f"{len(chosen)} of {len(store):,} proteins (more with --head)")


def _flag_names(flags: int) -> str:
    from protclip_core.records import RecordFlag

    return ",".join(str(flag.name).lower() for flag in RecordFlag(flags) if flag.name)


def verify(
    terminal: Terminal,
    paths: Annotated[tuple[Path, ...], Opt("Stores to check.", metavar="STORE", argument=True)],
    *,
    format: Format = "auto",
    output: Output = None,
    overwrite: Overwrite = False,
) -> None:
    """Check stores byte by byte; any flipped, missing or added byte is found."""
    from protclip_core.store.tools import verify_store

    to = target(output, format, overwrite=overwrite, inputs=paths)
    problems = []
    sound: list[dict[str, Value]] = []
    for path in paths:
        try:
            found = [f"{path}: {problem}" for problem in verify_store(path)]
        except ModelError as error:  # a store that is missing does not hide what others have
            found = [str(error)]
        problems += found
        if not found:
            sound.append({"file": str(path), "state": "sound"})
    if sound:
        with to.open() as out:
            write_rows(sound, ["file", "state"], to.form, out)
    if problems:
        raise ModelError(
            f"{len(problems)} problem{'s' if len(problems) > 1 else ''} found",
            code="model.damaged",
            hint="restore from a copy or embed again",
            details=problems[:5],
        )


def export(
    terminal: Terminal,
    path: StorePath,
    *,
    output: Annotated[
        str,
        Opt(
            "File to write: .tsv, .csv or .jsonl, or .npy with the ids in .npy.ids.txt; '-': TSV "
            "to standard output.",
            "-o",
            "--output",
            panel=OUTPUT,
        ),
    ] = "-",
    overwrite: Overwrite = False,
) -> None:
    """Write the vectors as a table (protein_id, length, flags, e1, e2, …) or a NumPy matrix."""
    from protclip_core.store.reader import EmbeddingStore
    from protclip_core.store.tools import iter_tsv_rows

    with EmbeddingStore.open(path) as store:
        if output.endswith(".npy"):
            _export_matrix(store, Path(output), path, overwrite=overwrite)
            return
        to = target(output, overwrite=overwrite, inputs=(path,), more={".npy": "npy"})
        with to.open() as out:
            form = "tsv" if to.form == "auto" else to.form
            rows = iter_tsv_rows(store)
            write_values(rows, [str(name) for name in next(rows)], form, out)


def _export_matrix(store: EmbeddingStore, path: Path, source: Path, *, overwrite: bool) -> None:
    from protclip_core.io.atomic import check_writable_target, open_atomic
    from protclip_core.io.outputs import check_outputs
    from protclip_core.store.tools import export_npy

    names = path.with_name(f"{path.name}.ids.txt")
    check_outputs((source,), (path, names), hint="choose another -o")
    for written in (path, names):
        check_writable_target(written)
        refuse_existing(written, overwrite=overwrite)
    export_npy(store, path)
    with open_atomic(names) as file:
        for id in store.ids:
            file.write(f"{id}\n".encode())


def merge(
    terminal: Terminal,
    paths: Annotated[tuple[Path, ...], Opt("Stores to join.", metavar="STORE", argument=True)],
    *,
    output: Annotated[Path, Opt("The store to write.", "-o", "--output", panel=OUTPUT)],
    layout: Annotated[
        Literal["packed", "per-protein"],
        Opt("packed: one matrix; per-protein: one dataset per id.", panel=OUTPUT),
    ] = "packed",
    overwrite: Overwrite = False,
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
    count = merge_stores(paths, output, attributes=attributes, layout=layout)
    say(f"{output}: {count:,} proteins")


_HERE = "protclip_cli.commands.store"
store_group = new_group(
    "Inspect, check, export and join embedding stores (HDF5).",
    {
        "info": Entry(
            f"{_HERE}:info",
            "Show what a store holds and how it was made.",
            """\
Example:
  protclip store info proteins.h5
    what       value
    file       proteins.h5
    layout     packed
    proteins   12
    dimension  512""",
        ),
        "show": Entry(
            f"{_HERE}:show",
            "Show proteins with their length, flags, norm and first numbers.",
            """\
Example:
  protclip store show proteins.h5 P69905
    protein_id  length  flags  norm  embedding
    P69905      142            5.12  0.021 -0.310 0.044 0.187 …""",
        ),
        "verify": Entry(
            f"{_HERE}:verify",
            "Check stores byte by byte.",
            """\
Example:
  protclip store verify proteins.h5
    file         state
    proteins.h5  sound""",
        ),
        "export": Entry(
            f"{_HERE}:export",
            "Write the vectors as a table or a NumPy matrix.",
            """\
Examples:
  protclip store export proteins.h5 -o proteins.npy   and proteins.npy.ids.txt
  protclip store export proteins.h5 | cut -f 1,4
    protein_id  e1
    P69905      0.0208""",
        ),
        "merge": Entry(
            f"{_HERE}:merge",
            "Join stores that were made by one model with one set of settings.",
            """\
Example:
  protclip store merge human.h5 mouse.h5 -o both.h5
    both.h5: 37,500 proteins""",
        ),
    },
)
