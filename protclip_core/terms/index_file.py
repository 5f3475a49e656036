"""A GO index as files: in a bundle, in the cache, or where the user wants it.

Format ``protclip-go-index``, version 1, or 2 where it has lines or a gate: a file of plain arrays,
safetensors, or compressed where its name ends in ``.npz`` (see `protclip_core.io.arrays`).
``meta`` is JSON in UTF-8 bytes, ``go.*`` are those of `protclip_core.ontology.to_arrays`,
``scales`` and ``log_prior`` have a value per term, ``vectors.1``, ``vectors.2``, … together have a
row per term. ``lines`` and ``gate`` of version 2 are those of `GoIndex`; who passes them over
would say other probabilities.

In a bundle they are ``.npz`` files of at most 16 MB: ``go_index.npz`` holds the first rows, further
ones lie in ``go_index_2.npz``, ``go_index_3.npz``, …, all of them named by the manifest. Those of
the bundled model take 18 MB, as safetensors they would take 25.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta, Struct

from protclip_core.errors import ModelError, UsageError
from protclip_core.fetch.cache import cache_folder
from protclip_core.io.arrays import pack_arrays, unpack_arrays
from protclip_core.io.atomic import write_atomic
from protclip_core.io.json_fields import Sha256, Text, one_line, read_as
from protclip_core.models.info import ModelInfo
from protclip_core.ontology.ontology_file import from_arrays, to_arrays
from protclip_core.terms.calibration import AspectCalibration, Calibration
from protclip_core.terms.index import BUILD, GoIndex, text_side_sha256
from protclip_core.weights.bundle import MANIFEST, Bundle, open_bundle

__all__ = ["INDEX_FILE", "add_to_bundle", "cache_path", "find_go_index", "read_go_index"]
__all__ += ["write_go_index"]

FORMAT, VERSIONS = "protclip-go-index", (1, 2)
#: Name in a bundle.
INDEX_FILE = "go_index.npz"
#: Most bytes of vectors in one file of a bundle.
PART_BYTES = 15 << 20
_MOST_FILE_BYTES = 256 << 20
_MOST_PARTS = 64
#: Arrays that an index may have.
_FITTED = ("lines", "gate")
_PART_NAME = re.compile(r"go_index(_[0-9]{1,3})?\.npz")


def write_go_index(index: GoIndex, path: str | Path) -> None:
    """Write an index as one file, whole or not at all; equal indexes make equal files.

    Raises
    ------
    UsageError, ResourceError
        As `protclip_core.io.atomic.write_atomic`.
    """
    (content,) = _pack(index, None, npz=Path(path).suffix == ".npz")
    write_atomic(path, content)


def read_go_index(path: str | Path) -> GoIndex:
    """Read what `write_go_index` or `add_to_bundle` wrote.

    Raises
    ------
    ModelError
        A file is missing, damaged, too large, of another kind or a newer version.
    """
    path = Path(path)
    entries = _entries(path)
    meta = read_as(_Meta, _meta(entries, str(path)), "GO index", str(path))
    for number in range(2, meta.parts + 1):
        entries |= _entries(path.with_name(f"{path.stem}_{number}{path.suffix}"))
    return _unpack(entries, meta, str(path))


def add_to_bundle(index: GoIndex, bundle: Bundle, name: str = INDEX_FILE) -> Bundle:
    """Put an index into a bundle, in place of the one that it has; its manifest names it.

    Parameters
    ----------
    index
        Made with the bundle's text side.
    bundle
        The bundle.
    name
        Its file, ending in ``.npz``; further ones have a number behind the stem.

    Raises
    ------
    ModelError
        The index is not of the bundle's text side.
    UsageError, ResourceError
        The folder cannot be written, or the disk is full. The manifest is written last: before
        that the model is as it was, though not its former index.
    """
    if index.text_side_sha256 != text_side_sha256(bundle):
        raise ModelError(
            "the GO index is of another model",
            code="model.other_model",
            where=str(bundle.path),
            hint=BUILD,
        )
    path = bundle.path / MANIFEST
    content = json.loads(path.read_bytes())
    names = _part_names(name)
    listed = {n: f for n, f in content["files"].items() if n not in names}
    for part, data in zip(names, _pack(index, PART_BYTES, npz=True)):
        write_atomic(bundle.path / part, data)
        listed[part] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    content["files"] = dict(sorted(listed.items()))
    write_atomic(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
    for part in bundle.files.keys() - listed.keys():
        (bundle.path / part).unlink(missing_ok=True)
    return open_bundle(bundle.path)


def cache_path(text_side: str, cache: str | Path | None = None) -> Path:
    """Return where the index of a text side is kept in the cache folder."""
    return cache_folder(cache) / "go" / f"index-{text_side[:32]}.safetensors"


def find_go_index(info: ModelInfo, path: str | Path | None = None) -> GoIndex:
    """Find the index of a model, read it and see that it fits.

    Parameters
    ----------
    info
        The model.
    path
        File to take; by default the one in the model's bundle, else the one in the cache.

    Raises
    ------
    ModelError
        There is none, it is damaged, or it is of another model.
    """
    if path is not None:
        return read_go_index(path).for_model(info)
    bundle = info.bundle
    if bundle is None or not info.text_encoder or info.joint_dim is None:
        raise ModelError(
            f"model {info.name} takes no texts, so it has no GO terms",
            code="model.no_text_encoder",
            where=str(info.path),
            hint="use a ProtCLIP model",
        )
    if INDEX_FILE in bundle.files:
        bundle.verify(tuple(name for name in bundle.files if _PART_NAME.fullmatch(name)))
        return read_go_index(bundle.path / INDEX_FILE).for_model(info)
    kept = cache_path(text_side_sha256(bundle))
    if not kept.is_file():
        kept = kept.with_suffix(".npz")  # as it was written before
    if not kept.is_file():
        raise ModelError(
            f"model {info.name} has no GO index",
            code="model.no_index",
            where=str(info.path),
            hint=BUILD,
        )
    return read_go_index(kept).for_model(info)


def _part_names(name: str) -> list[str]:
    stem, suffix = name.split(".")
    return [name, *(f"{stem}_{n}.{suffix}" for n in range(2, _MOST_PARTS + 1))]


def _pack(index: GoIndex, part_bytes: int | None, *, npz: bool) -> list[bytes]:
    """Return the contents of the files of an index, the one with all but vectors first."""
    rows = len(index) if part_bytes is None else max(1, part_bytes // index.joint_dim)
    starts = range(0, len(index), rows)
    meta = _json_bytes(_meta_of(index, len(starts)))
    arrays: dict[str, np.ndarray] = {"meta": np.frombuffer(meta, np.uint8)}
    arrays |= {f"go.{name}": value for name, value in to_arrays(index.ontology).items()}
    arrays |= {"scales": index.scales, "log_prior": index.log_prior}
    arrays |= {name: value for name in _FITTED if (value := getattr(index, name)) is not None}
    contents = []
    for number, start in enumerate(starts, start=1):
        arrays[f"vectors.{number}"] = index.vectors[start : start + rows]
        contents.append(pack_arrays(arrays, npz=npz))
        arrays = {}
    return contents


def _meta_of(index: GoIndex, parts: int) -> dict[str, Any]:
    fitted = index.calibration
    return {
        "format": FORMAT,
        "version": VERSIONS[any(getattr(index, name) is not None for name in _FITTED)],
        "parts": parts,
        "release": index.release,
        "terms": len(index),
        "joint_dim": index.joint_dim,
        "template": index.template,
        "go_scale": index.go_scale,
        "model": index.model,
        "weights_sha256": index.weights_sha256,
        "text_side_sha256": index.text_side_sha256,
        "vectors_sha256": _hash_of(index.vectors),
        "calibration": None
        if fitted is None
        else {
            "weights_sha256": fitted.weights_sha256,
            **{n: one.to_dict() for n, one in zip(index.ontology.aspect_names, fitted.aspects)},
        },
    }


def _hash_of(vectors: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(vectors).data).hexdigest()


def _json_bytes(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()


def _entries(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a file."""
    where = str(path)
    try:
        if path.stat().st_size > _MOST_FILE_BYTES:
            raise ModelError(
                "is too large for a GO index", code="model.too_large", where=where, hint=BUILD
            )
        data = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ModelError(
            f"cannot be read ({reason})", code="model.unreadable", where=where, hint=BUILD
        ) from error
    try:
        return unpack_arrays(data, where)
    except ModelError as error:
        error.hint = error.hint or BUILD
        raise


