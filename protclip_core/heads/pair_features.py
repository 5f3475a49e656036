"""What a head for pairs of proteins takes: numbers of two vectors that do not know their order.

Both vectors are of unit length. A recipe is a list of parts; a head's card names it, and the head
is used on nothing else. ``sum`` (``x + y``), ``difference`` (``|x - y|``), ``squares``
(``x² + y²``) and ``product`` (``x * y``) have as many numbers as a vector, ``cosine`` has one.
``squares`` beside ``product`` says what the squared difference does, and all pairs of two blocks
then take matrix products alone. Each part is made of operations that give the same in both orders
to the last digit.

Legend: n pairs, D width of a vector, F numbers of a pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from protclip_core.errors import ModelError, UsageError
from protclip_core.heads.card import EMBEDDING, HeadInput

__all__ = [
    "RECIPES",
    "Recipe",
    "embedding_input",
    "pair_features",
    "pair_input",
    "recipe_of",
    "unit_rows",
]

Recipe = tuple[str, ...]
#: By name; the first is what is taken where nothing is asked for.
RECIPES: Mapping[str, Recipe] = {
    "difference": ("sum", "difference", "product", "cosine"),
    "squares": ("sum", "squares", "product", "cosine"),
}
_MARK = "pair: "
_ROWS = 2048


def width_of(recipe: Recipe, dim: int) -> int:
    """Count the numbers of a pair, F, for vectors of D numbers."""
    return sum(1 if part == "cosine" else dim for part in recipe)


def parts_of(recipe: Recipe, dim: int) -> dict[str, slice]:
    """Give where each part of a recipe lies among the numbers of a pair."""
    found, start = dict[str, slice](), 0
    for part in recipe:
        found[part] = slice(start, start + (1 if part == "cosine" else dim))
        start = found[part].stop
    return found


def pair_input(vectors: HeadInput, recipe: Recipe) -> HeadInput:
    """Say what a head takes that is fitted on pairs of such vectors."""
    width = width_of(recipe, vectors.width)
    return replace(vectors, width=width, features=_MARK + ", ".join(recipe))


def recipe_of(given: HeadInput, where: str) -> Recipe:
    """Read the recipe from the input of a head.

    Raises
    ------
    ModelError
        A head for single proteins, or a recipe that is not known here.
    """
    if given.features == EMBEDDING:
        raise ModelError(
            "is a head for single proteins, not for pairs",
            code="model.head_mismatch",
            where=where,
            hint="use it with protclip classify predict",
        )
    for recipe in RECIPES.values():
        if given.features == _MARK + ", ".join(recipe):
            if (given.width - 1) % (len(recipe) - 1):
                break
            return recipe
    raise ModelError(
        f"takes features {given.features!r} of width {given.width}, which this protclip does not "
        "know",
        code="model.head_mismatch",
        where=where,
        hint="update protclip",
    )


def embedding_input(given: HeadInput, where: str) -> HeadInput:
    """Say which vectors the pairs of a head are made of; errors as `recipe_of`."""
    recipe = recipe_of(given, where)
    return replace(given, width=(given.width - 1) // (len(recipe) - 1), features=EMBEDDING)


def pair_features(
    x: npt.NDArray[np.float32], y: npt.NDArray[np.float32], recipe: Recipe
) -> npt.NDArray[np.float32]:
    """Make the numbers ``(n, F)`` float32 of pairs of unit vectors ``(n, D)`` each.

    Raises
    ------
    UsageError
        Shapes that do not fit each other.
    """
    if x.shape != y.shape or x.ndim != 2:
        raise UsageError(
            f"vectors of shape {x.shape} and {y.shape} do not pair up", code="usage.shape_mismatch"
        )
    found = np.empty((len(x), width_of(recipe, x.shape[1])), np.float32)
    places = parts_of(recipe, x.shape[1])
    # Some rows at a time: what is computed for one part is at hand for the next.
    for start in range(0, len(x), _ROWS):
        rows = slice(start, start + _ROWS)
        one, other, out = x[rows], y[rows], found[rows]
        product = one * other
        for part, place in places.items():
            if part == "sum":
                np.add(one, other, out=out[:, place])
            elif part == "difference":
                np.abs(one - other, out=out[:, place])
            elif part == "squares":
                np.add(one * one, other * other, out=out[:, place])
            elif part == "product":
                out[:, place] = product
            else:
                out[:, place.start] = product.sum(1, dtype=np.float64)
    return found


def unit_rows(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Give vectors ``(n, D)`` unit length; those of no direction become NaN."""
    exact = np.asarray(vectors, np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        lengths = np.sqrt(np.einsum("ij,ij->i", exact, exact))
        lengths[~np.isfinite(lengths) | (lengths == 0)] = np.nan
        unit: npt.NDArray[np.float32] = (exact / lengths[:, None]).astype(np.float32)
    return unit
