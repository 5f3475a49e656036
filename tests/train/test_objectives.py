"""The objectives against their definitions, written as loops."""

import math

import pytest
import torch
import torch.nn.functional as F

from protclip_core.models.alphabet import BOS, EOS, MASK
from protclip_core.models.packing import pack_sequences
from train.objectives.gc import contrastive_loss
from train.objectives.mlm import IGNORED, mask_residues, mlm_loss


def naive_contrast(protein, text, scale, same):
    """InfoNCE of one pair after another, in plain Python."""
    count = len(protein)
    total = 0.0
    for i in range(count):
        for anchor, others in ((protein[i], text), (text[i], protein)):
            similarity = [scale * float(anchor @ others[j]) for j in range(count)]
            allowed = [j for j in range(count) if j == i or not same[i][j]]
            total -= similarity[i] - math.log(sum(math.exp(similarity[j]) for j in allowed))
    return total / (2 * count)


def unit(count, width, seed):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, width, generator=generator, dtype=torch.float64), dim=-1)


@pytest.mark.parametrize("groups", [[0, 1, 2, 3, 4], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0]])
def test_contrast_equals_its_definition(groups):
    protein, text = unit(5, 8, 0), unit(5, 8, 1)
    labels = torch.tensor(groups)
    same = labels.unsqueeze(0) == labels.unsqueeze(1)
    found = contrastive_loss(protein, text, scale=7.5, same_text=same)
    assert float(found) == pytest.approx(naive_contrast(protein, text, 7.5, same.tolist()))


def test_contrast_without_same_text_takes_all_negatives():
    protein, text = unit(4, 6, 2), unit(4, 6, 3)
    nothing = [[False] * 4 for _ in range(4)]
    found = contrastive_loss(protein, text, scale=3.0)
    assert float(found) == pytest.approx(naive_contrast(protein, text, 3.0, nothing))


def test_contrast_gradient_is_finite_where_every_negative_is_left_out():
    protein = unit(3, 4, 4).requires_grad_()
    everything = torch.ones(3, 3, dtype=torch.bool)
    loss = contrastive_loss(protein, unit(3, 4, 5), scale=10.0, same_text=everything)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.isfinite(protein.grad).all()


def test_contrast_refuses_an_empty_batch():
    with pytest.raises(ValueError, match="B >= 1"):
        contrastive_loss(torch.empty(0, 4), torch.empty(0, 4), scale=1.0)


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
