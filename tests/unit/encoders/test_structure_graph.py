"""Features of structures: plain loops, breaks, missing atoms, short chains, far from the origin."""

from __future__ import annotations

from dataclasses import replace
from math import atan2, cos, degrees, exp, sin, sqrt

import numpy as np
import pytest
import torch
from Bio.PDB.vectors import Vector, calc_dihedral

from protclip_core.encoders.structure import (
    GvpConfig,
    build_graph,
    crop_chain,
    describe,
    pack_chains,
)
from protclip_core.encoders.structure.geometry import dihedral, measure_backbone
from protclip_core.encoders.structure.graph import node_sizes
from protclip_core.encoders.structure.neighbours import _padded, nearest_residues
from protclip_core.encoders.structure.packing import MASKED, OTHER
from tests.support.chains import broken, ca_only, make_chain, moved, place, random_turn, without

ALL = GvpConfig(neighbours=8)


def graph_of(*chains, config=ALL, dtype=torch.float64):
    return build_graph(pack_chains(chains, dtype=dtype), config)


def naive_scalars(chain):
    """The scalars of each residue, by loops over one chain; angles by Biopython."""
    x = chain.backbone.astype(np.float64)
    length = len(chain)

    def follows(i):
        return 0 < i < length and not chain.starts[i]

    def turn(*points):
        if any(np.isnan(p).any() for p in points):
            return None
        return calc_dihedral(*[Vector(p) for p in points])

    rows, arrows = [], []
    for i in range(length):
        n, ca, c = x[i, :3]
        before, behind = follows(i), follows(i + 1)
        angles = [
            turn(x[i - 1, 2], n, ca, c) if before else None,
            turn(n, ca, c, x[i + 1, 0]) if behind else None,
            turn(ca, c, x[i + 1, 0], x[i + 1, 1]) if behind else None,
            turn(*x[i - 1 : i + 3, 1]) if before and behind and follows(i + 2) else None,
        ]
        ways = [x[i + 1, 1] - ca if behind else None, x[i - 1, 1] - ca if before else None, None]
        if not np.isnan(n).any() and not np.isnan(c).any():
            to_c, to_n = ((p - ca) / np.linalg.norm(p - ca) for p in (c, n))
            half, across = to_c + to_n, np.cross(to_c, to_n)
            half, across = half / np.linalg.norm(half), across / np.linalg.norm(across)
            ways[2] = -sqrt(1 / 3) * half - sqrt(2 / 3) * across
        unit = [np.zeros(3) if w is None else w / np.linalg.norm(w) for w in ways]
        known = [a is not None for a in angles] + [w is not None for w in ways]
        parts = [v for a in angles for v in ((0, 0) if a is None else (cos(a), sin(a)))]
        sure = [0, 1] if chain.confidence is None else [chain.confidence[i] / 100, 0]
        rows.append([unit[0] @ unit[1], *parts, *(1.0 - np.array(known)), *sure])
        arrows.append(unit)
    return np.array(rows), np.array(arrows).transpose(0, 2, 1)


def naive_edges(chain, count):
    ca = chain.backbone[:, 1].astype(np.float64)
    segment = np.cumsum(chain.starts)
    near, scalars, arrows = [], [], []
    for i in range(len(chain)):
        others = sorted((np.linalg.norm(ca[j] - ca[i]), j) for j in range(len(chain)) if j != i)
        near.append([j for _, j in others[:count]])
        for distance, j in others[:count]:
            bells = [exp(-(((distance - 20 * b / 15) / 1.25) ** 2)) for b in range(16)]
            turns = [(j - i) * 10000 ** (-w / 16) for w in range(0, 16, 2)]
            waves = [cos(t) for t in turns] + [sin(t) for t in turns]
            joined = segment[i] == segment[j]
            scalars.append([*bells, *(waves if joined else [0] * 16), float(not joined)])
            arrows.append((ca[j] - ca[i]) / distance)
    shape = (len(chain), count)
    return np.array(near), np.reshape(scalars, (*shape, 33)), np.reshape(arrows, (*shape, 3))


MADE = make_chain(40, 3)
CHAINS = {
    "whole": MADE,
    "broken": broken(MADE, 1, 17, 18, 39),
    "holes": without(without(without(MADE, 0, 0), 20, 2, 3), 39, 0, 2),
    "ca": ca_only(MADE),
    "experiment": replace(MADE, confidence=None),
}


@pytest.mark.parametrize("kind", CHAINS)
def test_features_equal_plain_loops(kind):
    chain = CHAINS[kind]
    # A second chain in front: nothing of it may be seen.
    graph = graph_of(make_chain(12, 9), chain)
    scalars, vectors = naive_scalars(chain)
    near, edge_scalars, edge_vectors = naive_edges(chain, 8)
    np.testing.assert_allclose(graph.scalars[12:], scalars, atol=1e-6)
    np.testing.assert_allclose(graph.vectors[12:], vectors, atol=1e-6)
    assert (graph.neighbours[12:] - 12).tolist() == near.tolist()
    np.testing.assert_allclose(graph.edge_scalars[12:], edge_scalars, atol=1e-6)
    np.testing.assert_allclose(graph.edge_vectors[12:, :, :, 0], edge_vectors, atol=1e-6)
    np.testing.assert_allclose(graph.weights, 1 / 8)


