"""A loaded structure encoder: chains in, vectors out, whatever else is in the batch.

Legend: B chains, D width of the encoder, P joint width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from protclip_core.encoders.structure.packing import pack_chains
from protclip_core.encoders.windows import token_batches
from protclip_core.errors import InputError, UsageError
from protclip_core.io.structures.chain import Chain
from protclip_core.models.info import ModelInfo

__all__ = ["DEFAULT_BATCH_RESIDUES", "StructureModel"]

#: Residues that go through the encoder together on a CPU, which gains nothing beyond.
DEFAULT_BATCH_RESIDUES = 1024


class StructureModel:
    """A structure encoder with its projection into the joint space.

    Get one from `load_structure_model`, or as `structure_model` of a model that has one. Its
    methods may be called from several threads at once.

    Parameters
    ----------
    info
        What the model is; ``info.structure_encoder`` is its shape.
    encoder
        `StructureEncoder` or `LetterEncoder`, float32.
    projection
        Into the joint space.
    device
        Where it runs; products are float32.
    """

    def __init__(
        self, info: ModelInfo, encoder: nn.Module, projection: nn.Module, device: torch.device
    ) -> None:
        assert info.bundle is not None
        assert info.structure_encoder is not None
        assert info.joint_dim is not None
        self.info, self.device = info, device
        #: Identity of the model whose joint space this is, and of the structure encoder itself.
        self.weights_sha256 = info.bundle.weights_sha256
        self.structure_sha256 = info.bundle.structure_sha256
        self.hidden_dim, self.joint_dim = info.structure_encoder.hidden_dim, info.joint_dim
        self._encoder = encoder.to(device).eval()
        self._projection = projection.to(device).eval()

    def dim(self, space: str) -> int:
        """Width of the vectors in a space."""
        if space not in ("encoder", "joint"):
            raise UsageError(
                f"space {space!r} is not known",
                code="usage.unknown_value",
                hint="use encoder or joint",
            )
        return self.joint_dim if space == "joint" else self.hidden_dim

    def embed(self, chains: Sequence[Chain], *, space: str = "joint") -> npt.NDArray[np.float32]:
        """Embed chains, one vector each.

        Parameters
        ----------
        chains
            Of any length, whole; `protclip_core.io.structures` reads them from files.
        space
            ``"joint"`` for unit vectors to be compared with proteins and texts, or ``"encoder"``.

        Returns
        -------
        numpy.ndarray
            Shape ``(B, P)`` or ``(B, D)``, float32, rows in input order.

        Raises
        ------
        InputError
            A chain without residues.
        UsageError
            An unknown space.
        """
        found = np.empty((len(chains), self.dim(space)), np.float32)
        for chain in chains:
            if not len(chain):
                raise InputError("has no residues", code="input.empty", where=chain.id)
        order = sorted(range(len(chains)), key=lambda i: len(chains[i]))
        for batch in token_batches([len(chains[i]) for i in order], DEFAULT_BATCH_RESIDUES):
            chosen = [order[i] for i in batch]
            found[chosen] = self.embed_batch([chains[i] for i in chosen], space)
        return found

    @torch.inference_mode()
    def embed_batch(self, chains: Sequence[Chain], space: str = "joint") -> npt.NDArray[np.float32]:
        """Embed a few chains in one go, at least one residue each; as `embed`."""
        self.dim(space)
        vectors = self._encoder(pack_chains(chains).to(self.device)).float()
        if space == "joint":
            vectors = F.normalize(self._projection(vectors), dim=-1)
        found: npt.NDArray[np.float32] = vectors.cpu().numpy()
        return found
