"""A loaded dual encoder: proteins and texts in one space.

Legend: B inputs, D width of the text encoder, P joint width.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import nn

from protclip_core.encoders.residue_heads import ResidueHeads
from protclip_core.models.info import ModelInfo
from protclip_core.models.protein import Encoder, ProteinModel
from protclip_core.models.text import TextModel

if TYPE_CHECKING:
    from protclip_core.models.structure import StructureModel

__all__ = ["ProtclipModel"]


class ProtclipModel(ProteinModel):
    """A protein encoder and a text encoder with projections into one space.

    Get one from `load_model`. Its methods may be called from several threads at once. The text
    encoder is prepared when the first text comes: its library takes seconds to import.

    Parameters
    ----------
    info, encoder, weights_sha256, projection
        As for `ProteinModel`.
    make_text_model
        Called once, for the first text.
    logit_scale
        The trained logarithm of the scale.
    residue_heads, make_structure_model
        As for `ProteinModel`.

    Attributes
    ----------
    logit_scale
        Logarithm of the number by which similarities were multiplied in training; apply ``exp``
        before use.

    Examples
    --------
    Which of two texts suits a protein better:

    >>> from importlib.resources import files
    >>> from protclip_core import load_model, read_fasta
    >>> model = load_model(device="cpu")
    >>> path = str(files("protclip_core") / "bundled/example.fasta")
    >>> haemoglobin = next(read_fasta(path)).sequence
    >>> texts = model.embed_text(["oxygen transport", "DNA repair"])
    >>> (texts @ model.embed_proteins([haemoglobin])[0]).argmax().item()
    0
    """

    def __init__(
        self,
        info: ModelInfo,
        encoder: Encoder,
        weights_sha256: str,
        projection: nn.Module,
        *,
        make_text_model: Callable[[], TextModel],
        logit_scale: float,
        residue_heads: ResidueHeads | None = None,
        make_structure_model: Callable[[], StructureModel] | None = None,
    ) -> None:
        super().__init__(
            info,
            encoder,
            weights_sha256,
            projection,
            residue_heads,
            make_structure_model=make_structure_model,
        )
        self.logit_scale = logit_scale
        self._make_text_model: Callable[[], TextModel] | None = make_text_model
        self._text_model: TextModel | None = None
        self._text_lock = threading.Lock()

    @property
    def text_model(self) -> TextModel:
        """The text encoder, prepared on first use."""
        with self._text_lock:
            if self._text_model is None:
                assert self._make_text_model is not None
                self._text_model = self._make_text_model()
                self._make_text_model = None  # it holds a second copy of the weights
            return self._text_model

    def embed_text(self, texts: Sequence[str], *, space: str = "joint") -> npt.NDArray[np.float32]:
        """Embed texts; see `TextModel.embed`.

        Returns
        -------
        numpy.ndarray
            Unit vectors ``(B, P)``, or ``(B, D)`` with ``space="encoder"``; float32.
        """
        return self.text_model.embed(texts, space=space)
