"""Search by an index of faiss, for stores of more than about a million proteins.

The index lies next to its store (``x.h5.faiss``, with ``x.h5.faiss.json`` that says what it was
made from) and is made once. It holds every vector at one byte a number, in cells around k-means
centres; a search looks into the cells nearest to the query, which reads a few per cent of the
file, and compares what it finds there with the store's own vectors. So a cosine is exact, but a
hit may be missing. How many are missing is measured when the index is made, on proteins of the
store, and the number of cells is chosen for it.

Legend: N proteins, Q queries, P width of the space that is searched, k neighbours of a query.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from protclip_core.errors import ResourceError, UsageError
from protclip_core.io.atomic import file_lock, open_temp, publish, require_space, write_atomic
from protclip_core.measure.nearest import Nearest, Neighbours, nearest, usable_rows
from protclip_core.progress import Progress
from protclip_core.records import counted
from protclip_core.store.format import USER_BLOCK, UserBlock
from protclip_core.tasks.search.queries import Queries
from protclip_core.vectors.store_model import StoreVectors

__all__ = ["BACKENDS", "WORTH_AN_INDEX", "choose_backend", "search_index"]

_log = logging.getLogger(__name__)

BACKENDS = ("auto", "exact", "faiss")
#: Proteins from which on an index is taken, if there is one.
WORTH_AN_INDEX = 1_000_000

_RECALL = 0.95  # of the ten nearest, on average, is what the cells are chosen for
_PROBES = 200  # proteins that recall is measured on
_RECALL_AT = 10
_MARGIN = 4  # times k candidates are compared exactly, since a byte a number is rough

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class _Card:
    """What an index was made from (``made``: see `VectorSpec`), and how good it is."""

    source: str
    space: str
    proteins: int
    cells: int
    cells_searched: int
    recall_at_10: float
    index_bytes: int
    made: dict[str, Any] = field(default_factory=dict)


def choose_backend(
    backend: str, vectors: StoreVectors, *, worth_an_index: int = WORTH_AN_INDEX
) -> str:
    """Choose between ``"exact"`` and ``"faiss"``.

    ``"auto"`` takes faiss for a large store that has an index already: it never makes one, which
    takes minutes and a file of about N x P bytes. ``"faiss"`` makes one where there is none.

    Raises
    ------
    UsageError
        An unknown word, or faiss where it is not installed.
    """
    if backend not in BACKENDS:
        raise UsageError(
            f"backend {backend!r} is not known",
            code="usage.unknown_value",
            hint=f"use {', '.join(BACKENDS)}",
        )
    installed = find_spec("faiss") is not None
    if backend == "faiss" and not installed:
        raise UsageError(
            "--backend faiss needs the library faiss",
            code="usage.missing_library",
            hint="pip install 'protclip[faiss]', or use --backend exact",
        )
    if backend != "auto":
        return backend
    large = len(vectors.store) >= worth_an_index
    return "faiss" if large and installed and _read_card(vectors) is not None else "exact"


def search_index(
    vectors: StoreVectors, queries: Queries, k: int, min_score: float | None, progress: Progress
) -> Neighbours:
    """Find the k nearest of each query by the store's index, which is made if it is missing.

    Parameters
    ----------
    vectors
        The store in the space of the search.
    queries, k, min_score
        As for `protclip_core.measure.nearest.nearest`.

    Raises
    ------
    ResourceError
        The disk or memory does not suffice for the index.
    UsageError, BusyError
        The store's folder cannot be written, or another process makes the index.
    """
    import faiss

    path, card = _path(vectors), _read_card(vectors)
    if card is None:
        with file_lock(path):
            card = _read_card(vectors) or _build(vectors, path, progress)
    _log.warning(
        "searched by index: %.1f%% of the nearest are found, as measured on the store's own "
        "proteins (--backend exact finds all)",
        100 * card.recall_at_10,
    )
    index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
    k = min(k, len(vectors.store))
    normal = queries.vectors / np.linalg.norm(queries.vectors, axis=1, keepdims=True)
    _, found = index.search(normal.astype(np.float32), min(_MARGIN * k + 1, card.proteins))
    return _rank(vectors, queries, np.sort(found, axis=1), k, min_score)


def _rank(
    vectors: StoreVectors, queries: Queries, found: Any, k: int, min_score: float | None
) -> Neighbours:
    """Compare candidates ``(Q, m)`` with the store's vectors and keep the best k of each query."""
    rows = np.full((len(queries.labels), k), -1, np.int64)
    scores = np.full(rows.shape, np.nan, np.float32)
    for query, candidates in enumerate(found):
        own = candidates[(candidates >= 0) & (candidates != queries.own_rows[query])]
        # In the order of rows, so that equal cosines stay in it.
        best = nearest(
            queries.vectors[query : query + 1], vectors.read(own), k, min_score=min_score
        )
        places = best.rows[0]
        some = places >= 0
        rows[query, some] = own[places[some]]
        scores[query] = best.scores[0]
    return Neighbours(rows, scores)


