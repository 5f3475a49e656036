"""The configuration of what is said of GO terms, ``[text.augment]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from train.config.tables import Natural, Share

__all__ = ["AugmentConfig", "with_paths"]

_FILES = ("release", "synonyms", "rewrites", "evidence")


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How GO terms are spoken of in training texts."""

    #: ``name``: by their names alone. ``definition``: the definition of the GO table is a second
    #: wording. ``composer``: sentences put together from a release (synonyms, definition, parents,
    #: what it is part of or regulates), other ones in every step, also in the texts of proteins.
    #: ``rewritten``: these, and those of a file.
    views: Literal["name", "definition", "composer", "rewritten"] = "definition"
    #: Release of GO, OBO or table, relative to the configuration; for ``composer``, ``rewritten``.
    release: str | None = None
    #: Release that tells the scope of synonyms, for a table that does not.
    synonyms: str | None = None
    #: File of texts, TSV or JSON Lines of term and text; for ``rewritten``.
    rewrites: str | None = None
    #: Share of wordings that are from the file, where it has any of the term.
    rewritten_share: Share = 0.5
    #: Tokens of a text of the file at most; longer ones are an error.
    rewrites_max_tokens: Natural = 256
    #: Table of annotations with evidence (accession, go_id, evidence, qualifier): terms that were
    #: found by experiment are spoken of more often, and those with NOT never.
    evidence: str | None = None

    def __post_init__(self) -> None:
        if self.composed and self.release is None:
            raise ValueError(f"views = {self.views!r} needs a release")
        if (self.views == "rewritten") != (self.rewrites is not None):
            raise ValueError("views = 'rewritten' and rewrites belong together")
        for name in ("release", "synonyms", "evidence"):
            if getattr(self, name) is not None and not self.composed:
                raise ValueError(f"{name} needs views = 'composer' or 'rewritten'")

    @property
    def composed(self) -> bool:
        """Whether sentences are put together."""
        return self.views in ("composer", "rewritten")


def with_paths(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a configuration whose files of ``[text.augment]`` are relative to a folder."""
    text = content.get("text")
    table = text.get("augment") if isinstance(text, Mapping) else None
    if not isinstance(text, Mapping) or not isinstance(table, Mapping):
        return dict(content)
    found = {
        key: str((folder / value).resolve()) if key in _FILES and isinstance(value, str) else value
        for key, value in table.items()
    }
    return {**content, "text": {**text, "augment": found}}
