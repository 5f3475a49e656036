"""Exact search beside a plain blocked product with top-k, on a store of random vectors.

Run by hand: ``python -m tests.benchmarks.nearest --rows 200000``. The plain loop reads the same
dataset with h5py, multiplies, takes the best of each block with `numpy.argpartition` and joins
them: no cosines, no checks, no order of ties. All are timed in turn, the best of ``--repeats``
counts.
The store, 2 GB for a million rows, is made in a temporary folder, or kept with ``--store``.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from protclip_core.measure.nearest import block_rows, nearest
from protclip_core.store.reader import EmbeddingStore
from protclip_core.store.writer import StoreWriter

K = 10


def write_store(path, rows, dim):
    rng = np.random.default_rng(0)
    with StoreWriter(path, dim, "float32", num_proteins=rows) as writer:
        for start in range(0, rows, 20_000):
            n = min(20_000, rows - start)
            writer.write(
                [f"P{i:07}" for i in range(start, start + n)],
                rng.standard_normal((n, dim), dtype=np.float32),
                np.ones(n),
                np.zeros(n, np.uint16),
                np.zeros((n, 32), np.uint8),
            )


def plain(path, queries, size):
    """Blocked product and top-k, as one would write it in ten minutes."""
    scores = np.empty((len(queries), 0), np.float32)
    rows = np.empty((len(queries), 0), np.int64)
    with h5py.File(path) as h5:
        dataset = h5["embeddings"]
        for start in range(0, len(dataset), size):
            block = queries @ dataset[start : start + size].T
            best = np.argpartition(block, -K, axis=1)[:, -K:]
            scores = np.concatenate([scores, np.take_along_axis(block, best, 1)], axis=1)
            rows = np.concatenate([rows, best + start], axis=1)
            order = np.argsort(-scores, axis=1)[:, :K]
            scores = np.take_along_axis(scores, order, 1)
            rows = np.take_along_axis(rows, order, 1)
    return rows


def ours(path, queries, size, metric):
    with EmbeddingStore.open(path) as store:
        blocks = (store.read(slice(a, a + size)) for a in range(0, len(store), size))
        return nearest(queries, blocks, K, metric=metric).rows


def measure(path, dim, counts, repeats):
    size = block_rows(dim)
    rng = np.random.default_rng(1)
    print(f"{'queries':>8} {'plain':>9} {'inner':>9} {'cosine':>9}   inner/plain  cosine/plain")
    for count in counts:
        queries = rng.standard_normal((count, dim), dtype=np.float32)
        best = dict.fromkeys(("plain", "inner", "cosine"), float("inf"))
        found = {}
        for _ in range(repeats):
            for name in best:
                begin = time.perf_counter()
                if name == "plain":
                    found[name] = plain(path, queries, size)
                else:
                    found[name] = ours(path, queries, size, name)
                seconds = time.perf_counter() - begin
                best[name] = min(best[name], seconds)
        same = (found["plain"] == found["inner"]).mean()
        a, b, c = best.values()
        print(
            f"{count:>8} {a:>7.2f} s {b:>7.2f} s {c:>7.2f} s {b / a:>10.2f} x {c / a:>11.2f} x"
            f"   {same:.2%} of the hits the same"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--store", type=Path, help="made if it is not there, and kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.store or Path(folder) / "random.h5"
        if not path.exists():
            write_store(path, options.rows, options.dim)
        with EmbeddingStore.open(path) as store:
            shape = f"{len(store):,} x {store.dim}"
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        load = os.getloadavg()[0]
        print(f"{shape} float32 on disk, k = {K}, {os.cpu_count()} cores, load {load:.1f}")
        measure(path, options.dim, options.queries, options.repeats)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"most memory: {before / 1024:,.0f} MB before, {after / 1024:,.0f} MB after")


if __name__ == "__main__":
    main()
