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
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from protclip_core.errors import ModelError, ResourceError
from protclip_core.heads import load_head, save_head
from protclip_core.heads.domain import HeadDomain
from tests.support.environment import patient
from tests.support.heads import (
    INPUT,
    WIDTH,
    card,
    entries_of,
    examples,
    fitted,
    old_head_bytes,
    rewrite,
    zip_of,
)
from tests.support.refusals import refused

OLD = Path(__file__).parents[1] / "data" / "heads"

LOAD = """
import sys
from protclip_core.errors import ModelError, ResourceError
from protclip_core.heads import load_head
for path in sys.argv[1:]:
    try:
        load_head(path).predict_proba([[1.0] * 16])
    except ModelError as error:
        print(f"{error} [{error.code}]")
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


def old_head(name="logistic_two"):
    """Card and estimator of a head of version 1."""
    outer = entries_of((OLD / f"{name}.head").read_bytes())
    return json.loads(outer["head.json"]), outer["estimator.skops"]


def made_of(header, body=b""):
    """A safetensors file of this header, whatever it says."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.full(but="forced1")
@pytest.mark.parametrize("forced", [{}, {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}])
def test_no_code_of_a_file_runs(tmp_path, forced):
    marker, (content, _estimator) = tmp_path / "marker", old_head()
    payload = Payload(marker)
    files = {"pickle": pickle.dumps(payload), "protocol 0": pickle.dumps(payload, 0)}
    dumped = io.BytesIO()
    joblib.dump(payload, dumped)
    files["joblib"] = dumped.getvalue()
    files["pickle behind a header"] = made_of({"__metadata__": {"head": "{}"}}, files["pickle"])
    files["pickle inside"] = old_head_bytes(content, files["pickle"])
    files["pickle as skops"] = old_head_bytes(content, zip_of({"schema.json": files["pickle"]}))
    array = io.BytesIO()
    np.save(array, np.array([payload], object), allow_pickle=True)
    stored = node("ndarray", "numpy", "NdArrayNode") | {"type": "numpy", "file": "a.npy"}
    inside = {"schema.json": json.dumps({**stored, "protocol": 2}), "a.npy": array.getvalue()}
    files["pickled array"] = old_head_bytes(content, zip_of(inside))
    for name, schema in crafted_schemas(f"touch {marker}").items():
        for protocol in (0, 1, 2):
            schema = {**schema, "protocol": protocol, "_skops_version": "0.16.0"}
            crafted = zip_of({"schema.json": json.dumps(schema)})
            files[f"{name} {protocol}"] = old_head_bytes(content, crafted)
    paths = []
    for name, data in files.items():
        paths.append(tmp_path / f"{name}.head")
        paths[-1].write_bytes(data)
    lines = load_in_processes(paths, **forced)
    assert len(lines) == len(files) and not marker.exists()
    for path, line in zip(paths, lines, strict=True):
        assert line.startswith(f"{path}: "), line
    told = dict(zip(files, lines, strict=True))
    for name in ("pickle", "joblib"):
        assert told[name].endswith("[model.not_head]") and "pickle" in told[name]
    assert "posix.system" in told["reduce 2"] and told["reduce 2"].endswith("[model.old_head]")
    os.system(f"touch {marker}")  # the payload's own command does leave the marker
    assert marker.exists()


@pytest.mark.parametrize("name", ["RandomForestClassifier", "SVC", "Popen", "MyOwn"])
def test_a_class_that_old_heads_may_not_hold_is_named(name, tmp_path):
    content, estimator = old_head("ridge_values")
    inner = entries_of(estimator)
    text = inner["schema.json"].decode().replace('"Ridge"', f'"{name}"')
    inner["schema.json"] = text.encode()
    (tmp_path / "x.head").write_bytes(old_head_bytes(content, zip_of(inner)))
    with refused("model.old_head", tmp_path / "x.head", name):
        load_head(tmp_path / "x.head")


