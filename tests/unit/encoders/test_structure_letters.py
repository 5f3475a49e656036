"""3Di letters: where there are none, breaks, far from the origin; the encoder that reads them."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from protclip_core.encoders.packing import pack_sequences
from protclip_core.encoders.shapes import Esm2Shape, LetterShape
from protclip_core.encoders.structure import letters as module
from protclip_core.encoders.structure import pack_chains
from protclip_core.encoders.structure.letters import LetterEncoder, structure_letters
from protclip_core.errors import UsageError
from tests.support.chains import broken, ca_only, make_chain, moved, random_turn, without

pytest.importorskip("mini3di")
MADE = make_chain(80, 4)


def letters_of(*chains):
    return structure_letters(pack_chains(chains))


def test_letters_are_those_of_the_library_and_none_at_the_ends():
    import mini3di

    n, ca, c = MADE.backbone.astype(float).transpose(1, 0, 2)[:3]
    encoder = mini3di.Encoder()
    wanted = encoder.build_sequence(encoder.encode_atoms(ca, np.full_like(ca, np.nan), n, c))
    (found,) = letters_of(MADE)
    assert found[1:-1] == wanted[1:-1] and found[0] == found[-1] == "X"
    assert len(set(found)) > 4


def test_letters_do_not_depend_on_place_turn_or_neighbours():
    (alone,) = letters_of(MADE)
    far = moved(MADE, random_turn(2), 5000.0)
    found = letters_of(make_chain(9), far, MADE)
    assert found[2] == alone
    # Coordinates at 5,000 Å are exact to half a thousandth: a letter may be on an edge.
    assert sum(a != b for a, b in zip(found[1], alone)) <= 1


def test_what_cannot_be_told_is_x():
    whole, hole, gap, trace = letters_of(
        MADE, without(MADE, 30, 0), broken(MADE, 40), ca_only(MADE)
    )
    assert hole[29:32] == "XXX"
    assert gap[39:41] == "XX" and gap[1:35] == whole[1:35]
    assert trace == "X" * 80
    assert letters_of(*(make_chain(n) for n in (1, 2, 3)))[:2] == ["X", "XX"]


def test_the_encoder_reads_letters_as_residues():
    shape = LetterShape(encoder=Esm2Shape(num_layers=1, hidden_dim=16, num_heads=2, ffn_dim=32))
    torch.manual_seed(0)
    encoder = LetterEncoder(shape).eval()
    chains = [MADE, make_chain(5, 1), replace(MADE, sequence="A" * 80)]
    batch = pack_chains(chains)
    found = encoder(batch)
    assert found.shape == (3, encoder.hidden_dim)
    assert (found[0] - found[2]).abs().max() < 1e-6  # it knows nothing of residues
    for row, text in zip(found, structure_letters(batch)):
        (hidden,) = encoder.encoder(pack_sequences([text])).values()
        assert (row - hidden[1:-1].mean(0)).abs().max() < 1e-5
    found.sum().backward()
    assert encoder.encoder.embedding.weight.grad.abs().max() > 0


def test_without_the_library_the_way_out_is_named(monkeypatch):
    module._encoder.cache_clear()
    monkeypatch.setitem(sys.modules, "mini3di", None)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as caught:
        letters_of(MADE)
    assert caught.value.code == "usage.missing_library"
    module._encoder.cache_clear()
