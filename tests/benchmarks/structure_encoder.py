"""Structures per second of the structure encoder, beside the same with unfactored messages.

Run by hand: ``OMP_NUM_THREADS=1 python -m tests.benchmarks.structure_encoder [BACKBONES]``.
Seconds are CPU time, which other work on the machine disturbs less than the clock on the wall;
all forms take turns, so that their ratios hold on a machine that is not quiet. Chains are crops
of 256 residues, of a file (see `structure_data`) or, without one, made.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from protclip_core.encoders.kernels import processor_name
from protclip_core.encoders.shapes import KmerShape, LetterShape
from protclip_core.encoders.structure import (
    GvpConfig,
    StructureEncoder,
    crop_chain,
    describe,
    pack_chains,
)
from protclip_core.encoders.structure.gvp import GvpLayer
from protclip_core.encoders.structure.letters import LetterEncoder
from tests.benchmarks.structure_data import read_chains
from tests.support.chains import make_chain


class Plain(GvpLayer):
    """The layer with what it sends put together for each edge, as the paper writes it."""

    def messages(self, scalars, vectors, edges):
        near = edges.neighbours
        own = [x[:, None].expand(*near.shape, *x.shape[1:]) for x in (scalars, vectors)]
        message = (
            torch.cat([scalars[near], edges.scalars, own[0]], -1),
            torch.cat([vectors[near], edges.vectors, own[1]], -1),
        )
        for perceptron in self.message:
            message = perceptron(*message)
        shares = edges.weights[..., None]
        return (message[0] * shares).sum(1), (message[1] * shares[..., None]).sum(1)


def turns(works, seconds):
    """Mean CPU seconds of each work; all take turns until they have had their time."""
    for work in works:
        work()
    taken, count = np.zeros(len(works)), 0
    while count < 3 or taken.sum() < seconds * len(works):
        for number, work in enumerate(works):
            begin = time.process_time()
            work()
            taken[number] += time.process_time() - begin
        count += 1
    return taken / count


def forms(neighbours):
    """The encoder and its plain twin of the same weights."""
    encoder = StructureEncoder(GvpConfig(neighbours=neighbours, dropout=0.0))
    twin = StructureEncoder(encoder.config)
    twin.load_state_dict(encoder.state_dict())
    for layer in twin.layers:
        layer.__class__ = Plain
    return encoder, twin


def forward(encoder, graph):
    def work():
        with torch.inference_mode():
            encoder(graph)

    return work


def backward(encoder, graph):
    def work():
        encoder.zero_grad()
        encoder(graph).square().sum().backward()

    return work


def layers(chains, seconds):
    print("| k | batch | pass | factored, chains/s | plain, chains/s | ratio |")
    print("|--:|--:|---|--:|--:|--:|")
    for neighbours in (30, 16):
        encoder, twin = forms(neighbours)
        for size, kind in ((1, forward), (8, forward), (8, backward)):
            graph = encoder.graph(pack_chains(chains[:size]))
            one, other = turns([kind(form, graph) for form in (encoder, twin)], seconds)
            what = "forward" if kind is forward else "forward + backward"
            rates = f"{size / one:.1f} | {size / other:.1f} | {other / one:.2f}"
            print(f"| {neighbours} | {size} | {what} | {rates} |", flush=True)
    apart = (encoder(graph) - twin(graph)).abs().max()
    count = sum(p.numel() for p in encoder.parameters())
    print(f"{count:,} parameters; the two forms differ by {apart:.1e}\n")


def parts(chains, seconds):
    packed = pack_chains(chains)
    encoder = StructureEncoder(GvpConfig())
    shape = LetterShape(
        encoder=KmerShape(written_tables=("3:20:64", "5:20:64:50000"), hidden_dim=128, num_layers=2)
    )
    letters = LetterEncoder(shape).eval()
    works = {
        "packing": lambda: pack_chains(chains),
        "graph of 30 neighbours": lambda: encoder.graph(packed),
        "34 numbers": lambda: describe(packed),
        "3Di letters": lambda: letters.graph(packed),
        "3Di letters and k-mers, forward": lambda: letters(packed),
    }
    for name, each in zip(works, turns(list(works.values()), seconds)):
        print(f"{name}: {len(chains) / each:,.0f} chains/s")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbones", nargs="?", type=Path, help="JSON Lines or HDF5")
    parser.add_argument("--residues", type=int, default=256, help="of a crop (default 256)")
    parser.add_argument("--seconds", type=float, default=6.0, help="for each form (default 6)")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    print(f"{processor_name()}, one thread, {args.residues} residues\n")
    if args.backbones is None:
        chains = [make_chain(args.residues, seed) for seed in range(8)]
    else:
        long = (c for c in read_chains(args.backbones) if len(c) >= args.residues)
        chains = [crop_chain(chain, 0, args.residues) for _, chain in zip(range(8), long)]
    layers(chains, args.seconds)
    parts(chains, args.seconds)


if __name__ == "__main__":
    main()
