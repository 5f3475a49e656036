"""The head that a command for pairs uses: a file, or the one that comes with protclip."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from protclip_core.errors import ModelError
from protclip_core.heads.pair_features import recipe_of

if TYPE_CHECKING:
    from protclip_core.heads import Head

__all__ = ["DEFAULT_HEAD", "default_head_path", "load_pair_head"]

#: Name of the file in the folder of the default model.
DEFAULT_HEAD = "ppi.head"


def default_head_path() -> Path:
    """Return where the head is that comes with the default model.

    Raises
    ------
    ModelError
        The model's folder does not have it.
    """
    from protclip_core.models.info import DEFAULT_MODEL, describe_model

    bundle = describe_model(DEFAULT_MODEL).bundle
    if bundle is None or DEFAULT_HEAD not in bundle.files:
        raise ModelError(
            f"model {DEFAULT_MODEL} does not have a head for pairs",
            code="model.no_head",
            hint="give one with --head, or make one with protclip ppi train",
        )
    bundle.verify((DEFAULT_HEAD,))
    return bundle.path / DEFAULT_HEAD


def load_pair_head(path: Path | None) -> tuple[Head, str]:
    """Load a head for pairs, the default one for None; give it with its name for messages.

    Raises
    ------
    ModelError
        As `protclip_core.heads.load_head`; a head for single proteins.
    """
    from protclip_core.heads import load_head

    found = default_head_path() if path is None else path
    head = load_head(found)
    recipe_of(head.card.input, str(found))
    return head, str(found)
