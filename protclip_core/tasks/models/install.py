"""Models are installed: fetched from where the catalog or the user says, or from files here.

An installed model is a bundle in the cache folder (`protclip_core.fetch.cache`). Whatever moment
a process is killed at, a model is installed whole or not at all, and what was downloaded is used
again by the next try.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protclip_core.errors import ModelError, UsageError
from protclip_core.fetch.cache import cache_folder, check_name, downloads_folder, model_folder
from protclip_core.fetch.catalog import (
    CatalogEntry,
    check_against_entry,
    entry_of_publisher,
    find_entry,
    is_of_entry,
    suggest,
)
from protclip_core.io.atomic import disk_error, require_space
from protclip_core.models.info import BUNDLED, describe_model, find_in_torch_hub
from protclip_core.progress import Progress, SilentProgress
from protclip_core.tasks.models.folder import delete, identity, installing, make_folder, swap
from protclip_core.weights.bundle import MANIFEST, Bundle, open_bundle

if TYPE_CHECKING:
    from protclip_core.fetch.download import RemoteFile
    from protclip_core.fetch.source_files import Source
    from protclip_core.models.importers import Imported

__all__ = ["PullPlan", "import_local", "origin_of", "plan_pull", "pull"]

#: An archive of weights hardly shrinks; one that grows more than this is a bomb.
_MOST_GROWTH, _MOST_EXTRA_BYTES = 20, 100_000_000


@dataclass(frozen=True, kw_only=True)
class PullPlan:
    """What `pull` is about to do; made before anything of size is fetched.

    Attributes
    ----------
    name, entry
        Name of the model; its place in the catalog, if it comes from there.
    target
        Folder of the bundle.
    downloads
        Folder of the files on their way; each source has its own, so that nothing of another
        one is taken for a part of the model.
    installed
        The bundle that already exists; then there is nothing to do.
    sources, files
        Where it comes from, and each source's files.
    """

    name: str
    target: Path
    cache: Path
    downloads: Path | None = None
    offline: bool = False
    entry: CatalogEntry | None = None
    installed: Bundle | None = None
    sources: tuple[Source, ...] = ()
    files: tuple[RemoteFile, ...] = ()

    @property
    def license(self) -> str:
        """The licence as its publishers state it, else as the catalog knows it; or empty."""
        stated = dict.fromkeys(source.license for source in self.sources if source.license)
        return " + ".join(stated) or (self.entry.license if self.entry else "")

    @property
    def origin(self) -> str:
        """The sources in one line; of a URL with the hash that its file must have."""
        return " + ".join(
            f"{source.text}#sha256={file.sha256}"
            if (file := self.url_file) is not None
            else source.text
            for source in self.sources
        )

    @property
    def url_file(self) -> RemoteFile | None:
        """The file, where the source is a plain URL."""
        plain = self.sources and self.sources[0].text.startswith(("https:", "http:"))
        return self.files[0] if plain and self.files else None

    @property
    def download_bytes(self) -> int | None:
        """Bytes of all files; ``None`` if one does not say."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)


def plan_pull(
    name: str,
    *,
    source: str | None = None,
    sha256: str | None = None,
    cache: str | Path | None = None,
    offline: bool = False,
    force: bool = False,
) -> PullPlan:
    """Find out what pulling a model means.

    Parameters
    ----------
    name
        Name in the catalog; with ``source`` any name that is not bundled.
    source, sha256
        Where else it comes from, and what it must hash to; see `parse_source`.
    cache
        Cache folder; default as `cache_folder`.
    offline
        Ask no server: only files that were downloaded before are used.
    force
        Fetch and install it although it is there.

    Raises
    ------
    UsageError
        A name that the catalog does not know, or that a bundled model has.
    ModelError
        A source that cannot be reached, or does not have the files.
    """
    from protclip_core.fetch.source_files import list_files
    from protclip_core.fetch.sources import parse_source

    if source is None and find_entry(name) is None:
        _refuse_publishers_name(name)
    check_name(name)
    if (BUNDLED / name / MANIFEST).is_file():
        if source is not None:
            raise UsageError(
                f"{name} is the name of a bundled model",
                code="usage.name_taken",
                hint="choose another name",
            )
        bundle = open_bundle(BUNDLED / name)
        return PullPlan(name=name, target=bundle.path, cache=cache_folder(cache), installed=bundle)
    entry = None
    sources: tuple[Source, ...]
    if source is not None:
        sources = (parse_source(source, sha256=sha256),)
    else:
        entry = find_entry(name)
        if entry is None:
            raise UsageError(
                f"no model {name!r} in the catalog",
                code="usage.unknown_model",
                hint=f"{suggest(name)}; or say where it is with --from",
            )
        name, sources = entry.name, entry.sources
    _refuse_other_case(name)
    folder = cache_folder(cache)
    target = model_folder(name, folder)
    asked = " + ".join(one.text for one in sources)
    plan = PullPlan(
        name=name,
        target=target,
        cache=folder,
        downloads=downloads_folder(name, folder) / hashlib.sha256(asked.encode()).hexdigest()[:16],
        offline=offline,
        entry=entry,
        sources=sources,
    )
    there = None if force else _sound(name, target)
    if there is not None and entry is not None and not is_of_entry(entry, _source_of(there)):
        raise UsageError(
            f"{name} is installed from {origin_of(there) or 'elsewhere'}, not from the catalog",
            code="usage.name_taken",
            where=str(target),
            hint=f"protclip models pull {name} --force replaces it",
        )
    if there is not None and (entry is not None or offline):
        # Offline nothing can be asked, so the name decides; the caller says where it came from.
        return replace(plan, installed=there)
    with _said_shortly(plan):
        files = tuple(list_files(sources, offline=offline, listing=plan.downloads))
    plan = replace(plan, files=files)
    if there is None:
        return plan
    have = origin_of(there)
    if have != plan.origin:
        raise UsageError(
            f"{name} is installed from {have or 'elsewhere'}, not from {plan.origin}",
            code="usage.name_taken",
            hint="choose another name, or replace it with --force",
        )
    return replace(plan, installed=there)


