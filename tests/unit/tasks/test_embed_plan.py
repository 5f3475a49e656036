"""What a dry run tells, and what else a run reports."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from protclip_core.engines.local import LocalEngine
from protclip_core.errors import ResourceError, UsageError
from protclip_core.tasks.embed import plan as plan_module
from protclip_core.tasks.embed.plan import plan_embedding
from protclip_core.vectors import embed_job
from protclip_core.vectors.embed_request import EmbedRequest
from protclip_core.vectors.embed_rows import embed_rows
from tests.unit.tasks.reading import PROTEINS, read, run_text


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
    assert "disk at its peak" in names
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


@pytest.mark.parametrize("count", [1, 3, 5000])
def test_time_is_that_of_the_trial_for_all_the_work(request_of, monkeypatch, count):
    """An engine that takes a millisecond for each residue, and no time for anything else."""
    now, portions = [0.0], []

    def run(engine, sequences, settings):
        portions.append(len(sequences))
        now[0] += sum(map(len, sequences)) / 1000
        yield from enumerate(sequences)

    monkeypatch.setattr(LocalEngine, "run", run)
    monkeypatch.setattr(plan_module.time, "perf_counter", lambda: now[0])
    letters = "ACDEFGHIKLMNPQRSTVWY"
    names = itertools.product(letters, repeat=4)
    proteins = [(f"p{n}", "MKVLA" * 9 + "".join(next(names))) for n in range(count)]
    plan = plan_embedding(request_of(proteins, workers=1))
    assert plan.seconds == pytest.approx((2 * 49 + count * 49) / 1000)
    assert sum(portions) == 2 + min(count, 31)
    assert (plan.rows()[-1][0], plan.rows()[-1][1][:5]) == ("estimated time", "about")


def test_nothing_is_tried_where_the_run_would_refuse_or_memory_lacks(request_of, monkeypatch):
    monkeypatch.setattr(LocalEngine, "run", None)
    plan = plan_embedding(request_of(PROTEINS, max_residues=40, long="error"))
    assert plan.rows()[-1] == ("estimated time", "not measured")
    monkeypatch.setattr(plan_module, "available_memory", lambda: 1000)
    assert math.isnan(plan_embedding(request_of(PROTEINS)).seconds)


def test_plan_refuses_what_a_run_refuses(request_of):
    with pytest.raises(UsageError) as caught:
        plan_embedding(request_of(PROTEINS, resume=True, overwrite=True))
    assert caught.value.code == "usage.conflicting_options"


def test_plan_takes_the_shape_from_the_weights_where_nothing_else_tells_it(request_of, monkeypatch):
    request = request_of(PROTEINS)
    wanted = plan_embedding(request)
    monkeypatch.setattr(embed_job, "_check_options", lambda *_: None)
    plan = plan_embedding(request)
    assert (plan.dim, plan.windows_of) == (wanted.dim, wanted.windows_of)
    assert plan.gigaflops > wanted.gigaflops  # its feed-forward layers are taken for four times


def test_dry_run_stores_no_residues(request_of, monkeypatch):
    from protclip_core.store.spool import Spool

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

    from protclip_core.store import spool_file

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
    what = {1: "1 record of {}", 2: "2 records of {}"}[len(left_out)]
    assert f"{what.format(tmp_path / 'x.h5')} left out now" in caplog.text


def test_parts_grow_older_with_the_run(monkeypatch):
    from protclip_core.tasks.embed.compute import part_seconds

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
