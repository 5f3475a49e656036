"""Heads: what is saved is what is loaded, and nothing but good vectors gets a probability."""

from __future__ import annotations

import json
import logging
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from protclip_core._version import __version__
from protclip_core.errors import ModelError, UsageError
from protclip_core.heads import load_head, save_head
from protclip_core.heads.card import HeadCard, HeadInput
from tests.support.heads import CLASSES, INPUT, LABELS, WIDTH, card, examples, fitted, rewrite

VECTORS = np.random.default_rng(5).normal(size=(40, WIDTH))


ONE_CLASS = {
    "logistic": lambda: fitted(LogisticRegression()),
    "float32": lambda: fitted(LogisticRegression(), kind=np.float32),
    "one-vs-rest": lambda: fitted(OneVsRestClassifier(LogisticRegression())),
    "pipeline": lambda: fitted(make_pipeline(StandardScaler(), PCA(6), LogisticRegression())),
    "svc": lambda: fitted(SVC(probability=True, random_state=0)),
    "neighbours": lambda: fitted(KNeighborsClassifier(3)),
    "mlp": lambda: fitted(MLPClassifier((8,), max_iter=30, random_state=0)),
    "forest": lambda: fitted(RandomForestClassifier(10, random_state=0)),
    "extra trees": lambda: fitted(ExtraTreesClassifier(10, random_state=0)),
    "boosting": lambda: fitted(GradientBoostingClassifier(n_estimators=4, random_state=0)),
    "histogram boosting": lambda: fitted(HistGradientBoostingClassifier(max_iter=5)),
    "calibrated": lambda: fitted(CalibratedClassifierCV(LinearSVC(), cv=3)),
    "isotonic": lambda: fitted(
        CalibratedClassifierCV(RandomForestClassifier(4, random_state=0), method="isotonic", cv=3)
    ),
    "reduced forest": lambda: fitted(
        make_pipeline(PCA(5), RandomForestClassifier(5, random_state=0))
    ),
}
MULTILABEL = {
    "one-vs-rest": lambda: fitted(OneVsRestClassifier(LogisticRegression()), multilabel=True),
    "mlp": lambda: fitted(MLPClassifier((8,), max_iter=30, random_state=0), multilabel=True),
    "forest": lambda: fitted(RandomForestClassifier(10, random_state=0), multilabel=True),
    "each its own": lambda: fitted(MultiOutputClassifier(LogisticRegression()), multilabel=True),
    "neighbours": lambda: fitted(KNeighborsClassifier(3), multilabel=True),
}


@pytest.mark.parametrize("name", ONE_CLASS)
def test_a_loaded_classifier_predicts_as_the_saved_one(name, tmp_path):
    estimator = ONE_CLASS[name]()
    save_head(tmp_path / "x.head", estimator, card(), examples())
    head = load_head(tmp_path / "x.head", model=INPUT)
    assert (head.predict_proba(VECTORS) == estimator.predict_proba(VECTORS)).all()
    assert head.predict(VECTORS).tolist() == [CLASSES[i] for i in estimator.predict(VECTORS)]
    assert head.predict_proba(VECTORS.astype(np.float32)).dtype == np.float64
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.head"]


@pytest.mark.parametrize("name", MULTILABEL)
def test_a_loaded_multilabel_head_predicts_as_the_saved_one(name, tmp_path):
    estimator = MULTILABEL[name]()
    save_head(tmp_path / "x.head", estimator, card(multilabel=True), examples())
    head = load_head(tmp_path / "x.head")
    wanted = estimator.predict_proba(VECTORS)
    if isinstance(wanted, list):
        wanted = np.array([[table[row][1] for table in wanted] for row in range(len(VECTORS))])
    assert (head.predict_proba(VECTORS) == wanted).all()
    assert head.predict_proba(VECTORS).shape == (len(VECTORS), len(LABELS))
    assert head.predict(VECTORS).dtype == bool
    assert (head.predict(VECTORS) == estimator.predict(VECTORS).astype(bool)).all()


@pytest.mark.parametrize(("seen", "wanted"), [(0, 0.0), (1, 1.0)])
def test_a_label_that_training_saw_on_one_side_only(seen, wanted, tmp_path):
    labels = (examples()[:, :3] > 0).astype(int)
    labels[:, 1] = seen
    estimator = RandomForestClassifier(3, random_state=0).fit(examples(), labels)
    save_head(tmp_path / "x.head", estimator, card(multilabel=True), examples())
    assert (load_head(tmp_path / "x.head").predict_proba(VECTORS)[:, 1] == wanted).all()


