"""The index of faiss: made once, made again for another store, exact in what it finds."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from protclip_core.store.reader import EmbeddingStore
from protclip_core.store.writer import StoreWriter
from protclip_core.tasks.search import index as search_index
from protclip_core.tasks.search.index import choose_backend
from protclip_core.tasks.search.request import SearchRequest
from protclip_core.tasks.search.task import search
from protclip_core.vectors.store_model import StoreModel, StoreVectors
from tests.support.refusals import refused


def write_store(path, *, seed=0, count=3000, dim=24):
    """Vectors in clouds, as those of protein families are; two of them have no direction."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(60, dim))
    vectors = centres[rng.integers(0, 60, count)] + 0.5 * rng.normal(size=(count, dim))
    vectors[10], vectors[11] = 0, vectors[12]
    with StoreWriter(path, dim, "float32") as writer:
        ids = [f"p{i}" for i in range(count)]
        digests = np.zeros((count, 32), np.uint8)
        flags = np.zeros(count, np.uint16)
        writer.write(ids, vectors.astype(np.float32), np.ones(count), flags, digests)
    return path


def run(path, backend, *ids, **options):
    return list(search(SearchRequest(store=path, like=ids, backend=backend, **options)))


@pytest.fixture
def path(tmp_path):
    pytest.importorskip("faiss")
    return write_store(tmp_path / "x.h5")


IDS = [f"p{i}" for i in range(100, 160)]


def test_what_it_finds_is_exact_and_nearly_all(path, caplog):
    exact = {(h.query, h.id): h.cosine for h in run(path, "exact", *IDS)}
    with caplog.at_level(logging.WARNING):
        found = run(path, "faiss", *IDS)
    assert len(found) == len(exact) == 600
    shared = [(h.query, h.id) for h in found if (h.query, h.id) in exact]
    assert len(shared) >= 0.9 * 600
    assert all(h.cosine == exact[h.query, h.id] for h in found if (h.query, h.id) in exact)
    assert all(h.id not in (h.query, "p10") for h in found)
    for first, second in zip(found, found[1:], strict=False):
        assert first.query != second.query or first.cosine >= second.cosine
    card = json.loads((path.parent / "x.h5.faiss.json").read_text())
    assert card["recall_at_10"] >= 0.95
    assert 1 <= card["cells_searched"] < card["cells"]
    assert f"{100 * card['recall_at_10']:.1f}% of the nearest are found" in caplog.text


def test_equal_vectors_and_least_cosine(path):
    found = run(path, "faiss", "p11", min_cosine=0.999)
    assert [(h.id, h.cosine) for h in found] == [("p12", 1.0)]
    found = run(path, "faiss", "p13", exclude_self=False, top_k=1)
    assert [(h.id, h.cosine) for h in found] == [("p13", 1.0)]


def test_it_is_made_once_for_a_store(path):
    index = path.parent / "x.h5.faiss"
    first = run(path, "faiss", *IDS[:3])
    made = index.stat().st_mtime_ns
    assert run(path, "faiss", *IDS[:3]) == first
    assert index.stat().st_mtime_ns == made
    write_store(path, seed=1)
    assert run(path, "faiss", *IDS[:3]) != first
    assert index.stat().st_mtime_ns != made
    again = run(path, "faiss", *IDS[:3])
    # A cut index, or a card that is none, is as good as none.
    index.write_bytes(index.read_bytes()[:-5])
    assert run(path, "faiss", *IDS[:3]) == again
    index.with_name("x.h5.faiss.json").write_text("{}")
    assert run(path, "faiss", *IDS[:3]) == again
    left = sorted(p.name for p in path.parent.iterdir() if not p.name.endswith(".lock"))
    assert left == ["x.h5", "x.h5.faiss", "x.h5.faiss.json"]


def test_auto_takes_an_index_that_is_there_for_a_large_store(path):
    with EmbeddingStore.open(path) as store:
        vectors = StoreVectors(StoreModel(store, None, "cpu"), "encoder")
        assert choose_backend("auto", vectors, worth_an_index=3000) == "exact"
        run(path, "faiss", "p1")
        assert choose_backend("auto", vectors, worth_an_index=3000) == "faiss"
        assert choose_backend("auto", vectors, worth_an_index=3001) == "exact"
        assert choose_backend("auto", vectors) == "exact"
        assert choose_backend("exact", vectors, worth_an_index=1) == "exact"


def test_without_faiss(tmp_path, monkeypatch):
    """As on a machine that lacks the extra."""
    path = write_store(tmp_path / "x.h5", count=50)
    monkeypatch.setattr(search_index, "find_spec", lambda name: None)
    assert run(path, "auto", "p1") == run(path, "exact", "p1")
    with refused("usage.missing_library", "pip install"):
        run(path, "faiss", "p1")
