"""Several inputs as one: order, repeats, and what does not go together."""

from __future__ import annotations

import numpy as np
import pytest

from protclip_core.errors import ProtclipError
from protclip_core.progress import SilentProgress
from protclip_core.store.reader import EmbeddingStore
from protclip_core.tasks.embed.task import embed_to_store
from protclip_core.vectors.embed_request import EmbedRequest
from protclip_core.vectors.source import open_vectors, read_all, stored_ids
from tests.support.helpers import random_proteins, write_fasta
from tests.support.refusals import refused
from tests.unit.models.dual import Dual

PROTEINS = random_proteins(20, seed=8, longest=50)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Parts of a set of proteins: stores in both spaces, of another model, FASTA, a table."""
    folder = tmp_path_factory.mktemp("joined")
    Dual().write(folder / "dual")
    change = lambda tensors: tensors["logit_scale"].add_(1.0)  # noqa: E731
    Dual().write(folder / "other", change=change, config={"name": "other"})
    parts = {"all": PROTEINS, "a": PROTEINS[:8], "b": PROTEINS[6:15], "c": PROTEINS[15:]}
    for name, proteins in parts.items():
        write_fasta(folder / f"{name}.fa", proteins)
    write_fasta(folder / "changed.fa", [(PROTEINS[7][0], "MKTWYV"), *PROTEINS[15:]])
    for source, model, space in (
        ("all", "dual", "encoder"), ("a", "dual", "encoder"), ("b", "dual", "joint"),
        ("b", "dual", "encoder"), ("c", "other", "encoder"), ("all", "dual", "joint"),
    ):  # fmt: skip
        embed_to_store(
            EmbedRequest(
                inputs=(str(folder / f"{source}.fa"),),
                output=folder / f"{source}-{model}-{space}.h5",
                model=str(folder / model),
                device="cpu",
                space=space,
            )
        )
    with EmbeddingStore.open(folder / "a-dual-encoder.h5") as store:
        np.savez(folder / "a.npz", ids=np.array(store.ids), embeddings=store.read(slice(None)))
    with EmbeddingStore.open(folder / "c-other-encoder.h5") as store:
        np.savez(folder / "c.npz", ids=np.array(store.ids), embeddings=store.read(slice(None)))
    return folder


def read(place, *names, model="dual", **options):
    """Read inputs into one block; models are found by their paths."""
    given = {} if model is None else {"model": str(place / model)}
    paths = [str(place / name) for name in names]
    with open_vectors(paths, device="cpu", several=True, **given, **options) as source:
        return read_all(source, SilentProgress()), source.input


@pytest.mark.parametrize(
    "names",
    [
        ("a-dual-encoder.h5", "b.fa", "c.fa"),
        ("a.fa", "b-dual-encoder.h5", "c.fa"),
        ("a-dual-encoder.h5", "b-dual-encoder.h5", "a.fa", "c.fa", "a-dual-encoder.h5"),
    ],
)
@pytest.mark.parametrize("space", ["encoder", "joint"])
def test_all_proteins_come_once_and_in_order_with_the_vectors_of_one_store(
    place, names, space, caplog
):
    found, made = read(place, *names, space=space)
    with EmbeddingStore.open(place / f"all-dual-{space}.h5") as store:
        assert found.ids == list(store.ids)
        np.testing.assert_allclose(found.vectors, store.read(slice(None)), atol=2e-5)
        lengths, digests = found.columns()
        np.testing.assert_array_equal(lengths, store.lengths)
        np.testing.assert_array_equal(digests, store.digests)
        assert (made.space, made.width) == (space, store.dim)
    repeated = 2 if len(names) == 3 else 2 + 8 + 8
    assert f"{repeated} proteins in several inputs" in caplog.text


def test_vectors_of_the_encoder_are_projected_beside_those_of_the_joint_space(place):
    found, made = read(place, "a-dual-encoder.h5", "b-dual-joint.h5", space="joint")
    assert made.space == "joint" and len(found.ids) == 15
    with EmbeddingStore.open(place / "all-dual-joint.h5") as store:
        np.testing.assert_allclose(found.vectors, store.read(slice(0, 15)), atol=2e-5)


@pytest.mark.parametrize(
    ("names", "code", "said"),
    [
        (("a-dual-encoder.h5", "c-other-encoder.h5"), "usage.other_vectors", "weights_sha256"),
        (("a-dual-encoder.h5", "b-dual-joint.h5"), "usage.other_space", "joint"),
        (("a-dual-encoder.h5", "changed.fa"), "input.duplicate_id", PROTEINS[7][0]),
        (("a-dual-encoder.h5", "a.npz"), "model.unknown_vectors", "a.npz"),
    ],
)
def test_what_does_not_go_together_is_refused(place, names, code, said):
    model = None if "other" in names[1] else "dual"
    with refused(code, names[1], said):
        read(place, *names, model=model)


def test_tables_of_another_program(place):
    found, made = read(place, "a.npz", "c.npz", model=None, vectors_model="mine")
    assert found.ids == [id for id, _ in (*PROTEINS[:8], *PROTEINS[15:])]
    assert made.model == "mine"
    with refused("usage.other_vectors", "c.fa", "another program"):
        read(place, "a.npz", "c.fa", model=None, vectors_model="mine")
    with refused("input.duplicate_id", PROTEINS[0][0], "a2.npz"):  # no sequences tell
        np.savez(place / "a2.npz", ids=np.array([PROTEINS[0][0]]), embeddings=np.ones((1, 32)))
        read(place, "a.npz", "a2.npz", model=None, vectors_model="mine")


def test_a_head_decides_for_all_of_them(place):
    _, made = read(place, "all-dual-joint.h5")
    found, own = read(place, "a-dual-encoder.h5", "b-dual-joint.h5", "c.fa", like=made)
    assert own.diff(made) == [] and found.vectors.shape == (20, made.width)
    with refused("model.head_mismatch", "c-other-encoder.h5"):
        read(place, "a.fa", "c-other-encoder.h5", like=made, model=None)


def test_failures_of_all_inputs_are_counted(place, tmp_path):
    bad = write_fasta(tmp_path / "bad.fa", [(f"x{n}", "MK1V") for n in range(9)])
    paths = [str(place / "a-dual-encoder.h5"), str(bad), str(place / "c.fa")]
    options = {"model": str(place / "dual"), "device": "cpu", "on_error": "skip"}
    with open_vectors(paths, several=True, **options) as source:
        assert len(read_all(source, SilentProgress()).ids) == 13
        assert source.num_failures == 9 and len(source.first_failures) == 5


def test_a_store_that_cannot_be_opened_leaves_none_open(place, tmp_path):
    (tmp_path / "x.h5").write_bytes((place / "a-dual-encoder.h5").read_bytes()[:5000])
    with pytest.raises(ProtclipError):
        read(place, "a-dual-encoder.h5", tmp_path / "x.h5")
    assert stored_ids(str(place / "a-dual-encoder.h5")) == [id for id, _ in PROTEINS[:8]]
    assert stored_ids(str(place / "a.npz")) == [id for id, _ in PROTEINS[:8]]
