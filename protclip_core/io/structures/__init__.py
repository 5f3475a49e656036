"""Structure files of proteins: chains, with the coordinates of their backbones."""

from __future__ import annotations

from protclip_core.io.structures.chain import Chain

__all__ = ["Chain"]
