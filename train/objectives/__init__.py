"""Training objectives: one file each, pure functions of tensors.

``gc`` whole proteins against whole texts; ``multi_positive`` proteins against a bank of texts;
``mlm`` masked residues from the protein; ``bsr`` masked segments with the help of the text;
``pda`` the residues that belong to a property. `total_loss` adds them up.

Each returns a scalar. With ``ranks``, a group of processes, the average of what the ranks return
is the objective of the whole batch, and so are the averaged gradients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor

__all__ = ["PAPER_WEIGHTS", "total_loss"]

#: Weights of the paper: L = L_GC + 0.7 L_BSR + 0.3 L_MLM + L_PDA.
PAPER_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {"gc": 1.0, "bsr": 0.7, "mlm": 0.3, "pda": 1.0}
)


def total_loss(terms: Mapping[str, Tensor], weights: Mapping[str, float] = PAPER_WEIGHTS) -> Tensor:
    """Add up the objectives of a step.

    Parameters
    ----------
    terms
        Name of each objective to its loss, a scalar.
    weights
        Name to weight, 0 or more. A weight of 0 switches an objective off: the caller then need
        not compute it (nor build its heads, for a parameter that never gets a gradient is an
        error under DistributedDataParallel), and its term is not looked at where it is given.

    Returns
    -------
    Tensor
        Weighted sum, a scalar.

    Raises
    ------
    ValueError
        A negative or non-finite weight; a weight above 0 whose term is missing; a term without a
        weight; nothing switched on.
    """
    bad = [name for name, weight in weights.items() if not 0 <= weight < math.inf]
    if bad:
        msg = f"weight of {bad[0]!r} must be 0 or more, got {weights[bad[0]]}"
        raise ValueError(msg)
    wanted = {name for name, weight in weights.items() if weight > 0}
    if missing := sorted(wanted - terms.keys()):
        msg = f"objective {missing[0]!r} has weight {weights[missing[0]]} but no loss"
        raise ValueError(msg)
    if unknown := sorted(terms.keys() - weights.keys()):
        msg = f"loss {unknown[0]!r} has no weight; weights are given for {sorted(weights)}"
        raise ValueError(msg)
    parts = [weights[name] * terms[name] for name in weights if name in wanted]
    if not parts:
        msg = "every objective is switched off"
        raise ValueError(msg)
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
