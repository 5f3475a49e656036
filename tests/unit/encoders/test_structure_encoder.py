"""The structure encoder as a whole: turning, mirrors, batches, reach, pieces of training."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from protclip_core.encoders.structure import GvpConfig, StructureEncoder, describe, pack_chains
from protclip_core.encoders.structure.packing import MASKED
from tests.support.chains import broken, ca_only, make_chain, moved, random_turn, without

SMALL = {"scalar_dim": 24, "vector_dim": 5, "edge_dim": 12, "num_layers": 3, "neighbours": 6}
LENGTHS = (40, 3, 61, 2, 1, 7)
CHAINS = [make_chain(n, n, confident=bool(n % 2)) for n in LENGTHS]
CHAINS[2] = without(broken(CHAINS[2], 20), 40, 0, 2)
KINDS = {
    "plain": {},
    "residues": {"residues": True, "descriptor": "whole"},
    "ca": {"atoms": "ca"},
    "lengths": {"gate": False, "side_chain": False, "confidence": False},
}


def make(**options):
    torch.manual_seed(5)
    return StructureEncoder(GvpConfig(**{**SMALL, **options})).double().eval()


def run(encoder, chains):
    with torch.no_grad():
        return encoder(pack_chains(chains, dtype=torch.float64))


@pytest.fixture(scope="module", params=KINDS)
def encoder(request):
    return make(**KINDS[request.param])


def exact(turn, shift):
    """The chains moved in double precision: past what the float32 of a chain would keep."""
    batch = pack_chains(CHAINS, dtype=torch.float64)
    backbone = batch.backbone @ torch.from_numpy(turn).T + shift
    return replace(batch, backbone=backbone)


def test_turning_and_moving_changes_nothing(encoder):
    wanted = run(encoder, CHAINS)
    with torch.no_grad():
        found = encoder(exact(random_turn(1), torch.tensor([100.0, -50, 20]).double()))
    assert (found - wanted).abs().max() < 1e-10
    assert wanted.std(0).max() > 0.01  # chains differ


def test_files_far_from_the_origin_give_the_same_vectors_in_single_precision(encoder):
    single = copy.deepcopy(encoder).float()
    chains = [replace(c, backbone=(c.backbone * 8).round() / 8) for c in CHAINS]
    with torch.no_grad():
        here = single(pack_chains(chains))
        there = single(pack_chains([moved(c, shift=[9000.0, -5000.0, 1000.0]) for c in chains]))
    assert (here - there).abs().max() < 1e-4


@pytest.mark.parametrize("kind", ["plain", "ca"])
def test_a_mirrored_protein_differs(kind):
    encoder = make(**KINDS[kind])
    mirror = np.diag([1.0, 1, -1])
    wanted = run(encoder, CHAINS)
    found = run(encoder, [moved(c, mirror) for c in CHAINS])
    apart = (found - wanted).abs().amax(1) / wanted.abs().amax(1)
    assert apart[0] > 0.01 and apart[2] > 0.01
    # Without angles and side chains nothing says which hand it is: the layers alone are blind.
    graph = encoder.graph(pack_chains(CHAINS, dtype=torch.float64))
    blind = replace(graph, scalars=graph.scalars * 0, vectors=graph.vectors)
    flipped = replace(blind, vectors=-blind.vectors, edge_vectors=-blind.edge_vectors)
    with torch.no_grad():
        assert (encoder(blind) - encoder(flipped)).abs().max() < 1e-10


def test_a_batch_gives_what_each_chain_gives_alone_in_any_order(encoder):
    together = run(encoder, CHAINS)
    order = [3, 0, 5, 2, 4, 1]
    for row, chain in zip(together, CHAINS):
        assert (run(encoder, [chain])[0] - row).abs().max() < 1e-12
    assert (run(encoder, [CHAINS[i] for i in order]) - together[order]).abs().max() < 1e-12
    assert run(encoder, []).shape == (0, encoder.hidden_dim)


def test_gradients_or_none_the_same_numbers(encoder):
    batch = pack_chains(CHAINS, dtype=torch.float64)
    assert (encoder(batch) - run(encoder, CHAINS)).abs().max() < 1e-12


def test_a_far_residue_reaches_no_further_than_neighbours_of_neighbours():
    encoder = make()
    graph = encoder.graph(pack_chains([make_chain(400, 8)], dtype=torch.float64))
    changed = torch.zeros(400, dtype=torch.bool)
    changed[0] = True
    scalars = graph.scalars.clone()
    scalars[0] += 1
    for _ in range(3):
        changed |= changed[graph.neighbours].any(1)
    with torch.no_grad():
        apart = (encoder.residues(replace(graph, scalars=scalars)) - encoder.residues(graph)).abs()
    assert 0 < changed.sum() < 200
    assert (apart[~changed] == 0).all()
    assert (apart[changed].amax(1) > 0).double().mean() > 0.5


def test_atoms_that_are_missing_breaks_and_confidence_are_seen():
    encoder, chain = make(), CHAINS[2]
    kept = [chain, ca_only(chain), broken(chain, 30), replace(chain, confidence=None)]
    found = run(encoder, kept)
    assert found.isfinite().all()
    apart = (found[1:] - found[0]).abs().amax(1)
    assert (apart > 1e-4).all()
    zero = replace(chain, confidence=np.zeros_like(chain.confidence))
    assert (run(encoder, [zero])[0] - found[3]).abs().max() > 1e-4  # absent is not pLDDT 0


def test_types_are_only_read_where_the_configuration_says_so():
    other = replace(CHAINS[0], sequence="W" * 40)
    for residues, differs in ((False, False), (True, True)):
        encoder = make(residues=residues)
        apart = (run(encoder, [other]) - run(encoder, CHAINS[:1])).abs().max()
        assert bool(apart > 1e-3) is differs
    batch = pack_chains(CHAINS, dtype=torch.float64)
    masked = replace(batch, residues=torch.full_like(batch.residues, MASKED))
    with torch.no_grad():
        assert (encoder(masked) - encoder(batch)).abs().max() > 1e-3


def test_noise_belongs_to_training_and_comes_from_its_generator():
    encoder = make(noise=0.2, dropout=0.0)
    batch = pack_chains(CHAINS, dtype=torch.float64)
    still = encoder(batch)
    assert (encoder(batch) == still).all()
    encoder.train()
    found = [encoder(batch, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert (found[0] == found[1]).all() and (found[0] != found[2]).any()
    assert (found[0] != still).any()


def test_recomputing_gives_the_same_gradients():
    encoder = make(dropout=0.3).train()
    batch = pack_chains(CHAINS, dtype=torch.float64)
    gradients = []
    for recompute in (False, True):
        encoder.recompute = recompute
        encoder.zero_grad()
        torch.manual_seed(3)
        encoder(batch).square().sum().backward()
        gradients.append([p.grad.clone() for p in encoder.parameters()])
    for one, other in zip(*gradients):
        assert (one - other).abs().max() < 1e-12


def test_every_parameter_gets_a_gradient():
    encoder = make(residues=True)
    encoder(pack_chains(CHAINS, dtype=torch.float64)).square().sum().backward()
    without_any = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    # The last block's vectors end at the scalars.
    assert without_any == []


def test_a_descriptor_stands_behind_and_may_be_that_of_the_whole_chain():
    plain, beside = make(), make(descriptor="local")
    chains = CHAINS[:3]
    described = describe(pack_chains(chains, dtype=torch.float64))
    beside.scale_descriptors(described)
    found = run(beside, chains)
    assert found.shape == (3, 24 + 32) and beside.hidden_dim == 56
    assert (found[:, :24] - run(plain, chains)).abs().max() < 1e-12
    varied = described[:, :32].std(0, correction=0) > 1e-3
    assert found[:, 24:][:, varied].mean(0).abs().max() < 1e-10
    given = pack_chains(chains, descriptors=described.numpy() * 0, dtype=torch.float64)
    with torch.no_grad():
        moved_to = -beside.descriptor_mean / beside.descriptor_scale
        assert (beside(given)[:, 24:] - moved_to).abs().max() < 1e-12


def test_a_configuration_is_plain_data_and_is_read_back():
    config = GvpConfig(**SMALL, residues=True, descriptor="local")
    assert GvpConfig.from_dict(config.to_dict()) == config
    for wrong in ({"scalar_dim": 0}, {"wings": 2}, {"descriptor": "all"}, {"dropout": 1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            GvpConfig.from_dict(wrong)
