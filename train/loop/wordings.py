"""The wordings of a run: opened, noted in its folder, and named in the card of its model."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from protclip_core.errors import UsageError
from protclip_core.io.atomic import write_atomic
from train.config.augment import AugmentConfig
from train.data.composer import TextComposer
from train.data.go_terms import GoTerms
from train.data.pairs import PairSource
from train.data.protein_texts import SentenceTexts
from train.data.term_space import specificity
from train.protanno.augment.evidence import Evidence
from train.protanno.augment.wordings import Wordings, open_wordings

__all__ = ["RECORD", "card_section", "composer_of", "wordings_of_run"]

_log = logging.getLogger(__name__)
#: What the folder of a run says of its wordings.
RECORD = "texts.json"


def wordings_of_run(
    config: AugmentConfig,
    terms: GoTerms | None,
    seed: int,
    tokenizer: Tokenizer,
    run_dir: Path | None,
) -> Wordings | None:
    """Open the wordings of a run, and note in its folder which they are.

    Parameters
    ----------
    config
        ``[text.augment]``.
    terms
        The table of GO; ``None`` where the run has none.
    seed, tokenizer
        Of the run.
    run_dir
        Its folder, where this process is the one that writes to it.

    Returns
    -------
    Wordings or None
        ``None`` without a table of GO.

    Raises
    ------
    UsageError
        Sentences are to be composed, and there is no table of GO.
    ModelError, InputError
        A file cannot be used.
    """
    if terms is None:
        if config.composed:
            raise UsageError(
                "needs a table of GO terms",
                code="usage.missing_option",
                where="[text.augment] views",
                hint="give --go",
            )
        return None

    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    found = open_wordings(config, terms, seed, count=count)
    if run_dir is not None and config.composed:
        _note(run_dir / RECORD, found.record)
    return found


def composer_of(
    config: AugmentConfig,
    wordings: Wordings | None,
    source: PairSource,
    tokenizer: Tokenizer,
    max_tokens: int,
    **options: Any,
) -> TextComposer:
    """Return what makes texts of proteins: in sentences where these are composed.

    ``source`` are the training pairs, by which terms are rare or common; ``options`` are those of
    `TextComposer`.
    """
    if wordings is None or not wordings.composed:
        return TextComposer(tokenizer, max_tokens, **options)
    content = specificity(source.go_counts(), source.go_annotated())
    evidence = None
    if config.evidence is not None:
        evidence = Evidence(config.evidence, wordings.terms)
        _log.info("%d annotations with evidence", evidence.annotations)
    return SentenceTexts(tokenizer, max_tokens, wordings, content, evidence, **options)


def card_section(run_dir: Path) -> str:
    """Return the part of a model card that names the wordings of a run; empty where it had none."""
    path = run_dir / RECORD
    if not path.exists():
        return ""
    record = json.loads(path.read_text(encoding="utf-8"))
    release = record["release"] or "without a date"
    lines = [
        "## Texts of GO terms",
        "",
        (
            f"Sentences composed from GO, release {release} (Gene Ontology Consortium, CC BY "
            f"4.0), which has {record['terms_in_release']:,} of {record['terms']:,} terms."
        ),
        "",
        *(f"- sha256 `{digest}`" for digest in record["release_sha256"]),
    ]
    own = record.get("rewrites")
    if own:
        lines.append(
            f"- a file of {own['texts']:,} rewritten texts of {own['terms_covered']:,} terms, "
            f"sha256 `{own['sha256']}`"
        )
    return "\n".join([*lines, ""])


def _note(path: Path, record: dict[str, Any]) -> None:
    text = json.dumps(record, indent=2) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        _log.warning("%s: resumed with other texts of GO terms", path)
    write_atomic(path, text.encode())
