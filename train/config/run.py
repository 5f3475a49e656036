"""What a run is made of, read from TOML into dataclasses; a key that nothing reads is an error.

Each table is one class, owned by the part of the trainer that reads it; the comments on its
fields are the reference of the configuration. A recipe is one whole file: none inherits.
"""

from __future__ import annotations

import json
import math
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from protclip_core.encoders.esm2 import Esm2Config
from protclip_core.errors import UsageError
from train.config.tables import WrongValueError, check_keys, make_table, typed

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
    #: Texts of each protein that GC draws from: encoded once, before the first step, and kept in
    #: the folder of the run (2 bytes a number); needs a frozen encoder and projection. The first
    #: is the whole text, the others are sampled. 0: texts are encoded in every step.
    cache_variants: int = 0

    def __post_init__(self) -> None:
        shape = (self.num_layers, self.hidden_dim, self.num_heads)
        if self.weights and (any(shape) or self.tokenizer):
            raise ValueError("give either weights or num_layers, hidden_dim, num_heads, tokenizer")
        if not self.weights and not all((*shape, self.max_tokens)):
            raise ValueError("give weights, or num_layers, hidden_dim, num_heads and max_tokens")
        if self.cache_variants < 0:
            raise WrongValueError("cache_variants", f"must be 0 or more, got {self.cache_variants}")

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
    projection_hidden: int = 1024
    projection_dropout: float = 0.0
    #: Of ``skip``: what it reads of a protein's vector; ``input`` is that of a kmer encoder with
    #: keep_input, so that proteins need not go through its layers.
    protein_reads: Literal["all", "input"] = "all"

    def __post_init__(self) -> None:
        if self.projection_hidden < 1:
            raise WrongValueError(
                "projection_hidden", f"must be 1 or more, got {self.projection_hidden}"
            )
        if not 0 <= self.projection_dropout < 1:
            raise WrongValueError(
                "projection_dropout",
                f"must be 0 or more and below 1, got {self.projection_dropout}",
            )
        if self.projection == "plain":
            for name, idle in (("projection_dropout", 0.0), ("protein_reads", "all")):
                if getattr(self, name) != idle:
                    raise WrongValueError(name, "needs projection = 'skip'")


