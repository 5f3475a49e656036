"""What a run needs before its first step: the folder, tokenizer, pairs, evaluation set, GO bank."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from protclip_core.errors import ModelError, UsageError
from protclip_core.io.atomic import disk_error, write_atomic
from train.config.run import RunConfig, changed_keys, load_saved_config
from train.data.batches import PairData
from train.data.composer import TextComposer
from train.data.go_bank import GoBank, make_bank
from train.data.go_terms import GoTerms
from train.data.pairs import PairSource, open_pairs
from train.data.texts import train_tokenizer
from train.loop.evaluate import EvaluationSet
from train.loop.ranks import Ranks
from train.loop.trainee import Trainee
from train.towers.building import build_towers, text_limit, tokenizer_of

__all__ = ["Prepared", "make_banks", "make_trainee", "open_tokenizer", "prepare", "prepare_folder"]

_log = logging.getLogger(__name__)
TOKENIZER, CONFIG = "tokenizer.json", "config.json"


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
    """

    data: PairData
    validation: EvaluationSet
    bank: GoBank | None
    every: GoBank | None
    vocab_size: int


def prepare(
    config: RunConfig,
    run_dir: Path,
    ranks: Ranks,
    *,
    data_path: Path | None,
    go_path: Path | None,
    resume: bool,
) -> Prepared:
    """Read the pairs, and whatever belongs to them.

    The first rank makes what all read from the folder of the run; the others wait for it.

    Raises
    ------
    UsageError, InputError, ModelError
        Settings or data that cannot be used.
    """
    data_path, go_path = _paths(config, data_path, go_path)
    terms = GoTerms(go_path) if go_path else None
    if ranks.first:
        prepare_folder(config, run_dir, resume=resume)
        _make_tokenizer(config, run_dir, data_path, terms)
        if data_path.is_dir():
            for split in (config.data.train_split, config.data.valid_split):
                open_pairs(data_path, split, config.data, None, terms, run_dir)
        ranks.prepared()
    else:
        ranks.wait_for_first()
    tokenizer = open_tokenizer(run_dir)
    shared = {"max_go_names": config.data.max_go_names, "tag_dropout": config.data.tag_dropout}
    texts = TextComposer(tokenizer, text_limit(config), **shared)  # type: ignore[arg-type]
    train, valid = (
        open_pairs(data_path, split, config.data, tokenizer, terms, run_dir)
        for split in (config.data.train_split, config.data.valid_split)
    )
    _log.info("%d pairs to train on, %d held out", len(train), len(valid))
    settings = config.train
    validation = EvaluationSet.draw(
        valid, texts, settings.evaluate_pairs, settings.evaluate_residues
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
    bank, every = make_banks(config, terms, train, texts) if terms is not None else (None, None)
    if bank is not None:
        _log.info("%d GO terms in the bank", len(bank.columns))
    return Prepared(data, validation, bank, every, tokenizer.get_vocab_size())


def make_banks(
    config: RunConfig, terms: GoTerms, train: PairSource, texts: TextComposer
) -> tuple[GoBank | None, GoBank | None]:
    """Return the GO terms to train on, and those to score; ``None`` where they are too few.

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
        make_bank(terms, counts, texts, least=least, kind=on.go_text, annotated=annotated)
        for least in (on.go_min_count, 1)
    )
    return bank, every if on.go and on.go_form == "prior" else bank


def make_trainee(
    config: RunConfig, vocab_size: int, bank: GoBank | None, *, bf16: bool = False
) -> Trainee:
    """Build the model with what only training needs."""
    return Trainee(build_towers(config, vocab_size), config.objectives, bank, bf16=bf16)


def prepare_folder(config: RunConfig, run_dir: Path, *, resume: bool) -> None:
    """Begin a folder, or look at the one that is there.

    Raises
    ------
    UsageError
        It holds a run and is not to be resumed, or cannot be written.
    ModelError
        It holds none and is to be resumed.
    """
    saved = run_dir / CONFIG
    if resume and not saved.exists():
        raise ModelError("no checkpoint to resume from", where=str(run_dir))
    if not resume and saved.exists():
        raise UsageError("holds a run already", where=str(run_dir), hint="add --resume")
    if resume:
        for change in changed_keys(load_saved_config(saved), config):
            _log.warning("resumed with another setting: %s", change)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, run_dir) from error
    write_atomic(saved, (json.dumps(config.to_dict(), indent=2) + "\n").encode())


def open_tokenizer(run_dir: Path) -> Tokenizer:
    """Open the tokenizer of a run."""
    return Tokenizer.from_file(str(run_dir / TOKENIZER))


def _make_tokenizer(
    config: RunConfig, run_dir: Path, data_path: Path, terms: GoTerms | None
) -> None:
    """See to ``tokenizer.json``: the one that is there, the one that is named, or a new one.

    Training one breaks ties between equally frequent pieces at random, so a run that is to be
    repeated exactly names the ``tokenizer.json`` of the first.
    """
    path = run_dir / TOKENIZER
    if path.exists():
        return
    tokenizer = tokenizer_of(config)
    if tokenizer is None:
        split = config.data.train_split
        pairs = open_pairs(data_path, split, config.data, None, terms, run_dir)
        tokenizer = train_tokenizer(pairs.texts(), config.text.vocab_size)
    write_atomic(path, tokenizer.to_str().encode())


def _paths(
    config: RunConfig, data_path: Path | None, go_path: Path | None
) -> tuple[Path, Path | None]:
    if data_path is None and config.data.pairs is None:
        raise UsageError("no pairs to train on", where="[data] pairs", hint="name them with --data")
    if go_path is None and config.data.go is not None:
        go_path = Path(config.data.go)
    if go_path is not None and not go_path.is_file():
        raise ModelError("no such file", where=str(go_path), hint="name the GO table with --go")
    if go_path is None and config.objectives.go:
        raise UsageError("needs a table of GO terms", where="[objectives] go", hint="give --go")
    return data_path or Path(str(config.data.pairs)), go_path
