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

Importing this package loads no torch: the names below are looked up on first use. They are the
public interface, with an example each; what is imported from the rooms directly may change.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from protclip_core._version import __version__

if TYPE_CHECKING:
    from protclip_core.errors import (
        BusyError,
        InputError,
        ModelError,
        ProtclipError,
        ResourceError,
        UsageError,
        WorkerLostError,
    )
    from protclip_core.heads import FitSettings, Head, Targets, fit_head, load_head
    from protclip_core.heads.pair_scores import PairScorer
    from protclip_core.io.fasta import read_fasta
    from protclip_core.models.loading import load_model, load_text_model
    from protclip_core.models.protclip import ProtclipModel
    from protclip_core.models.protein import ProteinModel
    from protclip_core.models.text import TextModel
    from protclip_core.ontology import Ontology, read_obo
    from protclip_core.records import ProteinRecord
    from protclip_core.store.reader import EmbeddingStore
    from protclip_core.tasks.annotate.request import AnnotateRequest
    from protclip_core.tasks.annotate.task import Annotation
    from protclip_core.tasks.embed.task import embed_to_store
    from protclip_core.tasks.mutate.request import MutateRequest
    from protclip_core.tasks.mutate.task import Mutation
    from protclip_core.tasks.search.request import SearchRequest
    from protclip_core.tasks.search.task import search
    from protclip_core.tasks.similarity.request import SimilarityRequest
    from protclip_core.tasks.similarity.task import Similarity
    from protclip_core.vector_spec import VectorSpec
    from protclip_core.vectors.embed_request import EmbedRequest
    from protclip_core.vectors.embed_rows import embed_rows

__all__ = [
    "AnnotateRequest",
    "Annotation",
    "BusyError",
    "EmbedRequest",
    "EmbeddingStore",
    "FitSettings",
    "Head",
    "InputError",
    "ModelError",
    "MutateRequest",
    "Mutation",
    "Ontology",
    "PairScorer",
    "ProtclipError",
    "ProtclipModel",
    "ProteinModel",
    "ProteinRecord",
    "ResourceError",
    "SearchRequest",
    "Similarity",
    "SimilarityRequest",
    "Targets",
    "TextModel",
    "UsageError",
    "VectorSpec",
    "WorkerLostError",
    "__version__",
    "embed_rows",
    "embed_to_store",
    "fit_head",
    "load_head",
    "load_model",
    "load_text_model",
    "read_fasta",
    "read_obo",
    "search",
]

_HOMES = {
    "errors": (
        "BusyError InputError ModelError ProtclipError ResourceError UsageError WorkerLostError"
    ),
    "records": "ProteinRecord",
    "io.fasta": "read_fasta",
    "store.reader": "EmbeddingStore",
    "ontology": "Ontology read_obo",
    "heads": "FitSettings Head Targets fit_head load_head",
    "heads.pair_scores": "PairScorer",
    "models.loading": "load_model load_text_model",
    "models.protein": "ProteinModel",
    "models.text": "TextModel",
    "models.protclip": "ProtclipModel",
    "vector_spec": "VectorSpec",
    "vectors.embed_request": "EmbedRequest",
    "vectors.embed_rows": "embed_rows",
    "tasks.embed.task": "embed_to_store",
    "tasks.annotate.request": "AnnotateRequest",
    "tasks.annotate.task": "Annotation",
    "tasks.search.request": "SearchRequest",
    "tasks.search.task": "search",
    "tasks.similarity.request": "SimilarityRequest",
    "tasks.similarity.task": "Similarity",
    "tasks.mutate.request": "MutateRequest",
    "tasks.mutate.task": "Mutation",
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names.split():
            return getattr(import_module(f"protclip_core.{home}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    """Public names and modules, for completion; not what this module itself imports."""
    loaded = (name for name in globals() if name[0] != "_" and f"{__name__}.{name}" in sys.modules)
    return sorted({*__all__, *loaded, "__all__", "__doc__", "__file__", "__name__", "__path__"})
