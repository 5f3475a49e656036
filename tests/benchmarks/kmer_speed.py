"""Speed of the k-mer encoder beside a small ESM-2 on one thread of this processor.

Run by hand: ``OMP_NUM_THREADS=1 python -m tests.benchmarks.kmer_speed``. Tokens per second of CPU
time, which other work on the machine disturbs less than the clock on the wall.
"""

from __future__ import annotations

import argparse
import os
import random
import time

import torch

from protclip_core.encoders.esm2 import Esm2, Esm2Config
from protclip_core.encoders.esm2_inference import Esm2Inference
from protclip_core.encoders.kernels import processor_name
from protclip_core.encoders.kmer import KmerEncoder
from protclip_core.encoders.kmer_config import KmerConfig
from protclip_core.encoders.kmer_inference import KmerInference
from protclip_core.encoders.packing import pack_sequences, pool

FOUR = ("3:20", "11001:20", "5:6", "1101011:6")
SIX = ("3:20", "11001:20", "101001:20", "5:6", "1101011:6", "4:10")


def shapes():
    """Name to configuration."""
    tables = [f"{t}:256" for t in FOUR]
    for width in (256, 384):
        for layers in (0, 4, 6):
            yield (
                f"4 tables x 256, {width} wide, {layers} layers",
                {"tables": tables, "hidden_dim": width, "num_layers": layers},
            )
    half = {"tables": tables, "hidden_dim": 256, "num_layers": 6, "expansion": 0.5}
    yield "4 tables x 256, 256 wide, 6 layers, expansion 0.5", half
    yield (
        "4 tables x 256, 256 wide, 4 plain layers",
        {"tables": tables, "hidden_dim": 256, "num_layers": 4, "block": "plain"},
    )
    six = [f"{t}:64" for t in SIX]
    side = {"keep_input": True, "num_layers": 2, "block": "plain", "final_norm": True}
    yield (
        "6 tables x 64 side by side, no layers",
        {"tables": six, "hidden_dim": 384, "projection": False, "final_norm": False},
    )
    yield (
        "6 tables x 64, 2 plain layers 192 wide behind",
        {"tables": six, "hidden_dim": 576, **side},
    )


def rate(work, tokens, seconds):
    """Tokens per second of CPU time, after one call to warm up."""
    work()
    begin, count = time.process_time(), 0
    while time.process_time() - begin < seconds:
        work()
        count += 1
    return count * tokens / (time.process_time() - begin)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3.0)
    seconds = parser.parse_args().seconds
    torch.set_num_threads(1)
    rng = random.Random(0)
    lengths = sorted(min(1022, int(rng.lognormvariate(5.7, 0.6)) + 30) for _ in range(40))
    proteins = ["".join(rng.choices("ACDEFGHIKLMNPQRSTVWY", k=n)) for n in lengths]
    batch = pack_sequences(proteins)
    small = [pack_sequences(proteins[i : i + 3]) for i in range(0, 40, 3)]
    total = batch.tokens.shape[0]
    print(f"{processor_name()}, one thread, load {os.getloadavg()[0]:.1f}; {total} tokens")

    def training_step(module):
        for parameter in module.parameters():
            parameter.grad = None
        hidden = module(batch)[module.config.num_layers]
        pool(hidden, batch, "residues").square().sum().backward()

    def report(name, module, fast):
        forward = rate(lambda: [fast.hidden(part) for part in small], total, seconds)
        both = rate(lambda: training_step(module), total, seconds)
        size = sum(p.numel() for p in module.parameters()) / 1e6
        print(f"{name:52} {size:5.1f} M  {forward:9,.0f} tokens/s  training {both:9,.0f}")

    esm2 = Esm2(Esm2Config(num_layers=4, hidden_dim=160, num_heads=5, ffn_dim=640))
    report("ESM-2 4 x 160 (protclip-mini)", esm2, Esm2Inference(esm2))
    for name, shape in shapes():
        module = KmerEncoder(KmerConfig.from_dict(shape))
        report(name, module, KmerInference(module))
        module.train()


if __name__ == "__main__":
    main()
