"""Run one list of commands with two versions of protclip and compare what they write.

    python tests/benchmarks/same_outputs.py OLD NEW [--fasta x.fa] [--only WORD]

OLD and NEW are programs (``.venv/bin/protclip``). Each runs every command in a folder of its own,
on the same inputs. Files and standard output are compared byte for byte, or as tables of numbers
within the tolerance that stands beside the command. Stores are compared by their datasets, and
heads by what they predict: both also say when and by which version they were made.

The exit code is 1 where anything differs.
"""

from __future__ import annotations

import argparse
import random
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

_RESIDUES = "ALGVESIKDTRPNFQYHMCW"
_WEIGHTS = (83, 97, 71, 69, 68, 66, 59, 58, 55, 53, 55, 47, 41, 39, 39, 29, 23, 24, 14, 11)


@dataclass(frozen=True)
class Case:
    """A command, what it writes besides standard output, and what may differ.

    Attributes
    ----------
    line
        Arguments, as at a shell.
    files
        What it writes and what is compared; a store (``.h5``) by its datasets.
    tolerance
        Largest difference of two numbers; 0 for the same bytes.
    stdin
        File that is its standard input.
    """

    line: str
    files: tuple[str, ...] = ()
    tolerance: float = 0.0
    stdin: str | None = None


CASES = (
    Case("embed x.fa -o x.h5", ("x.h5",)),
    Case("embed x.fa -o joint.h5 --space joint", ("joint.h5",)),
    Case("embed y.fa -o y.h5", ("y.h5",)),
    Case("annotate --go x.fa"),
    Case("annotate --go x.h5"),
    Case("annotate --go joint.h5 --fdr 0.2"),
    Case("annotate --go --ec --location --keywords x.h5 --top-k 3 --format jsonl"),
    Case("annotate --go --propagate --format gaf y.fa"),
    Case("annotate --go -", stdin="x.fa"),
    Case("search x.h5 'zinc finger' 'kinase' --top-k 5"),
    Case("search joint.h5 membrane --top-k 5 --format jsonl"),
    Case("search x.h5 --like y.fa --top-k 3"),
    Case("search joint.h5 --like 'sp|Q00003|T3_TEST' --top-k 3"),
    Case("search x.h5 --like y.fa --space encoder --top-k 3"),
    Case("search x.h5 --like y.fa --texts texts.txt --top-k 2"),
    Case("similarity x.h5 --top-k 3"),
    Case("similarity x.fa --top-k 3"),
    Case("similarity x.h5 --space encoder --metric manhattan --format matrix"),
    Case("similarity x.h5 --against y.fa --top-k 2"),
    Case("similarity y.fa --against joint.h5 --space joint --min 0.5"),
    Case("similarity x.h5 --pairs pairs.tsv"),
    Case("classify fit labels.tsv --embeddings x.h5 --sequences x.fa --split random -o a.head"),
    Case("classify fit labels.tsv --embeddings x.fa --split random -o b.head"),
    Case("classify predict x.h5 --head a.head --min-probability 0", tolerance=1e-6),
    Case("classify predict y.fa --head a.head", tolerance=1e-6),
    Case("classify predict y.h5 --head b.head --format jsonl", tolerance=1e-6),
    Case("classify evaluate labels.tsv x.h5 --head a.head --include-seen", tolerance=1e-6),
    Case("ppi predict pairs.tsv --embeddings x.h5"),
    Case("ppi predict pairs.tsv --embeddings x.fa"),
    Case("ppi predict --all --embeddings joint.h5 --top-partners 2"),
    Case("ppi predict --bipartite one.txt two.txt --embeddings x.h5 -o p.tsv", ("p.tsv",)),
    Case("ppi train labelled.tsv --embeddings x.h5 -o c.head --task interaction"),
    Case("ppi predict --all --embeddings x.h5 --head c.head", tolerance=1e-6),
)


def main() -> int:
    """Parse the command line, run, compare, and return the exit code."""
    parser = argparse.ArgumentParser(prog="same_outputs.py", description=__doc__)
    parser.add_argument("old", type=Path, help="program of the old version")
    parser.add_argument("new", type=Path, help="program of the new version")
    parser.add_argument("--fasta", type=Path, help="proteins; default: 80 random ones")
    parser.add_argument("--only", default="", help="compare only commands that hold this word")
    args = parser.parse_args()
    differing = 0
    with tempfile.TemporaryDirectory(prefix="same-outputs-") as folder:
        places = [Path(folder) / name for name in ("old", "new")]
        for place in places:
            place.mkdir()
            _write_inputs(place, args.fasta)
        for case in CASES:
            programs = zip((args.old, args.new), places, strict=True)
            one, other = (_run(program.absolute(), case, place) for program, place in programs)
            if args.only not in case.line:
                continue
            told = list(_differences(case, one, other, *places))
            differing += bool(told)
            kind = "same bytes" if not case.tolerance else f"within {case.tolerance:g}"
            print(f"{'DIFFERS' if told else kind:<14} {case.line}", flush=True)
            for line in told:
                print(f"    {line}")
    print(f"{differing} of {len(CASES)} commands differ")
    return int(differing > 0)


