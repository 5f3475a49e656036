"""The objectives together: their sum."""

import pytest
import torch

from train.objectives import PAPER_WEIGHTS, total_loss

TERMS = {name: torch.tensor(value) for name, value in
         {"gc": 2.0, "bsr": 3.0, "mlm": 5.0, "pda": 7.0}.items()}  # fmt: skip


def test_the_total_has_the_weights_of_the_paper():
    assert float(total_loss(TERMS)) == pytest.approx(2.0 + 0.7 * 3.0 + 0.3 * 5.0 + 7.0)


def test_a_weight_of_zero_switches_an_objective_off():
    weights = PAPER_WEIGHTS | {"bsr": 0.0, "pda": 0.0}
    two = {name: TERMS[name] for name in ("gc", "mlm")}
    assert float(total_loss(two, weights)) == pytest.approx(2.0 + 0.3 * 5.0)
    # Given all the same, it is not looked at: 0 times NaN would be NaN.
    spoilt = TERMS | {"pda": torch.tensor(float("nan"))}
    assert float(total_loss(spoilt, weights)) == pytest.approx(2.0 + 0.3 * 5.0)


def test_the_gradient_of_each_objective_has_its_weight():
    terms = {name: value.clone().requires_grad_() for name, value in TERMS.items()}
    total_loss(terms, PAPER_WEIGHTS | {"pda": 2.5}).backward()
    assert {name: round(float(t.grad), 6) for name, t in terms.items()} == {
        "gc": 1.0, "bsr": 0.7, "mlm": 0.3, "pda": 2.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("terms", "weights", "message"),
    [
        ({"gc": TERMS["gc"]}, {"gc": 1.0, "mlm": 0.3}, "'mlm' has weight 0.3 but no loss"),
        (TERMS, {"gc": 1.0}, "'bsr' has no weight"),
        (TERMS, PAPER_WEIGHTS | {"gc": -1.0}, "0 or more, got -1.0"),
        (TERMS, PAPER_WEIGHTS | {"gc": float("nan")}, "0 or more, got nan"),
        (TERMS, dict.fromkeys(TERMS, 0.0), "switched off"),
    ],
)
def test_a_sum_that_cannot_be_meant_is_refused(terms, weights, message):
    with pytest.raises(ValueError, match=message):
        total_loss(terms, weights)
