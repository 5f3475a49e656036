"""What training says of GO terms: names, definitions, composed sentences, a user's texts.

`open_wordings` opens what ``[text.augment]`` asks for. `Wordings.views` gives two texts of a term
for a contrast of text with text; those of a protein are `TextComposer.views`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from protclip_core.records import counted
from train.config.augment import AugmentConfig
from train.data.go_terms import GoTerms
from train.protanno.augment.composer import TermComposer
from train.protanno.augment.release import read_release
from train.protanno.augment.rewrites import Rewrites, read_rewrites

__all__ = ["Wordings", "open_wordings"]

_log = logging.getLogger(__name__)
#: First word of the seeds.
_WORDING = 22


class Wordings:
    """Texts of the terms of a GO table, each a function of seed, term, epoch and view.

    Parameters
    ----------
    terms
        The table; its names and definitions are said where nothing else is.
    seed
        Of the run.
    definitions
        Whether the table's definitions are wordings.
    composer
        Says terms of a release in other words.
    rewrites, share
        A user's texts, and how often one of them is taken where there is any.
    record
        What the record of a run says of where texts come from.
    """

    def __init__(
        self,
        terms: GoTerms,
        seed: int,
        *,
        definitions: bool = False,
        composer: TermComposer | None = None,
        rewrites: Rewrites | None = None,
        share: float = 0.5,
        record: dict[str, Any] | None = None,
    ) -> None:
        self.terms, self.seed, self.composer = terms, seed, composer
        self.record = record or {}
        self._definitions = definitions
        self._texts = rewrites.texts if rewrites is not None else {}
        self._share = share

    @property
    def composed(self) -> bool:
        """Whether there is more than names and definitions."""
        return self.composer is not None

    def defines(self, term: int) -> bool:
        """Whether the table's definition of a term is one of its wordings."""
        return self._definitions and bool(self.terms.definitions[term])

    def text(self, term: int, epoch: int, view: int = 0) -> str:
        """Return a wording of a term of the table.

        A term that the release does not have, or has no more, is said by its name, or name and
        definition of the table.
        """
        id = self.terms.ids[term]
        if own := self._texts.get(id):
            rng = np.random.default_rng((self.seed, _WORDING, term, epoch))
            if rng.random() < self._share:
                # Views of an epoch differ as long as there are texts enough.
                order = rng.permutation(len(own))
                return own[int(order[view % len(own)])]
        if self.composer is not None and id in self.composer:
            return self.composer.compose(id, epoch, view)
        if self._definitions or self.composer is not None:
            return self.terms.text(term, "definition" if view else "name")
        return self.terms.names[term]

    def views(self, term: int, epoch: int) -> tuple[str, str]:
        """Return two wordings of a term; equal where there is only one."""
        return self.text(term, epoch, 0), self.text(term, epoch, 1)


def open_wordings(
    config: AugmentConfig, terms: GoTerms, seed: int, *, count: Callable[[str], int] | None = None
) -> Wordings:
    """Open what ``[text.augment]`` asks for.

    Parameters
    ----------
    config
        The table of the configuration.
    terms
        The table of GO that the run is trained with.
    seed
        Of the run.
    count
        Tokens of a text; by default its words.

    Raises
    ------
    ModelError, InputError
        A file is missing or cannot be used.
    """
    if not config.composed:
        record: dict[str, Any] = {"views": config.views}
        return Wordings(terms, seed, definitions=config.views == "definition", record=record)
    release = read_release(str(config.release), scopes=config.synonyms)
    there = sum(id in release.terms for id in terms.ids)
    _log.info("release %s of GO has %d of the %s", release.name, there, counted(len(terms), "term"))
    record = {
        "views": config.views,
        "release": release.name,
        "release_sha256": list(release.sha256),
        "terms": len(terms),
        "terms_in_release": there,
    }
    rewrites = None
    if config.rewrites is not None:
        limits = {"most": config.rewrites_max_tokens, **({"count": count} if count else {})}
        rewrites = read_rewrites(config.rewrites, release, **limits)  # type: ignore[arg-type]
        covered = sum(id in rewrites.texts for id in terms.ids)
        _log.info("%s has texts of %d of the terms", config.rewrites, covered)
        record |= {"rewrites": rewrites.record, "rewritten_share": config.rewritten_share}
    if config.evidence is not None:
        data = Path(config.evidence).read_bytes() if Path(config.evidence).is_file() else b""
        record["evidence_sha256"] = hashlib.sha256(data).hexdigest()
    return Wordings(
        terms,
        seed,
        composer=TermComposer(release, seed),
        rewrites=rewrites,
        share=config.rewritten_share,
        record=record,
    )
