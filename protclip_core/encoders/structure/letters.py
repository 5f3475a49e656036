"""A structure encoder that reads letters: the 3Di states of foldseek, as if they were residues.

Each residue gets one of 20 letters for how it lies to its nearest other (van Kempen et al. 2024);
the library mini3di makes them. The letters go through an encoder of sequences. It is cheap, and
sees less than the graph does.

Legend: B chains, L residues of one chain, T tokens, D width of a chain's vector.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from protclip_core.encoders.esm2 import Esm2
from protclip_core.encoders.kmer import KmerEncoder
from protclip_core.encoders.packing import PackedTokens, pack_sequences, pool
from protclip_core.encoders.shapes import KmerShape
from protclip_core.encoders.structure.neighbours import chain_slices
from protclip_core.encoders.structure.packing import PackedChains
from protclip_core.errors import UsageError

if TYPE_CHECKING:
    from protclip_core.encoders.shapes import LetterShape

__all__ = ["LetterEncoder", "structure_letters"]


class LetterEncoder(nn.Module):
    """Chains to vectors by their 3Di letters; used like `StructureEncoder`.

    Parameters
    ----------
    config
        Its shape.
    """

    def __init__(self, config: LetterShape) -> None:
        super().__init__()
        self.config = config
        shape = config.encoder
        self.encoder: Any = (
            KmerEncoder(shape, lm_head=False)
            if isinstance(shape, KmerShape)
            else Esm2(shape, lm_head=False)
        )

    @property
    def hidden_dim(self) -> int:
        """D."""
        return self.config.hidden_dim

    def graph(self, batch: PackedChains, generator: torch.Generator | None = None) -> PackedTokens:
        """Turn chains into letters, packed; there is no noise, and ``generator`` is not used."""
        return pack_sequences(structure_letters(batch)).to(batch.backbone.device)

    def forward(
        self, batch: PackedChains | PackedTokens, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the vectors of chains, or of what `graph` made of them, ``(B, D)``."""
        tokens = batch if isinstance(batch, PackedTokens) else self.graph(batch, generator)
        (hidden,) = self.encoder(tokens).values()
        return pool(hidden, tokens, "residues")


def structure_letters(batch: PackedChains) -> list[str]:
    """Return the 3Di letters of each chain.

    Parameters
    ----------
    batch
        The chains.

    Returns
    -------
    list of str
        L upper-case letters for each. A residue that lacks N or C, or that is the first or last
        of its chain or next to a break, has X, and so has one whose nearest other has.

    Raises
    ------
    UsageError
        mini3di is not installed.
    """
    encoder = _encoder()
    backbone = batch.backbone.double().cpu().numpy()
    starts = batch.starts.cpu().numpy()
    found = []
    for place in chain_slices(batch.lengths):
        atoms, begins = backbone[place].copy(), starts[place]
        lacking = ~np.isfinite(atoms[:, :3]).all((1, 2))
        # What it makes of a residue reads the two beside it, whoever they are.
        loose = lacking | begins | np.append(begins[1:], True)
        if loose.all():
            found.append("X" * len(atoms))
            continue
        atoms[lacking] = np.nan
        n, ca, c = atoms[:, 0], atoms[:, 1], atoms[:, 2]
        # It places the CB itself where there is none.
        states = encoder.encode_atoms(ca, np.full_like(ca, np.nan), n, c)
        letters = np.array(list(encoder.build_sequence(states)))
        letters[np.ma.getmaskarray(states) | loose] = "X"
        found.append("".join(letters))
    return found


@cache
def _encoder() -> Any:
    if find_spec("mini3di") is None:
        raise UsageError(
            "3Di letters need the library mini3di",
            code="usage.missing_library",
            hint="pip install 'protclip[structure]'",
        )
    import mini3di

    return mini3di.Encoder()
