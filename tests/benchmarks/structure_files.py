"""What comes of each structure file in a folder, files a second, and memory.

    python -m tests.benchmarks.structure_files FOLDER
    python -m tests.benchmarks.structure_files FOLDER --from MODELS.jsonl.gz --count 2000

With ``--from`` the models of a JSON Lines file (``name``, ``seq``, ``coords`` with N, CA, C and O,
``plddt``) are first written into FOLDER, by turns as PDB, mmCIF and both compressed; a file that
has fewer than ``--count`` is gone through again. ``--quiet`` prints the last line alone.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import resource
import time
from pathlib import Path

from protclip_core.io.structures import read_structures
from tests.support.structures import NAMES, Atom, mmcif, pdb

TITLE = "TITLE     ALPHAFOLD MONOMER V2.0 PREDICTION FOR {}\n"
METRIC = "_ma_qa_metric.id 1\n_ma_qa_metric.name pLDDT\n#\n"


def models(path, count):
    """Yield the models of a file, again and again, as a name and atoms."""
    opened = gzip.open if path.endswith(".gz") else open
    with opened(path, "rt") as lines:
        kept = list(itertools.islice(lines, count))
    for number, line in enumerate(itertools.islice(itertools.cycle(kept), count)):
        model = json.loads(line)
        scores = model.get("plddt") or [90.0] * len(model["seq"])
        atoms = [
            Atom(name, NAMES[letter], "A", place + 1, model["coords"][name][place], scores[place])
            for place, letter in enumerate(model["seq"])
            for name in ("N", "CA", "C", "O")
        ]
        yield f"AF-{model['name']}-F1-model_v4{'' if number < len(kept) else '-again'}", atoms


def write(folder, path, count):
    """Write models as files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, atoms) in enumerate(models(path, count)):
        if number % 2:
            suffix, text = "cif", mmcif(atoms, name=name, header=METRIC)
        else:
            suffix, text = "pdb", pdb(atoms, header=TITLE.format(name))
        content = text.encode()
        if number % 4 > 1:
            suffix, content = f"{suffix}.gz", gzip.compress(content)
        (folder / f"{name}.{suffix}").write_bytes(content)


def row(record):
    """Tell what a chain holds."""
    chain = record.chain
    cells = [f"{chain.id} ({record.name})", f"{len(chain):,} residues"]
    if record.expected and record.expected != len(chain):
        cells[1] += f" of {record.expected:,}"
    notes = [f"first of {record.models} models"] if record.models > 1 else []
    notes += [f"{record.dropped} without CA"] if record.dropped else []
    notes += [f"{breaks} breaks"] if (breaks := int(chain.starts.sum()) - 1) else []
    if chain.confidence is not None:
        notes.append(f"pLDDT {chain.confidence.mean():.1f}")
    if incomplete := int(((chain.backbone != chain.backbone).any((1, 2))).sum()):
        notes.append(f"{incomplete} residues with a missing atom")
    if unknown := chain.sequence.count("X"):
        notes.append(f"{unknown} X")
    return [*cells, ", ".join(notes)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--from", dest="source")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args()
    if options.source:
        write(options.folder, options.source, options.count)
    files = sorted(path for path in options.folder.iterdir() if path.is_file())
    before = resource.getrusage(resource.RUSAGE_SELF)
    started, chains, residues, failed, told = time.perf_counter(), 0, 0, 0, []
    for path in files:  # one by one, since of x.cif and x.pdb a folder gives the first
        for record in read_structures([path], on_failure=told.append, on_pass=told.append):
            chains, residues = chains + 1, residues + len(record.chain)
            if not options.quiet:
                print("\t".join([path.name, *row(record)]))
        for failure in told:
            if not options.quiet:
                print("\t".join([path.name, "-", failure.code, failure.reason]))
        failed += len(told)
        told.clear()
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"{len(files):,} files, {chains:,} chains, {residues:,} residues, {failed:,} left out: "
        f"{len(files) / cpu:,.0f} files/s of one core ({cpu:.1f} s; {seconds:.1f} s passed), "
        f"memory {before.ru_maxrss / 1024:,.0f} -> {after.ru_maxrss / 1024:,.0f} MB at most"
    )


if __name__ == "__main__":
    main()
