"""The engine of one device: batches, memory that runs out, numbers that are none."""

from __future__ import annotations

import logging
import random
import threading

import numpy as np
import pytest
import torch

from protclip_core.engines import batching
from protclip_core.engines.local import NOT_FINITE, LocalEngine, usable_cores
from protclip_core.engines.memory import give_back_memory, is_out_of_memory, keep_freed_memory
from protclip_core.models.protein import ProteinModel
from protclip_core.models.settings import resolve_settings
from tests.support.helpers import random_proteins

#: What PyTorch says on a CPU, where it has no error class for it.
CPU_WORDS = (
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 4096 bytes. Error code 12 (Cannot allocate memory)"
)


class Narrow:
    """An encoder whose memory suffices for ``most`` tokens; notes the batches it was given."""

    def __init__(self, encoder, most, error=None):
        self._encoder, self._most = encoder, most
        self._error = error or RuntimeError(CPU_WORDS)
        self.batches = []

    def __getattr__(self, name):
        return getattr(self._encoder, name)

    def hidden(self, batch, layers=None):
        tokens = int(batch.tokens.shape[0])
        if tokens > self._most:
            raise self._error
        self.batches.append(tokens)
        return self._encoder.hidden(batch, layers)


def narrowed(model, most, error=None):
    encoder = Narrow(model.encoder, most, error)
    return ProteinModel(model.info, encoder, model.weights_sha256, model._projection)


def settings_of(model, **options):
    return resolve_settings(model.info, model.encoder.num_layers, **options)


def embed(model, sequences, *, workers=1, batch_tokens=None, **options):
    """Run an engine and put the results in order; each index comes exactly once."""
    with LocalEngine(model, workers=workers, batch_tokens=batch_tokens) as engine:
        found = list(engine.run(sequences, settings_of(model, **options)))
    assert sorted(index for index, _ in found) == list(range(len(sequences)))
    return [result for _, result in sorted(found, key=lambda pair: pair[0])]


def largest_difference(some, others):
    return max(float(np.abs(a.vector - b.vector).max()) for a, b in zip(some, others, strict=True))


SEQUENCES = [sequence for _, sequence in random_proteins(60, seed=3, longest=200)]


def test_memory_that_runs_out_halves_the_batch_and_the_values_stay(tiny_model, caplog):
    whole = embed(tiny_model, SEQUENCES)
    model = narrowed(tiny_model, 300)
    with caplog.at_level(logging.WARNING):
        halved = embed(model, SEQUENCES, batch_tokens=4000)
    assert largest_difference(whole, halved) <= 1e-6
    sizes = [int(m.split()[-2].replace(",", "")) for m in caplog.messages]
    assert caplog.messages[0] == f"memory ran out: going on with batches of {sizes[0]:,} tokens"
    assert sizes == sorted(set(sizes), reverse=True)
    assert 100 < sizes[-1] <= 300
    assert max(model.encoder.batches) <= 300
    # Once the right size is found, it stays: far fewer batches than proteins.
    assert len(model.encoder.batches) < len(SEQUENCES)


@pytest.mark.parametrize("workers", [1, 3])
def test_protein_too_long_even_alone_is_named_and_the_others_are_done(tiny_model, workers):
    model = narrowed(tiny_model, 150)
    results = embed(model, SEQUENCES, workers=workers)
    for sequence, result in zip(SEQUENCES, results, strict=True):
        if len(sequence) + 2 > 150:
            assert result == f"memory does not suffice for its {len(sequence)} residues"
        else:
            assert np.isfinite(result.vector).all()


def test_protein_that_fits_only_alone_is_done_when_the_others_are(tiny_model):
    class Shared(Narrow):
        """Memory for 250 tokens, whoever uses it."""

        used, lock = 0, threading.Lock()

        def hidden(self, batch, layers=None):
            tokens = int(batch.tokens.shape[0])
            with self.lock:
                if self.used + tokens > 250:
                    raise self._error
                self.used += tokens
            try:
                return self._encoder.hidden(batch, layers)
            finally:
                with self.lock:
                    self.used -= tokens

    encoder = Shared(tiny_model.encoder, 0)
    model = ProteinModel(tiny_model.info, encoder, "", None)
    results = embed(model, SEQUENCES, workers=4)
    assert largest_difference(embed(tiny_model, SEQUENCES), results) <= 1e-6


