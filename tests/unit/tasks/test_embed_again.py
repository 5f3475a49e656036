"""Embedding onto what is there, and what ends a run: stores added to, refusals, failures."""

from __future__ import annotations

import numpy as np
import pytest

from protclip_core.errors import InputError, ModelError, ResourceError, UsageError
from protclip_core.models.protein import ProteinModel
from protclip_core.store.reader import EmbeddingStore
from protclip_core.tasks.embed.task import embed_to_store
from protclip_core.vectors import embed_job
from protclip_core.vectors.embed_request import EmbedRequest
from protclip_core.vectors.embed_rows import embed_rows
from tests.support.helpers import random_proteins
from tests.unit.tasks.reading import PROTEINS, read


def test_adding_keeps_what_is_there_and_computes_the_rest(run, tmp_path, caplog):
    run(PROTEINS[:10], per_residue=True)
    old = dict(zip(*read(tmp_path / "x.h5")[:2], strict=True))
    report = run(PROTEINS[5:], per_residue=True, resume=True)
    assert (report.records, report.computed, report.reused) == (15, 5, 5)
    ids, vectors, _flags, _lengths = read(tmp_path / "x.h5")
    assert ids == [id for id, _ in PROTEINS]
    assert "5 records of" in caplog.text
    for id, vector in zip(ids, vectors, strict=True):
        if id in old:
            assert (vector == old[id]).all()
    with EmbeddingStore.open(tmp_path / "x.h5") as store:
        for id, sequence in PROTEINS:
            assert store.residues(id).shape == (len(sequence), 64)
    report = run(PROTEINS, per_residue=True, resume=True)
    assert (report.records, report.computed, report.reused) == (15, 0, 15)
    assert read(tmp_path / "x.h5")[0] == [id for id, _ in PROTEINS]


def test_adding_keeps_the_order_of_the_store_and_names_every_input(run, tmp_path):
    """Old rows first in their order, new rows behind them; provenance covers all records."""
    run(PROTEINS[:6], command="first")
    (tmp_path / "y.fa").write_text(
        "".join(f">{i}\n{s}\n" for i, s in PROTEINS[5:2:-1] + PROTEINS[6:9])
    )
    request = EmbedRequest(
        inputs=(str(tmp_path / "y.fa"),),
        output=tmp_path / "x.h5",
        model=str(run.model),
        device="cpu",
        workers=1,
        resume=True,
        command="second",
    )
    report = embed_to_store(request)
    assert (report.records, report.computed, report.reused) == (9, 3, 3)
    assert read(tmp_path / "x.h5")[0] == [id for id, _ in PROTEINS[:9]]
    with EmbeddingStore.open(tmp_path / "x.h5") as store:
        told = store.attributes
    assert told["input"] == f"{tmp_path / 'x.fa'} {tmp_path / 'y.fa'}"
    assert told["command"] == "first && second"
    residues = sum(len(sequence) for _, sequence in PROTEINS[:9])
    assert told["input_summary"].startswith(f"9 records, {residues} residues")
    run(PROTEINS[:9], output=tmp_path / "z.h5")
    assert (read(tmp_path / "z.h5")[1] == read(tmp_path / "x.h5")[1]).all()
    with EmbeddingStore.open(tmp_path / "z.h5") as store:
        assert store.attributes["input_sha256"] == told["input_sha256"]


def test_new_id_of_a_sequence_that_the_store_has_takes_its_vector(run, tmp_path):
    run(PROTEINS[:5], per_residue=True)
    report = run([("twin", PROTEINS[3][1]), ("new", PROTEINS[7][1])], resume=True, per_residue=True)
    assert (report.records, report.computed, report.reused) == (7, 1, 1)
    with EmbeddingStore.open(tmp_path / "x.h5") as store:
        assert store.ids == [*(id for id, _ in PROTEINS[:5]), "twin", "new"]
        assert (store.get("twin") == store.get(PROTEINS[3][0])).all()
        assert (store.residues("twin") == store.residues(PROTEINS[3][0])).all()


