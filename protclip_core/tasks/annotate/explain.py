"""Say of each listed term which residues of the protein it comes from.

Each protein that has terms is embedded once more, by itself and with all its residues: the first
time only its mean is kept, for the residues of a block would fill the memory. So what is said of
a protein depends on nothing but itself.

Legend: L residues, C terms of a protein, P joint width.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from protclip_core.engines.local import LocalEngine
from protclip_core.errors import ResourceError, UsageError
from protclip_core.models.protein import ProteinModel
from protclip_core.models.settings import EmbedSettings, resolve_settings
from protclip_core.ontology.reference import accession_of
from protclip_core.progress import Progress
from protclip_core.tasks.annotate.selection import ProteinTerms
from protclip_core.tasks.annotate.task import Annotation
from protclip_core.terms.explain import TermResidues, explain_terms

__all__ = ["ExplainedProtein", "Explainer", "explained_proteins"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ExplainedProtein:
    """A protein with its terms and their residues.

    Attributes
    ----------
    protein_id, sequence
        The protein and its residues.
    found
        What is listed for it in each vocabulary, in their order.
    residues
        For each of ``found`` one for each of its terms, in their order; None where it was
        not requested, or memory did not suffice.
    """

    protein_id: str
    sequence: str
    found: list[ProteinTerms]
    residues: list[list[TermResidues | None]]


class Explainer:
    """Finds the residues of terms, protein by protein; a context manager.

    Parameters
    ----------
    model
        The loaded model, one with a joint space.
    """

    def __init__(self, model: ProteinModel) -> None:
        self._model = model
        self._settings = _residue_settings(model)
        # One worker: proteins come one by one, and memory that runs out has its say there.
        self._engine = LocalEngine(model, workers=1)

    def __enter__(self) -> Self:
        self._engine.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._engine.__exit__(kind, error, trace)

    def residues_of(self, sequence: str, terms: npt.NDArray[np.float32]) -> list[TermResidues]:
        """Find the residues of some terms in one protein.

        Parameters
        ----------
        sequence
            Upper-case residues, at least one; any length, in windows as for `embed`.
        terms
            Unit vectors ``(C, P)``.

        Raises
        ------
        ResourceError
            Memory does not suffice for the protein.
        """
        ((_, result),) = self._engine.run([sequence], self._settings)
        if isinstance(result, str):
            raise ResourceError(result, code="resource.no_result")
        assert result.residues is not None
        return explain_terms(
            self._model, result.vector, result.residues, terms, pooling=self._settings.pooling
        )


def explained_proteins(
    annotation: Annotation, progress: Progress | None = None, *, only: str | None = None
) -> Iterator[ExplainedProtein]:
    """Yield all proteins of an annotation in input order, their terms with residues; once.

    Parameters
    ----------
    annotation
        One whose request says ``explain``.
    progress
        As for `Annotation.proteins`.
    only
        Id of the protein that is explained; the others come without residues. None for all.

    Raises
    ------
    UsageError
        The request does not say so.
    InputError, ModelError, ResourceError
        As `Annotation.proteins`.
    """
    waiting = annotation.sequences
    if waiting is None:
        raise UsageError(
            "the annotation does not keep sequences",
            code="usage.needs_sequences",
            hint="ask for it with explain=True",
        )
    indexes = [vocabulary.index for vocabulary in annotation.vocabularies]
    proteins = annotation.proteins(progress)
    explainer: Explainer | None = None
    with ExitStack() as stack:
        # Of several vocabularies, each protein comes as many times in a row.
        while found := list(islice(proteins, len(indexes))):
            sequence, id = waiting.take(), found[0].protein_id
            if explainer is None:
                assert waiting.job is not None
                assert waiting.job.protein is not None  # structures are not explained
                explainer = stack.enter_context(Explainer(waiting.job.protein))
            if only not in (None, id, accession_of(id)):
                nothing: list[list[TermResidues | None]] = [[None] * len(p.terms) for p in found]
                yield ExplainedProtein(id, sequence, found, nothing)
                continue
            vectors = [
                index.unit_vectors(np.array([one.term for one in part.terms], np.int64))
                for index, part in zip(indexes, found)
            ]
            each = iter(_residues_of(explainer, id, sequence, np.concatenate(vectors)))
            residues = [list(islice(each, len(part.terms))) for part in found]
            yield ExplainedProtein(id, sequence, found, residues)


def _residues_of(
    explainer: Explainer, id: str, sequence: str, terms: npt.NDArray[np.float32]
) -> list[TermResidues | None]:
    """Find the residues of all terms of a protein; say where memory does not suffice."""
    if not len(terms):
        return []
    try:
        return [*explainer.residues_of(sequence, terms)]
    except ResourceError as error:
        _log.warning("%s: no residues are named: %s", id, error.message)
        return [None] * len(terms)


def _residue_settings(model: ProteinModel) -> EmbedSettings:
    """Return what gives a protein's mean and its residues, as the joint space takes them."""
    settings = resolve_settings(model.info, model.encoder.num_layers, per_residue=True)
    form = model.info.projection
    if form is not None and form.protein_dim is not None:
        # The projection reads the encoder's input, which stands in the vectors of all layers.
        return replace(settings, layer=0)
    return settings