def test_windows_of_a_long_protein_go_one_by_one_when_memory_is_short(tiny_model):
    long = [sequence for _, sequence in random_proteins(2, shortest=900, longest=1000)]
    whole = embed(tiny_model, long, max_residues=100, batch_tokens=1000)
    model = narrowed(tiny_model, 102)
    assert largest_difference(whole, embed(model, long, max_residues=100)) <= 1e-6
    assert set(model.encoder.batches) == {102}
    model = narrowed(tiny_model, 101)
    assert all("memory does not suffice" in r for r in embed(model, long, max_residues=100))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError(CPU_WORDS),
        RuntimeError("could not create a primitive"),  # oneDNN, met under a limit of memory
    ],
)
def test_lack_of_memory_by_all_its_names(tiny_model, error):
    assert is_out_of_memory(error)
    results = embed(narrowed(tiny_model, 150, error), SEQUENCES)
    assert sum(isinstance(result, str) for result in results) == sum(
        len(s) > 148 for s in SEQUENCES
    )


@pytest.mark.parametrize("workers", [1, 3])
def test_any_other_error_comes_out(tiny_model, workers):
    model = narrowed(tiny_model, 150, RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        embed(model, SEQUENCES, workers=workers)


def test_numbers_that_are_not_finite_are_refused(tiny_model):
    class Broken(Narrow):
        def hidden(self, batch, layers=None):
            found = self._encoder.hidden(batch, layers)
            for layer, hidden in found.items():
                found[layer] = hidden.clone()
                for start, length in zip(batch.starts, batch.lengths, strict=True):
                    if length > 150:
                        found[layer][start + 1, 0] = torch.inf
            return found

    model = ProteinModel(tiny_model.info, Broken(tiny_model.encoder, 0), "", None)
    results = embed(model, SEQUENCES)
    for sequence, result in zip(SEQUENCES, results, strict=True):
        assert (result == NOT_FINITE) if len(sequence) > 148 else np.isfinite(result.vector).all()


@pytest.mark.full(but="options0")
@pytest.mark.parametrize("options", [{}, {"space": "joint"}, {"pooling": "tokens", "layer": 1}])
def test_results_do_not_depend_on_workers_batches_or_order(tiny_model, options):
    """Fault 53, in few batches; the slow test of the faults takes 200."""
    rng = random.Random(4)
    wanted = [embed(tiny_model, [s], batch_tokens=1, **options)[0] for s in SEQUENCES]
    for workers, batch_tokens in [(1, 1), (1, 10_000), (2, 300), (3, 1000), (2, None)]:
        order = rng.sample(range(len(SEQUENCES)), len(SEQUENCES))
        found = embed(
            tiny_model,
            [SEQUENCES[i] for i in order],
            workers=workers,
            batch_tokens=batch_tokens,
            **options,
        )
        assert largest_difference([wanted[i] for i in order], found) <= 1e-6


def test_nothing_to_do_and_nothing_open(tiny_model):
    assert embed(tiny_model, []) == []
    with pytest.raises(RuntimeError, match="with statement"):
        list(LocalEngine(tiny_model).run(["MKV"], settings_of(tiny_model)))


def test_precision_of_torch_is_put_back(tiny_model):
    before = torch.get_float32_matmul_precision()
    with LocalEngine(tiny_model, workers=1):
        pass
    assert torch.get_float32_matmul_precision() == before


def test_leaving_early_ends_the_workers(tiny_model):
    with LocalEngine(tiny_model, workers=2, batch_tokens=50) as engine:
        next(engine.run(SEQUENCES, settings_of(tiny_model)))
    assert not [t for t in threading.enumerate() if t.name.startswith("protclip-embed")]


def test_usable_cores_follows_affinity_and_quota(monkeypatch, tmp_path):
    monkeypatch.setattr(batching.os, "sched_getaffinity", lambda _pid: set(range(6)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(batching, "Path", lambda _path: quota)
    assert usable_cores() == 6
    for text, cores in [("max 100000", 6), ("250000 100000", 2), ("50000 100000", 1), ("x", 6)]:
        quota.write_text(text)
        assert usable_cores() == cores


@pytest.mark.parametrize(
    ("omp", "slurm", "cores"),
    [("1", "", 1), ("", "2", 2), ("4", "2", 2), ("3,2", "", 3), ("64", "", 6), ("0", "x", 6)],
)
def test_usable_cores_follows_the_scheduler(monkeypatch, tmp_path, omp, slurm, cores):
    monkeypatch.setattr(batching.os, "sched_getaffinity", lambda _pid: set(range(6)), raising=False)
    monkeypatch.setattr(batching, "Path", lambda _path: tmp_path / "none")
    monkeypatch.setenv("OMP_NUM_THREADS", omp)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", slurm)
    assert usable_cores() == cores


def test_memory_settings_take_effect_where_glibc_is():
    assert keep_freed_memory() is give_back_memory()
    assert not is_out_of_memory(ValueError("out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor"))
