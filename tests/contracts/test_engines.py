"""What every engine does: the same checks over each implementation of `BatchEngine`."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from protclip_core.encoders.shapes import GvpShape
from protclip_core.encoders.structure import StructureEncoder
from protclip_core.engines.local import OUT_OF_MEMORY, LocalEngine, Problem
from protclip_core.engines.masked import MaskedEngine
from protclip_core.engines.structures import StructureEngine
from protclip_core.errors import ResourceError
from protclip_core.models.info import DEFAULT_MODEL
from protclip_core.models.loading import load_model
from protclip_core.models.masked import MaskedReader
from protclip_core.models.protein import ProteinModel
from protclip_core.models.settings import resolve_settings
from protclip_core.models.structure import StructureModel
from tests.support.chains import make_chain
from tests.support.helpers import random_proteins

CHAINS = [make_chain(2 + number * 5 % 190, number) for number in range(40)]
SEQUENCES = [s for _, s in random_proteins(40, seed=8, shortest=3, longest=200)]


class Watched:
    """An encoder that calls something before each batch."""

    def __init__(self, encoder, before):
        self._encoder, self._before = encoder, before

    def __getattr__(self, name):
        return getattr(self._encoder, name)

    def hidden(self, batch, layers=None):
        self._before(batch)
        return self._encoder.hidden(batch, layers)


@dataclass
class Embedding:
    """`LocalEngine` over sequences."""

    model: ProteinModel
    before: Any = None
    special = 2

    def engine(self, **options):
        model = self.model
        if self.before is not None:
            encoder = Watched(model.encoder, self.before)
            model = ProteinModel(model.info, encoder, model.weights_sha256, model._projection)
        return LocalEngine(model, **options)

    def items(self):
        return SEQUENCES

    def tokens(self):
        return [len(s) + 2 for s in SEQUENCES]

    def run(self, engine, items):
        settings = resolve_settings(self.model.info, self.model.encoder.num_layers)
        for index, result in engine.run(items, settings):
            if isinstance(result, Problem):
                raise ResourceError(f"{len(items[index])}", code=result.code)
            yield index, result.vector


@dataclass
class Masked:
    """`MaskedEngine` over jobs of one and of two places."""

    model: ProteinModel
    before: Any = None
    special = 2

    def engine(self, **options):
        model = self.model
        if self.before is not None:
            encoder = Watched(model.encoder, self.before)
            model = ProteinModel(model.info, encoder, model.weights_sha256, model._projection)
        # A watched encoder is none of those whose reach is known.
        return MaskedEngine(MaskedReader(model), **options)

    def items(self):
        engine = self.engine()
        places = [(1,) if number % 3 else (0, 2) for number in range(len(SEQUENCES))]
        jobs = [engine.reader.jobs(s, p) for s, p in zip(SEQUENCES, places, strict=True)]
        return [job for own in jobs for job in own]

    def tokens(self):
        return [len(job.tokens) for job in self.items()]

    def run(self, engine, items):
        yield from enumerate(engine.run(items))


class Packed:
    """What `before` is told of a batch of chains."""

    def __init__(self, batch):
        self.tokens = batch.residues


@dataclass
class Structures:
    """`StructureEngine` over chains."""

    model: ProteinModel
    before: Any = None
    special = 0

    def engine(self, **options):
        shape = GvpShape(scalar_dim=8, vector_dim=2, edge_dim=4, num_layers=1, neighbours=4)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            encoder, projection = StructureEncoder(shape), torch.nn.Linear(8, 512)
        if self.before is not None:
            encoder.register_forward_pre_hook(lambda _, given: self.before(Packed(given[0])))
        info = replace(self.model.info, structure_encoder=shape)
        device = torch.device("cpu")
        return StructureEngine(StructureModel(info, encoder, projection, device), **options)

    def items(self):
        return CHAINS

    def tokens(self):
        return [len(chain) for chain in CHAINS]

    def run(self, engine, items):
        for index, result in engine.run(items):
            if isinstance(result, Problem):
                raise ResourceError(f"{len(items[index])}", code=result.code)
            yield index, result


@pytest.fixture(scope="module")
def model():
    return load_model(DEFAULT_MODEL, device="cpu")


@pytest.fixture(params=[Embedding, Masked, Structures], ids=lambda kind: kind.__name__)
def case(request, model):
    return request.param(model)


def results(case, items, **options):
    with case.engine(**options) as engine:
        pairs = list(case.run(engine, items))
    assert sorted(index for index, _ in pairs) == list(range(len(items)))
    return [result for _, result in sorted(pairs, key=lambda pair: pair[0])]


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("protclip")]


def test_each_item_has_its_own_result_for_any_batches_workers_and_order(case):
    items = case.items()
    alone = [results(case, [item], workers=1)[0] for item in items]
    reverse = items[::-1]
    for options in (
        {"workers": 1},
        {"workers": 1, "batch_tokens": 1},
        {"workers": 3, "batch_tokens": 300},
        {"workers": 2, "batch_tokens": 10**9},
    ):
        for given, wanted in ((items, alone), (reverse, alone[::-1])):
            for one, other in zip(results(case, given, **options), wanted, strict=True):
                assert one.shape == other.shape
                np.testing.assert_allclose(one, other, rtol=2e-6, atol=2e-6, equal_nan=True)
    assert results(case, []) == []


def test_batches_hold_each_item_once_and_keep_to_the_budget(case):
    seen = []
    case.before = lambda batch: seen.append(int(batch.tokens.shape[0]))
    items, tokens = case.items(), case.tokens()
    results(case, items, workers=1, batch_tokens=260)
    assert sum(seen) == sum(tokens)
    assert max(seen) <= 260 and max(tokens) < 260


@pytest.mark.parametrize("workers", [1, 3])
def test_an_item_that_memory_does_not_suffice_for_is_named(case, workers):
    def before(batch):
        if int(batch.tokens.shape[0]) > most:
            raise MemoryError

    case.before = before
    items, tokens = case.items(), case.tokens()
    most = max(tokens)
    results(case, items, workers=workers, batch_tokens=10**9)  # halved until it fits
    most = max(tokens) - 1
    with pytest.raises(ResourceError, match=str(max(tokens) - case.special)) as caught:
        results(case, items, workers=workers)
    assert caught.value.code in {OUT_OF_MEMORY, "resource.out_of_memory"}
    assert not threads()


@pytest.mark.parametrize("workers", [1, 3])
def test_any_other_error_comes_out_and_leaves_no_thread(case, workers):
    def before(batch):
        raise RuntimeError("shapes cannot be multiplied")

    case.before = before
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        results(case, case.items(), workers=workers)
    assert not threads()


@pytest.mark.parametrize("workers", [1, 3])
def test_an_interrupt_comes_out_and_leaves_no_thread(case, workers):
    began = []

    def before(batch):
        began.append(1)
        if len(began) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    case.before = before
    items = case.items()
    with pytest.raises(KeyboardInterrupt):
        results(case, items, workers=workers, batch_tokens=50)
    assert not threads()
    assert len(began) < len(items)  # what had not begun was given up


def test_an_engine_is_a_context_manager(case):
    engine = case.engine()
    with pytest.raises(RuntimeError, match="with statement"):
        list(case.run(engine, case.items()))
    for _again in range(2):
        with engine:
            assert len(list(case.run(engine, case.items()[:3]))) == 3
        assert not threads()