def _meta(entries: Mapping[str, np.ndarray], where: str) -> dict[str, Any]:
    """Return what a file says of itself: JSON of our format and version."""
    try:
        content = json.loads(entries["meta"].tobytes()) if "meta" in entries else None
    except (ValueError, RecursionError) as error:
        raise _damaged("'meta' is not JSON", where) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ModelError(
            f"is not a GO index (not of format {FORMAT!r})",
            code="model.unknown_format",
            where=where,
            hint=BUILD,
        )
    if content.get("version") not in VERSIONS:
        shown = one_line(repr(content.get("version")), 40)
        raise ModelError(
            f"GO index version {shown}, this protclip reads 1 and 2",
            code="model.newer_version",
            where=where,
            hint="install a newer protclip",
        )
    return content


class _Meta(Struct, frozen=True):
    parts: Annotated[int, Meta(ge=1, le=_MOST_PARTS)]
    terms: Annotated[int, Meta(ge=1, le=1_000_000)]
    joint_dim: Annotated[int, Meta(ge=1, le=16_384)]
    template: Literal["name", "definition", "both"]
    go_scale: Annotated[float, Meta(gt=0, le=1e300)]
    model: Text
    weights_sha256: Sha256
    text_side_sha256: Sha256
    vectors_sha256: Sha256
    calibration: dict[str, Any] | None = None


