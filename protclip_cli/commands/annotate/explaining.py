"""Columns and a picture of the residues that terms come from."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from protclip_cli.output import Value
from protclip_cli.output_file import refuse_existing
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
    """What is to be said of residues, and what is known so far.

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

    def check(self, inputs: tuple[str, ...], *, overwrite: bool, is_go_format: bool) -> None:
        """Refuse what cannot be done, before any work.

        Raises
        ------
        UsageError
            Columns in a form that has no place for them, a protein and no picture, another
            ending than those of pictures, or a file that is there already.
        """
        if self.columns and is_go_format:
            raise UsageError(
                "--explain adds columns, which this --format has no place for",
                hint="use --format tsv or jsonl; --explain-plot goes with all",
            )
        if self.plot is None:
            if self.protein is not None:
                raise UsageError(
                    "--protein names the one to draw, and no picture is asked for",
                    hint="add --explain-plot FILE.png",
                )
            return
        from protclip_core.io.atomic import check_writable_target
        from protclip_core.io.outputs import check_outputs
        from protclip_core.report.figures import plot_form

        plot_form(self.plot)
        check_outputs(inputs, (self.plot,), hint="choose another --explain-plot")
        check_writable_target(self.plot)
        refuse_existing(self.plot, overwrite=overwrite, other="--explain-plot")

    def refuse_table(self, table: Path | None) -> None:
        """Refuse one file for the table and the picture: one would replace the other.

        Raises
        ------
        UsageError
            Both go to the same file.
        """
        if self.plot is None or table is None:
            return
        if self.plot.resolve() == table.resolve():
            hint = "choose another -o, or another --explain-plot"
            message = "is asked for as the table and as the picture"
            raise UsageError(message, where=str(self.plot), hint=hint)

    @property
    def is_asked(self) -> bool:
        """Whether there is anything to explain."""
        return self.columns or self.plot is not None

    def proteins(self, annotation: Annotation, progress: Progress) -> Iterator[ProteinTerms]:
        """Yield what `Annotation.proteins` does, and remember the residues on the way.

        Raises
        ------
        UsageError
            Several proteins, and none is named for the picture.
        """
        from protclip_core.tasks.annotate.explain import explained_proteins

        only = None if self.columns else self.protein
        proteins: Iterable[ExplainedProtein] = explained_proteins(annotation, progress, only=only)
        if self.plot is not None and self.protein is None:
            first = list(islice(proteins, 2))
            if len(first) > 1:
                raise UsageError(
                    "a picture shows one protein, and there are several",
                    where=str(self.plot),
                    hint=f"name it, as in --protein '{first[0].protein_id}'",
                )
            proteins = chain(first, proteins)
        for one in proteins:
            if self.plot is not None and self.protein in (None, one.protein_id):
                self._drawn = one
            for found, residues in zip(one.found, one.residues):
                if self.columns:
                    self._waiting.extend(residues)
                yield found

    def add_to(self, rows: Iterable[dict[str, Value]]) -> Iterator[dict[str, Value]]:
        """Give rows of the terms of `proteins`, in their order, the columns that are asked for."""
        from protclip_core.terms.explain import as_ranges

        for row in rows:
            if self.columns:
                one = self._waiting.popleft()
                row["residues"] = None if one is None else as_ranges(one.segments)
                without = None if one is None else one.cosine_without
                row["cosine_without"] = None if without is None else float(f"{without:.4g}")
            yield row

    def draw(self, annotation: Annotation) -> None:
        """Write the picture, if one is asked for; after the last protein.

        Raises
        ------
        InputError
            The protein is not in the input.
        UsageError, ResourceError
            As `protclip_core.tasks.annotate.plot.save_plot`.
        """
        if self.plot is None:
            return
        from protclip_core.tasks.annotate.plot import save_plot

        if self._drawn is None:
            named = "no protein" if self.protein is None else f"no protein {self.protein!r}"
            raise InputError(
                f"{named} was annotated, so there is none to draw",
                where=str(self.plot),
                hint="give the id as the first column has it",
            )
        ontologies = [vocabulary.index.ontology for vocabulary in annotation.vocabularies]
        save_plot(self.plot, self._drawn, ontologies, model=annotation.info.name)
