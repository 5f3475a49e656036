"""Heads: arrays that say what scikit-learn says, files that give back what was saved."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, Matern
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from protclip_core._version import __version__
from protclip_core.errors import ModelError, UsageError
from protclip_core.heads import load_head, save_head
from protclip_core.heads.card import HeadCard, HeadInput
from protclip_core.heads.convert import form_of
from protclip_core.heads.form import HeadForm
from protclip_core.heads.kinds import KINDS, candidates, make_estimator
from tests.support.heads import (
    CLASSES,
    INPUT,
    WIDTH,
    card,
    entries_of,
    examples,
    fitted,
    parts_of_head,
)

VECTORS = np.random.default_rng(5).normal(size=(40, WIDTH))
OLD = Path(__file__).parents[2] / "data" / "heads"

ANSWERS = {
    "values": examples()[:, 0] * 3 + examples()[:, 1] ** 2,
    "two": (examples()[:, 0] > 0).astype(int),
    "three": (examples()[:, 0] > 0).astype(int) + (examples()[:, 1] > 0.5),
    "labels": (examples()[:, :3] > 0.3).astype(int),
}
NAMES = {"values": ("y",), "two": CLASSES[:2], "three": CLASSES, "labels": CLASSES}
#: Every kind with every task that it can do.
MADE = [
    (kind, answers)
    for kind in KINDS
    for answers in ANSWERS
    if (kind not in ("ridge", "gp") or answers == "values")
    and (kind != "logistic" or answers != "values")
]


def estimator_of(kind, answers, rows=None, dtype=np.float64, **options):
    task = answers if answers in ("values", "labels") else "classes"
    parameters = dict(candidates(kind)[0])
    if kind == "boosting":
        parameters["max_iter"] = 5
    estimator = make_estimator(kind, task, parameters, balanced=False, seed=0, **options)
    with warnings.catch_warnings(action="ignore"):  # of too few steps
        return estimator.fit(examples().astype(dtype), ANSWERS[answers] if rows is None else rows)


def card_of(answers):
    is_value = answers == "values"
    own = replace(card(), labels=NAMES[answers], regression=is_value)
    return replace(own, multilabel=answers == "labels")


def said_by(estimator, answers, vectors):
    return (estimator.predict if answers == "values" else estimator.predict_proba)(vectors)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize(("kind", "answers"), MADE)
def test_a_loaded_head_says_what_scikit_learn_says(kind, answers, standardise, dtype, tmp_path):
    estimator = estimator_of(kind, answers, dtype=dtype, standardise=standardise)
    save_head(tmp_path / "x.head", estimator, card_of(answers), examples())
    head = load_head(tmp_path / "x.head", model=INPUT)
    far = 30 * VECTORS  # sure answers, and trees beyond their last threshold
    for vectors in (VECTORS, far, examples().astype(np.float32), VECTORS[:1]):
        exact = vectors.astype(np.float64)
        wanted = said_by(estimator, answers, exact)
        said = head.predict(vectors) if answers == "values" else head.predict_proba(vectors)
        assert said.dtype == np.float64 and said.shape == wanted.shape
        assert np.abs(said - wanted).max() <= 1e-6
        chosen = head.predict(vectors)
        if answers == "labels":
            assert (chosen == estimator.predict(exact).astype(bool)).all()
        elif answers != "values":
            assert chosen.tolist() == [NAMES[answers][i] for i in estimator.predict(exact)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.head"]


@pytest.mark.parametrize("kind", ["logistic", "boosting"])
def test_a_label_that_training_saw_on_one_side_only(kind, tmp_path):
    rows = ANSWERS["labels"].copy()
    rows[:, 0], rows[:, 1] = 1, 0
    for columns in ([0, 1, 2], [0, 1, 1]):  # the last: no label has two sides
        estimator = estimator_of(kind, "labels", rows[:, columns])
        head = save_head(tmp_path / "x.head", estimator, card_of("labels"), examples())
        said = head.predict_proba(VECTORS)
        assert (said[:, 0] == 1).all() and (said[:, 1] == 0).all()
        assert np.abs(said - estimator.predict_proba(VECTORS)).max() <= 1e-6


def test_ties_go_where_scikit_learn_sends_them():
    """Scores of 0 are the first class and not the label; a value at a threshold goes left."""
    arrays = {"weights": np.eye(WIDTH)[:, :1], "offsets": np.zeros(1)}
    one = LogisticRegression().fit(examples(), ANSWERS["two"])
    one.coef_, one.intercept_ = np.eye(WIDTH)[:1], np.zeros(1)
    level = np.ones((3, WIDTH)) * np.array([[0.0], [1e-12], [-1e-12]])
    form = HeadForm("linear", "binary", WIDTH, arrays)
    assert form.predict(level).argmax(1).tolist() == one.predict(level).tolist() == [0, 1, 0]
    many = OneVsRestClassifier(LogisticRegression()).fit(examples(), ANSWERS["labels"])
    for part in many.estimators_:
        part.coef_, part.intercept_ = np.zeros((1, WIDTH)), np.zeros(1)
    said = form_of(many).predict(VECTORS)
    assert (said == 0.5).all() and not many.predict(VECTORS).any()
    trees = HistGradientBoostingClassifier(max_iter=3).fit(examples(), ANSWERS["two"])
    form = form_of(trees)
    inner = np.flatnonzero(form.arrays["left"] != np.arange(len(form.arrays["left"])))
    level = np.repeat(VECTORS[:1], len(inner), axis=0)
    level[np.arange(len(inner)), form.arrays["feature"][inner]] = form.arrays["threshold"][inner]
    assert np.abs(form.predict(level) - trees.predict_proba(level)).max() <= 1e-12


def test_classes_may_have_any_type(tmp_path):
    names = np.array(["mito", "nucleus", "cytosol"])
    estimator = LogisticRegression().fit(examples(), names[ANSWERS["three"]])
    own = replace(card(), labels=tuple(estimator.classes_))
    head = save_head(tmp_path / "x.head", estimator, own, examples())
    assert head.predict(VECTORS).tolist() == estimator.predict(VECTORS).tolist()


@pytest.mark.parametrize("path", sorted(OLD.glob("*.head")), ids=lambda path: path.stem)
def test_heads_of_version_1_are_read_and_written_anew(path, tmp_path):
    """They were fitted under scikit-learn 1.7; each holds what it said then."""
    old = load_head(path)
    content = json.loads(entries_of(path.read_bytes())["head.json"])
    name = "values" if old.card.regression else "probabilities"
    inputs, wanted = (np.array(content["test"][key]) for key in ("inputs", name))
    assert old.card.versions["scikit-learn"] == "1.7.2" and old.domain is None
    new = save_head(tmp_path / "x.head", old.form, old.card, inputs)
    for head in (old, new):
        said = head.predict(inputs) if head.card.regression else head.predict_proba(inputs)
        assert np.abs(said - wanted).max() <= 1e-6
    assert replace(new.card, versions={}) == replace(old.card, versions={})


def test_predicting_needs_neither_scikit_learn_nor_skops(tmp_path):
    save_head(tmp_path / "x.head", fitted(LogisticRegression()), card(), examples())
    code = (
        "import sys; from protclip_core.heads import load_head\n"
        "for path in sys.argv[1:]:\n"
        "    load_head(path)\n"
        "print(sorted({'sklearn', 'skops', 'scipy', 'torch'} & set(sys.modules)))"
    )
    paths = [tmp_path / "x.head", *OLD.glob("*.head")]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_the_card_comes_back(tmp_path):
    given = replace(
        card(),
        training_data="Swiss-Prot 2026_01, test split at 30% identity, CC BY 4.0",
        note="protclip head fit …",
        metrics={"auroc_test": 0.875},
    )
    saved = save_head(tmp_path / "x.head", fitted(LogisticRegression()), given, examples())
    loaded = load_head(tmp_path / "x.head")
    assert replace(loaded.card, versions={}) == given
    assert loaded.card.versions["protclip"] == __version__
    assert set(loaded.card.versions) == {"protclip", "scikit-learn"}
    assert loaded.sha256 == saved.sha256 != ""
    content, tensors = parts_of_head((tmp_path / "x.head").read_bytes())  # anyone can look inside
    assert (content["format"], content["format_version"]) == ("protclip-head", 2)
    assert tensors["test.inputs"].shape == (8, WIDTH)


def test_an_old_file_is_replaced_whole(tmp_path):
    path = tmp_path / "x.head"
    save_head(path, fitted(LogisticRegression()), card(), examples())
    before = path.read_bytes()
    with pytest.raises(UsageError):
        save_head(path, fitted(RidgeClassifier()), card(), examples())
    assert path.read_bytes() == before
    save_head(path, fitted(MLPClassifier((4,), max_iter=5)), card(), examples())
    assert load_head(path).form.kind == "mlp"


def twice(vectors):
    return 2 * vectors


class Special(LogisticRegression):
    pass


@pytest.mark.parametrize(
    ("estimator", "named"),
    [
        (RidgeClassifier(), "RidgeClassifier"),
        (RandomForestClassifier(3), "RandomForestClassifier"),
        (SVC(), "SVC"),
        (KNeighborsClassifier(3), "KNeighborsClassifier"),
        (Special(), "Special"),
        (make_pipeline(FunctionTransformer(twice), LogisticRegression()), "FunctionTransformer"),
        (make_pipeline(*[StandardScaler()] * 2, LogisticRegression()), "StandardScaler"),
        (OneVsRestClassifier(LogisticRegression()), "OneVsRestClassifier"),  # of one class only
        (MLPClassifier((4,), activation="tanh", max_iter=5), "MLPClassifier"),
        (GaussianProcessRegressor(Matern()), "Matern"),
        (GaussianProcessRegressor(RBF([1.0] * WIDTH), optimizer=None), "GaussianProcessRegressor"),
    ],
)
def test_what_cannot_be_stored_is_named(estimator, named, tmp_path):
    with pytest.raises(UsageError, match=named) as caught:
        save_head(tmp_path / "x.head", fitted(estimator), card(), examples())
    assert caught.value.code == "usage.head_kind"
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_together_is_not_saved(tmp_path):
    path, good = tmp_path / "x.head", fitted(LogisticRegression())
    narrow = replace(card(), input=replace(INPUT, width=17))
    value = Ridge().fit(examples(), ANSWERS["values"])
    for arguments, kind, code in (
        ((good, card(), np.empty((0, WIDTH))), UsageError, "usage.no_examples"),
        ((LogisticRegression(), card(), examples()), UsageError, "usage.head_kind"),
        ((good, replace(card(), labels=("a", "b")), examples()), ModelError, "model.bad_head"),
        ((good, card(multilabel=True), examples()), ModelError, "model.bad_head"),
        ((value, replace(card(), labels=("y",)), examples()), ModelError, "model.bad_head"),
        ((good, narrow, np.ones((3, 17))), ModelError, "model.bad_head"),
        ((good, card(), examples()[:, :-1]), ModelError, "model.head_mismatch"),
    ):
        with pytest.raises(kind) as caught:
            save_head(path, *arguments)
        assert caught.value.code == code
    assert not list(tmp_path.iterdir())


def test_no_vectors_give_no_predictions(tmp_path):
    for answers, probabilities, chosen in (
        ("three", (0, 3), (0,)),
        ("labels", (0, 3), (0, 3)),
        ("two", (0, 2), (0,)),
    ):
        estimator = estimator_of("logistic", answers)
        head = save_head(tmp_path / "x.head", estimator, card_of(answers), examples())
        assert head.predict_proba(np.empty((0, WIDTH))).shape == probabilities
        assert head.predict(np.empty((0, WIDTH))).shape == chosen


def test_the_input_of_a_store():
    attributes = {**INPUT.to_attributes(), "layer": np.int64(2), "created_by": "protclip"}
    assert HeadInput.of_store(attributes, WIDTH) == INPUT
    del attributes["weights_sha256"]
    with pytest.raises(ModelError):
        HeadInput.of_store(attributes, WIDTH)


def test_a_card_is_equal_to_its_copy():
    assert HeadCard(**vars(card())) == card()
