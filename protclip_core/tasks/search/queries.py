"""What is searched for: texts, proteins of the store, proteins of FASTA files; as vectors.

Legend: Q queries, P width of the space that is searched.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protclip_core import options as opts
from protclip_core.errors import InputError
from protclip_core.io.phrases import Phrase, read_phrases
from protclip_core.io.protein_names import ProteinNames
from protclip_core.io.streams import source_name
from protclip_core.measure.nearest import usable_rows
from protclip_core.progress import Progress
from protclip_core.records import printable
from protclip_core.store.format import duplicate_id
from protclip_core.vectors.source import FastaSource, open_vectors, read_all
from protclip_core.vectors.store_model import StoreModel, StoreVectors
from protclip_core.vectors.tables import AnyStore

__all__ = ["Queries", "find_rows", "is_fasta", "protein_queries", "read_texts"]

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Queries:
    """Queries in the order in which they were given.

    Attributes
    ----------
    labels
        What stands for each in the results.
    vectors
        Shape ``(Q, P)``, float32.
    own_rows
        Row ``(Q,)`` of the store that is not to be found, the query's own; -1 for none.
    """

    labels: list[str]
    vectors: Floats
    own_rows: Rows


def read_texts(texts: Sequence[str], file: str | None) -> list[Phrase]:
    """Return the texts of the command line, then the lines of a file.

    Raises
    ------
    InputError
        As `read_phrases`, or an id that stands for two texts: results could not be told apart.
    """
    found = [Phrase(text, text) for text in texts]
    if file is None:
        return found
    found += read_phrases(file)
    known: dict[str, str] = {}
    for one in found:
        if known.setdefault(one.id, one.text) != one.text:
            raise InputError(
                f"{printable(one.id)!r} stands for two texts",
                code="input.duplicate_id",
                where=source_name(file),
                hint="give each text an id of its own",
            )
    return found


def is_fasta(like: str) -> bool:
    """Tell whether an item of ``--like`` is a file: a path that exists, or ``-``."""
    # os.path, unlike Path, takes any id for an answer.
    return like == "-" or os.path.exists(like)  # noqa: PTH110


def protein_queries(
    like: Sequence[str],
    model: StoreModel,
    vectors: StoreVectors,
    progress: Progress,
    *,
    exclude_self: bool | None,
    modality: opts.Modality = "auto",
) -> Queries:
    """Return proteins as queries, in the order of ``like``.

    Parameters
    ----------
    like
        Ids of the store, and paths of FASTA or structure files.
    model, vectors
        The store's model, and its vectors in the space of the search.
    progress
        Told of the embedding.
    exclude_self
        Whether a query does not find the protein of its id in the store; by default only those
        given by id do not.
    modality
        What is embedded of structure files.

    Raises
    ------
    InputError
        An id that the store does not have, a bad FASTA file, or a vector without a direction.
    ModelError
        As `StoreModel.info`, for FASTA files; or the model gives no numbers for a protein.
    """
    ids = [item for item in like if not is_fasta(item)]
    rows = find_rows(vectors.store, ids)
    missing = None
    if unknown := [id for id in ids if id not in rows]:
        stored = ProteinNames(vectors.store.ids, str(vectors.store.path))
        meant = {id: stored.find(id).id for id in unknown}
        missing = next((id for id, found in meant.items() if found is None), None)
        known_rows = find_rows(vectors.store, [found for found in meant.values() if found])
        rows |= {id: known_rows[found] for id, found in meant.items() if found}
    if missing is not None:
        raise InputError(
            f"no protein {printable(missing)!r} among its {len(vectors.store):,}",
            code="input.unknown_protein",
            where=str(vectors.store.path),
            hint="give an id of the store, or the path of a FASTA file",
        )
    # Files first: what embeds them can project the store's vectors as well.
    files = {
        item: _embed_file(item, model, vectors, progress, modality)
        for item in like
        if is_fasta(item)
    }
    labels: list[str] = []
    parts: list[Floats] = []
    own: list[int] = []
    for item in like:
        if item in files:
            names, found = files[item]
            known = find_rows(vectors.store, names) if exclude_self else {}
            labels += names
            parts.append(found)
            own += [known.get(name, -1) for name in names]
        else:
            vector = vectors.read([rows[item]])
            if not usable_rows(vector).all():
                raise InputError(
                    f"the vector of {printable(item)} is zero or not finite",
                    code="input.no_usable_vector",
                    where=str(vectors.store.path),
                )
            labels.append(item)
            parts.append(vector)
            own.append(-1 if exclude_self is False else rows[item])
    return Queries(labels, np.concatenate(parts), np.array(own, np.int64))


def _embed_file(
    path: str, model: StoreModel, vectors: StoreVectors, progress: Progress, modality: opts.Modality
) -> tuple[list[str], Floats]:
    """Embed the proteins of a file as those of the store were embedded."""
    source = open_vectors(
        [path],
        space=vectors.space,
        like=model.spec,
        model=str(model.info.path),
        device=model.device,
        modality=modality,
    )
    found = read_all(source, progress)
    assert isinstance(source, FastaSource)
    if source.job.protein is not None:
        model.adopt(source.job.protein)
    return found.ids, found.vectors


def find_rows(store: AnyStore, ids: Sequence[str]) -> dict[str, int]:
    """Return the rows of those ids that a store has.

    Raises
    ------
    InputError
        The store has one of them twice.
    """
    wanted, found, start = set(ids), dict[str, int](), 0
    for block in store.iter_ids() if wanted else ():
        for row, id in enumerate(block, start):
            if id in wanted:
                if id in found:
                    raise duplicate_id(store.path, id)
                found[id] = row
        start += len(block)
    return found
