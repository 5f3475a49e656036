"""Proteins against a bank of texts, against the definition in loops."""

import pytest
import torch
import torch.nn.functional as F

from tests.train.test_gc import unit
from train.objectives.multi_positive import multi_positive_sigmoid, multi_positive_softmax

POSITIVE = torch.tensor(
    [
        [1, 0, 1, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0],
        [1, 1, 1, 1, 1],
    ]
).bool()
KNOWN = torch.tensor(
    [
        [1, 1, 1, 0, 1],
        [1, 1, 1, 1, 1],
        [1, 1, 0, 0, 1],
        [1, 0, 1, 1, 1],
    ]
).bool()


def naive_softmax(protein, text, scale, positive, known):
    means = []
    for i in range(len(protein)):
        score = [scale * (protein[i] @ text[j]) for j in range(len(text))]
        right = [j for j in range(len(text)) if known[i][j] and positive[i][j]]
        wrong = [j for j in range(len(text)) if known[i][j] and not positive[i][j]]
        each = []
        for j in right:
            denominator = score[j].exp() + sum(score[m].exp() for m in wrong)
            each.append(-(score[j].exp() / denominator).log())
        if each:
            means.append(sum(each) / len(each))
    return sum(means) / len(means)


def naive_sigmoid(protein, text, scale, bias, positive, known):
    total, count = 0.0, 0
    for i in range(len(protein)):
        pairs = [j for j in range(len(text)) if known[i][j]]
        if not any(positive[i][j] for j in pairs):
            continue
        for j in pairs:
            chance = 1 / (1 + (-(scale * (protein[i] @ text[j]) + bias)).exp())
            total = total - (chance if positive[i][j] else 1 - chance).log()
            count += bool(positive[i][j])
    return total / count


def inputs(*numbers):
    scalars = [torch.tensor(n, dtype=torch.float64, requires_grad=True) for n in numbers]
    return (unit(4, 6, 0).requires_grad_(), unit(5, 6, 1).requires_grad_(), *scalars)


def softmax_loss(protein, text, scale, **masks):
    return multi_positive_softmax(protein, text, scale=scale, **masks)


def sigmoid_loss(protein, text, scale, bias, **masks):
    return multi_positive_sigmoid(protein, text, scale=scale, bias=bias, **masks)


FORMS = [(softmax_loss, naive_softmax, (6.0,)), (sigmoid_loss, naive_sigmoid, (6.0, -3.0))]


@pytest.mark.parametrize("known", [None, KNOWN], ids=["all known", "some unknown"])
@pytest.mark.parametrize(("loss", "naive", "scalars"), FORMS)
def test_bank_loss_equals_its_definition_and_so_do_its_gradients(loss, naive, scalars, known):
    leaves = inputs(*scalars)
    found = loss(*leaves, positive=POSITIVE, known=known)
    everything = torch.ones_like(POSITIVE) if known is None else known
    expected = naive(*leaves, POSITIVE.tolist(), everything.tolist())
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, leaves), torch.autograd.grad(expected, leaves)
    )


@pytest.mark.parametrize(("loss", "naive", "scalars"), FORMS)
def test_bank_gradient_by_finite_differences(loss, naive, scalars):
    def masked(*leaves):
        return loss(*leaves, positive=POSITIVE, known=KNOWN)

    assert torch.autograd.gradcheck(masked, inputs(*scalars))


@pytest.mark.parametrize(("loss", "naive", "scalars"), FORMS)
def test_proteins_without_right_texts_contribute_nothing(loss, naive, scalars):
    protein, text, *numbers = inputs(*scalars)
    rows = torch.tensor([0, 2, 3])
    found = loss(protein, text, *numbers, positive=POSITIVE)
    without = loss(protein[rows], text, *numbers, positive=POSITIVE[rows])
    torch.testing.assert_close(found, without)
    (gradient,) = torch.autograd.grad(found, protein)
    assert not gradient[1].any()
    assert gradient[0].any()


@pytest.mark.parametrize(("loss", "naive", "scalars"), FORMS)
def test_a_bank_without_any_right_text_gives_zero(loss, naive, scalars):
    leaves = inputs(*scalars)
    found = loss(*leaves, positive=torch.zeros_like(POSITIVE))
    found.backward()
    assert float(found.detach()) == 0.0
    assert all(not leaf.grad.any() for leaf in leaves)


@pytest.mark.parametrize(("loss", "naive", "scalars"), FORMS)
def test_unknown_pairs_have_no_influence(loss, naive, scalars):
    protein, text, *numbers = inputs(*scalars)
    unknown_text = torch.tensor([True, True, True, False, True]).expand(4, 5)
    first = loss(protein, text, *numbers, positive=POSITIVE, known=unknown_text)
    other = text.detach().clone()
    other[3] = -other[3]
    second = loss(protein, other, *numbers, positive=POSITIVE, known=unknown_text)
    torch.testing.assert_close(first, second)


def test_softmax_of_a_protein_with_right_texts_only_is_zero_with_finite_gradients():
    protein, text, scale = inputs(6.0)
    loss = multi_positive_softmax(protein, text, scale=scale, positive=torch.ones_like(POSITIVE))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.isfinite(protein.grad).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_extreme_scores_stay_finite_in_float32(sign):
    protein = F.normalize(torch.ones(1, 4), dim=-1).requires_grad_()
    text = torch.cat([protein.detach(), -protein.detach()]) * sign
    positive = torch.tensor([[True, False]])
    rank = multi_positive_softmax(protein, text, scale=1000.0, positive=positive)
    odds = multi_positive_sigmoid(protein, text, scale=1000.0, bias=0.0, positive=positive)
    (rank + odds).backward()
    assert float(rank.detach()) == pytest.approx(0.0 if sign > 0 else 2000.0)
    assert float(odds.detach()) == pytest.approx(0.0 if sign > 0 else 2000.0)
    assert torch.isfinite(protein.grad).all()


def test_masks_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"shape \(4, 5\), got \(5, 4\)"):
        multi_positive_softmax(unit(4, 6, 0), unit(5, 6, 1), scale=1.0, positive=POSITIVE.T)
