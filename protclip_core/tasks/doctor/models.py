"""Self-test of models: the default one computes what it should, installed ones are whole."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from protclip_core.errors import ModelError, ProtclipError, UsageError
from protclip_core.fetch.cache import find_installed
from protclip_core.fetch.catalog import find_entry, is_of_entry
from protclip_core.io.json_fields import one_line
from protclip_core.models.info import BUNDLED, DEFAULT_MODEL, describe_model
from protclip_core.tasks.doctor.checks import FAIL, OK, WARN, Check
from protclip_core.weights.bundle import Bundle, open_bundle

if TYPE_CHECKING:
    from protclip_core.models.protein import ProteinModel
    from protclip_core.models.reference_vectors import Reference

__all__ = ["model_checks"]

#: Larger installed models are not hashed here: that would take seconds each.
_HASHED_BYTES = 200_000_000
_SPEED_PROTEINS, _SPEED_RESIDUES = 32, 200


def model_checks(
    model: str | Path | None = None, cache: str | Path | None = None
) -> Iterator[Check]:
    """Yield the state of the default model (or another) and of the installed ones."""
    # By its path: a cache folder that is none must not hide what ships with protclip.
    yield from _default_model(model or BUNDLED / DEFAULT_MODEL)
    try:
        installed = find_installed(cache)
    except ProtclipError as error:
        yield Check(
            name="installed models",
            status=WARN,
            found=f"{error.where}: {error.message}" if error.where else error.message,
            advice=error.hint or "",
        )
        return
    for name, folder in installed.items():
        yield _installed(name, folder)


def _default_model(model: str | Path) -> Iterator[Check]:
    try:
        info = describe_model(model)
        if info.bundle is None:
            raise ModelError("is not a bundle", code="model.not_a_bundle", where=str(model))
        info.bundle.verify()
    except ProtclipError as error:
        yield Check.failed(f"model {Path(model).name}", error)
        return
    yield Check(
        name=f"model {info.name}",
        status=OK,
        found=f"{len(info.bundle.files)} files as published, "
        f"weights {info.bundle.weights_sha256[:12]}",
    )
    from protclip_core.encoders.kernels import cpu_has_bfloat16
    from protclip_core.encoders.shapes import Esm2Shape
    from protclip_core.models.loading import load_model, resolve_device
    from protclip_core.models.reference_vectors import read_reference

    try:
        reference = read_reference()
    except ProtclipError as error:
        yield Check.failed("reference vectors", error)
        return
    best = resolve_device("auto").type
    places = [("cpu", "float32")] + ([("cpu", "bfloat16")] if cpu_has_bfloat16() else [])
    if best != "cpu":
        places += [(best, "float32"), (best, "bfloat16")]
    if not isinstance(info.encoder, Esm2Shape):  # the others compute in float32 only
        places = [place for place in places if place[1] == "float32"]
    for device, dtype in places:
        try:
            loaded = load_model(info, device=device, dtype=dtype)
            yield _compared(loaded, reference, device, dtype)
        except ProtclipError as error:
            # A model that computes in float32 alone is sound where bfloat16 is refused.
            if not (dtype == "bfloat16" and isinstance(error, UsageError)):
                yield Check.failed(f"{dtype} on {device}", error)
            continue
        if (device, dtype) == (best, "float32"):
            yield _speed(loaded, device)


def _compared(model: ProteinModel, reference: Reference, device: str, dtype: str) -> Check:
    """Compare with the stored vectors; texts are computed in float32 whatever the type."""
    from protclip_core.models.reference_vectors import TOLERANCE, measure

    kinds = [k for k in reference.vectors if dtype == "float32" or k.startswith("protein")]
    found = measure(model, reference, kinds)
    worst = max(found, key=found.__getitem__)
    good = all(distance <= TOLERANCE[dtype] for distance in found.values())
    return Check(
        name=f"{dtype} on {device}",
        status=OK if good else FAIL,
        found=f"vectors of {', '.join(kinds)} differ by {found[worst]:.1e} of their length at most "
        f"({worst}), allowed is {TOLERANCE[dtype]:.0e}",
        advice="" if good else "this PyTorch computes other numbers: install another build of it",
        trouble=None if good else ModelError,
    )


def _speed(model: ProteinModel, device: str) -> Check:
    """Embed seeded proteins of middle length; the figure is for information."""
    from protclip_core.engines.local import LocalEngine
    from protclip_core.models.settings import resolve_settings

    rng = random.Random(0)
    proteins = [
        "".join(rng.choices("LAGVSERTIDPKQNFYMHWC", k=_SPEED_RESIDUES))
        for _ in range(_SPEED_PROTEINS)
    ]
    settings = resolve_settings(model.info, model.encoder.num_layers)
    with LocalEngine(model) as engine:
        list(engine.run(proteins[:4], settings))  # memory and kernels are set up
        began = time.perf_counter()
        list(engine.run(proteins, settings))
        seconds = time.perf_counter() - began
    rate = _SPEED_PROTEINS * _SPEED_RESIDUES / seconds
    return Check(
        name="speed",
        status=OK,
        found=f"{rate:,.0f} residues/s with {model.info.name} on {device}, "
        f"{engine.workers} {'workers' if engine.workers > 1 else 'worker'}",
    )


def _installed(name: str, folder: Path) -> Check:
    try:
        bundle = open_bundle(folder)
        info = describe_model(folder)
        found = _whole(name, bundle)
    # Whatever is in there, it is one row and keeps no other model from its own.
    except Exception as error:  # noqa: BLE001
        message = error.message if isinstance(error, ProtclipError) else one_line(str(error))
        return Check(
            name=f"installed {name}",
            status=WARN,
            found=f"damaged: {message}",
            advice=f"look at it with: protclip models verify {name}",
        )
    entry = find_entry(name)
    if entry is not None and not is_of_entry(entry, info.source):
        return Check(
            name=f"installed {name}",
            status=WARN,
            found=f"from {info.origin or 'elsewhere'}, not compared with the catalog's {name}",
            advice=f"replace it with: protclip models pull {name} --force",
        )
    return Check(name=f"installed {name}", status=OK, found=found)


def _whole(name: str, bundle: Bundle) -> str:
    """Check that files are there with their hash, or where they are large, just there."""
    paths = {file: bundle.path / file for file in bundle.files}
    sizes = {file: path.stat().st_size for file, path in paths.items() if path.is_file()}
    total = sum(sizes.values())
    if total <= _HASHED_BYTES:
        bundle.verify()
        return f"{total / 1e6:,.0f} MB, whole"
    bundle.verify(tuple(f for f in bundle.files if sizes.get(f, 0) <= _HASHED_BYTES))
    return f"{total / 1e6:,.0f} MB; for the large files run: protclip models verify {name}"
