"""What every way out of an embedding agrees on: the store, the rows, and the plan.

All three begin with the same preparation, so the same input has the same records, the same
failures and the same refusals, whatever becomes of the vectors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from protclip_core.errors import InputError, ProtclipError, UsageError
from protclip_core.store.reader import EmbeddingStore
from protclip_core.tasks.embed.plan import plan_embedding
from protclip_core.tasks.embed.task import embed_to_store
from protclip_core.vectors.embed_request import EmbedRequest
from protclip_core.vectors.embed_rows import embed_rows
from tests.support.helpers import random_proteins

PROTEINS = random_proteins(12, seed=2, longest=40)
GOOD = "".join(f">{id}\n{sequence}\n" for id, sequence in PROTEINS)
REPEATED = GOOD + f">{PROTEINS[0][0]}\n{PROTEINS[0][1]}\n"
TWIN = GOOD + f">twin\n{PROTEINS[1][1]}\n"
BAD = GOOD + ">bad\nMK?V\n>empty\n"


class Found(NamedTuple):
    """What a way out gives; None where it does not say."""

    records: int
    num_failures: int
    ids: list[str] | None
    vectors: np.ndarray | None


def store(request):
    report = embed_to_store(request)
    with EmbeddingStore.open(request.output) as opened:
        ids, vectors = list(opened.ids), opened.read(slice(None))
    return Found(report.records, report.num_failures, ids, vectors)


def rows(request):
    *blocks, report = embed_rows(dataclasses.replace(request, output=None))
    ids = [record.id for records, _ in blocks for record in records]
    assert len(ids) == report.records
    return Found(len(ids), report.num_failures, ids, np.concatenate([v for _, v in blocks]))


def plan(request):
    planned = plan_embedding(request)
    assert not request.output.exists()
    lines = dict(planned.rows())
    assert lines["records that cannot be used"] == f"{planned.num_failures:,}"
    kept = planned.summary.records - planned.repeated  # of accepted records
    return Found(kept, planned.num_failures, None, None)


SINKS: dict[str, Callable[[EmbedRequest], Found]] = {"store": store, "rows": rows, "plan": plan}


@pytest.fixture(params=SINKS)
def sink(request):
    return SINKS[request.param]


@pytest.fixture
def ask(tmp_path, tiny_bundle):
    """``ask(text, **options)``: the request for a FASTA file of this text."""

    def ask(text, **options):
        (tmp_path / "x.fa").write_text(text)
        settings = {"model": str(tiny_bundle), "device": "cpu", "output": tmp_path / "x.h5"}
        return EmbedRequest(inputs=(str(tmp_path / "x.fa"),), **settings | options)

    return ask


@pytest.mark.parametrize(
    ("text", "records"), [(GOOD, 12), (REPEATED, 12), (TWIN, 13)], ids=["good", "repeated", "twin"]
)
def test_records_in_are_records_out(sink, ask, text, records):
    found = sink(ask(text))
    assert (found.records, found.num_failures) == (records, 0)
    if found.ids is not None:
        assert found.ids[:12] == [id for id, _ in PROTEINS]
        assert found.vectors.shape == (records, 64)


def test_failures_are_counted_where_they_may_be_left_out(sink, ask):
    found = sink(ask(BAD, on_error="skip"))
    assert (found.records, found.num_failures) == (12, 2)


def test_vectors_are_the_same_whatever_becomes_of_them(ask):
    one, other = store(ask(TWIN)), rows(ask(TWIN))
    assert one.ids == other.ids
    np.testing.assert_allclose(one.vectors, other.vectors, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"layer": 99}, UsageError),
        ({"space": "joint", "layer": 0}, UsageError),
        ({"model": "/no/such/model"}, ProtclipError),
    ],
    ids=["layer", "space", "model"],
)
def test_options_are_refused_alike(sink, ask, options, error):
    request = ask(GOOD, **options)
    with pytest.raises(error):
        sink(request)
    assert not request.output.exists()


@pytest.mark.parametrize(
    "text", ["", "no fasta\n", "<!doctype html>"], ids=["empty", "text", "html"]
)
def test_what_is_not_fasta_is_refused_alike(sink, ask, text):
    request = ask(text)
    with pytest.raises(InputError):
        sink(request)
    assert not request.output.exists()
