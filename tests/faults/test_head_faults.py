"""Heads from elsewhere: damaged, crafted, or made for other vectors.

Faults 43, 47 and 63. The crafted files hold real payloads that would leave a marker, and are
loaded in processes of their own.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import tracemalloc
import zipfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.base import clone
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from protclip_core.errors import ModelError, ResourceError
from protclip_core.heads import load_head, save_head
from tests.support.environment import patient
from tests.support.heads import (
    INPUT,
    WIDTH,
    card,
    entries_of,
    examples,
    fitted,
    head_bytes,
    nodes,
    rewrite,
    zip_of,
)

LOAD = """
import sys
from protclip_core.errors import ModelError, ResourceError
from protclip_core.heads import load_head
for path in sys.argv[1:]:
    try:
        load_head(path).predict_proba([[1.0] * 16])
    except ModelError as error:
        print(error)
    else:
        print("LOADED", path)
"""


def load_in_processes(paths, **environment):
    """Load files in a process of its own; gives a line for each."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOAD, *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
        timeout=patient(60),
        env={**os.environ, **environment},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.fixture
def saved(tmp_path):
    """Save a head of this estimator; returns the path."""

    def saved(estimator, name="x.head"):
        save_head(tmp_path / name, fitted(estimator), card(), examples())
        return tmp_path / name

    return saved


