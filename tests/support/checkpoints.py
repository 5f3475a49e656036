"""Miniatures of the checkpoints that others publish: same classes, names, nesting and types.

They are made by transformers, torch and fair-esm themselves, with seeded random weights, and are
laid out on disk as the published ones are.
"""

from __future__ import annotations

import json
import string
from argparse import Namespace

import torch
from torch import nn

from tests.unit.models.encoders import randomise, save_fair_esm2, transformers_esm

ESM_LAYERS, ESM_DIM, ESM_HEADS = 3, 40, 4
BERT_LAYERS, BERT_DIM, BERT_HEADS = 2, 48, 4
JOINT, PROTOTYPES = 32, 24
PROTBERT_TOKENS = "[PAD] [UNK] [CLS] [SEP] [MASK] L A G V E S I K R D T P N Q F Y M H C W X U B Z O"

_WORDS = """protein name function subcellular location similarity belongs to the family membrane
nucleus cytoplasm secreted kinase binding catalyzes hydrolysis of atp and in a is by with for from
receptor transport dna rna repair transcription factor enzyme domain oxidase reductase synthase
zinc iron heme sub unit complex signal peptide mitochondrial outer inner cell wall growth stress
response regulator alpha beta gamma chain heavy light type class super may play role plays involved
process active site residue residues acts as component required component essential"""
_PIECES = "ase ing ed s tion al ic ity in or er ly ment able phosphoryl cellular mer"


def text_vocabulary():
    """A WordPiece vocabulary of lower-case words, 200 to 300 tokens; ``[PAD]`` is 0."""
    letters = [*string.ascii_lowercase, *string.digits, *".,:;()-/'\"+%[]", "α", "β", "蛋", "白"]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    tokens += [
        f"##{piece}" for piece in [*string.ascii_lowercase, *string.digits, *_PIECES.split()]
    ]
    return list(dict.fromkeys([*tokens, *_WORDS.split()]))


def write_vocab(path, tokens=None):
    """Write ``vocab.txt``, a token a line."""
    path.write_text("".join(f"{token}\n" for token in tokens or text_vocabulary()), "utf-8")
    return path


def bert_for_masked_lm(vocab_size, *, seed=0, pooler=False):
    """A BertForMaskedLM with weights large enough that every layer matters."""
    from transformers import BertConfig, BertForMaskedLM, BertModel

    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=BERT_DIM,
        num_hidden_layers=BERT_LAYERS,
        num_attention_heads=BERT_HEADS,
        intermediate_size=2 * BERT_DIM,
        max_position_embeddings=512,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertForMaskedLM(config)
        if pooler:
            model.bert = BertModel(config, add_pooling_layer=True)
            model.tie_weights()
    randomise(model, seed)
    return model.eval()


