"""protclip's library: protein and text embeddings without a terminal in sight.

    >>> import protclip_core as pc
    >>> vectors = pc.load_model().embed(["MKTAYIAKQR"])  # doctest: +SKIP

Rooms, lowest first; imports point down this list only (a test holds that):

``errors, records,``           what travels everywhere
``progress, interrupts``
``measure``                    metrics, neighbours, pairs, calibration: arrays alone
``variants``                   grammar of protein variants, priors
``io``                         files: FASTA, tables, VCF, streams, archives, aligners
``weights``                    tensors on disk: bundles, pickles under guard, tokenizer files
``store``                      the embedding store and the working files of a run
``ontology``                   GO and other vocabularies, annotations, semantic similarity
``encoders``                   protein encoders and their input
``heads``                      light heads on vectors: fitted, calibrated, stored
``fetch``                      catalog, hubs, downloads, cache
``models``                     a model as a user sees it: described, loaded, imported
``terms``                      the index of term texts: scores, calibration, votes
``engines``                    where the work runs: one device, later several
``vectors``                    the way from any input to vectors
``report``                     figures and pictures that tasks share
``tasks``                      what the commands do: a folder for each; none imports another

Importing this package loads no torch; the names below come when they are asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from protclip_core._version import __version__

if TYPE_CHECKING:
    from protclip_core.io.fasta import read_fasta
    from protclip_core.models.loading import load_model, load_text_model
    from protclip_core.models.protclip import ProtclipModel
    from protclip_core.models.protein import ProteinModel
    from protclip_core.models.text import TextModel
    from protclip_core.records import ProteinRecord
    from protclip_core.store.reader import EmbeddingStore

__all__ = [
    "EmbeddingStore",
    "ProtclipModel",
    "ProteinModel",
    "ProteinRecord",
    "TextModel",
    "__version__",
    "load_model",
    "load_text_model",
    "read_fasta",
]

_HOMES = {
    "EmbeddingStore": "protclip_core.store.reader",
    "ProtclipModel": "protclip_core.models.protclip",
    "ProteinModel": "protclip_core.models.protein",
    "ProteinRecord": "protclip_core.records",
    "TextModel": "protclip_core.models.text",
    "load_model": "protclip_core.models.loading",
    "load_text_model": "protclip_core.models.loading",
    "read_fasta": "protclip_core.io.fasta",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
