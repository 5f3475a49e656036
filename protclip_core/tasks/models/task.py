"""Models of this user: listed, checked, removed; `protclip_core.tasks.models.install` adds them."""

from __future__ import annotations

import logging
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from protclip_core.errors import ModelError, ProtclipError, UsageError
from protclip_core.fetch.cache import (
    cache_folder,
    check_name,
    downloads_folder,
    installed_models,
    is_installed,
    model_folder,
)
from protclip_core.fetch.catalog import CATALOG, CatalogEntry, find_entry, is_of_entry
from protclip_core.models.info import BUNDLED, ModelInfo, describe_model
from protclip_core.tasks.models.folder import installing, leftovers
from protclip_core.weights.bundle import MANIFEST, count_parameters, open_bundle

__all__ = ["ModelRow", "list_models", "remove_model", "verify_model"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """One model of a listing.

    Attributes
    ----------
    name, contents, summary
        Name; ``"protein"``, ``"text"`` or ``"protein and text"``; a few words.
    state
        ``"bundled"``, ``"installed"``, ``"damaged"`` or ``"available"`` (to be pulled).
    parameters
        Number of weights, where known.
    megabytes
        Size on the disk, or of the download where it is not installed; where known.
    license
        SPDX name or the publisher's words; empty where unknown.
    """

    name: str
    contents: str
    state: str
    parameters: int | None
    megabytes: float | None
    license: str
    summary: str


def list_models(cache: str | Path | None = None) -> list[ModelRow]:
    """List bundled, installed and available models, each name once, in this order."""
    bundled = {p.parent.name: p.parent for p in sorted(BUNDLED.glob(f"*/{MANIFEST}"))}
    here = bundled | {n: p for n, p in _model_folders(cache).items() if n not in bundled}
    rows = [
        _row_of_bundle(name, path, "bundled" if name in bundled else "installed")
        for name, path in here.items()
    ]
    rows += [_row_of_entry(entry) for name, entry in CATALOG.items() if name not in here]
    return rows


def _model_folders(cache: str | Path | None) -> dict[str, Path]:
    """Return installed models, and folders among them that have lost their manifest."""
    found = installed_models(cache)
    models = cache_folder(cache) / "models"
    with suppress(OSError):
        found |= {
            path.name: path
            for path in models.iterdir()
            if path.is_dir() and is_installed(path.name, cache)
        }
    return dict(sorted(found.items()))


def _row_of_bundle(name: str, path: Path, state: str) -> ModelRow:
    try:
        info = describe_model(path)
        assert info.bundle is not None
        parameters = count_parameters(info.bundle)
        size = sum(f.stat().st_size for f in path.iterdir() if f.is_file()) / 1e6
    except (ModelError, OSError) as error:
        _log.debug("%s", error)
        return ModelRow(
            name=name,
            contents="",
            state="damaged",
            parameters=None,
            megabytes=None,
            license="",
            summary=f"run: protclip models verify {name}",
        )
    entry = find_entry(name)
    # The catalog speaks of what it knows the origin of, not of whatever has the name.
    known = entry is not None and (state == "bundled" or is_of_entry(entry, info.source))
    return ModelRow(
        name=name,
        contents=info.contents,
        state=state,
        parameters=parameters,
        megabytes=size,
        license=info.license or "",
        summary=entry.summary if entry and known else f"from {info.origin or 'elsewhere'}",
    )


def _row_of_entry(entry: CatalogEntry) -> ModelRow:
    return ModelRow(
        name=entry.name,
        contents=entry.kind,
        state="available",
        parameters=entry.parameters,
        megabytes=entry.download_bytes / 1e6 if entry.download_bytes else None,
        license=entry.license,
        summary=entry.summary,
    )


def verify_model(name: str, cache: str | Path | None = None) -> list[tuple[str, str]]:
    """Compare every file of a bundle with its hash.

    Parameters
    ----------
    name
        Name or path of a bundle.

    Returns
    -------
    list of tuple
        File and what is wrong with it; empty text for a sound one. Files that the manifest does
        not name are listed as such, as is a manifest of another model than the catalog's.

    Raises
    ------
    ModelError
        No such model, or one that is not a bundle and so has no hashes.
    """
    path = _bundle_path(name, cache)
    bundle = open_bundle(path)
    rows = []
    for file in bundle.files:
        try:
            bundle.verify((file,))
        except ModelError as error:
            rows.append((file, error.message))
        else:
            rows.append((file, ""))
    known = {*bundle.files, MANIFEST}
    rows += [(p.name, "is not in the manifest") for p in path.iterdir() if p.name not in known]
    entry, source = find_entry(name), bundle.config.get("source") or {}
    if entry is not None and path.parent != BUNDLED and not is_of_entry(entry, source):
        origin = source.get("origin") or "elsewhere"
        rows.append((MANIFEST, f"from {origin}, not compared with the catalog's {entry.name}"))
    return rows


def _bundle_path(name: str, cache: str | Path | None) -> Path:
    """Find a bundle by name even if it is too damaged to be described."""
    for folder in (BUNDLED / name, installed_models(cache).get(name)):
        if folder is not None and Path(name).name == name and (folder / MANIFEST).is_file():
            return folder
    info: ModelInfo = describe_model(name, cache)
    if info.bundle is None:
        raise ModelError(
            f"is a {info.kind} model: there are no hashes to compare with",
            code="model.not_a_bundle",
            where=str(info.path),
            hint="protclip models import makes a bundle of it",
        )
    return info.path


def remove_model(name: str, cache: str | Path | None = None) -> Path:
    """Remove an installed model and what was downloaded of it.

    Returns
    -------
    pathlib.Path
        The folder that is gone.

    Raises
    ------
    UsageError
        The model is bundled with protclip, or none of this name is installed.
    """
    check_name(name)
    target = model_folder(name, cache)
    downloads = downloads_folder(name, cache)
    models = target.parent
    if not (target.exists() or downloads.exists() or leftovers(models, name)):
        if (BUNDLED / name / MANIFEST).is_file():
            raise UsageError(
                f"{name} belongs to protclip itself",
                code="usage.bundled_model",
                hint="it cannot be removed",
            )
        raise UsageError(
            f"no model named {name} is installed",
            code="usage.unknown_model",
            hint="see protclip models list",
        )
    with installing(name, cache_folder(cache)):
        try:
            if target.is_symlink():
                target.unlink()
            elif target.exists():
                gone = target.with_name(f".{name}.new")
                target.rename(gone)  # at once for readers, whatever the size
                shutil.rmtree(gone)
            if downloads.exists():
                shutil.rmtree(downloads)
        except OSError as error:
            raise _kept(error, target) from error
    return target


def _kept(error: OSError, target: Path) -> ProtclipError:
    return UsageError(
        f"could not be removed ({(error.strerror or str(error)).lower()})",
        code="usage.not_removable",
        where=str(target),
        hint="check its access rights",
    )
