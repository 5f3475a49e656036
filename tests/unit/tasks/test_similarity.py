"""Similarities of proteins beside plain loops over what the store holds, in every form."""

from __future__ import annotations

import logging
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from protclip_core.errors import UsageError
from protclip_core.io.pairs.table import ListedPair
from protclip_core.models.loading import load_model
from protclip_core.store.reader import EmbeddingStore
from protclip_core.store.writer import StoreWriter
from protclip_core.tasks.embed.task import embed_to_store
from protclip_core.tasks.similarity import plot, task
from protclip_core.tasks.similarity.request import SimilarityRequest
from protclip_core.tasks.similarity.task import Similarity
from protclip_core.vectors.embed_request import EmbedRequest
from tests.support.helpers import random_proteins, write_fasta
from tests.support.refusals import refused
from tests.unit.models.dual import Dual

PROTEINS = random_proteins(30, seed=3, shortest=5, longest=60)
OTHERS = random_proteins(7, seed=4, shortest=5, longest=60, prefix="q")
IDS = [id for id, _ in PROTEINS]

spaces = pytest.mark.parametrize("space", ["joint", "encoder"])
metrics = pytest.mark.parametrize("metric", ["cosine", "manhattan"])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("similarity")
    dual = Dual().write(folder / "dual")
    write_fasta(folder / "x.fa", PROTEINS)
    write_fasta(folder / "q.fa", OTHERS)
    for name, fasta, options in (
        ("x.h5", "x.fa", {}),
        ("joint.h5", "x.fa", {"space": "joint"}),
        ("q.h5", "q.fa", {}),
    ):
        request = EmbedRequest(
            inputs=(str(folder / fasta),),
            output=folder / name,
            model=str(dual),
            device="cpu",
            **options,
        )
        embed_to_store(request)
    return folder


@pytest.fixture
def compare(place):
    def compare(*inputs, **options):
        options = {"model": str(place / "dual"), "device": "cpu", "workers": 1} | options
        if "against" in options:
            options["against"] = str(place / options["against"])
        return Similarity(
            SimilarityRequest(inputs=tuple(str(place / i) for i in inputs), **options)
        )

    return compare


def naive(a, b, metric):
    a, b = a.astype(np.float64), b.astype(np.float64)
    if metric == "cosine":
        return a @ b / np.sqrt((a @ a) * (b @ b))
    return 1 - np.abs(a - b).sum() / (np.abs(a).sum() + np.abs(b).sum())


def stored(place, name, space):
    with EmbeddingStore.open(place / name) as store:
        vectors = store.read(slice(None))
    return (
        load_model(place / "dual", device="cpu").project(vectors) if space == "joint" else vectors
    )


def listed(comparison):
    left, right = comparison.left.ids, comparison.right.ids
    return [
        (left[one.row], right[column], score)
        for one in comparison.partners()
        for column, score in zip(one.columns, one.scores, strict=True)
    ]


@spaces
@metrics
def test_all_pairs_once(place, compare, space, metric):
    vectors = stored(place, "x.h5", space)
    with compare("x.h5", space=space, metric=metric) as comparison:
        found, matrix = listed(comparison), comparison.matrix()
    assert [pair[:2] for pair in found] == [(a, b) for i, a in enumerate(IDS) for b in IDS[i + 1 :]]
    expected = np.array([[naive(a, b, metric) for b in vectors] for a in vectors])
    np.testing.assert_allclose(matrix, expected, atol=1e-6)
    assert [score for *_, score in found] == matrix[np.triu_indices(30, 1)].tolist()
    np.testing.assert_array_equal(matrix, matrix.T)


@spaces
def test_a_file_is_compared_as_its_store_is(compare, space):
    with compare("x.h5", space=space) as one, compare("x.fa", space=space) as other:
        assert one.left.ids == other.left.ids
        np.testing.assert_allclose(one.matrix(), other.matrix(), atol=1e-5)


