"""Finished vectors on disk: a folder of parts against BLOBs in one SQLite file.

    python tests/benchmarks/working_file.py [--rounds 5] [--residue-mb 600]

Both keep the promises of a run that can be killed: each commit of about 32 MB is on the disk when
it returns (fsync), and each carries a sha256. Written in order of length, read back in input
order, each protein once. The two take turns, the medians of the rounds are compared.

Two ways to use SQLite are tried: a row for each protein, and a row for each part, of which single
proteins are read by `sqlite3.Blob`. Pages of 16 KiB, ``synchronous=FULL``; the rollback journal
holds only pages that are changed, so what is appended is written once (with a WAL: twice).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import safetensors.numpy

from protclip_core.io.atomic import write_atomic

PART_BYTES = 32 << 20

Times = tuple[float, float]


def cut(lengths: np.ndarray, dim: int, *, per_residue: bool) -> list[np.ndarray]:
    """Return the proteins of each part: ordered by length, about 32 MB together."""
    order = np.argsort(lengths, kind="stable")
    costs = 4 * dim * (1 + lengths[order] if per_residue else np.ones_like(order))
    numbers = np.cumsum(costs) // PART_BYTES
    return [order[numbers == number] for number in np.unique(numbers)]


class Data:
    """Random proteins: digests, vectors, residues cut from one large random array."""

    def __init__(self, n: int, dim: int, *, per_residue: bool) -> None:
        rng = np.random.default_rng(5)
        self.n, self.dim, self.per_residue = n, dim, per_residue
        self.lengths = rng.integers(50, 500, n).astype(np.int64)
        self.digests = rng.integers(0, 256, (n, 32), np.uint8)
        self.vectors = rng.standard_normal((n, dim), np.float32)
        self.pool = rng.standard_normal((4000, dim), np.float32)
        self.parts = cut(self.lengths, dim, per_residue=per_residue)
        rows = n + (int(self.lengths.sum()) if per_residue else 0)
        self.megabytes = rows * dim * 4 / 1e6

    def residues(self, row: int) -> np.ndarray:
        """Return the residue embeddings of a protein."""
        start = row % 3000
        return self.pool[start : start + self.lengths[row]]


def with_parts(data: Data, folder: Path) -> Times:
    """Keep a file for each part and a journal of them, as protclip did at first."""
    began = time.perf_counter()
    place: dict[int, tuple[int, int, int]] = {}
    starts_of: list[int] = []
    for number, rows in enumerate(data.parts):
        arrays = {"digest": data.digests[rows], "vectors": data.vectors[rows]}
        if data.per_residue:
            arrays["residues"] = np.concatenate([data.residues(int(row)) for row in rows])
        content = safetensors.numpy.save(arrays)
        sha = hashlib.sha256(content).hexdigest()
        write_atomic(folder / f"part-{number}", content)
        with (folder / "journal").open("a") as journal:
            journal.write(f"{number} {sha}\n")
            journal.flush()
            os.fsync(journal.fileno())
        starts = np.cumsum(data.lengths[rows]) - data.lengths[rows]
        place |= {int(row): (number, i, int(starts[i])) for i, row in enumerate(rows)}
        starts_of.append(8 + int.from_bytes(content[:8], "little"))
    written = time.perf_counter()
    width = 4 * data.dim
    opened: dict[int, tuple[BinaryIO, dict[str, int]]] = {}
    for row in range(data.n):
        number, i, start = place[row]
        if number not in opened:
            file = (folder / f"part-{number}").open("rb")
            head = json.loads(os.pread(file.fileno(), starts_of[number] - 8, 8))
            opened[number] = file, {name: e["data_offsets"][0] for name, e in head.items()}
        file, offsets = opened[number]
        vector = np.empty(data.dim, np.float32)
        os.preadv(file.fileno(), [vector], starts_of[number] + offsets["vectors"] + i * width)
        assert vector[0] == data.vectors[row, 0]
        if data.per_residue:
            matrix = np.empty((int(data.lengths[row]), data.dim), np.float32)
            place_of = starts_of[number] + offsets["residues"] + start * width
            os.preadv(file.fileno(), [matrix], place_of)
    took = time.perf_counter() - written
    for file, _ in opened.values():
        file.close()
    return written - began, took


def _database(folder: Path, schema: str) -> sqlite3.Connection:
    db = sqlite3.connect(folder / "work", isolation_level=None)
    db.executescript(
        "PRAGMA page_size=16384; PRAGMA journal_mode=TRUNCATE; PRAGMA synchronous=FULL;"
        f"PRAGMA locking_mode=EXCLUSIVE; PRAGMA cache_size=-65536; {schema}"
    )
    return db


def with_rows(data: Data, folder: Path) -> Times:
    """Keep a row for each protein, found by its number."""
    began = time.perf_counter()
    db = _database(
        folder, "CREATE TABLE vectors (key INTEGER PRIMARY KEY, v BLOB, r BLOB, sha BLOB)"
    )
    for rows in data.parts:
        values = []
        for row in rows:
            vector = data.vectors[row].tobytes()
            residues = data.residues(int(row)).tobytes() if data.per_residue else b""
            sha = hashlib.sha256(vector + residues).digest()
            values.append((int(row), vector, residues, sha))
        db.execute("BEGIN")
        db.executemany("INSERT INTO vectors VALUES (?, ?, ?, ?)", values)
        db.execute("COMMIT")
    written = time.perf_counter()
    for row in range(data.n):
        v, r = db.execute("SELECT v, r FROM vectors WHERE key = ?", (row,)).fetchone()
        assert np.frombuffer(v, np.float32)[0] == data.vectors[row, 0]
        np.frombuffer(r, np.float32)
    took = time.perf_counter() - written
    db.close()
    return written - began, took


def with_blobs(data: Data, folder: Path) -> Times:
    """Keep a row for each part; single proteins are read within its BLOB."""
    began = time.perf_counter()
    db = _database(folder, "CREATE TABLE parts (key INTEGER PRIMARY KEY, sha BLOB, v BLOB, r BLOB)")
    place: dict[int, tuple[int, int, int]] = {}
    for number, rows in enumerate(data.parts):
        vectors, residues = np.ascontiguousarray(data.vectors[rows]), np.empty(0, np.float32)
        if data.per_residue:
            residues = np.concatenate([data.residues(int(row)) for row in rows])
        sha = hashlib.sha256(vectors.data)
        sha.update(residues.data)
        db.execute("BEGIN")
        db.execute(
            "INSERT INTO parts VALUES (?, ?, ?, ?)",
            (number, sha.digest(), vectors.data, residues.data),
        )
        db.execute("COMMIT")
        starts = np.cumsum(data.lengths[rows]) - data.lengths[rows]
        place |= {int(row): (number, i, int(starts[i])) for i, row in enumerate(rows)}
    written = time.perf_counter()
    opened: dict[tuple[int, str], sqlite3.Blob] = {}
    width = 4 * data.dim

    def read(number: int, name: str, start: int, count: int) -> np.ndarray:
        if (number, name) not in opened:
            opened[number, name] = db.blobopen("parts", name, number, readonly=True)
        blob = opened[number, name]
        blob.seek(start * width)
        return np.frombuffer(blob.read(count * width), np.float32)

    for row in range(data.n):
        number, i, start = place[row]
        assert read(number, "v", i, 1)[0] == data.vectors[row, 0]
        if data.per_residue:
            read(number, "r", start, int(data.lengths[row]))
    took = time.perf_counter() - written
    for blob in opened.values():
        blob.close()
    db.close()
    return written - began, took


WAYS: dict[str, Callable[[Data, Path], Times]] = {
    "parts": with_parts,
    "rows": with_rows,
    "blobs": with_blobs,
}


def main() -> None:
    """Print a table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--residue-mb", type=int, default=600)
    options.add_argument("--folder", default=None, help="where to write")
    given = options.parse_args()
    few = given.residue_mb * 1_000_000 // (275 * 640 * 4)
    print("vectors\tway\twrite MB/s\tread MB/s\tboth MB/s\tratio to parts (range)")
    for data in (Data(10_000, 640, per_residue=False), Data(few, 640, per_residue=True)):
        times: dict[str, list[Times]] = {name: [] for name in WAYS}
        for _ in range(given.rounds):
            for name, way in WAYS.items():
                folder = Path(tempfile.mkdtemp(dir=given.folder))
                try:
                    times[name].append(way(data, folder))
                finally:
                    shutil.rmtree(folder)
        what = "per residue" if data.per_residue else "per protein"
        for name, found in times.items():
            write, read, both = (
                data.megabytes / statistics.median(t) for t in zip(*[(*t, sum(t)) for t in found])
            )
            ratios = [sum(a) / sum(b) for a, b in zip(times["parts"], found, strict=True)]
            print(
                f"{data.n:,} {what}, {data.megabytes:,.0f} MB\t{name}\t{write:.0f}\t{read:.0f}\t"
                f"{both:.0f}\t{statistics.median(ratios):.2f} ({min(ratios):.2f} to "
                f"{max(ratios):.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
