"""Where GO terms lie: a space in which terms that mean alike, or annotate alike, are near.

The text tower of a small model is too weak to find out from pairs alone which terms go together.
So it is first taught a space that is computed at once, from two sides: the words of a term's name
and definition (latent semantic analysis: TF-IDF, then a truncated SVD; Deerwester et al. 1990),
and the proteins of the training split that carry it (the same, with proteins as documents and
propagated terms as words). Terms that annotate no protein take the place of their parents on the
second side.

Legend: G terms of the table, N proteins, K width of a side; the space has both sides, 2 K.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from train.data.go_terms import GoTerms

__all__ = ["annotation_side", "protein_targets", "specificity", "term_space", "word_side"]

#: A name says what a term is, its definition adds to it.
_NAME_WEIGHT = 3


def term_space(terms: GoTerms, annotations: Sequence[np.ndarray], width: int) -> np.ndarray:
    """Return unit vectors of all terms.

    Parameters
    ----------
    terms
        The table of GO.
    annotations
        Propagated terms of each training protein, without roots; empty where it has none.
    width
        K, of each side; at most the number of terms less one.

    Returns
    -------
    numpy.ndarray
        ``(G, 2 K)`` float32. A term without words or annotated relatives has zeros on that side;
        a row is of length 1, or 0 where both sides are empty.
    """
    sides = word_side(terms, width), annotation_side(terms, annotations, width)
    return _unit(np.concatenate(sides, axis=1))


def word_side(terms: GoTerms, width: int) -> np.ndarray:
    """Return unit vectors ``(G, K)`` of the words of names and definitions."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [
        " ".join([name] * _NAME_WEIGHT + [definition])
        for name, definition in zip(terms.names, terms.definitions)
    ]
    vectorizer = TfidfVectorizer(sublinear_tf=True, stop_words="english")
    found = _reduce(vectorizer.fit_transform(texts), width)[0]
    found -= found.mean(axis=0)
    return _unit(found)


def annotation_side(
    terms: GoTerms, annotations: Sequence[np.ndarray], width: int, *, least: int = 3
) -> np.ndarray:
    """Return unit vectors ``(G, K)`` of terms by the proteins that carry them.

    Each term is also a document of its own, with its ancestors as words, if ``least`` proteins
    carry it: so what the ontology knows counts as much as what few proteins show.
    """
    table = _table(annotations, len(terms))
    counts = np.asarray(table.sum(axis=0)).ravel()
    weight = specificity(counts, sum(len(own) > 0 for own in annotations))
    common = np.flatnonzero(counts >= least)
    lineages = _table([np.array(sorted(terms.ancestors(int(t)))) for t in common], len(terms))
    rows = sp.vstack([_unit_rows(part @ sp.diags(weight)) for part in (table, lineages)]).tocsr()
    # Between a plain and a fully normalised co-occurrence: frequent terms shall not be all.
    norm = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=0)).ravel())
    rows = rows @ sp.diags(1 / np.sqrt(np.maximum(norm, 1e-6)))
    _, values, columns = _reduce(rows.tocsr(), width)
    found = _unit(columns * np.sqrt(values))
    found[counts == 0] = 0
    return _inherit(found, terms, counts)


def specificity(counts: np.ndarray, proteins: int) -> np.ndarray:
    """Return ``log(proteins / count)`` of each term, 0 where the count is 0; ``(G,)`` float64."""
    found = np.log(max(proteins, 1) / np.maximum(counts, 1))
    return np.where(counts > 0, np.maximum(found, 0.0), 0.0)


def protein_targets(
    space: np.ndarray, annotations: Sequence[np.ndarray], weight: np.ndarray
) -> np.ndarray:
    """Return where proteins lie: the mean of their terms, weighted by `specificity`.

    Parameters
    ----------
    space
        ``(G, 2 K)``.
    annotations
        Propagated terms of each protein.
    weight
        ``(G,)``.

    Returns
    -------
    numpy.ndarray
        ``(N, 2 K)`` float32; of length 1, or 0 without a term that says anything.
    """
    found = np.zeros((len(annotations), space.shape[1]), dtype=np.float32)
    for row, own in enumerate(annotations):
        found[row] = weight[own] @ space[own]
    return _unit(found)


def _table(rows: Sequence[np.ndarray], columns: int) -> sp.csr_matrix:
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    places = np.concatenate([*rows, np.empty(0, dtype=np.int64)]).astype(np.int64)
    return sp.csr_matrix((np.ones(len(places)), places, starts), shape=(len(rows), columns))


def _unit_rows(table: sp.csr_matrix) -> sp.csr_matrix:
    norm = np.sqrt(np.asarray(table.multiply(table).sum(axis=1)).ravel())
    return sp.diags(1 / np.maximum(norm, 1e-6)) @ table


def _reduce(table: sp.csr_matrix, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truncate an SVD: rows times values ``(rows, K)``, values ``(K,)``, columns ``(., K)``."""
    from sklearn.decomposition import TruncatedSVD

    kept = min(width, min(table.shape) - 1)
    svd = TruncatedSVD(kept, n_iter=3, random_state=0)
    rows = svd.fit_transform(table)
    # Small data have fewer directions than asked for; what is missing stays empty.
    pad = ((0, 0), (0, width - kept))
    values = np.pad(svd.singular_values_, (0, width - kept))
    return np.pad(rows, pad), values, np.pad(svd.components_.T, pad)


def _inherit(vectors: np.ndarray, terms: GoTerms, counts: np.ndarray) -> np.ndarray:
    """Give each term that annotates nothing the mean of its ancestors that annotate something."""
    for term in np.flatnonzero(counts == 0):
        above = [t for t in terms.ancestors(int(term)) if counts[t] > 0]
        if above:
            # The rarest ancestors are the nearest.
            nearest = sorted(above, key=lambda t: counts[t])[:3]
            vectors[term] = vectors[nearest].mean(axis=0)
    return _unit(vectors)


def _unit(vectors: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: np.ndarray = np.divide(vectors, norm, out=np.zeros_like(vectors), where=norm > 1e-6)
    return found.astype(np.float32)