def test_one_set_against_another(place, compare):
    x, q = (stored(place, name, "joint") for name in ("x.h5", "q.h5"))
    expected = np.array([[naive(a, b, "cosine") for b in q] for a in x])
    for inputs, against in (("x.h5", "q.h5"), ("x.h5", "q.fa"), ("x.fa", "q.h5")):
        with compare(inputs, against=against) as comparison:
            matrix, found = comparison.matrix(), listed(comparison)
        np.testing.assert_allclose(matrix, expected, atol=1e-5)
        assert [f[:2] for f in found] == [(a, b) for a in IDS for b, _ in OTHERS]
        assert [score for *_, score in found] == matrix.ravel().tolist()


@metrics
def test_thresholds_and_best_partners(compare, metric):
    with compare("x.h5", metric=metric) as comparison:
        matrix, every = comparison.matrix(), listed(comparison)
    least = float(np.median([score for *_, score in every]))
    with compare("x.h5", metric=metric, min_similarity=least) as comparison:
        assert listed(comparison) == [one for one in every if one[2] >= np.float32(least)]
    expected = []
    for row, scores in enumerate(matrix):
        others = [c for c in np.argsort(-scores, kind="stable") if c != row][:4]
        expected += [(IDS[row], IDS[c], scores[c]) for c in others]
    with compare("x.h5", metric=metric, top_k=4) as comparison:
        assert listed(comparison) == expected
    with compare("x.h5", metric=metric, top_k=4, min_similarity=least) as comparison:
        assert listed(comparison) == [one for one in expected if one[2] >= np.float32(least)]


@metrics
def test_results_do_not_depend_on_blocks(compare, monkeypatch, metric):
    def everything():
        with (
            compare("x.h5", metric=metric) as whole,
            compare("x.h5", metric=metric, top_k=3) as few,
        ):
            pairs = [ListedPair(a, b) for a in IDS for b in IDS[::3]]
            return listed(whole), listed(few), whole.matrix().tolist(), list(whole.answers(pairs))

    expected = everything()
    for columns, scores, pairs in ((1, 1, 1), (4, 70, 7), (7, 1000, 100)):
        monkeypatch.setattr(task, "_COLUMNS", columns)
        monkeypatch.setattr(task, "_SCORES", scores)
        monkeypatch.setattr(task, "_PAIRS", pairs)
        assert everything() == expected


def test_listed_pairs_are_all_answered(place, compare):
    pairs = [
        ListedPair("p3", "p1"),
        ListedPair("p1", "nosuch"),
        ListedPair("p3", "p3"),
        ListedPair("p2", "", "line 4 names no two proteins: 'p2'"),
        ListedPair("x|p10|y", "p3"),
    ]
    with compare("x.h5") as comparison:
        matrix = comparison.matrix()
        found = list(comparison.answers(iter(pairs)))
    assert [(a.protein_a, a.protein_b) for a in found] == [
        (p.protein_a, p.protein_b) for p in pairs
    ]
    assert [a.similarity for a in found] == [matrix[3, 1], None, 1.0, None, matrix[10, 3]]
    reasons = ["", f"no protein 'nosuch' in {place / 'x.h5'}", "", pairs[3].fault, ""]
    assert [a.reason for a in found] == reasons


@pytest.fixture
def spoiled(place, tmp_path):
    """A store that does not name its model; ``b`` and ``d`` are zero."""
    vectors = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)
    vectors[[1, 3]] = 0
    path = tmp_path / "odd.h5"
    with StoreWriter(path, 6, "float32", {}) as writer:
        digests = np.zeros((5, 32), np.uint8)
        writer.write(list("abcde"), vectors, np.ones(5), np.zeros(5, np.uint16), digests)
    return path


def test_vectors_without_direction_are_left_out_and_named(spoiled, compare):
    with Similarity(SimilarityRequest(inputs=(str(spoiled),))) as comparison:
        assert comparison.space == "encoder"
        assert [pair[:2] for pair in listed(comparison)] == [("a", "c"), ("a", "e"), ("c", "e")]
        assert np.isnan(comparison.matrix()).sum() == 16
        assert comparison.num_failures == 2
        assert [f.id for f in comparison.first_failures] == ["b", "d"]
        (answer,) = comparison.answers([ListedPair("a", "b")])
        assert (answer.similarity, answer.reason) == (
            None,
            f"the vector of b in {spoiled} is zero or not finite",
        )


