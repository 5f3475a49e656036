"""The contrast of whole proteins with whole texts against its definition."""

import math

import pytest
import torch
import torch.nn.functional as F

from train.data.composer import hash_texts
from train.objectives.gc import contrastive_loss, distributed_contrastive_loss


def naive_contrast(protein, text, scale, same):
    """InfoNCE of one pair after another."""
    count = len(protein)
    total = 0.0
    for i in range(count):
        for anchor, others in ((protein[i], text), (text[i], protein)):
            similarity = [scale * (anchor @ others[j]) for j in range(count)]
            allowed = [j for j in range(count) if j == i or not same[i][j]]
            total = total - similarity[i] + sum(similarity[j].exp() for j in allowed).log()
    return total / (2 * count)


def unit(count, width, seed):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, width, generator=generator, dtype=torch.float64), dim=-1)


def same_of(groups):
    labels = torch.tensor(groups)
    return labels.unsqueeze(0) == labels.unsqueeze(1)


@pytest.mark.parametrize("groups", [[0, 1, 2, 3, 4], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0]])
def test_contrast_equals_its_definition_and_so_do_its_gradients(groups):
    protein, text = unit(5, 8, 0).requires_grad_(), unit(5, 8, 1).requires_grad_()
    scale = torch.tensor(7.5, dtype=torch.float64, requires_grad=True)
    same = same_of(groups)
    found = contrastive_loss(protein, text, scale=scale, same_text=same)
    expected = naive_contrast(protein, text, scale, same.tolist())
    torch.testing.assert_close(found, expected)
    inputs = (protein, text, scale)
    torch.testing.assert_close(
        torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs)
    )


def test_contrast_without_same_text_takes_all_negatives():
    protein, text = unit(4, 6, 2), unit(4, 6, 3)
    nothing = [[False] * 4 for _ in range(4)]
    found = contrastive_loss(protein, text, scale=3.0)
    assert float(found) == pytest.approx(float(naive_contrast(protein, text, 3.0, nothing)))


def test_contrast_gradient_by_finite_differences():
    same = same_of([0, 1, 0])

    def loss(protein, text, scale):
        return contrastive_loss(protein, text, scale=scale, same_text=same)

    scale = torch.tensor(4.0, dtype=torch.float64, requires_grad=True)
    inputs = (unit(3, 4, 0).requires_grad_(), unit(3, 4, 1).requires_grad_(), scale)
    assert torch.autograd.gradcheck(loss, inputs)


def test_contrast_of_one_pair_is_zero_and_of_unlearnt_pairs_the_logarithm():
    assert float(contrastive_loss(unit(1, 4, 0), unit(1, 4, 1), scale=9.0)) == 0.0
    alike = unit(1, 4, 0).expand(6, 4)
    assert float(contrastive_loss(alike, alike, scale=9.0)) == pytest.approx(math.log(6))


def test_contrast_does_not_depend_on_the_order_of_the_pairs():
    protein, text, same = unit(5, 8, 0), unit(5, 8, 1), same_of([0, 1, 0, 2, 1])
    order = torch.tensor([3, 0, 4, 1, 2])
    first = contrastive_loss(protein, text, scale=7.0, same_text=same)
    second = contrastive_loss(
        protein[order], text[order], scale=7.0, same_text=same[order][:, order]
    )
    torch.testing.assert_close(first, second)


def test_contrast_gradient_is_finite_where_every_negative_is_left_out():
    protein = unit(3, 4, 4).requires_grad_()
    everything = torch.ones(3, 3, dtype=torch.bool)
    loss = contrastive_loss(protein, unit(3, 4, 5), scale=10.0, same_text=everything)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.isfinite(protein.grad).all()


def test_contrast_refuses_an_empty_batch_and_shapes_that_differ():
    with pytest.raises(ValueError, match="at least one pair"):
        contrastive_loss(torch.empty(0, 4), torch.empty(0, 4), scale=1.0)
    with pytest.raises(ValueError, match=r"\(3, 4\) and \(2, 4\)"):
        contrastive_loss(unit(3, 4, 0), unit(2, 4, 0), scale=1.0)


@pytest.mark.parametrize("form", ["global", "local"])
def test_without_other_ranks_the_distributed_contrast_is_the_plain_one(form):
    protein, text = unit(4, 6, 2), unit(4, 6, 3)
    keys = torch.tensor([7, -2, 7, 5])
    found = distributed_contrastive_loss(
        protein, text, scale=3.0, ranks=None, text_keys=keys, form=form
    )
    expected = contrastive_loss(protein, text, scale=3.0, same_text=same_of([0, 1, 0, 2]))
    torch.testing.assert_close(found, expected)


def test_unknown_form_is_refused():
    with pytest.raises(ValueError, match="'sideways'"):
        distributed_contrastive_loss(
            unit(2, 4, 0), unit(2, 4, 1), scale=1.0, ranks=None, form="sideways"
        )


def test_texts_share_a_hash_only_where_their_real_tokens_are_the_same():
    ids = torch.tensor([[2, 7, 8, 3], [2, 7, 8, 3], [2, 7, 8, 0], [2, 8, 7, 3]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]])
    first = hash_texts(ids, mask)
    assert first.dtype == torch.int64
    assert first[0] == first[1]
    assert len(set(first.tolist())) == 3
    # More padding, other numbers in it: still the same texts.
    padded = torch.cat([ids, torch.full((4, 2), 9)], dim=1)
    wider = torch.cat([mask, torch.zeros(4, 2, dtype=torch.int64)], dim=1)
    assert torch.equal(hash_texts(padded, wider), first)


def test_losses_are_computed_in_float32_under_autocast():
    exact = contrastive_loss(unit(6, 64, 0), unit(6, 64, 1), scale=100.0).float()
    protein, text = unit(6, 64, 0).float(), unit(6, 64, 1).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = contrastive_loss(protein, text, scale=100.0)
        half = contrastive_loss(protein.bfloat16(), text.bfloat16(), scale=100.0)
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=0)
    assert half.dtype == torch.float32
