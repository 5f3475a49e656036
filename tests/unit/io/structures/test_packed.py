"""Chains as bytes."""

from __future__ import annotations

import numpy as np
import pytest

from protclip_core.io.structures.packed import pack_chain, unpack_chain
from tests.support.chains import make_chain


@pytest.mark.parametrize("length", [1, 3, 100])
@pytest.mark.parametrize("confident", [True, False])
def test_a_chain_comes_back_whole(length, confident):
    chain = make_chain(length, 1, confident=confident)
    chain.backbone[0, 3] = np.nan
    chain.starts[-1] = True
    found = unpack_chain(pack_chain(chain), "other")
    assert (found.id, found.sequence) == ("other", chain.sequence)
    assert np.array_equal(found.backbone, chain.backbone, equal_nan=True)
    assert np.array_equal(found.starts, chain.starts)
    assert (found.confidence is None) == (not confident)
    if confident:
        assert np.array_equal(found.confidence, chain.confidence)
    found.backbone[:] = 0  # its arrays are its own


def test_equal_structures_are_equal_bytes_whatever_they_are_called():
    one, other = make_chain(20, 1, name="a"), make_chain(20, 1, name="b")
    assert pack_chain(one) == pack_chain(other)
    other.backbone[3, 2, 1] += 0.001
    assert pack_chain(one) != pack_chain(other)
