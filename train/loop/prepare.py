"""What a run needs before its first step: folder, tokenizer, pairs, evaluation set, GO bank."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from protclip_core.errors import InputError, ModelError, UsageError
from train.config.run import RunConfig, load_saved_config
from train.data.batches import PairData
from train.data.composer import TextComposer
from train.data.go_bank import GoBank, make_bank
from train.data.go_terms import GoTerms
from train.data.pairs import MemoryPairs, PairSource, open_pairs
from train.data.structure_views import StructureViews
from train.data.structures import StructureSet
from train.data.texts import Part
from train.loop.evaluate import EvaluationSet
from train.loop.ranks import Ranks
from train.loop.run_folder import make_tokenizer, open_tokenizer, prepare_folder
from train.loop.trainee import Trainee
from train.loop.wordings import composer_of, wordings_of_run
from train.objectives.registry import make_objectives
from train.protanno.augment.wordings import Wordings
from train.towers.build import build_towers, text_limit, tokenizer_of
from train.towers.structure_tower import structure_shape

__all__ = ["Prepared", "make_banks", "make_trainee", "prepare", "scale_descriptors"]

_log = logging.getLogger(__name__)
#: Chains that say how descriptors are spread.
_DESCRIBED = 2_000


@dataclass(frozen=True, eq=False)
class Prepared:
    """What the steps work with.

    Attributes
    ----------
    data, validation
        Pairs to train on, and pairs held out.
    bank
        GO terms that proteins are compared with.
    every
        GO terms that are scored in evaluation: those of the bank, and with a prior all that any
        training protein has.
    vocab_size
        Of the tokenizer.
    wordings
        Of the GO terms; ``None`` without a table of them.
    """

    data: PairData
    validation: EvaluationSet
    bank: GoBank | None
    every: GoBank | None
    vocab_size: int
    wordings: Wordings | None = None


def prepare(
    config: RunConfig,
    run_dir: Path,
    ranks: Ranks,
    *,
    data_path: Path | None,
    go_path: Path | None,
    resume: bool,
    structures_path: Path | None = None,
) -> Prepared:
    """Read the pairs and everything that belongs to them.

    The first rank makes what all read from the folder of the run; the others wait for it.

    Raises
    ------
    UsageError, InputError, ModelError
        Settings or data that cannot be used.
    """
    data_path, go_path = _paths(config, data_path, go_path)
    terms = GoTerms(go_path) if go_path else None
    views = _open_structures(config, structures_path)
    structures: Container[str] = () if views is None else views.structures
    if ranks.first:
        prepare_folder(
            run_dir,
            config.to_dict(),
            lambda saved: load_saved_config(saved).to_dict(),
            resume=resume,
        )
        _make_tokenizer(config, run_dir, data_path, terms, structures)
        if data_path.is_dir():
            for split in (config.data.train_split, config.data.valid_split):
                open_pairs(data_path, split, config.data, None, terms, run_dir)
        ranks.prepared()
    else:
        ranks.wait_for_first()
    tokenizer = open_tokenizer(run_dir)
    shared = {"max_go_names": config.data.max_go_names, "tag_dropout": config.data.tag_dropout}
    train, valid = (
        open_pairs(data_path, split, config.data, tokenizer, terms, run_dir, structures)
        for split in (config.data.train_split, config.data.valid_split)
    )
    augment, folder = config.text.augment, run_dir if ranks.first else None
    wordings = wordings_of_run(augment, terms, config.train.seed, tokenizer, folder)
    texts = composer_of(augment, wordings, train, tokenizer, text_limit(config), **shared)
    _log.info("%d pairs to train on, %d held out", len(train), len(valid))
    if views is not None and isinstance(train, MemoryPairs) and isinstance(valid, MemoryPairs):
        _tell_structures(views, train, valid)
    settings = config.train
    seen = views if config.objectives.on_structures else None
    validation = EvaluationSet.draw(
        valid, texts, settings.evaluate_pairs, settings.evaluate_residues, seen
    )
    data = PairData(
        train,
        texts,
        config.data,
        config.objectives,
        settings.seed,
        rank=ranks.rank,
        ranks=ranks.world,
    )
    data.views = seen
    bank = every = None
    if terms is not None:
        bank, every = make_banks(config, terms, train, texts, wordings)
    if bank is not None:
        _log.info("%d GO terms in the bank", len(bank.columns))
    return Prepared(data, validation, bank, every, tokenizer.get_vocab_size(), wordings)


def make_banks(
    config: RunConfig,
    terms: GoTerms,
    train: PairSource,
    texts: TextComposer,
    wordings: Wordings | None = None,
) -> tuple[GoBank | None, GoBank | None]:
    """Return the GO terms to train on, and the terms to score; ``None`` where there are too few.

    Raises
    ------
    InputError
        They are too few, and GO is among the objectives.
    """
    on, counts = config.objectives, train.go_counts()
    if not on.go and counts.max() < on.go_min_count:
        return None, None
    annotated = train.go_annotated()
    bank, every = (
        make_bank(
            terms,
            counts,
            texts,
            least=least,
            kind=on.go_text,
            annotated=annotated,
            wordings=wordings,
        )
        for least in (on.go_min_count, 1)
    )
    return bank, every if on.go and on.go_form == "prior" else bank


def make_trainee(
    config: RunConfig, vocab_size: int, bank: GoBank | None, device: torch.device | str = "cpu"
) -> Trainee:
    """Build the model with what only training needs; without a bank, GO is left out."""
    objectives, precision = config.objectives, config.train.precision
    cuda = torch.device(device).type == "cuda"
    return Trainee(
        build_towers(config, vocab_size),
        make_objectives(objectives, bank),
        objectives.weights,
        bf16=precision == "bf16" or (precision == "auto" and cuda),
    ).to(device)


def _open_structures(config: RunConfig, path: Path | None) -> StructureViews | None:
    """Open the structures, where the objectives look at any or proteins without are left out."""
    if not (config.objectives.on_structures or config.data.structures_only):
        return None
    if path is None and config.data.structures is None:
        raise UsageError(
            "no structures to train on",
            code="usage.missing_option",
            where="[data] structures",
            hint="give them with --structures",
        )
    own = config.structure
    shape = None if own is None else structure_shape(own)
    # Two pieces that bring what describes their whole chain would be told by that alone.
    alone = bool(config.objectives.intra_structure)
    described = shape is not None and shape.descriptor != "none" and not alone
    found = StructureSet(path or Path(str(config.data.structures)))
    return StructureViews(found, config.data.structure_crops, described=described)


def _tell_structures(views: StructureViews, train: MemoryPairs, valid: MemoryPairs) -> None:
    """Say how many proteins have a structure; refuse to train without any.

    Raises
    ------
    InputError
        None has.
    """
    train_has, valid_has = (
        sum(name in views.structures for name in source.accessions) for source in (train, valid)
    )
    _log.info("of these, %d and %d have a structure", train_has, valid_has)
    if not train_has:
        raise InputError(
            "holds no structure of a protein to train on",
            code="input.empty_split",
            where=str(views.structures.path),
            hint="ids must name the accessions of the pairs; see python -m train.structures --help",
        )


def scale_descriptors(config: RunConfig, model: Trainee, ready: Prepared) -> None:
    """Let a fresh structure encoder know how descriptors are spread among training proteins."""
    encoder, views = model.towers.structure_encoder, ready.data.views
    own = config.structure
    if views is None or own is None or own.weights or encoder.config.descriptor == "none":
        return
    source = ready.data.source
    order = np.random.default_rng(0).permutation(len(source.lengths)).tolist()
    found = (views.structures.rows(source.accession(row)) for row in order)
    chains = list(islice((row for rows in found for row in rows), _DESCRIBED))
    encoder.scale_descriptors(views.descriptors(chains).to(model.towers.logit_scale.device))


def _make_tokenizer(
    config: RunConfig,
    run_dir: Path,
    data_path: Path,
    terms: GoTerms | None,
    structures: Container[str],
) -> None:
    """See to ``tokenizer.json``: the existing one, the one that is given, or a new one."""

    def texts() -> Iterator[tuple[Part, ...]]:
        split = config.data.train_split
        return open_pairs(data_path, split, config.data, None, terms, run_dir, structures).texts()

    given = tokenizer_of(config)
    content = None if given is None else given.to_str().encode()
    make_tokenizer(run_dir, content, texts, config.text.vocab_size)


def _paths(
    config: RunConfig, data_path: Path | None, go_path: Path | None
) -> tuple[Path, Path | None]:
    if data_path is None and config.data.pairs is None:
        raise UsageError(
            "no pairs to train on",
            code="usage.missing_option",
            where="[data] pairs",
            hint="give them with --data",
        )
    if go_path is None and config.data.go is not None:
        go_path = Path(config.data.go)
    if go_path is not None and not go_path.is_file():
        raise ModelError(
            "no such file",
            code="model.not_found",
            where=str(go_path),
            hint="give the GO table with --go",
        )
    if go_path is None and config.objectives.go:
        raise UsageError(
            "needs a table of GO terms",
            code="usage.missing_option",
            where="[objectives] go",
            hint="give --go",
        )
    return data_path or Path(str(config.data.pairs)), go_path