@pytest.mark.parametrize("version", [1, 2])
def test_a_flipped_cut_or_added_byte_is_found(saved, version):
    path = saved(LogisticRegression())
    whole = path.read_bytes() if version == 2 else (OLD / "logistic_two.head").read_bytes()
    damaged = [whole[:size] for size in (0, 1, 7, 8, 10, 100, len(whole) // 2, len(whole) - 1)]
    damaged += [whole + b"\n", b"\n" + whole, b"<html>404</html>"]
    for place in range(0, len(whole), 61):
        damaged.append(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    codes = set()
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(ModelError) as caught:
            load_head(path)
        codes.add(caught.value.code)
    assert codes <= {"model.not_head", "model.hash_mismatch", "model.newer_version"}
    assert "model.hash_mismatch" in codes


def test_missing_files_folders_and_pipes(tmp_path):
    os.mkfifo(tmp_path / "pipe.head")
    for path in (tmp_path / "no.head", tmp_path, tmp_path / "pipe.head"):
        with refused("model.not_found", path):
            load_head(path)


def test_what_skops_wrote_by_itself_is_not_a_head(tmp_path):
    (tmp_path / "x.head").write_bytes(old_head()[1])
    with refused("model.hash_mismatch", tmp_path / "x.head"):
        load_head(tmp_path / "x.head")


@pytest.mark.full
def test_a_zip_bomb_is_refused(tmp_path, monkeypatch):
    """1 GB would be too much for the test as well: the limit is made smaller."""
    monkeypatch.setattr("protclip_core.io.zips.LIMIT_BYTES", 5_000_000)
    bomb = zip_of({"schema.json": b"{}", "0.npy": bytes(100_000_000)})
    assert len(bomb) < 100_000
    (tmp_path / "x.head").write_bytes(old_head_bytes(old_head()[0], bomb))
    tracemalloc.start()
    with pytest.raises(ModelError, match="5,000,000 bytes"):
        load_head(tmp_path / "x.head")
    _now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20_000_000


def test_an_entry_gives_no_more_than_it_declares(tmp_path):
    """100 MB of zeros that call themselves 10 bytes."""
    stored = node("ndarray", "numpy", "NdArrayNode") | {"type": "numpy", "file": "a.npy"}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", json.dumps({**stored, "protocol": 2}))
        archive.writestr("a.npy", bytes(100_000_000))
        archive.filelist[-1].file_size = 10
    (tmp_path / "x.head").write_bytes(old_head_bytes(old_head()[0], buffer.getvalue()))
    tracemalloc.start()
    with pytest.raises(ModelError, match="BadZipFile"):
        load_head(tmp_path / "x.head")
    _now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10_000_000


def test_deep_and_lying_headers_are_refused(saved, tmp_path):
    content, _estimator = old_head()
    deep = "[" * 100_000 + "]" * 100_000
    path = tmp_path / "x.head"
    path.write_bytes(old_head_bytes(content, zip_of({"schema.json": deep})))
    with refused("model.bad_head", path):
        load_head(path)
    good = {"format": "protclip-head", "format_version": 2, "sha256": "0" * 64}
    huge = {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}
    for header in (
        deep.encode(),
        {"__metadata__": {"head": deep}},
        {"__metadata__": {"head": "[]"}},
        {"__metadata__": {"head": json.dumps({**good, "sha256": ""})}},
        {"__metadata__": {"head": json.dumps(good)}, "form.weights": huge},
        {"__metadata__": []},
        {},
    ):
        path.write_bytes(made_of(header))
        with pytest.raises(ModelError) as caught:
            load_head(path)
        assert caught.value.code in {"model.not_head", "model.hash_mismatch"}
    path.write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    with refused("model.not_head", path):
        load_head(path)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda c: c.pop("labels"), "model.bad_head"),
        (lambda c: c.update(labels=7), "model.bad_head"),
        (lambda c: c.update(labels=["a"]), "model.bad_head"),
        (lambda c: c.update(metrics=[]), "model.bad_head"),
        (lambda c: c["input"].update(width="x"), "model.bad_head"),
        (lambda c: c["input"].update(width=15), "model.bad_head"),
        (lambda c: c["form"].update(kind="other"), "model.bad_head"),
        (lambda c: c["form"].update(kind="trees"), "model.bad_head"),
        (lambda c: c["form"].update(link="binary"), "model.bad_head"),
        (lambda c: c["form"].update(link="labels"), "model.bad_head"),
        (lambda c: c.pop("form"), "model.bad_head"),
        (lambda c: c.pop("sha256"), "model.not_head"),
        (lambda c: c.update(format="other"), "model.not_head"),
        (lambda c: c.update(format_version=3), "model.newer_version"),
    ],
)
def test_a_card_that_is_not_right_is_refused(saved, change, code):
    path = saved(LogisticRegression())
    rewrite(path, content=change)
    with refused(code, path):
        load_head(path)


