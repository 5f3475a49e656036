"""Where models come from: a Zenodo record, a repository of the Hugging Face hub, a URL.

A source turns into a list of files with their sizes and hashes. What the hashes are worth: those
of the catalog, and of the user, are pinned. Those of a Zenodo record and of the hub are the
publisher's word, given over https, and guard against damage on the way. Asked of a mirror
(``PROTCLIP_MIRROR``, ``HF_ENDPOINT``) they are the mirror's word about its own files, and guard
against nothing that the mirror does; `protclip_core.fetch.source_files.list_files` says so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from protclip_core.errors import ModelError, UsageError
from protclip_core.fetch.hub import HubFile, read_repository
from protclip_core.fetch.needed_files import pick_files, refuse_remote_code, some_names
from protclip_core.fetch.source_files import Listing, Source
from protclip_core.fetch.zenodo import read_record

if TYPE_CHECKING:
    from protclip_core.fetch.download import RemoteFile

__all__ = [
    "HubSource",
    "UrlSource",
    "ZenodoSource",
    "parse_source",
]

_HUB = "https://huggingface.co"
_ZENODO = "https://zenodo.org"
_ZENODO_API = f"{_ZENODO}/api/records"
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ZENODO_DOI = re.compile(r"10\.5281/zenodo\.([0-9]{1,12})", re.IGNORECASE)
_HUB_NAME = re.compile(r"([\w.-]{1,96}/[\w.-]{1,96})(?:@([\w./-]{1,200}))?")
_FORMS = "use doi:10.5281/zenodo.NUMBER[#FILE,…], hub:OWNER/REPO[@REVISION] or https://…"


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

    @property
    def page(self) -> str:
        """See `Source.page`."""
        return f"doi.org/{self.doi}"

    @property
    def pins(self) -> Mapping[str, str]:
        """See `Source.pins`."""
        return self.sha256

    def _address(self) -> str:
        from protclip_core.fetch.http import mirrored

        match = _ZENODO_DOI.fullmatch(self.doi)
        if match is None:
            raise UsageError(
                f"{self.doi!r} is not a Zenodo DOI", code="usage.bad_source", hint=_FORMS
            )
        return mirrored(f"{_ZENODO_API}/{match[1]}")

    def _ask(self) -> Listing:
        from protclip_core.fetch.http import fetch_json, mirrored
        from protclip_core.fetch.remote_file import RemoteFile
        from protclip_core.fetch.retries import shown

        url = self._address()
        record = read_record(fetch_json(url), shown(url))
        there = {file.name: file for file in record.files}
        names = self.names or _only_or_picked(there, shown(url))
        missing = [name for name in names if name not in there]
        if missing:
            raise ModelError(
                f"the record has no file {missing[0]!r}; it has {some_names(there)}",
                code="model.not_in_source",
                where=shown(url),
            )
        files = tuple(
            RemoteFile(
                name=name,
                url=mirrored(record.url(there[name])),
                size=there[name].size,
                md5=there[name].md5,
                sha256=self.sha256.get(name),
            )
            for name in names
        )
        mirror = None if url.startswith(f"{_ZENODO_API}/") else shown(mirrored(_ZENODO))
        return Listing(files=files, license=record.license, mirror=mirror)


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

    @property
    def text(self) -> str:
        """``hub:owner/repo@commit``; the revision as it was given, until `files` was called."""
        revision = self.listed.commit if self.listed else self.revision
        return f"hub:{self.repo}" + (f"@{revision}" if revision else "")

    @property
    def page(self) -> str:
        """See `Source.page`."""
        files = f" ({', '.join(self.names)})" if self.names else ""
        return f"huggingface.co/{self.repo}{files}"

    @property
    def request(self) -> str:
        """See `Source.request`."""
        revision = f"@{self.revision}" if self.revision else ""
        return f"hub:{self.repo}{revision}#{','.join(self.names)}"

    @property
    def pins(self) -> Mapping[str, str]:
        """See `Source.pins`."""
        return self.sha256

    def _address(self) -> str:
        from urllib.parse import quote

        revision = quote(self.revision or "main", safe="")
        return f"{_hub()}/api/models/{self.repo}/revision/{revision}"

    def _ask(self) -> Listing:
        """Ask the hub. A repository that wants its own code run is refused."""
        from huggingface_hub import get_token

        from protclip_core.fetch.http import fetch_json
        from protclip_core.fetch.retries import shown

        url, token = self._address(), get_token()
        answer = fetch_json(f"{url}?blobs=true", token=token, hint=_HUB_WAY_OUT)
        found = read_repository(answer, shown(url))
        self._check_commit(found.commit, shown(url))
        where = f"hub:{self.repo}@{found.commit}"
        names = self.names or pick_files(found.files, where=where)
        missing = [name for name in names if name not in found.files]
        if missing:
            raise ModelError(f"has no file {missing[0]!r}", code="model.not_in_source", where=where)
        files = tuple(
            self._file(name, found.files[name], found.commit, token, where) for name in names
        )
        if "config.json" in names:
            # Before gigabytes are fetched, and from the file itself rather than the hub's summary.
            config = next(file for file in files if file.name == "config.json")
            refuse_remote_code(fetch_json(config.url, token=token, hint=_HUB_WAY_OUT), where)
        mirror = None if _hub() == _HUB else shown(_hub())
        return Listing(files=files, license=found.license, commit=found.commit, mirror=mirror)

    def _file(
        self, name: str, known: HubFile, commit: str, token: str | None, where: str
    ) -> RemoteFile:
        from huggingface_hub import hf_hub_url

        from protclip_core.fetch.remote_file import RemoteFile

        return RemoteFile(
            name=name,
            url=hf_hub_url(self.repo, name, revision=commit, endpoint=_hub()),
            size=known.size,
            sha256=self._pinned(name, known.sha256, where),
            git_sha1=known.git_sha1,
            token=token,
        )

    def _agrees(self, found: Listing) -> bool:
        pinned = self._pinned_commit()
        return (
            found.commit is not None and pinned in (None, found.commit) and super()._agrees(found)
        )

    def _pinned_commit(self) -> str | None:
        return self.revision if self.revision and _COMMIT.fullmatch(self.revision) else None

    def _check_commit(self, commit: str, where: str) -> None:
        pinned = self._pinned_commit()
        if not _COMMIT.fullmatch(commit) or (pinned and commit != pinned):
            raise ModelError(
                f"the hub gives commit {commit[:60]!r} for the revision {self.revision!r}",
                code="model.other_commit",
                where=where,
                hint=_HUB_WAY_OUT,
            )

    def _pinned(self, name: str, stated: str | None, where: str) -> str | None:
        wanted = self.sha256.get(name)
        if wanted and stated and wanted != stated:
            raise ModelError(
                f"sha256 mismatch of {name}, expected {wanted}, the hub says {stated}",
                code="model.hash_mismatch",
                where=where,
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
        from protclip_core.fetch.retries import shown

        return shown(self.url)

    @property
    def pins(self) -> Mapping[str, str]:
        """See `Source.pins`."""
        return {_file_name(self.url): self.sha256}

    def files(self, *, offline: bool = False, listing: Path | None = None) -> list[RemoteFile]:
        """Return the one file; nothing is asked."""
        from protclip_core.fetch.http import check_url, mirrored
        from protclip_core.fetch.remote_file import RemoteFile

        check_url(self.url)
        address = mirrored(self.url)
        check_url(address)
        return [RemoteFile(name=_file_name(self.url), url=address, sha256=self.sha256)]


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
        It is none of these, a URL with a password in it, or a hash is missing, malformed, or given
        where it says nothing.
    """
    from protclip_core.fetch.retries import refuse_credentials

    text = text.strip()
    kind, _, rest = text.partition(":")
    kind = kind.lower()
    if kind in ("http", "https"):
        refuse_credentials(text)  # before any message shows it
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise UsageError(
            f"{sha256!r} is not a sha256",
            code="usage.bad_sha256",
            where=text,
            hint="it has 64 hexadecimal digits",
        )
    if kind in ("http", "https"):
        if sha256 is None:
            raise UsageError(
                "nobody vouches for the content of a URL",
                code="usage.missing_sha256",
                where=text,
                hint="say what it must be with --sha256, from a place that you trust",
            )
        return UrlSource(url=text, sha256=sha256.lower())
    if kind == "doi":
        doi, _, chosen = rest.partition("#")
        names = tuple(name.strip() for name in chosen.split(",") if name.strip())
        if _ZENODO_DOI.fullmatch(doi):
            if sha256 is not None and len(names) != 1:
                raise UsageError(
                    "a sha256 is that of one file",
                    code="usage.bad_sha256",
                    where=text,
                    hint="name it: #FILE",
                )
            pins = {names[0]: sha256.lower()} if sha256 else {}
            return ZenodoSource(doi=doi, names=names, sha256=pins)
    match = _HUB_NAME.fullmatch(rest) if kind == "hub" else None
    if match is not None and ".." not in rest:
        if sha256 is not None:
            raise UsageError(
                "a repository has several files",
                code="usage.bad_sha256",
                where=text,
                hint="pin it with @COMMIT instead",
            )
        return HubSource(repo=match[1], revision=match[2])
    raise UsageError(
        "no source of models", code="usage.bad_source", where=text or "(empty)", hint=_FORMS
    )


def _only_or_picked(available: Iterable[str], where: str) -> tuple[str, ...]:
    names = tuple(available)
    if len(names) == 1:
        return names
    try:
        return pick_files(names, where=where)
    except ModelError:
        raise ModelError(
            f"it is not clear which files are the model: there are {some_names(names)}",
            code="model.several_models",
            where=where,
            hint="name them: doi:…#FILE,…",
        ) from None


def _hub() -> str:
    return (os.environ.get("HF_ENDPOINT") or _HUB).rstrip("/")


def _file_name(url: str) -> str:
    """Return the last part of a URL as a plain file name."""
    last = unquote(urlsplit(url).path).rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._+-]", "_", last).lstrip(".-+")[:200] or "download"
