"""Heads: light scikit-learn models on embeddings, fitted, calibrated, stored without pickle.

`fit_head` fits one to `Targets`; `save_head` writes it; `load_head` reads it, and refuses it where
model, width or numbers are not those it was made for; `Head` predicts.
"""

from __future__ import annotations

from protclip_core.heads.card import HeadCard, HeadInput
from protclip_core.heads.files import load_head, save_head
from protclip_core.heads.fitting import FitSettings, FittedHead, fit_head
from protclip_core.heads.head import Head
from protclip_core.heads.targets import Targets

__all__ = [
    "FitSettings",
    "FittedHead",
    "Head",
    "HeadCard",
    "HeadInput",
    "Targets",
    "fit_head",
    "load_head",
    "save_head",
]
