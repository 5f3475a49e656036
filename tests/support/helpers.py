"""What tests make: models of random weights, random proteins, FASTA files."""

from __future__ import annotations

import random

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


def write_tiny_bundle(folder, *, change=None):
    """Write a bundle: 2 layers of width 64, 4 heads, a joint space of 32; seeded weights.

    ``change`` may alter the tensors before they are written.
    """
    import torch

    from protclip_core.encoders.esm2 import Esm2, Esm2Config
    from protclip_core.weights.bundle import write_bundle

    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = Esm2Config(num_layers=2, hidden_dim=64, num_heads=4, ffn_dim=128)
        model = Esm2(shape)
        tensors = {f"protein_encoder.{name}": t for name, t in model.state_dict().items()}
        for name, size in {
            "0.weight": (32, 64),
            "0.bias": (32,),
            "2.weight": (32, 32),
            "2.bias": (32,),
        }.items():
            tensors[f"protein_projection.{name}"] = torch.randn(size) * 0.1
    if change is not None:
        change(tensors)
    config = {
        "format": "protclip-bundle",
        "format_version": 1,
        "name": "tiny",
        "pooling": "residues",
        "projection_dim": 32,
        "protein_encoder": {"type": "esm2", "lm_head": True, **shape.to_dict()},
    }
    write_bundle(folder, config, tensors)
    return folder


def random_proteins(number, *, seed=0, shortest=5, longest=120, prefix="p"):
    """Make ``[(id, sequence), ...]``, distinct, of mixed length."""
    rng = random.Random(seed)
    return [
        (f"{prefix}{i}", "".join(rng.choices(RESIDUES, k=rng.randint(shortest, longest))))
        for i in range(number)
    ]


def write_fasta(path, proteins):
    """Write ``[(id, sequence), ...]`` as FASTA."""
    path.write_text("".join(f">{id}\n{sequence}\n" for id, sequence in proteins), "utf-8")
    return path
