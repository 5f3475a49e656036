"""Find proteins by words or by likeness, and the texts that fit a protein.

Proteins and texts are compared by the cosine of their vectors in the joint space of the model that
made the store; encoder vectors are projected into it on the way. Where that model knows no texts,
proteins are compared with each other in the encoder's space.

Legend: Q queries, P width of the space that is searched.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError, UsageError
from protclip_core.io.phrases import Phrase, read_phrases
from protclip_core.measure.nearest import Nearest, Neighbours, block_rows, nearest, usable_rows
from protclip_core.progress import Progress, SilentProgress
from protclip_core.records import counted, printable
from protclip_core.store.reader import EmbeddingStore
from protclip_core.tasks.search.index import choose_backend, search_index
from protclip_core.tasks.search.queries import Queries, protein_queries, read_texts
from protclip_core.tasks.search.request import SearchRequest
from protclip_core.terms.known_words import tell_unknown_words
from protclip_core.vectors.store_model import StoreModel, StoreVectors, resolve_space
from protclip_core.vectors.tables import AnyStore

__all__ = ["Hit", "search"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hit:
    """One thing found for one query.

    Attributes
    ----------
    query
        The text or its id, or the id of the protein.
    rank
        From 1.
    id
        Id of the protein found, or of the text.
    cosine
        From -1 to 1.
    text
        The text found; ``None`` where a protein is.
    """

    query: str
    rank: int
    id: str
    cosine: float
    text: str | None = None


def search(request: SearchRequest, progress: Progress | None = None) -> Iterator[Hit]:
    """Search a store.

    Parameters
    ----------
    request
        What for.
    progress
        Told how many proteins have been looked at.

    Yields
    ------
    Hit
        Query by query in the order given, best first; of equal cosines, the earlier row of the
        store (line of the file of texts) first. A query that finds nothing yields nothing.

    Raises
    ------
    UsageError
        No query or contradicting ones, or what the store's model does not do.
    InputError
        An empty store, an unknown id, a bad file of texts or proteins.
    ModelError, BusyError, ResourceError
        As `EmbeddingStore.open`, `StoreModel.info` and `load_model`.

    Examples
    --------
    >>> from importlib.resources import files
    >>> from pathlib import Path
    >>> from protclip_core import EmbedRequest, SearchRequest, embed_to_store, search
    >>> path = str(files("protclip_core") / "bundled/example.fasta")
    >>> _ = embed_to_store(EmbedRequest(inputs=(path,), output=Path("example.h5"), overwrite=True))
    >>> request = SearchRequest(store=Path("example.h5"), texts=("oxygen transport",), top_k=3)
    >>> len(list(search(request)))
    3
    """
    progress = progress or SilentProgress()
    _check(request)
    with EmbeddingStore.open(request.store) as store:
        if not len(store):
            raise InputError(
                "holds no proteins",
                code="input.empty",
                where=str(store.path),
                hint="embed some first",
            )
        model = StoreModel(store, request.model, request.device)
        if request.model is not None:
            _ = model.info  # a model that did not make the store is refused, needed or not
        with_texts = not request.like or request.against is not None
        vectors = StoreVectors(model, resolve_space(model, request.space, texts=with_texts))
        if request.against is not None:
            yield from _texts_of_proteins(request, model, vectors, progress)
        else:
            yield from _proteins(request, model, vectors, progress)


def _check(request: SearchRequest) -> None:
    """Refuse what needs no store to be seen as wrong."""
    if request.top_k < 1:
        raise UsageError(
            f"--top-k {request.top_k} finds nothing",
            code="usage.bad_value",
            hint="ask for 1 or more",
        )
    if request.min_cosine is not None and not -1 <= request.min_cosine <= 1:
        raise UsageError(
            f"--min-cosine {request.min_cosine} is not a cosine",
            code="usage.bad_value",
            hint="use -1 to 1",
        )
    texts = bool(request.texts) or request.query_file is not None
    if texts and request.like:
        raise UsageError(
            "texts and --like are two searches",
            code="usage.conflicting_options",
            hint="give one of them",
        )
    if texts and request.against is not None:
        raise UsageError(
            "--texts finds texts for proteins, not for texts",
            code="usage.conflicting_options",
            hint="give --like, or drop a text",
        )
    if not texts and not request.like and request.against is None:
        raise UsageError(
            "nothing to search for",
            code="usage.missing_option",
            hint="give a text, --query-file, --like or --texts",
        )
    if request.exclude_self is not None and (not request.like or request.against is not None):
        raise UsageError(
            "--exclude-self and --include-self are for proteins found by --like",
            code="usage.conflicting_options",
            hint="drop it",
        )
    if request.backend != "auto" and request.against is not None:
        raise UsageError(
            "--backend is for finding proteins, not --texts",
            code="usage.conflicting_options",
            hint="drop --backend",
        )
    if [request.query_file, request.against, *request.like].count("-") > 1:
        raise UsageError("standard input (-) can be read once only", code="usage.stdin_twice")


def _proteins(
    request: SearchRequest, model: StoreModel, vectors: StoreVectors, progress: Progress
) -> Iterator[Hit]:
    """Find proteins for texts or for proteins."""
    if request.like:
        queries = protein_queries(
            request.like,
            model,
            vectors,
            progress,
            exclude_self=request.exclude_self,
            modality=request.modality,
        )
    else:
        phrases = read_texts(request.texts, request.query_file)
        queries = Queries(
            [phrase.id for phrase in phrases],
            _embed(model, phrases),
            np.full(len(phrases), -1, np.int64),
        )
    if choose_backend(request.backend, vectors) == "faiss":
        found = search_index(vectors, queries, request.top_k, request.min_cosine, progress)
    else:
        found = _exact(request, vectors, queries, progress)
    _tell_left_out(vectors.store, found.left_out, found.first_left_out)
    _tell_without_hits(int((found.rows[:, 0] < 0).sum()), len(queries.labels), request.min_cosine)
    ids = _ids_at(vectors.store, found.rows)
    for label, rows, cosines in zip(queries.labels, found.rows, found.scores, strict=True):
        for rank, row in enumerate(rows[rows >= 0]):
            yield Hit(label, rank + 1, ids[int(row)], float(cosines[rank]))


def _embed(model: StoreModel, phrases: list[Phrase]) -> npt.NDArray[np.float32]:
    """Embed texts, and say of which of them the model knows nothing."""
    texts = [phrase.text for phrase in phrases]
    found = model.embed_text(texts)
    tell_unknown_words(model.text_model, texts)
    return found


def _exact(
    request: SearchRequest, vectors: StoreVectors, queries: Queries, progress: Progress
) -> Neighbours:
    job = Nearest(
        queries.vectors,
        min(request.top_k, len(vectors.store)),
        min_score=request.min_cosine,
        exclude=queries.own_rows,
    )
    progress.start("searching", len(vectors.store), "proteins")
    for block in vectors.blocks():
        job.add(block)
        progress.advance(len(block))
    progress.finish()
    return job.result()


def _texts_of_proteins(
    request: SearchRequest, model: StoreModel, vectors: StoreVectors, progress: Progress
) -> Iterator[Hit]:
    """Find texts for proteins: for those of ``like``, or block by block for the whole store."""
    assert request.against is not None
    phrases = read_phrases(request.against)
    targets = _embed(model, phrases)
    if request.like:
        queries = protein_queries(
            request.like, model, vectors, progress, exclude_self=False, modality=request.modality
        )
        parts = iter([(queries.labels, queries.vectors)])
    else:
        # The names come with the hits here, so what they are worth has to be known before.
        for _ in vectors.store.iter_ids():
            pass
        size = block_rows(vectors.store.dim)
        parts = zip(vectors.store.iter_ids(size), vectors.blocks(), strict=True)
    progress.start("searching", 0 if request.like else len(vectors.store), "proteins")
    left_out = without = count = 0
    first = -1
    for labels, block in parts:
        usable = usable_rows(block)
        if not left_out and not usable.all():
            first = count + int(np.flatnonzero(~usable)[0])
        left_out += int((~usable).sum())
        count += len(labels)
        kept = [label for label, good in zip(labels, usable, strict=True) if good]
        hits = nearest(
            block[usable],
            targets,
            min(request.top_k, len(phrases)),
            min_score=request.min_cosine,
        )
        without += int((hits.rows[:, 0] < 0).sum())
        yield from _text_hits(kept, hits, phrases)
        progress.advance(len(labels))
    progress.finish()
    _tell_left_out(vectors.store, left_out, first)
    _tell_without_hits(without, count - left_out, request.min_cosine)


def _text_hits(labels: list[str], hits: Neighbours, phrases: list[Phrase]) -> Iterator[Hit]:
    for label, rows, cosines in zip(labels, hits.rows, hits.scores, strict=True):
        for rank, row in enumerate(rows[rows >= 0]):
            phrase = phrases[int(row)]
            yield Hit(label, rank + 1, phrase.id, float(cosines[rank]), phrase.text)


def _ids_at(store: AnyStore, rows: npt.NDArray[np.int64]) -> dict[int, str]:
    """Return the ids of rows; all ids pass by and are checked, few are kept."""
    wanted = np.unique(rows[rows >= 0])
    found, start = dict[int, str](), 0
    for block in store.iter_ids():
        here = wanted[(wanted >= start) & (wanted < start + len(block))]
        found |= {int(row): block[int(row) - start] for row in here}
        start += len(block)
    if store.layout == "foreign" and len(set(store.ids)) != len(store.ids):
        _log.warning("%s: some ids occur more than once", store.path)
    return found


def _tell_left_out(store: AnyStore, count: int, first: int) -> None:
    if not count:
        return
    id = printable(next(iter(_ids_at(store, np.array([first])).values())))
    _log.warning(
        "%s: %s left out, whose vector is zero or not finite (%s%s)",
        store.path,
        counted(count, "protein"),
        id,
        "" if count == 1 else " is the first",
    )


def _tell_without_hits(without: int, count: int, min_cosine: float | None) -> None:
    if without and min_cosine is not None:
        what = f"{without:,} of {count:,} queries" if count > 1 else "the query"
        _log.warning("%s found nothing of cosine %g or more", what, min_cosine)
    elif without:
        _log.warning("%s of %s found nothing", f"{without:,}", counted(count, "query", "queries"))