def test_other_numbers_inside_are_found_by_the_stored_vectors(saved):
    path = saved(LogisticRegression())
    rewrite(path, arrays=lambda t: t.update({"form.weights": t["form.weights"] * 1.001}))
    with refused("model.head_answers", path):
        load_head(path)
    path = saved(LogisticRegression())
    rewrite(path, arrays=lambda t: t.update({"test.answers": t["test.answers"][:, :2]}))
    with refused("model.head_answers", path):
        load_head(path)


TREES = HistGradientBoostingClassifier(max_iter=3)
NETWORK = MLPClassifier((4,), max_iter=5)
#: Kind, array, and what becomes of it: a value for its first number, or a change.
OUTSIDE = [
    (TREES, "left", 1 << 40),
    (TREES, "right", -7),
    (TREES, "left", 0),  # would go round for ever
    (TREES, "feature", 1 << 40),
    (TREES, "feature", -9),
    (TREES, "start", 1 << 40),
    (TREES, "start", -1),
    (TREES, "column", 3),
    (TREES, "threshold", np.nan),
    (TREES, "value", np.inf),
    (TREES, "value", lambda a: a[:5]),
    (TREES, "left", lambda a: a.astype(np.float64)),
    (TREES, "right", None),
    (TREES, "start", lambda a: a[:, None]),
    (NETWORK, "weights1", lambda a: a[:3]),
    (NETWORK, "offsets0", lambda a: a[:, None]),
    (NETWORK, "weights0", np.nan),
    (NETWORK, "weights0", None),
    (LogisticRegression(), "weights", np.inf),
    (LogisticRegression(), "weights", lambda a: a.T),
    (LogisticRegression(), "weights", lambda a: a.astype(np.int32)),
    (LogisticRegression(), "offsets", lambda a: a[:0]),
    (LogisticRegression(), "offsets", None),
]


def changed(array, change):
    if callable(change):
        return np.ascontiguousarray(change(array))
    array = array.copy()
    array.flat[0] = change
    return array


@pytest.mark.parametrize(("estimator", "name", "change"), OUTSIDE)
def test_arrays_that_do_not_fit_are_refused(saved, estimator, name, change):
    """Sizes, types, indices and numbers: none reaches the code that predicts."""

    def apply(tensors):
        array = tensors.pop(f"form.{name}")
        if change is not None:
            tensors[f"form.{name}"] = changed(array, change)

    path = saved(estimator)
    rewrite(path, arrays=apply)
    with refused("model.bad_head", path):
        load_head(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("rows", lambda a: a[:, :5]),
        ("rows", np.nan),
        ("weights", lambda a: a[:5]),
        ("numbers", 0.0),  # the length scale
        ("numbers", lambda a: a[:2]),
    ],
)
def test_a_gaussian_process_that_does_not_fit_is_refused(tmp_path, name, change):
    path = tmp_path / "x.head"
    process = GaussianProcessRegressor(optimizer=None, kernel=None).fit(
        examples(), examples()[:, 0]
    )
    process.kernel_ = type("RBF", (), {"length_scale": 3.0})()
    own = replace(card(), labels=("y",), regression=True)
    save_head(path, process, own, examples())
    rewrite(path, arrays=lambda t: t.update({f"form.{name}": changed(t[f"form.{name}"], change)}))
    with refused("model.bad_head", path):
        load_head(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("spread", lambda a: a[:5]),
        ("spread", 0.0),
        ("center", np.nan),
        ("ranges", lambda a: a[:2]),
        ("ranges", np.inf),
        ("center", None),
    ],
)
def test_a_domain_that_is_not_right_is_refused(tmp_path, name, change):
    path = tmp_path / "x.head"
    domain = HeadDomain.of(examples(), np.arange(10, 130))
    save_head(path, fitted(LogisticRegression()), card(), examples(), domain)

    def apply(tensors):
        array = tensors.pop(f"domain.{name}")
        if change is not None:
            tensors[f"domain.{name}"] = changed(array, change)

    rewrite(path, arrays=apply)
    with refused("model.bad_head", path):
        load_head(path)


