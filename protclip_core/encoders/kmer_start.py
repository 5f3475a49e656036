"""A good start for k-mer tables: k-mers that are alike begin with vectors that are alike.

Residues are placed in a space where distance follows BLOSUM62 (Henikoff and Henikoff 1992), a
k-mer is the row of its residues' places, and its vector is a set of random Fourier features of
that row (Rahimi and Recht 2007): the product of two k-mers' vectors then falls smoothly with the
distance between them, from many substitutions by like residues to unrelated k-mers.

Legend: R rows of a table, D its width.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np

from protclip_core.encoders.alphabet import TOKENS
from protclip_core.encoders.kmer_config import RESIDUES, SPECIAL_ROWS, KmerTable, token_groups
from protclip_core.encoders.residue_space import residue_vectors

if TYPE_CHECKING:
    from torch import nn

    from protclip_core.encoders.kmer import KmerEncoder

__all__ = ["start_alike", "start_values"]

#: Size of the values of a fresh table.
_SCALE = 0.5


def start_values(
    table: KmerTable, generator: np.random.Generator, *, bandwidth: float = 1.0
) -> np.ndarray:
    """Random Fourier features of all k-mers of a table.

    Parameters
    ----------
    table
        A table with a row for each k-mer.
    generator
        Source of the random directions and phases.
    bandwidth
        Standard deviation of the directions: the larger, the less alike unlike k-mers begin.

    Returns
    -------
    numpy.ndarray
        Shape ``(R, D)``, float32, special rows at the end and zero; each column has mean 0 over
        the k-mers.

    Raises
    ------
    ValueError
        A hashed table, whose rows stand for unrelated k-mers.
    """
    if table.rows is not None:
        msg = "a hashed table has no k-mer of its own for each row"
        raise ValueError(msg)
    places, groups = residue_vectors(), np.array(token_groups(table))
    residues = np.array([TOKENS.index(letter) for letter in RESIDUES])
    size, places_of = len(table.groups), groups[residues]
    centres = np.stack([places[residues[places_of == g]].mean(axis=0) for g in range(size)])
    count, length = table.num_kmers, len(table.offsets)
    angles = np.tile(generator.uniform(0, 2 * math.pi, table.dim).astype(np.float32), (count, 1))
    for place in range(length):
        directions = generator.normal(0, bandwidth, (centres.shape[1], table.dim))
        digit = np.arange(count) // size ** (length - 1 - place) % size
        angles += (centres @ directions).astype(np.float32)[digit]
    features = _SCALE * math.sqrt(2) * np.cos(angles)
    features -= features.mean(axis=0)
    zeros = np.zeros((len(SPECIAL_ROWS), table.dim))
    return np.concatenate([features, zeros]).astype(np.float32)


def start_alike(encoder: KmerEncoder, *, bandwidth: float = 1.0, seed: int = 0) -> None:
    """Give the tables of an encoder the start that `start_values` describes.

    Hashed tables keep the values that they have, except their special rows, which become zero.
    """
    import torch

    generator = np.random.default_rng(seed)
    with torch.no_grad():
        for module, table in zip(encoder.tables, encoder.config.tables, strict=True):
            weight = cast("nn.Embedding", module).weight
            if table.rows is None:
                weight.copy_(torch.from_numpy(start_values(table, generator, bandwidth=bandwidth)))
            else:
                weight[-len(SPECIAL_ROWS) :] = 0.0
