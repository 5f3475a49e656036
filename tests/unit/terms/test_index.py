"""GO indexes: made from texts, rounded, bound to a text side, written and read back."""

from __future__ import annotations

import json
import logging
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from protclip_core.errors import ModelError, UsageError
from protclip_core.models.info import describe_model
from protclip_core.models.loading import load_text_model
from protclip_core.ontology import read_obo
from protclip_core.terms import index_file as go_index_file
from protclip_core.terms.build import build_go_index, rebuild_go_index
from protclip_core.terms.index import quantize, text_side_sha256
from protclip_core.terms.index_file import (
    add_to_bundle,
    cache_path,
    find_go_index,
    read_go_index,
    write_go_index,
)
from protclip_core.weights.bundle import open_bundle
from tests.support.go_indexes import index_of, random_index, unit
from tests.support.ontology_files import SMALL, number, random_ontology, small
from tests.unit.models.dual import TEXT_ONLY, Dual, text_only


@pytest.fixture(scope="module")
def dual():
    return Dual()


@pytest.fixture
def bundle(dual, tmp_path):
    return dual.write(tmp_path / "dual")


def assert_equal(one, other):
    for name in ("vectors", "scales", "log_prior"):
        assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("go_scale", "template", "model", "weights_sha256", "text_side_sha256"):
        assert getattr(one, name) == getattr(other, name)
    assert one.calibration == other.calibration
    assert one.ontology.ids == other.ontology.ids
    assert one.ontology.release == other.ontology.release
    assert_array_equal(one.ontology.parents, other.ontology.parents)


# -- rounding ------------------------------------------------------------------------------------


def test_rounding_costs_less_than_two_thousandths_of_a_cosine():
    rng = np.random.default_rng(0)
    texts, proteins = unit(rng, 800, 512), unit(rng, 400, 512)
    # Half of the proteins are near a text, as real ones are.
    proteins[::2] = proteins[::2] * 0.4 + texts[:200]
    proteins /= np.linalg.norm(proteins, axis=1, keepdims=True)
    rounded, scales = quantize(texts)
    assert rounded.dtype == np.int8
    restored = rounded.astype(np.float32) * scales[:, None]
    assert np.abs(proteins @ restored.T - proteins @ texts.T).max() < 0.002


def test_a_vector_of_no_direction_cannot_be_rounded():
    vectors = np.eye(4, dtype=np.float32)
    for bad in (0.0, np.nan, np.inf):
        vectors[2] = bad
        with pytest.raises(ModelError, match="vector of term 3"):
            quantize(vectors)


# -- making --------------------------------------------------------------------------------------


def test_vectors_are_those_of_the_texts(bundle):
    ontology, model = small(), load_text_model(str(bundle), device="cpu")
    names = model.embed(list(ontology.names), space="joint")
    told = [f"{n}: {d}" if d else n for n, d in zip(ontology.names, ontology.definitions)]
    assert told != list(ontology.names)
    definitions = model.embed(told, space="joint")
    both = np.where([[bool(d)] for d in ontology.definitions], names + definitions, names)
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    for template, wanted in (("name", names), ("definition", definitions), ("both", both)):
        index = build_go_index(model, ontology, template=template)
        np.testing.assert_allclose(index.unit_vectors(), wanted, atol=0.004)
        assert_array_equal(index.unit_vectors([3, 1]), index.unit_vectors()[[3, 1]])
        assert (index.release, index.template, len(index)) == ("2024-01-17", template, 26)
        assert np.isnan(index.log_prior).all()
        assert not index.ontology.definitions


def test_long_texts_are_told_once(bundle, caplog):
    caplog.set_level(logging.INFO)
    ontology = small()
    long = replace(ontology, definitions=("word " * 90,) * len(ontology))
    build_go_index(load_text_model(str(bundle), device="cpu"), long, template="definition")
    assert [r.message for r in caplog.records if "cut" in r.message] == [
        "texts of terms beyond 40 tokens were cut"
    ]


