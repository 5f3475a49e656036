"""Which form the projections of a model have, as plain data. No torch here.

A model without a `ProjectionForm` has the plain form: Linear, ReLU, Linear, its inner width that
of the joint space. See `protclip_core.encoders.projection` for what computes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, to_builtins
from msgspec.structs import replace

__all__ = ["ProjectionForm"]

_Width = Annotated[int, Meta(ge=1, le=100_000)]


class ProjectionForm(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Form of the projections from encoder vectors into the joint space.

    Attributes
    ----------
    form
        ``"skip"``, see `protclip_core.encoders.projection.SkipProjection`. The plain form is
        not written down.
    hidden_dim
        Width between its two layers.
    protein_dim
        How many entries of a protein's vector are read, from the first; ``None`` for all. It is
        the width of the encoder's input, which a k-mer encoder with ``keep_input`` puts first.
    """

    form: Literal["skip"]
    hidden_dim: _Width
    protein_dim: _Width | None = None

    def for_texts(self) -> ProjectionForm:
        """Return the form of the text side, which reads whole vectors."""
        return replace(self, protein_dim=None)

    def in_words(self) -> str:
        """Describe the form in a line, for people."""
        words = f"{self.form} connection past a hidden layer of {self.hidden_dim}"
        if self.protein_dim is None:
            return words
        return f"{words}; reads the encoder's input of {self.protein_dim}"

    def to_dict(self) -> dict[str, Any]:
        """Return ``projection`` of ``config.json``; ``protein_dim`` only where there is one."""
        found: dict[str, Any] = to_builtins(self)
        return found