class Payload:
    """What pickle would run."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def node(name, module, loader, content=None):
    return {"__class__": name, "__module__": module, "__loader__": loader, "content": content}


def json_node(value):
    return node("str", "builtins", "JsonNode", json.dumps(value)) | {"is_json": True}


def crafted_schemas(command):
    """skops trees that would run a command if their types were trusted."""
    text = node("tuple", "builtins", "TupleNode", [json_node(command)])
    reduced = node("system", "posix", "ConstructorFromReduceNode", text)
    function = node("system", "posix", "FunctionNode")
    keywords = node("dict", "builtins", "DictNode", {})
    keywords["key_types"] = node("list", "builtins", "ListNode", [])
    none = json_node(None)
    partial = {"func": function, "args": text, "kwds": keywords, "namespace": none}
    old = node("system", "posix", "FunctionNode", {"module_path": "posix", "function": "system"})
    method = {"obj": json_node("x"), "func": "system"}
    return {
        "reduce": reduced,
        "function": function,
        "partial": node("partial", "functools", "PartialNode", partial),
        "old function": old,
        "method": node("system", "posix", "MethodNode", method),
        "type": node("system", "posix", "TypeNode"),
        "operator": node("methodcaller", "operator", "OperatorFuncNode", text),
        "unknown loader": node("system", "posix", "NoSuchNode"),
        "loss": node("system", "posix", "LossNode") | {"__reduce__": {"args": text}},
    }


@pytest.mark.full(but="forced1")
@pytest.mark.parametrize("forced", [{}, {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}])
def test_no_code_of_a_file_runs(saved, tmp_path, forced):
    marker, good = tmp_path / "marker", saved(LogisticRegression())
    content = json.loads(entries_of(good.read_bytes())["head.json"])
    payload = Payload(marker)
    files = {"pickle": pickle.dumps(payload), "protocol 0": pickle.dumps(payload, 0)}
    dumped = io.BytesIO()
    joblib.dump(payload, dumped)
    files["joblib"] = dumped.getvalue()
    files["pickle inside"] = head_bytes(content, files["pickle"])
    files["pickle as skops"] = head_bytes(content, zip_of({"schema.json": files["pickle"]}))
    array = io.BytesIO()
    np.save(array, np.array([payload], object), allow_pickle=True)
    stored = node("ndarray", "numpy", "NdArrayNode") | {"type": "numpy", "file": "a.npy"}
    inside = {"schema.json": json.dumps({**stored, "protocol": 2}), "a.npy": array.getvalue()}
    files["pickled array"] = head_bytes(content, zip_of(inside))
    for name, schema in crafted_schemas(f"touch {marker}").items():
        for protocol in (0, 1, 2):
            schema = {**schema, "protocol": protocol, "_skops_version": "0.16.0"}
            crafted = zip_of({"schema.json": json.dumps(schema)})
            files[f"{name} {protocol}"] = head_bytes(content, crafted)
    paths = []
    for name, data in files.items():
        paths.append(tmp_path / f"{name}.head")
        paths[-1].write_bytes(data)
    lines = load_in_processes(paths, **forced)
    assert len(lines) == len(files) and not marker.exists()
    for path, line in zip(paths, lines, strict=True):
        assert line.startswith(f"{path}: "), line
    told = dict(zip(files, lines, strict=True))
    assert "a pickled file, which is never loaded" in told["pickle"]
    assert "a pickled file, which is never loaded" in told["joblib"]
    assert "refused: it holds posix.system" in told["reduce 2"]
    os.system(f"touch {marker}")  # the payload's own command does leave the marker
    assert marker.exists()


def test_a_class_changed_inside_a_good_head_is_named(saved):
    def change(name, module):
        def apply(tree):
            tree["__class__"], tree["__module__"] = name, module

        return apply

    for name, module in (
        ("system", "posix"),
        ("Popen", "subprocess"),
        ("LogisticRegressionSub", "my_module"),
    ):
        path = saved(LogisticRegression())
        rewrite(path, schema=change(name, module))
        with pytest.raises(ModelError, match=f"refused: it holds {module}.{name}"):
            load_head(path)


def test_a_flipped_cut_or_added_byte_is_found(saved):
    path = saved(LogisticRegression())
    whole = path.read_bytes()
    damaged = [whole[:size] for size in (0, 1, 10, 100, len(whole) // 2, len(whole) - 1)]
    damaged += [whole + b"\n", b"\n" + whole, b"<html>404</html>"]
    for place in range(0, len(whole), 61):
        damaged.append(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(ModelError, match="not a head file"):
            load_head(path)


def test_missing_files_folders_and_pipes(tmp_path):
    os.mkfifo(tmp_path / "pipe.head")
    for path in (tmp_path / "no.head", tmp_path, tmp_path / "pipe.head"):
        with pytest.raises(ModelError, match="no such head file"):
            load_head(path)


def test_a_skops_file_is_no_head(tmp_path):
    skops.io.dump(fitted(LogisticRegression()), tmp_path / "x.head")
    with pytest.raises(ModelError, match="its checksum does not fit"):
        load_head(tmp_path / "x.head")


def test_a_zip_bomb_is_refused(saved, monkeypatch):
    """1 GB would be too much for the test as well: the limit is made smaller."""
    monkeypatch.setattr("protclip_core.io.zips.LIMIT_BYTES", 5_000_000)
    path = saved(LogisticRegression())
    bomb = zip_of({"schema.json": b"{}", "0.npy": bytes(100_000_000)})
    assert len(bomb) < 100_000
    rewrite(path, estimator=bomb)
    tracemalloc.start()
    with pytest.raises(ModelError, match="unpacks to more than 5,000,000 bytes"):
        load_head(path)
    _now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20_000_000


def test_an_entry_gives_no_more_than_it_declares(saved):
    """100 MB of zeros that call themselves 10 bytes."""
    path = saved(LogisticRegression())
    content = json.loads(entries_of(path.read_bytes())["head.json"])
    stored = node("ndarray", "numpy", "NdArrayNode") | {"type": "numpy", "file": "a.npy"}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", json.dumps({**stored, "protocol": 2}))
        archive.writestr("a.npy", bytes(100_000_000))
        archive.filelist[-1].file_size = 10
    path.write_bytes(head_bytes(content, buffer.getvalue()))
    tracemalloc.start()
    with pytest.raises(ModelError, match="cannot be unpacked .BadZipFile"):
        load_head(path)
    _now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10_000_000


def test_a_deep_schema_is_refused(saved):
    path = saved(LogisticRegression())
    deep = "[" * 100_000 + "]" * 100_000
    rewrite(path, estimator=zip_of({"schema.json": deep}))
    with pytest.raises(ModelError, match="its estimator cannot be read .RecursionError"):
        load_head(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("labels"), "lacks or misstates something .'labels'"),
        (lambda c: c.update(labels=7), "lacks or misstates"),
        (lambda c: c.update(labels=["a"]), "does not give the probabilities stored with it"),
        (lambda c: c.update(metrics=[]), "lacks or misstates"),
        (lambda c: c["input"].update(width="x"), "lacks or misstates"),
        (lambda c: c["input"].update(width=15), "lacks or misstates something .test inputs"),
        (lambda c: c["test"].update(inputs=[]), "lacks or misstates"),
        (lambda c: c.update(format="other"), "is not of format 'protclip-head'"),
        (lambda c: c.update(format_version=2), "version 2, this protclip reads 1; install a newer"),
    ],
)
def test_a_card_that_is_not_right_is_refused(saved, change, message):
    path = saved(LogisticRegression())
    rewrite(path, content=change)
    with pytest.raises(ModelError, match=message):
        load_head(path)


def test_other_numbers_inside_are_found_by_the_stored_vectors(saved):
    def shift(tables):
        for table in tables.values():
            if table.dtype.kind == "f":
                table *= 1.001

    path = saved(LogisticRegression())
    rewrite(path, arrays=shift)
    with pytest.raises(ModelError, match="does not give the probabilities stored with it"):
        load_head(path)
    path = saved(LogisticRegression())
    older = {"scikit-learn": "1.4.2"}
    rewrite(path, arrays=shift, content=lambda c: c["versions"].update(older), sklearn="1.4.2")
    with pytest.raises(ModelError, match="probabilities that it gave under 1.4.2") as caught:
        load_head(path)
    assert caught.value.message.startswith(f"under scikit-learn {version('scikit-learn')} the")
    gone = json.dumps({**node("Gone", "sklearn.tree", "ObjectNode"), "protocol": 2})
    rewrite(path, estimator=zip_of({"schema.json": gone}))
    with pytest.raises(ModelError, match="saved with scikit-learn 1.4.2, this is "):
        load_head(path)


def beyond(field, value):
    """Change a field of the nodes of every tree."""

    def change(tables):
        for table in tables.values():
            if field in (table.dtype.names or ()):
                table[field][0] = value

    return change


FOREST = RandomForestClassifier(3, random_state=0)
BOOSTED = GradientBoostingClassifier(n_estimators=3, random_state=0)
HISTOGRAM = HistGradientBoostingClassifier(max_iter=3)


OUTSIDE = [
    (FOREST, "left_child", 1 << 40, "nodes that it does not have"),
    (FOREST, "right_child", -7, "nodes that it does not have"),
    (FOREST, "left_child", 0, "nodes that it does not have"),  # would go round for ever
    (FOREST, "feature", 1 << 40, "features beyond the width"),
    (FOREST, "feature", -9, "features beyond the width"),
    (BOOSTED, "right_child", 1 << 30, "nodes that it does not have"),
    (HISTOGRAM, "left", 1 << 31, "nodes that it does not have"),
    (HISTOGRAM, "feature_idx", 1 << 31, "features beyond the width"),
    (HISTOGRAM, "is_categorical", 1, "asks for categories"),
]


@pytest.mark.full
def test_numbers_that_would_crash_compiled_code_are_refused(saved):
    """Unchecked, the process would die of nearly every one of these."""

    def no_nodes(tree):
        for found in nodes(tree):
            fields = found.get("content")
            if isinstance(fields, dict) and "node_count" in fields:
                fields["node_count"]["content"] = "0"

    def fewer_vectors(tables):
        (name,) = [n for n, t in tables.items() if t.ndim == 2 and t.shape[1] == WIDTH]
        tables[name] = tables[name][:5]

    def one_column(gradient):
        gradient.estimators_ = np.repeat(gradient.estimators_, 2, axis=1)
        return gradient

    def wider_trees(forest):
        # Only the forest looks at the width of its input; its trees take what they get.
        wide = RandomForestClassifier(3, random_state=0)
        wide.fit(np.random.default_rng(0).normal(size=(100, 5000)), np.arange(100) % 3)
        forest.estimators_ = wide.estimators_
        return forest

    def of_no_width(forest):
        del forest.n_features_in_
        return forest

    cases = [
        (saved(estimator, f"{i}.head"), {"arrays": beyond(field, value)}, message)
        for i, (estimator, field, value, message) in enumerate(OUTSIDE)
    ]
    cases += [
        (saved(FOREST, "n.head"), {"schema": no_nodes}, "a decision tree without nodes"),
        (saved(SVC(probability=True), "s.head"), {"arrays": fewer_vectors}, "do not fit each"),
    ]
    for name, estimator, change, message in (
        ("g.head", BOOSTED, one_column, "6 boosted trees an iteration, not 3"),
        ("w.head", FOREST, wider_trees, "features beyond the width"),
        ("u.head", FOREST, of_no_width, "cannot be read (KeyError: 'n_features_in_')"),
    ):
        data = skops.io.dumps(change(fitted(clone(estimator))))
        cases.append((saved(LogisticRegression(), name), {"estimator": data}, message))
    for path, change, _message in cases:
        rewrite(path, **change)
    lines = load_in_processes([path for path, _change, _message in cases])
    for (path, _change, message), line in zip(cases, lines, strict=True):
        assert line.startswith(f"{path}: ") and message in line


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": "other", "weights_sha256": "12" * 32}, "weights_sha256"),
        ({"model": "other", "width": 320, "weights_sha256": "12" * 32}, "width, weights_sha256"),
        ({"config_sha256": "12" * 32}, "config_sha256"),
        ({"pooling": "tokens"}, "pooling"),
        ({"space": "joint"}, "space"),
        ({"layer": 1}, "layer"),
    ],
)
def test_a_head_for_other_vectors_names_both_models(saved, change, named):
    given = replace(INPUT, **change)
    with pytest.raises(ModelError) as caught:
        load_head(saved(LogisticRegression()), model=given)
    text = str(caught.value)
    assert str(INPUT) in text and str(given) in text and f"(they differ in {named})" in text


def test_the_name_of_the_model_alone_does_not_matter(saved):
    assert load_head(saved(LogisticRegression()), model=replace(INPUT, model="moved"))


@pytest.mark.parametrize("estimator", [LogisticRegression(), FOREST, HISTOGRAM])
def test_bad_vectors_reach_no_estimator(saved, estimator):
    head = load_head(saved(estimator))
    good = np.random.default_rng(1).normal(size=(5, WIDTH))
    for value, message in (
        (np.nan, "vector 3 holds NaN, infinity"),
        (np.inf, "vector 3 holds NaN, infinity"),
        (-np.inf, "vector 3 holds NaN, infinity"),
        (1e39, "or a number beyond float32"),
        (0.0, "vector 3 is all zeros .1 of 5 do"),
    ):
        bad = good.copy()
        bad[2, slice(None) if value == 0 else 7] = value
        for predict in (head.predict_proba, head.predict):
            with pytest.raises(ModelError, match=message):
                predict(bad)
    for shape in ((5, WIDTH - 1), (5, WIDTH + 1), (5, 0), (0, 3)):
        with pytest.raises(ModelError, match=f"{shape[1]} wide, the head takes model tiny"):
            head.predict_proba(np.ones(shape))
    for other in (good[0], good.astype(str), good.astype(complex), good[None]):
        with pytest.raises(ModelError, match="takes a table of numbers"):
            head.predict_proba(other)
    assert np.isfinite(head.predict_proba(good)).all()


def test_an_estimator_that_answers_nonsense_is_found(saved):
    head = load_head(saved(LogisticRegression()))
    head.estimator.coef_[:] = np.nan
    with pytest.raises(ModelError, match="does not give probabilities of 3 labels"):
        head.predict_proba(np.ones((2, WIDTH)))


@pytest.mark.full
def test_a_full_disk_leaves_the_old_head(saved, small_disk):
    """Save over a head until the disk is full; the old file stays."""
    path = Path(small_disk) / "x.head"
    save_head(path, fitted(LogisticRegression()), card(), examples())
    before = path.read_bytes()
    free = shutil.disk_usage(small_disk).free
    (Path(small_disk) / "filler").write_bytes(bytes(free - 20_000))
    forest = fitted(RandomForestClassifier(200, random_state=0))
    with pytest.raises(ResourceError, match="no room"):
        save_head(path, forest, card(), examples())
    assert path.read_bytes() == before
    assert sorted(p.name for p in Path(small_disk).iterdir()) == ["filler", "x.head"]
