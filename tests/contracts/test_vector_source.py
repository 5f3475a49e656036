"""What every source of vectors does: FASTA files, stores of each layout, tables of others."""

from __future__ import annotations

import numpy as np
import pytest

from protclip_core.errors import ModelError, UsageError
from protclip_core.progress import SilentProgress
from protclip_core.store.reader import EmbeddingStore
from protclip_core.tasks.embed.task import embed_to_store
from protclip_core.vectors.embed_request import EmbedRequest
from protclip_core.vectors.source import open_vectors, read_all
from tests.support.helpers import random_proteins, write_fasta

PROTEINS = random_proteins(30, seed=4, longest=60)


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_bundle):
    """A folder with one set of proteins in every form."""
    folder = tmp_path_factory.mktemp("sources")
    fasta = write_fasta(folder / "x.fa", PROTEINS)
    for layout in ("packed", "per-protein"):
        embed_to_store(
            EmbedRequest(
                inputs=(str(fasta),),
                output=folder / f"{layout}.h5",
                model=str(tiny_bundle),
                device="cpu",
                layout=layout,
            )
        )
    with EmbeddingStore.open(folder / "packed.h5") as store:
        ids, vectors = list(store.ids), store.read(slice(None))
    np.savez(folder / "x.npz", ids=np.array(ids), embeddings=vectors)
    with (folder / "x.tsv").open("w") as file:
        for id, row in zip(ids, vectors, strict=True):
            file.write("\t".join([id, *(f"{x:.9g}" for x in row)]) + "\n")
    write_fasta(folder / "first.fa", PROTEINS[:7])
    return folder


@pytest.fixture(
    params=["x.fa", "packed.h5", "per-protein.h5", "x.npz", "x.tsv", "first.fa packed.h5 first.fa"]
)
def opened(request, place, tiny_bundle):
    """``opened(**options)``: a source over the same proteins."""
    paths = [str(place / name) for name in request.param.split()]
    foreign = request.param in ("x.npz", "x.tsv")

    def make(**options):
        if not foreign:
            options.setdefault("model", str(tiny_bundle))
        return open_vectors(paths, device="cpu", several=True, **options)

    make.is_fasta = request.param == "x.fa"
    make.foreign = foreign
    make.path = paths[0]
    make.is_joined = len(paths) > 1
    return make


@pytest.fixture(scope="module")
def expected(place):
    with EmbeddingStore.open(place / "packed.h5") as store:
        return store.read(slice(None))


def test_proteins_come_in_input_order_with_the_same_vectors(opened, expected):
    with opened() as source:
        blocks = list(source.blocks(SilentProgress()))
        assert source.num_failures == 0
    assert [id for block in blocks for id in block.ids] == [id for id, _ in PROTEINS]
    found = np.concatenate([block.vectors for block in blocks])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


def test_columns_fit_their_block(opened):
    with opened() as source:
        for block in source.blocks(SilentProgress()):
            lengths, digests = block.columns()
            assert lengths.shape == (len(block.ids),)
            assert digests.shape == (len(block.ids), 32)
            if not opened.foreign:
                assert list(lengths) == [len(dict(PROTEINS)[id]) for id in block.ids]
                assert digests.any(axis=1).all()


def test_sequences_come_from_fasta_alone(opened):
    with opened() as source:
        for number, block in enumerate(source.blocks(SilentProgress())):
            if opened.is_joined:
                assert (block.sequences is not None) == (number == 0)
                continue
            assert (block.sequences is not None) == opened.is_fasta
            if opened.is_fasta:
                assert block.sequences == [dict(PROTEINS)[id] for id in block.ids]


def test_the_joint_space_is_a_projection_of_the_same(opened, tiny_model, expected):
    if opened.foreign:
        with opened() as source, pytest.raises(ModelError):
            list(source.blocks(SilentProgress(), "joint"))
        return
    with opened() as source:
        block = list(source.blocks(SilentProgress(), "joint"))
    found = np.concatenate([b.vectors for b in block])
    np.testing.assert_allclose(found, tiny_model.project(expected), rtol=0, atol=2e-5)


def test_all_of_it_in_one_block(opened, expected):
    options = {"vectors_model": "other"} if opened.foreign else {}
    with opened(**options) as source:
        whole = read_all(source, SilentProgress())
        assert source.spec.model
        assert source.input.width == expected.shape[1]
    assert len(whole.ids) == len(whole.vectors) == len(PROTEINS)
    assert whole.columns()[0].shape == (len(PROTEINS),)


def test_it_is_given_alone_unless_several_are_asked_for(opened, place):
    if opened.is_fasta or opened.is_joined:
        return
    with pytest.raises(UsageError) as caught:
        open_vectors([opened.path, str(place / "x.fa")])
    assert caught.value.code == "usage.store_and_others"
