"""The recipe for a first look, with invented structures for two thirds of its proteins."""

from __future__ import annotations

import dataclasses
import json

from tests.support.chains import make_chain
from tests.train.launch import CONFIGS, debug_config, write_config
from train.config.structure import StructureConfig
from train.data.structures import write_structures

PAIRS = CONFIGS / "debug" / "pairs.jsonl"
#: As small as it gets, and without chance, so that ranks can be compared.
SHAPE = {
    "scalar_dim": 8, "vector_dim": 2, "edge_dim": 4, "num_layers": 1, "neighbours": 4,
    "message_depth": 1, "dropout": 0.0, "descriptor": "local",
}  # fmt: skip


def entries():
    return [json.loads(line) for line in PAIRS.read_text().splitlines()]


def chain_of(entry, seed):
    """A chain of random shape with the entry's sequence."""
    made = make_chain(len(entry["sequence"]), seed, name=f"AF-{entry['accession']}-F1")
    return dataclasses.replace(made, sequence=entry["sequence"])


def make_structures(path, of=lambda number: number % 3 < 2):
    """Write the chains of those entries that are chosen by their number, and return the path."""
    chosen = [(n, entry) for n, entry in enumerate(entries()) if of(n)]
    write_structures(path, ((chain_of(e, n), e["accession"]) for n, e in chosen))
    return path


def structure_config(path, *, shape=SHAPE, objectives=None, data=None, train=None, **tables):
    """The recipe with a structure encoder; further keys of its tables."""
    config = debug_config(**(train or {}))
    off = {"gc": 0.0, "bsr": 0.0, "mlm": 0.0, "pda": 0.0, "go": 0.0}
    on = {"sequence_structure": 1.0, "sequence_text": 1.0, "structure_text": 1.0}
    wanted = {**off, **on, **(objectives or {})}
    return dataclasses.replace(
        config,
        objectives=dataclasses.replace(config.objectives, **wanted),
        structure=StructureConfig(shape=shape),
        data=dataclasses.replace(
            config.data, structures=str(path), structure_crops=(16, 0), **(data or {})
        ),
        **tables,
    )


STAGES = """
[structure]
scalar_dim = 8
vector_dim = 2
edge_dim = 4
num_layers = 1
neighbours = 4
message_depth = 1
noise = 0.1
descriptor = "whole"

[stage.one]
max_steps = 5
learning_rate = 2e-3
warmup_steps = 2

[stage.two]
max_steps = 6
learning_rate = 1e-3
warmup_steps = 3
"""


def write_staged(path, structures, **tables):
    """Write the recipe with everything of three modalities on, in two stages."""
    on = dict.fromkeys(
        ("sequence_structure", "sequence_text", "structure_text", "intra_sequence",
         "intra_structure", "intra_text", "design"), 0.5,
    )  # fmt: skip
    off = {"gc": 0.0, "bsr": 0.0, "mlm": 0.0, "pda": 0.0, "go": 0.0}
    changes = {
        "objectives": {**off, **on},
        "data": {"structures": f'"{structures}"', "structure_crops": "[16, 24]"},
        "protein": {"cache": "true"},
        "text": {"cache_variants": "3"},
        **tables,
    }
    write_config(path, changes)
    path.write_text(path.read_text() + STAGES)
    return path
