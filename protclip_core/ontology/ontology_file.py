"""An ontology as plain arrays of numbers, as an index of term texts keeps it in its file.

Format ``protclip-ontology``, version 1. Texts are UTF-8 in one array of bytes, a NUL after each;
edges and lists are in compressed rows. Definitions are not part of it. Nothing is pickled. A
vocabulary other than GO has an array ``aspect_names`` more; its ids are any text on one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from protclip_core.errors import InputError, ModelError
from protclip_core.ontology.assemble import GO_ID
from protclip_core.ontology.ontology import Ontology
from protclip_core.ontology.terms import ASPECTS, RELATIONS, Obsolete

__all__ = ["from_arrays", "to_arrays"]

FORMAT, VERSION = "protclip-ontology", 1
_FETCH_AGAIN = "fetch or make the file again"
#: Name and type of each array; texts and numbers of terms alike.
_TYPES = {
    "format": "u1",
    "version": "i8",
    "header": "u1",
    "ids": "u1",
    "names": "u1",
    "aspects": "i1",
    "parent_offsets": "i8",
    "parents": "i4",
    "parent_kinds": "i1",
    "alternative_ids": "u1",
    "alternative_terms": "i4",
    "obsolete_ids": "u1",
    "obsolete_offsets": "i8",
    "obsolete_others": "u1",
    "obsolete_replaced": "i8",
    "subset_names": "u1",
    "subset_offsets": "i8",
    "subset_terms": "i4",
}
#: Array that only a vocabulary other than GO has; so files of GO are what they were.
_ASPECT_NAMES = "aspect_names"
_MOST_ASPECTS, _MOST_ID = 100, 1000


def to_arrays(ontology: Ontology) -> dict[str, np.ndarray]:
    """Return all of an ontology but its definitions as arrays of numbers; see the module."""
    fates = list(ontology.obsolete.values())
    subsets = list(ontology.subsets.values())
    header = [ontology.release or "", ontology.data_version or "", *ontology.relations]
    own = {} if ontology.is_go else {_ASPECT_NAMES: _packed(ontology.aspect_names)}
    return own | {
        "format": _packed([FORMAT]),
        "version": np.array([VERSION], dtype=np.int64),
        "header": _packed(header),
        "ids": _packed(ontology.ids),
        "names": _packed(ontology.names),
        "aspects": ontology.aspects,
        "parent_offsets": ontology.parent_offsets,
        "parents": ontology.parents,
        "parent_kinds": ontology.parent_kinds,
        "alternative_ids": _packed(ontology.alternatives),
        "alternative_terms": np.array(list(ontology.alternatives.values()), dtype=np.int32),
        "obsolete_ids": _packed(ontology.obsolete),
        "obsolete_offsets": _offsets(len(f.replaced_by) + len(f.consider) for f in fates),
        "obsolete_others": _packed([id for f in fates for id in f.replaced_by + f.consider]),
        "obsolete_replaced": np.array([len(f.replaced_by) for f in fates], dtype=np.int64),
        "subset_names": _packed(ontology.subsets),
        "subset_offsets": _offsets(map(len, subsets)),
        "subset_terms": np.concatenate([*subsets, np.zeros(0)]).astype(np.int32),
    }


def from_arrays(arrays: Mapping[str, np.ndarray], where: str = "ontology") -> Ontology:
    """Return the ontology of which `to_arrays` made the arrays; it has no definitions.

    Raises
    ------
    ModelError
        An array that is missing or of another type, a number out of range, texts that are not
        UTF-8, ids that are not GO ids or occur twice, a term among its own ancestors.
    """
    _check_types(arrays, where)
    format_name, version = _unpacked(arrays["format"], "format", where), arrays["version"]
    if format_name != [FORMAT]:
        raise ModelError(
            f"is not of format {FORMAT!r}",
            code="model.unknown_format",
            where=where,
            hint=_FETCH_AGAIN,
        )
    if version.tolist() != [VERSION]:
        raise ModelError(
            f"version {version.tolist()[:1]} of {FORMAT}, this protclip reads {VERSION}",
            code="model.newer_version",
            where=where,
            hint="install a newer protclip",
        )
    texts = {
        key: _unpacked(arrays[key], key, where)
        for key in ("header", "ids", "names", "alternative_ids", "obsolete_ids")
        + ("obsolete_others", "subset_names")
    }
    release, data_version, *relations = texts["header"] if len(texts["header"]) > 2 else ["", ""]
    if not relations or not set(relations) <= set(RELATIONS):
        raise _damaged("header", "names no known relation", where)
    aspect_names = _aspect_names(arrays, where)
    _check_ids(texts, where, is_go=aspect_names == ASPECTS)
    _check_numbers(arrays, texts, where, aspects=len(aspect_names))
    others, split = texts["obsolete_others"], arrays["obsolete_offsets"]
    obsolete = {
        id: Obsolete(tuple(others[start : start + n]), tuple(others[start + n : stop]))
        for id, start, stop, n in zip(
            texts["obsolete_ids"], split[:-1], split[1:], arrays["obsolete_replaced"]
        )
    }
    terms = arrays["subset_terms"].astype(np.int64)
    subsets = np.split(terms, arrays["subset_offsets"][1:-1])
    try:
        return Ontology(
            ids=tuple(texts["ids"]),
            names=tuple(texts["names"]),
            aspects=arrays["aspects"],
            parent_offsets=arrays["parent_offsets"],
            parents=arrays["parents"],
            parent_kinds=arrays["parent_kinds"],
            alternatives=dict(zip(texts["alternative_ids"], arrays["alternative_terms"].tolist())),
            obsolete=obsolete,
            subsets=dict(zip(texts["subset_names"], subsets)),
            release=release or None,
            data_version=data_version or None,
            relations=tuple(relations),
            source=where,
            aspect_names=aspect_names,
        )
    except InputError as error:
        raise ModelError(
            error.message, code="model.damaged", where=where, hint=_FETCH_AGAIN
        ) from error


def _check_types(arrays: Mapping[str, np.ndarray], where: str) -> None:
    for key, kind in _TYPES.items():
        if key not in arrays:
            raise _damaged(key, "is missing", where)
        if arrays[key].dtype != np.dtype(kind) or arrays[key].ndim != 1:
            raise _damaged(key, f"is {arrays[key].dtype} of {arrays[key].ndim} dimensions", where)


def _aspect_names(arrays: Mapping[str, np.ndarray], where: str) -> tuple[str, ...]:
    """Return the aspects of GO, or those that a vocabulary names."""
    own = arrays.get(_ASPECT_NAMES)
    if own is None:
        return ASPECTS
    if own.dtype != np.uint8 or own.ndim != 1:
        raise _damaged(_ASPECT_NAMES, f"is {own.dtype} of {own.ndim} dimensions", where)
    names = tuple(_unpacked(own, _ASPECT_NAMES, where))
    if not 1 <= len(names) <= _MOST_ASPECTS or len(set(names)) < len(names):
        raise _damaged(_ASPECT_NAMES, "is empty, or holds a name twice", where)
    if bad := [name for name in names if not _is_line(name)]:
        raise _damaged(_ASPECT_NAMES, f"holds {bad[0][:20]!r}", where)
    return names


def _is_line(text: str) -> bool:
    """Tell whether a text can be an id: one line, printable, not blank, of some length at most."""
    return text.isprintable() and 0 < len(text.strip()) == len(text) <= _MOST_ID


def _check_ids(texts: Mapping[str, list[str]], where: str, *, is_go: bool) -> None:
    for key in ("ids", "alternative_ids", "obsolete_ids"):
        if bad := [id for id in texts[key] if not (GO_ID.fullmatch if is_go else _is_line)(id)]:
            raise _damaged(key, f"holds {bad[0][:20]!r}", where)
        if len(set(texts[key])) < len(texts[key]):
            raise _damaged(key, "holds an id twice", where)
    if not texts["ids"]:
        raise _damaged("ids", "is empty", where)


def _check_numbers(
    arrays: Mapping[str, np.ndarray], texts: Mapping[str, list[str]], where: str, *, aspects: int
) -> None:
    size = len(texts["ids"])
    edges, fates = len(arrays["parents"]), len(texts["obsolete_ids"])
    for key, length in (
        ("aspects", size),
        ("parent_kinds", edges),
        ("alternative_terms", len(texts["alternative_ids"])),
        ("obsolete_replaced", fates),
    ):
        if len(arrays[key]) != length:
            raise _damaged(key, f"has {len(arrays[key])} values, not {length}", where)
    if len(texts["names"]) != size:
        raise _damaged("names", f"has {len(texts['names'])} values, not {size}", where)
    for key, rows, total in (
        ("parent_offsets", size, edges),
        ("obsolete_offsets", fates, len(texts["obsolete_others"])),
        ("subset_offsets", len(texts["subset_names"]), len(arrays["subset_terms"])),
    ):
        offsets = arrays[key]
        if len(offsets) != rows + 1 or offsets[0] != 0 or offsets[-1] != total:
            raise _damaged(key, "does not fit", where)
        if (np.diff(offsets) < 0).any():
            raise _damaged(key, "goes down", where)
    for key, limit in (
        ("aspects", aspects),
        ("parent_kinds", len(RELATIONS)),
        ("parents", size),
        ("alternative_terms", size),
        ("subset_terms", size),
    ):
        if len(arrays[key]) and not 0 <= arrays[key].min() <= arrays[key].max() < limit:
            raise _damaged(key, f"holds a number outside 0 to {limit - 1}", where)
    sizes = np.diff(arrays["obsolete_offsets"])
    if ((arrays["obsolete_replaced"] < 0) | (arrays["obsolete_replaced"] > sizes)).any():
        raise _damaged("obsolete_replaced", "does not fit", where)


def _packed(texts: Iterable[str]) -> np.ndarray:
    """Put texts into one array of bytes, a NUL after each."""
    return np.frombuffer(b"".join(text.encode() + b"\0" for text in texts), dtype=np.uint8)


def _unpacked(values: np.ndarray, key: str, where: str) -> list[str]:
    data = values.tobytes()
    if data and not data.endswith(b"\0"):
        raise _damaged(key, "is cut", where)
    try:
        return data.decode("utf-8").split("\0")[:-1]
    except UnicodeDecodeError as error:
        raise _damaged(key, "is not UTF-8", where) from error


def _offsets(sizes: Iterable[int]) -> np.ndarray:
    return np.cumsum([0, *sizes], dtype=np.int64)


def _damaged(key: str, what: str, where: str) -> ModelError:
    return ModelError(f"array {key!r} {what}", code="model.damaged", where=where, hint=_FETCH_AGAIN)
