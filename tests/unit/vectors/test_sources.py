"""What every source of vectors gives, whatever the proteins come from."""

from __future__ import annotations

import csv
from dataclasses import replace

import h5py
import numpy as np
import pytest

from protclip_core.errors import InputError, ModelError
from protclip_core.heads.card import HeadInput
from protclip_core.models.loading import load_model
from protclip_core.progress import SilentProgress
from protclip_core.store.reader import EmbeddingStore
from protclip_core.tasks.embed.task import embed_to_store
from protclip_core.vector_spec import VectorSpec
from protclip_core.vectors import store_source as sources
from protclip_core.vectors.embed_job import EmbedRequest
from protclip_core.vectors.named import NamedRows
from protclip_core.vectors.source import is_store, open_vectors, read_all
from tests.support.helpers import random_proteins, write_fasta
from tests.support.pairs import INPUT, vectors_of, write_store
from tests.support.refusals import refused
from tests.unit.models.dual import Dual

PROTEINS = random_proteins(23, seed=8, shortest=5, longest=60)
IDS = [id for id, _ in PROTEINS]
KINDS = ("x.fa", "encoder.h5", "joint.h5", "x.npz", "ids.npz", "x.csv", "x.tsv", "x.parquet")
OURS = ("x.fa", "encoder.h5", "joint.h5")


def test_damaged_ids_are_known_before_the_first_block(tmp_path, monkeypatch):
    """Ids are read in parts, and whether they are right is known after the last."""
    monkeypatch.setattr(sources, "_STORE_ROWS", 4)
    path = write_store(tmp_path / "x.h5", np.ones((len(IDS), 2), np.float32), IDS)
    with h5py.File(path, "r+") as h5:
        h5["ids"][-1] = "another"
    length = path.stat().st_size
    head = path.read_bytes()[:512].rstrip(b"\0").rsplit(b" ", 1)[0]
    path.write_bytes((head + b" %d\n" % length).ljust(512, b"\0") + path.read_bytes()[512:])
    with open_vectors([str(path)]) as source, pytest.raises(ModelError) as caught:
        next(source.blocks(SilentProgress()))
    assert caught.value.code == "model.damaged_store"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    Dual().write(folder / "dual")
    fasta = write_fasta(folder / "x.fa", PROTEINS)
    for space in ("encoder", "joint"):
        embed_to_store(
            EmbedRequest(
                inputs=(str(fasta),),
                output=folder / f"{space}.h5",
                model=str(folder / "dual"),
                space=space,
                device="cpu",
            )
        )
    with EmbeddingStore.open(folder / "encoder.h5") as store:
        vectors = store.read(slice(None))
    np.savez(folder / "x.npz", **dict(zip(IDS, vectors, strict=True)))
    np.savez(folder / "ids.npz", ids=np.array(IDS), embeddings=vectors)
    for name, separator in (("x.csv", ","), ("x.tsv", "\t")):
        with (folder / name).open("w", newline="") as file:
            writer = csv.writer(file, delimiter=separator)
            if name == "x.csv":
                writer.writerow(["protein", *(f"d{n}" for n in range(vectors.shape[1]))])
            writer.writerows([id, *map(repr, row.tolist())] for id, row in zip(IDS, vectors))
    return folder


@pytest.fixture
def opened(place):
    def opened(name, **options):
        if name == "x.parquet" and not (place / name).exists():
            pyarrow = pytest.importorskip("pyarrow")
            from pyarrow import parquet

            with EmbeddingStore.open(place / "encoder.h5") as store:
                vectors = store.read(slice(None))
            table = pyarrow.table({"id": IDS, "vector": vectors.tolist()})
            parquet.write_table(table, place / name)
        options = {"model": str(place / "dual"), "device": "cpu"} | options
        if name not in OURS:
            options = {"vectors_model": "mine"} | options | {"model": None}
        return open_vectors([str(place / name)], **options)

    return opened


