"""``protclip store``: inspect, check, export, cut and join embedding stores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from protclip_cli.boundary import say
from protclip_cli.groups import Entry, new_group
from protclip_cli.output import Results, Value, begun, refuse_existing, target, write_values
from protclip_cli.terminal import Terminal, command_line, end_partial
from protclip_core.errors import InputError, ModelError
from protclip_core.options import INPUT, OUTPUT, Opt, Overwrite
from protclip_core.records import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protclip_core.store.reader import EmbeddingStore

StorePath = Annotated[Path, Opt("A store that embed wrote.", metavar="STORE", argument=True)]


def info(terminal: Terminal, path: StorePath, *, results: Results) -> None:
    """Show what a store holds and how it was made."""
    from protclip_core.store.reader import EmbeddingStore
    from protclip_core.vector_spec import SEQUENCE

    to = results.target(path)
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
        if store.layout != "foreign":
            facts["modality"] = str(store.attributes.get("modality", SEQUENCE))
        for name, value in store.attributes.items():
            if name not in _FORMAT_ATTRIBUTES:
                facts[name] = value if isinstance(value, str | int | float) else str(value)
    rows = [{"what": what, "value": value} for what, value in facts.items()]
    to.write(rows, ["what", "value"])


_FORMAT_ATTRIBUTES = {"layout", "dim", "per_residue", "flags_meaning", "ids_sha256"}


def show(
    terminal: Terminal,
    path: StorePath,
    ids: Annotated[tuple[str, ...], Opt("Proteins to show.", metavar="ID", argument=True)] = (),
    *,
    head: Annotated[int, Opt("Proteins to show if no id is given.", min=1)] = 20,
    results: Results,
) -> None:
    """Show proteins with their length, flags, norm and first numbers."""
    import numpy as np

    from protclip_core.store.reader import EmbeddingStore

    to = results.target(path)
    with EmbeddingStore.open(path) as store:
        chosen = _rows(store, ids) if ids else list(range(min(head, len(store))))
        vectors = store.read(np.array(chosen, np.int64))
        rows: list[dict[str, Value]] = []
        for row, vector in zip(chosen, vectors, strict=True):
            first = " ".join(f"{x:.3f}" for x in vector[:4])
            rows.append(
                {
                    "protein_id": store.ids[row],
                    "length": int(store.lengths[row]),
                    "flags": _flag_names(int(store.flags[row])),
                    "sequence_length": int(store.sequence_lengths[row]) or None,
                    "norm": float(np.linalg.norm(vector)),
                    "embedding": f"{first} …" if len(vector) > 4 else first,
                }
            )
        columns = _columns(store)
        to.write(rows, [*columns, "norm", "embedding"])
        if not ids and len(store) > len(chosen):
            say(f"{len(chosen)} of {len(store):,} proteins (more with --head)")


def _rows(store: EmbeddingStore, names: Sequence[str]) -> list[int]:
    """Return the rows of names: ids, or a part of one id only, as P69905 of sp|P69905|HBA_HUMAN."""
    if all(name in store for name in names):
        return [store.row(name) for name in names]
    from protclip_core.io.protein_names import ProteinNames

    known, rows = ProteinNames(store.ids, "this store"), []
    for name in names:
        match = known.find(name)
        if match.id is None:
            hint = "protclip store list shows its ids"
            where = str(store.path)
            raise InputError(match.reason, code="input.unknown_id", where=where, hint=hint)
        rows.append(store.row(match.id))
    return rows


def list_proteins(terminal: Terminal, path: StorePath, *, results: Results) -> None:
    """List all proteins with their length and flags."""
    from protclip_core.store.reader import EmbeddingStore

    to = results.target(path)
    with EmbeddingStore.open(path) as store:
        columns = _columns(store)
        whole = store.sequence_lengths.tolist()
        facts = zip(store.ids, store.lengths.tolist(), store.flags.tolist(), whole, strict=True)
        rows = ([id, length, _flag_names(flags), all] for id, length, flags, all in facts)
        to.write((dict(zip(columns, row, strict=False)) for row in rows), columns)


def _columns(store: EmbeddingStore) -> list[str]:
    """Return the columns of facts; whole lengths only where the store has cut proteins."""
    return ["protein_id", "length", "flags", *["sequence_length"] * store.is_cut]


def _flag_names(flags: int) -> str:
    from protclip_core.records import RecordFlag

    return ",".join(str(flag.name).lower() for flag in RecordFlag(flags) if flag.name)


def verify(
    terminal: Terminal,
    paths: Annotated[tuple[Path, ...], Opt("Stores to check.", metavar="STORE", argument=True)],
    *,
    results: Results,
) -> None:
    """Check stores byte by byte; any flipped, missing or added byte is found."""
    from protclip_core.store.tools import verify_store

    to = results.target(*paths)
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
        to.write(sound, ["file", "state"])
    if problems:
        raise ModelError(
            f"{counted(len(problems), 'problem')} found",
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
            "File to write: .tsv, .csv or .jsonl; .npz with ids and vectors; or .npy with the ids "
            "in .npy.ids.txt; '-': TSV to standard output.",
            "-o",
            "--output",
            panel=OUTPUT,
        ),
    ] = "-",
    residues: Annotated[
        bool,
        Opt(
            "Write the vector of every residue: a row each, or ids, offsets and residues in .npz.",
            panel=OUTPUT,
        ),
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Write the vectors as a table (protein_id, length, flags, e1, e2, …) or as NumPy arrays."""
    from protclip_core.store.export import export_npz, iter_residue_rows, iter_tsv_rows
    from protclip_core.store.reader import EmbeddingStore

    with EmbeddingStore.open(path) as store:
        if output.endswith(".npy") and not residues:
            _export_matrix(store, Path(output), path, overwrite=overwrite)
            return
        more = {".npz": "npz"} if residues else {".npy": "npy", ".npz": "npz"}
        to = target(output, overwrite=overwrite, inputs=(path,), more=more)
        if to.form == "npz" and to.path is not None:
            export_npz(store, to.path, residues=residues)
            return
        rows = begun(iter_residue_rows(store) if residues else iter_tsv_rows(store))
        with to.open() as out:
            form = "tsv" if to.form == "auto" else to.form
            write_values(rows, [str(name) for name in next(rows)], form, out)


