"""Cases of embedding, models and stores that need more than a file and a command."""

from __future__ import annotations

import random
import shutil
import signal

import numpy as np
import pytest
import torch

from protclip_cli.boundary import Stopped
from protclip_core.models.loading import load_model
from protclip_core.store.reader import EmbeddingStore
from protclip_core.tasks.embed import compute
from tests.support.cases import Case
from tests.support.checkpoints import write_esm2
from tests.support.helpers import write_fasta
from tests.support.inprocess import run_here

RNG = random.Random(5)
PROTEINS = [(f"m{n}", "".join(RNG.choices("ACDEFGHIKLMNPQRSTVWY", k=30))) for n in range(12)]


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A folder with a run of twelve proteins that ended after the eighth: ``all.h5.partial``."""
    write_fasta(tmp_path / "all.fa", PROTEINS)
    embed, left = compute._embed_window, [2]

    def window(*arguments):
        if not left[0]:
            raise Stopped(signal.SIGTERM)
        left[0] -= 1
        embed(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(compute, "_WINDOW_SEQUENCES", 4)
        patch.setattr(compute, "_embed_window", window)
        line = ("-q", "embed", "all.fa", "-o", "all.h5", "--workers", "1")
        assert run_here(*line, cwd=tmp_path).rc == 143
    assert not (tmp_path / "all.h5").exists()
    return tmp_path


@pytest.mark.parametrize(
    ("case", "proteins", "total"),
    [
        ("04", PROTEINS[8:], 12),
        ("04-others", [("new", "MKTAYIAKQR")], 9),
        ("04-again", [PROTEINS[3], PROTEINS[9]], 9),
    ],
)
def test_finished_proteins_that_the_input_does_not_name_are_kept(stopped, case, proteins, total):
    write_fasta(stopped / "rest.fa", proteins)
    Case(case, "embed rest.fa -o all.h5 --resume", said=(f"{total} proteins",)).check(stopped)
    model = load_model(device="cpu")
    wanted = dict(PROTEINS[:8] + proteins)
    with EmbeddingStore.open(stopped / "all.h5") as store:
        assert sorted(store.ids) == sorted(wanted)
        expected = model.embed([wanted[id] for id in store.ids])
        assert np.abs(store.read(slice(None)) - expected).max() < 1e-5


def test_a_finished_protein_with_another_sequence_is_not_mixed(stopped):
    write_fasta(stopped / "rest.fa", [("m3", "MKTAYIAKQR"), *PROTEINS[8:]])
    assert run_here("embed", "rest.fa", "-o", "all.h5", "--resume", cwd=stopped).rc == 0
    with EmbeddingStore.open(stopped / "all.h5") as store:
        assert store.lengths[store.row("m3")] == 10
        assert len(store) == 12


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A folder with a small ESM-2 and a cache of its own."""
    monkeypatch.setenv("PROTCLIP_CACHE", str(tmp_path / "cache"))
    write_esm2(tmp_path / "16_impostor_model")
    write_fasta(tmp_path / "x.fa", PROTEINS[:2])
    return tmp_path


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("esm2-8m", "hash_mismatch"),
        ("esm2-650m", "hash_mismatch"),
        ("protbert", "not_catalog_model"),
    ],
)
def test_a_model_does_not_take_the_name_of_another(models, name, problem):
    """Case 17."""
    line = f"models import 16_impostor_model --name {name}"
    Case("17", line, 4, f"model.{problem}", (name,)).check(models)
    Case("17-list", "models list --format tsv", said=(f"{name}\tavailable",)).check(models)


@pytest.mark.parametrize(
    ("command", "rc", "code"),
    [("pull", 2, "usage.name_taken"), ("verify", 4, "model.damaged")],
)
def test_a_name_that_other_weights_hold_is_not_called_sound(models, command, rc, code):
    """Case 17, where an earlier version let the model in."""
    Case("17", "models import 16_impostor_model --name tiny").check(models)
    shutil.move(models / "cache/models/tiny", models / "cache/models/esm2-8m")
    said = ("16_impostor_model", "not ", "catalog")
    Case("17", f"models {command} esm2-8m", rc, code, said).check(models)


@pytest.mark.parametrize("kind", ["SequenceClassification", "TokenClassification", "Model"])
def test_the_encoder_of_a_fine_tuned_model_is_read(models, kind):
    """Case 18: what transformers itself writes, and the vectors that it gives."""
    transformers = pytest.importorskip("transformers")
    maker = getattr(transformers, f"EsmFor{kind}" if kind != "Model" else "EsmModel")
    torch.manual_seed(1)
    model = maker.from_pretrained(models / "16_impostor_model").eval()
    model.save_pretrained(models / "18_finetuned_cls")
    Case("18", "embed x.fa --model 18_finetuned_cls -o x.h5").check(models)
    line = "models import 18_finetuned_cls --name mine && embed x.fa --model mine -o mine.h5"
    Case("18-import", line).check(models)
    for name in ("x.h5", "mine.h5"):
        with EmbeddingStore.open(models / name) as store:
            found = store.read(slice(None))
        expected = load_model(models / "16_impostor_model", device="cpu").embed(
            [sequence for _, sequence in PROTEINS[:2]]
        )
        assert np.array_equal(found, expected)


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    assert run_here("-q", "embed", _example(), "-o", "example.h5", cwd=folder).rc == 0
    return folder


def _example():
    import protclip_core

    return f"{protclip_core.__path__[0]}/bundled/example.fasta"


@pytest.mark.parametrize(
    "case",
    [
        Case("20", "store show example.h5 P69905", said=("sp|P69905|HBA_HUMAN\t142\t",)),
        Case("20-entry", "store show example.h5 HBA_HUMAN", said=("sp|P69905|HBA_HUMAN\t142",)),
        Case("20-unknown", "store show example.h5 P69906", 3, "input.unknown_id", ("P69906",)),
        Case("20-part", "store show example.h5 HUMAN", 3, "input.unknown_id", ("HUMAN",)),
    ],
    ids=lambda case: case.id,
)
def test_proteins_by_their_accession(example, case):
    case.check(example)
