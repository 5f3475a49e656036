"""Columns and a picture of the residues that terms come from."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from protclip_cli.output import Value, check_picture
from protclip_core.errors import InputError, UsageError

if TYPE_CHECKING:
    from protclip_core.progress import Progress
    from protclip_core.tasks.annotate.explain import ExplainedProtein
    from protclip_core.tasks.annotate.task import Annotation, ProteinTerms
    from protclip_core.terms.explain import TermResidues

__all__ = ["EXPLAIN_COLUMNS", "Explaining"]

EXPLAIN_COLUMNS = ("residues", "cosine_without")


@dataclass
class Explaining:
    """What to say about residues, and what is known so far.

    Attributes
    ----------
    columns
        Whether rows get `EXPLAIN_COLUMNS`.
    plot
        File of the picture; None for none.
    protein
        Id of the protein that is drawn; None: the only one.
    """

    columns: bool = False
    plot: Path | None = None
    protein: str | None = None
    _waiting: deque[TermResidues | None] = field(default_factory=deque)
    _drawn: ExplainedProtein | None = None

    def check(
        self,
        inputs: Iterable[str | Path | None],
        results: Path | None,
        *,
        overwrite: bool,
        is_go_form: bool,
    ) -> None:
        """Refuse what cannot be done, before any work.

        Parameters
        ----------
        inputs, results
            What is read, and the file of the table: neither can be the picture.
        overwrite
            Whether a picture that exists may be replaced.
        is_go_form
            Whether the table has a form without room for columns.

        Raises
        ------
        UsageError
            Columns without room for them, a protein without a picture, or a picture that cannot
            be written.
        """
        if self.columns and is_go_form:
            raise UsageError(
                "--explain adds columns, which this --format has no room for",
                code="usage.conflicting_options",
                hint="use --format tsv or jsonl; --plot goes with all formats",
            )
        if self.plot is not None:
            check_picture(self.plot, overwrite=overwrite, inputs=inputs, other=results)
        elif self.protein is not None:
            raise UsageError(
                "--protein names the protein to draw, and there is no --plot",
                code="usage.missing_option",
                hint="add --plot FILE.png",
            )

    @property
    def is_asked(self) -> bool:
        """Whether there is anything to explain."""
        return self.columns or self.plot is not None

    def proteins(self, annotation: Annotation, progress: Progress) -> Iterator[ProteinTerms]:
        """Yield what `Annotation.proteins` does, and keep the residues.

        Nothing is yielded before the protein to draw is found, so that an error leaves no rows
        behind; until then memory holds the terms of all proteins before it.

        Raises
        ------
        InputError
            The protein to draw is not in the input.
        UsageError
            Several proteins, and no name for the picture; or no term of it is listed.
        """
        from protclip_core.tasks.annotate.explain import explained_proteins
        from protclip_core.tasks.annotate.plot import check_drawable

        only = None if self.columns else self.protein
        proteins: Iterable[ExplainedProtein] = explained_proteins(annotation, progress, only=only)
        if self.plot is not None and self.protein is None:
            first = list(islice(proteins, 2))
            if len(first) > 1:
                raise UsageError(
                    "a picture shows one protein, and there are several",
                    code="usage.several_proteins",
                    where=str(self.plot),
                    hint=f"name it, as in --protein '{first[0].protein_id}'",
                )
            proteins = chain(first, proteins)
        waiting: list[ProteinTerms] = []
        for one in proteins:
            if self.plot is not None and self._is_drawn(one.protein_id):
                check_drawable(self.plot, one)
                self._drawn = one
            for found, residues in zip(one.found, one.residues):
                if self.columns:
                    self._waiting.extend(residues)
                waiting.append(found)
            if self.plot is None or self._drawn is not None:
                yield from waiting
                waiting.clear()
        if self.plot is not None and self._drawn is None:
            named = "no protein" if self.protein is None else f"no protein {self.protein!r}"
            raise InputError(
                f"{named} was annotated, so there is none to draw",
                code="input.unknown_protein",
                where=str(self.plot),
                hint="give the id as the first column has it",
            )

    def _is_drawn(self, id: str) -> bool:
        """Tell whether a protein is the one: by its id, or by the accession in it."""
        from protclip_core.ontology.reference import accession_of

        return self._drawn is None and self.protein in (None, id, accession_of(id))

    def add_to(self, rows: Iterable[dict[str, Value]]) -> Iterator[dict[str, Value]]:
        """Add the columns to the rows of the terms of `proteins`, in their order."""
        from protclip_core.terms.explain import as_ranges

        for row in rows:
            if self.columns:
                one = self._waiting.popleft()
                row["residues"] = None if one is None else as_ranges(one.segments)
                without = None if one is None else one.cosine_without
                row["cosine_without"] = None if without is None else float(f"{without:.4g}")
            yield row

    def draw(self, annotation: Annotation) -> None:
        """Write the picture, if there is to be one; after the last protein.

        Raises
        ------
        UsageError, ResourceError
            As `protclip_core.tasks.annotate.plot.save_plot`.
        """
        if self.plot is None or self._drawn is None:
            return
        from protclip_core.tasks.annotate.plot import save_plot

        ontologies = [vocabulary.index.ontology for vocabulary in annotation.vocabularies]
        save_plot(self.plot, self._drawn, ontologies, model=annotation.info.name)