def _run(program: Path, case: Case, place: Path) -> subprocess.CompletedProcess[bytes]:
    stdin = (place / case.stdin).read_bytes() if case.stdin is not None else b""
    command = [str(program), *shlex.split(case.line)]
    return subprocess.run(command, cwd=place, input=stdin, capture_output=True, check=False)


def _differences(
    case: Case,
    one: subprocess.CompletedProcess[bytes],
    other: subprocess.CompletedProcess[bytes],
    old: Path,
    new: Path,
) -> Iterator[str]:
    """Say what differs, a line each."""
    if one.returncode or other.returncode:
        yield f"exit codes {one.returncode} and {other.returncode}"
        yield from (run.stderr.decode()[-400:].strip() for run in (one, other) if run.returncode)
        return
    yield from _texts("standard output", one.stdout, other.stdout, case.tolerance)
    for name in case.files:
        if name.endswith(".h5"):
            yield from _stores(name, old / name, new / name)
        else:
            data = (old / name).read_bytes(), (new / name).read_bytes()
            yield from _texts(name, *data, case.tolerance)


def _texts(name: str, one: bytes, other: bytes, tolerance: float) -> Iterator[str]:
    if one == other:
        return
    if not tolerance:
        lines = zip(one.splitlines(), other.splitlines(), strict=False)
        first = next((f": {a!r} and {b!r}" for a, b in lines if a != b), ": one is longer")
        yield f"{name} differs{first}"
        return
    cells, others = one.decode().split(), other.decode().split()
    largest = 0.0
    for a, b in zip(cells, others, strict=False):
        try:
            largest = max(largest, abs(float(a.strip('",:}')) - float(b.strip('",:}'))))
        except ValueError:
            if a != b:
                yield f"{name}: {a!r} and {b!r}"
                return
    if len(cells) != len(others) or not largest <= tolerance:
        yield f"{name}: numbers differ by {largest:g}"


def _stores(name: str, one: Path, other: Path) -> Iterator[str]:
    with h5py.File(one) as old, h5py.File(other) as new:
        if set(old) != set(new):
            yield f"{name}: datasets {sorted(old)} and {sorted(new)}"
            return
        for key in old:
            if not np.array_equal(old[key][:], new[key][:]):
                yield f"{name}: {key} differs"
        made = ("created_by", "command", "attributes_sha256")
        for key in set(old.attrs) | set(new.attrs):
            if key not in made and old.attrs.get(key) != new.attrs.get(key):
                yield f"{name}: {key} is {old.attrs.get(key)!r} and {new.attrs.get(key)!r}"


def _write_inputs(place: Path, fasta: Path | None) -> None:
    """Write the inputs of all commands; the same for both programs."""
    rng = random.Random(7)

    def drawn(count: int, letter: str) -> str:
        found = ""
        for number in range(count):
            sequence = "".join(rng.choices(_RESIDUES, _WEIGHTS, k=rng.randint(20, 500)))
            found += f">sp|{letter}{number:05}|T{number}_TEST\n{sequence}\n"
        return found

    text = fasta.read_text() if fasta is not None else drawn(80, "Q")
    (place / "x.fa").write_text(text)
    (place / "y.fa").write_text(drawn(12, "R"))
    ids = [line[1:].split()[0] for line in text.splitlines() if line.startswith(">")]
    (place / "texts.txt").write_text("zinc finger\nmembrane protein\nkinase activity\n")
    pairs = [rng.sample(ids, 2) for _ in range(120)]
    lines = ["\t".join(pair) for pair in pairs]
    (place / "pairs.tsv").write_text("\n".join(["protein_a\tprotein_b", *lines, ""]))
    lines = [f"{line}\t{rng.randint(0, 1)}" for line in lines]
    (place / "labelled.tsv").write_text("\n".join(["protein_a\tprotein_b\tlabel", *lines, ""]))
    lines = [f"{id}\t{rng.choice('abc')}" for id in ids]
    (place / "labels.tsv").write_text("\n".join(["protein_id\tlabel", *lines, ""]))
    (place / "one.txt").write_text("\n".join([*ids[:6], ""]))
    (place / "two.txt").write_text("\n".join([*ids[6:14], ""]))


if __name__ == "__main__":
    sys.exit(main())
