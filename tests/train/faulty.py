"""The trainer with a fault in it: what the processes of the tests run."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from pathlib import Path

import torch

from train import pretrain
from train.config.run import load_config
from train.loop import checkpoint, steps
from train.loop.evaluate import evaluate
from train.loop.optim import Progress
from train.loop.parallel import share_work
from train.loop.prepare import make_trainee, prepare
from train.loop.ranks import Ranks, join_ranks

CONFIG = Path(pretrain.__file__).parent / "configs" / "debug.toml"


def program(arguments, fault="", at=0, rank=0):
    """Run ``train.pretrain``; the fault strikes one rank at the beginning of a step."""
    torch.set_num_threads(1)
    # Most of the time of so short a run, and tested elsewhere.
    steps.draw = lambda *_: None
    if fault:
        plain = pretrain.Pretraining.step

        def step(self):
            if self.progress.step + 1 == at and self.ranks.rank == rank:
                STRIKES[fault](self)
            return plain(self)

        pretrain.Pretraining.step = step
    return pretrain.main([str(argument) for argument in arguments])


def _nan(run):
    with torch.no_grad():
        # One rank alone, and of its own part of the loss alone.
        run.module.register_forward_hook(_spoil)


def _spoil(module, inputs, losses):
    if isinstance(losses, dict):
        losses["pda"] = losses["pda"] * float("nan")
        losses["loss"] = losses["loss"] + losses["pda"]


STRIKES = {
    "kill": lambda run: os.kill(os.getpid(), signal.SIGKILL),
    # Between forward and backward.
    "kill inside": lambda run: run.module.register_forward_hook(_kill),
    "hang": lambda run: time.sleep(600),
    "nan": _nan,
    "term": lambda run: os.kill(os.getpid(), signal.SIGTERM),
    "interrupt": lambda run: os.kill(os.getpid(), signal.SIGINT),
    "worker": lambda run: os.kill(_children()[0], signal.SIGKILL),
}


def _kill(module, inputs, found):
    os.kill(os.getpid(), signal.SIGKILL)


def _children():
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == os.getpid():
                found.append(int(entry.name))
    return sorted(found)


def save_forever(folder, width):
    """Write one checkpoint after the other, each of the numbers of its step alone."""
    torch.set_num_threads(1)
    alone = Ranks.alone()
    model, optimizer = numbers(width)
    step = 0
    found = sorted(folder.glob("step-*"))
    if found:
        step = checkpoint.restore(checkpoint.find(folder), model, optimizer, alone).step
    while True:
        step += 1
        fill(model, optimizer, step)
        checkpoint.save(folder, model, optimizer, Progress(step=step), alone)


def numbers(width):
    model = torch.nn.Linear(width, width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0)
    return model, optimizer


def fill(model, optimizer, step):
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, float(step))
        parameter.grad = torch.full_like(parameter, float(step))
    optimizer.step()


def gradients(folder, form, parallel):
    """Losses and gradients of the first batch, as the ranks of the environment share it."""
    torch.set_num_threads(1)
    config = load_config(CONFIG)
    on = dataclasses.replace(config.objectives, gumbel=False, gc_form=form)
    # Texts that occur twice, also on different ranks, and pairs that two ranks cannot share alike.
    data = dataclasses.replace(config.data, max_pairs=11, texts="whole")
    config = dataclasses.replace(config, objectives=on, data=data)
    ranks = join_ranks(60.0, device="cpu")
    torch.manual_seed(0)
    ready = prepare(
        config, folder / f"run{ranks.world}", ranks, data_path=None, go_path=None, resume=False
    )
    model = make_trainee(config, ready.vocab_size, ready.bank)
    module = share_work(model, parallel, ranks)
    model.refresh(0)
    losses = module(ready.data.batch(0, 1), ranks.group)
    losses["loss"].backward()
    found = {}
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        assert gradient is not None, name
        found[name] = gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient
    figures = evaluate(model, ready.validation, ranks, bank=ready.bank)
    table = ranks.table([float(loss.detach()) for loss in losses.values()])
    if ranks.first:
        means = {name: sum(column) / len(table) for name, column in zip(losses, zip(*table))}
        content = {"losses": means, "gradients": found, "figures": figures}
        torch.save(content, folder / f"{form}-{parallel}-{ranks.world}.pt")
    ranks.part()
