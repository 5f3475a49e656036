"""Encoders of protein structures: chains in, one vector each out.

`pack_chains` makes a batch of `protclip_core.io.structures.chain.Chain`, `StructureEncoder` makes
vectors of it.
"""

from protclip_core.encoders.gvp_config import GvpConfig
from protclip_core.encoders.structure.descriptor import describe
from protclip_core.encoders.structure.encoder import StructureEncoder
from protclip_core.encoders.structure.graph import StructureGraph, build_graph
from protclip_core.encoders.structure.packing import (
    MASKED,
    OTHER,
    RESIDUE_CODES,
    PackedChains,
    crop_chain,
    pack_chains,
)

__all__ = [
    "MASKED",
    "OTHER",
    "RESIDUE_CODES",
    "GvpConfig",
    "PackedChains",
    "StructureEncoder",
    "StructureGraph",
    "build_graph",
    "crop_chain",
    "describe",
    "pack_chains",
]