@pytest.mark.parametrize("angle", [-150, -60, 0.5, 60, 90, 179])
def test_dihedrals_have_the_signs_of_iupac(angle):
    three = [[0.0, 0, 0], [1.4, 0, 0], [2.0, 1.3, 0.2]]
    four = torch.tensor(np.array([*three, place(three, 1.5, 110, angle)]))[:, None]
    (found,) = dihedral(*four)
    assert degrees(atan2(*found.flip(0))) == pytest.approx(angle, abs=1e-6)


def test_a_right_handed_helix_has_negative_phi_and_psi():
    seen = measure_backbone(pack_chains([make_chain(60, 0)], dtype=torch.float64))
    phi, psi = seen.angles[1:-1, 0], seen.angles[1:-1, 1]
    helix = psi[:, 1] < 0
    assert helix.any() and (phi[:, 1] < 0).all()
    assert seen.angles[1:-1, 2, 0].numpy() == pytest.approx(-1.0, abs=1e-4)  # trans
    # A right-handed helix turns by some 50 degrees for each CA.
    turns = seen.angles[1:-2, 3][helix[:-1] & helix[1:]]
    assert len(turns) > 5 and (turns.mean(0) > 0.4).all()


def test_absent_angles_are_marked_and_are_not_angle_zero():
    graph = graph_of(MADE)
    assert graph.scalars[0, 1:3].tolist() == [0, 0]  # phi of the first residue
    assert graph.scalars[0, 9] == 1
    assert graph.scalars[1, 9] == 0


def test_a_residue_without_atoms_has_finite_features_and_stays_a_neighbour():
    graph = graph_of(without(MADE, 20, 0, 2, 3))
    for value in (graph.scalars, graph.vectors, graph.edge_scalars, graph.edge_vectors):
        assert value.isfinite().all()
    assert (graph.neighbours == 20).any()
    assert graph.vectors[20, :, 2].abs().max() == 0 and graph.vectors[20, :, 0].norm() > 0.9


def test_no_feature_looks_across_a_break():
    chain = broken(MADE, 20)
    moved_half = chain.backbone.copy()
    moved_half[20:] += [7, -3, 11]
    other = replace(chain, backbone=moved_half)
    one, two = (graph_of(c) for c in (chain, other))
    np.testing.assert_allclose(one.scalars, two.scalars, atol=1e-6)
    np.testing.assert_allclose(one.vectors, two.vectors, atol=1e-6)


def test_chains_do_not_look_at_each_other():
    alone = graph_of(MADE)
    both = graph_of(MADE, moved(MADE, shift=0.5), MADE)
    for name in ("scalars", "vectors", "edge_scalars", "edge_vectors"):
        assert (getattr(both, name)[-40:] == getattr(alone, name)).all()
    assert (both.neighbours[-40:] - 80 == alone.neighbours).all()
    assert both.chains.tolist() == [0] * 40 + [1] * 40 + [2] * 40


@pytest.mark.parametrize("length", [1, 2, 3, 8, 9])
def test_chains_shorter_than_their_neighbours(length):
    graph = graph_of(make_chain(length), MADE)
    there = min(8, length - 1)
    assert graph.weights[:length].sum(1).numpy() == pytest.approx(min(1, there))
    assert ((graph.weights[:length] > 0).sum(1) == there).all()
    assert (graph.neighbours[:length] < length).all()
    scalars, vectors = naive_scalars(make_chain(length))
    np.testing.assert_allclose(graph.scalars[:length], scalars, atol=1e-6)
    np.testing.assert_allclose(graph.vectors[:length], vectors, atol=1e-6)
    assert graph_of(make_chain(length)).neighbours.shape == (length, max(1, there))


@pytest.mark.parametrize("far", [1_000, 5_000, 9_000])
def test_neighbours_far_from_the_origin_are_those_at_it(far):
    chain = make_chain(300, 2)
    # Coordinates as a file has them: thousandths of an ångström.
    rounded = replace(chain, backbone=(chain.backbone * 8).round() / 8)
    here, there = (graph_of(c, dtype=torch.float32) for c in (rounded, moved(rounded, shift=far)))
    assert (here.neighbours == there.neighbours).all()
    assert (here.edge_scalars - there.edge_scalars).abs().max() < 1e-5


def test_long_chains_have_the_same_neighbours_by_tree():
    chain = make_chain(700, 5)
    ca = torch.from_numpy(chain.backbone[:, 1]).double()
    near, there = nearest_residues(ca, [700], 30)
    distances = torch.cdist(ca, ca, compute_mode="donot_use_mm_for_euclid_dist")
    distances.fill_diagonal_(torch.inf)
    wanted = distances.topk(30, largest=False)
    assert there.all()
    assert (distances.gather(1, near) == wanted.values).all()


