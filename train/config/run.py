"""The configuration of a run, read from TOML into dataclasses; an unknown key is an error.

Each table is one class, owned by the part of the trainer that reads it; the comments on its
fields are the reference of the configuration. A recipe is one whole file: none inherits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from protclip_core.encoders.esm2 import Esm2Config
from protclip_core.errors import UsageError
from train.config.augment import AugmentConfig, with_paths
from train.config.objectives import ObjectivesConfig
from train.config.stages import StagesConfig
from train.config.structure import StructureConfig, split_gvp
from train.config.tables import (
    Above0,
    BelowOne,
    Count,
    Natural,
    NotNegative,
    Share,
    make,
    read_toml,
)

__all__ = ["DataConfig", "ModelConfig", "ObjectivesConfig", "ProteinConfig", "RunConfig"]
__all__ += [
    "TextConfig",
    "TrainConfig",
    "changed_keys",
    "load_config",
    "load_saved_config",
]


@dataclass(frozen=True, kw_only=True)
class ProteinConfig:
    """The protein encoder; further keys of ``[protein]`` are fields of its own configuration."""

    #: ``esm2`` (see `Esm2Config`) or ``kmer`` (see `KmerConfig`).
    kind: Literal["esm2", "kmer"] = "esm2"
    #: Name or path of a model to start from, in place of a shape.
    weights: str | None = None
    #: Whether it stays as it is.
    frozen: bool = False
    #: Whether the protein projection stays as it is as well.
    projection_frozen: bool = False
    #: Whether the vectors of whole proteins are encoded once, before the first step, and kept in
    #: the folder of the run (2 bytes a number); needs a frozen encoder, and objectives that look
    #: at whole proteins alone.
    cache: bool = False
    #: Tables of ``kmer``: ``alike`` (k-mers that are alike begin alike) or ``random``.
    start: Literal["alike", "random"] = "alike"
    #: Fields of the encoder's configuration.
    shape: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if bool(self.weights) == bool(self.shape):
            raise ValueError("give either weights or a shape (num_layers, hidden_dim, …)")


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The text encoder, BERT-shaped."""

    #: Name or path of a model to start from, in place of a shape; its tokenizer comes with it.
    weights: str | None = None
    #: Whether it stays as it is; default: where it comes pre-trained.
    frozen: bool | None = None
    num_layers: int | None = None
    hidden_dim: int | None = None
    num_heads: int | None = None
    #: A ``tokenizer.json``; else one is trained on the texts, with ``vocab_size`` entries at most.
    tokenizer: str | None = None
    vocab_size: int = 8000
    #: Text tokens, [CLS] and [SEP] counted; longer texts are cut. Default: what weights allow.
    max_tokens: int | None = None
    #: Whether the text projection stays as it is as well. Weights that bring one of the right
    #: width and form are started from; default: then, if it is not from the model that the
    #: protein encoder starts from too, and the text encoder stays.
    projection_frozen: bool | None = None
    #: Texts of each protein that contrasts draw from: encoded once, before the first step, and
    #: kept in the folder of the run (2 bytes a number); needs a frozen encoder. The first is the
    #: whole text, the others are sampled. 0: texts are encoded in every step.
    cache_variants: Count = 0
    #: How GO terms are spoken of, ``[text.augment]``.
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        shape = (self.num_layers, self.hidden_dim, self.num_heads)
        if self.weights and (any(shape) or self.tokenizer):
            raise ValueError("give either weights or num_layers, hidden_dim, num_heads, tokenizer")
        if not self.weights and not all((*shape, self.max_tokens)):
            raise ValueError("give weights, or num_layers, hidden_dim, num_heads and max_tokens")
        if self.hidden_dim and self.num_heads and self.hidden_dim % self.num_heads:
            raise ValueError("hidden_dim must be a multiple of num_heads")

    @property
    def shape(self) -> dict[str, int]:
        """Shape of a fresh encoder; without weights, all of it is given."""
        names = ("hidden_dim", "num_layers", "num_heads", "max_tokens")
        return {name: int(getattr(self, name)) for name in names}

    @property
    def stays(self) -> bool:
        """Whether it is frozen, the default resolved."""
        return bool(self.weights) if self.frozen is None else self.frozen


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The joint space."""

    projection_dim: int
    #: Tokens that count in a protein's vector: ``residues``, or ``tokens`` (BOS and EOS as well).
    pooling: Literal["residues", "tokens"] = "residues"
    #: Prototypes of PDA.
    prototypes: int = 512
    #: Head of MLM: the ``encoder``'s own, or a ``separate`` one as in the paper.
    mlm_head: Literal["encoder", "separate"] = "encoder"
    #: Form of both projections: ``plain`` (Linear, ReLU, Linear, as in the paper), or ``skip``
    #: (a norm in front, a hidden layer, and a linear map past it).
    projection: Literal["plain", "skip"] = "plain"
    #: Of ``skip``: width of the hidden layer, and share of it that a step leaves out.
    projection_hidden: Natural = 1024
    projection_dropout: BelowOne = 0.0
    #: Of ``skip``: what it reads of a protein's vector; ``input`` is that of a kmer encoder with
    #: keep_input, so that proteins need not go through its layers.
    protein_reads: Literal["all", "input"] = "all"

    def __post_init__(self) -> None:
        if self.projection == "plain":
            for name, idle in (("projection_dropout", 0.0), ("protein_reads", "all")):
                if getattr(self, name) != idle:
                    raise ValueError(f"{name} needs projection = 'skip'")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How pairs become batches. A batch is that of all ranks together."""

    #: JSON Lines or a folder of ProtAnno, relative to the configuration; ``--data`` overrides it.
    pairs: str | None = None
    #: Table of GO terms, likewise; ``--go`` overrides it.
    go: str | None = None
    train_split: str = "train"
    valid_split: str = "valid"
    #: Share of the entries held out where the data have no splits.
    holdout: Share = 0.005
    #: Protein tokens of a batch over all ranks, BOS and EOS counted.
    token_budget: int
    #: Proteins of a batch at most, over all ranks.
    max_pairs: Annotated[int, Meta(ge=2)]
    #: Crop lengths in residues, and the probability of each.
    crops: Annotated[tuple[Natural, ...], Meta(min_length=1)]
    crop_shares: tuple[NotNegative, ...]
    #: Crop the proteins of a batch to the same length, so that attention is one dense product
    #: (a protein loses a fifth of its crop at most); else each keeps its own.
    equal_lengths: bool = True
    #: Whether a batch is of proteins of similar length, as attention wants it; else of random
    #: ones, each with its own crop: less alike, and no dearer for an encoder without attention.
    by_length: bool = True
    #: Pairs of a batch (over all ranks) that take part in MLM, BSR and PDA, 0 for all: the first
    #: ones, whose proteins are cropped once more for it. GC and GO see the whole batch.
    residue_pairs: Count = 0
    residue_crop: Natural = 256
    #: Each training protein has a share of its residues, drawn between 0 and this, replaced by
    #: others as BLOSUM62 has them, before anything else.
    mutate: Share = 0.0
    #: Share of windows that begin at residue 1, where signals for targeting stand.
    n_terminal_share: Share = 0.25
    #: ``sample``: a random choice of the properties; ``whole``: all of them in their order.
    texts: Literal["sample", "whole"] = "sample"
    #: Share of sampled texts without their tags, since a query is typed without them.
    tag_dropout: Share = 0.25
    #: GO names of one text at most; 0 for none.
    max_go_names: Count = 4
    #: Structures, as ``python -m train.structures`` packs them, relative to the configuration;
    #: ``--structures`` overrides it. A protein has those of its accession; of several, a batch
    #: has one at random.
    structures: str | None = None
    #: Leave out proteins without a structure. Those with a structure need no text.
    structures_only: bool = False
    #: Lengths of the pieces of structures in residues, one drawn for each; 0 is a whole chain.
    structure_crops: Annotated[tuple[Count, ...], Meta(min_length=1)] = (256,)
    #: Residues of all structures of a rank's batch at most; 0: no limit. Beyond it, the pieces of
    #: the longest ones become shorter.
    structure_budget: Count = 0
    #: Processes of each rank that put batches together; 0: the rank itself.
    workers: Count = 0

    def __post_init__(self) -> None:
        if len(self.crops) != len(self.crop_shares) or abs(sum(self.crop_shares) - 1) > 1e-6:
            raise ValueError("crop_shares must give each of crops a probability, adding up to 1")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Optimisation, ranks, evaluation and checkpoints."""

    seed: int
    #: The run ends after this many steps, passes over the data, or minutes of training; the
    #: learning rate follows the one that is furthest along. With minutes it is not repeatable.
    max_steps: Natural | None = None
    max_epochs: Above0 | None = None
    max_minutes: Above0 | None = None
    #: Warm-up in steps, or as a share of the run.
    warmup_steps: Count = 0
    warmup_share: NotNegative = 0.0
    #: Of projections, heads and temperatures; encoders have this times ``encoder_share``.
    learning_rate: Above0
    encoder_share: NotNegative = 1.0
    #: Of the tables and gates of a kmer encoder, times ``learning_rate``; where it is not 1, it is
    #: in place of ``encoder_share``, and they do not decay.
    table_share: Above0 = 1.0
    #: At the end, as a share of the peak.
    final_share: float = 0.01
    weight_decay: NotNegative = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: Above0 = 1.0
    #: Share of the past in a moving average of all parameters that learn, taken at every step;
    #: evaluation, checkpoints and exports are of the averages. It is at most
    #: (1 + step) / (10 + step). 0: none.
    ema: BelowOne = 0.0
    #: Batches of one step. Each has its own contrast: its negatives do not grow with it.
    accumulate: Natural = 1
    #: ``auto``: bf16 autocast on CUDA, float32 elsewhere.
    precision: Literal["auto", "float32", "bf16"] = "auto"
    #: How ranks share the work: each the whole model (ddp), or a part of it (fsdp).
    parallel: Literal["ddp", "fsdp"] = "ddp"
    #: Compute activations of encoder layers twice in place of keeping them.
    recompute: bool = False
    #: Seconds after which a rank that does not come is lost; default 60 on CPUs, 600 on CUDA.
    timeout_seconds: Above0 | None = None
    evaluate_every: Natural
    evaluate_pairs: int = 1000
    #: Residues of a protein in evaluation; the rest is cut.
    evaluate_residues: int = 512
    checkpoint_seconds: float = 120.0
    #: Write a log for TensorBoard as well (a package of its own).
    tensorboard: bool = False

    def __post_init__(self) -> None:
        if self.max_steps is self.max_epochs is self.max_minutes is None:
            raise ValueError("give max_steps, max_epochs or max_minutes")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One training run."""

    name: Annotated[str, Meta(min_length=1)]
    protein: ProteinConfig
    text: TextConfig
    model: ModelConfig
    data: DataConfig
    objectives: ObjectivesConfig
    train: TrainConfig
    structure: StructureConfig | None = None
    stage: StagesConfig | None = None

    def __post_init__(self) -> None:
        if self.objectives.on_structures and self.structure is None:
            raise ValueError("objectives on structures need a table [structure]")
        if self.objectives.design and self.structure and self.structure.shape.get("residues"):
            raise ValueError("design is no objective for an encoder that reads residue types")

    def to_dict(self) -> dict[str, Any]:
        """Return the tables as `load_saved_config` reads them."""
        content = asdict(self)
        for table in ("protein", "structure"):
            if content[table] is not None:
                content[table] |= content[table].pop("shape")
        return {name: value for name, value in content.items() if value is not None}

    def stages(self) -> list[RunConfig]:
        """Return what each stage of the run is trained with: this itself, or one or two others."""
        if self.stage is None:
            return [self]
        found = []
        for stage in self.stage.each():
            stay = stage.frozen or ()
            text, protein = self.text, self.protein
            found.append(
                replace(
                    self,
                    train=replace(self.train, **stage.settings()),
                    protein=replace(
                        protein, frozen="protein" in stay, cache=protein.cache and "protein" in stay
                    ),
                    text=replace(
                        text,
                        frozen="text" in stay,
                        projection_frozen=bool(text.projection_frozen),
                        cache_variants=text.cache_variants if "text" in stay else 0,
                    ),
                    structure=self.structure
                    and replace(self.structure, frozen="structure" in stay),
                )
            )
        return found


