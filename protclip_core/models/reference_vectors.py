"""Reference vectors: what the default model gives, stored with the package.

Right weights do not make right numbers: a faulty build of PyTorch, an odd processor or a driver
may compute others without a word. A few proteins and texts and their vectors are therefore kept in
``bundled/reference.json``, and `measure` says how far this machine is from them.

For a new default model, write them anew, on a CPU in float32::

    python -c "import protclip_core.models.reference_vectors as r; r.write_reference()"
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from protclip_core._version import __version__
from protclip_core.errors import ModelError
from protclip_core.io.atomic import write_atomic
from protclip_core.models.info import BUNDLED, DEFAULT_MODEL

if TYPE_CHECKING:
    from protclip_core.models.protein import ProteinModel

__all__ = ["REFERENCE", "TOLERANCE", "Reference", "measure", "read_reference", "write_reference"]

REFERENCE = "reference.json"
FORMAT, FORMAT_VERSION = "protclip-reference", 1
#: Largest distance from a reference vector, relative to its length, by type of arithmetic.
#: Kernels differ by 2e-7 in float32 and 1e-3 in bfloat16 (measured); wrong results by about 1.
TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}

PROTEINS = (
    "GIVEQCCTSICSLYQLENYCN",
    "MGDVEKGKKIFIMKCSQCHTVEKGGKHKTGPNLHGLFGRKTGQAPGYSYTAANKNKGIIWGEDTLMEYLENPKKYIPGTKMIFVGIKKKEERADLIAYLKKATNE",
    "MKXBZUOJW",
)
TEXTS = (
    "ATP binding",
    "Transports oxygen from the lung to the various peripheral tissues.",
)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Stored vectors and the model that they belong to.

    Attributes
    ----------
    model, weights_sha256
        Name and identity of the model.
    vectors
        Kind (``"protein encoder"``, ``"text joint"``, …) to the inputs and their vectors,
        shape ``(B, D)``, float32.
    """

    model: str
    weights_sha256: str
    vectors: dict[str, tuple[list[str], np.ndarray]]


def read_reference(path: Path | None = None) -> Reference:
    """Read stored reference vectors, those of the package by default.

    Raises
    ------
    ModelError
        Missing or damaged file, or one of another format.
    """
    path = path or BUNDLED / REFERENCE
    where = str(path)
    try:
        content = json.loads(path.read_bytes())
        if (content["format"], content["format_version"]) != (FORMAT, FORMAT_VERSION):
            raise ModelError(
                f"is not of format {FORMAT!r} version {FORMAT_VERSION}",
                code="model.unknown_format",
                where=where,
                hint=_INSTALL,
            )
        vectors = {
            str(kind): ([str(text) for text in one["inputs"]], np.array(one["vectors"], np.float32))
            for kind, one in content["vectors"].items()
        }
        for kind, (inputs, values) in vectors.items():
            if kind not in _KINDS or values.ndim != 2 or len(values) != len(inputs):
                raise ModelError(
                    f"holds no vectors of {kind}",
                    code="model.bad_reference",
                    where=where,
                    hint=_INSTALL,
                )
        return Reference(
            model=str(content["model"]),
            weights_sha256=str(content["weights_sha256"]),
            vectors=vectors,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"cannot be read ({error})", code="model.unreadable", where=where, hint=_INSTALL
        ) from error


_INSTALL = "install protclip again"


def measure(
    model: ProteinModel, reference: Reference, kinds: Iterable[str] | None = None
) -> dict[str, float]:
    """Embed the inputs of a reference and tell how far the vectors are from the stored ones.

    Parameters
    ----------
    model
        A loaded model of the same weights.
    reference
        What `read_reference` gave.
    kinds
        Which of ``reference.vectors``; default all.

    Returns
    -------
    dict
        Kind to the largest distance, relative to the length of the stored vector; infinity where
        a vector has another width or is not finite.

    Raises
    ------
    ModelError
        The reference belongs to other weights; both hashes are named.
    """
    if reference.weights_sha256 != model.weights_sha256:
        raise ModelError(
            f"reference vectors are of weights {reference.weights_sha256} ({reference.model}), "
            f"not of {model.weights_sha256} ({model.info.name})",
            code="model.other_model",
            hint="install protclip again",
        )
    found = {}
    for kind in reference.vectors if kinds is None else kinds:
        inputs, stored = reference.vectors[kind]
        vectors = _KINDS[kind](model, inputs)
        distance = np.inf
        if vectors.shape == stored.shape and np.isfinite(vectors).all():
            lengths = np.linalg.norm(stored, axis=1)
            distance = float((np.linalg.norm(vectors - stored, axis=1) / lengths).max())
        found[kind] = distance
    return found


_KINDS: dict[str, Callable[[Any, list[str]], np.ndarray]] = {
    "protein encoder": lambda model, inputs: model.embed(inputs),
    "protein joint": lambda model, inputs: model.embed(inputs, space="joint"),
    "text encoder": lambda model, inputs: model.embed_text(inputs, space="encoder"),
    "text joint": lambda model, inputs: model.embed_text(inputs),
}


def write_reference(model: str = DEFAULT_MODEL, path: Path = BUNDLED / REFERENCE) -> None:
    """Store the reference vectors of a model, computed on the CPU in float32.

    Parameters
    ----------
    model
        Name or path of a model with a joint space and a text encoder.
    path
        Target, replaced if it is there.
    """
    from protclip_core.encoders.kernels import processor_name
    from protclip_core.models.loading import load_model

    loaded = load_model(model, device="cpu")
    vectors = {}
    for kind, embed in _KINDS.items():
        inputs = list(PROTEINS if kind.startswith("protein") else TEXTS)
        values = embed(loaded, inputs)
        # Seven digits hold more than any two machines agree on.
        rows = [[float(f"{x:.7g}") for x in row] for row in values.tolist()]
        vectors[kind] = {"inputs": inputs, "vectors": rows}
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": loaded.info.name,
        "weights_sha256": loaded.weights_sha256,
        "made_with": f"protclip {__version__}, {processor_name()}, {platform.system()}",
        "vectors": vectors,
    }
    write_atomic(path, (json.dumps(content, ensure_ascii=False) + "\n").encode())
