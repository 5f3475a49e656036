"""Residues per second of protclip's encoder against its peers, in one run.

    python tests/benchmarks/embed_speed.py --shape 8M --threads 1
    python tests/benchmarks/embed_speed.py --shape 35M --repeats 5 --json out.json
    python tests/benchmarks/embed_speed.py --shape 8M --scaling

Random weights of the published ESM-2 shapes, the same in every variant; proteins whose lengths
follow that of Swiss-Prot (log-normal, median 312, 4 % beyond 1,022), cut at 1,022 residues for all,
because fair-esm's extract cuts there. Variants run interleaved, the order turned round every
other time, and medians are compared: on a shared machine only ratios within one run mean much.
With one thread the clock is processor time, which waiting for the machine does not touch.

Variants
--------
fair-esm extract
    The loop of ``esm-extract --include mean``: batches of 4,096 padded tokens. Its batches are
    taken whole from the batching of a 400-protein file, so that they pad as little as there.
transformers, one by one
    EsmModel with SDPA, one protein at a time: the best plain loop.
OpenVINO
    The same network converted once, one protein at a time, if ``openvino`` is installed.
protclip
    `Esm2Inference` through `ProteinModel.embed_batch`, as ``protclip embed`` calls it.

The share of the peak is that of the best float32 matrix product measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from protclip_core.encoders.alphabet import encode
from protclip_core.encoders.esm2 import Esm2, Esm2Config
from protclip_core.encoders.esm2_inference import Esm2Inference
from protclip_core.encoders.kernels import choose_cpu_kernels, cpu_has_bfloat16, processor_name
from protclip_core.encoders.windows import token_batches
from protclip_core.engines.local import LocalEngine
from protclip_core.engines.memory import keep_freed_memory
from protclip_core.models.info import ModelInfo
from protclip_core.models.protein import DEFAULT_BATCH_TOKENS, ProteinModel
from protclip_core.models.settings import EmbedSettings
from protclip_core.weights.names import transformers_names
from protclip_core.weights.tensors import fill_module

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.unit.models.encoders import transformers_esm

SHAPES = {"8M": (6, 320, 20), "35M": (12, 480, 20), "150M": (30, 640, 20), "650M": (33, 1280, 20)}
#: Whole extract batches taken from the 400-protein file; their proteins are the sample.
BATCHES = {"8M": 6, "35M": 3, "150M": 2, "650M": 1}
MAX_RESIDUES = 1022

Variant = Callable[[], np.ndarray]


def swissprot_like(count: int, seed: int = 7) -> list[str]:
    """Random proteins: log-normal lengths, residues by their frequency in Swiss-Prot."""
    rng = random.Random(seed)
    letters = "LAGVESIKRDTPNQFYMHCW"
    share = [9.7, 8.3, 7.1, 6.9, 6.7, 6.6, 5.9, 5.8, 5.5, 5.5, 5.4, 4.7, 4.1, 3.9, 3.9, 2.9, 2.4]
    share += [2.3, 1.4, 1.1]
    lengths = [min(5000, max(30, round(rng.lognormvariate(5.743, 0.68)))) for _ in range(count)]
    return ["".join(rng.choices(letters, share, k=n))[:MAX_RESIDUES] for n in lengths]


def extract_batches(sequences: list[str]) -> list[list[int]]:
    """Return fair-esm's own batches of 4,096 tokens."""
    from esm import FastaBatchedDataset

    names = [str(i) for i in range(len(sequences))]
    data = FastaBatchedDataset(names, sequences)
    return data.get_batch_indices(4096, extra_toks_per_seq=1)


def fair_esm_variant(reference, shape, sequences: list[str], batches: list[list[int]]) -> Variant:
    """Time what ``esm-extract`` does, without its pickling of one file per protein."""
    from esm.model.esm2 import ESM2

    layers, dim, heads = shape
    model = ESM2(num_layers=layers, embed_dim=dim, attention_heads=heads).eval()
    own = model.state_dict()
    state = {f"esm.{n}": v for n, v in reference.esm.state_dict().items()}
    ours = transformers_names(state)
    names = {"query": "self_attn.q_proj", "key": "self_attn.k_proj", "value": "self_attn.v_proj"}
    names |= {"attention_out": "self_attn.out_proj", "attention_norm": "self_attn_layer_norm"}
    names |= {"ffn_norm": "final_layer_norm", "ffn_up": "fc1", "ffn_down": "fc2"}
    for name, value in ours.items():
        parts = name.split(".")
        if parts[0] == "layers":
            own[f"layers.{parts[1]}.{names[parts[2]]}.{parts[3]}"] = value
        else:
            first = {"embedding": "embed_tokens", "final_norm": "emb_layer_norm_after"}[parts[0]]
            own[f"{first}.{parts[1]}"] = value
    own["lm_head.weight"] = ours["embedding.weight"]
    model.load_state_dict(own)
    convert = model.alphabet.get_batch_converter(MAX_RESIDUES)

    @torch.no_grad()
    def run() -> np.ndarray:
        found: list[np.ndarray | None] = [None] * len(sequences)
        for batch in batches:
            _, _, tokens = convert([(str(i), sequences[i]) for i in batch])
            hidden = model(tokens, repr_layers=[layers])["representations"][layers]
            for row, i in enumerate(batch):
                found[i] = hidden[row, 1 : len(sequences[i]) + 1].mean(0).clone().numpy()
        return np.stack(found)

    return run


