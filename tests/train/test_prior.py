"""The loss with a prior against its definition in loops, its terms, and the sampling of them."""

import math

import numpy as np
import pytest
import torch

from tests.train.test_gc import unit
from tests.train.test_multi_positive import KNOWN, POSITIVE
from train.data.go_bank import GoBank, log_odds, make_bank, vectors_of_terms
from train.data.go_targets import GoTargets
from train.data.go_terms import GoTerms
from train.objectives.prior import prior_loss

COUNTS = torch.tensor([40.0, 3.0, 12.0, 1.0, 90.0], dtype=torch.float64)
PRIOR = torch.tensor([-0.3, -3.0, -1.9, -4.0, 2.0], dtype=torch.float64)
WEIGHTS = torch.tensor([3.0, 0.5, 1.0, 2.0, 0.0], dtype=torch.float64)
TIMES = torch.tensor([1.0, 1.0, 1.0, 7.5, 7.5], dtype=torch.float64)


def naive(protein, text, scale, positive, known, times, heavy):
    odds, ranks = [], []
    for i in range(len(protein)):
        score = [scale * (protein[i] @ text[j]) for j in range(len(text))]
        seen = [j for j in range(len(text)) if known[i][j]]
        right = [j for j in seen if positive[i][j]]
        if not right:
            continue
        total = 0.0
        for j in seen:
            chance = 1 / (1 + (-(score[j] + PRIOR[j])).exp())
            total = total - heavy[j] * times[j] * (chance if j in right else 1 - chance).log()
        odds.append(total / 10)
        whole = sum(times[j] * score[j].exp() for j in seen)
        weights = {j: 1 / math.sqrt(float(COUNTS[j])) for j in right}
        each = sum(-w * (times[j] * score[j].exp() / whole).log() for j, w in weights.items())
        ranks.append(each / sum(weights.values()))
    return sum(odds) / len(odds), sum(ranks) / len(ranks)


def leaves():
    scale = torch.tensor(6.0, dtype=torch.float64, requires_grad=True)
    return unit(4, 6, 0).requires_grad_(), unit(5, 6, 1).requires_grad_(), scale


def loss(protein, text, scale, **options):
    options = {"log_prior": PRIOR, "counts": COUNTS, "positive": POSITIVE, **options}
    return prior_loss(protein, text, scale=scale, **options)


@pytest.mark.parametrize("times", [None, TIMES], ids=["whole bank", "sample"])
@pytest.mark.parametrize("known", [None, KNOWN], ids=["all known", "some unknown"])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["equal", "weighted"])
def test_both_parts_equal_their_definition_and_so_do_their_gradients(known, times, weights):
    inputs = leaves()
    found = loss(*inputs, known=known, stands_for=times, weights=weights)
    every = torch.ones_like(POSITIVE) if known is None else known
    ones = torch.ones_like(TIMES) if times is None else times
    heavy = torch.ones_like(WEIGHTS) if weights is None else weights
    expected = naive(*inputs, POSITIVE.tolist(), every.tolist(), ones, heavy)
    torch.testing.assert_close(found, expected)
    for one, other in zip(found, expected):
        torch.testing.assert_close(
            torch.autograd.grad(one, inputs, retain_graph=True),
            torch.autograd.grad(other, inputs, retain_graph=True),
        )


def test_gradient_by_finite_differences():
    assert torch.autograd.gradcheck(
        lambda *inputs: loss(*inputs, known=KNOWN, stands_for=TIMES), leaves()
    )


def test_nothing_right_gives_zero_and_masks_of_another_shape_are_refused():
    inputs = leaves()
    odds, rank = loss(*inputs, positive=torch.zeros_like(POSITIVE), known=KNOWN & False)
    (odds + rank).backward()
    assert float(odds.detach()) == float(rank.detach()) == 0.0
    assert all(not leaf.grad.any() for leaf in inputs)
    with pytest.raises(ValueError, match=r"shape \(4, 5\), got \(5, 4\)"):
        loss(*inputs, positive=POSITIVE.T)


