"""Masked reading against transformers, one masked copy at a time, and against cutting by hand."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from protclip_core.encoders.alphabet import MASK, TOKENS, encode
from protclip_core.encoders.esm2 import Esm2, Esm2Config
from protclip_core.encoders.esm2_inference import Esm2Inference
from protclip_core.encoders.esm2_masked import hidden_at
from protclip_core.encoders.kernels import CpuKernels
from protclip_core.encoders.packing import pack
from protclip_core.encoders.shapes import Esm2Shape
from protclip_core.engines.masked import MaskedEngine
from protclip_core.errors import UsageError
from protclip_core.models.info import DEFAULT_MODEL, ModelInfo
from protclip_core.models.loading import load_model
from protclip_core.models.masked import MaskedReader
from protclip_core.models.protein import ProteinModel
from protclip_core.variants.residues import LETTERS
from protclip_core.variants.substitution_prior import blosum62, prior_table
from protclip_core.weights.names import transformers_names
from protclip_core.weights.tensors import fill_module
from tests.support.kernels import exact_products
from tests.unit.models.encoders import transformers_esm

COLUMNS = [TOKENS.index(letter) for letter in LETTERS]


@pytest.fixture(scope="module")
def reference():
    return transformers_esm(3, 16, 4)


def our_model(reference, *, window=1022, lm_head=True):
    shape = Esm2Config(num_layers=3, hidden_dim=16, num_heads=4, ffn_dim=64, max_residues=window)
    module = Esm2(shape, lm_head=lm_head)
    weights = transformers_names(reference.state_dict())
    if not lm_head:
        weights = {n: v for n, v in weights.items() if not n.startswith("lm_head")}
    fill_module(module, weights, "test")
    encoder = Esm2Shape(**shape.to_dict())
    info = ModelInfo(name="test", kind="bundle", path=Path(), encoder=encoder)
    return ProteinModel(info, Esm2Inference(module), "0" * 64)


def protein(length, seed=0):
    return "".join(random.Random(seed).choices("ACDEFGHIKLMNPQRSTVWYXU", k=length))


def by_transformers(reference, residues, masked, read):
    """Log probabilities at places of one masked copy, by the other library."""
    tokens = torch.from_numpy(encode(residues).astype(np.int64))[None]
    for place in masked:
        tokens[0, place + 1] = MASK
    with torch.inference_mode():
        logs = torch.log_softmax(reference(input_ids=tokens).logits[0].double(), dim=-1)
    return logs[[place + 1 for place in read]][:, COLUMNS].numpy()


def read_all(model, jobs, **options):
    with MaskedEngine(MaskedReader(model), **options) as engine:
        return engine.run(jobs)


@pytest.mark.parametrize("options", [{}, {"batch_tokens": 1}, {"workers": 3, "batch_tokens": 90}])
def test_each_place_as_transformers_reads_it(reference, options):
    model = our_model(reference)
    reader = MaskedReader(model)
    sequences = [protein(n, n) for n in (1, 2, 29, 40)]
    wanted = [(s, (p,)) for s in sequences for p in range(len(s))]
    wanted += [(sequences[3], (0, 7, 39)), (sequences[2], (3, 4)), (sequences[3], (5, 6))]
    random.Random(1).shuffle(wanted)
    found = read_all(model, [reader.jobs(s, places)[0] for s, places in wanted], **options)
    for (sequence, places), values in zip(wanted, found, strict=True):
        expected = by_transformers(reference, sequence, places, places)
        np.testing.assert_allclose(values, expected, rtol=0, atol=2e-5)


def test_unmasked_reading(reference):
    sequence = protein(25)
    found = MaskedReader(our_model(reference)).read_unmasked(sequence)
    expected = by_transformers(reference, sequence, (), range(25))
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("attention", ["flash", pytest.param("chunked", marks=exact_products)])
def test_the_short_last_layer_gives_the_rows_of_the_whole_one(reference, attention):
    module = Esm2(Esm2Config(num_layers=3, hidden_dim=16, num_heads=4, ffn_dim=64))
    fill_module(module, transformers_names(reference.state_dict()), "test")
    encoder = Esm2Inference(module, kernels=CpuKernels("mkl", attention))
    batch = pack([encode(protein(n, n)) for n in (9, 9, 5, 12)])
    rows = torch.tensor([s + p for s in batch.starts for p in (1, 4)])
    whole = encoder.hidden(batch)[3]
    torch.testing.assert_close(hidden_at(encoder, batch, rows), whole[rows], rtol=0, atol=1e-5)


def test_a_long_protein_is_cut_around_the_place(reference):
    """Every place of a protein of 50 in windows of 20, edges included, without a shift."""
    model = our_model(reference, window=20)
    reader = MaskedReader(model)
    sequence = protein(50)
    assert reader.is_windowed(sequence) and not reader.is_windowed(sequence[:20])
    jobs = [reader.jobs(sequence, (place,))[0] for place in range(50)]
    for place, values in enumerate(read_all(model, jobs)):
        start = min(max(place - 10, 0), 30)
        cut, own = sequence[start : start + 20], place - start
        expected = by_transformers(reference, cut, (own,), (own,))
        np.testing.assert_allclose(values, expected, rtol=0, atol=2e-5)


def test_far_places_masked_together_are_read_each_in_its_window(reference):
    model = our_model(reference, window=20)
    sequence = protein(50)
    jobs = MaskedReader(model).jobs(sequence, (2, 6, 45))
    assert len(jobs) == 3
    found = np.concatenate(read_all(model, jobs))
    for row, (start, masked, own) in enumerate([(0, (2, 6), 2), (0, (2, 6), 6), (30, (15,), 15)]):
        expected = by_transformers(reference, sequence[start : start + 20], masked, (own,))
        np.testing.assert_allclose(found[row], expected[0], rtol=0, atol=2e-5)


def test_an_encoder_of_finite_reach_is_given_what_it_sees():
    model = load_model(DEFAULT_MODEL, device="cpu")
    reader = MaskedReader(model)
    sequence = protein(60, 3)
    assert reader.is_local and reader.window < 60 and not reader.is_windowed(sequence)
    jobs = [reader.jobs(sequence, (place,))[0] for place in range(60)]
    found = np.concatenate(read_all(model, jobs))
    for place in range(60):
        tokens = model.encoder.encode(sequence).copy()
        tokens[place + 1] = MASK
        hidden = model.encoder.hidden(pack([tokens]))[model.encoder.num_layers]
        logs = torch.log_softmax(model.encoder.logits(hidden)[place + 1].double(), dim=-1)
        np.testing.assert_allclose(found[place], logs.numpy()[COLUMNS], rtol=0, atol=1e-5)


def test_equal_jobs_run_once_and_all_are_answered(reference, monkeypatch):
    model = our_model(reference)
    reader = MaskedReader(model)
    jobs = [reader.jobs(protein(12, seed), (3,))[0] for seed in (0, 1, 0, 0)]
    ran = []
    read = MaskedReader.read
    monkeypatch.setattr(
        MaskedReader, "read", lambda s, jobs: ran.append(len(jobs)) or read(s, jobs)
    )
    with MaskedEngine(reader) as engine:
        found = engine.run(jobs)
    assert sum(ran) == 2 and len(found) == 4
    assert np.array_equal(found[0], found[2]) and not np.array_equal(found[0], found[1])


def test_batches_keep_to_the_budget_and_hold_one_number_of_places(reference):
    reader = MaskedReader(our_model(reference))
    jobs = [reader.jobs(protein(n), (0,))[0] for n in (8, 30, 8, 18)]
    jobs.append(reader.jobs(protein(9), (1, 2))[0])
    engine = MaskedEngine(reader, batch_tokens=30)
    assert list(engine.batches(engine.work, jobs)) == [[1], [3, 0], [2], [4]]
    assert list(engine.batches(engine.work, [])) == []


def test_a_model_without_a_head_is_refused(reference):
    with pytest.raises(UsageError, match="no head for residues"):
        MaskedReader(our_model(reference, lm_head=False))


def test_the_prior():
    table = prior_table()
    index = {letter: i for i, letter in enumerate(LETTERS)}
    assert blosum62()[index["W"], index["W"]] == 11 and blosum62()[index["L"], index["I"]] == 2
    assert not table[20:].any() and not table[:, 20:].any() and not np.diag(table).any()
    # Conservative above radical; a charge in place of a core residue below the reverse.
    assert table[index["I"], index["V"]] > table[index["I"], index["D"]]
    assert table[index["L"], index["D"]] < table[index["D"], index["L"]] - 2
    # BLOSUM62 is symmetric, so of a pair the difference is that of hydropathy and of shares.
    shares = np.log(192 / 133)
    known = [1.8, -4.5, -3.5, -3.5, 2.5, -3.5, -3.5, -0.4, -3.2, 4.5]
    known += [3.8, -3.9, 1.9, 2.8, -1.6, -0.8, -0.7, -0.9, -1.3, 4.2]
    hydropathy_spread = float(
        np.sqrt(np.mean([(b - a) ** 2 for i, a in enumerate(known) for b in known[:i]]))
    )
    assert table[index["W"], index["C"]] - table[index["C"], index["W"]] == pytest.approx(
        2 * (2.5 + 0.9) / hydropathy_spread - 2 * shares
    )
