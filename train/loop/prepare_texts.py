"""What the training of a text tower needs before its first step: tokenizer, corpus, evaluation."""

from __future__ import annotations

from pathlib import Path

from train.config.text import TextRunConfig
from train.data.composer import TextComposer
from train.data.go_terms import GoTerms
from train.data.pairs import MemoryPairs, ShardPairs, open_pairs
from train.data.text_views import TextViews
from train.data.texts import GO_TAG, Part
from train.loop.evaluate_texts import TextEvaluation
from train.loop.run_folder import make_tokenizer
from train.loop.wordings import composer_of, wordings_of_run

__all__ = ["prepare_texts"]


def prepare_texts(
    config: TextRunConfig, run_dir: Path, data_path: Path, terms: GoTerms
) -> tuple[TextViews, TextEvaluation, int]:
    """Return the corpus, the evaluation, and the size of the vocabulary.

    The tokenizer is trained on the texts of proteins and those of GO, unless one is given.
    """

    def corpus() -> list[tuple[Part, ...]]:
        told = [
            (Part(GO_TAG, (name, text) if text else (name,)),)
            for name, text in zip(terms.names, terms.definitions)
        ]
        pairs = open_pairs(data_path, config.train_split, config.pairs(), None, terms, run_dir)
        return [*pairs.texts(), *told]

    given = Path(config.text.tokenizer).read_bytes() if config.text.tokenizer else None
    tokenizer = make_tokenizer(run_dir, given, corpus, config.text.vocab_size)

    def pairs_of(split: str) -> MemoryPairs | ShardPairs:
        return open_pairs(data_path, split, config.pairs(), tokenizer, terms, run_dir)

    seed, number = config.train.seed, config.train.evaluate_pairs
    augment, train = config.text.augment, pairs_of(config.train_split)
    wordings = wordings_of_run(augment, terms, seed, tokenizer, run_dir)
    texts = composer_of(augment, wordings, train, tokenizer, config.max_tokens, tag_dropout=0.5)
    views = TextViews(terms, train, texts, config.projection_dim, seed, wordings)
    plain = TextComposer(tokenizer, config.max_tokens, max_go_names=0)
    evaluation = TextEvaluation(views, pairs_of(config.valid_split), plain, number, seed)
    return views, evaluation, tokenizer.get_vocab_size()
