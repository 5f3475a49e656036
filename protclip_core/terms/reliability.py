"""How often a term as likely as this one is right, for a protein as near to known ones as this.

The probability of a term is right on average over proteins. Of proteins that lie near those that
the model learned from more terms come true than it says, of far ones fewer. Nearness is the highest
cosine with one of some hundred centres of the training proteins' vectors; from the log odds x of a
term and the nearness n of its protein, ``a + b x + c n + d x n`` are the log odds that it is right,
a logistic regression for each aspect, fitted on proteins that the model has not seen.

Legend: N proteins, E pairs of a protein and a term, K centres, P joint width, A aspects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protclip_core.errors import ModelError
from protclip_core.io.arrays import pack_arrays, unpack_arrays
from protclip_core.measure.calibration import sigmoid
from protclip_core.models.info import ModelInfo

__all__ = ["RELIABILITY_FILE", "Reliability", "find_reliability", "reliability_bytes"]

#: Name in a bundle.
RELIABILITY_FILE = "go_reliability.npz"


@dataclass(frozen=True, eq=False)
class Reliability:
    """What is needed to tell it.

    Attributes
    ----------
    centres
        Unit vectors, ``(K, P)`` float32.
    weights
        a, b, c and d of each aspect, ``(A, 4)``.
    weights_sha256
        Hash of the weights of the model that it holds for.
    """

    centres: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float64]
    weights_sha256: str

    def nearness(self, vectors: np.ndarray) -> npt.NDArray[np.float64]:
        """Return the highest cosine of unit vectors ``(N, P)`` with a centre: ``(N,)``."""
        found = [(self.centres @ vector).max() for vector in vectors.astype(np.float32)]
        return np.array(found, dtype=np.float64)

    def of(
        self, log_odds: np.ndarray, aspects: np.ndarray, nearness: np.ndarray
    ) -> npt.NDArray[np.float64]:
        """Return the chance that pairs are right, ``(E,)``; NaN where the log odds are.

        Parameters
        ----------
        log_odds, aspects, nearness
            Of the text, the aspect of the term, and the nearness of the protein; ``(E,)`` each.
        """
        a, b, c, d = self.weights[aspects].T
        found: npt.NDArray[np.float64] = sigmoid(
            a + b * log_odds + c * nearness + d * log_odds * nearness
        )
        return found


def reliability_bytes(one: Reliability) -> bytes:
    """Return the file of a bundle."""
    scales = np.abs(one.centres).max(axis=1) / 127
    return pack_arrays(
        {
            "centres": np.rint(one.centres / scales[:, None]).astype(np.int8),
            "scales": scales.astype(np.float32),
            "weights": one.weights,
            "weights_sha256": np.frombuffer(one.weights_sha256.encode(), np.uint8),
        },
        npz=True,
    )


def find_reliability(info: ModelInfo, num_aspects: int = 3) -> Reliability | None:
    """Read what a model's bundle has; None where it has none, or one of other weights.

    Raises
    ------
    ModelError
        The file is damaged.
    """
    bundle = info.bundle
    if bundle is None or RELIABILITY_FILE not in bundle.files:
        return None
    bundle.verify((RELIABILITY_FILE,))
    path = bundle.path / RELIABILITY_FILE
    arrays = unpack_arrays(path.read_bytes(), str(path))
    try:
        centres = arrays["centres"].astype(np.float32) * arrays["scales"][:, None]
        weights = arrays["weights"].astype(np.float64)
        told = arrays["weights_sha256"].tobytes().decode("ascii", "replace")
    except (KeyError, IndexError, ValueError) as error:
        raise _damaged(str(path)) from error
    if weights.shape != (num_aspects, 4) or centres.shape[1:] != (info.joint_dim,):
        raise _damaged(str(path))
    return Reliability(centres, weights, told) if told == bundle.weights_sha256 else None


def _damaged(where: str) -> ModelError:
    return ModelError(
        "does not hold what tells how sure a term is",
        code="model.damaged",
        where=where,
        hint="install the model again",
    )
