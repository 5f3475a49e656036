"""Masked residues, restored from the protein alone."""

import pytest
import torch

from protclip_core.encoders.alphabet import BOS, EOS, MASK
from protclip_core.encoders.packing import pack_sequences
from train.data.masking import IGNORED, mask_residues
from train.objectives.mlm import mlm_loss


def test_masking_takes_its_share_of_residues_and_never_the_ends():
    batch = pack_sequences(["ACDEFGHIKLMNPQRSTVWY" * 20] * 20)
    masked, targets = mask_residues(batch, 0.15, torch.Generator().manual_seed(0))
    chosen = targets != IGNORED
    residues = (batch.tokens != BOS) & (batch.tokens != EOS)
    assert not (chosen & ~residues).any()
    assert float(chosen.sum() / residues.sum()) == pytest.approx(0.15, abs=0.01)
    assert (masked.tokens[chosen] == MASK).all()
    assert torch.equal(targets[chosen], batch.tokens[chosen])
    assert torch.equal(masked.tokens[~chosen], batch.tokens[~chosen])
    assert masked.lengths == batch.lengths


def test_masking_can_leave_whole_proteins_alone():
    batch = pack_sequences(["ACDEFGHIKL" * 10] * 60)
    _, targets = mask_residues(batch, 0.15, torch.Generator().manual_seed(0), proteins=0.5)
    touched = (targets.view(60, -1) != IGNORED).any(dim=1)
    assert 15 < int(touched.sum()) < 45


def test_masking_repeats_with_the_same_generator():
    batch = pack_sequences(["ACDEFGHIKL" * 10])
    first, second = (mask_residues(batch, 0.5, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first[1], second[1])


def test_mlm_loss_is_the_mean_over_masked_tokens_only():
    logits = torch.randn(6, 33, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([IGNORED, 5, IGNORED, 7, IGNORED, 32])
    kept = targets != IGNORED
    by_hand = -sum(float(logits[i].log_softmax(0)[targets[i]]) for i in (1, 3, 5)) / 3
    assert float(mlm_loss(logits, targets)) == pytest.approx(by_hand, rel=1e-5)
    assert float(mlm_loss(logits[kept], targets[kept])) == pytest.approx(by_hand, rel=1e-5)


def test_mlm_loss_is_zero_where_nothing_is_masked():
    logits = torch.zeros(2, 33, requires_grad=True)
    loss = mlm_loss(logits, torch.tensor([IGNORED, IGNORED]))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert not logits.grad.any()


def test_mlm_gradient_is_that_of_the_definition():
    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    logits.requires_grad_()
    targets = torch.tensor([3, IGNORED, 0, 6, IGNORED])
    by_hand = sum(logits[i].exp().sum().log() - logits[i, targets[i]] for i in (0, 2, 3)) / 3
    (found,) = torch.autograd.grad(mlm_loss(logits, targets), logits)
    (expected,) = torch.autograd.grad(by_hand, logits)
    torch.testing.assert_close(found, expected)
    assert torch.autograd.gradcheck(lambda values: mlm_loss(values, targets), (logits,))