@pytest.mark.parametrize("name", KINDS)
def test_every_source_gives_all_proteins_once_and_in_order(opened, place, name):
    with opened(name) as source:
        block = read_all(source, SilentProgress())
        lengths, digests = block.columns()
        assert (source.num_failures, source.first_failures) == (0, [])
        assert source.input.width == block.vectors.shape[1]
    assert block.ids == IDS
    assert (block.vectors.dtype, len(block.vectors)) == (np.float32, len(IDS))
    with EmbeddingStore.open(place / ("joint.h5" if name == "joint.h5" else "encoder.h5")) as store:
        np.testing.assert_allclose(block.vectors, store.read(slice(None)), atol=1e-5)
        if name in OURS:
            np.testing.assert_array_equal(digests, store.digests)
            np.testing.assert_array_equal(lengths, store.lengths)
        else:
            assert not digests.any() and not lengths.any()
    assert block.sequences == ([s for _, s in PROTEINS] if name == "x.fa" else None)


@pytest.mark.parametrize("name", OURS)
def test_every_source_of_ours_gives_the_joint_space(opened, place, name):
    with opened(name, space="joint") as source:
        vectors = read_all(source, SilentProgress()).vectors
        assert source.spec.space == "joint"
    with EmbeddingStore.open(place / "encoder.h5") as store:
        wanted = load_model(place / "dual", device="cpu").project(store.read(slice(None)))
    np.testing.assert_allclose(vectors, wanted, atol=1e-5)


@pytest.mark.parametrize("name", OURS)
def test_every_source_is_checked_against_a_head(opened, name):
    with opened("joint.h5") as source:
        own = source.input
    with opened(name, like=own) as source:
        read_all(source, SilentProgress())
        assert source.input.diff(own) == []
        assert source.input.width == own.width
    with refused("model.head_mismatch", "weights_sha256: "):
        read_all(opened(name, like=replace(own, weights_sha256="ef" * 32)), SilentProgress())


def test_blocks_do_not_change_what_is_read(opened, monkeypatch):
    with opened("encoder.h5", space="joint") as source:
        whole = read_all(source, SilentProgress())
    monkeypatch.setattr(sources, "_STORE_ROWS", 4)
    with opened("encoder.h5", space="joint") as source:
        blocks = list(source.blocks(SilentProgress()))
        digests = np.concatenate([block.columns()[1] for block in blocks])
    assert [len(block.ids) for block in blocks] == [4, 4, 4, 4, 4, 3]
    np.testing.assert_allclose(np.concatenate([b.vectors for b in blocks]), whole.vectors)
    np.testing.assert_array_equal(digests, whole.columns()[1])


@pytest.mark.parametrize("unusable", ["skip", "fail", "keep"])
def test_vectors_without_direction(tmp_path, unusable):
    vectors = vectors_of(12)
    vectors[[1, 3, 4, 6, 7, 9, 10]] = 0
    path = write_store(tmp_path / "x.h5", vectors)
    if unusable == "fail":
        with refused("model.unusable_vectors", path, "7 of its 12"):
            open_vectors([str(path)], unusable=unusable)
        return
    with open_vectors([str(path)], unusable=unusable) as source:
        block = read_all(source, SilentProgress())
    if unusable == "keep":
        assert (len(block.ids), source.num_failures) == (12, 0)
        return
    assert block.ids == ["P0", "P2", "P5", "P8", "P11"]
    assert source.num_failures == 7
    assert [f.id for f in source.first_failures] == ["P1", "P3", "P4", "P6", "P7"]
    assert [f.number for f in source.first_failures] == [2, 4, 5, 7, 8]
    assert {f.code for f in source.first_failures} == {"record.no_direction"}


def test_the_name_that_a_user_gives_binds_a_head(opened, place):
    with opened("x.npz") as source:
        own = HeadInput.of(source.spec, source.input.width)
    assert (own.model, own.is_named, own.space) == ("mine", False, "encoder")
    for name in ("x.csv", "x.tsv", "ids.npz"):
        with opened(name, like=own) as source:
            assert source.input == own
        with opened(name, like=own, vectors_model=None) as source:
            assert source.input == own  # of the head's width, and it can be nothing else
    with refused("model.head_mismatch", "model: other, not mine"):
        opened("x.csv", like=own, vectors_model="other")
    with refused("model.head_mismatch", "mine"):
        opened("x.fa", like=own)
    with refused("model.head_mismatch", "weights_sha256: ", "not unknown"):
        opened("encoder.h5", like=own)
    with refused("usage.conflicting_options", "'dual'", "'mine'", "--vectors-model"):
        opened("encoder.h5", vectors_model="mine")
    with refused("usage.conflicting_options", "x.fa", "--vectors-model"):
        opened("x.fa", vectors_model="mine")


