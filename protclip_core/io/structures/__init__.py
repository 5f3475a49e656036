"""Structure files of proteins: chains, with the coordinates of their backbones."""

from __future__ import annotations

from protclip_core.io.structures.chain import Chain
from protclip_core.io.structures.files import holds_structures
from protclip_core.io.structures.reader import ChainRecord, StructureSummary, read_structures

__all__ = ["Chain", "ChainRecord", "StructureSummary", "holds_structures", "read_structures"]