@dataclass(frozen=True, kw_only=True)
class ObjectivesConfig:
    """Weights of the objectives (0 switches one off: neither it nor its heads are there)."""

    gc: float = 1.0
    bsr: float = 0.7
    mlm: float = 0.3
    pda: float = 1.0
    #: Beside the paper: proteins against a bank of GO terms; needs the table of GO.
    go: float = 0.0
    #: Each objective on a pass of its own, as in the paper (whole, masked and segment-masked
    #: proteins); or all on one pass at about a third of the cost: then a share of the proteins
    #: is masked for MLM, a share of the others in segments for BSR, and GC, PDA and GO see them
    #: all like that.
    shared_pass: bool = False
    masked_proteins: float = 0.5
    segmented_proteins: float = 0.25
    #: Share of the residues of a protein that are masked, for MLM and for BSR.
    mask_share: float = 0.15
    #: Longest run of BSR, in residues.
    longest_run: int = 10
    #: Each rank its own rows of the contrast, or all of them (the result is the same).
    gc_form: Literal["local", "global"] = "local"
    #: PDA: residues less like a property than this have no part in it (theta), temperature of
    #: the choice of prototypes, and whether that choice is a random draw while training.
    theta: float = 0.3
    prototype_temperature: float = 0.9
    gumbel: bool = True
    #: Start of the temperature of GC and GO (its inverse is learnt).
    temperature: float = 0.07
    #: ``softmax`` ranks the terms of a protein, ``sigmoid`` makes scores comparable; so does
    #: ``prior``, each term beginning at its share of the proteins (`train.objectives.prior`).
    go_form: Literal["softmax", "sigmoid", "prior"] = "softmax"
    #: Of ``prior``: weight of the part that ranks the terms without their prior.
    go_rank_weight: float = 0.5
    #: Of ``prior``: weights of the terms of MF, BP and CC in its logistic part: most terms are BP.
    go_aspect_weights: tuple[float, ...] = (1.0, 1.0, 1.0)
    #: Of ``prior``: wrong terms of a batch, drawn anew for each and each rank; they stand for all
    #: others. 0: the whole bank.
    go_negatives: int = 0
    #: Start of the factor of the cosines of GO; default: 1 / temperature.
    go_scale: float | None = None
    #: Terms with fewer training proteins (propagated) are not in the bank.
    go_min_count: int = 10
    #: What a term says of itself: its name, ``name: definition``, or the sum of both vectors.
    go_text: Literal["name", "definition", "both"] = "name"
    #: Steps after which the bank's texts are encoded anew; 0: only once.
    go_every: int = 0

    def __post_init__(self) -> None:
        weights = {name: getattr(self, name) for name in ("gc", "bsr", "mlm", "pda", "go")}
        for name, weight in weights.items():
            if not 0 <= weight < math.inf:
                raise WrongValueError(name, f"must be 0 or more, got {weight}")
        if not any(weights.values()):
            raise ValueError("every objective is switched off")
        for name in ("mask_share", "masked_proteins", "segmented_proteins", "theta"):
            if not 0 <= getattr(self, name) <= 1:
                raise WrongValueError(name, f"must be between 0 and 1, got {getattr(self, name)}")
        for name in ("prototype_temperature", "temperature", "longest_run", "go_min_count"):
            if not getattr(self, name) > 0:
                raise WrongValueError(name, f"must be above 0, got {getattr(self, name)}")
        of_aspects = self.go_aspect_weights
        if len(of_aspects) != 3 or not all(0 <= w < math.inf for w in of_aspects):
            raise WrongValueError("go_aspect_weights", "must be three numbers of 0 or more")
        for name in ("go_rank_weight", "go_negatives"):
            if not 0 <= getattr(self, name) < math.inf:
                raise WrongValueError(name, f"must be 0 or more, got {getattr(self, name)}")
        if self.go_scale is not None and not 0 < self.go_scale < math.inf:
            raise WrongValueError("go_scale", f"must be above 0, got {self.go_scale}")

    @property
    def on_residues(self) -> bool:
        """Whether any objective looks at residues, not at whole proteins alone."""
        return bool(self.mlm or self.bsr or self.pda)

    @property
    def weights(self) -> dict[str, float]:
        """Name to weight."""
        return {name: getattr(self, name) for name in ("gc", "bsr", "mlm", "pda", "go")}


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
    holdout: float = 0.005
    #: Protein tokens of a batch over all ranks, BOS and EOS counted.
    token_budget: int
    #: Proteins of a batch at most, over all ranks.
    max_pairs: int
    #: Crop lengths in residues, and the probability of each.
    crops: tuple[int, ...]
    crop_shares: tuple[float, ...]
    #: Crop the proteins of a batch to the same length, so that attention is one dense product
    #: (a protein loses a fifth of its crop at most); else each keeps its own.
    equal_lengths: bool = True
    #: Whether a batch is of proteins of similar length, as attention wants it; else of random
    #: ones, each with its own crop: less alike, and no dearer for an encoder without attention.
    by_length: bool = True
    #: Pairs of a batch (over all ranks) that take part in MLM, BSR and PDA, 0 for all: the first
    #: ones, whose proteins are cropped once more for it. GC and GO see the whole batch.
    residue_pairs: int = 0
    residue_crop: int = 256
    #: Each training protein has a share of its residues, drawn between 0 and this, replaced by
    #: others as BLOSUM62 has them, before anything else.
    mutate: float = 0.0
    #: Share of windows that begin at residue 1, where signals for targeting stand.
    n_terminal_share: float = 0.25
    #: ``sample``: a random choice of the properties; ``whole``: all of them in their order.
    texts: Literal["sample", "whole"] = "sample"
    #: Share of sampled texts without their tags, since a query is typed without them.
    tag_dropout: float = 0.25
    #: GO names of one text at most; 0 for none.
    max_go_names: int = 4
    #: Processes of each rank that put batches together; 0: the rank itself.
    workers: int = 0

    def __post_init__(self) -> None:
        if len(self.crops) != len(self.crop_shares) or abs(sum(self.crop_shares) - 1) > 1e-6:
            raise WrongValueError(
                "crop_shares", "must give each of crops a probability, adding up to 1"
            )
        if min(self.crops) < 1 or min(self.crop_shares) < 0:
            raise WrongValueError("crops", "must be lengths of 1 or more with shares of 0 or more")
        for name in ("n_terminal_share", "tag_dropout", "holdout", "mutate"):
            if not 0 <= getattr(self, name) <= 1:
                raise WrongValueError(name, f"must be between 0 and 1, got {getattr(self, name)}")
        if self.max_pairs < 2:
            raise WrongValueError("max_pairs", f"must be 2 or more, got {self.max_pairs}")
        if self.residue_crop < 1:
            raise WrongValueError("residue_crop", f"must be 1 or more, got {self.residue_crop}")
        for name in ("workers", "max_go_names", "residue_pairs"):
            if getattr(self, name) < 0:
                raise WrongValueError(name, "must be 0 or more")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Optimisation, ranks, evaluation and checkpoints."""

    seed: int
    #: The run ends after this many steps, passes over the data, or minutes of training; the
    #: learning rate follows the one that is furthest along. With minutes it is not repeatable.
    max_steps: int | None = None
    max_epochs: float | None = None
    max_minutes: float | None = None
    #: Warm-up in steps, or as a share of the run.
    warmup_steps: int = 0
    warmup_share: float = 0.0
    #: Of projections, heads and temperatures; encoders have this times ``encoder_share``.
    learning_rate: float
    encoder_share: float = 1.0
    #: Of the tables and gates of a kmer encoder, times ``learning_rate``; where it is not 1, it is
    #: in place of ``encoder_share``, and they do not decay.
    table_share: float = 1.0
    #: At the end, as a share of the peak.
    final_share: float = 0.01
    weight_decay: float = 0.01
    betas: tuple[float, ...] = (0.9, 0.98)
    clip_norm: float = 1.0
    #: Share of the past in a moving average of all parameters that learn, taken at every step;
    #: evaluation, checkpoints and exports are of the averages. It is at most
    #: (1 + step) / (10 + step). 0: none.
    ema: float = 0.0
    #: Batches of one step. Each has its own contrast: its negatives do not grow with it.
    accumulate: int = 1
    #: ``auto``: bf16 autocast on CUDA, float32 elsewhere.
    precision: Literal["auto", "float32", "bf16"] = "auto"
    #: How ranks share the work: each the whole model (ddp), or a part of it (fsdp).
    parallel: Literal["ddp", "fsdp"] = "ddp"
    #: Compute activations of encoder layers twice in place of keeping them.
    recompute: bool = False
    #: Seconds after which a rank that does not come is lost; default 60 on CPUs, 600 on CUDA.
    timeout_seconds: float | None = None
    evaluate_every: int
    evaluate_pairs: int = 1000
    #: Residues of a protein in evaluation; the rest is cut.
    evaluate_residues: int = 512
    checkpoint_seconds: float = 120.0
    #: Write a log for TensorBoard as well (a package of its own).
    tensorboard: bool = False

    def __post_init__(self) -> None:
        limits = (self.max_steps, self.max_epochs, self.max_minutes)
        if not any(limits) or min(limit for limit in limits if limit is not None) <= 0:
            raise ValueError("give max_steps, max_epochs or max_minutes, above 0")
        for name in ("learning_rate", "clip_norm", "accumulate", "evaluate_every", "table_share"):
            if not getattr(self, name) > 0:
                raise WrongValueError(name, f"must be above 0, got {getattr(self, name)}")
        for name in ("weight_decay", "encoder_share", "warmup_steps", "warmup_share"):
            if not getattr(self, name) >= 0:
                raise WrongValueError(name, f"must be 0 or more, got {getattr(self, name)}")
        if not 0 <= self.ema < 1:
            raise WrongValueError("ema", f"must be 0 or more and below 1, got {self.ema}")
        if len(self.betas) != 2:
            raise WrongValueError("betas", f"must be two numbers, got {len(self.betas)}")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One training run."""

    name: str
    protein: ProteinConfig
    text: TextConfig
    model: ModelConfig
    data: DataConfig
    objectives: ObjectivesConfig
    train: TrainConfig

    def to_dict(self) -> dict[str, Any]:
        """Return the tables as `load_saved_config` reads them."""
        content = asdict(self)
        content["protein"] |= content["protein"].pop("shape")
        return content


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
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise UsageError(reason, where=str(path), hint="give a file of train/configs") from error
    except ValueError as error:
        raise UsageError(f"is not TOML ({error})", where=str(path)) from error
    for table, key in (("data", "pairs"), ("data", "go"), ("text", "tokenizer")):
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
        raise UsageError("no configuration of a run", where=str(path)) from error
    return _run_config(content, str(path))


