"""Which form the projections of a model have, as plain data. No torch here.

A model without a `ProjectionForm` has the plain form: Linear, ReLU, Linear, its inner width that
of the joint space. See `protclip_core.encoders.projection` for what computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

__all__ = ["ProjectionForm"]

#: Beside the plain form, which is not written down.
_FORMS = ("skip",)


@dataclass(frozen=True, kw_only=True)
class ProjectionForm:
    """Form of the projections from encoder vectors into the joint space.

    Attributes
    ----------
    form
        ``"skip"``, see `protclip_core.encoders.projection.SkipProjection`.
    hidden_dim
        Width between its two layers.
    protein_dim
        How many entries of a protein's vector are read, from the first; ``None`` for all. It is
        the width of the encoder's input, which a k-mer encoder with ``keep_input`` puts first.

    Raises
    ------
    ValueError
        A form that is not known, or a width that is no whole number of at least 1.
    """

    form: str
    hidden_dim: int
    protein_dim: int | None = None

    def __post_init__(self) -> None:
        if self.form not in _FORMS:
            raise ValueError(f"form is {self.form!r}, not {' or '.join(map(repr, _FORMS))}")
        _whole(self.hidden_dim, "hidden_dim")
        if self.protein_dim is not None:
            _whole(self.protein_dim, "protein_dim")

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
        found: dict[str, Any] = {"form": self.form, "hidden_dim": self.hidden_dim}
        return found if self.protein_dim is None else {**found, "protein_dim": self.protein_dim}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ProjectionForm:
        """Read what `to_dict` gave.

        Raises
        ------
        ValueError
            No object, or a field that is missing, unknown or of no use, by name.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"{values!r} is no object")  # noqa: TRY004
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"has unknown {', '.join(map(repr, unknown[:3]))}")
        for name in ("form", "hidden_dim"):
            if name not in values:
                raise ValueError(f"does not say 'projection.{name}'")
        return cls(**values)


def _whole(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is {value!r}, not a whole number of at least 1")
