"""Layers of the structure encoder: plain loops, gradients, turning, dropout."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from protclip_core.encoders.structure.gvp import Edges, Gvp, GvpDropout, GvpLayer, GvpNorm, Sizes
from tests.support.chains import random_turn

NODES, EDGES = Sizes(7, 3), Sizes(4, 1)


def weights(linear):
    bias = linear.bias
    return linear.weight.detach().numpy(), None if bias is None else bias.detach().numpy()


def naive_gvp(gvp, scalars, vectors):
    """One perceptron for one place; ``vectors`` is a list of 3-vectors."""
    mix, (map_, bias) = weights(gvp.mix)[0], weights(gvp.scalars)
    mixed = [sum(w * v for w, v in zip(row, vectors)) for row in mix]
    joined = [*scalars, *[np.sqrt(v @ v + 1e-8) for v in mixed]]
    made = [sum(w * x for w, x in zip(row, joined)) + b for row, b in zip(map_, bias)]
    new = []
    if gvp.gives.vectors:
        new = [sum(w * v for w, v in zip(row, mixed)) for row in weights(gvp.vectors)[0]]
        if gvp.gate is not None:
            gates = [
                1 / (1 + np.exp(-(sum(w * x for w, x in zip(row, made)) + b)))
                for row, b in zip(*weights(gvp.gate))
            ]
            new = [v * g for v, g in zip(new, gates)]
        elif gvp.active:
            new = [v / (1 + np.exp(-np.sqrt(v @ v + 1e-8))) for v in new]
    return [max(x, 0.0) if gvp.active else x for x in made], new


def naive_norm(norm, scalars, vectors):
    values = np.array(scalars)
    gain, shift = weights(norm.scalars)
    values = (values - values.mean()) / np.sqrt(values.var() + 1e-5) * gain + shift
    size = np.sqrt(np.mean([v @ v for v in vectors]) + 1e-8)
    return list(values), [v / size for v in vectors]


def naive_layer(layer, nodes, edges, near):
    """The layer as it is written in the paper: a loop over residues, neighbours, perceptrons."""
    found = []
    for i, (scalars, vectors) in enumerate(nodes):
        total_s, total_v = np.zeros(NODES.scalars), np.zeros((NODES.vectors, 3))
        for edge, j in zip(edges[i], near[i]):
            message = [*nodes[j][0], *edge[0], *scalars], [*nodes[j][1], *edge[1], *vectors]
            for gvp in layer.message:
                message = naive_gvp(gvp, *message)
            total_s, total_v = total_s + message[0], total_v + message[1]
        count = max(1, len(near[i]))
        both = scalars + total_s / count, list(np.array(vectors) + total_v / count)
        both = naive_norm(layer.norms[0], *both)
        more = both
        for gvp in layer.feedforward:
            more = naive_gvp(gvp, *more)
        both = np.array(both[0]) + more[0], list(np.array(both[1]) + more[1])
        found.append(naive_norm(layer.norms[1], *both))
    return found


def make_layer(*, gate=True, message_depth=3, feedforward_depth=2, dropout=0.0):
    torch.manual_seed(1)
    return GvpLayer(
        NODES,
        EDGES,
        message_depth=message_depth,
        feedforward_depth=feedforward_depth,
        gate=gate,
        dropout=dropout,
    ).double()


def random_input(n=5, k=3, seed=2):
    """Nodes, edges and neighbours as tensors; the last residue has one neighbour only."""
    made = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=made, dtype=torch.float64)

    near = torch.stack([torch.randperm(n, generator=made)[:k] for _ in range(n)])
    shares = torch.full((n, k), 1 / k, dtype=torch.float64)
    shares[-1] = torch.tensor([1.0] + [0.0] * (k - 1), dtype=torch.float64)
    edges = Edges(normal(n, k, EDGES.scalars), normal(n, k, 3, EDGES.vectors), near, shares)
    return normal(n, NODES.scalars), normal(n, 3, NODES.vectors), edges


@pytest.mark.parametrize("gate", [True, False], ids=["gate", "lengths"])
@pytest.mark.parametrize("depths", [(3, 2), (1, 1)], ids=["deep", "flat"])
def test_a_layer_equals_plain_loops(gate, depths):
    layer = make_layer(gate=gate, message_depth=depths[0], feedforward_depth=depths[1])
    scalars, vectors, edges = random_input()
    counts = [3, 3, 3, 3, 1]
    nodes = [(s.numpy(), list(v.numpy().T)) for s, v in zip(scalars, vectors)]
    written = [
        [(edges.scalars[i, j].numpy(), list(edges.vectors[i, j].numpy().T)) for j in range(count)]
        for i, count in enumerate(counts)
    ]
    near = [edges.neighbours[i, :count].tolist() for i, count in enumerate(counts)]
    wanted = naive_layer(layer, nodes, written, near)
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            found_s, found_v = layer(scalars, vectors, edges)
        np.testing.assert_allclose(found_s.detach(), [w[0] for w in wanted], atol=1e-10)
        turned = found_v.detach().transpose(1, 2)
        np.testing.assert_allclose(turned, np.array([w[1] for w in wanted]), atol=1e-10)


def test_messages_are_those_of_the_unfactored_form():
    layer = make_layer()
    scalars, vectors, edges = random_input(n=300, k=4)
    near = edges.neighbours
    own = [x[:, None].expand(-1, 4, *x.shape[1:]) for x in (scalars, vectors)]
    message = (
        torch.cat([scalars[near], edges.scalars, own[0]], -1),
        torch.cat([vectors[near], edges.vectors, own[1]], -1),
    )
    for gvp in layer.message:
        message = gvp(*message)
    wanted = (
        (message[0] * edges.weights[..., None]).sum(1),
        (message[1] * edges.weights[..., None, None]).sum(1),
    )
    for grad in (False, True):  # without gradients residues are taken in pieces
        with torch.set_grad_enabled(grad):
            found = layer.messages(scalars, vectors, edges)
        for one, other in zip(found, wanted):
            assert (one - other).abs().max() < 1e-12


@pytest.mark.parametrize("gate", [True, False], ids=["gate", "lengths"])
def test_gradients_of_a_layer_are_those_of_differences(gate):
    layer = make_layer(gate=gate)
    scalars, vectors, edges = random_input(n=4, k=2)

    def run(s, v, es, ev, *values):
        names = dict(zip([name for name, _ in layer.named_parameters()], values))
        given = (s, v, Edges(es, ev, edges.neighbours, edges.weights))
        return torch.func.functional_call(layer, names, given)

    inputs = [scalars, vectors, edges.scalars, edges.vectors, *layer.parameters()]
    inputs = [x.detach().clone().requires_grad_(True) for x in inputs]
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


def test_gradients_of_vectors_that_vanish_are_finite():
    layer = make_layer()
    scalars, vectors, edges = random_input()
    vectors = torch.zeros_like(vectors).requires_grad_(True)
    edges = edges._replace(vectors=torch.zeros_like(edges.vectors))
    found = layer(scalars, vectors, edges)
    (found[0].sum() + found[1].sum()).backward()
    assert vectors.grad is not None and vectors.grad.isfinite().all()
    assert found[1].abs().max() == 0


@pytest.mark.parametrize("gate", [True, False], ids=["gate", "lengths"])
def test_vectors_turn_with_the_input_and_scalars_do_not_change(gate):
    layer = make_layer(gate=gate)
    scalars, vectors, edges = random_input()
    turn = torch.from_numpy(random_turn(4))
    found_s, found_v = layer(scalars, vectors, edges)
    turned = edges._replace(vectors=turn @ edges.vectors)
    again_s, again_v = layer(scalars, turn @ vectors, turned)
    assert (again_s - found_s).abs().max() < 1e-10
    assert (again_v - turn @ found_v).abs().max() < 1e-10
    assert (again_v - found_v).abs().max() > 0.1


def test_three_channels_are_no_axis_of_space():
    # A product along the wrong axis of size 3 is only seen where there are three of each.
    gvp = Gvp(Sizes(2, 3), Sizes(2, 3)).double()
    scalars, vectors = torch.randn(3, 2).double(), torch.randn(3, 3, 3).double()
    wanted = [naive_gvp(gvp, s.numpy(), list(v.numpy().T)) for s, v in zip(scalars, vectors)]
    found = gvp(scalars, vectors)
    np.testing.assert_allclose(found[0].detach(), [w[0] for w in wanted], atol=1e-12)
    turned = found[1].detach().transpose(1, 2)
    np.testing.assert_allclose(turned, np.array([w[1] for w in wanted]), atol=1e-12)


def test_dropout_leaves_out_vectors_as_a_whole():
    drop = GvpDropout(0.25).train()
    torch.manual_seed(0)
    scalars, vectors = drop(torch.ones(2000, 4), torch.ones(2000, 3, 5))
    assert vectors.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (vectors == vectors[:, :1]).all()  # x, y and z fall together
    assert (vectors[:, 0] == 0).double().mean().item() == pytest.approx(0.25, abs=0.02)
    assert (vectors[:, 0] == 0).any(1).double().mean() < 0.9  # and channels each for itself
    assert (scalars == 0).double().mean().item() == pytest.approx(0.25, abs=0.02)
    drop.eval()
    assert drop(torch.ones(2, 4), torch.ones(2, 3, 5))[1].min() == 1


def test_a_norm_leaves_vectors_of_root_mean_square_one():
    norm = GvpNorm(NODES).double()
    _, vectors, _ = random_input()
    found = norm(torch.randn(5, 7).double(), 50 * vectors)[1]
    assert found.square().sum(1).mean(1).numpy() == pytest.approx(1.0)


def test_dropout_changes_a_layer_only_in_training():
    layer = make_layer(dropout=0.5)
    given = random_input()
    still = copy.deepcopy(layer).eval()
    assert (still(*given)[0] == still(*given)[0]).all()
    assert (layer(*given)[0] != layer(*given)[0]).any()
