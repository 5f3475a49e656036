"""Where models come from: a Zenodo record, a repository of the Hugging Face hub, a URL.

A source turns into a list of files with their sizes and hashes. What the hashes are worth: those
of the catalog are ours; those of a Zenodo record and of the hub are the publisher's word, given
over https, and guard against damage on the way.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from protclip_core.errors import ModelError, UsageError
from protclip_core.models.repository import pick_files, refuse_remote_code, some_names
from protclip_core.models.zenodo import license_of, read_record

if TYPE_CHECKING:
    from protclip_core.io.download import RemoteFile

__all__ = [
    "HubSource",
    "Source",
    "UrlSource",
    "ZenodoSource",
    "parse_source",
    "pick_files",
    "refuse_remote_code",
]

_HUB = "https://huggingface.co"
_ZENODO_API = "https://zenodo.org/api/records"
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ZENODO_DOI = re.compile(r"10\.5281/zenodo\.([0-9]{1,12})", re.IGNORECASE)
_HUB_NAME = re.compile(r"([\w.-]{1,96}/[\w.-]{1,96})(?:@([\w./-]{1,200}))?")
_FORMS = "use doi:10.5281/zenodo.NUMBER[#FILE,…], hub:OWNER/REPO[@REVISION] or https://…"


@dataclass(kw_only=True)
class Source:
    """Where the files of a model come from.

    Attributes
    ----------
    license
        What the publisher states, once `files` was called; ``None`` where nothing is stated.
    """

    license: str | None = field(default=None, init=False, compare=False)

    @property
    def text(self) -> str:
        """Origin in one word, as `parse_source` reads it; after `files` with what was resolved."""
        raise NotImplementedError

    def files(self, *, offline: bool = False) -> list[RemoteFile]:
        """Ask what there is to fetch.

        Parameters
        ----------
        offline
            Send no request: an error for a source that must be asked.

        Raises
        ------
        ModelError
            The source cannot be reached, does not have the files, or contradicts the catalog.
        """
        raise NotImplementedError


@dataclass(kw_only=True)
class ZenodoSource(Source):
    """Files of a Zenodo record, checked against the md5 that the record states.

    Attributes
    ----------
    doi
        ``10.5281/zenodo.NUMBER``.
    names
        Files of the record; empty: those that `pick_files` finds, or the only one.
    sha256
        Hashes known beforehand, by file name.
    """

    doi: str
    names: tuple[str, ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """``doi:…``, with the names of files if some were chosen."""
        return f"doi:{self.doi}" + (f"#{','.join(self.names)}" if self.names else "")

    def files(self, *, offline: bool = False) -> list[RemoteFile]:
        """Ask the record; see `Source.files`."""
        from protclip_core.io.http import fetch_json, mirrored
        from protclip_core.io.remote_file import RemoteFile
        from protclip_core.io.retries import refuse_offline, shown

        match = _ZENODO_DOI.fullmatch(self.doi)
        if match is None:
            raise UsageError(f"{self.doi!r} is no DOI of Zenodo", hint=_FORMS)
        url = mirrored(f"{_ZENODO_API}/{match[1]}")
        if offline:
            raise refuse_offline(url)
        record = fetch_json(url)
        try:
            there = read_record(self.doi, record)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(
                f"is no record that can be read ({type(error).__name__} {error})", where=shown(url)
            ) from None
        self.license = license_of(record)
        names = self.names or _only_or_picked(there, shown(url))
        missing = [name for name in names if name not in there]
        if missing:
            raise ModelError(
                f"the record has no file {missing[0]!r}; it has {some_names(there)}",
                where=shown(url),
            )
        return [
            RemoteFile(
                name=name,
                url=mirrored(there[name].url),
                size=there[name].size,
                md5=there[name].md5,
                sha256=self.sha256.get(name),
            )
            for name in names
        ]


@dataclass(kw_only=True)
class HubSource(Source):
    """Files of a repository of the Hugging Face hub, or of the hub that ``HF_ENDPOINT`` names.

    Attributes
    ----------
    repo
        ``owner/name``.
    revision
        Branch, tag or commit; default: the main branch.
    names
        Files to fetch; empty: those that `pick_files` finds.
    sha256
        Hashes known beforehand, by file name.
    """

    repo: str
    revision: str | None = None
    names: tuple[str, ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)
    _commit: str | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def text(self) -> str:
        """``hub:owner/repo@commit``; the revision as it was given, until `files` was called."""
        revision = self._commit or self.revision
        return f"hub:{self.repo}" + (f"@{revision}" if revision else "")

    def files(self, *, offline: bool = False) -> list[RemoteFile]:
        """Ask the hub; see `Source.files`. A repository that wants its own code run is refused."""
        from urllib.parse import quote

        from huggingface_hub import get_token, hf_hub_url
        from huggingface_hub.hf_api import ModelInfo

        from protclip_core.io.http import fetch_json
        from protclip_core.io.remote_file import RemoteFile
        from protclip_core.io.retries import refuse_offline, shown

        endpoint = (os.environ.get("HF_ENDPOINT") or _HUB).rstrip("/")
        url = (
            f"{endpoint}/api/models/{self.repo}/revision/{quote(self.revision or 'main', safe='')}"
        )
        if offline:
            raise refuse_offline(url)
        token = get_token()
        answer = fetch_json(f"{url}?blobs=true", token=token, hint=_HUB_WAY_OUT)
        try:
            info = ModelInfo(**answer)
            commit, siblings = str(info.sha), list(info.siblings or ())
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(
                f"is no answer of a hub ({type(error).__name__} {error})", where=shown(url)
            ) from None
        self._check_commit(commit, shown(url))
        self._commit = commit
        self.license = _hub_license(info)
        there = {one.rfilename: one for one in siblings}
        names = self.names or pick_files(there, where=self.text)
        missing = [name for name in names if name not in there]
        if missing:
            raise ModelError(f"has no file {missing[0]!r}", where=self.text)
        files = []
        for name in names:
            one = there[name]
            stated = one.lfs.sha256 if one.lfs else None
            files.append(
                RemoteFile(
                    name=name,
                    url=hf_hub_url(self.repo, name, revision=commit, endpoint=endpoint),
                    size=one.lfs.size if one.lfs else one.size,
                    sha256=self._pinned(name, stated),
                    git_sha1=None if one.lfs else one.blob_id,
                    token=token,
                )
            )
        if "config.json" in names:
            # Before gigabytes are fetched, and from the file itself rather than the hub's summary.
            config = next(file for file in files if file.name == "config.json")
            refuse_remote_code(
                fetch_json(config.url, token=token, hint=_HUB_WAY_OUT), where=self.text
            )
        return files

    def _check_commit(self, commit: str, where: str) -> None:
        pinned = self.revision if self.revision and _COMMIT.fullmatch(self.revision) else None
        if not _COMMIT.fullmatch(commit) or (pinned and commit != pinned):
            raise ModelError(
                f"the hub gives commit {commit[:60]!r} for the revision {self.revision!r}",
                where=where,
                hint=_HUB_WAY_OUT,
            )

    def _pinned(self, name: str, stated: str | None) -> str | None:
        wanted = self.sha256.get(name)
        if wanted and stated and wanted != stated:
            raise ModelError(
                f"sha256 mismatch of {name}, expected {wanted}, the hub says {stated}",
                where=self.text,
                hint="do not use it, and report it",
            )
        return wanted or stated


@dataclass(kw_only=True)
class UrlSource(Source):
    """One file at a URL, whose sha256 is known.

    Attributes
    ----------
    url
        https address.
    sha256
        In hexadecimal.
    """

    url: str
    sha256: str

    @property
    def text(self) -> str:
        """The URL, without what may be secret in it."""
        from protclip_core.io.retries import shown

        return shown(self.url)

    def files(self, *, offline: bool = False) -> list[RemoteFile]:
        """Return the one file; nothing is asked."""
        from protclip_core.io.http import check_url, mirrored
        from protclip_core.io.remote_file import RemoteFile

        address = mirrored(self.url)
        check_url(address)
        last = unquote(urlsplit(self.url).path).rpartition("/")[2]
        name = re.sub(r"[^A-Za-z0-9._+-]", "_", last).lstrip(".-+")[:200] or "download"
        return [RemoteFile(name=name, url=address, sha256=self.sha256)]


_HUB_WAY_OUT = (
    "check name and network; for a private or gated model log in with: hf auth login; "
    "set HF_ENDPOINT to a mirror, or fetch it by hand and use: protclip models import"
)


def parse_source(text: str, *, sha256: str | None = None) -> Source:
    """Read where a model comes from.

    Parameters
    ----------
    text
        ``doi:10.5281/zenodo.NUMBER[#FILE,…]``, ``hub:OWNER/REPO[@REVISION]`` or ``https://…``.
    sha256
        Hash of the file: needed for a URL, allowed for a record of which one file is named.

    Raises
    ------
    UsageError
        It is none of these, or a hash is missing, malformed, or given where it says nothing.
    """
    text = text.strip()
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise UsageError(
            f"{sha256!r} is no sha256", where=text, hint="it has 64 hexadecimal digits"
        )
    kind, _, rest = text.partition(":")
    kind = kind.lower()
    if kind in ("http", "https"):
        if sha256 is None:
            raise UsageError(
                "nobody vouches for the content of a URL",
                where=text,
                hint="say what it must be with --sha256, from a place that you trust",
            )
        return UrlSource(url=text, sha256=sha256.lower())
    if kind == "doi":
        doi, _, chosen = rest.partition("#")
        names = tuple(name.strip() for name in chosen.split(",") if name.strip())
        if _ZENODO_DOI.fullmatch(doi):
            if sha256 is not None and len(names) != 1:
                raise UsageError("a sha256 is that of one file", where=text, hint="name it: #FILE")
            pins = {names[0]: sha256.lower()} if sha256 else {}
            return ZenodoSource(doi=doi, names=names, sha256=pins)
    match = _HUB_NAME.fullmatch(rest) if kind == "hub" else None
    if match is not None and ".." not in rest:
        if sha256 is not None:
            raise UsageError(
                "a repository has several files", where=text, hint="pin it with @COMMIT instead"
            )
        return HubSource(repo=match[1], revision=match[2])
    raise UsageError("no source of models", where=text or "(empty)", hint=_FORMS)


def _only_or_picked(available: Iterable[str], where: str) -> tuple[str, ...]:
    names = tuple(available)
    if len(names) == 1:
        return names
    try:
        return pick_files(names, where=where)
    except ModelError:
        raise ModelError(
            f"it is not clear which files are the model: there are {some_names(names)}",
            where=where,
            hint="name them: doi:…#FILE,…",
        ) from None


def _hub_license(info: Any) -> str | None:
    tags = [tag for tag in info.tags or () if str(tag).startswith("license:")]
    return str(tags[0]).partition(":")[2] if tags else None