def _sound(name: str, target: Path) -> Bundle | None:
    """Return the bundle that is installed, every file compared with its hash; or nothing."""
    if not (target / MANIFEST).is_file():
        return None
    try:
        bundle = open_bundle(target)
        bundle.verify()
    except ModelError as error:
        raise ModelError(
            f"the installed {name} is damaged: {error.message}",
            code="model.damaged",
            where=error.where,
            hint=f"protclip models pull {name} --force fetches it again",
        ) from error
    return bundle


def origin_of(bundle: Bundle) -> str | None:
    """Return where an imported bundle came from, as its configuration says."""
    origin = _source_of(bundle).get("origin")
    return str(origin) if origin else None


def _source_of(bundle: Bundle) -> dict[str, Any]:
    return bundle.config.get("source") or {}


def _refuse_publishers_name(name: str) -> None:
    """Say how a model is pulled that the catalog has under another name, or not at all."""
    entry = entry_of_publisher(name)
    if entry is not None:
        raise UsageError(
            f"{name!r} is called {entry.name} here",
            code="usage.publishers_name",
            hint=f"run: protclip models pull {entry.name}",
        )
    if "/" in name:
        raise UsageError(
            f"{name!r} is not a name in the catalog",
            code="usage.publishers_name",
            hint=f"for a model of the hub run: protclip models pull NAME --from hub:{name}",
        )


def _refuse_other_case(name: str) -> None:
    """Refuse what a disk that does not tell cases apart, or a reader, takes for a known name."""
    known = find_entry(name)
    if known is not None and known.name != name:
        raise UsageError(
            f"{name!r} differs from {known.name} only by case",
            code="usage.bad_model_name",
            hint=f"choose another name, or {known.name}",
        )


def pull(plan: PullPlan, *, progress: Progress | None = None) -> Imported | None:
    """Fetch, check and install a model; several processes may do so at once.

    Returns
    -------
    Imported or None
        What the importer says; ``None`` if the model was there, or another process that pulled
        it at the same time was first.
    """
    from protclip_core.fetch.source_files import save_listings

    if plan.installed is not None:
        return None
    before = identity(plan.target)
    with installing(plan.name, plan.cache):
        if identity(plan.target) != before:
            return None  # the process that we waited for has installed it
        assert plan.downloads is not None
        make_folder(plan.downloads)
        save_listings(plan.sources, plan.downloads)
        if plan.download_bytes:
            # The files, and the bundle that is made of them.
            missing = [f for f in plan.files if not (plan.downloads / f.name).exists()]
            needed = plan.download_bytes + sum(f.size or 0 for f in missing)
            require_space(plan.downloads, needed)
        paths = _download_all(plan, plan.downloads, progress or SilentProgress())
        imported = _install(plan, paths)
        shutil.rmtree(downloads_folder(plan.name, plan.cache), ignore_errors=True)
    return imported


def _download_all(plan: PullPlan, folder: Path, progress: Progress) -> list[Path]:
    from protclip_core.fetch.download import download

    with _said_shortly(plan):
        return [
            download(file, folder, offline=plan.offline, progress=progress) for file in plan.files
        ]


@contextmanager
def _said_shortly(plan: PullPlan) -> Iterator[None]:
    """Say in one short line what to fetch by hand where there is no network."""
    try:
        yield
    except ModelError as error:
        if error.code not in ("model.no_network", "model.not_downloaded"):
            raise
        what = "no network" if error.code == "model.no_network" else "not downloaded yet"
        pages = plan.sources[0].page
        if len(plan.sources) > 1:
            pages = "its files (protclip models info)"
        raise ModelError(
            what,
            code=error.code,
            where=plan.name,
            hint=f"fetch {pages}, then: protclip models import DIR --name {plan.name}",
        ) from error


