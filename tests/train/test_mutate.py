"""Substitutions by BLOSUM62, averages of parameters, rates of tables, and random batches."""

import dataclasses

import numpy as np
import pytest
import torch
from Bio.Align import substitution_matrices
from torch import nn

from protclip_core.encoders.alphabet import TOKENS, encode
from tests.train.launch import debug_config
from train.data.substitutions import mutate, substitutions
from train.loop.moving_average import Averages
from train.loop.optim import make_optimizer, set_learning_rate

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


def test_substitutions_are_those_of_blosum62():
    found, matrix = substitutions(), substitution_matrices.load("BLOSUM62")
    places = [TOKENS.index(letter) for letter in RESIDUES]
    assert found[places].sum(axis=1) == pytest.approx(np.ones(20))
    assert not np.delete(found, places, axis=0).any()
    assert not found.diagonal().any()
    leucine, isoleucine, proline = (TOKENS.index(letter) for letter in "LIP")
    # Of two with the same chances as background: the scores alone, 2 against -3.
    assert found[leucine, isoleucine] / found[leucine, proline] == pytest.approx(
        514 / 520 * 2 ** ((matrix["L"]["I"] - matrix["L"]["P"]) / 2)
    )


def test_mutated_residues_follow_the_table():
    rng = np.random.default_rng(3)
    before = encode("L" * 20_000 + "X" * 500)[1:-1]
    kept = before.copy()
    counts = np.zeros(len(TOKENS))
    for _ in range(40):
        after = mutate(before, 0.8, rng)
        assert after.dtype == before.dtype and np.array_equal(before, kept)
        assert np.array_equal(after[20_000:], before[20_000:])
        counts += np.bincount(after[after != before], minlength=len(TOKENS))
    expected = substitutions()[TOKENS.index("L")]
    assert counts.sum() / (40 * 20_000) == pytest.approx(0.4, abs=0.08)
    assert counts / counts.sum() == pytest.approx(expected, abs=0.004)


def test_shares_are_drawn_between_nothing_and_the_most():
    rng = np.random.default_rng(0)
    before = encode("MKTAYIAKQR" * 100)[1:-1]
    shares = [(mutate(before, 0.3, rng) != before).mean() for _ in range(300)]
    assert min(shares) < 0.02 and 0.25 < max(shares) < 0.36
    assert np.mean(shares) == pytest.approx(0.15, abs=0.02)
    assert np.array_equal(mutate(before, 0.0, rng), before)


def test_averages_follow_their_definition():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    model.bias.requires_grad = False
    averages = Averages(model, 0.6)
    expected, bias = model.weight.detach().clone(), model.bias.detach().clone()
    for step in range(1, 9):
        with torch.no_grad():
            model.weight.add_(torch.randn(2, 3))
            model.bias.add_(1.0)
        averages.update(step)
        decay = min(0.6, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    last = model.weight.detach().clone()
    with averages.applied():
        torch.testing.assert_close(model.weight.detach(), expected)
        assert torch.equal(model.bias, bias + 8)
    assert torch.equal(model.weight, last)
    still = Averages(model, 0.0)
    with still.applied():
        assert torch.equal(model.weight, last)


class _Tables(nn.Module):
    """Parameters with the names of a trainee."""

    def __init__(self):
        super().__init__()
        encoder = nn.Module()
        encoder.tables, encoder.gates = (nn.ModuleList([nn.Embedding(3, 2)]) for _ in range(2))
        encoder.projection = nn.Linear(2, 2)
        self.towers = nn.Module()
        self.towers.protein_encoder = encoder


@pytest.mark.parametrize(("share", "tables", "decay"), [(1.0, 0.5, 0.1), (4.0, 4.0, 0.0)])
def test_tables_have_a_rate_of_their_own(share, tables, decay):
    model = _Tables()
    settings = dataclasses.replace(
        debug_config().train, table_share=share, encoder_share=0.5, weight_decay=0.1
    )
    optimizer = make_optimizer(model, settings)
    set_learning_rate(optimizer, 0.01)
    found = {
        id(p): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    encoder = model.towers.protein_encoder
    for part in (encoder.tables, encoder.gates):
        assert found[id(part[0].weight)] == pytest.approx((0.01 * tables, decay))
    assert found[id(encoder.projection.weight)] == pytest.approx((0.005, 0.1))