def test_crafted_trees_of_an_old_head_are_refused(tmp_path):
    """scikit-learn walked them in compiled code; unchecked, the process would die."""
    content, estimator = old_head("boosting_three")

    def change(field, value):
        inner = entries_of(estimator)
        for name, data in inner.items():
            table = np.load(io.BytesIO(data)) if name.endswith(".npy") else np.empty(0)
            if field in (table.dtype.names or ()):
                table[field][0] = value
                buffer = io.BytesIO()
                np.save(buffer, table)
                inner[name] = buffer.getvalue()
        return old_head_bytes(content, zip_of(inner))

    paths = []
    for field, value in (
        ("left", 1 << 31),
        ("left", 0),
        ("feature_idx", 1 << 31),
        ("is_categorical", 1),
    ):
        paths.append(tmp_path / f"{field}{value}.head")
        paths[-1].write_bytes(change(field, value))
    lines = load_in_processes(paths)
    assert [line.endswith("[model.old_head]") for line in lines] == [True] * len(paths)


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
    with refused("model.head_mismatch", INPUT, given, *named.split(", ")):
        load_head(saved(LogisticRegression()), model=given)


def test_the_name_of_the_model_alone_does_not_matter(saved):
    assert load_head(saved(LogisticRegression()), model=replace(INPUT, model="moved"))


@pytest.mark.parametrize("estimator", [LogisticRegression(), TREES, NETWORK])
def test_bad_vectors_reach_no_estimator(saved, estimator):
    head = load_head(saved(estimator))
    good = np.random.default_rng(1).normal(size=(5, WIDTH))
    for value in (np.nan, np.inf, -np.inf, 1e39, 0.0):
        bad = good.copy()
        bad[2, slice(None) if value == 0 else 7] = value
        for predict in (head.predict_proba, head.predict):
            with refused("model.bad_vector", "vector 3", "1 of 5"):
                predict(bad)
    for shape in ((5, WIDTH - 1), (5, WIDTH + 1), (5, 0), (0, 3)):
        with refused("model.head_mismatch", shape[1], INPUT):
            head.predict_proba(np.ones(shape))
    for other in (good[0], good.astype(str), good.astype(complex), good[None]):
        with refused("model.head_mismatch"):
            head.predict_proba(other)
    assert np.isfinite(head.predict_proba(good)).all()


@pytest.mark.parametrize("kind", ["logistic", "gp"])
def test_answers_that_overflow_are_never_given(saved, tmp_path, kind):
    """Numbers that are finite, and whose products are not."""
    huge = np.full((2, WIDTH), 1e38)
    if kind == "gp":
        head = load_head(OLD / "gp_values.head")
        head.form.arrays["numbers"][:] = [1.0, 1e308, 1e308]
        head.form.arrays["weights"][:] = 1e10
        vectors = (
            head.form.arrays["rows"][:2] * head.form.arrays["scale"] + head.form.arrays["mean"]
        )
        with refused("model.head_answers"):
            head.predict(vectors)
        return
    head = load_head(saved(LogisticRegression()))
    head.form.arrays["weights"][:] = 1e300
    with refused("model.head_answers"):
        head.predict_proba(huge)


@pytest.mark.full
def test_a_full_disk_leaves_the_old_head(saved, small_disk):
    """Save over a head until the disk is full; the old file stays."""
    path = Path(small_disk) / "x.head"
    save_head(path, fitted(LogisticRegression()), card(), examples())
    before = path.read_bytes()
    free = shutil.disk_usage(small_disk).free
    (Path(small_disk) / "filler").write_bytes(bytes(free - 20_000))
    trees = fitted(HistGradientBoostingClassifier(max_iter=200, random_state=0))
    with pytest.raises(ResourceError, match="no room"):
        save_head(path, trees, card(), examples())
    assert path.read_bytes() == before
    assert sorted(p.name for p in Path(small_disk).iterdir()) == ["filler", "x.head"]