def _export_matrix(store: EmbeddingStore, path: Path, source: Path, *, overwrite: bool) -> None:
    from protclip_core.io.atomic import check_writable_target, open_atomic
    from protclip_core.io.outputs import check_outputs
    from protclip_core.store.export import export_npy

    names = path.with_name(f"{path.name}.ids.txt")
    check_outputs((source,), (path, names), hint="choose another -o")
    for written in (path, names):
        check_writable_target(written)
        refuse_existing(written, overwrite=overwrite)
    export_npy(store, path)
    with open_atomic(names) as file:
        for id in store.ids:
            file.write(f"{id}\n".encode())


Layout = Annotated[
    Literal["packed", "per-protein"],
    Opt("packed: one matrix; per-protein: one dataset per id.", panel=OUTPUT),
]
StoreOutput = Annotated[Path, Opt("The store to write.", "-o", "--output", panel=OUTPUT)]


def merge(
    terminal: Terminal,
    paths: Annotated[tuple[Path, ...], Opt("Stores to join.", metavar="STORE", argument=True)],
    *,
    output: StoreOutput,
    layout: Layout = "packed",
    overwrite: Overwrite = False,
) -> None:
    """Join stores that were made by one model with one set of settings; one: change its layout."""
    from protclip_core.store.tools import merge_stores

    attributes = _claim(paths, output, paths, overwrite=overwrite)
    count = merge_stores(paths, output, attributes=attributes, layout=layout)
    say(f"{output}: {counted(count, 'protein')}")


def subset(
    terminal: Terminal,
    path: StorePath,
    *,
    ids: Annotated[
        str,
        Opt(
            "Proteins to keep: an id a line, or a table with the ids in its first column; '-': "
            "standard input. A part of an id, such as its accession, is enough where it is unique.",
            metavar="FILE",
        ),
    ],
    output: StoreOutput,
    on_error: Annotated[
        str,
        Opt(
            "Ids that the store lacks: stop, or leave them out and list them.",
            panel=INPUT,
            choices=("fail", "skip"),
        ),
    ] = "fail",
    layout: Layout = "packed",
    overwrite: Overwrite = False,
) -> None:
    """Copy some proteins of a store into a new store, in the order of a list."""
    from protclip_core.store.reader import EmbeddingStore
    from protclip_core.store.tools import pick_rows, subset_store

    attributes = _claim((path, ids), output, (path,), overwrite=overwrite)
    with EmbeddingStore.open(path) as store:
        rows, lacking = pick_rows(store, ids, on_error=on_error)
    count = subset_store(path, rows, output, attributes=attributes, layout=layout)
    say(f"{output}: {counted(count, 'protein')}")
    end_partial(len(lacking), lacking[:5])


def _claim(
    inputs: Sequence[Path | str], output: Path, sources: Sequence[Path], *, overwrite: bool
) -> dict[str, str]:
    """Refuse a store that cannot be written; return its provenance."""
    from protclip_core._version import __version__
    from protclip_core.io.outputs import check_outputs, lock_name
    from protclip_core.records import printable

    refuse_existing(output, overwrite=overwrite)
    check_outputs(inputs, (output, lock_name(output)), hint="give the new store its own name")
    return {
        "created_by": f"protclip {__version__}",
        "command": command_line(),
        "input": " ".join(printable(str(path), 200) for path in sources),
    }


store_group = new_group(
    "Inspect, check, export, cut and join embedding stores (HDF5).",
    {
        "info": Entry(
            info,
            """\
Example:
  protclip store info proteins.h5
    what       value
    file       proteins.h5
    layout     packed
    proteins   12
    dimension  640""",
        ),
        "show": Entry(
            show,
            """\
Example:
  protclip store show proteins.h5 P69905
    protein_id           length  flags  norm   embedding
    sp|P69905|HBA_HUMAN     142         14.86  -0.009 0.083 -0.076 0.003 …""",
        ),
        "list": Entry(
            list_proteins,
            """\
Examples:
  protclip store list proteins.h5 | cut -f 1 > ids.txt
  protclip store list proteins.h5 | head -2
    protein_id           length  flags
    sp|P69905|HBA_HUMAN  142""",
        ),
        "verify": Entry(
            verify,
            """\
Example:
  protclip store verify proteins.h5
    file         state
    proteins.h5  sound""",
        ),
        "export": Entry(
            export,
            """\
Examples:
  protclip store export proteins.h5 -o proteins.npy   and proteins.npy.ids.txt
  protclip store export both.h5 --residues -o residues.npz
  protclip store export proteins.h5 | cut -f 1,4
    protein_id  e1
    P69905      0.0208""",
        ),
        "merge": Entry(
            merge,
            """\
Example:
  protclip store merge human.h5 mouse.h5 -o both.h5
    both.h5: 37,500 proteins
  protclip store merge packed.h5 -o one-by-one.h5 --layout per-protein""",
        ),
        "subset": Entry(
            subset,
            """\
Examples:
  protclip store subset proteome.h5 --ids kinases.txt -o kinases.h5
    kinases.h5: 518 proteins
  protclip store list proteome.h5 | awk '$2 < 1000' |
    protclip store subset proteome.h5 --ids - -o short.h5""",
        ),
    },
)
