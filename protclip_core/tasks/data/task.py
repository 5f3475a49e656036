"""Releases of GO and indexes of them: fetched, and made for a model."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from protclip_core.errors import ModelError, UsageError
from protclip_core.fetch.download import RemoteFile, download
from protclip_core.io.outputs import check_outputs
from protclip_core.models.info import describe_model, require_text_encoder
from protclip_core.ontology.obo import read_obo
from protclip_core.ontology.ontology import Ontology
from protclip_core.progress import Progress
from protclip_core.terms.index import TEMPLATES, GoIndex, text_side_sha256
from protclip_core.terms.index_file import INDEX_FILE, cache_path, find_go_index, write_go_index
from protclip_core.terms.releases import FILE_NAME, pulled_path, read_go

__all__ = ["GO_URL", "BuiltIndex", "build_index", "pull_go"]

_log = logging.getLogger(__name__)

#: Where the GO consortium keeps its latest release.
GO_URL = "https://purl.obolibrary.org/obo/go/go-basic.obo"
#: The releases of today have 35 MB.
_MOST_BYTES = 500_000_000


@dataclass(frozen=True)
class BuiltIndex:
    """An index that was made.

    Attributes
    ----------
    index
        The index.
    path
        Its file.
    is_default
        Whether the model uses it without being told to.
    """

    index: GoIndex
    path: Path
    is_default: bool


def pull_go(
    url: str = GO_URL,
    *,
    cache: str | Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> tuple[Path, Ontology]:
    """Fetch a release of GO into the cache, and read it.

    Parameters
    ----------
    url
        OBO file; https, or http on this machine.
    cache
        Cache folder, see `protclip_core.fetch.cache.cache_folder`.
    force
        Fetch it although one is there: the address always leads to the latest release.
    progress
        Told of the download.

    Returns
    -------
    tuple
        Path of the file, and what is in it, without definitions.

    Raises
    ------
    ModelError
        It cannot be fetched, or is not a release of GO; then nothing of it stays, and an earlier
        one is as it was.
    ResourceError, UsageError
        The disk is full, or the cache folder cannot be written.
    """
    kept = pulled_path(cache)
    if kept.is_file() and not force:
        return kept, read_obo(kept, definitions=False)
    # It takes the place of an earlier one when it has been read.
    file = RemoteFile(name=f"{FILE_NAME}.new", url=url)
    kept.with_name(file.name).unlink(missing_ok=True)
    try:
        found = download(file, kept.parent, progress=progress, most_bytes=_MOST_BYTES)
    except ModelError as error:
        # What was fetched by hand is no model.
        error.hint = error.hint and error.hint.replace("models import", "data go build FILE")
        raise
    try:
        ontology = read_obo(found, definitions=False)
    except ModelError:
        found.unlink(missing_ok=True)
        raise
    found.replace(kept)
    return kept, ontology


def build_index(
    model: str,
    source: str | Path | None = None,
    *,
    output: Path | None = None,
    template: str | None = None,
    device: str = "auto",
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> BuiltIndex:
    """Make the index of a release of GO for a model, and write it.

    Where the model has an index already, the new one has its template, and takes over its
    calibration and its priors, which follow the graph of the release.

    Parameters
    ----------
    model
        Name or path of a ProtCLIP model.
    source
        OBO file or table; default the one that `pull_go` has fetched.
    output
        File; default the one in the cache that belongs to the model's text side.
    template
        See `protclip_core.terms.build.build_go_index`; default that of the model's index,
        else ``"both"``, or ``"name"`` for an ontology without definitions. With another template
        than its index has, nothing is taken over.
    device
        Where the text encoder runs.
    cache
        Cache folder.
    progress
        Told of the texts.

    Raises
    ------
    UsageError
        A model of proteins alone, an unknown template, no release to take, or an output that
        cannot be written.
    ModelError
        No such model, or a file of GO that cannot be read.
    """
    from protclip_core.io.atomic import check_writable_target
    from protclip_core.models.loading import load_text_model
    from protclip_core.terms.build import build_go_index, rebuild_go_index

    if template is not None and template not in TEMPLATES:
        raise UsageError(
            f"template {template!r} is not known",
            code="usage.unknown_value",
            hint=f"use {', '.join(TEMPLATES)}",
        )
    info = describe_model(model, cache)
    require_text_encoder(info)
    if info.bundle is None or info.joint_dim is None:
        raise UsageError(
            f"model {info.name} has no joint space",
            code="usage.no_joint_space",
            hint="use a ProtCLIP model",
        )
    release = Path(source) if source is not None else pulled_path(cache)
    if source is None and not release.is_file():
        raise UsageError(
            "no release of GO is given, and none was fetched",
            code="usage.no_release",
            hint="give an OBO file, or run: protclip data go pull",
        )
    path = output or cache_path(text_side_sha256(info.bundle), cache)
    if output is None:
        path.parent.mkdir(parents=True, exist_ok=True)
    check_outputs((release, model), (path,), hint="choose another -o")
    check_writable_target(path)
    ontology = read_go(release)
    text_model = load_text_model(info, device=device)
    former = find_go_index(info) if INDEX_FILE in info.bundle.files else None
    if former is not None and template in (None, former.template):
        index = rebuild_go_index(text_model, ontology, former, progress)
    else:
        chosen = template or ("both" if any(ontology.definitions) else "name")
        index = build_go_index(text_model, ontology, template=chosen, progress=progress)
    write_go_index(index, path)
    return BuiltIndex(index, path, is_default=output is None and former is None)
