"""What every protein encoder does: the same checks over each implementation of `Encoder`.

A new encoder is added to `MAKERS`. Tests of its own compare its values with its origin.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from protclip_core.encoders.encoder import Encoder
from protclip_core.encoders.esm2 import Esm2, Esm2Config
from protclip_core.encoders.esm2_inference import Esm2Inference
from protclip_core.encoders.kmer_inference import KmerInference
from protclip_core.encoders.packing import PackedTokens
from protclip_core.models.loading import load_model
from tests.unit.encoders.test_protein_bert import SHAPE
from tests.unit.encoders.test_protein_bert import write as write_protbert
from tests.unit.models.encoders import randomise
from tests.unit.models.kmers import encoder_of
from tests.unit.models.test_esm1_bundle import esm1_parts


def esm2(_folder):
    torch.manual_seed(0)
    module = Esm2(Esm2Config(num_layers=2, hidden_dim=32, num_heads=4, ffn_dim=64))
    randomise(module, 0)
    return Esm2Inference(module.eval())


def kmer(_folder):
    return KmerInference(encoder_of("bottleneck"), device="cpu")


def esm1(_folder):
    from protclip_core.encoders.esm1 import Esm1Inference

    return Esm1Inference(esm1_parts()[2])


def protbert(folder):
    from transformers import BertConfig, BertForMaskedLM

    model = BertForMaskedLM(BertConfig(**SHAPE)).eval()
    randomise(model, 3)
    return load_model(write_protbert(model, folder / "protbert"), device="cpu").encoder


MAKERS = {"esm2": esm2, "kmer": kmer, "esm1": esm1, "protbert": protbert}


@pytest.fixture(scope="module", params=MAKERS)
def encoder(request, tmp_path_factory) -> Encoder:
    return MAKERS[request.param](tmp_path_factory.mktemp("encoder"))


def sequences(number=12, seed=0):
    rng = random.Random(seed)
    return [
        "".join(rng.choices("ACDEFGHIKLMNPQRSTVWYX", k=rng.randint(1, 60))) for _ in range(number)
    ]


def pack(encoder, chosen):
    rows = [torch.as_tensor(np.asarray(encoder.encode(s)), dtype=torch.int64) for s in chosen]
    return PackedTokens(torch.cat(rows), tuple(len(row) for row in rows))


def each(encoder, chosen, layer=None):
    """Return the tokens' vectors of each protein, from one packed batch."""
    layer = encoder.num_layers if layer is None else layer
    batch = pack(encoder, chosen)
    found = encoder.hidden(batch, [layer])[layer]
    return list(found.float().split(batch.lengths))


def test_it_says_what_it_is(encoder):
    assert encoder.num_layers >= 1
    assert encoder.hidden_dim >= 1
    assert len(set(encoder.tokens)) == len(encoder.tokens) > 20
    assert encoder.device == torch.device("cpu")
    assert encoder.dtype == torch.float32


def test_each_residue_is_a_token_between_two_others(encoder):
    for sequence in ("M", "MKTAYIAK", "X" * 40):
        ids = np.asarray(encoder.encode(sequence))
        assert ids.shape == (len(sequence) + 2,)
        assert ids.min() >= 0 and ids.max() < len(encoder.tokens)
    mkt = np.asarray(encoder.encode("MKT"))[1:-1]
    assert [encoder.tokens[i] for i in mkt] == ["M", "K", "T"]


def test_layers_are_numbered_from_the_input_to_the_last(encoder):
    batch = pack(encoder, sequences(4))
    wanted = range(encoder.num_layers + 1)
    found = encoder.hidden(batch, wanted)
    assert set(found) == set(wanted)
    for values in found.values():
        assert values.shape == (sum(batch.lengths), encoder.hidden_dim)
        assert torch.isfinite(values).all()
    last = encoder.hidden(batch)
    assert set(last) == {encoder.num_layers}
    torch.testing.assert_close(last[encoder.num_layers], found[encoder.num_layers])


def test_neighbours_order_and_batches_change_nothing(encoder):
    chosen = sequences()
    alone = [each(encoder, [s])[0] for s in chosen]
    order = list(range(len(chosen)))
    random.Random(1).shuffle(order)
    shuffled = each(encoder, [chosen[i] for i in order])
    for place, i in enumerate(order):
        torch.testing.assert_close(shuffled[place], alone[i], rtol=0, atol=2e-5)
    by_length = sorted(range(len(chosen)), key=lambda i: len(chosen[i]))
    for values, i in zip(each(encoder, [chosen[i] for i in by_length]), by_length, strict=True):
        torch.testing.assert_close(values, alone[i], rtol=0, atol=2e-5)


def test_the_same_input_gives_the_same_bits(encoder):
    one, other = each(encoder, sequences()), each(encoder, sequences())
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_another_residue_gives_another_vector_there(encoder):
    one, other = each(encoder, ["MKTAYIAK"])[0], each(encoder, ["MKTWYIAK"])[0]
    assert (one[4] - other[4]).abs().max() > 1e-3


def test_logits_have_a_column_for_each_token(encoder):
    if not encoder.has_lm_head:
        pytest.skip("this one has no masked-LM head")
    batch = pack(encoder, sequences(3))
    logits = encoder.logits(encoder.hidden(batch)[encoder.num_layers])
    assert logits.shape == (sum(batch.lengths), len(encoder.tokens))
    assert torch.isfinite(logits).all()
