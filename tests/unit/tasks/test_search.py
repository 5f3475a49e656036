"""The search task: every kind of query against plain products of what the model itself gives."""

from __future__ import annotations

import logging
from importlib.resources import files

import h5py
import numpy as np
import pytest

from protclip_core.errors import InputError, ModelError
from protclip_core.models.loading import load_model
from protclip_core.store.reader import EmbeddingStore
from protclip_core.store.writer import StoreWriter
from protclip_core.tasks.embed.task import embed_to_store
from protclip_core.tasks.search.request import SearchRequest
from protclip_core.tasks.search.task import search
from protclip_core.vectors.embed_request import EmbedRequest
from tests.support.helpers import random_proteins, write_fasta
from tests.support.refusals import refused
from tests.unit.models.dual import Dual

PROTEINS = random_proteins(40, seed=8, shortest=3, longest=90)
OTHERS = random_proteins(3, seed=9, shortest=3, longest=90, prefix="q")
TEXTS = ["zinc", "atp binding kinase", "membrane of the zinc"]


def encoder_alone(tensors):
    for name in [n for n in tensors if not n.startswith("protein_encoder.")]:
        del tensors[name]


def run(**options):
    return list(search(SearchRequest(device="cpu", **options)))


def embed(folder, name, model, **options):
    fasta = write_fasta(folder / "x.fa", PROTEINS)
    request = EmbedRequest(
        inputs=(str(fasta),), output=folder / name, model=str(model), device="cpu", **options
    )
    embed_to_store(request)
    return folder / name


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two models, and stores that they made; ``t.tsv`` holds texts and ``q.fa`` proteins."""
    folder = tmp_path_factory.mktemp("search")
    dual = Dual().write(folder / "dual")
    alone = Dual().write(
        folder / "alone",
        change=encoder_alone,
        config={"projection_dim": None, "text_encoder": None, "name": "alone"},
    )
    embed(folder, "encoder.h5", dual)
    embed(folder, "joint.h5", dual, space="joint")
    embed(folder, "each.h5", dual, layout="per-protein")
    embed(folder, "half.h5", dual, store_dtype="float16")
    embed(folder, "inner.h5", dual, layer=1)
    embed(folder, "residues.h5", dual, pooling="residues")
    embed(folder, "alone.h5", alone)
    (folder / "t.tsv").write_text("".join(f"T{i}\t{t}\n" for i, t in enumerate(TEXTS)))
    write_fasta(folder / "q.fa", OTHERS)
    return folder


@pytest.fixture(scope="module")
def model(place):
    return load_model(place / "dual", device="cpu")


def best(queries, vectors, labels, ids, k):
    """What is to be found: ``(query, rank, id, cosine)``, of unit vectors."""
    cosines = np.asarray(queries, np.float64) @ np.asarray(vectors, np.float64).T
    for label, row in zip(labels, cosines, strict=True):
        for rank, i in enumerate(np.argsort(-row, kind="stable")[:k]):
            yield label, rank + 1, ids[i], row[i]


def same(hits, expected, tolerance=1e-5):
    expected = list(expected)
    assert [(h.query, h.rank, h.id) for h in hits] == [e[:3] for e in expected]
    np.testing.assert_allclose([h.cosine for h in hits], [e[3] for e in expected], atol=tolerance)


IDS = [id for id, _ in PROTEINS]


@pytest.mark.parametrize("name", ["encoder.h5", "joint.h5", "each.h5"])
def test_proteins_for_texts(place, model, name):
    hits = run(store=place / name, texts=tuple(TEXTS), model=str(place / "dual"), top_k=5)
    proteins = dict(PROTEINS)
    with EmbeddingStore.open(place / name) as store:
        ids = store.ids  # in the layout of one dataset a protein they are in another order
    vectors = model.embed_proteins([proteins[id] for id in ids])
    same(hits, best(model.embed_text(TEXTS), vectors, TEXTS, ids, 5))
    assert all(hit.text is None for hit in hits)


def test_vectors_stored_in_half_precision(place, model):
    hits = run(store=place / "half.h5", texts=("zinc",), model=str(place / "dual"), top_k=40)
    vectors = model.embed_proteins([s for _, s in PROTEINS])
    cosine = dict(zip(IDS, vectors @ model.embed_text(["zinc"])[0], strict=True))
    np.testing.assert_allclose([h.cosine for h in hits], [cosine[h.id] for h in hits], atol=5e-3)


def test_texts_of_a_file_come_behind_those_given(place):
    options = {"store": place / "joint.h5", "model": str(place / "dual"), "top_k": 1}
    hits = run(texts=("zinc",), query_file=str(place / "t.tsv"), **options)
    assert [hit.query for hit in hits] == ["zinc", "T0", "T1", "T2"]
    assert hits[0].id == hits[1].id
    assert hits[0].cosine == pytest.approx(hits[1].cosine, abs=1e-6)


def test_an_id_of_two_texts_is_refused_and_one_that_repeats_is_not(place, tmp_path):
    options = {"store": place / "joint.h5", "model": str(place / "dual"), "top_k": 1}
    (tmp_path / "t.tsv").write_text("t1\tzinc\nt2\tkinase\nt1\tzinc\n")
    hits = run(query_file=str(tmp_path / "t.tsv"), **options)
    assert [hit.query for hit in hits] == ["t1", "t2", "t1"]
    (tmp_path / "t.tsv").write_text("t1\tzinc\nt1\tkinase\n")
    with refused("input.duplicate_id", "t1"):
        run(query_file=str(tmp_path / "t.tsv"), **options)


@pytest.mark.parametrize("space", ["joint", "encoder"])
def test_proteins_like_one_of_the_store(place, model, space):
    vectors = model.embed([s for _, s in PROTEINS], space=space)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    options = {"store": place / "encoder.h5", "like": ("p7", "p3"), "top_k": 4}
    options |= {"model": str(place / "dual"), "space": space if space == "encoder" else None}
    expected = list(best(vectors[[7, 3]], vectors, ["p7", "p3"], IDS, 5))
    same(run(exclude_self=False, top_k=5, **{k: v for k, v in options.items() if k != "top_k"}),
         expected)  # fmt: skip
    without = [(q, rank - 1, id, cosine) for q, rank, id, cosine in expected if q != id]
    same(run(**options), without)


def test_proteins_like_those_of_a_file(place, model):
    options = {"store": place / "joint.h5", "model": str(place / "dual")}
    vectors = model.embed_proteins([s for _, s in PROTEINS])
    queries = model.embed_proteins([s for _, s in OTHERS])
    names = [id for id, _ in OTHERS]
    hits = run(like=(str(place / "q.fa"),), top_k=3, **options)
    same(hits, best(queries, vectors, names, IDS, 3))
    # Ids and files as they are given; the store's own proteins find themselves in a file.
    hits = run(like=("p5", str(place / "x.fa"), "p6"), top_k=1, **options)
    assert [hit.query for hit in hits] == ["p5", *IDS, "p6"]
    assert [hit.id for hit in hits[1:-1]] == IDS
    assert hits[0].id != "p5" and hits[-1].id != "p6"
    hits = run(like=(str(place / "x.fa"),), top_k=39, exclude_self=True, **options)
    assert len(hits) == 40 * 39
    assert all(hit.query != hit.id for hit in hits)


def test_texts_for_proteins(place, model):
    texts = model.embed_text(TEXTS)
    vectors = model.embed_proteins([s for _, s in PROTEINS])
    options = {"against": str(place / "t.tsv"), "model": str(place / "dual")}
    for name in ("encoder.h5", "joint.h5"):
        hits = run(store=place / name, top_k=2, **options)
        same(hits, best(vectors, texts, IDS, ["T0", "T1", "T2"], 2))
        assert all(hit.text == TEXTS[int(hit.id[1])] for hit in hits)
    hits = run(store=place / "encoder.h5", like=("p4", str(place / "q.fa")), **options)
    queries = np.concatenate([vectors[4:5], model.embed_proteins([s for _, s in OTHERS])])
    same(hits, best(queries, texts, ["p4", "q0", "q1", "q2"], ["T0", "T1", "T2"], 3))


def test_least_cosine_says_what_found_nothing(place, caplog):
    options = {"store": place / "joint.h5", "model": str(place / "dual"), "top_k": 40}
    every = run(texts=tuple(TEXTS), **options)
    least = sorted(hit.cosine for hit in every)[60]
    hits = run(texts=tuple(TEXTS), min_cosine=least, **options)
    assert hits == [hit for hit in every if hit.cosine >= least]
    with caplog.at_level(logging.WARNING):
        assert run(texts=tuple(TEXTS), min_cosine=1.0, **options) == []
    assert "3 of 3 queries found nothing of cosine 1 or more" in caplog.text


def test_a_model_without_texts(place):
    options = {"store": place / "alone.h5", "model": str(place / "alone")}
    with refused("usage.model_without_texts", "--like"):
        run(texts=("zinc",), **options)
    with refused("usage.model_without_texts"):
        run(against=str(place / "t.tsv"), **options)
    with refused("usage.no_joint_space", "--space encoder"):
        run(like=("p1",), space="joint", **options)
    same_encoder = {"store": place / "encoder.h5", "model": str(place / "dual")}
    assert run(like=("p1",), **options) == run(like=("p1",), space="encoder", **same_encoder)
    (hit,) = run(like=(str(place / "q.fa"),), top_k=1, **options)[:1]
    assert hit.query == "q0"


def test_another_model_is_refused(place, tiny_bundle):
    options = {"store": place / "encoder.h5", "model": str(tiny_bundle)}
    with EmbeddingStore.open(place / "encoder.h5") as store:
        stored = store.attributes["weights_sha256"]
    own = load_model(tiny_bundle, device="cpu").weights_sha256
    for query in ({"texts": ("zinc",)}, {"like": ("p1",)}, {"like": (str(place / "q.fa"),)}):
        with pytest.raises(ModelError) as caught:
            run(**query, **options)
        assert stored[:16] in str(caught.value) and own[:16] in str(caught.value)
        assert caught.value.hint is not None and "--model" in caught.value.hint
    with refused("model.not_found", "dual", "--model"):
        run(store=place / "encoder.h5", texts=("zinc",))
    with pytest.raises(ModelError, match="no model of this name"):
        run(store=place / "encoder.h5", texts=("zinc",), model="nosuch")
    # Where nothing is projected, the model need not be here.
    assert run(store=place / "encoder.h5", like=("p1",), space="encoder")
    assert run(store=place / "joint.h5", like=("p1",))


def test_vectors_that_the_projection_was_not_made_for(place, caplog):
    options = {"model": str(place / "dual"), "texts": ("zinc",)}
    with refused("usage.inner_layer", "layer 1"):
        run(store=place / "inner.h5", **options)
    with caplog.at_level(logging.WARNING):
        run(store=place / "residues.h5", **options)
    assert "means over residues, model dual was trained on means over tokens" in caplog.text


def made_by_hand(path, vectors, ids=None, **attributes):
    n = len(vectors)
    ids = [f"p{i}" for i in range(n)] if ids is None else ids
    with StoreWriter(path, vectors.shape[1], "float32", attributes) as writer:
        if n:
            digests = np.zeros((n, 32), np.uint8)
            writer.write(ids, vectors, np.ones(n), np.zeros(n, np.uint16), digests)
    return path


def test_vectors_without_direction(place, tmp_path, caplog):
    path = tmp_path / "odd.h5"
    path.write_bytes((place / "encoder.h5").read_bytes())
    with h5py.File(path, "r+") as h5:  # protclip itself does not write such values
        h5["embeddings"][5], h5["embeddings"][9, 2], h5["embeddings"][20] = 0, np.nan, np.inf
    with path.open("r+b") as file:
        file.write(b"\0" * 512)  # the hash of what it was
    options = {"model": str(place / "dual"), "top_k": 40}
    bad = {"p5", "p9", "p20"}
    for query in ({"texts": ("zinc",)}, {"against": str(place / "t.tsv")}, {"like": ("p1",)}):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            hits = run(store=path, **query, **options)
        all_hits = run(store=place / "encoder.h5", **query, **options)
        kept = [h for h in all_hits if not bad & {h.query, h.id}]
        assert [(h.query, h.id) for h in hits] == [(h.query, h.id) for h in kept]
        said = "3 proteins left out, whose vector is zero or not finite (p5 is the first)"
        assert said in caplog.text
    for id in bad:
        for space in ("encoder", "joint"):
            with refused("input.no_usable_vector", f" {id} "):
                run(store=path, like=(id,), space=space, **options)


def test_an_empty_store(tmp_path):
    path = made_by_hand(tmp_path / "none.h5", np.empty((0, 4), np.float32))
    with refused("input.empty", "none.h5"):
        run(store=path, like=("p1",))


def test_files_of_other_tools(place, tmp_path, caplog):
    """Compared as they are, since nothing says what made them; ids may be there twice."""
    vectors = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    with h5py.File(tmp_path / "foreign.h5", "w") as h5:
        for i, id in enumerate(["a", "b", "a", "c"]):
            h5[f"k{i}"] = vectors[i]
            h5[f"k{i}"].attrs["original_id"] = id
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    with caplog.at_level(logging.WARNING):
        hits = run(store=tmp_path / "foreign.h5", like=("b",), exclude_self=False)
    same(hits, best(unit[1:2], unit, ["b"], ["a", "b", "a", "c"], 4))
    assert "some ids occur more than once" in caplog.text
    with pytest.raises(InputError, match=r"\(a\): the id occurs twice"):
        run(store=tmp_path / "foreign.h5", like=("a",))
    for query in ({"texts": ("zinc",)}, {"like": (str(place / "q.fa"),)}):
        with refused("model.unknown_vectors"):
            run(store=tmp_path / "foreign.h5", **query)


def test_equal_vectors_are_in_the_order_of_the_store(tmp_path):
    vectors = np.ones((9, 4), np.float32)
    path = made_by_hand(tmp_path / "same.h5", vectors)
    hits = run(store=path, like=("p4",), top_k=5)
    assert [hit.id for hit in hits] == ["p0", "p1", "p2", "p3", "p5"]
    assert {hit.cosine for hit in hits} == {1.0}


@pytest.mark.parametrize(
    ("options", "problem", "value"),
    [
        ({}, "missing_option", "--query-file"),
        ({"texts": ("a",), "like": ("p1",)}, "conflicting_options", "--like"),
        ({"texts": ("a",), "against": "t.tsv"}, "conflicting_options", "--texts"),
        ({"texts": ("a",), "top_k": 0}, "bad_value", "--top-k 0"),
        ({"texts": ("a",), "min_cosine": 1.5}, "bad_value", "--min-cosine 1.5"),
        (
            {"texts": ("a",), "min_cosine": float("nan")},
            "bad_value",
            "--min-cosine nan",
        ),
        ({"texts": ("a",), "exclude_self": True}, "conflicting_options", "--exclude-self"),
        ({"texts": ("a",), "space": "encoder"}, "conflicting_options", "--space encoder"),
        ({"like": ("-",), "against": "-"}, "stdin_twice", "-"),
        ({"like": ("p1",), "space": "other"}, "unknown_value", "other"),
        ({"like": ("p1",), "space": "encoder"}, "other_space", "joint.h5"),
        ({"like": ("p1",), "backend": "other"}, "unknown_value", "other"),
        ({"against": "t.tsv", "backend": "exact"}, "conflicting_options", "--backend"),
    ],
)
def test_what_cannot_be_asked(place, options, problem, value):
    with refused(f"usage.{problem}", value):
        run(store=place / "joint.h5", **options)


def test_ids_that_are_not_there(place):
    with refused("input.unknown_protein", "joint.h5", "p99", "40"):
        run(store=place / "joint.h5", like=("p1", "p99"))
    with pytest.raises(InputError, match="text 2: has no words"):
        run(store=place / "joint.h5", texts=("zinc", "  "), model=str(place / "dual"))


def test_a_bare_accession_names_the_only_protein_that_has_it(tmp_path):
    store = tmp_path / "x.h5"
    path = str(files("protclip_core") / "bundled/example.fasta")
    embed_to_store(EmbedRequest(inputs=(path,), output=store, device="cpu"))
    found = list(search(SearchRequest(store=store, like=("P69905",), top_k=2)))
    whole = list(search(SearchRequest(store=store, like=("sp|P69905|HBA_HUMAN",), top_k=2)))
    assert [(one.id, one.cosine) for one in found] == [(one.id, one.cosine) for one in whole]
    assert found[0].id == "sp|P68871|HBB_HUMAN"
    with refused("input.unknown_protein", "Q00000"):
        list(search(SearchRequest(store=store, like=("Q00000",))))
