"""Lack of memory, numbers that are none, batches; numbers as in the fault list."""

from __future__ import annotations

import hashlib
import json
import random
import re
import signal

import numpy as np
import pytest

from protclip_core.engines.local import LocalEngine
from protclip_core.models.loading import load_model
from protclip_core.models.settings import resolve_settings
from tests.faults.embedding import (
    PROTEINS,
    assert_same,
)
from tests.support.helpers import random_proteins, write_fasta, write_tiny_bundle

LITTLE_MEMORY = """
import resource
import protclip_core.tasks.embed.task as task
compute_parts = task.compute_parts
def limited(*arguments):
    pages = int(open("/proc/self/statm").read().split()[0])
    most = pages * resource.getpagesize() + {megabytes} * 1_000_000
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        return compute_parts(*arguments)
    finally:
        unlimited = resource.RLIM_INFINITY
task.compute_parts = limited
"""


@pytest.mark.full
def test_memory_that_suffices_for_smaller_batches_only(bench):
    """Fault 49: under a real limit of memory the batch is halved until it fits; same values."""
    # Half a million tokens: one array of token vectors is 128 MB, and queries, keys and values
    # are three, so the limit is too little for this batch however a processor's kernels work.
    write_fasta(bench.folder / "x.fa", random_proteins(5000, shortest=90, longest=110))
    assert bench.run("--workers", "1").rc == 0
    wanted = bench.read()
    arguments = ["--workers", "1", "--batch-tokens", "1000000", "--overwrite"]
    for megabytes in (400, 200, 150):
        done = bench.run(*arguments, prelude=LITTLE_MEMORY.format(megabytes=megabytes))
        assert done.rc == 0, done
        assert "warning: memory ran out: going on with batches of" in done.err
        assert_same(bench.read(), wanted)


#: Kills the process where its memory passes a limit, as the kernel does: in the midst of work.
WATCHED = """
import os, resource, signal, threading, time
def used():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
def watch(most):
    while used() < most:
        time.sleep(0.0005)
    open("killed.log", "w").write(str(used()))
    os.kill(os.getpid(), signal.SIGKILL)
import protclip_core.tasks.embed.task as task
compute_parts = task.compute_parts
def watched(*arguments):
    most = used() + {megabytes} * 1_000_000
    threading.Thread(target=watch, args=(most,), daemon=True).start()
    return compute_parts(*arguments)
task.compute_parts = watched
"""


@pytest.mark.full
def test_killed_for_its_memory_at_the_peak(bench):
    """Fault 51: killed where memory is highest; smaller batches then finish what is left."""
    write_fasta(bench.folder / "x.fa", random_proteins(5000, shortest=90, longest=110))
    assert bench.run("--workers", "1").rc == 0
    wanted = bench.read()
    bench.store.unlink()
    large = ("--workers", "1", "--batch-tokens", "1000000")
    done = bench.run(*large, prelude=WATCHED.format(megabytes=150))
    assert done.rc == -signal.SIGKILL and not bench.store.exists()
    assert int((bench.folder / "killed.log").read_text()) > 150_000_000
    (bench.folder / "killed.log").unlink()
    done = bench.run("--workers", "1", "--resume", prelude=WATCHED.format(megabytes=150))
    assert done.rc == 0, done  # under the same watch
    assert_same(bench.read(), wanted)
    assert bench.names() == {"x.fa", "x.h5"}


@pytest.mark.parametrize("workers", ["2", "4", "8"])
def test_any_number_of_workers_gives_each_protein_once_and_the_same_vectors(bench, workers):
    """Fault 54: the program, with more workers than parts, than cores, than some batches need."""
    write_fasta(bench.folder / "x.fa", PROTEINS)
    assert bench.run("--workers", "1", "--per-residue").rc == 0
    wanted = bench.read()
    done = bench.run("--workers", workers, "--per-residue", "--overwrite")
    assert done.rc == 0, done
    found = bench.read()
    assert found[0] == [id for id, _ in PROTEINS] and len(set(found[0])) == len(PROTEINS)
    assert_same(found, wanted)
    digests = [hashlib.sha256(sequence.encode()).hexdigest() for _, sequence in PROTEINS]
    assert sorted(bench.computed()) == sorted([*set(digests)] * 2)  # each sequence once a run


def test_protein_that_memory_does_not_suffice_for(bench):
    """Fault 50: it is listed with the reason, all others are done, the end is 6."""
    proteins = [*random_proteins(20), ("giant", "MKVLA" * 200_000), *random_proteins(5, prefix="q")]
    write_fasta(bench.folder / "x.fa", proteins)
    memory = LITTLE_MEMORY.format(megabytes=400)
    for on_error in ("fail", "skip"):
        arguments = ["--workers", "1", "--max-length", "2000000", "--on-error", on_error]
        done = bench.run(*arguments, "--overwrite", prelude=memory)
        assert done.rc == 6, done
        reason = "x.fa:record 21 (giant): memory does not suffice for its 1,000,000 residues"
        assert f"warning: {reason}\n" in done.err
        assert "Traceback" not in done.err
        listed = (bench.folder / "x.h5.failed.tsv").read_text().splitlines()
        assert listed[1] == "x.fa\t21\tgiant\tmemory does not suffice for its 1,000,000 residues"
        assert bench.read()[0] == [id for id, _ in proteins if id != "giant"]


