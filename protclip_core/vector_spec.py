"""How vectors were made: what a store, a head and an index say of it, and how two differ."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

__all__ = ["IDENTITY", "SEQUENCE", "STRUCTURE", "VectorSpec"]

#: Fields in which comparable vectors agree; the others change only how exact a number is, or what
#: becomes of proteins longer than one window.
IDENTITY = ("weights_sha256", "config_sha256", "pooling", "space", "layer")
#: Attributes of a store that have another name than the field.
_ATTRIBUTES = {"dtype": "compute_dtype"}
_HASH_SHOWN = 12
#: Modalities; stores of sequences do not say theirs.
SEQUENCE, STRUCTURE = "sequence", "structure"


@dataclass(frozen=True, kw_only=True)
class VectorSpec:
    """How vectors were made; an empty string or None stands for what is not known.

    Attributes
    ----------
    model
        Name of the model; vectors of another program have no more than this.
    weights_sha256, config_sha256
        Identity of the model.
    pooling
        ``"residues"`` or ``"tokens"``.
    space
        ``"encoder"`` or ``"joint"``.
    layer
        From 0, the input vectors, to the number of layers.
    dtype
        Arithmetic of the model: ``"float32"``, ``"bfloat16 (cuda)"``.
    long
        Proteins longer than one window: ``"window"`` (averaged) or ``"truncate"``.
    max_residues, overlap
        Width of a window and overlap of neighbouring windows, in residues.
    modality
        ``"structure"`` where structures were embedded; sequences otherwise. In the joint space
        vectors of both can be compared.
    structure_sha256
        Identity of the structure encoder; ``weights_sha256`` is that of the model whose joint
        space it has.

    Examples
    --------
    >>> one = VectorSpec(model="esm2-8m", weights_sha256="ab", pooling="tokens")
    >>> one.diff(VectorSpec(model="other", weights_sha256="ab", pooling="residues"))
    ['pooling: tokens, not residues']
    """

    model: str = ""
    weights_sha256: str = ""
    config_sha256: str = ""
    pooling: str = ""
    space: str = ""
    layer: int | None = None
    dtype: str = ""
    long: str = ""
    max_residues: int | None = None
    overlap: int | None = None
    modality: str = ""
    structure_sha256: str = ""

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, object]) -> Self:
        """Read the attributes of an embedding store; those of another program say nothing."""
        return cls.from_dict({f: attributes.get(_ATTRIBUTES.get(f, f)) for f in _FIELDS})

    def to_attributes(self) -> dict[str, str | int]:
        """Return what a store says of its vectors: attributes by name, without unknown ones."""
        return {_ATTRIBUTES.get(f, f): value for f, value in self.to_dict().items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, object]) -> Self:
        """Read plain data, as `to_dict` gives them.

        Raises
        ------
        ValueError, TypeError
            A number that is not an integer.
        """
        known: dict[str, Any] = {f: content[f] for f in _FIELDS if content.get(f) is not None}
        numbers = ("layer", "max_residues", "overlap")
        known = {f: int(v) if f in numbers else str(v) for f, v in known.items()}
        return cls(**known)

    def to_dict(self) -> dict[str, str | int]:
        """Return the known fields as plain data, in the order of the class."""
        found = {f: getattr(self, f) for f in _FIELDS}
        return {f: value for f, value in found.items() if value not in ("", None)}

    @property
    def is_named(self) -> bool:
        """Whether the model is known by its weights, not by a name that someone gave."""
        return bool(self.weights_sha256)

    def diff(self, other: VectorSpec, names: Collection[str] = IDENTITY) -> list[str]:
        """Say how these vectors differ from others.

        Parameters
        ----------
        other
            How the others were made.
        names
            The fields to compare. The model's name counts only where weights are not known.

        Returns
        -------
        list of str
            One for each field, ``"pooling: tokens, not residues"``; empty where none differs.
        """
        names = list(names)
        if self.modality != other.modality:
            # In the joint space they can be compared, and what is before it is of each encoder.
            if self.space == other.space == "joint":
                names = [name for name in names if name not in ("pooling", "layer")]
            else:
                names.append("modality")
        elif self.of_structures:
            names.append("structure_sha256")
        if not (self.is_named and other.is_named):
            names.insert(0, "model")
        return [
            f"{name}: {self._shown(name)}, not {other._shown(name)}"
            for name in names
            if getattr(self, name) != getattr(other, name)
        ]

    def _shown(self, name: str) -> str:
        return (self.modality or SEQUENCE) if name == "modality" else _shown(getattr(self, name))

    @property
    def of_structures(self) -> bool:
        """Whether structures were embedded."""
        return self.modality == STRUCTURE


_FIELDS = tuple(f.name for f in fields(VectorSpec))


def _shown(value: object) -> str:
    text = "unknown" if value in ("", None) else str(value)
    is_hash = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return f"{text[:_HASH_SHOWN]}…" if is_hash else text
