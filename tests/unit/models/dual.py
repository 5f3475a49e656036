"""Text encoders and dual encoders of random weights, written as bundles."""

from __future__ import annotations

import torch
from torch import nn

from protclip_core.encoders.esm2 import Esm2, Esm2Config
from protclip_core.encoders.residue_heads import ResidueHeads
from protclip_core.weights.bundle import write_bundle
from tests.unit.models.encoders import randomise

PROTEIN = {"num_layers": 2, "hidden_dim": 32, "num_heads": 4, "ffn_dim": 64}
TEXT = {
    "vocab_size": 74,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 48,
    "hidden_act": "gelu",
    "max_position_embeddings": 40,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
JOINT = 16
WORDS = ["atp", "binding", "kinase", "membrane", "of", "the", "zinc"]


def tokenizer_of_words():
    """Words, and letters for what is no word: 74 tokens, laid out as BERT's."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "-", *WORDS, *letters]
    tokens += [f"##{letter}" for letter in letters]
    tokens += [f"[unused{i}]" for i in range(TEXT["vocab_size"] - len(tokens))]
    vocab = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return tokenizer


def random_texts(rng, number, *, words=14):
    """Texts of 1 to ``words`` words, some of them no words of the tokenizer."""
    odd = ["Zn", "q-x", "Ubiquitin.", "α", "a"]
    return [" ".join(rng.choices(WORDS + odd, k=rng.randint(1, words))) for _ in range(number)]


def bert(shape=TEXT, *, seed=0):
    """A BertModel with weights that matter, rounded to float16 as a bundle stores them."""
    from transformers import BertConfig, BertModel

    with torch.random.fork_rng():
        model = BertModel(BertConfig(**shape), add_pooling_layer=False).eval()
    randomise(model, seed)
    return rounded(model)


def rounded(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(parameter.half())
    return module


def projection(width, *, seed):
    layers = nn.Sequential(nn.Linear(width, JOINT), nn.ReLU(), nn.Linear(JOINT, JOINT)).eval()
    randomise(layers, seed)
    return rounded(layers)


class Dual:
    """Modules of a small dual encoder, and the bundle that they make."""

    def __init__(self, *, lm_head=True, heads=None):
        self.protein = Esm2(Esm2Config(**PROTEIN), lm_head=lm_head).eval()
        randomise(self.protein, 1)
        rounded(self.protein)
        self.text = bert()
        self.protein_projection = projection(PROTEIN["hidden_dim"], seed=2)
        self.text_projection = projection(TEXT["hidden_size"], seed=3)
        self.heads = None
        self.config = {
            "format": "protclip-bundle",
            "format_version": 1,
            "name": "dual",
            "license": "CC0-1.0",
            "pooling": "tokens",
            "projection_dim": JOINT,
            "protein_encoder": {"type": "esm2", "lm_head": lm_head, **PROTEIN},
            "text_encoder": {"type": "bert", "max_tokens": 40, **TEXT},
        }
        if heads is not None:
            self.heads = ResidueHeads(PROTEIN["hidden_dim"], JOINT, 33, **heads)
            randomise(self.heads, 4)
            rounded(self.heads)
            self.config["residue_heads"] = heads

    def tensors(self):
        found = {"logit_scale": torch.tensor(2.5)}
        modules = {
            "protein_encoder": self.protein,
            "text_encoder": self.text,
            "protein_projection": self.protein_projection,
            "text_projection": self.text_projection,
            "residue_heads": self.heads,
        }
        for part, module in modules.items():
            if module is not None:
                found |= {f"{part}.{n}": v.clone() for n, v in module.state_dict().items()}
        return found

    def write(self, folder, *, change=None, config=None, files=None, half=True):
        """Write the bundle; ``change`` may alter the tensors, ``config`` replaces fields."""
        tensors = self.tensors()
        if change is not None:
            change(tensors)
        content = {**self.config, **(config or {})}
        content = {name: value for name, value in content.items() if value is not None}
        if files is None:
            files = {"tokenizer.json": tokenizer_of_words().to_str().encode()}
        write_bundle(folder, content, tensors, files, half=half)
        return folder


def text_only(tensors):
    """Leave the text encoder alone, for `Dual.write`."""
    for name in [n for n in tensors if not n.startswith("text_encoder.")]:
        del tensors[name]


TEXT_ONLY = {"protein_encoder": None, "projection_dim": None, "name": "words"}
