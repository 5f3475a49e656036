"""Runs and checkpoints that are killed, for the tests and for ``tests/benchmarks/resume.py``."""

from __future__ import annotations

import json
import random
import time

from protclip_core.errors import ModelError
from tests.train.faulty import fill, numbers, program, save_forever
from tests.train.launch import Job, write_config
from train.loop import checkpoint
from train.loop.ranks import Ranks

ALONE = Ranks.alone()


def start(folder, *extra, ranks=1, changes, fault=("", 0, 0), **options):
    """Begin a run of the recipe for a first look in ``folder/run``, with other settings."""
    config = write_config(folder / "c.toml", changes)
    arguments = ["--config", config, "--run-dir", folder / "run", *extra]
    return Job(folder, program, arguments, *fault, ranks=ranks, **options)


def metrics_of(run_dir):
    """Lines of steps and of evaluations, without what the clock says."""
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "tokens_per_s"} for row in rows]


def kill_saves(folder, kills, *, seed=4, width=300):
    """Kill a process that writes one checkpoint after the other, again and again.

    Returns how often a whole one was there afterwards, no older than the last but one and with the
    right numbers, and how often the kill left a half-written one.
    """
    draw, newest = random.Random(seed), 0
    loadable = interrupted = 0
    for _ in range(kills):
        job = Job(folder, save_forever, folder, width)
        begun = f"step-{newest + 1:08d}"
        job.wait_until(lambda name=begun: any(p.name.endswith(name) for p in folder.iterdir()))
        time.sleep(draw.uniform(0, 0.06))
        job.processes[0].kill()
        job.processes[0].join()
        interrupted += bool(list(folder.glob(".step-*.tmp")))
        model, optimizer = numbers(width)
        fill(model, optimizer, 1)
        try:
            progress = checkpoint.restore(checkpoint.find(folder), model, optimizer, ALONE)
        except ModelError:
            continue
        right = all(bool((value == progress.step).all()) for value in model.parameters())
        loadable += progress.step >= newest and right
        newest = progress.step
    return loadable, interrupted
