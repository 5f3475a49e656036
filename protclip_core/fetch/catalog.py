"""The models that protclip knows by name: where each comes from and what it must be.

The catalog itself is data, ``catalog.toml``: a table per model, whose keys are the attributes of
`CatalogEntry`. A source is a table with ``hub`` (or ``zenodo``) and the fields of `HubSource` (or
`ZenodoSource`).
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protclip_core.encoders.shapes import read_shapes
from protclip_core.errors import ModelError
from protclip_core.fetch.source_files import Source
from protclip_core.fetch.sources import HubSource, ZenodoSource

__all__ = ["CATALOG", "CatalogEntry", "check_against_entry", "entry_of_publisher", "find_entry"]
__all__ += ["is_of_entry", "suggest"]


@dataclass(frozen=True, kw_only=True)
class CatalogEntry:
    """A model that has a name.

    Attributes
    ----------
    name
        What users type.
    summary
        One line.
    kind
        ``"protein"``, ``"text"`` or ``"protein and text"``: the encoders that it has.
    parameters
        Number of parameters of its encoders, with the head that restores masked residues.
    license
        SPDX name of the licence of the weights.
    license_notes
        Where the licence is stated, and what is known beyond its name.
    sources
        Where the files come from, in the order in which they are fetched. Empty for the model
        that ships with protclip.
    download_bytes
        Size of the weights, in bytes; ``None`` where it is known only when asked.
    config
        Configuration of the checkpoint, for one that comes without its own.
    expected
        What the model's shape must be, whoever sends it: ``type``, ``num_layers`` and
        ``hidden_dim`` of the protein encoder, ``num_hidden_layers`` and ``hidden_size`` of the
        text encoder, ``projection_dim``. See `check_against_entry`.
    """

    name: str
    summary: str
    kind: str
    parameters: int
    license: str
    license_notes: str
    sources: tuple[Source, ...] = ()
    download_bytes: int | None = None
    config: Mapping[str, Any] | None = None
    expected: Mapping[str, Any] = field(default_factory=dict)


def _read_catalog() -> dict[str, CatalogEntry]:
    plain = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return {name: _entry(name, **fields) for name, fields in plain.items()}


def _entry(name: str, *, sources: Sequence[dict[str, Any]] = (), **fields: Any) -> CatalogEntry:
    return CatalogEntry(name=name, sources=tuple(_source(**one) for one in sources), **fields)


def _source(*, hub: str = "", zenodo: str = "", names: Sequence[str] = (), **fields: Any) -> Source:
    if hub:
        return HubSource(repo=hub, names=tuple(names), **fields)
    return ZenodoSource(doi=zenodo, names=tuple(names), **fields)


CATALOG: dict[str, CatalogEntry] = _read_catalog()


def find_entry(name: str) -> CatalogEntry | None:
    """Return the entry of this name, in whatever case it is written; ``None`` if there is none."""
    return CATALOG.get(name.strip().lower())


def entry_of_publisher(name: str) -> CatalogEntry | None:
    """Return the entry of a model that its publisher calls ``name``; ``None`` if there is none.

    Parameters
    ----------
    name
        ``OWNER/REPO`` of the Hugging Face hub, ``REPO`` alone, or a file name of fair-esm, such
        as ``esm2_t6_8M_UR50D.pt``.
    """
    wanted = name.strip().lower().removeprefix("hub:").partition("@")[0].removesuffix(".pt")
    for entry in CATALOG.values():
        whole = [s.repo for s in entry.sources if isinstance(s, HubSource) and not s.names]
        if wanted and any(wanted in (r.lower(), r.lower().partition("/")[2]) for r in whole):
            return entry
    return None


def is_of_entry(entry: CatalogEntry, source: Mapping[str, Any]) -> bool:
    """Tell whether a bundle was made from the files that the catalog means.

    Parameters
    ----------
    entry
        The entry of its name.
    source
        ``source`` of its ``config.json``: it was pulled from where the catalog says, or made from
        files with the hashes that the catalog states.
    """
    if source.get("origin") == " + ".join(one.text for one in entry.sources):
        return True
    pins = {name: pin for one in entry.sources for name, pin in one.pins.items()}
    files = source.get("files")
    return bool(pins) and isinstance(files, dict) and pins.items() <= files.items()


def check_against_entry(entry: CatalogEntry, config: Mapping[str, Any], where: str) -> None:
    """Refuse a model that is not the one that the catalog means by this name.

    Where nobody but a mirror vouches for the files, this keeps a model of another kind or size
    from being installed under a known name. It cannot tell apart two models of one shape.

    Parameters
    ----------
    entry
        What it should be.
    config
        Content of ``config.json`` of its bundle.
    where
        The file, for the message.

    Raises
    ------
    ModelError
        ``model.not_catalog_model``: it has other encoders, or encoders of another shape; names
        what it has and what it should. ``model.hash_mismatch``: it was made from another file
        than the one whose hash the catalog states. ``model.bad_field``: not a configuration.
    """
    shapes = read_shapes(config, where)
    files = (config.get("source") or {}).get("files") or {}
    for name, pin in ((n, p) for one in entry.sources for n, p in one.pins.items()):
        if files.get(name, pin) != pin:
            raise ModelError(
                f"is not {entry.name}: sha256 of {name} is {files[name]}, not the catalog's {pin}",
                code="model.hash_mismatch",
                where=where,
                hint=_OTHER_NAME,
            )
    protein, text = shapes.protein_encoder, shapes.text_encoder
    kind = " and ".join(name for name, part in (("protein", protein), ("text", text)) if part)
    found = {
        "type": protein and protein.__struct_config__.tag,
        "num_layers": protein and protein.num_layers,
        "hidden_dim": protein and protein.hidden_dim,
        "num_hidden_layers": text and text.num_hidden_layers,
        "hidden_size": text and text.hidden_size,
        "projection_dim": shapes.projection_dim,
    }
    differs = [key for key, value in entry.expected.items() if found[key] != value]
    if kind == entry.kind and not differs:
        return
    pairs: list[tuple[str, Any, Any]]
    pairs = [("encoders", kind, entry.kind)] if kind != entry.kind else []
    pairs += [(key, found[key], entry.expected[key]) for key in differs]
    has = ", ".join(f"{name} {value if value is not None else 'none'}" for name, value, _ in pairs)
    should = ", ".join(f"{name} {value}" for name, _, value in pairs)
    raise ModelError(
        f"is not {entry.name}: it has {has}; {entry.name} has {should}",
        where=where,
        code="model.not_catalog_model",
        hint=_OTHER_NAME,
    )


_OTHER_NAME = "install it under another name, or fetch it from where the catalog says"


def suggest(name: str) -> str:
    """Return a clause for a message: the name that was probably meant, else all names."""
    close = difflib.get_close_matches(name.strip().lower(), CATALOG, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"there are {', '.join(CATALOG)}"
