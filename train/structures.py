"""Pack structures for training: files in, one HDF5 file with the backbones of all chains out.

    python -m train.structures structures/ AF-P12345-F1-model_v4.cif.gz -o structures.h5
    python -m train.structures backbones.jsonl.gz -o structures.h5

FILES are structure files, folders, lists or archives, as protclip embed takes them, or JSON Lines
with one chain each: `name`, `seq`, `coords` with lists of three numbers for `N`, `CA`, `C` and `O`,
and optionally `plddt` and `uniprot`. A chain belongs to the protein whose accession its id names
(AF-P12345-F1-model_v4, P12345), or that a table gives: --accessions has lines of id, tab,
accession. Chains without an accession can be met by their id alone.

Exit codes: 0 done; 2 usage; 3 bad input; 5 disk or memory; 6 done, and some files or chains that
cannot be used are named.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from protclip_core.errors import InputError
from protclip_core.io.streams import open_input
from protclip_core.io.structures import StructureSummary, read_structures
from protclip_core.io.structures.chain import BACKBONE, Chain
from protclip_core.records import Failure
from train.data.structures import accession_of, write_structures
from train.loop.terminal import guarded, log_to_terminal, start_program

__all__ = ["main", "read_backbones"]

_log = logging.getLogger(__name__)
_SKIPPED = 6
#: Longest peptide bond, in ångström; what is farther apart does not follow each other.
_BOND = 2.0


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, pack, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m train.structures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", metavar="FILES", help="structures")
    parser.add_argument("-o", "--out", required=True, type=Path, help="file to write")
    parser.add_argument("--accessions", type=Path, help="table of id and accession")
    args = parser.parse_args(argv)
    start_program(1)
    return guarded(lambda: _run(args.files, args.out, args.accessions), kept="nothing is kept")


def _run(files: list[str], out: Path, table: Path | None) -> int:
    log_to_terminal(quiet=False)
    known = {} if table is None else _read_table(table)
    failures: list[Failure] = []
    number = write_structures(out, _named(files, known, failures))
    _log.info("%d chains in %s", number, out)
    return _SKIPPED if failures else 0


def _named(
    files: Iterable[str], known: Mapping[str, str], failures: list[Failure]
) -> Iterator[tuple[Chain, str]]:
    for path in files:
        for chain, given in _read(path, failures):
            yield chain, known.get(chain.id) or given or accession_of(chain.id)


def _read(path: str, failures: list[Failure]) -> Iterator[tuple[Chain, str]]:
    if ".jsonl" in Path(path).suffixes:
        yield from read_backbones(Path(path))
        return

    def note(failure: Failure) -> None:
        failures.append(failure)
        _log.warning("%s: %s [%s]", failure.where, failure.reason, failure.code)

    seen = StructureSummary()
    for record in read_structures([path], on_failure=note, summary=seen):
        yield record.chain, ""
    _log.info("%s: %s", path, seen.describe())


def read_backbones(path: Path) -> Iterator[tuple[Chain, str]]:
    """Read chains from JSON Lines, compressed or not, each with its accession or ``""``.

    A residue does not follow the one before where their peptide bond would be longer than 2 Å.

    Raises
    ------
    InputError
        A line that cannot be read, by its number.
    """
    with open_input(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                entry = json.loads(line)
                yield _backbone(entry), str(entry.get("uniprot") or "")
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise InputError(
                    f"cannot be read ({error!r})", code="input.bad_line", where=f"{path}:{number}"
                ) from error


def _backbone(entry: Mapping[str, Any]) -> Chain:
    atoms = [np.array(entry["coords"][atom], dtype=np.float32) for atom in BACKBONE]
    backbone = np.stack(atoms, axis=1)
    starts = np.ones(len(backbone), dtype=bool)
    bonds = np.linalg.norm(backbone[1:, 0] - backbone[:-1, 2], axis=1)
    starts[1:] = ~(bonds <= _BOND)
    plddt = entry.get("plddt")
    confidence = None if plddt is None else np.array(plddt, dtype=np.float32)
    return Chain(str(entry["name"]), str(entry["seq"]), backbone, starts, confidence)


def _read_table(path: Path) -> dict[str, str]:
    found = {}
    with open_input(path) as file:
        for number, line in enumerate(file, start=1):
            fields = line.decode().rstrip("\r\n").split("\t")
            if len(fields) < 2 or not all(fields[:2]):
                raise InputError(
                    "not an id, a tab and an accession",
                    code="input.bad_line",
                    where=f"{path}:{number}",
                )
            found[fields[0]] = fields[1]
    return found


if __name__ == "__main__":
    sys.exit(main())
