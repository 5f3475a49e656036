"""Chains, vectors of sequences and splits for the benchmarks of structures.

Backbones are JSON Lines (``name``, ``seq``, ``coords`` of N, CA, C, O, ``plddt`` where there is),
or the HDF5 file that training reads.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter

import h5py
import numpy as np

from protclip_core.io.structures.chain import Chain

__all__ = ["composition", "open_text", "read_chains", "recall"]

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
#: Longest peptide bond, in ångström.
_BOND = 2.0


def open_text(path):
    """Open a text file, compressed or not."""
    return gzip.open(path, "rt") if path.suffix == ".gz" else path.open()


def read_chains(path):
    """Yield the chains of a file."""
    if path.suffix in {".h5", ".hdf5"}:
        yield from _packed(path)
        return
    with open_text(path) as file:
        for line in file:
            entry = json.loads(line)
            atoms = [np.array(entry["coords"][atom], np.float32) for atom in ("N", "CA", "C", "O")]
            backbone = np.stack(atoms, 1)
            starts = np.ones(len(backbone), bool)
            bonds = np.linalg.norm(backbone[1:, 0] - backbone[:-1, 2], axis=1)
            starts[1:] = ~(bonds <= _BOND)
            plddt = entry.get("plddt")
            confidence = None if plddt is None else np.array(plddt, np.float32)
            yield Chain(entry["name"], entry["seq"], backbone, starts, confidence)


def _packed(path):
    with h5py.File(path) as file:
        ids, offsets = file["ids"].asstr()[:], file["offsets"][:]
        for name, start, end in zip(ids, offsets, offsets[1:]):
            confidence = file["confidence"][start:end].astype(np.float32)
            yield Chain(
                str(name),
                file["letters"][start:end].tobytes().decode(),
                file["backbone"][start:end],
                file["starts"][start:end],
                None if np.isnan(confidence).all() else confidence,
            )


def composition(sequence):
    """Shares of the 20 residues."""
    counts = Counter(sequence)
    return np.array([counts[letter] for letter in LETTERS]) / max(1, len(sequence))


def recall(queries, targets):
    """R@1 and R@10 of unit vectors, row by row; ties count as the mean over their orders."""
    scores = queries @ targets.T
    own = scores.diagonal()[:, None]
    above = (scores > own).sum(1)
    equal = (scores == own).sum(1)
    return tuple(float(np.clip((k - above) / equal, 0, 1).mean()) for k in (1, 10))
