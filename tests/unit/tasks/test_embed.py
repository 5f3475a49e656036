"""The embedding task as a library user calls it."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from protclip_core.errors import InputError, ModelError, ResourceError, UsageError
from protclip_core.io.store import EmbeddingStore
from protclip_core.models.packing import pack_sequences
from protclip_core.models.protein import ProteinModel
from protclip_core.records import RecordFlag
from protclip_core.tasks import embed as embed_task
from protclip_core.tasks import embed_plan
from protclip_core.tasks.embed import EmbedReport, EmbedRequest, embed_rows, embed_to_store
from protclip_core.tasks.embed_plan import plan_embedding
from tests.helpers import random_proteins, write_fasta


@pytest.fixture
def run(tmp_path, tiny_bundle):
    """Embed proteins into ``tmp_path/x.h5``; returns the report."""

    def run(proteins, **options):
        path = tmp_path / "x.fa"
        if proteins is not None:
            write_fasta(path, proteins)
        options = {"output": tmp_path / "x.h5", "model": str(tiny_bundle)} | options
        options = {"device": "cpu", "workers": 1} | options
        return embed_to_store(EmbedRequest(inputs=(str(path),), **options))

    return run


@pytest.fixture
def request_of(tmp_path, tiny_bundle):
    def make(proteins, **options):
        path = write_fasta(tmp_path / "r.fa", proteins)
        return EmbedRequest(inputs=(str(path),), model=str(tiny_bundle), device="cpu", **options)

    return make


def read(path):
    with EmbeddingStore.open(path) as store:
        return store.ids, store.read(slice(None)), store.flags, store.lengths


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
    (w1, b1), (w2, b2) = [[t.double().numpy() for t in pair] for pair in model._projection]
    return np.maximum(vectors @ w1.T + b1, 0) @ w2.T + b2


PROTEINS = random_proteins(12, seed=1, shortest=1, longest=40) + random_proteins(
    3, seed=2, shortest=41, longest=150, prefix="long"
)


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

    with pytest.raises(InputError, match=r"x\.fa:record 13 \(long0\): .* \(3 proteins of more"):
        run(PROTEINS, long="error", max_residues=40, overwrite=True)
    with pytest.raises(InputError, match="no other is there"):
        run(PROTEINS[-3:], long="skip", max_residues=40, overwrite=True)


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


def test_adding_keeps_what_is_there_and_computes_the_rest(run, tmp_path, caplog):
    run(PROTEINS[:10], per_residue=True)
    old = dict(zip(*read(tmp_path / "x.h5")[:2], strict=True))
    report = run(PROTEINS[5:], per_residue=True, resume=True)
    assert (report.records, report.computed, report.reused) == (15, 5, 5)
    ids, vectors, _flags, _lengths = read(tmp_path / "x.h5")
    assert ids == [id for id, _ in PROTEINS[5:] + PROTEINS[:5]]
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
    with pytest.raises(UsageError, match="is an input as well as the output"):
        run(PROTEINS, output=tmp_path / "x.fa", overwrite=True)
    (tmp_path / "link.h5").symlink_to(tmp_path / "x.fa")
    with pytest.raises(UsageError, match="is an input as well as the output"):
        run(PROTEINS, output=tmp_path / "link.h5", overwrite=True)


def test_room_is_checked_before_the_model_loads(run, tmp_path, monkeypatch):
    """Fault 16: what is needed and what is there stands in the message."""
    monkeypatch.setattr(embed_task, "load_job", lambda *_: pytest.fail("the model was loaded"))
    monkeypatch.setattr("protclip_core.io.atomic.free_bytes", lambda _path: 2_000_000)
    with pytest.raises(ResourceError, match="[0-9]+ MB needed, 2 MB free on its disk"):
        run(random_proteins(3000), per_residue=True)
    assert not (tmp_path / "x.h5.partial").exists()


def test_nothing_is_left_where_nothing_was_finished(run, tmp_path, monkeypatch):
    monkeypatch.setattr(ProteinModel, "embed_batch", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(PROTEINS)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".x.h5.lock", "x.fa"]


@pytest.mark.parametrize(
    ("error", "kind"), [(MemoryError(), ResourceError), (None, ModelError)], ids=["memory", "nan"]
)
def test_no_record_at_all_is_an_error(run, request_of, tmp_path, monkeypatch, error, kind):
    """Fault 52: a model that gives NaN is at fault, not the input."""
    inner = ProteinModel._embed_packed

    def failing(self, *arguments):
        if error is not None:
            raise error
        for found in inner(self, *arguments):
            found.vector[3] = np.nan
            yield found

    monkeypatch.setattr(ProteinModel, "_embed_packed", failing)
    with pytest.raises(kind, match="no record could be embedded"):
        run(PROTEINS)
    with pytest.raises(kind, match="no record could be embedded"):
        list(embed_rows(request_of(PROTEINS)))
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
    assert report.first_failures[0].reason == "its vector is too large for float16"
    assert "p0" not in read(tmp_path / "x.h5")[0]


def test_bad_records_end_the_run_or_are_left_out(run, tmp_path):
    text = ">a\nMKV\n>b\n>c\nMK1V\n>a\nMKW\n>d\nMKL\n"
    (tmp_path / "x.fa").write_text(text)
    with pytest.raises(InputError) as caught:
        run(None)
    assert str(caught.value).startswith("3 records cannot be used; ")
    assert [detail.partition(": ")[0].rpartition("/")[2] for detail in caught.value.details] == [
        "x.fa:record 2 (b)",
        "x.fa:record 3 (c)",
        "x.fa:record 4 (a)",
    ]
    report = run(None, on_error="skip")
    assert (report.records, report.num_failures) == (2, 3)
    assert read(tmp_path / "x.h5")[0] == ["a", "d"]
    assert len((tmp_path / "x.h5.failed.tsv").read_text().splitlines()) == 4


def test_plan_counts_what_a_run_would_do(request_of, tmp_path):
    proteins = [*PROTEINS, ("twin", PROTEINS[0][1]), PROTEINS[1]]
    plan = plan_embedding(request_of(proteins, max_residues=40, per_residue=True))
    residues = sum(len(sequence) for _, sequence in PROTEINS)
    assert (plan.summary.records, plan.distinct, plan.repeated, plan.long) == (17, 15, 1, 3)
    assert (plan.dim, plan.windows_of, plan.num_failures) == (64, 40, 0)
    rows = 16 + residues + len(PROTEINS[0][1])
    stored = 2 * rows * 64 * 4 + 200 * 16 + (1 << 20)
    assert stored + residues < plan.disk_bytes < stored + residues + 500 * 16  # the list of records
    assert plan.memory_bytes > 350e6
    assert plan.gigaflops > 0
    names = [name for name, _ in plan.rows()]
    assert names[0] == "model"
    assert "disk needed" in names
    assert plan_embedding(request_of(proteins, space="joint")).dim == 32


def test_plan_needs_more_disk_for_a_dataset_each(request_of):
    packed, each = (
        plan_embedding(request_of(PROTEINS, layout=layout)).disk_bytes
        for layout in ("packed", "per-protein")
    )
    assert each - packed == 400 * len(PROTEINS)


def test_plan_counts_the_work_of_the_settings(request_of):
    protein = [("a", "MKVLA" * 40)]

    def work(proteins, **options):
        return plan_embedding(request_of(proteins, **options)).gigaflops

    whole = work(protein)
    # 200 residues in windows of 40 that overlap by 10: seven of them.
    assert work(protein, max_residues=40) == pytest.approx(7 * work([("a", "MKVLA" * 8)]))
    assert work(protein, max_residues=40, long="truncate") == work([("a", "MKVLA" * 8)])
    assert work(protein, max_residues=300) == whole
    short = ("b", "MKV")
    assert work([*protein, short], max_residues=40, long="skip") == work([short])


def test_plan_counts_long_proteins_that_a_run_leaves_out_or_refuses(request_of):
    plan = plan_embedding(request_of(PROTEINS, max_residues=40, long="skip"))
    assert (plan.num_failures, plan.refused) == (3, False)
    plan = plan_embedding(request_of(PROTEINS, max_residues=40, long="error"))
    assert (plan.num_failures, plan.refused) == (3, True)
    assert plan_embedding(request_of(PROTEINS[-3:], max_residues=40, long="skip")).refused


def test_plan_refuses_what_a_run_refuses(request_of):
    with pytest.raises(UsageError, match="contradict each other"):
        plan_embedding(request_of(PROTEINS, resume=True, overwrite=True))


def test_plan_takes_the_shape_from_the_weights_where_nothing_else_tells_it(request_of, monkeypatch):
    request = request_of(PROTEINS)
    wanted = plan_embedding(request)
    monkeypatch.setattr(embed_plan, "settings_without_weights", lambda *_: None)
    plan = plan_embedding(request)
    assert (plan.dim, plan.windows_of) == (wanted.dim, wanted.windows_of)
    assert plan.gigaflops > wanted.gigaflops  # its feed-forward layers are taken for four times


def test_dry_run_stores_no_residues(request_of, monkeypatch):
    from protclip_core.io.spool import Spool

    sizes = []
    leave = Spool.__exit__

    def measuring(self, *error):
        sizes.extend(self._file.one("SELECT sum(length(residues)) FROM sequences"))
        leave(self, *error)

    monkeypatch.setattr(Spool, "__exit__", measuring)
    plan_embedding(request_of(PROTEINS))
    assert sizes == [0]


def test_rows_that_find_no_room_for_their_records_name_the_folder_and_tmpdir(
    request_of, tmp_path, monkeypatch
):
    import tempfile

    from protclip_core.io import spool_file

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(spool_file, "_SCHEMA", "no SQL")
    for task in (plan_embedding, lambda request: list(embed_rows(request))):
        with pytest.raises(ResourceError) as caught:
            task(request_of(PROTEINS))
        assert str(tmp_path / "protclip-") in str(caught.value)
        assert "TMPDIR" in str(caught.value)


def test_length_of_rows_is_that_of_the_store(run, request_of, tmp_path):
    run(PROTEINS, long="truncate", max_residues=40)
    *blocks, _report = embed_rows(request_of(PROTEINS, long="truncate", max_residues=40))
    lengths = [record.length for block, _ in blocks for record in block]
    assert lengths == list(read(tmp_path / "x.h5")[3])
    assert max(lengths) == 40


@pytest.mark.parametrize("how", ["refused", "long"])
def test_records_of_the_store_that_fail_now_are_told(run, tmp_path, caplog, how):
    run(PROTEINS)
    text = "".join(f">{id}\n{sequence}\n" for id, sequence in PROTEINS)
    if how == "refused":
        text = text.replace(PROTEINS[2][1], "MK1V").replace(PROTEINS[4][1], "")
        report = run_text(run, tmp_path, text, on_error="skip")
        left_out = {"p2", "p4"}
    else:
        long = [("long0", "MKV" * 400)]
        report = run(PROTEINS[:12] + long, long="skip", resume=True)
        left_out = {"long0"}
    assert report.num_failures == len(left_out)
    ids = read(tmp_path / "x.h5")[0]
    assert set(ids) == {id for id, _ in PROTEINS} - left_out
    what = {1: "1 record of {} is", 2: "2 records of {} are"}[len(left_out)]
    assert f"{what.format(tmp_path / 'x.h5')} left out now" in caplog.text


def run_text(run, tmp_path, text, **options):
    (tmp_path / "x.fa").write_text(text)
    return run(None, resume=True, **options)


def test_parts_grow_older_with_the_run(monkeypatch):
    from protclip_core.tasks.embed_compute import part_seconds

    assert [part_seconds(s) for s in (0, 40, 200, 600, 100_000)] == [2, 2, 10, 30, 30]


def test_plan_counts_bad_records_too(request_of, tmp_path):
    (tmp_path / "bad.fa").write_text(">a\nMKV\n>b\n>c\nM-V\n")
    request = request_of(PROTEINS)
    bad = EmbedRequest(inputs=(str(tmp_path / "bad.fa"),), model=request.model)
    plan = plan_embedding(bad)
    assert plan.num_failures == 2
    assert [failure.number for failure in plan.failures] == [2, 3]


def test_numbers_do_not_depend_on_torch_threads(run, tmp_path):
    before = torch.get_num_threads()
    run(PROTEINS)
    assert torch.get_num_threads() == before