#: Keys whose values are paths.
_PATHS = (("data", "pairs"), ("data", "go"), ("data", "structures"), ("text", "tokenizer"))


def load_config(path: str | Path) -> RunConfig:
    """Read a TOML file: ``name``, and the tables that are the fields of `RunConfig`.

    Paths in it are relative to its folder.

    Raises
    ------
    UsageError
        No such file, no TOML, or a key that is unknown, missing or of a value that it cannot
        have, named with its table.
    """
    file = Path(path)
    content = with_paths(read_toml(file), file.parent)
    for table, key in _PATHS:
        keys = content.get(table)
        if isinstance(keys, dict) and isinstance(keys.get(key), str):
            keys[key] = str((file.parent / keys[key]).resolve())
    return _run_config(content, str(path))


def load_saved_config(path: str | Path) -> RunConfig:
    """Read the ``config.json`` of a run directory.

    Raises
    ------
    UsageError
        As `load_config`.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            "not the configuration of a run", code="usage.not_a_run", where=str(path)
        ) from error
    return _run_config(content, str(path))


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what differs between two configurations, as ``[table] key: old -> new``."""
    # As JSON has them: a saved list is what was a tuple.
    old, new = (json.loads(json.dumps(content)) for content in (before, after))
    return [
        f"[{table}] {key}: {old.get(table, {}).get(key)} -> {new.get(table, {}).get(key)}"
        for table in dict.fromkeys([*new, *old])
        if isinstance(new.get(table, {}), dict) and isinstance(old.get(table, {}), dict)
        for key in sorted(new.get(table, {}).keys() | old.get(table, {}).keys())
        if old.get(table, {}).get(key) != new.get(table, {}).get(key)
    ]


def _run_config(content: dict[str, Any], where: str) -> RunConfig:
    protein, structure = content.get("protein"), content.get("structure")
    if isinstance(protein, dict):
        content = {**content, "protein": _split_shape(protein, where)}
    if isinstance(structure, dict):
        content = {**content, "structure": split_gvp(structure, where)}
    return make(RunConfig, {"objectives": {}, **content}, where)


def _split_shape(table: dict[str, Any], where: str) -> dict[str, Any]:
    """Put the fields of the encoder's own configuration into ``shape``."""
    own = {item.name for item in fields(ProteinConfig)} - {"shape"}
    shape = {key: value for key, value in table.items() if key not in own}
    kind = table.get("kind", "esm2")
    # What the encoder makes of its shape is not kept, but how it is written.
    if shape and kind == "esm2":
        make(Esm2Config, shape, where, "protein")
    elif shape and kind == "kmer":
        from protclip_core.encoders.kmer_config import KmerConfig

        try:
            KmerConfig.from_dict(shape)
        except ValueError as error:
            place = f"{where}: [protein]"
            raise UsageError(str(error), code="usage.bad_value", where=place) from error
    return {key: value for key, value in table.items() if key in own} | {"shape": shape}