@pytest.mark.parametrize("name", ["x.npz", "x.csv"])
def test_vectors_that_do_not_say_their_model_need_a_name_for_a_head(opened, name):
    with (
        opened(name, vectors_model=None) as source,
        refused("model.unknown_vectors", name, "--vectors-model"),
    ):
        read_all(source, SilentProgress())


def test_hdf5_of_another_program_is_taken_by_name(tmp_path):
    vectors = vectors_of(3)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for number, vector in enumerate(vectors):
            file[f"{number}"] = vector
            file[f"{number}"].attrs["original_id"] = f"sp|P{number}|X"
    with open_vectors([str(tmp_path / "x.h5")], vectors_model="prot_t5") as source:
        block = read_all(source, SilentProgress())
        assert source.input == HeadInput(model="prot_t5", space="encoder", width=12)
    assert block.ids == ["sp|P0|X", "sp|P1|X", "sp|P2|X"]
    np.testing.assert_array_equal(block.vectors, vectors)


@pytest.mark.parametrize(
    ("name", "text"),
    [("uneven.csv", "a,1,2\nb,1\n"), ("word.tsv", "a\t1\t2\nb\t1\tx\n"), ("bad.npz", None)],
)
def test_damaged_tables_are_refused(tmp_path, name, text):
    path = tmp_path / name
    if text is None:
        np.savez(path, a=np.ones(3), b=np.ones(4))
    else:
        path.write_text(text)
    assert is_store(str(path))
    with refused("input.bad_vectors", path):
        open_vectors([str(path)], vectors_model="mine")


@pytest.mark.parametrize(
    ("name", "text"),
    [("x.fa", ">a,1,2\nMKT\n"), ("labels.tsv", "a\tmembrane\n"), ("one.csv", "a,1\n"), ("e", "")],
)
def test_what_is_not_a_table_of_vectors(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert not is_store(str(tmp_path / name))


def test_stores_go_alone_and_missing_ones_are_named(opened, place):
    with refused("usage.store_and_others", "encoder.h5"):
        open_vectors([str(place / "x.fa"), str(place / "encoder.h5")])
    with pytest.raises(ModelError) as caught:
        open_vectors([str(place / "nosuch.h5")])
    assert "nosuch.h5" in str(caught.value)


def test_names_stand_for_ids_and_reasons_name_the_input():
    named = NamedRows("x.h5", ["sp|P1|A_HUMAN", "sp|P1|B_HUMAN", "sp|P2|C_HUMAN"])
    assert [named.find(name) for name in ("sp|P1|B_HUMAN", "P2", "C_HUMAN")] == [1, 2, 2]
    assert "x.h5" in named.find("P9") and "FASTA" not in named.find("P9")
    assert "2 proteins of x.h5: sp|P1|A_HUMAN, sp|P1|B_HUMAN" in named.find("P1")
    with pytest.raises(InputError) as caught:
        NamedRows("x.h5", ["a", "b", "a"])
    assert "x.h5 (a)" in str(caught.value)


def test_a_spec_is_read_as_it_was_written():
    spec = VectorSpec(
        model="m", weights_sha256="ab" * 32, config_sha256="cd" * 32, pooling="tokens",
        space="encoder", layer=0, dtype="float32", long="window", max_residues=512, overlap=128,
    )  # fmt: skip
    assert VectorSpec.from_attributes(spec.to_attributes()) == spec
    assert VectorSpec.from_dict(spec.to_dict()) == spec
    assert spec.to_attributes()["compute_dtype"] == "float32"
    assert VectorSpec.from_attributes({"by": "another program"}) == VectorSpec()


def test_what_differs_is_said_in_words():
    spec = VectorSpec.from_dict(INPUT.to_dict())
    assert spec.diff(INPUT) == []
    assert spec.diff(replace(spec, model="renamed")) == []
    other = replace(spec, pooling="tokens", layer=0, weights_sha256="ef" * 32)
    assert other.diff(spec) == [
        "weights_sha256: efefefefefef…, not abababababab…",
        "pooling: tokens, not residues",
        "layer: 0, not 2",
    ]
    named = VectorSpec(model="mine")
    assert named.diff(replace(named, model="other")) == ["model: mine, not other"]
    assert named.diff(spec, ("weights_sha256",)) == [
        "model: mine, not toy",
        "weights_sha256: unknown, not abababababab…",
    ]
