"""Largest relative error of our encoder against fair-esm and transformers, every residue.

    python tests/benchmarks/parity.py

The same random weights in all three, published shapes, 50 proteins of mixed length in one packed
batch of ours; the peers see one protein at a time. With and without masked residues. Prints the
largest error of a residue (norm of the difference by norm of the vector), and of a pooled vector.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import torch

from protclip_core.encoders.alphabet import MASK, encode
from protclip_core.encoders.esm2 import Esm2, Esm2Config
from protclip_core.encoders.esm2_inference import Esm2Inference
from protclip_core.encoders.kernels import choose_cpu_kernels, processor_name
from protclip_core.encoders.packing import pack
from protclip_core.weights.names import fair_esm_names, transformers_names
from protclip_core.weights.tensors import fill_module

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.unit.models.encoders import fair_esm2, transformers_esm

SHAPES = {"8M": (6, 320, 20), "35M": (12, 480, 20), "150M": (30, 640, 20), "650M": (33, 1280, 20)}


def rows(count: int, longest: int, masked: float) -> list[torch.Tensor]:
    """Token rows of random proteins, a share of their residues masked."""
    rng = random.Random(5)
    found = []
    for i in range(count):
        length = 1 + i if i < 3 else rng.randint(4, longest)
        row = encode("".join(rng.choices("LAGVSERTIDPKQNFYMHWCXBUZO", k=length)))
        for position in range(1, length + 1):
            if rng.random() < masked and length > 3:
                row[position] = MASK
        found.append(torch.from_numpy(row.astype("int64")))
    return found


@torch.inference_mode()
def errors(shape: tuple[int, int, int], peer: str, proteins: list[torch.Tensor]) -> tuple:
    """Largest error of a residue, of a pooled vector and of a logit vector."""
    layers, dim, heads = shape
    reference = transformers_esm(*shape) if peer == "transformers" else fair_esm2(*shape)
    names = transformers_names if peer == "transformers" else fair_esm_names
    config = Esm2Config(num_layers=layers, hidden_dim=dim, num_heads=heads, ffn_dim=4 * dim)
    module = Esm2(config)
    fill_module(module, names(reference.state_dict()), peer)
    ours = Esm2Inference(module)
    batch = pack(row.numpy() for row in proteins)
    hidden = ours.hidden(batch)[layers]
    parts = zip(
        proteins,
        hidden.split(list(batch.lengths)),
        ours.logits(hidden).split(list(batch.lengths)),
        strict=True,
    )
    worst = [0.0, 0.0, 0.0]
    for row, found, logits in parts:
        if peer == "transformers":
            out = reference(
                row[None], attention_mask=torch.ones_like(row[None]), output_hidden_states=True
            )
            expected, expected_logits = out.hidden_states[-1][0], out.logits[0]
        else:
            out = reference(row[None], repr_layers=[layers])
            expected, expected_logits = out["representations"][layers][0], out["logits"][0]
        difference = ((found - expected).norm(dim=-1) / expected.norm(dim=-1)).max()
        mean = expected[1:-1].mean(0)
        pooled = (found[1:-1].mean(0) - mean).norm() / mean.norm()
        score = (logits - expected_logits).norm(dim=-1) / expected_logits.norm(dim=-1)
        worst = [
            max(w, float(v)) for w, v in zip(worst, (difference, pooled, score.max()), strict=True)
        ]
    return tuple(worst)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["8M", "35M", "150M"])
    parser.add_argument("--proteins", type=int, default=50)
    parser.add_argument("--longest", type=int, default=400)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"processor {processor_name()}, {choose_cpu_kernels()}, {arguments.proteins} proteins")
    print(
        "{:<8}{:<16}{:<10}{:>12}{:>12}{:>12}".format(
            "shape", "peer", "masked", "residue", "pooled", "logits"
        )
    )
    for name in arguments.shapes:
        for peer in ("fair-esm", "transformers"):
            for masked in (0.0, 0.15):
                proteins = rows(arguments.proteins, arguments.longest, masked)
                found = errors(SHAPES[name], peer, proteins)
                print(
                    f"{name:<8}{peer:<16}{masked:<10.0%}" + "".join(f"{e:>12.1e}" for e in found),
                    flush=True,
                )


if __name__ == "__main__":
    main()