def _install(plan: PullPlan, paths: Sequence[Path]) -> Imported:
    """Import exactly the files of the plan, whatever else lies beside them."""
    folder = paths[0].parent / "files"
    delete(folder)
    make_folder(folder)
    for path in paths:
        _link(path, folder / path.name)
    source = folder / paths[0].name if len(paths) == 1 else folder
    with _unpacked(source, folder / "unpacked") as readable:
        return _import_into(
            readable,
            plan.target,
            name=plan.name,
            origin=plan.origin,
            license=plan.license or None,
            entry=plan.entry,
        )


def _link(path: Path, place: Path) -> None:
    """Let a file stand in two folders, without a copy where the disk can do that."""
    try:
        place.hardlink_to(path)
    except OSError:
        shutil.copyfile(path, place)


def import_local(
    path: Path,
    name: str,
    *,
    tokenizer: Path | None = None,
    license: str | None = None,
    cache: str | Path | None = None,
    force: bool = False,
) -> Imported:
    """Install a model from files that are here.

    Parameters
    ----------
    path
        Folder or file of a model, or an archive of one; a name of fair-esm such as
        ``esm2_t33_650M_UR50D`` is looked up in torch's hub cache.
    name
        Name to install it under.
    tokenizer
        ``vocab.txt`` or ``tokenizer.json`` of the text encoder, where ``path`` has none.
    license
        What the publisher says; kept with the model.
    force
        Replace a model of this name.

    Raises
    ------
    UsageError
        The name is taken or cannot be one, or there is no such file.
    ModelError
        What is there is no model that protclip reads, or it is damaged or not to be trusted.
    """
    check_name(name)
    if (BUNDLED / name / MANIFEST).is_file():
        raise UsageError(
            f"{name} is the name of a bundled model",
            code="usage.name_taken",
            hint="choose another name",
        )
    _refuse_other_case(name)
    source = _find_source(path)
    folder = cache_folder(cache)
    target = model_folder(name, folder)
    with installing(name, folder):
        if target.exists() and not force:
            raise UsageError(
                f"a model named {name} is installed",
                code="usage.name_taken",
                hint="choose another name, or use --force",
            )
        work = downloads_folder(name, folder)
        with _unpacked(source, work / "unpacked") as readable:
            imported = _import_into(
                readable,
                target,
                name=name,
                origin=source.resolve().name,
                license=license,
                tokenizer=tokenizer,
                entry=find_entry(name),
            )
    return imported


def _find_source(path: Path) -> Path:
    if path.is_file() or path.is_dir():
        return path
    found = find_in_torch_hub(str(path)) if path.name == str(path) else None
    if found is None:
        raise UsageError(
            "no such file or folder",
            code="usage.no_such_file",
            where=str(path),
            hint="check the path",
        )
    return found


def _import_into(
    source: Path,
    target: Path,
    *,
    name: str,
    origin: str,
    license: str | None,
    entry: CatalogEntry | None,
    tokenizer: Path | None = None,
) -> Imported:
    """Import into a folder beside ``target`` and put it in its place.

    A model that takes a name of the catalog must be what the catalog means by it.
    """
    from protclip_core.models.importers import import_model

    make_folder(target.parent)
    fresh = target.with_name(f".{target.name}.new")
    try:
        imported = import_model(
            source,
            fresh,
            name=name,
            tokenizer=tokenizer,
            origin=origin,
            license=license,
            config=entry.config if entry else None,
        )
        # What cannot be read again is not installed.
        describe_model(fresh)
        if entry:
            check_against_entry(entry, imported.bundle.config, origin)
            if not is_of_entry(entry, imported.bundle.config["source"]):
                note = f"could not be compared with the catalog's {entry.name}"
                imported = replace(imported, notes=[*imported.notes, note])
        swap(fresh, target)
    except OSError as error:
        raise disk_error(error, target) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return replace(imported, bundle=open_bundle(target))


@contextmanager
def _unpacked(source: Path, folder: Path) -> Iterator[Path]:
    """Give the source itself, or the folder that an archive was unpacked into, for the time."""
    from protclip_core.io.archives import extract, is_archive

    if source.is_dir() or not is_archive(source):
        yield source
        return
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder.parent)
    try:
        extract(source, folder, max_bytes=_MOST_GROWTH * source.stat().st_size + _MOST_EXTRA_BYTES)
        inside = [p for p in folder.iterdir() if not p.name.startswith((".", "__MACOSX"))]
        yield inside[0] if len(inside) == 1 else folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
