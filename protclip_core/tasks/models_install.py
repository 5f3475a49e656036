"""Models are installed: fetched from where the catalog or the user says, or from files here.

An installed model is a bundle in the cache folder (`protclip_core.models.cache`). Whatever moment
a process is killed at, a model is installed whole or not at all, and what was downloaded is used
again by the next try.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from protclip_core.errors import UsageError
from protclip_core.io.atomic import disk_error, require_space
from protclip_core.models.bundle import MANIFEST, Bundle, open_bundle
from protclip_core.models.cache import cache_folder, check_name, downloads_folder, model_folder
from protclip_core.models.catalog import CatalogEntry, find_entry, suggest
from protclip_core.models.info import BUNDLED, describe_model, find_in_torch_hub
from protclip_core.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from protclip_core.io.download import RemoteFile
    from protclip_core.models.importers import Imported
    from protclip_core.models.sources import Source

__all__ = ["PullPlan", "import_local", "installing", "plan_pull", "pull"]

_log = logging.getLogger(__name__)

#: An archive of weights hardly shrinks; one that grows more than this is a bomb.
_MOST_GROWTH, _MOST_EXTRA_BYTES = 20, 100_000_000


@dataclass(frozen=True, kw_only=True)
class PullPlan:
    """What `pull` is about to do; made before anything of size is fetched.

    Attributes
    ----------
    name, entry
        Name of the model; its place in the catalog, if it has one.
    target
        Folder of the bundle.
    installed
        The bundle that is there already; then there is nothing to do.
    sources, files
        Where it comes from, and each source's files.
    """

    name: str
    target: Path
    cache: Path
    offline: bool = False
    entry: CatalogEntry | None = None
    installed: Bundle | None = None
    sources: tuple[Source, ...] = ()
    files: tuple[RemoteFile, ...] = ()

    @property
    def license(self) -> str:
        """The licence as the catalog knows it, else as the publisher states it; or empty."""
        if self.entry:
            return self.entry.license
        return " + ".join(source.license for source in self.sources if source.license)

    @property
    def origin(self) -> str:
        """The sources in one line."""
        return " + ".join(source.text for source in self.sources)

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
    from protclip_core.models.sources import parse_source

    check_name(name)
    if (BUNDLED / name / MANIFEST).is_file():
        if source is not None:
            raise UsageError(f"{name} is the name of a bundled model", hint="choose another name")
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
                hint=f"{suggest(name)}; or say where it is with --from",
            )
        name, sources = entry.name, entry.sources
    target = model_folder(name, cache)
    plan = PullPlan(
        name=name,
        target=target,
        cache=cache_folder(cache),
        offline=offline,
        entry=entry,
        sources=sources,
    )
    if not force and (target / MANIFEST).is_file():
        bundle = open_bundle(target)
        bundle.verify()
        return replace(plan, installed=bundle)
    files = tuple(file for one in sources for file in one.files(offline=offline))
    return replace(plan, files=files)


def pull(plan: PullPlan, *, progress: Progress | None = None) -> Imported | None:
    """Fetch, check and install a model; several processes may do so at once.

    Returns
    -------
    Imported or None
        What the importer says; ``None`` if the model was there, or another process that pulled
        it at the same time was first.
    """
    if plan.installed is not None:
        return None
    before = _identity(plan.target)
    with installing(plan.name, plan.cache):
        if _identity(plan.target) != before:
            return None  # the process that we waited for has installed it
        folder = downloads_folder(plan.name, plan.cache)
        _make_folder(folder)
        if plan.download_bytes:
            # The files, and the bundle that is made of them.
            missing = [f for f in plan.files if not (folder / f.name).exists()]
            require_space(folder, plan.download_bytes + sum(f.size or 0 for f in missing))
        paths = _download_all(plan, folder, progress or SilentProgress())
        imported = _install(plan, folder, paths)
        shutil.rmtree(folder, ignore_errors=True)
    return imported


def _download_all(plan: PullPlan, folder: Path, progress: Progress) -> list[Path]:
    from protclip_core.io.download import download

    return [download(file, folder, offline=plan.offline, progress=progress) for file in plan.files]


def _install(plan: PullPlan, folder: Path, paths: Sequence[Path]) -> Imported:
    source = paths[0] if len(paths) == 1 else folder
    with _unpacked(source, folder / "unpacked") as readable:
        return _import_into(
            readable,
            plan.target,
            name=plan.name,
            origin=plan.origin,
            license=plan.license or None,
            entry=plan.entry,
        )


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
        raise UsageError(f"{name} is the name of a bundled model", hint="choose another name")
    source = _find_source(path)
    folder = cache_folder(cache)
    target = model_folder(name, folder)
    with installing(name, folder):
        if target.exists() and not force:
            raise UsageError(
                f"a model named {name} is installed", hint="choose another name, or use --force"
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
    if path.exists():
        return path
    found = find_in_torch_hub(str(path)) if path.name == str(path) else None
    if found is None:
        raise UsageError("no such file or folder", where=str(path), hint="check the path")
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
    """Import into a folder beside ``target`` and put it in its place."""
    from protclip_core.models.importers import import_model

    _make_folder(target.parent)
    fresh = target.with_name(f".{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)  # of a process that was killed; we hold the lock
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
        _swap(fresh, target)
    except OSError as error:
        raise disk_error(error, target) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return replace(imported, bundle=open_bundle(target))


def _swap(fresh: Path, target: Path) -> None:
    """Put a finished folder in the place of another, which a reader may be using."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _unpacked(source: Path, folder: Path) -> Iterator[Path]:
    """Give the source itself, or the folder that an archive was unpacked into, for the time."""
    from protclip_core.io.archives import extract, is_archive

    if source.is_dir() or not is_archive(source):
        yield source
        return
    shutil.rmtree(folder, ignore_errors=True)
    _make_folder(folder.parent)
    try:
        extract(source, folder, max_bytes=_MOST_GROWTH * source.stat().st_size + _MOST_EXTRA_BYTES)
        inside = [p for p in folder.iterdir() if not p.name.startswith((".", "__MACOSX"))]
        yield inside[0] if len(inside) == 1 else folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def installing(name: str, cache: Path) -> Iterator[None]:
    """Let one process at a time install a model; the others wait."""
    models = cache / "models"
    _make_folder(models)
    lock = FileLock(models / f".{name}.lock")
    try:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            _log.warning("%s: another process is installing it: waiting", name)
            lock.acquire()
    except OSError as error:
        raise disk_error(error, models) from error
    try:
        yield
    finally:
        lock.release()


def _identity(target: Path) -> tuple[int, int] | None:
    """Tell one installed folder from another of the same name."""
    try:
        status = (target / MANIFEST).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, folder) from error