def test_sides_that_are_not_comparable(spoiled, place, tiny_bundle, compare, tmp_path, caplog):
    with refused("input.other_width", spoiled, " 6 "):
        compare("x.h5", against=spoiled, space="encoder", model=None)
    write_fasta(tmp_path / "t.fa", OTHERS)
    request = EmbedRequest(
        inputs=(str(tmp_path / "t.fa"),), output=tmp_path / "t.h5", model=str(tiny_bundle)
    )
    embed_to_store(request)
    with refused("usage.other_vectors", "t.h5", "x.h5", "weights_sha256: "):
        compare("x.h5", against=tmp_path / "t.h5", space="encoder", model=None)
    with refused("model.other_model", "x.h5"):
        compare("x.h5", model=str(tiny_bundle))
    with caplog.at_level(logging.WARNING):
        Similarity(SimilarityRequest(inputs=(str(spoiled),), against=str(spoiled))).__exit__(
            None, None, None
        )
    assert "does not say which model made it" in caplog.text


@pytest.mark.parametrize(
    ("options", "problem", "value"),
    [
        ({"metric": "euclid"}, "unknown_value", "euclid"),
        ({"top_k": 0}, "bad_value", "--top-k 0"),
        ({"min_similarity": 1.5}, "bad_value", "--min-similarity 1.5"),
        ({"space": "other"}, "unknown_value", "other"),
    ],
)
def test_requests_that_make_no_sense(compare, options, problem, value):
    for inputs in ("x.h5", "x.fa"):
        with refused(f"usage.{problem}", value):
            compare(inputs, **options)


def test_what_cannot_be_a_matrix(compare, monkeypatch):
    monkeypatch.setattr(task, "MOST_IN_MATRIX", 29)
    with compare("x.h5") as comparison, refused("usage.too_many", "30", "29"):
        comparison.matrix()


def test_neighbours_in_a_picture_are_those_of_the_clusters():
    # Two groups that are mixed in the input; each protein is close to its own group only.
    group = np.array([0, 1, 0, 1, 1, 0, 0, 1])
    scores = np.where(group[:, None] == group, 0.9, 0.1) + np.eye(8) * 0.1
    rows, columns = plot.cluster(scores, symmetric=True)
    assert (np.diff(group[rows.rows]) != 0).sum() == 1
    np.testing.assert_array_equal(rows.rows, columns.rows)
    rows, columns = plot.cluster(scores[:, :6], symmetric=False)
    assert (np.diff(group[rows.rows]) != 0).sum() == 1
    assert (np.diff(group[:6][columns.rows]) != 0).sum() == 1
    assert sorted(rows.rows) == list(range(8)) and sorted(columns.rows) == list(range(6))


@pytest.mark.parametrize(("count", "named"), [(1, True), (9, True), (60, True), (61, False)])
def test_names_are_drawn_while_they_can_be_read(count, named):
    ids = [f"sp|P{i:05}|N{i}_HUMAN" for i in range(count)]
    scores = np.corrcoef(np.random.default_rng(0).standard_normal((max(count, 2), 12)))
    scores = scores[:count, :count]
    data = plot.draw_heat_map(scores, (ids, ids), metric="cosine", symmetric=True, form="svg")
    texts = [node.text for node in ET.fromstring(data).iter("{http://www.w3.org/2000/svg}text")]
    assert [texts.count(f"N{i}_HUMAN") for i in range(count)] == [2 * named] * count
    assert f"{count} proteins, ordered by average linkage" in texts


def test_pictures_are_whole_files_of_their_kind(tmp_path):
    scores = np.array([[1, np.nan, 0.5], [np.nan, np.nan, np.nan]], np.float32)
    ids = (["a", "b"], ["c", "d", "é\n"])
    for form, start in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")):
        path = tmp_path / f"x.{form}"
        plot.save_heat_map(path, scores, ids, metric="cosine", symmetric=False)
        data = path.read_bytes()
        assert data.startswith(start)
        assert data == plot.draw_heat_map(scores, ids, metric="cosine", symmetric=False, form=form)
    with pytest.raises(UsageError, match="cannot be written as .gif"):
        plot.save_heat_map(tmp_path / "x.gif", scores, ids, metric="cosine", symmetric=False)
    with refused("usage.too_many", "2,001"):
        plot.save_heat_map(
            tmp_path / "x.png", np.ones((1, 2001)), ids, metric="cosine", symmetric=False
        )