def test_an_index_that_cannot_be_made(bundle, dual, tmp_path):
    model = load_text_model(str(bundle), device="cpu")
    with pytest.raises(UsageError, match="template 'all' is not known"):
        build_go_index(model, small(), template="all")
    bare = read_obo(SMALL, definitions=False)
    with pytest.raises(UsageError, match="has no definitions"):
        build_go_index(model, bare, template="both")
    assert len(build_go_index(model, bare, template="name")) == 26
    words = dual.write(tmp_path / "words", change=text_only, config=TEXT_ONLY)
    with pytest.raises(UsageError, match="no joint space"):
        build_go_index(load_text_model(str(words), device="cpu"), small())


def test_another_release_keeps_template_priors_and_calibration(bundle):
    before = index_of(bundle)
    text = SMALL.read_text("utf-8").replace("releases/2024-01-17", "releases/2025-03-04")
    text += "\n[Term]\nid: GO:0000777\nname: new one\nnamespace: molecular_function\n"
    text += "is_a: GO:0000001\n"
    path = bundle.parent / "later.obo"
    path.write_text(text, "utf-8")
    model = load_text_model(str(bundle), device="cpu")
    after = rebuild_go_index(model, read_obo(path), before)
    assert (after.release, after.template, after.go_scale) == ("2025-03-04", "both", 3.0)
    assert after.calibration == before.calibration
    assert np.isnan(after.log_prior[number(after.ontology, 777)])
    assert after.filled_prior[number(after.ontology, 777)] == before.log_prior.min()
    for term, id in enumerate(before.ontology.ids):
        assert after.log_prior[after.ontology.index[id]] == before.log_prior[term]


def test_a_release_without_the_terms_takes_neither_priors_nor_calibration(bundle):
    before = index_of(bundle)
    assert before.calibration is not None
    before = replace(before, log_prior=np.full(len(before), -3.0, np.float32))
    text = SMALL.read_text("utf-8").replace("GO:00000", "GO:00990")
    path = bundle.parent / "foreign.obo"
    path.write_text(text, "utf-8")
    model = load_text_model(str(bundle), device="cpu")
    after = rebuild_go_index(model, read_obo(path), before)
    assert after.calibration is None
    assert np.isnan(after.log_prior).all()


def test_arrays_that_do_not_fit_are_no_index():
    index = random_index(30)
    for wrong in (
        {"vectors": index.vectors[1:]},
        {"vectors": index.vectors.astype(np.int16)},
        {"scales": index.scales * 0},
        {"scales": index.scales[:-1]},
        {"log_prior": np.full(30, np.inf, np.float32)},
        {"go_scale": 0.0},
        {"template": "all"},
    ):
        with pytest.raises(UsageError):
            replace(index, **wrong)


# -- what it belongs to --------------------------------------------------------------------------


def test_the_hash_of_the_text_side_is_that_of_texts_alone(dual, tmp_path):
    def changed(name):
        def change(tensors):
            key = next(key for key in tensors if key.startswith(name))
            tensors[key] = tensors[key] + 0.5

        return change

    def hash_of(folder, **options):
        return text_side_sha256(open_bundle(dual.write(tmp_path / folder, **options)))

    first = hash_of("a")
    assert first == hash_of("b", change=changed("protein_encoder."))
    tokenizer = (tmp_path / "a/tokenizer.json").read_bytes()
    others = [
        hash_of("c", change=changed("text_encoder.")),
        hash_of("d", change=changed("text_projection.")),
        hash_of("e", files={"tokenizer.json": tokenizer + b" "}),
    ]
    assert len({first, *others}) == 4


