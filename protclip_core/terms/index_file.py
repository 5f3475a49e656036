"""A GO index as files: in a bundle, in the cache, or where the user wants it.

Format ``protclip-go-index``, version 1: an ``.npz`` file of plain arrays. ``meta`` is JSON in
UTF-8 bytes, ``go.*`` are those of `protclip_core.ontology.to_arrays`, ``scales`` and ``log_prior``
have a value a term, ``vectors.1``, ``vectors.2``, … together have a row a term. Nothing is pickled.
In a bundle, no file is larger than 16 MB: ``go_index.npz`` holds the first rows, further ones lie
in ``go_index_2.npz``, ``go_index_3.npz``, …, all of them named by the manifest.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from protclip_core.errors import ModelError, UsageError
from protclip_core.fetch.cache import cache_folder
from protclip_core.io.atomic import write_atomic
from protclip_core.io.json_fields import Fields, one_line
from protclip_core.io.zips import unpack_entries
from protclip_core.models.info import ModelInfo
from protclip_core.ontology.ontology_file import from_arrays, to_arrays
from protclip_core.terms.calibration import AspectCalibration, Calibration
from protclip_core.terms.index import BUILD, TEMPLATES, GoIndex, text_side_sha256
from protclip_core.weights.bundle import MANIFEST, Bundle, open_bundle

__all__ = ["INDEX_FILE", "add_to_bundle", "cache_path", "find_go_index", "read_go_index"]
__all__ += ["write_go_index"]

FORMAT, VERSION = "protclip-go-index", 1
#: Name in a bundle.
INDEX_FILE = "go_index.npz"
#: Most bytes of vectors in one file of a bundle.
PART_BYTES = 15 << 20
_MOST_FILE_BYTES = 256 << 20
_MOST_TERMS, _MOST_WIDTH, _MOST_PARTS = 1_000_000, 16_384, 64
_HASH = "[0-9a-f]{64}"
#: An ``.npy`` file of version 1 with plain numbers in one or two dimensions.
_NPY = re.compile(
    rb"\x93NUMPY\x01\x00(..)\{'descr': '([<|][iuf][1248])', 'fortran_order': False, "
    rb"'shape': \(([0-9]{1,10}), ?([0-9]{1,6})?\), \} *\n",
    re.DOTALL,
)
_PART_NAME = re.compile(r"go_index(_[0-9]{1,3})?\.npz")


def write_go_index(index: GoIndex, path: str | Path) -> None:
    """Write an index as one file, whole or not at all; equal indexes make equal files.

    Raises
    ------
    UsageError, ResourceError
        As `protclip_core.io.atomic.write_atomic`.
    """
    (content,) = _pack(index, None)
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
    meta = _meta(entries, str(path))
    parts = _whole(meta, "parts", str(path), most=_MOST_PARTS)
    for number in range(2, parts + 1):
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
        raise ModelError("the GO index is of another model", where=str(bundle.path), hint=BUILD)
    path = bundle.path / MANIFEST
    content = json.loads(path.read_bytes())
    names = _part_names(name)
    listed = {n: f for n, f in content["files"].items() if n not in names}
    for part, data in zip(names, _pack(index, PART_BYTES)):
        write_atomic(bundle.path / part, data)
        listed[part] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    content["files"] = dict(sorted(listed.items()))
    write_atomic(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
    for part in bundle.files.keys() - listed.keys():
        (bundle.path / part).unlink(missing_ok=True)
    return open_bundle(bundle.path)


def cache_path(text_side: str, cache: str | Path | None = None) -> Path:
    """Return where the index of a text side is kept in the cache folder."""
    return cache_folder(cache) / "go" / f"index-{text_side[:32]}.npz"


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
            f"model {info.name} takes no texts, so it cannot be asked for GO terms",
            where=str(info.path),
            hint="use a ProtCLIP model",
        )
    if INDEX_FILE in bundle.files:
        bundle.verify(tuple(name for name in bundle.files if _PART_NAME.fullmatch(name)))
        return read_go_index(bundle.path / INDEX_FILE).for_model(info)
    kept = cache_path(text_side_sha256(bundle))
    if not kept.is_file():
        raise ModelError(f"model {info.name} has no GO index", where=str(info.path), hint=BUILD)
    return read_go_index(kept).for_model(info)


def _part_names(name: str) -> list[str]:
    stem, suffix = name.split(".")
    return [name, *(f"{stem}_{n}.{suffix}" for n in range(2, _MOST_PARTS + 1))]


def _pack(index: GoIndex, part_bytes: int | None) -> list[bytes]:
    """Return the contents of the files of an index, the one with all but vectors first."""
    rows = len(index) if part_bytes is None else max(1, part_bytes // index.joint_dim)
    starts = range(0, len(index), rows)
    meta = _json_bytes(_meta_of(index, len(starts)))
    arrays: dict[str, np.ndarray] = {"meta": np.frombuffer(meta, np.uint8)}
    arrays |= {f"go.{name}": value for name, value in to_arrays(index.ontology).items()}
    arrays |= {"scales": index.scales, "log_prior": index.log_prior}
    contents = []
    for number, start in enumerate(starts, start=1):
        arrays[f"vectors.{number}"] = index.vectors[start : start + rows]
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        contents.append(buffer.getvalue())
        arrays = {}
    return contents


def _meta_of(index: GoIndex, parts: int) -> dict[str, Any]:
    fitted = index.calibration
    return {
        "format": FORMAT,
        "version": VERSION,
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
            raise ModelError("is too large for a GO index", where=where, hint=BUILD)
        data = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ModelError(f"cannot be read ({reason})", where=where, hint=BUILD) from error
    if not data.startswith(b"PK\x03\x04"):
        raise ModelError("is no GO index (no .npz file)", where=where, hint=BUILD)
    found = {}
    for name, content in unpack_entries(data, where).items():
        found[name.removesuffix(".npy")] = _array(content, name, where)
    return found


def _array(data: bytes, name: str, where: str) -> np.ndarray:
    """Read an array of the form that numpy writes; its own reader believes what a header asks."""
    match = _NPY.match(data)
    if match is None or len(match[0]) != 10 + int.from_bytes(match[1], "little"):
        raise _damaged(f"array {one_line(name, 40)!r} is no plain array", where)
    dtype, size = np.dtype(match[2].decode()), len(data) - match.end()
    shape = [int(match[3])] + ([int(match[4])] if match[4] else [])
    if int(np.prod(shape, dtype=object)) * dtype.itemsize != size:
        raise _damaged(f"array {one_line(name, 40)!r} has {size:,} bytes, not its shape's", where)
    return np.frombuffer(data, dtype=dtype, offset=match.end()).reshape(shape)


def _meta(entries: Mapping[str, np.ndarray], where: str) -> dict[str, Any]:
    if "meta" not in entries:
        raise ModelError("is no GO index (no 'meta' in it)", where=where, hint=BUILD)
    try:
        content = json.loads(entries["meta"].tobytes())
    except (ValueError, RecursionError) as error:
        raise _damaged("'meta' is no JSON", where) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ModelError(f"is not of format {FORMAT!r}", where=where, hint=BUILD)
    if content.get("version") != VERSION:
        shown = one_line(repr(content.get("version")), 40)
        raise ModelError(
            f"GO index version {shown}, this protclip reads {VERSION}",
            where=where,
            hint="install a newer protclip",
        )
    return content


def _whole(meta: Mapping[str, Any], key: str, where: str, *, most: int) -> int:
    value = meta.get(key)
    if type(value) is not int or not 1 <= value <= most:
        raise _damaged(f"{key} is {one_line(repr(value), 40)}", where)
    return value


def _unpack(entries: Mapping[str, np.ndarray], meta: dict[str, Any], where: str) -> GoIndex:
    told = Fields(meta, "GO index", where)
    arrays = {n.removeprefix("go."): a for n, a in entries.items() if n.startswith("go.")}
    size = _whole(meta, "terms", where, most=_MOST_TERMS)
    width = _whole(meta, "joint_dim", where, most=_MOST_WIDTH)
    vectors = _vectors(entries, _whole(meta, "parts", where, most=_MOST_PARTS), width, where)
    if _hash_of(vectors) != told.text("vectors_sha256", _HASH):
        raise _damaged("the vectors are not those that were written", where)
    ontology = from_arrays(arrays, where)
    if len(ontology) != size:
        raise _damaged(f"has {len(ontology):,} terms, not {size:,}", where)
    for name in ("scales", "log_prior"):
        if name not in entries or entries[name].dtype != np.float32:
            raise _damaged(f"array {name!r} is missing or of another type", where)
    try:
        return GoIndex(
            ontology=ontology,
            vectors=vectors,
            scales=entries["scales"],
            log_prior=entries["log_prior"],
            go_scale=_positive(meta.get("go_scale"), where),
            template=told.text("template", "|".join(TEMPLATES)),
            model=one_line(told.text("model")),
            weights_sha256=told.text("weights_sha256", _HASH),
            text_side_sha256=told.text("text_side_sha256", _HASH),
            calibration=_calibration(told, meta.get("calibration"), ontology.aspect_names, where),
            source=where,
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


def _positive(value: object, where: str) -> float:
    if type(value) not in (int, float) or not 0 < cast(float, value) < math.inf:
        raise _damaged(f"go_scale is {one_line(repr(value), 40)}", where)
    return float(cast(float, value))


def _calibration(
    told: Fields,
    content: Any,  # noqa: ANN401
    aspect_names: tuple[str, ...],
    where: str,
) -> Calibration | None:
    if content is None:
        return None
    weights_sha256 = told.object("calibration").text("weights_sha256", _HASH)
    aspects = (AspectCalibration.from_dict(content.get(name), where) for name in aspect_names)
    return Calibration(tuple(aspects), weights_sha256)


def _damaged(what: str, where: str) -> ModelError:
    return ModelError(what, where=where, hint="the file is damaged or foreign: " + BUILD)
