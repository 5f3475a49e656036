"""Pairs for a small run with structures: what to train on, and enough clusters held out.

    python -m tests.benchmarks.structure_pairs uniprot_pairs.jsonl.gz structures.h5 OUT.jsonl

The split `train` stays. Proteins with a structure in other splits (valid, test, near_benchmark)
are held out, their clusters shared out to `valid` and `test` in equal parts by hash. Chains that no
pair is known for are trained on where MMseqs2 (which must be on the PATH) finds no held-out
sequence like them; they have no text.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from protclip_core.io.streams import open_input
from train.data.structures import StructureSet


def main(pairs, structures_path, out):
    structures = StructureSet(Path(structures_path))
    entries, known = [], set()
    with open_input(Path(pairs)) as file:
        for line in file:
            entry = json.loads(line)
            names = [entry["accession"], *(entry.get("also") or ())]
            own = [name for name in names if name in structures]
            if own:
                known.update(row for name in own for row in structures.rows(name))
                if entry["split"] != "train":
                    entry["split"] = held_out_split(str(entry["cluster"]))
                entries.append(entry)
    entries += strangers(structures, known, entries)
    with Path(out).open("w", encoding="utf-8") as file:
        for entry in entries:
            file.write(json.dumps(entry) + "\n")
    print(dict(Counter(entry["split"] for entry in entries)))


def held_out_split(cluster):
    return "test" if hashlib.sha256(cluster.encode()).digest()[0] % 2 else "valid"


def strangers(structures, known, entries):
    """Chains without a pair, less those that are like a held-out sequence."""
    rows = [row for row in range(len(structures)) if row not in known]
    found = {structures.ids[row]: structures.chain(row).sequence for row in rows}
    held_out = {e["accession"]: e["sequence"] for e in entries if e["split"] != "train"}
    with tempfile.TemporaryDirectory() as folder:
        one, other, hits = (Path(folder) / name for name in ("a.fasta", "b.fasta", "hits.tsv"))
        for path, sequences in ((one, found), (other, held_out)):
            path.write_text("".join(f">{id}\n{seq}\n" for id, seq in sequences.items()))
        command = ["mmseqs", "easy-search", one, other, hits, Path(folder) / "tmp"]
        options = ["-s", "5.7", "-e", "0.01", "--threads", "1", "-v", "1"]
        subprocess.run([*command, *options], check=True)
        like = {line.split("\t")[0] for line in hits.read_text().splitlines()}
    distinct = {}
    for id, sequence in found.items():
        if id not in like and len(sequence) >= 30:
            distinct.setdefault(sequence, id)
    return [
        {"accession": id, "sequence": sequence, "split": "train"}
        for sequence, id in distinct.items()
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])