def test_changed_sequence_is_computed_again_never_stale(run, tmp_path):
    """Fault 9: same id, other sequence."""
    run(PROTEINS)
    changed = [(id, sequence + "W" if id == "p3" else sequence) for id, sequence in PROTEINS]
    report = run(changed, resume=True)
    assert (report.computed, report.reused) == (1, 14)
    ids, vectors, _flags, _lengths = read(tmp_path / "x.h5")
    assert ids == [id for id, _ in PROTEINS]
    run(changed, output=tmp_path / "fresh.h5")
    assert np.abs(vectors - read(tmp_path / "fresh.h5")[1]).max() < 1e-6


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"layer": 1}, "layer is 2, now 1"),
        ({"pooling": "tokens"}, "pooling is 'residues', now 'tokens'"),
        ({"dtype": "bfloat16"}, "compute_dtype is 'float32', now 'bfloat16 (cpu)'"),
        ({"store_dtype": "float16"}, "store_dtype is 'float32', now 'float16'"),
        ({"space": "joint"}, "space is 'encoder', now 'joint'"),
        ({"per_residue": True}, "per_residue is 0, now 1"),
        ({"long": "truncate"}, "long is 'window', now 'truncate'"),
        ({"max_residues": 100}, "max_residues is 1022, now 100"),
    ],
)
def test_other_settings_are_not_mixed_into_a_store(run, tmp_path, options, named):
    """Fault 10: the mismatch is named, the store untouched, nothing left behind."""
    run(PROTEINS)
    before = (tmp_path / "x.h5").read_bytes()
    with pytest.raises(UsageError) as caught:
        run(PROTEINS, resume=True, **options)
    assert named in str(caught.value)
    assert (tmp_path / "x.h5").read_bytes() == before
    assert not (tmp_path / "x.h5.partial").exists()


def test_output_may_be_none_of_the_inputs(run, tmp_path):
    (tmp_path / "link.h5").symlink_to(tmp_path / "x.fa")
    for name in ("x.fa", "link.h5"):
        with pytest.raises(UsageError) as caught:
            run(PROTEINS, output=tmp_path / name, overwrite=True)
        assert caught.value.code == "usage.output_is_input"


def test_room_is_checked_before_the_model_loads(run, tmp_path, monkeypatch):
    """Fault 16: what is needed and what is there stands in the message."""
    monkeypatch.setattr(embed_job, "load_job", lambda *_: pytest.fail("the model was loaded"))
    monkeypatch.setattr("protclip_core.io.atomic.free_bytes", lambda _path: 2_000_000)
    with pytest.raises(ResourceError, match="[0-9]+ MB needed, 2 MB free") as caught:
        run(random_proteins(3000), per_residue=True)
    assert caught.value.code == "resource.disk_full"
    assert not (tmp_path / "x.h5.partial").exists()


def test_nothing_is_left_where_nothing_was_finished(run, tmp_path, monkeypatch):
    monkeypatch.setattr(ProteinModel, "embed_batch", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(PROTEINS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.fa"]


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (MemoryError(), ResourceError, "resource.out_of_memory"),
        (None, ModelError, "model.nothing_embedded"),
    ],
    ids=["memory", "nan"],
)
def test_no_record_at_all_is_an_error(run, request_of, tmp_path, monkeypatch, error, kind, code):
    """Fault 52: a model that gives NaN is at fault, not the input."""
    inner = ProteinModel._embed_packed

    def failing(self, *arguments):
        if error is not None:
            raise error
        for found in inner(self, *arguments):
            found.vector[3] = np.nan
            yield found

    monkeypatch.setattr(ProteinModel, "_embed_packed", failing)
    with pytest.raises(kind) as caught:
        run(PROTEINS)
    assert caught.value.code == code
    with pytest.raises(kind) as caught:
        list(embed_rows(request_of(PROTEINS)))
    assert caught.value.code == code
    assert not (tmp_path / "x.h5").exists()
    assert not (tmp_path / "x.h5.partial").exists()


def test_value_too_large_for_float16_is_listed_not_stored(run, tmp_path, monkeypatch):
    inner = ProteinModel._embed_packed

    def growing(self, batch, settings):
        for found, length in zip(inner(self, batch, settings), batch.lengths, strict=True):
            if length - 2 == len(PROTEINS[0][1]):
                found.vector[0] = 70_000
            yield found

    monkeypatch.setattr(ProteinModel, "_embed_packed", growing)
    report = run(PROTEINS, store_dtype="float16")
    assert report.first_failures[0].code == "record.too_large"
    assert "p0" not in read(tmp_path / "x.h5")[0]


def test_bad_records_end_the_run_or_are_left_out(run, tmp_path):
    text = ">a\nMKV\n>b\n>c\nMK1V\n>a\nMKW\n>d\nMKL\n"
    (tmp_path / "x.fa").write_text(text)
    with pytest.raises(InputError) as caught:
        run(None)
    assert (caught.value.code, caught.value.message[:2]) == ("input.bad_records", "3 ")
    assert [detail.partition(": ")[0].rpartition("/")[2] for detail in caught.value.details] == [
        "x.fa:record 2 (b)",
        "x.fa:record 3 (c)",
        "x.fa:record 4 (a)",
    ]
    report = run(None, on_error="skip")
    assert (report.records, report.num_failures) == (2, 3)
    assert read(tmp_path / "x.h5")[0] == ["a", "d"]
    assert len((tmp_path / "x.h5.failed.tsv").read_text().splitlines()) == 4
