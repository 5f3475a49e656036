"""The shape of a structure encoder as plain data. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from protclip_core.encoders.kmer_config import Share, Width
from protclip_core.io.json_fields import problem_of

__all__ = ["DESCRIPTOR_SIZES", "GvpConfig"]

#: Numbers of each descriptor that can stand beside the pooled vector.
DESCRIPTOR_SIZES = {"none": 0, "local": 32, "whole": 34}


class GvpConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shape of a graph encoder of geometric vector perceptrons (Jing et al. 2021).

    Attributes
    ----------
    scalar_dim, vector_dim
        Scalars and vectors of a residue.
    edge_dim
        Scalars of an edge; it has one vector besides.
    num_layers
        Rounds of messages; 0 leaves each residue with its own features.
    neighbours
        Residues that send a message to each: the nearest by their CA, itself left out.
    message_depth, feedforward_depth
        Perceptrons of a message, and of the block behind it.
    gate
        Whether the scalars decide how much of a vector passes, else its own length.
    dropout
        Share of the scalars, and of whole vectors, that training leaves out of each block.
    atoms
        ``"backbone"``: N, CA, C and O where the chain has them; ``"ca"``: CA alone.
    side_chain
        Whether the direction in which the side chain leaves is a feature.
    confidence
        Whether pLDDT is a feature. Chains without have it as absent.
    residues
        Whether the residue's type is a feature. A sequence can then be recognised by its
        composition, without any look at its shape.
    noise
        Deviation, in ångström, of the normal noise that training adds to each coordinate.
    descriptor
        What stands beside the pooled vector, see `descriptor`: ``"none"``, ``"local"`` (what does
        not tell the length of the chain) or ``"whole"``.
    """

    scalar_dim: Width = 128
    vector_dim: Width = 16
    edge_dim: Width = 32
    num_layers: Annotated[int, Meta(ge=0, le=1_000)] = 4
    neighbours: Annotated[int, Meta(ge=1, le=1_000)] = 30
    message_depth: Annotated[int, Meta(ge=1, le=100)] = 3
    feedforward_depth: Annotated[int, Meta(ge=1, le=100)] = 2
    gate: bool = True
    dropout: Share = 0.1
    atoms: Literal["backbone", "ca"] = "backbone"
    side_chain: bool = True
    confidence: bool = True
    residues: bool = False
    noise: Annotated[float, Meta(ge=0, le=10)] = 0.0
    descriptor: Literal["none", "local", "whole"] = "none"

    @property
    def hidden_dim(self) -> int:
        """Width of the vector of a chain."""
        return self.scalar_dim + DESCRIPTOR_SIZES[self.descriptor]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data for ``config.json``, its type left out."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return {name: value for name, value in plain.items() if name != "type"}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GvpConfig:
        """Read what `to_dict` gave, or a recipe.

        Raises
        ------
        ValueError
            A field that is unknown or of no use, by name.
        """
        plain = {name: value for name, value in values.items() if name != "type"}
        try:
            return msgspec.convert(plain, GvpConfig)
        except msgspec.ValidationError as error:
            raise ValueError(problem_of(error, plain)) from None