def test_a_sample_stands_for_the_whole_bank_on_average():
    """Over many draws, what drawn terms add is what all wrong terms add."""
    draw = torch.Generator().manual_seed(0)
    targets = GoTargets(bank_of(60))
    protein, text = unit(3, 6, 0), unit(60, 6, 1)
    row, column = torch.tensor([0, 0, 1]), torch.tensor([4, 9, 30])
    prior, counts = targets.log_prior.double(), targets.counts.double()

    def total(chosen, times):
        positive, known = targets.masks(3, row, column, chosen)
        every = slice(None) if chosen is None else chosen
        options = {"log_prior": prior[every], "counts": counts[every], "stands_for": times}
        options |= {"scale": 5.0, "positive": positive, "known": known}
        return float(prior_loss(protein, text[every], **options)[0])

    found = []
    for _ in range(400):
        chosen, times = targets.draw(column, 10, draw)
        assert set(column.tolist()) < set(chosen.tolist())
        assert len(chosen) == 13 and float(times.sum()) == pytest.approx(60)
        assert [float(times[chosen == c]) for c in column] == [1.0, 1.0, 1.0]
        found.append(total(chosen, times))
    error = np.std(found) / math.sqrt(len(found))
    assert np.mean(found) == pytest.approx(total(None, None), abs=4 * error)
    # More than there are: all of them, each for itself.
    chosen, times = targets.draw(column, 1000, draw)
    assert chosen.tolist() == list(range(60)) and times.tolist() == [1.0] * 60


def test_aspects_without_a_right_term_are_not_known():
    targets = GoTargets(bank_of(6))
    row, column = targets.right(torch.tensor([[0, 0, 1, 1], [100, 103, 101, 999]]))
    assert (row.tolist(), column.tolist()) == ([0, 0, 1], [0, 3, 1])
    positive, known = targets.masks(3, row, column)
    assert positive.nonzero().tolist() == [[0, 0], [0, 3], [1, 1]]
    # Terms 0 and 3, 1 and 4, 2 and 5 are of an aspect.
    assert known.tolist() == [[True, False, False] * 2, [False, True, False] * 2, [False] * 6]
    some = torch.tensor([1, 3])
    assert [m.tolist() for m in targets.masks(3, row, column, some)] == [
        m[:, some].tolist() for m in (positive, known)
    ]


def bank_of(number):
    class Terms:
        aspects = np.arange(200) % 3
        aspects[100:] = np.arange(100) % 3

    columns = np.arange(100, 100 + number)
    return GoBank(Terms(), columns, (), np.arange(1, number + 1), 2 * number)


def test_log_odds():
    counts, trained = np.array([0, 1, 50, 100]), np.array([False, False, True, True])
    found = log_odds(counts, 100, trained=trained)
    shares = [0.003, 0.013, 0.505, 0.999]
    assert found == pytest.approx([math.log(f / (1 - f)) for f in shares], rel=1e-5)
    assert log_odds(counts[2:], 100) == pytest.approx(found[2:])


def test_vectors_of_terms_with_two_texts():
    texts, owner = unit(5, 4, 3) * 7, torch.tensor([0, 1, 2, 1, 2])
    found = vectors_of_terms(texts, owner, 3)
    rows = texts / 7
    for term, own in enumerate(([0], [1, 3], [2, 4])):
        total = sum(rows[n] for n in own)
        torch.testing.assert_close(found[term], total / total.norm())


def test_bank_of_both_texts_says_whose_they_are(tmp_path):
    path = tmp_path / "go.tsv"
    path.write_text(
        "id\tname\tnamespace\tis_obsolete\tis_a\tdefinition\n"
        "GO:0000001\tbinding\tmolecular_function\t0\t\tHolding on.\n"
        "GO:0000002\tnucleus\tcellular_component\t0\t\t\n"
        "GO:0000003\tmembrane\tcellular_component\t0\t\tA skin.\n"
    )

    class Texts:
        def text(self, text):
            return [ord(letter) for letter in text]

        def pad_rows(self, rows):
            width = max(map(len, rows))
            ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
            return ids, (ids > 0).long()

    bank = make_bank(GoTerms(path), np.array([5, 4, 3]), Texts(), least=1, kind="both", annotated=9)
    said = {}
    for rows, ids, mask in bank.batches:
        for row, own, real in zip(rows.tolist(), ids, mask.bool()):
            said[row] = "".join(map(chr, own[real].tolist()))
    by_term = [{said[n] for n in np.flatnonzero(bank.owner == term)} for term in range(3)]
    assert by_term == [
        {"binding", "binding: Holding on."},
        {"nucleus"},
        {"membrane", "membrane: A skin."},
    ]
    assert bank.counts.tolist() == [5, 4, 3] and bank.annotated == 9