def _build(vectors: StoreVectors, path: Path, progress: Progress) -> _Card:
    """Make the index, measure it, and write it next to the store."""
    import faiss

    n = len(vectors.store)
    sample = vectors.read(np.unique(np.linspace(0, n - 1, min(n, 64 * _cells(n))).astype(int)))
    sample = _unit(sample[usable_rows(sample)])
    if not len(sample):
        raise UsageError(
            "has no vectors to index", code="input.no_usable_vector", where=str(vectors.store.path)
        )
    dim, cells = sample.shape[1], min(_cells(n), max(1, len(sample) // 39))
    require_space(path, n * (dim + 8) + 4 * cells * dim + (1 << 20))
    _log.warning("%s: building this index once, from %s", path, counted(n, "protein"))
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dim),
        dim,
        cells,
        faiss.ScalarQuantizer.QT_8bit,
        faiss.METRIC_INNER_PRODUCT,
    )
    index.cp.spherical = True
    index.cp.min_points_per_centroid = 1  # else faiss itself writes to standard error
    index.train(sample)
    probes = sample[np.unique(np.linspace(0, len(sample) - 1, _PROBES).astype(int))]
    truth = Nearest(probes, min(_RECALL_AT, n))
    progress.start("indexing", n, "proteins")
    for block in vectors.blocks():
        truth.add(block)
        # Zeros have a product of 0 with everything, and are dropped when hits are compared.
        index.add(_unit(np.where(usable_rows(block)[:, None], block, np.float32(0))))
        progress.advance(len(block))
    progress.finish()
    recall = _choose_cells(index, probes, truth.result().rows, cells)
    size = _write(index, path)
    card = _Card(
        source=_source(vectors.store.path),
        space=vectors.space,
        proteins=n,
        cells=cells,
        cells_searched=int(index.nprobe),
        recall_at_10=recall,
        index_bytes=size,
        made=vectors.spec.to_dict(),
    )
    write_atomic(_card_path(path), (json.dumps(asdict(card), indent=1) + "\n").encode())
    return card


def _cells(n: int) -> int:
    return max(1, int(n**0.5))


def _choose_cells(index: Any, probes: Floats, truth: Any, cells: int) -> float:
    """Look into ever more cells until recall is as wanted, or all are looked into."""
    index.nprobe, recall = 1, 0.0
    while True:
        _, found = index.search(probes, min(_MARGIN * _RECALL_AT + 1, index.ntotal))
        hits = [np.isin(t[t >= 0], f).mean() for t, f in zip(truth, found, strict=True)]
        recall = float(np.mean(hits))
        if recall >= _RECALL or index.nprobe >= cells:
            return recall
        index.nprobe = min(2 * index.nprobe, cells)


def _write(index: Any, path: Path) -> int:
    """Write an index so that it appears whole; returns its bytes."""
    import faiss

    fd, temp = open_temp(path)
    try:
        with os.fdopen(fd, "rb") as handle:
            try:
                faiss.write_index(index, str(temp))
            except RuntimeError as error:
                raise ResourceError(
                    "cannot be written completely",
                    code="resource.disk_full",
                    where=str(path),
                    hint="make room on its disk",
                ) from error
            os.fsync(handle.fileno())
            size = temp.stat().st_size
            publish(temp, path)
    finally:
        temp.unlink(missing_ok=True)
    return size


def _read_card(vectors: StoreVectors) -> _Card | None:
    """Return what an index next to the store is, if it is of this store and space, and whole."""
    path = _path(vectors)
    try:
        card = _Card(**json.loads(_card_path(path).read_text("utf-8")))
        fits = path.stat().st_size == card.index_bytes
    except (OSError, ValueError, TypeError):
        return None
    fits = fits and (card.source, card.space) == (_source(vectors.store.path), vectors.space)
    return card if fits else None


def _path(vectors: StoreVectors) -> Path:
    store = vectors.store.path
    return store.with_name(f"{store.name}.faiss")


def _card_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _source(store: Path) -> str:
    """Name the content of a store: by the hash that it states, else by size and time."""
    with store.open("rb") as handle:
        block = UserBlock.from_bytes(handle.read(USER_BLOCK))
    if block is not None:
        return f"sha256 {block.sha256}"
    found = store.stat()
    return f"{found.st_size} bytes of {found.st_mtime_ns}"


def _unit(vectors: Floats) -> Floats:
    """Return vectors at unit length; zeros as they are."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return unit