def changed_keys(before: RunConfig, after: RunConfig) -> list[str]:
    """Return what differs between two configurations, as ``[table] key: old -> new``."""
    old, new = before.to_dict(), after.to_dict()
    return [
        f"[{table}] {key}: {old[table].get(key)} -> {new[table].get(key)}"
        for table, values in new.items()
        if isinstance(values, dict)
        for key in sorted(values.keys() | old[table].keys())
        if _plain(old[table].get(key)) != _plain(values.get(key))
    ]


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _run_config(content: dict[str, Any], where: str) -> RunConfig:
    hints = typing.get_type_hints(RunConfig)
    check_keys(content, [item.name for item in fields(RunConfig)], where)
    made: dict[str, Any] = {}
    for name, kind in hints.items():
        value = content.get(name)
        if kind is str:
            if not isinstance(value, str) or not value:
                raise UsageError("must be a text", where=f"{where}: name")
            made[name] = value
            continue
        if value is None and name != "objectives":
            raise UsageError(f"table [{name}] is missing", where=where)
        if not isinstance(value, dict | None):
            raise UsageError("must be a table", where=f"{where}: [{name}]")
        table = dict(value or {})
        if name == "protein":
            table = _split_shape(table, f"{where}: [{name}]")
        made[name] = make_table(kind, table, f"{where}: [{name}]")
    return RunConfig(**made)


def _split_shape(table: dict[str, Any], where: str) -> dict[str, Any]:
    """Put the fields of the encoder's own configuration into ``shape``."""
    own = {item.name for item in fields(ProteinConfig)} - {"shape"}
    shape = {key: value for key, value in table.items() if key not in own}
    kind = table.get("kind", "esm2")
    if shape and kind == "esm2":
        kinds = typing.get_type_hints(Esm2Config)
        check_keys(shape, [*own, *kinds], where)
        shape = {key: typed(shape[key], kinds[key], f"{where} {key}") for key in shape}
    elif shape and kind == "kmer":
        from protclip_core.encoders.kmer_config import KmerConfig

        # It reads its own recipes; what it makes of them is not kept, but how they are written.
        try:
            KmerConfig.from_dict(shape)
        except ValueError as error:
            raise UsageError(str(error), where=where) from error
    return {key: value for key, value in table.items() if key in own} | {"shape": shape}