class FstModel(nn.Module):
    """The official release's modules under its names; only the encoders have a forward pass."""

    def __init__(self, seed=0):
        super().__init__()
        from transformers import EsmModel

        masked = transformers_esm(ESM_LAYERS, ESM_DIM, ESM_HEADS, seed=seed)
        self.protein_model = EsmModel(masked.config, add_pooling_layer=True)
        self.text_model = bert_for_masked_lm(len(text_vocabulary()), pooler=True).bert
        self.protein_projection = _projection(ESM_DIM)
        self.text_projection = _projection(BERT_DIM)
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())
        self.mlm_head = _residue_head(ESM_DIM)
        self.t2p_mlm_head = _residue_head(JOINT)
        parts = ("query", "key", "value")
        self.decoder = nn.ModuleDict({name: nn.Linear(JOINT, JOINT) for name in parts})
        self.proto_bank = nn.ModuleDict({"prototype": nn.Embedding(PROTOTYPES, JOINT)})
        self.local_logit_scale = nn.Parameter(torch.full((2,), 10.0).log())
        self.local_cross_attention = nn.ModuleDict(
            {f"{n}{i}": nn.Linear(JOINT, JOINT) for i in (1, 2) for n in parts}
        )
        self.predictor = nn.Sequential(
            nn.Linear(JOINT, JOINT // 2), nn.ReLU(), nn.Linear(JOINT // 2, JOINT)
        )
        scales = self.logit_scale.clone(), self.local_logit_scale.clone()
        randomise(self, seed)
        with torch.no_grad():
            self.logit_scale.copy_(scales[0])
            self.local_logit_scale.copy_(scales[1])
        self.eval()


def _projection(width):
    return nn.Sequential(nn.Linear(width, JOINT), nn.ReLU(), nn.Linear(JOINT, JOINT))


def _residue_head(width):
    return nn.Sequential(
        nn.Linear(width, JOINT), nn.GELU(), nn.LayerNorm(JOINT), nn.Linear(JOINT, 33)
    )


def official_config(model):
    """``config.json`` of the official release, for the miniature."""
    nested = {
        f"{name}_config": json.loads(getattr(model, name).config.to_json_string(use_diff=False))
        for name in ("protein_model", "text_model")
    }
    return {
        **nested,
        "architectures": ["FSTForPretrain"],
        "fusion_batch_norm": True,
        "fusion_num_heads": 8,
        "fusion_num_layers": 1,
        "hidden_sizes": [ESM_DIM, BERT_DIM, JOINT],
        "local_contrast": 1,
        "local_logit_scale_init": 0.1,
        "local_pool": "avg",
        "logit_scale_init": 0.07,
        "mlp_num_layers": 2,
        "mmp": 0,
        "model_type": "FST",
        "projection_dim": JOINT,
        "protein_mask_probability": 0.15,
        "proto_dim": JOINT,
        "proto_num": PROTOTYPES,
        "t2p_mlm": 1,
        "torch_dtype": "float16",
        "transformers_version": "4.35.2",
    }


def write_official(folder, *, half=True, change=None, legacy=False, vocab=True):
    """Write the miniature of the official release.

    ``change(tensors)`` may alter the tensors before they are written, ``legacy`` adds those that
    older versions of transformers store, ``vocab`` puts ``vocab.txt`` beside. Returns EsmModel,
    BertModel and a dictionary of the other modules, all float32 and of the values that the file
    holds.
    """
    from safetensors.torch import save_file

    model = FstModel()
    if half:
        with torch.no_grad():
            for parameter in model.parameters():  # not the buffers: rotary frequencies stay exact
                parameter.copy_(parameter.half())
    tensors = {n: t.detach().clone() for n, t in model.state_dict().items()}
    # A buffer that this version of transformers shows and the release does not hold.
    tensors = {n: t for n, t in tensors.items() if not n.endswith("inv_freq")}
    if legacy:
        tensors |= legacy_tensors()
    if half:
        tensors = {n: t.half() if t.is_floating_point() else t for n, t in tensors.items()}
    if change is not None:
        change(tensors)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(official_config(model), indent=2))
    if vocab:
        write_vocab(folder / "vocab.txt")
    heads = {
        name: module
        for name, module in model.named_children()
        if name not in ("protein_model", "text_model")
    }
    heads |= {n: getattr(model, n).detach() for n in ("logit_scale", "local_logit_scale")}
    return model.protein_model, model.text_model, heads


