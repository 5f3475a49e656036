"""For which proteins probabilities hold."""

from __future__ import annotations

import random

import pytest

from protclip_core.terms.domain import LEAST_RESIDUES, why_outside

GLOBIN = "MVLSPADKTNVKAAWGKVGAHAGEYGAEALERMFLSFPTTKTYFPHFDLSHGSAQVKGHGKKVADALTNAVAHV"


@pytest.mark.parametrize(
    ("sequence", "said"),
    [
        ("M", "1 residues"),
        ("SIINFEKL", "8 residues"),
        ("K" * 10, "10 residues"),
        (GLOBIN[: LEAST_RESIDUES - 1], "29 residues"),
        ("X" * 300, "0% standard"),
        (GLOBIN + "X" * 20, "standard residues"),
        ("K" * 400, "only 1.0 kinds"),
        ("GA" * 100, "only 2.0 kinds"),
        ("GSPA" * 50, "only 4.0 kinds"),
    ],
)
def test_what_is_unlike_any_protein_is_outside(sequence, said):
    assert said in why_outside(len(sequence), sequence)


def test_proteins_are_inside_in_whatever_case():
    rng = random.Random(1)
    for sequence in (GLOBIN, GLOBIN.lower(), GLOBIN[:LEAST_RESIDUES], GLOBIN + "X" * 5):
        assert why_outside(len(sequence), sequence) is None
    random_one = "".join(rng.choices("ACDEFGHIKLMNPQRSTVWY", k=60))
    assert why_outside(60, random_one) is None


def test_a_length_alone_is_judged():
    assert why_outside(LEAST_RESIDUES) is None
    assert why_outside(LEAST_RESIDUES - 1) is not None