#: A model whose token vectors overflow where a protein holds a W.
NO_NUMBER = """
import torch
from protclip_core.encoders.esm2_inference import Esm2Inference
from protclip_core.encoders.alphabet import encode
tryptophan = int(encode("W")[1])
hidden = Esm2Inference.hidden
def overflowing(self, batch, layers=None):
    found = hidden(self, batch, layers)
    for layer in found:
        found[layer] = found[layer].clone()
        found[layer][batch.tokens == tryptophan] = torch.inf
    return found
Esm2Inference.hidden = overflowing
"""


def broken_bundle(folder):
    """A bundle in which one residue's vector is NaN, with hashes that fit."""
    import torch
    from safetensors.torch import load_file, save

    write_tiny_bundle(folder)
    tensors = load_file(folder / "model.safetensors")
    name = "protein_encoder.embedding.weight"
    from protclip_core.encoders.alphabet import encode

    tensors[name][int(encode("W")[1])] = torch.nan
    data = save(tensors)
    (folder / "model.safetensors").write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["model.safetensors"] = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_numbers_that_are_none_are_never_stored(bench):
    """Fault 52: the records they concern are listed, the others stored, the end is 6."""
    write_fasta(bench.folder / "x.fa", PROTEINS)
    good = [id for id, sequence in PROTEINS if "W" not in sequence]
    assert 0 < len(good) < len(PROTEINS)
    done = bench.run("--per-residue", prelude=NO_NUMBER)
    assert done.rc == 6
    ids, vectors, *_rest, residues = bench.read()
    assert ids == good
    assert np.isfinite(vectors).all()
    assert all(np.isfinite(r).all() for r in residues)
    assert f"warning: {len(PROTEINS) - len(good)} records left out" in done.err
    listed = (bench.folder / "x.h5.failed.tsv").read_text().splitlines()
    assert len(listed) == 1 + len(PROTEINS) - len(good)
    assert all(line.endswith("\tthe model gave NaN or infinity") for line in listed[1:])
    done = bench.run("-o", "-", prelude=NO_NUMBER)
    assert done.rc == 6
    assert not re.search(r"\b(nan|inf)\b", done.out)
    write_fasta(bench.folder / "x.fa", [("w", "MWK")])
    done = bench.run("--overwrite", prelude=NO_NUMBER)
    assert done.rc == 4
    assert done.err.startswith("error: x.h5: ")
    assert "x.fa:record 1 (w)" in done.err
    assert done.err.endswith("[model.nothing_embedded]\n")


def test_weights_that_are_no_numbers_do_not_load(bench):
    """Fault 52: such a model is refused before it computes."""
    write_fasta(bench.folder / "x.fa", PROTEINS)
    done = bench.run("--model", broken_bundle(bench.folder / "broken"))
    assert done.rc == 4
    assert "tensor protein_encoder.embedding.weight holds NaN or infinity" in done.err
    assert len(done.err.splitlines()) == 1
    assert bench.names() == {"x.fa", "broken"}


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("dtype", "least_cosine", "most"), [("float32", 0.9999999, 1e-6), ("bfloat16", 0.9999, 0.05)]
)
def test_200_random_batches(tiny_bundle, dtype, least_cosine, most):
    """Fault 53: any neighbours, order, batch size and number of workers; the values stay."""
    model = load_model(str(tiny_bundle), device="cpu", dtype=dtype)
    settings = resolve_settings(model.info, model.encoder.num_layers)
    sequences = [s for _, s in random_proteins(300, seed=53, shortest=1, longest=400)]
    sequences += [s for _, s in random_proteins(3, seed=54, shortest=1200, longest=2500)]
    rng = random.Random(53)
    with LocalEngine(model, workers=1, batch_tokens=1) as engine:
        alone = {i: result.vector.astype(float) for i, result in engine.run(sequences, settings)}
    largest, cosine = 0.0, 1.0
    for _batch in range(200):
        chosen = rng.sample(range(len(sequences)), rng.randint(1, 60))
        size, workers = rng.choice([1, 200, 1024, 5000, 100_000]), rng.choice([1, 2, 3])
        with LocalEngine(model, workers=workers, batch_tokens=size) as engine:
            found = list(engine.run([sequences[i] for i in chosen], settings))
        assert sorted(index for index, _ in found) == list(range(len(chosen)))
        for index, result in found:
            one, other = alone[chosen[index]], result.vector.astype(float)
            largest = max(largest, float(np.abs(one - other).max()))
            cosine = min(cosine, float(one @ other / np.linalg.norm(one) / np.linalg.norm(other)))
    print(f"{dtype}: 200 batches, largest deviation {largest:.2g}, least cosine {cosine:.9f}")
    assert largest <= most
    assert cosine >= least_cosine
