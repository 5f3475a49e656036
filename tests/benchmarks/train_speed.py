"""Tokens a second of the trainer, against a bare forward and backward of its protein encoder.

    python tests/benchmarks/train_speed.py --config train/configs/mini.toml \
        --data uniprot_pairs.jsonl.gz --go go_terms.tsv.gz [--steps 20] [--threads 1]

Each batch goes through both, one after the other, so that whatever else the machine does meets
both; the ratio is that of the medians. The bare pass gets what the encoder gets in training: all
passes of the objectives, joined. On CUDA, the share of the device's peak is printed as well.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from protclip_core.engines.memory import keep_freed_memory
from train.config.run import load_config
from train.loop.prepare import make_trainee, prepare
from train.loop.ranks import Ranks
from train.pretrain import Pretraining

#: Dense bf16 products of a device, in 10^12 operations a second.
PEAKS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "V100": 125.0, "L40S": 362.0, "4090": 165.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("train/configs/debug.toml"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--go", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    config = load_config(args.config)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    alone = Ranks.alone(device)
    with tempfile.TemporaryDirectory() as folder:
        ready = prepare(
            config, Path(folder), alone, data_path=args.data, go_path=args.go, resume=False
        )
        model = make_trainee(config, ready.vocab_size, ready.bank, device)
        run = Pretraining(config, Path(folder), ready, model, alone)
        whole, bare, tokens = measure(run, args.steps)
    ratio = statistics.median(b / w for b, w in zip(bare, whole))
    rate = statistics.median(n / seconds for n, seconds in zip(tokens, whole))
    plain = statistics.median(n / seconds for n, seconds in zip(tokens, bare))
    print(f"{config.name}, {device}, {args.threads} thread(s), {args.steps} steps")
    print(f"trainer          {rate:12,.0f} encoded tokens a second")
    print(f"bare encoder     {plain:12,.0f}")
    print(f"share            {ratio:12.1%}")
    name = torch.cuda.get_device_name() if device.type == "cuda" else ""
    for part, peak in PEAKS.items():
        if part in name:
            flops = 3 * run.model.towers.protein_encoder.config.flops(256) / 256 * rate
            print(f"share of {peak:.0f} Tflop/s {flops / peak / 1e12:9.1%} (encoder alone)")


def measure(run: Pretraining, steps: int) -> tuple[list[float], list[float], list[int]]:
    """Seconds of each step of the trainer and of the bare encoder, and tokens encoded in it."""
    whole, bare, tokens = [], [], []
    given = run.batches
    for number in range(steps + 2):
        started = clock(run)
        place, batch = next(given)
        # The time to put the batch together is the trainer's.
        made = clock(run) - started
        started = clock(run)
        run.batches = iter([(place, batch)])
        run.step()
        step = made + clock(run) - started
        passes = batch.to(run.ranks.device).masked.passes()
        run.optimizer.zero_grad(set_to_none=True)
        started = clock(run)
        with torch.autocast(run.ranks.device.type, torch.bfloat16, enabled=run.model.bf16):
            run.model.towers.protein_hidden(passes).sum().backward()
        seconds = clock(run) - started
        if number >= 2:
            whole.append(step)
            bare.append(seconds)
            tokens.append(len(passes.tokens))
    return whole, bare, tokens


def clock(run: Pretraining) -> float:
    if run.ranks.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
