"""Which residues a term comes from: against one that leaves out windows one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from protclip_core.encoders.packing import pack
from protclip_core.models.loading import load_model
from protclip_core.models.settings import resolve_settings
from protclip_core.terms import explain
from protclip_core.terms.explain import (
    GAP,
    LEAST_LENGTH,
    THRESHOLD,
    WINDOW,
    as_ranges,
    explain_terms,
    find_segments,
    stretch,
    window_shifts,
)
from tests.support.go_indexes import unit
from tests.support.helpers import random_proteins
from tests.unit.models.dual import JOINT, Dual
from tests.unit.models.skips import READS_INPUT, Skips


class Case:
    """A small model with the modules that it was written from."""

    def __init__(self, folder, dual, projection, pooling):
        self.model = load_model(str(dual.write(folder)), device="cpu")
        self.module, self.pooling = projection, pooling
        self.settings = resolve_settings(
            self.model.info, self.model.encoder.num_layers, pooling=pooling, per_residue=True
        )

    def embed(self, sequence):
        (found,) = self.model.embed_batch([sequence], self.settings)
        return found.vector, found.residues

    def shifts(self, sequence):
        return window_shifts(self.model, *self.embed(sequence), pooling=self.pooling)

    @torch.inference_mode()
    def naive_cosines(self, sequence, term, left_out):
        """Cosine of the mean over the tokens that are not left out (residues, from 0)."""
        (last,) = self.model.encoder.hidden(pack([self.model.encoder.encode(sequence)])).values()
        kept = [i + 1 for i in range(len(sequence)) if i not in left_out]
        if self.pooling == "tokens":
            kept = [0, *kept, len(sequence) + 1]
        projected = self.module(last[kept].double().mean(dim=0).float()).double().numpy()
        return float(projected @ term / np.linalg.norm(projected))


@pytest.fixture(scope="module", params=["esm2", "kmer"])
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain") / request.param
    if request.param == "esm2":
        dual = Dual()
        return Case(folder, dual, dual.protein_projection, "tokens")
    skips = Skips(READS_INPUT)
    return Case(folder, skips, skips.projections["protein"], "residues")


def naive_window(place, length):
    reach = min(WINDOW // 2, (length // 2 - 1) // 2)
    return {i for i in range(length) if abs(i - place) <= reach}


@pytest.mark.parametrize("length", [2, 5, 17, 40])
def test_a_residue_is_worth_what_its_window_adds(case, length):
    rng = np.random.default_rng(length)
    ((_, sequence),) = random_proteins(1, seed=length, shortest=length, longest=length)
    term = unit(rng, 1, JOINT)[0].astype(np.float64)
    whole = case.naive_cosines(sequence, term, set())
    wanted = [
        whole - case.naive_cosines(sequence, term, naive_window(i, length)) for i in range(length)
    ]
    found = case.shifts(sequence) @ term
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    assert np.ptp(found) > 1e-3


def test_a_protein_of_one_residue_has_nothing_to_leave_out(case):
    assert not case.shifts("M").any()
    (found,) = explain_terms(
        case.model, *case.embed("M"), unit(np.random.default_rng(0), 1, JOINT), pooling=case.pooling
    )
    assert (found.segments, found.cosine_without, found.profile.tolist()) == ((), None, [0.0])


def test_parts_of_a_long_protein_join_without_a_seam(case, monkeypatch):
    ((_, sequence),) = random_proteins(1, shortest=120, longest=120)
    whole = case.shifts(sequence)
    monkeypatch.setattr(explain, "_ROWS", 7)
    np.testing.assert_allclose(case.shifts(sequence), whole, atol=1e-6)


def test_terms_of_a_protein(case):
    ((_, sequence),) = random_proteins(1, seed=3, shortest=40, longest=40)
    terms = unit(np.random.default_rng(1), 30, JOINT)
    vector, residues = case.embed(sequence)
    found = explain_terms(case.model, vector, residues, terms, pooling=case.pooling)
    marked = 0
    for one, term in zip(found, terms.astype(np.float64), strict=True):
        assert one.cosine == pytest.approx(case.naive_cosines(sequence, term, set()), abs=1e-5)
        assert (one.profile.min(), one.profile.max()) == (0, 1)
        if not one.segments:
            assert one.cosine_without is None
            continue
        marked += 1
        left_out = {i for first, last in one.segments for i in range(first - 1, last)}
        without = case.naive_cosines(sequence, term, left_out)
        assert one.cosine_without == pytest.approx(without, abs=2e-5)
    assert 10 < marked <= 30
    # Each term by itself gives the same numbers.
    (alone,) = explain_terms(case.model, vector, residues, terms[4:5], pooling=case.pooling)
    assert alone.segments == found[4].segments
    np.testing.assert_array_equal(alone.profile, found[4].profile)


def naive_segments(effects):
    low, high = min(effects), max(effects)
    marked = [high > low and (v - low) / (high - low) >= THRESHOLD and v > 0 for v in effects]
    for start in range(len(marked)):
        for stop in range(start + 2, min(start + GAP + 2, len(marked))):
            # Only what was marked from the start may close a gap.
            if marked[start] is True and marked[stop] is True:
                marked[start + 1 : stop] = [m or "gap" for m in marked[start + 1 : stop]]
    found, start = [], None
    for place, mark in enumerate([*marked, False]):
        if mark and start is None:
            start = place
        if not mark and start is not None:
            if place - start >= LEAST_LENGTH:
                found.append((start + 1, place))
            start = None
    return () if sum(b - a + 1 for a, b in found) * 3 > len(effects) else tuple(found)


def test_segments():
    rng, numbers = np.random.default_rng(0), set()
    for _ in range(300):
        values = rng.normal(rng.uniform(0, 2), 1, rng.integers(1, 150)) ** 3
        effects = np.convolve(values, np.ones(7) / 7, "same")
        found = find_segments(effects)
        assert found == naive_segments(effects.tolist())
        numbers.add(len(found))
    assert numbers >= {0, 1, 2, 3}


def test_where_nothing_stands_out():
    peak = np.zeros(60)
    peak[20:30] = 1.0
    assert find_segments(peak) == ((21, 30),)
    assert find_segments(peak - 1.0) == ()  # the highest lowers the cosine still
    assert find_segments(np.ones(60)) == ()
    assert find_segments(1e-8 * peak) == ()  # float32 knows no such difference
    assert find_segments(1.0 - peak) == ()  # all but a few
    assert find_segments(peak[26:60]) == ()  # too short
    assert find_segments(np.zeros(0)) == ()
    assert not stretch(np.full(4, 0.2)).any()


def test_ranges():
    assert as_ranges([(12, 19), (45, 60)]) == "12-19,45-60"
    assert as_ranges([]) == ""


def test_a_motif_is_found(case):
    """A protein that holds the only part of itself that is like the term."""
    ((_, motif), (_, rest)) = random_proteins(2, seed=9, shortest=14, longest=14)
    sequence = (rest * 4)[:50] + motif + (rest * 4)[:50]
    alone = case.model.embed([motif * 4, rest * 4], space="joint", pooling=case.pooling)
    term = alone[0] - (alone[0] @ alone[1]) * alone[1]
    term /= np.linalg.norm(term)
    (found,) = explain_terms(case.model, *case.embed(sequence), term[None], pooling=case.pooling)
    covered = {i for first, last in found.segments for i in range(first, last + 1)}
    assert len(covered & set(range(51, 65))) >= 7
    assert len(covered - set(range(45, 71))) <= 6
    assert found.cosine_without < found.cosine
