"""Small dual encoders whose projections have a skip connection, and what numpy makes of them."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import torch

from protclip_core.encoders.kmer import KmerEncoder
from protclip_core.encoders.kmer_config import KmerConfig
from protclip_core.encoders.projection import ProjectionForm, make_projection
from protclip_core.weights.bundle import write_bundle
from tests.unit.models.dual import JOINT, TEXT, bert, rounded, tokenizer_of_words
from tests.unit.models.encoders import randomise

INPUT, STREAM, HIDDEN = 20, 12, 28
KMER = {
    "tables": ["3:6:12", "1:20:8"],
    "hidden_dim": INPUT + STREAM,
    "keep_input": True,
    "num_layers": 2,
    "kernel": 3,
    "max_residues": 40,
}
ALL = {"form": "skip", "hidden_dim": HIDDEN}
READS_INPUT = ALL | {"protein_dim": INPUT}


class Skips:
    """Modules of a small dual encoder over k-mers, and the bundle that they make."""

    def __init__(self, form, *, shape=KMER):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.protein = KmerEncoder(KmerConfig.from_dict(shape), lm_head=False).eval()
        rounded(self.protein)
        self.text = bert()
        plain = msgspec.convert(form, ProjectionForm)
        widths = {"protein": self.protein.config.hidden_dim, "text": TEXT["hidden_size"]}
        self.projections = {
            side: make_projection(width, JOINT, plain if side == "protein" else plain.for_texts())
            for side, width in widths.items()
        }
        for number, module in enumerate(self.projections.values()):
            randomise(module, 2 + number)
            rounded(module.eval())
        self.config = {
            "format": "protclip-bundle",
            "format_version": 1,
            "name": "skips",
            "projection_dim": JOINT,
            "projection": form,
            "protein_encoder": {"type": "kmer", "lm_head": False, **shape},
            "text_encoder": {"type": "bert", "max_tokens": 40, **TEXT},
        }

    def tensors(self):
        modules = {"protein_encoder": self.protein, "text_encoder": self.text}
        modules |= {f"{side}_projection": module for side, module in self.projections.items()}
        found = {"logit_scale": torch.tensor(2.5)}
        for part, module in modules.items():
            found |= {f"{part}.{n}": v.clone() for n, v in module.state_dict().items()}
        return found

    def write(self, folder, *, change=None, config=None, half=True):
        """Write the bundle; ``change`` may alter the tensors, ``config`` replaces fields."""
        tensors = self.tensors()
        if change is not None:
            change(tensors)
        content = {**self.config, **(config or {})}
        content = {name: value for name, value in content.items() if value is not None}
        files = {"tokenizer.json": tokenizer_of_words().to_str().encode()}
        write_bundle(folder, content, tensors, files, half=half)
        return folder

    def twin(self, side, vectors, *, read=None, normalise=True):
        """Project in plain numpy, float64, from the tensors by their names."""
        part = f"{side}_projection."
        p = {n.removeprefix(part): v for n, v in self.tensors().items() if n.startswith(part)}
        p = {name: value.double().numpy() for name, value in p.items()}
        x = np.asarray(vectors, np.float64)[:, :read]
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        x = x * p["norm.weight"] + p["norm.bias"]
        inner = x @ p["hidden.weight"].T + p["hidden.bias"]
        inner *= 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        made = inner @ p["output.weight"].T + p["output.bias"] + x @ p["skip.weight"].T
        return made / np.linalg.norm(made, axis=1, keepdims=True) if normalise else made