def test_classes_may_have_any_type(tmp_path):
    names = np.array(["mito", "nucleus", "cytosol"])
    where = names[(examples()[:, 0] > 0).astype(int) + (examples()[:, 1] > 0.5)]
    estimator = LogisticRegression().fit(examples(), where)
    own = replace(card(), labels=tuple(estimator.classes_))
    head = save_head(tmp_path / "x.head", estimator, own, examples())
    assert head.predict(VECTORS).tolist() == estimator.predict(VECTORS).tolist()


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
    assert set(loaded.card.versions) == {"protclip", "scikit-learn", "skops"}
    assert loaded.estimator_sha256 == saved.estimator_sha256
    with zipfile.ZipFile(tmp_path / "x.head") as archive:  # anyone can look inside
        content = json.loads(archive.read("head.json"))
        assert (content["format"], content["format_version"]) == ("protclip-head", 1)
        assert np.array(content["test"]["inputs"]).shape == (8, WIDTH)


def test_an_old_head_is_replaced_whole(tmp_path):
    path = tmp_path / "x.head"
    save_head(path, fitted(LogisticRegression()), card(), examples())
    before = path.read_bytes()
    with pytest.raises(UsageError):
        save_head(path, fitted(RidgeClassifier()), card(), examples())
    assert path.read_bytes() == before
    save_head(path, fitted(KNeighborsClassifier(3)), card(), examples())
    assert isinstance(load_head(path).estimator, KNeighborsClassifier)


def twice(vectors):
    return 2 * vectors


class Special(LogisticRegression):
    pass


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (RidgeClassifier(), "gives no probabilities; wrap it in CalibratedClassifierCV"),
        (make_pipeline(FunctionTransformer(twice), LogisticRegression()), "twice cannot be stored"),
        (Special(), "Special cannot be stored"),
        (KNeighborsClassifier(3, algorithm="kd_tree"), "KDTree cannot be stored"),
    ],
)
def test_what_cannot_be_stored_is_named(estimator, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        save_head(tmp_path / "x.head", fitted(estimator), card(), examples())
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_together_is_not_saved(tmp_path):
    path, good = tmp_path / "x.head", fitted(LogisticRegression())
    with pytest.raises(UsageError, match="there are none"):
        save_head(path, good, card(), np.empty((0, WIDTH)))
    with pytest.raises(ModelError, match="2 labels"):
        save_head(path, good, replace(card(), labels=("a", "b")), examples())
    with pytest.raises(ModelError, match="cannot predict .NotFittedError"):
        save_head(path, LogisticRegression(), card(), examples())
    with pytest.raises(ModelError, match="15 wide, the head takes model tiny"):
        save_head(path, good, card(), examples()[:, :-1])
    wider = replace(card(), input=replace(INPUT, width=17))
    with pytest.raises(ModelError, match="cannot predict .ValueError: X has 17 features"):
        save_head(path, good, wider, np.ones((3, 17)))
    assert not list(tmp_path.iterdir())


def test_no_vectors_give_no_predictions(tmp_path):
    head = save_head(tmp_path / "x.head", fitted(LogisticRegression()), card(), examples())
    assert head.predict_proba(np.empty((0, WIDTH))).shape == (0, 3)
    assert head.predict(np.empty((0, WIDTH))).shape == (0,)
    both = fitted(KNeighborsClassifier(3), multilabel=True)
    head = save_head(tmp_path / "y.head", both, card(multilabel=True), examples())
    assert head.predict(np.empty((0, WIDTH))).shape == (0, 3)


def test_another_scikit_learn_is_a_warning_if_the_numbers_agree(tmp_path, caplog):
    path = tmp_path / "x.head"
    save_head(path, fitted(RandomForestClassifier(5, random_state=0)), card(), examples())
    rewrite(
        path, content=lambda c: c["versions"].update({"scikit-learn": "1.4.2"}), sklearn="1.4.2"
    )
    with caplog.at_level(logging.WARNING):
        head = load_head(path)
    assert head.predict_proba(VECTORS).shape == (40, 3)
    (record,) = caplog.records
    assert "saved with scikit-learn 1.4.2, loaded with 1" in record.getMessage()


def test_the_input_of_a_store():
    attributes = {**vars(INPUT), "layer": np.int64(2), "created_by": "protclip"}
    assert HeadInput.of_store(attributes, WIDTH) == INPUT
    del attributes["weights_sha256"]
    with pytest.raises(ModelError, match="do not say their weights_sha256"):
        HeadInput.of_store(attributes, WIDTH)


def test_a_card_is_equal_to_its_copy():
    assert HeadCard(**vars(card())) == card()
