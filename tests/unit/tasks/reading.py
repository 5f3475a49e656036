"""What tests of tasks read back."""

from __future__ import annotations

from protclip_core.store.reader import EmbeddingStore
from tests.support.helpers import random_proteins


def read(path):
    with EmbeddingStore.open(path) as store:
        return store.ids, store.read(slice(None)), store.flags, store.lengths


PROTEINS = random_proteins(12, seed=1, shortest=1, longest=40) + random_proteins(
    3, seed=2, shortest=41, longest=150, prefix="long"
)


def run_text(run, tmp_path, text, **options):
    (tmp_path / "x.fa").write_text(text)
    return run(None, resume=True, **options)
