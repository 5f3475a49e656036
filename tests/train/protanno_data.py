"""Entries and calls for the tests of the ProtAnno builder."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

from tests.support.environment import patient
from train.protanno.builder import BuildOptions, build
from train.protanno.sampling import Sampling
from train.protanno.shards import ShardSet

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "protanno"
PROGRAM = [sys.executable, "-m", "train.protanno.build"]


def write_entries(path, number, *, seed=0, prefix="T"):
    """Write entries of all levels (and none) and coverages as JSON Lines."""
    draw = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for place in range(number):
            entry = {
                "accession": f"{prefix}{place:06d}",
                "sequence": "M" + "".join(draw.choices("ACDEFGHIKLMNPQRSTVWY", k=30)),
                "split": draw.choice(["train", "train", "valid"]),
            }
            if level := draw.choice([None, 1, 1, 2, 3, 4, 5]):
                entry["pe"] = level
            for field in draw.sample(
                ["name", "function", "location", "similarity"], draw.randint(0, 4)
            ):
                entry[field] = f"Some {field} of protein {place}, which is {draw.random()}"
            file.write(json.dumps(entry) + "\n")
    return path


def run(*arguments, stdin=None):
    """Run the program to its end."""
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        stdin=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=patient(60),
        cwd=ROOT,
    )


def make(inputs, out, *, sampling=None, **options):
    """Build in this process."""
    settings = BuildOptions(sampling=sampling or Sampling(), **options)
    return build(inputs if isinstance(inputs, list) else [inputs], out, settings)


def accessions(folder):
    with ShardSet(folder) as shards:
        return [entry.accession for entry in shards.entries()]


def files_of(folder):
    """Content of all files of the data set, but for the command line in its index."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != ".index.json.lock":
            data = path.read_bytes()
            if path.name == "index.json":
                data = {**json.loads(data), "command": ""}
            found[str(path.relative_to(folder))] = data
    return found
