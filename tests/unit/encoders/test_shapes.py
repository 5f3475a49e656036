"""What a configuration may say of its encoders: wrong kinds and huge numbers, by name."""

from __future__ import annotations

import copy
import math

import pytest

from protclip_core.encoders.shapes import read_shapes
from protclip_core.errors import ModelError
from tests.unit.models.dual import JOINT, PROTEIN, TEXT

BERT = {**TEXT, "vocab_size": 25, "tokens": [f"t{i}" for i in range(25)]}
ESM1 = {"arch": "roberta_large", "layers": 2, "embed_dim": 8, "ffn_embed_dim": 16}
CONFIGS = {
    "dual": {
        "projection_dim": JOINT,
        "logit_scale": True,
        "protein_encoder": {"type": "esm2", "lm_head": True, **PROTEIN},
        "text_encoder": {"type": "bert", "max_tokens": 40, **TEXT},
        "residue_heads": {"mlm": True, "segments": False, "prototypes": 4},
    },
    "bert": {"protein_encoder": {"type": "bert", **BERT}},
    "esm1": {"protein_encoder": {"type": "esm1", "arguments": {**ESM1, "attention_heads": 2}}},
    "kmer": {"protein_encoder": {"type": "kmer", "tables": ["1:20:8"], "hidden_dim": 8}},
}
NO_NUMBER = [None, "3", 1.5, -1, 0, True, [1], math.nan]
NO_FLAG = ["false", 0, 1, None, []]
HUGE = [10**9, 2**70, 10**4000]
NO_EPSILON = ["x", [], math.nan, -1, 1, None, True, 10**400]
NO_PAD = ["x", 10**9, None, -1, 1.0, True]
FIELDS = {
    "dual": {
        "protein_encoder.num_layers": [*NO_NUMBER, *HUGE, 1001],
        "protein_encoder.hidden_dim": [*NO_NUMBER, *HUGE],
        "protein_encoder.ffn_dim": HUGE,
        "protein_encoder.num_heads": HUGE,
        "protein_encoder.max_residues": [*NO_NUMBER, *HUGE],
        "protein_encoder.layer_norm_eps": NO_EPSILON,
        "protein_encoder.token_dropout": NO_FLAG,
        "protein_encoder.lm_head": NO_FLAG,
        "text_encoder.num_hidden_layers": HUGE,
        "text_encoder.vocab_size": HUGE,
        "text_encoder.max_tokens": [*NO_NUMBER, *HUGE],
        "text_encoder.layer_norm_eps": NO_EPSILON,
        "text_encoder.pad_token_id": NO_PAD,
        "text_encoder.hidden_act": ["evil", ["gelu"], None],
        "residue_heads.prototypes": [*HUGE, -1, True, False, "3", 1.5, None],
        "residue_heads.mlm": NO_FLAG,
        "residue_heads": [[], "x", 5, ["mlm"]],
        "projection_dim": HUGE,
        "logit_scale": NO_FLAG,
        "pooling": [None, "x", ["tokens"]],
    },
    "bert": {
        "protein_encoder.pad_token_id": NO_PAD,
        "protein_encoder.num_hidden_layers": HUGE,
        "protein_encoder.tokens": ["x", None, 5, [1] * 25],
    },
    "esm1": {
        "protein_encoder.arguments.layers": [*HUGE, 10**6],
        "protein_encoder.arguments.ffn_embed_dim": HUGE,
        "protein_encoder.arguments.encoder_max_positions": ["x", -5, 4, *HUGE],
        "protein_encoder.arguments.token_dropout": NO_FLAG,
        "protein_encoder.arguments": [None, 5, [], {}],
    },
    "kmer": {
        "protein_encoder.hidden_dim": [*HUGE, "x"],
        "protein_encoder.num_layers": [*HUGE, 1001, -1],
        "protein_encoder.tables": [["11111111111:20:8"], [5], 5, None],
        "protein_encoder.max_residues": HUGE,
    },
}
CASES = [
    pytest.param(kind, field, value, id=f"{kind}-{field}-{str(value)[:12]}")
    for kind, fields in FIELDS.items()
    for field, values in fields.items()
    for value in values
]


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_sound_configuration_passes(kind):
    read_shapes(CONFIGS[kind], "here")


@pytest.mark.parametrize(("kind", "field", "value"), CASES)
def test_what_is_of_no_use_is_named(kind, field, value):
    config = copy.deepcopy(CONFIGS[kind])
    *path, last = field.split(".")
    place = config
    for name in path:
        place = place[name]
    place[last] = value
    with pytest.raises(ModelError) as caught:
        read_shapes(config, "here")
    message = str(caught.value)
    assert caught.value.code == "model.bad_field"
    assert message.startswith("here: ")
    assert "\n" not in message and len(message) < 300
    name = last.removeprefix("encoder_")
    positions = name == "max_positions" and "positions" in message
    assert name in message or positions or kind == "kmer"
