"""The embedding task as a library user calls it: vectors, flags, layouts, what a store says."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from protclip_core.encoders.packing import pack_sequences
from protclip_core.errors import InputError
from protclip_core.models.protein import ProteinModel
from protclip_core.records import RecordFlag
from protclip_core.store.reader import EmbeddingStore
from protclip_core.vectors.embed_job import EmbedReport
from protclip_core.vectors.embed_rows import embed_rows
from tests.support.helpers import random_proteins
from tests.unit.tasks.reading import PROTEINS, read


def naive_residues(model, sequence, width=1022, overlap=254, layer=None):
    """Residue vectors in plain loops: windows one by one, each residue's mean over them.

    Also gives the vectors of BOS (first window) and EOS (last window).
    """
    layer = model.encoder.num_layers if layer is None else layer
    starts = [0]
    if len(sequence) > width:
        steps = 1
        while (len(sequence) - width) / steps > width - overlap:
            steps += 1
        starts = [round(i * (len(sequence) - width) / steps) for i in range(steps + 1)]
    sums = [np.zeros(model.encoder.hidden_dim) for _ in sequence]
    counts = [0] * len(sequence)
    for start in starts:
        piece = sequence[start : start + width]
        hidden = model.encoder.hidden(pack_sequences([piece]), (layer,))[layer].double().numpy()
        if start == 0:
            first = hidden[0]
        last = hidden[-1]
        for place in range(len(piece)):
            sums[start + place] += hidden[1 + place]
            counts[start + place] += 1
    assert min(counts) >= 1
    residues = np.stack([total / count for total, count in zip(sums, counts, strict=True)])
    return residues, first, last


def project(model, vectors):
    w1, b1, w2, b2 = [t.double().numpy() for t in model._projection.state_dict().values()]
    return np.maximum(vectors @ w1.T + b1, 0) @ w2.T + b2


@pytest.mark.parametrize("pooling", ["residues", "tokens"])
@pytest.mark.parametrize("layer", [0, 2])
def test_vectors_equal_plain_loops_long_proteins_too(run, tiny_model, tmp_path, pooling, layer):
    run(PROTEINS, pooling=pooling, layer=layer, max_residues=40, per_residue=True)
    with EmbeddingStore.open(tmp_path / "x.h5") as store:
        assert store.ids == [id for id, _ in PROTEINS]
        for row, (id, sequence) in enumerate(PROTEINS):
            residues, first, last = naive_residues(tiny_model, sequence, 40, 10, layer)
            averaged = [*residues, first, last] if pooling == "tokens" else residues
            assert np.abs(store.get(id) - np.mean(averaged, axis=0)).max() < 2e-6
            assert np.abs(store.residues(id) - residues).max() < 2e-6
            windowed = RecordFlag.WINDOWED if len(sequence) > 40 else RecordFlag.NONE
            assert store.flags[row] == windowed
            assert store.lengths[row] == len(sequence)
            assert bytes(store.digests[row]) == hashlib.sha256(sequence.encode()).digest()


def test_joint_space_is_the_projected_mean_at_unit_length(run, tiny_model, tmp_path):
    run(PROTEINS, space="joint", max_residues=40)
    _ids, vectors, _flags, _lengths = read(tmp_path / "x.h5")
    assert vectors.shape == (15, 32)
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6
    for vector, (_id, sequence) in zip(vectors, PROTEINS, strict=True):
        wanted = project(tiny_model, naive_residues(tiny_model, sequence, 40, 10)[0].mean(0))
        assert np.abs(vector - wanted / np.linalg.norm(wanted)).max() < 2e-6


def test_residues_in_the_joint_space_are_projected_each(run, tiny_model, tmp_path):
    run(PROTEINS[:3], space="joint", per_residue=True)
    with EmbeddingStore.open(tmp_path / "x.h5") as store:
        for id, sequence in PROTEINS[:3]:
            wanted = project(tiny_model, naive_residues(tiny_model, sequence)[0])
            assert np.abs(store.residues(id) - wanted).max() < 2e-6


def test_identical_sequences_are_computed_once(run, tmp_path, monkeypatch):
    seen = []
    inner = ProteinModel.embed_batch

    def counting(self, sequences, *arguments):
        seen.extend(sequences)
        return inner(self, sequences, *arguments)

    monkeypatch.setattr(ProteinModel, "embed_batch", counting)
    twins = [(f"twin-{id}", sequence) for id, sequence in PROTEINS]
    report = run(PROTEINS + twins)
    assert sorted(seen) == sorted(sequence for _, sequence in PROTEINS)
    assert (report.records, report.computed, report.reused) == (30, 15, 0)
    ids, vectors, _flags, _lengths = read(tmp_path / "x.h5")
    assert ids == [id for id, _ in PROTEINS + twins]
    assert (vectors[:15] == vectors[15:]).all()


def test_flags_say_what_was_done_to_a_record(run, tmp_path):
    run([("a", "MKVX"), ("b", "mkv"), ("c", "MKV*"), ("d", "ACGT" * 10), ("e", "mkBx*")])
    assert list(read(tmp_path / "x.h5")[2]) == [1, 4, 2, 8, 7]


def test_long_proteins_are_cut_left_out_or_refused_on_request(run, tiny_model, tmp_path):
    report = run(PROTEINS, long="truncate", max_residues=40)
    ids, vectors, flags, lengths = read(tmp_path / "x.h5")
    assert (report.records, report.num_failures) == (15, 0)
    assert list(flags[-3:]) == [RecordFlag.TRUNCATED] * 3
    assert max(lengths) == 40
    wanted = naive_residues(tiny_model, PROTEINS[-1][1][:40])[0].mean(0)
    assert np.abs(vectors[-1] - wanted).max() < 2e-6

    report = run(PROTEINS, long="skip", max_residues=40, overwrite=True)
    assert read(tmp_path / "x.h5")[0] == ids[:12]
    assert (report.records, report.num_failures) == (12, 3)
    listed = (tmp_path / "x.h5.failed.tsv").read_text().splitlines()
    assert listed[0] == "source\trecord\tprotein_id\treason"
    assert listed[1].split("\t")[1:3] == ["13", "long0"]
    assert listed[1].endswith(f"{len(PROTEINS[12][1])} residues are more than 40")

    run(PROTEINS, overwrite=True)  # nothing fails now, so the old list goes
    assert not (tmp_path / "x.h5.failed.tsv").exists()

    with pytest.raises(InputError, match=r"x\.fa:record 13 \(long0\): .* \(3 ") as caught:
        run(PROTEINS, long="error", max_residues=40, overwrite=True)
    assert caught.value.code == "input.too_long"
    with pytest.raises(InputError, match="^3 ") as caught:
        run(PROTEINS[-3:], long="skip", max_residues=40, overwrite=True)
    assert caught.value.code == "input.too_long"


def test_float16_is_the_float32_result_rounded(run, tmp_path):
    run(PROTEINS, per_residue=True)
    single = read(tmp_path / "x.h5")[1]
    run(PROTEINS, store_dtype="float16", per_residue=True, overwrite=True)
    with EmbeddingStore.open(tmp_path / "x.h5") as store:
        assert store.dtype == np.float16
        assert (store.read_stored(slice(None)) == single.astype(np.float16)).all()
        assert store.residues_stored(0).dtype == np.float16


def test_bfloat16_is_close(run, tmp_path):
    run(PROTEINS)
    single = read(tmp_path / "x.h5")[1]
    run(PROTEINS, dtype="bfloat16", overwrite=True)
    double = read(tmp_path / "x.h5")[1]
    cosine = (
        (single * double).sum(1) / np.linalg.norm(single, axis=1) / np.linalg.norm(double, axis=1)
    )
    assert cosine.min() > 0.9999


@pytest.mark.parametrize("layout", ["packed", "per-protein"])
def test_layouts_hold_the_same(run, tmp_path, layout):
    run(PROTEINS, layout=layout, per_residue=True)
    with EmbeddingStore.open(tmp_path / "x.h5") as store:
        assert store.layout == layout
        assert store.ids == [id for id, _ in PROTEINS]
        assert store.residues("p0").shape == (len(PROTEINS[0][1]), 64)


def test_store_says_how_it_was_made(run, tmp_path, tiny_model):
    run(PROTEINS, pooling="tokens", layer=-2, command="protclip embed x.fa")
    with EmbeddingStore.open(tmp_path / "x.h5") as store:
        told = store.attributes
    assert told["model"] == "tiny"
    assert told["weights_sha256"] == tiny_model.weights_sha256
    assert (told["pooling"], told["layer"], told["compute_dtype"]) == ("tokens", 1, "float32")
    assert told["command"] == "protclip embed x.fa"
    assert told["created_by"].startswith("protclip ")
    assert len(told["input_sha256"]) == 64


def test_rows_equal_the_store(run, request_of, tmp_path):
    proteins = random_proteins(200, seed=5) + PROTEINS
    proteins = [(f"q{i}", sequence) for i, (_, sequence) in enumerate(proteins)]
    run(proteins)
    *blocks, report = embed_rows(request_of(proteins))
    assert isinstance(report, EmbedReport)
    assert len(blocks[0][0]) == 64  # the first lines of a pipe come early
    ids, vectors, flags, lengths = read(tmp_path / "x.h5")
    records = [record for block, _ in blocks for record in block]
    assert [record.id for record in records] == ids
    assert [record.length for record in records] == list(lengths)
    assert np.abs(np.concatenate([v for _, v in blocks]) - vectors).max() < 1e-6
    assert (report.records, report.computed) == (215, 215)