def transformers_variant(reference, sequences: list[str], batch_size: int) -> Variant:
    """Time transformers with SDPA; padded if ``batch_size`` is more than one."""

    @torch.inference_mode()
    def run() -> np.ndarray:
        found = []
        for start in range(0, len(sequences), batch_size):
            rows = [
                torch.from_numpy(encode(s).astype(np.int64)) for s in sequences[start:][:batch_size]
            ]
            tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=1)
            mask = (tokens != 1).long()
            hidden = reference.esm(input_ids=tokens, attention_mask=mask).last_hidden_state
            found += [h[1 : len(r) - 1].mean(0).numpy() for h, r in zip(hidden, rows, strict=True)]
        return np.stack(found)

    return run


def openvino_variant(reference, sequences: list[str], threads: int) -> Variant | None:
    """Convert the network once; ``None`` if OpenVINO is not installed."""
    try:
        import openvino
    except ImportError:
        return None

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = reference.esm

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.model(input_ids=tokens).last_hidden_state

    example = torch.from_numpy(encode(sequences[0]).astype(np.int64))[None]
    network = Network().eval()
    converted = openvino.convert_model(
        network, example_input=example, input=[openvino.PartialShape([1, -1])]
    )
    compiled = openvino.Core().compile_model(
        converted,
        "CPU",
        {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
        },
    )

    def run() -> np.ndarray:
        found = []
        for sequence in sequences:
            hidden = compiled(encode(sequence).astype(np.int64)[None])[0]
            found.append(hidden[0, 1:-1].mean(0))
        return np.stack(found)

    return run


def our_model(reference, shape, dtype: torch.dtype = torch.float32) -> ProteinModel:
    """Build our encoder from the same weights."""
    layers, dim, heads = shape
    config = Esm2Config(num_layers=layers, hidden_dim=dim, num_heads=heads, ffn_dim=4 * dim)
    module = Esm2(config)
    fill_module(module, transformers_names(reference.state_dict()), "benchmark")
    info = ModelInfo(name="benchmark", kind="bundle", path=Path())
    return ProteinModel(info, Esm2Inference(module, dtype=dtype), "0" * 64)


def our_variant(model: ProteinModel, sequences: list[str]) -> Variant:
    """Time one worker's loop: sorted by length, packed up to the budget."""
    settings = EmbedSettings(pooling="residues", space="encoder", layer=model.encoder.num_layers)
    order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))

    def run() -> np.ndarray:
        found: list[np.ndarray | None] = [None] * len(sequences)
        for group in token_batches([len(sequences[i]) for i in order], DEFAULT_BATCH_TOKENS):
            chosen = [order[i] for i in group]
            results = model.embed_batch([sequences[i] for i in chosen], settings)
            for i, result in zip(chosen, results, strict=True):
                found[i] = result.vector
        return np.stack(found)

    return run


def peak_gflops(clock: Callable[[], float]) -> float:
    """Best float32 matrix product of this processor and thread count, GFLOP/s."""
    best = 0.0
    for size in (512, 1024):
        a, b = torch.randn(size, size), torch.randn(size, size)
        for _ in range(12):
            start = clock()
            a @ b
            best = max(best, 2 * size**3 / (clock() - start) / 1e9)
    return best