def test_an_index_of_another_text_side_is_refused_by_both_names(dual, bundle, tmp_path):
    def change(tensors):
        tensors["text_projection.2.bias"] += 0.5

    other = dual.write(tmp_path / "other", change=change, config={"name": "other"})
    index = index_of(bundle)
    with pytest.raises(ModelError) as caught:
        index.for_model(describe_model(other))
    mine, its = index.text_side_sha256[:16], text_side_sha256(open_bundle(other))[:16]
    for part in (mine, its, "model dual", "other has", "protclip data go build"):
        assert part in str(caught.value)


def test_a_calibration_of_another_protein_side_is_not_used(dual, bundle, tmp_path, caplog):
    def change(tensors):
        tensors["protein_projection.2.bias"] += 0.5

    sister = describe_model(dual.write(tmp_path / "sister", change=change))
    index = index_of(bundle)
    assert index.for_model(describe_model(bundle)) is index
    assert index.for_model(sister).calibration is None
    assert "its calibration is of a model with weights" in caplog.text


def test_an_ontology_that_is_not_that_of_the_index(bundle):
    index = index_of(bundle)
    index.check_ontology(small())
    with pytest.raises(ModelError, match="is GO release 2020-02-02, but .* of release 2024-01-17"):
        index.check_ontology(random_ontology(26, release="2020-02-02"))
    with pytest.raises(ModelError, match="26 terms that are not the 26 of the index"):
        index.check_ontology(random_ontology(26))


# -- files ---------------------------------------------------------------------------------------


def test_a_file_gives_back_what_was_written(tmp_path):
    for calibrated in (True, False):
        index = random_index(80, calibrated=calibrated)
        for ending in ("npz", "safetensors"):
            one, other = tmp_path / f"a.{ending}", tmp_path / f"b.{ending}"
            write_go_index(index, one)
            write_go_index(index, other)
            assert one.read_bytes() == other.read_bytes()
            assert_equal(read_go_index(one), index)
        assert one.read_bytes()[:2] != b"PK"


def rewritten(path, **changes):
    """Write the arrays of a file again, some of them changed; None leaves one out."""
    with np.load(path) as content:
        arrays = dict(content.items())
    arrays |= changes
    np.savez(path, allow_pickle=True, **{n: a for n, a in arrays.items() if a is not None})