@pytest.mark.parametrize("length", [20, 600])
def test_residues_at_one_place_are_neighbours_but_none_is_its_own(length):
    ca = torch.zeros(length, 3)
    near, there = nearest_residues(ca, [length], 10)
    own = torch.arange(length)[:, None]
    assert there.all() and (near != own).all()
    assert all(len(set(row)) == 10 for row in near.tolist())


def test_the_way_of_gpus_finds_the_same_neighbours():
    lengths = [1, 2, 300, 9, 120, 4]
    ca = torch.cat([torch.from_numpy(make_chain(n, n).backbone[:, 1]) for n in lengths]).double()
    wanted, _ = nearest_residues(ca, lengths, 12)
    found = torch.arange(len(ca))[:, None].repeat(1, 12)
    ends = np.cumsum(lengths)
    _padded(ca, [(slice(e - n, e), n) for e, n in zip(ends, lengths)], 12, found)
    assert (found == wanted).all()


@pytest.mark.parametrize(
    ("options", "sizes"),
    [({}, (18, 3)), ({"side_chain": False}, (17, 2)), ({"atoms": "ca"}, (8, 2))],
)
@pytest.mark.parametrize("confidence", [True, False])
def test_sizes_of_features_are_what_there_is(options, sizes, confidence):
    config = GvpConfig(confidence=confidence, neighbours=5, **options)
    graph = graph_of(MADE, config=config)
    wanted = sizes[0] - 2 * (not confidence), sizes[1]
    assert node_sizes(config) == wanted == (graph.scalars.shape[1], graph.vectors.shape[2])


def test_a_model_of_ca_sees_nothing_else():
    config = GvpConfig(atoms="ca", neighbours=5)
    one, two = graph_of(MADE, config=config), graph_of(ca_only(MADE), config=config)
    assert (one.scalars == two.scalars).all() and (one.vectors == two.vectors).all()


def test_noise_is_that_of_its_generator():
    batch = pack_chains([MADE])
    found = [
        build_graph(batch, ALL, noise=0.3, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert (found[0].scalars == found[1].scalars).all()
    assert (found[0].edge_vectors != found[2].edge_vectors).any()
    assert (build_graph(batch, ALL).scalars != found[0].scalars).any()


def test_packing_knows_residues_pieces_and_what_it_cannot_pack():
    chain = replace(MADE, sequence="ACXU" + MADE.sequence[4:])
    batch = pack_chains([chain, crop_chain(chain, 30, 99)])
    assert batch.lengths == (40, 10)
    assert batch.residues[:4].tolist() == [0, 1, OTHER, OTHER] and batch.residues.max() < MASKED
    assert batch.starts.nonzero().flatten().tolist() == [0, 40]
    assert batch.backbone[:40, 1].mean(0).abs().max() < 1e-4
    assert batch.confidence[40:].tolist() == pytest.approx((chain.confidence[30:] / 100).tolist())
    empty = crop_chain(chain, 40, 5)
    with pytest.raises(ValueError, match="made"):
        pack_chains([empty])
    hole = replace(MADE, backbone=np.full_like(MADE.backbone, np.nan))
    with pytest.raises(ValueError, match="CA"):
        pack_chains([hole])
    assert len(pack_chains([])) == 0


def test_a_descriptor_equals_plain_counts():
    chain = without(broken(MADE, 10), 30, 2)
    batch = pack_chains([make_chain(5), chain, ca_only(chain)], dtype=torch.float64)
    found = describe(batch).numpy()
    rows, _ = naive_scalars(chain)
    for column, name in enumerate(("phi", "psi", "omega")):
        known = rows[:, 9 + column] == 0
        pair = rows[known, 1 + 2 * column : 3 + 2 * column]
        assert found[1, 2 * column : 2 * column + 2] == pytest.approx(pair.mean(0), abs=1e-6)
        if name != "omega":
            turned = np.degrees(np.arctan2(pair[:, 1], pair[:, 0]))
            counts = np.histogram(turned, bins=12, range=(-180, 180))[0] / known.sum()
            where = 6 + 12 * column
            assert found[1, where : where + 12] == pytest.approx(counts)
    ca = chain.backbone[:, 1].astype(float)
    apart = np.linalg.norm(ca[:, None] - ca[None], axis=-1)
    near = [((apart < r).sum() - 40) / 40 / usual for r, usual in ((10, 15), (15, 40))]
    spread = np.sqrt(((ca - ca.mean(0)) ** 2).sum(1).mean())
    assert found[1, 30:] == pytest.approx([*near, np.log(40), np.log(spread)])
    assert (found[2, :30] == 0).all() and found[2, 30:] == pytest.approx(found[1, 30:])
    turned = describe(pack_chains([moved(chain, random_turn(1), 50.0)])).numpy()[0]
    assert turned == pytest.approx(found[1], abs=1e-4)
