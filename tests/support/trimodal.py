"""The default model with a structure encoder of random weights, and without any."""

from __future__ import annotations

import torch

from protclip_core.encoders.gvp_config import GvpConfig
from protclip_core.encoders.structure import StructureEncoder
from protclip_core.models.info import BUNDLED, DEFAULT_MODEL
from protclip_core.weights.attach import attach_structure
from protclip_core.weights.bundle import open_bundle, write_bundle

SHAPE = GvpConfig(scalar_dim=16, vector_dim=4, edge_dim=8, num_layers=1, neighbours=5)


def write_trimodal(folder, seed=0):
    """Write it into a folder; its other towers, indexes and hash are those of the default."""
    base = open_bundle(BUNDLED / DEFAULT_MODEL)
    width = base.config["projection_dim"]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = StructureEncoder(SHAPE)
        projection = torch.nn.Sequential(
            torch.nn.Linear(SHAPE.hidden_dim, width), torch.nn.ReLU(), torch.nn.Linear(width, width)
        )
    parts = {"structure_encoder": encoder, "structure_projection": projection}
    tensors = {f"{p}.{n}": v for p, m in parts.items() for n, v in m.state_dict().items()}
    shape = {"structure_encoder": {"type": "gvp", **SHAPE.to_dict()}}
    return attach_structure(base, folder, shape, tensors)


def write_two_towers(folder):
    """Write the default model without its structure encoder."""
    base = open_bundle(BUNDLED / DEFAULT_MODEL)
    config = {n: v for n, v in base.config.items() if not n.startswith("structure_")}
    files = {"tokenizer.json": (base.path / "tokenizer.json").read_bytes()}
    return write_bundle(folder, config, base.tensors(), files)
