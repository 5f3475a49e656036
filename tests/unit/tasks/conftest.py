"""Runs of the embedding task."""

from __future__ import annotations

import pytest

from protclip_core.tasks.embed.task import embed_to_store
from protclip_core.vectors.embed_request import EmbedRequest
from tests.support.helpers import write_fasta


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

    run.model = tiny_bundle
    return run


@pytest.fixture
def request_of(tmp_path, tiny_bundle):
    def make(proteins, **options):
        path = write_fasta(tmp_path / "r.fa", proteins)
        return EmbedRequest(inputs=(str(path),), model=str(tiny_bundle), device="cpu", **options)

    return make