def measure(variants: dict[str, Variant], repeats: int, clock) -> tuple[dict, dict]:
    """Run all variants in turn; return seconds by variant and the first result of each."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    results: dict[str, np.ndarray] = {}
    names = list(variants)
    for name in names:  # warm up, and keep the vectors
        start = clock()
        results[name] = variants[name]()
        if repeats == 0:
            seconds[name].append(clock() - start)
    for repeat in range(repeats):
        for name in names if repeat % 2 == 0 else reversed(names):
            start = clock()
            variants[name]()
            seconds[name].append(clock() - start)
    return seconds, results


def centred_cosine(found: np.ndarray, expected: np.ndarray) -> float:
    """Smallest cosine after the mean vector is taken off both."""
    a, b = found - expected.mean(0), expected - expected.mean(0)
    cosine = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return float(cosine.min())


def compare(arguments: argparse.Namespace) -> dict:
    """Print the speed table and return its figures."""
    shape = SHAPES[arguments.shape]
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    everything = swissprot_like(400)
    batches = extract_batches(everything)
    step = max(1, len(batches) // BATCHES[arguments.shape])
    chosen = batches[step // 2 :: step][: BATCHES[arguments.shape]]
    sequences = [everything[i] for batch in chosen for i in batch]
    numbers = iter(range(len(sequences)))
    groups = [[next(numbers) for _ in batch] for batch in chosen]
    shuffled = random.Random(1).sample(sequences, len(sequences))
    order = [sequences.index(s) for s in shuffled]

    reference = transformers_esm(*shape)
    model = our_model(reference, shape)
    variants: dict[str, Variant | None] = {
        "fair-esm extract": fair_esm_variant(reference, shape, sequences, groups),
        "transformers, batches of 8": transformers_variant(reference, shuffled, 8)
        if arguments.shape in ("8M", "35M")
        else None,
        "transformers, one by one": transformers_variant(reference, sequences, 1),
        "OpenVINO float32": openvino_variant(reference, sequences, arguments.threads),
        "protclip float32": our_variant(model, sequences),
    }
    if cpu_has_bfloat16() or arguments.bfloat16:
        half = our_model(reference, shape, torch.bfloat16)
        variants["protclip bfloat16"] = our_variant(half, sequences)
    present = {name: run for name, run in variants.items() if run is not None}
    if arguments.keep_memory:
        keep_freed_memory()
    # Before and after: a neighbour on the machine lowers it for a while.
    peak = peak_gflops(clock)
    seconds, results = measure(present, arguments.repeats, clock)
    peak = max(peak, peak_gflops(clock))
    if "transformers, batches of 8" in results:
        back = np.argsort(order)
        results["transformers, batches of 8"] = results["transformers, batches of 8"][back]

    residues = sum(map(len, sequences))
    work = sum(model.encoder.config.flops(len(s) + 2) for s in sequences) / 1e9
    expected = results["transformers, one by one"]
    median = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"processor {processor_name()}, {torch.backends.cpu.get_cpu_capability()}")
    print(
        f"torch {torch.__version__}, kernels {choose_cpu_kernels()}, {arguments.threads} thread(s)"
    )
    print(
        f"shape {arguments.shape}, {len(sequences)} proteins, {residues} residues, load "
        f"{os.getloadavg()[0]:.1f}, peak {peak:.0f} GFLOP/s float32, {clock.__name__}"
    )
    columns = "variant", "residues/s", "x fair-esm", "x one by one", "peak", "rel. error", "cosine"
    print("{:<28}{:>11}{:>12}{:>14}{:>7}{:>12}{:>10}".format(*columns))
    rows = {}
    for name, time_taken in median.items():
        error = float(np.linalg.norm(results[name] - expected) / np.linalg.norm(expected))
        rows[name] = {
            "residues_per_s": residues / time_taken,
            "vs_fair_esm": median["fair-esm extract"] / time_taken,
            "vs_one_by_one": median["transformers, one by one"] / time_taken,
            "peak_share": work / time_taken / peak,
            "relative_error": error,
            "centred_cosine": centred_cosine(results[name], expected),
            "seconds": seconds[name],
        }
        r = rows[name]
        print(
            f"{name:<28}{r['residues_per_s']:>11.0f}{r['vs_fair_esm']:>12.2f}"
            f"{r['vs_one_by_one']:>14.2f}{r['peak_share']:>7.0%}{error:>12.1e}"
            f"{r['centred_cosine']:>10.5f}"
        )
    return {
        "shape": arguments.shape,
        "processor": processor_name(),
        "peak_gflops": peak,
        "rows": rows,
    }


def scaling(arguments: argparse.Namespace) -> dict:
    """One core against two: two threads in each product, or two workers of one thread each."""
    shape = SHAPES[arguments.shape]
    model = our_model(transformers_esm(*shape), shape)
    sequences = swissprot_like({"8M": 100, "35M": 40, "150M": 12, "650M": 6}[arguments.shape])
    residues = sum(map(len, sequences))
    settings = EmbedSettings(pooling="residues", space="encoder", layer=shape[0])

    def run(workers: int, threads: int) -> Variant:
        def work() -> np.ndarray:
            with LocalEngine(model, workers=workers, threads_each=threads) as engine:
                return np.array([i for i, _ in engine.run(sequences, settings)])

        return work

    variants = {
        "1 worker x 1 thread": run(1, 1),
        "1 worker x 2 threads": run(1, 2),
        "2 workers x 1 thread": run(2, 1),
    }
    seconds, _ = measure(variants, arguments.repeats, time.perf_counter)
    base = statistics.median(seconds["1 worker x 1 thread"])
    print(
        f"shape {arguments.shape}, {len(sequences)} proteins, {residues} residues, wall time, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    rows = {}
    for name, times in seconds.items():
        taken = statistics.median(times)
        rows[name] = {"residues_per_s": residues / taken, "vs_one_core": base / taken}
        print(f"{name:<24}{residues / taken:>9.0f} residues/s{base / taken:>7.2f} x one core")
    return {"shape": arguments.shape, "scaling": rows}


def main() -> None:
    """Read the options, run, print, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="8M")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3, help="0: time the warm-up (650M)")
    parser.add_argument("--scaling", action="store_true", help="one core against two")
    parser.add_argument("--bfloat16", action="store_true", help="also where it is emulated")
    parser.add_argument("--keep-memory", action="store_true", help="raise malloc's thresholds")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    figures = scaling(arguments) if arguments.scaling else compare(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