def legacy_tensors():
    """What transformers 4.35 stored beside the weights; nothing of it is computed with."""
    return {
        "protein_model.embeddings.position_embeddings.weight": torch.zeros(1026, ESM_DIM),
        "protein_model.embeddings.position_ids": torch.arange(1026)[None],
        "text_model.embeddings.position_ids": torch.arange(512)[None],
        **{
            f"protein_model.encoder.layer.{i}.attention.self.rotary_embeddings.inv_freq": (
                torch.ones(ESM_DIM // ESM_HEADS // 2)
            )
            for i in range(ESM_LAYERS)
        },
        "fusion_model.layers.0.weight": torch.zeros(JOINT, JOINT),
        "mmp_protein_head.0.weight": torch.zeros(JOINT, JOINT),
        "mmp_text_head.0.weight": torch.zeros(JOINT, JOINT),
    }


def write_esm2(folder, *, form="safetensors", half=False, change=None):
    """Write an ESM-2 directory as on the hub; returns the EsmForMaskedLM, float32.

    ``form`` is ``"safetensors"``, ``"shards"``, ``"bin"`` or ``"bin-shards"``.
    """
    model = transformers_esm(ESM_LAYERS, ESM_DIM, ESM_HEADS)
    if half:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(parameter.half())
    tensors = {
        n: t.detach().clone().to(torch.float16 if half else torch.float32)
        for n, t in model.state_dict().items()
    }
    # As published: with a table of positions that is not used, and without the tied decoder.
    tensors["esm.embeddings.position_embeddings.weight"] = torch.zeros(1026, ESM_DIM)
    _write_transformers(folder, model, tensors, form, change)
    return model


def write_protbert(folder, *, form="bin", change=None):
    """Write a ProtBERT directory as on the hub; returns the BertForMaskedLM."""
    tokens = PROTBERT_TOKENS.split()
    model = bert_for_masked_lm(len(tokens), seed=1)
    tensors = _bert_tensors(model)
    _write_transformers(folder, model, tensors, form, change)
    write_vocab(folder / "vocab.txt", tokens)
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    return model


def write_pubmedbert(folder, *, form="bin", change=None, old_names=False):
    """Write a PubMedBERT directory as on the hub; returns the BertForMaskedLM."""
    model = bert_for_masked_lm(len(text_vocabulary()), seed=2)
    tensors = _bert_tensors(model)
    if old_names:
        old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        for new, name in old.items():
            tensors = {n.replace(new, name): t for n, t in tensors.items()}
    _write_transformers(folder, model, tensors, form, change)
    write_vocab(folder / "vocab.txt")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    return model


def _bert_tensors(model):
    """Tensors as files of transformers 3 and 4 hold them, with pooler and position numbers."""
    tensors = {n: t.detach().clone() for n, t in model.state_dict().items()}
    tensors["bert.embeddings.position_ids"] = torch.arange(512)[None]
    tensors["bert.pooler.dense.weight"] = torch.zeros(BERT_DIM, BERT_DIM)
    tensors["bert.pooler.dense.bias"] = torch.zeros(BERT_DIM)
    tensors["cls.seq_relationship.weight"] = torch.zeros(2, BERT_DIM)
    tensors["cls.seq_relationship.bias"] = torch.zeros(2)
    return tensors


def _write_transformers(folder, model, tensors, form, change):
    from safetensors.torch import save_file

    if change is not None:
        change(tensors)
    folder.mkdir(parents=True, exist_ok=True)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    save, name = (
        (save_file, "model.safetensors") if "bin" not in form else (torch.save, "pytorch_model.bin")
    )
    if "shards" not in form:
        save(tensors, folder / name)
        return
    stem, suffix = name.split(".")
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        shard = f"{stem}-{number:05}-of-00002.{suffix}"
        save({n: tensors[n] for n in part}, folder / shard)
        weight_map |= dict.fromkeys(part, shard)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / f"{name}.index.json").write_text(json.dumps(index))


def write_fair_esm(path, *, kind="esm2"):
    """Write a ``.pt`` file of fair-esm, ``kind`` ``"esm2"`` or ``"esm1b"``; returns its module."""
    if kind == "esm2":
        return save_fair_esm2(path, ESM_LAYERS, ESM_DIM, ESM_HEADS)
    from esm.data import Alphabet
    from esm.model.esm1 import ProteinBertModel

    arguments = {
        "layers": ESM_LAYERS,
        "embed_dim": ESM_DIM,
        "ffn_embed_dim": 4 * ESM_DIM,
        "attention_heads": ESM_HEADS,
    }
    shared = {"arch": "roberta_large", "max_positions": 1024, "token_dropout": True}
    module = ProteinBertModel(
        Namespace(**arguments, **shared, emb_layer_norm_before=True),
        Alphabet.from_architecture("roberta_large"),
    )
    randomise(module, 3)
    weights = {
        f"encoder.{name}" if name.startswith("lm_head") else f"encoder.sentence_encoder.{name}": v
        for name, v in module.state_dict().items()
        if not name.startswith("contact_head")
    }
    # As in the published files: the shape's names have a prefix, and much else is in there.
    stored = {f"encoder_{name}": value for name, value in arguments.items()}
    rest = {"save_dir": "/checkpoints", "lr": [0.0001], "max_tokens": None}
    torch.save({"args": Namespace(**stored, **shared, **rest), "model": weights}, path)
    with torch.no_grad():
        module.embed_tokens.weight[32].zero_()  # as fair-esm does on loading
    return module.eval()
