"""Predict the effects of variants with a head that was fitted to an assay."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from protclip_core.errors import InputError, ModelError, UsageError
from protclip_core.heads import Head, load_head
from protclip_core.heads.card import HeadInput, check_input
from protclip_core.heads.variant_features import RECIPE, VariantFeatures
from protclip_core.io.variants.files import ProteinNames
from protclip_core.progress import Progress, SilentProgress
from protclip_core.tasks.mutate.assay import (
    VariantVectors,
    ZeroShot,
    at_home,
    read_asked,
    zero_shot_of_prior,
)
from protclip_core.tasks.mutate.fit import METHODS
from protclip_core.tasks.mutate.input import AskedRow, Proteins
from protclip_core.tasks.mutate.request import PredictRequest
from protclip_core.variants import Variant

__all__ = ["FitnessRow", "Fitness"]

_FETCH_AGAIN = "fit the head again"
_SHOWN_REASONS = 5


@dataclass(frozen=True)
class FitnessRow:
    """The answer to one row; ``fitness`` is None where there is a reason."""

    protein_id: str
    variant: str
    fitness: float | None
    flags: tuple[str, ...] = ()
    reason: str = ""


@dataclass
class Fitness:
    """Predictions of one file.

    Attributes
    ----------
    request
        What to do.
    rows, unpredicted
        Counts, once `predictions` was called.
    first_reasons
        The first five as ``where: reason``.

    Raises
    ------
    ModelError
        A head that cannot be read, of another kind, or for another model.
    UsageError
        Options that do not fit the head.
    """

    request: PredictRequest
    rows: int = 0
    unpredicted: int = 0
    first_reasons: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.head = load_head(self.request.head)
        where, card = str(self.request.head), self.head.card
        if not card.input.features.startswith(RECIPE):
            raise ModelError(
                f"is a head for {card.task}, not for variants",
                code="model.head_mismatch",
                where=where,
                hint="make one with protclip mutate fit",
            )
        self.recipe, self._offset, self._line, zero = _read_recipe(self.head, where)
        if card.input.width != self.recipe.width or card.input.features != self.recipe.name:
            raise ModelError(
                "its recipe is not that of its columns",
                code="model.bad_head",
                where=where,
                hint=_FETCH_AGAIN,
            )
        self._leaves_new_positions = card.fit.get("new_positions") == "line"
        self._protein = str(card.fit.get("protein_id", ""))
        if self.request.offset is not None:
            self._offset = self.request.offset
        self._store = self._open_store(where)
        self._scorer = None if zero is None else self._open_model(zero, where)

    def predictions(self, progress: Progress | None = None) -> list[FitnessRow]:
        """Give the answers to all rows, in input order.

        Raises
        ------
        InputError
            A file that cannot be read; a wild type other than the head's.
        ModelError, ResourceError
            As `ZeroShot.scores`.
        """
        rows = self._read()
        found = [self._usable(row) for row in rows]
        good = [number for number, (variant, _, _) in enumerate(found) if variant is not None]
        values = self._values([found[number] for number in good], progress or SilentProgress())
        fitness = dict(zip(good, values.tolist(), strict=True))
        answers = []
        for number, row in enumerate(rows):
            variant, _, reason = found[number]
            flags = row.flags
            if variant is not None and not self.recipe.knows(variant):
                flags += ("new-position",)
                flags += ("zero-shot",) if self._leaves_new_positions else ()
            if number not in fitness:
                self.unpredicted += 1
                if len(self.first_reasons) < _SHOWN_REASONS:
                    self.first_reasons.append(f"{row.where}: {reason}")
            value = fitness.get(number)
            # A row that brings its own wild type may be of any protein.
            protein = row.protein_id or ("" if self._foreign(row) else self._protein)
            answers.append(FitnessRow(protein, row.text, value, flags, reason))
        self.rows = len(rows)
        return answers

    def _read(self) -> list[AskedRow]:
        """Read the variants, against the wild type of the head where there is none given."""
        request, known = self.request, self.recipe.wild_type
        proteins = Proteins(() if request.fasta is None else (request.fasta,))
        for id, sequence in proteins.sequences.items():
            if not self._is_own(sequence):
                raise InputError(
                    f"{id} is not the protein of the head, which has {len(known):,} residues "
                    f"({known[:10]}…)",
                    code="input.other_protein",
                    where=request.fasta,
                    hint="leave --sequences out, or fit a head for that protein",
                )
        return read_asked(request.variants, proteins, self._offset, request.variant_column)

    def _usable(self, row: AskedRow) -> tuple[Variant | None, np.ndarray | None, str]:
        """Give the variant with positions in the sequence, its vector, or why there is none."""
        if row.variant is None or row.reason:
            return None, None, row.reason
        variant = at_home(row.variant, self._offset)
        if not self.recipe.takes(variant):
            return None, None, "has a residue beyond the 20"
        if reason := self._foreign(row):
            return None, None, reason
        known = self.recipe.wild_type
        for old, position, _ in variant.substitutions:
            if not 1 <= position <= len(known):
                return None, None, f"position {position + self._offset} is outside the protein"
            if known[position - 1] not in (old, "X"):
                return (
                    None,
                    None,
                    (
                        f"has {old} at position {position + self._offset}, the head's protein has "
                        f"{known[position - 1]}"
                    ),
                )
        if self._store is None:
            return variant, None, ""
        vector = self._store.find(row, variant)
        if vector is None:
            return None, None, f"has no vector in {self.request.embeddings}"
        return variant, vector, ""

    def _is_own(self, sequence: str) -> bool:
        """Whether it can be the head's wild type, of which a head without a model knows parts."""
        known = self.recipe.wild_type
        fits = len(sequence) == len(known) if self._scorer else len(sequence) >= len(known)
        return fits and all(own in (letter, "X") for letter, own in zip(sequence, known))

    def _foreign(self, row: AskedRow) -> str:
        """Why a row is of another protein than the head; empty where it may be of the same."""
        if row.sequence is not None:
            return "" if self._is_own(row.sequence) else "its wild type is not the head's"
        names = ProteinNames([self._protein])
        if row.protein_id and self._protein and row.protein_id not in names:
            return f"is of {row.protein_id}, and the head is of {self._protein}"
        return ""

    def _values(
        self, found: list[tuple[Variant | None, np.ndarray | None, str]], progress: Progress
    ) -> np.ndarray:
        variants = [variant for variant, _, _ in found if variant is not None]
        if not variants:
            return np.empty(0)
        vectors = None
        if self._scorer is not None:
            zero = self._scorer.scores(self.recipe.wild_type, variants, progress)
        else:
            zero = zero_shot_of_prior(variants)
        if self._store is not None:
            vectors = np.stack([vector for _, vector, _ in found if vector is not None])
        table = self.recipe.table(variants, zero_shot=zero, vectors=vectors)
        offset, slope = self._line
        beyond = np.asarray(self.head.predict(table), np.float64)
        if self._leaves_new_positions:
            beyond[[not self.recipe.knows(variant) for variant in variants]] = 0.0
        values: np.ndarray = offset + slope * zero + beyond
        return values

    def _open_store(self, where: str) -> VariantVectors | None:
        if not self.recipe.centre:
            if self.request.embeddings is not None:
                raise UsageError(
                    "the head takes no vectors",
                    code="usage.conflicting_options",
                    where=where,
                    hint="leave --embeddings out",
                )
            return None
        if self.request.embeddings is None:
            raise UsageError(
                f"the head takes vectors of {self.head.card.input.model}",
                code="usage.missing_option",
                where=where,
                hint="give a store whose ids are the variants with --embeddings",
            )
        store = VariantVectors(self.request.embeddings)
        own = self.head.card.input
        given = HeadInput.of_store(store.attributes, own.width, own.features)
        check_input(own, given, where)
        if store.width != len(self.recipe.centre):
            raise ModelError(
                f"vectors are {store.width} wide, the head takes {len(self.recipe.centre)}",
                code="model.head_mismatch",
                where=self.request.embeddings,
            )
        return store

    def _open_model(self, zero: HeadInput, where: str) -> ZeroShot:
        scorer = ZeroShot(
            model=self.request.model or zero.model,
            method=zero.space,
            device=self.request.device,
            workers=self.request.workers,
        )
        given = scorer.input(0, "")
        names = ("weights_sha256", "config_sha256")
        if any(getattr(zero, name) != getattr(given, name) for name in names):
            raise ModelError(
                f"the head leans on scores of {zero.model} (weights {zero.weights_sha256[:12]}), "
                f"not of {given.model} (weights {given.weights_sha256[:12]})",
                code="model.head_mismatch",
                where=where,
                hint=f"give that model with --model, or fit a head with {given.model}",
            )
        return scorer


def _read_recipe(
    head: Head, where: str
) -> tuple[VariantFeatures, int, tuple[float, float], HeadInput | None]:
    """Read what the card says of columns; whatever is wrong there is a bad file."""
    content: Any = head.card.fit
    try:
        recipe = VariantFeatures.of_plain(content["recipe"])
        zero = None if content["zero_shot"] is None else HeadInput(**content["zero_shot"])
        if (zero is not None) != (recipe.zero_scale > 0):
            raise ValueError("a scale of scores and no model of them")
        if zero is not None and zero.space not in METHODS:
            raise ValueError(f"method {zero.space!r}")
        offset, slope = (float(number) for number in content["line"])
        if not np.isfinite([offset, slope]).all():
            raise ValueError(f"line {content['line']}")
        return recipe, int(content["offset"]), (offset, slope), zero
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelError(
            f"its recipe lacks or misstates something ({error})",
            code="model.bad_head",
            where=where,
            hint=_FETCH_AGAIN,
        ) from error
