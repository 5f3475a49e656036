"""Protein variants: their grammar, their fit to a sequence, and what they make of it."""

from __future__ import annotations

from protclip_core.variants.changes import Change, Kind
from protclip_core.variants.difference import variant_between
from protclip_core.variants.fit import OffsetFit, best_offset, nearest_offset
from protclip_core.variants.grammar import parse_variant, read_variant
from protclip_core.variants.model import ParseFailure, Variant

__all__ = [
    "Change",
    "Kind",
    "OffsetFit",
    "ParseFailure",
    "Variant",
    "best_offset",
    "nearest_offset",
    "parse_variant",
    "read_variant",
    "variant_between",
]
