"""Encoder vectors, projected later, are what embedding into the joint space gives at once."""

from __future__ import annotations

import numpy as np
import pytest

from protclip_core.errors import UsageError
from protclip_core.models.loading import load_model
from tests.support.helpers import random_proteins
from tests.unit.models.dual import Dual
from tests.unit.models.skips import ALL, READS_INPUT, Skips

SEQUENCES = [s for _, s in random_proteins(9, shortest=1, longest=60)] + ["ACDEFGHIKL" * 150]


@pytest.mark.parametrize(
    "made", [Dual, lambda: Skips(ALL), lambda: Skips(READS_INPUT)], ids=["plain", "skip", "input"]
)
def test_the_same_as_embedding_into_the_joint_space(made, tmp_path):
    model = load_model(made().write(tmp_path / "m"), device="cpu")
    for pooling in ("residues", "tokens"):
        joint = model.embed(SEQUENCES, space="joint", pooling=pooling)
        vectors = model.embed(SEQUENCES, pooling=pooling)
        before = vectors.copy()
        projected = model.project(vectors)
        np.testing.assert_allclose(projected, joint, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(projected, axis=1), 1, rtol=1e-5)
        assert projected.dtype == np.float32
        assert (vectors == before).all()
        rough = model.project(vectors.astype(np.float16))
        np.testing.assert_allclose(rough, joint, atol=2e-2)


def test_rows_by_themselves(tmp_path):
    model = load_model(Dual().write(tmp_path / "m"), device="cpu")
    vectors = model.embed(SEQUENCES[:4])
    vectors[2] = np.nan
    vectors.setflags(write=False)
    projected = model.project(vectors)
    assert np.isnan(projected[2]).all()
    assert np.isfinite(np.delete(projected, 2, 0)).all()
    assert model.project(vectors[:0]).shape == (0, projected.shape[1])


def test_what_is_refused(tmp_path, tiny_model):
    with pytest.raises(UsageError, match="shape"):
        tiny_model.project(np.ones((2, 5), np.float32))
    with pytest.raises(UsageError, match="shape"):
        tiny_model.project(np.ones(tiny_model.encoder.hidden_dim, np.float32))
    model = load_model(
        Dual().write(
            tmp_path / "m",
            change=lambda t: [t.pop(n) for n in [*t] if not n.startswith("protein_encoder.")],
            config={"projection_dim": None, "text_encoder": None},
        ),
        device="cpu",
    )
    with pytest.raises(UsageError, match="no joint space"):
        model.project(np.ones((1, model.encoder.hidden_dim), np.float32))