def _unpack(entries: Mapping[str, np.ndarray], told: _Meta, where: str) -> GoIndex:
    arrays = {n.removeprefix("go."): a for n, a in entries.items() if n.startswith("go.")}
    vectors = _vectors(entries, told.parts, told.joint_dim, where)
    if _hash_of(vectors) != told.vectors_sha256:
        raise _damaged("the vectors are not those that were written", where)
    ontology = from_arrays(arrays, where)
    if len(ontology) != told.terms:
        raise _damaged(f"has {len(ontology):,} terms, not {told.terms:,}", where)
    for name in ("scales", "log_prior"):
        if name not in entries or entries[name].dtype != np.float32:
            raise _damaged(f"array {name!r} is missing or of another type", where)
    try:
        return GoIndex(
            ontology=ontology,
            vectors=vectors,
            scales=entries["scales"],
            log_prior=entries["log_prior"],
            go_scale=told.go_scale,
            template=told.template,
            model=one_line(told.model),
            weights_sha256=told.weights_sha256,
            text_side_sha256=told.text_side_sha256,
            calibration=_calibration(told.calibration, ontology.aspect_names, where),
            source=where,
            **{name: entries[name] for name in _FITTED if name in entries},
        )
    except UsageError as error:
        raise _damaged(error.message, where) from error


def _vectors(entries: Mapping[str, np.ndarray], parts: int, width: int, where: str) -> np.ndarray:
    found = []
    for number in range(1, parts + 1):
        part = entries.get(f"vectors.{number}")
        if part is None or part.dtype != np.int8 or part.ndim != 2 or part.shape[1] != width:
            raise _damaged(f"array 'vectors.{number}' is missing or of another shape", where)
        found.append(part)
    return found[0] if len(found) == 1 else np.concatenate(found)


class _Fitted(Struct, frozen=True):
    weights_sha256: Sha256


def _calibration(
    content: dict[str, Any] | None, aspect_names: tuple[str, ...], where: str
) -> Calibration | None:
    if content is None:
        return None
    fitted = read_as(_Fitted, content, "GO index", where, "calibration")
    aspects = (AspectCalibration.from_dict(content.get(name), where) for name in aspect_names)
    return Calibration(tuple(aspects), fitted.weights_sha256)


def _damaged(what: str, where: str) -> ModelError:
    return ModelError(
        what, code="model.damaged", where=where, hint="the file is damaged or foreign: " + BUILD
    )
