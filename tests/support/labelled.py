"""Proteins whose class shows in what they are made of."""

from __future__ import annotations

import random

from tests.support.helpers import RESIDUES

GREASY, CHARGED = "LIVF", "KRED"


def some_proteins(count=72):
    """Greasy, charged and plain ones, in turn; every ninth repeats an earlier sequence."""
    rng, found = random.Random(0), []
    for number in range(count):
        rich = (GREASY, CHARGED, "")[number % 3]
        weights = [6 if residue in rich else 1 for residue in RESIDUES]
        sequence = "".join(rng.choices(RESIDUES, weights, k=rng.randint(30, 60)))
        if number % 9 == 8:
            sequence = found[number - 6][1]
        found.append((f"sp|P{number:03d}|NAME", sequence))
    return found


PROTEINS = some_proteins()
CLASSES = ["membrane", "cytosol", "nucleus"]