def other_meta(path, **changes):
    with np.load(path) as content:
        meta = json.loads(content["meta"].tobytes())
    return np.frombuffer(json.dumps(meta | changes).encode(), np.uint8)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda p: p.unlink(), "cannot be read (no such file"),
        (lambda p: p.write_bytes(b"not zipped"), "neither a safetensors nor"),
        (lambda p: p.write_bytes(p.read_bytes()[:-500]), "cannot be unpacked"),
        (lambda p: np.savez(p, x=np.zeros(3)), "is not a GO index"),
        (lambda p: rewritten(p, scales=None), "'scales' is missing"),
        (lambda p: rewritten(p, **{"vectors.1": None}), "'vectors.1' is missing"),
        (lambda p: rewritten(p, **{"go.ids": None}), "array 'ids' is missing"),
        (lambda p: rewritten(p, scales=np.zeros(60, "f4")), "scales must be above 0"),
        (lambda p: rewritten(p, scales=np.ones(60, "f8")), "'scales' is missing or of another"),
        (lambda p: rewritten(p, scales=np.array([{}] * 60)), "is not a plain array"),
        (lambda p: rewritten(p, log_prior=np.ones(7, "f4")), "log_prior of shape"),
        (lambda p: rewritten(p, **{"vectors.1": np.ones((60, 48), "i1")}), "are not those"),
        (lambda p: rewritten(p, meta=np.frombuffer(b"{", "u1")), "is not JSON"),
        (lambda p: rewritten(p, meta=np.frombuffer(b"[" * 9999, "u1")), "is not JSON"),
        (lambda p: rewritten(p, meta=np.frombuffer(b"{}", "u1")), "not of format"),
        (lambda p: rewritten(p, meta=other_meta(p, version=3)), "install a newer protclip"),
        (lambda p: rewritten(p, meta=other_meta(p, parts=10**9)), "parts is 1000000000"),
        (lambda p: rewritten(p, meta=other_meta(p, parts=2)), "x_2.npz: cannot be read"),
        (lambda p: rewritten(p, meta=other_meta(p, joint_dim=7)), "of another shape"),
        (lambda p: rewritten(p, meta=other_meta(p, terms=61)), "has 60 terms, not 61"),
        (lambda p: rewritten(p, meta=other_meta(p, go_scale=-1)), "go_scale is -1"),
        (lambda p: rewritten(p, meta=other_meta(p, template="x")), "template"),
        (lambda p: rewritten(p, meta=other_meta(p, calibration={})), "weights_sha256"),
    ],
)
def test_a_damaged_or_foreign_file_is_one_line(tmp_path, damage, said):
    path = tmp_path / "x.npz"
    write_go_index(random_index(60), path)
    damage(path)
    with pytest.raises(ModelError) as caught:
        read_go_index(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_header_that_asks_for_memory_gets_none(tmp_path):
    path = tmp_path / "x.npz"
    write_go_index(random_index(60), path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    scales = entries["scales.npy"]
    entries["scales.npy"] = scales.replace(b"(60,), }" + b" " * 8, b"(9999999999,), }")
    assert entries["scales.npy"] != scales
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    with pytest.raises(ModelError, match="its header says otherwise"):
        read_go_index(path)


# -- bundles -------------------------------------------------------------------------------------


def test_an_index_in_a_bundle(bundle, monkeypatch):
    monkeypatch.setattr(go_index_file, "PART_BYTES", 160)  # ten rows of 16
    before = open_bundle(bundle)
    index = index_of(bundle)
    after = add_to_bundle(index, before)
    names = ["go_index.npz", "go_index_2.npz", "go_index_3.npz"]
    assert sorted(set(after.files) - set(before.files)) == names
    assert after.weights_sha256 == before.weights_sha256
    after.verify()
    assert_equal(find_go_index(describe_model(bundle)), index)
    monkeypatch.undo()
    again = add_to_bundle(index_of(bundle, calibrated=False), open_bundle(bundle))
    assert sorted(set(again.files) - set(before.files)) == names[:1]
    assert not (bundle / names[1]).exists()
    assert find_go_index(describe_model(bundle)).calibration is None


@pytest.mark.parametrize("name", ["go_index.npz", "go_index_2.npz"])
def test_a_flipped_byte_in_a_bundle_is_found(bundle, monkeypatch, name):
    monkeypatch.setattr(go_index_file, "PART_BYTES", 300)
    add_to_bundle(index_of(bundle), open_bundle(bundle))
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(data)
    with pytest.raises(ModelError, match=f"{name}: sha256 mismatch"):
        find_go_index(describe_model(bundle))


def test_an_index_of_another_model_does_not_come_into_a_bundle(bundle):
    listing = (bundle / "manifest.json").read_bytes()
    with pytest.raises(ModelError, match="of another model"):
        add_to_bundle(replace(index_of(bundle), text_side_sha256="c" * 64), open_bundle(bundle))
    assert (bundle / "manifest.json").read_bytes() == listing


def test_where_an_index_is_found(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("PROTCLIP_CACHE", str(tmp_path / "cache"))
    info = describe_model(bundle)
    with pytest.raises(ModelError, match="dual has no GO index; make one with: protclip data go"):
        find_go_index(info)
    index = index_of(bundle)
    kept = cache_path(index.text_side_sha256)
    kept.parent.mkdir(parents=True)
    write_go_index(replace(index, template="name"), kept)
    assert find_go_index(info).template == "name"
    add_to_bundle(index, open_bundle(bundle))
    assert find_go_index(describe_model(bundle)).template == "both"
    assert find_go_index(describe_model(bundle), kept).template == "name"


def test_a_model_without_texts_has_no_use_for_terms(tiny_bundle):
    with pytest.raises(ModelError, match="tiny takes no texts"):
        find_go_index(describe_model(tiny_bundle))
