"""Asking servers: where to, how long, and what it means when nothing comes.

Only https, with every hop of a redirect checked; plain http stays on this machine (loopback).
What is worth another try is said here, and tried again by `protclip_core.fetch.retries`.
Proxies are those of the environment (``HTTPS_PROXY``, ``HTTP_PROXY``, ``NO_PROXY``).

``PROTCLIP_MIRROR`` is the address of a mirror of Zenodo and of plain URLs: it replaces scheme and
host, the path stays, so ``https://zenodo.org/records/1/files/a`` is requested as
``$PROTCLIP_MIRROR/records/1/files/a``. The record of a model is asked of the mirror as well, and
with it the hashes: those that are pinned beforehand hold whatever a mirror says, but for all
other files a mirror vouches for itself. Whoever sets the variable trusts it.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError, NameResolutionError
from urllib3.util import parse_url

from protclip_core.errors import ModelError
from protclip_core.fetch.retries import (
    WAY_OUT,
    Patience,
    Retrier,
    TryFailedError,
    refuse_credentials,
    shown,
)

__all__ = [
    "MIRROR_VARIABLE",
    "Answer",
    "ask",
    "check_url",
    "fetch_json",
    "mirrored",
]

MIRROR_VARIABLE = "PROTCLIP_MIRROR"

_REDIRECTS, _MOST_REDIRECTS = frozenset({301, 302, 303, 307, 308}), 5
_PASSING = frozenset({408, 425, 429})
_CHUNK = 1 << 16
_NO_WAY_OUT = frozenset({errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH})
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer whose body is still to be read.

    Attributes
    ----------
    status
        HTTP status; 4xx and 5xx only where the caller asked to see them.
    headers
        Headers, whatever their case.
    response
        For `Answer.chunks` and `Answer.close`.
    """

    status: int
    headers: Mapping[str, str]
    response: requests.Response = field(repr=False)

    def chunks(self) -> Any:
        """Iterate over the body as it travels, in pieces of at most 64 KiB.

        Raises
        ------
        TryFailedError
            The body was cut short or no byte came in time.
        """
        try:
            yield from self.response.raw.stream(_CHUNK, decode_content=False)
        except (HTTPError, OSError) as error:
            raise TryFailedError(_reason_of(error)) from error

    def close(self) -> None:
        """Give the connection back."""
        self.response.close()


def ask(
    url: str,
    *,
    timeout: float,
    headers: Mapping[str, str] | None = None,
    token: str | None = None,
    accept: frozenset[int] = frozenset(),
) -> Answer:
    """Send one GET request, follow its redirects, and return the answer with an unread body.

    Parameters
    ----------
    url
        Address; see `check_url`.
    timeout
        Seconds for name lookup, connection, redirects and headers together, and later for each
        wait for a byte of the body.
    headers, token
        Headers for every hop; a bearer token for the host of ``url`` alone.
    accept
        Statuses of 400 and more to be returned as an answer.

    Raises
    ------
    TryFailedError
        No usable answer.
    ModelError
        The URL or a redirect leads to where nothing may be fetched from.
    UsageError
        A user name or password in the URL.
    """
    check_url(url)
    response = _within(timeout, lambda: _follow(url, dict(headers or {}), token, timeout))
    status = response.status_code
    if status < 300 or status in accept:
        return Answer(status=status, headers=response.headers, response=response)
    response.close()
    wait = response.headers.get("Retry-After", "")
    raise TryFailedError(
        f"HTTP {status} {(response.reason or '').lower()[:60]}".rstrip(),
        again=status in _PASSING or status >= 500,
        wait=float(wait) if re.fullmatch(r"[0-9]{1,5}", wait) else 0.0,
    )


def fetch_json(
    url: str,
    *,
    token: str | None = None,
    patience: Patience | None = None,
    hint: str = WAY_OUT,
    most_bytes: int = 20_000_000,
) -> Any:
    """Return the content of a small JSON document.

    Raises
    ------
    ModelError
        It cannot be had, is larger than ``most_bytes``, or is no JSON.
    """
    retrier = Retrier(url, patience or Patience.default(), hint)

    def once(timeout: float) -> bytes:
        answer = ask(url, timeout=timeout, headers={"Accept": "application/json"}, token=token)
        content = bytearray()
        try:
            for chunk in answer.chunks():
                retrier.gained(len(chunk))
                content += chunk
                if len(content) > most_bytes:
                    raise TryFailedError(f"more than {most_bytes:,} bytes of it came", again=False)
        finally:
            answer.close()
        return bytes(content)

    content = retrier.run(once)
    try:
        return json.loads(content)
    except (ValueError, RecursionError):  # nested so deep that it is no document
        start = content[:60].decode("utf-8", "replace")
        raise ModelError(
            f"JSON was expected; what came begins with {start!r}",
            code="model.bad_json",
            where=shown(url),
            hint=hint,
        ) from None


def check_url(url: str, *, first: str | None = None) -> None:
    """Refuse an address that nothing may be fetched from.

    Parameters
    ----------
    url
        https, or http on a loopback address.
    first
        The URL that redirects to it: http is then allowed only from loopback http.

    Raises
    ------
    ModelError
        Another scheme, no host, or http over a network.
    UsageError
        A user name or password in ``url``, where no other URL redirects to it.
    """
    if first is None:
        refuse_credentials(url)
    try:
        parts = parse_url(url)
    except HTTPError:
        parts = parse_url("")
    allowed = parts.host is not None and (
        parts.scheme == "https"
        or (_is_local_http(url) and (first is None or _is_local_http(first)))
    )
    if allowed:
        return
    if first is None:
        raise ModelError(
            "nothing is fetched from there",
            code="model.bad_address",
            where=shown(url),
            hint="use an https URL",
        )
    raise ModelError(
        f"redirects to {shown(url)}, where nothing is fetched from (https only)",
        code="model.bad_address",
        where=shown(first),
        hint="fetch it by hand and use: protclip models import",
    )


def mirrored(url: str) -> str:
    """Return the address to ask instead of ``url``: on the mirror, where there is one."""
    base = os.environ.get(MIRROR_VARIABLE, "").strip().rstrip("/")
    if not base:
        return url
    parts = urlsplit(url)
    return base + parts.path + (f"?{parts.query}" if parts.query else "")


def _follow(
    first: str, headers: dict[str, str], token: str | None, timeout: float
) -> requests.Response:
    # Compressed transfer would make lengths and offsets mean something else than bytes of the file.
    headers = {"Accept-Encoding": "identity", "User-Agent": "protclip", **headers}
    url = first
    with requests.Session() as session:
        for _ in range(_MOST_REDIRECTS + 1):
            secret = token if _origin(url) == _origin(first) else None
            try:
                response = session.get(
                    url,
                    headers=headers,
                    auth=_bearer(secret),
                    stream=True,
                    allow_redirects=False,
                    timeout=timeout,
                )
            except requests.RequestException as error:
                raise _failed(error) from error
            target = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or not target:
                return response
            response.close()
            url = urljoin(url, target)
            check_url(url, first=first)
    raise ModelError(
        f"more than {_MOST_REDIRECTS} redirects, the last one to {shown(url)}",
        code="model.download_failed",
        where=shown(first),
        hint=WAY_OUT,
    )


def _failed(error: requests.RequestException) -> TryFailedError:
    reason = _reason_of(error)
    refused = re.search(r"the proxy answered HTTP 4", reason)
    final = isinstance(
        error,
        requests.exceptions.SSLError
        | requests.exceptions.InvalidURL
        | requests.exceptions.InvalidSchema
        | requests.exceptions.InvalidProxyURL,
    )
    return TryFailedError(reason, again=not (refused or final), no_network=_no_network(error))


def _bearer(token: str | None) -> Callable[[Any], Any]:
    """Return what signs a request. Without it, requests would look for passwords in ~/.netrc."""

    def sign(request: Any) -> Any:
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    return sign


def _within(seconds: float, work: Callable[[], T]) -> T:
    """Run ``work`` for at most so long.

    The timeouts of sockets do not bound a name lookup, nor a host of many addresses that are
    tried in turn. A thread that is left behind ends by its own timeouts.
    """
    outcome: list[tuple[T | None, BaseException | None]] = []

    def run() -> None:
        try:
            outcome.append((work(), None))
        except BaseException as error:  # noqa: BLE001 (raised again by the waiting thread)
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds + 0.5)
    if not outcome:
        raise TryFailedError("timed out")
    result, error = outcome[0]
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def _origin(url: str) -> tuple[str | None, str | None, int | None]:
    parts = parse_url(url)
    return parts.scheme, parts.host, parts.port


def _is_local_http(url: str) -> bool:
    try:
        parts = parse_url(url)
    except HTTPError:
        return False
    if parts.scheme != "http" or parts.host is None:
        return False
    host = parts.host.strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _reason_of(error: BaseException) -> str:
    """Say in a few words why a request failed; `requests` buries the cause several layers deep."""
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, NameResolutionError | socket.gaierror):
            return "host name not found"
        tunnel = re.search(r"Tunnel connection failed: (\d{3} ?[\w ]*)", str(cause))
        if tunnel:
            return f"the proxy answered HTTP {tunnel[1].strip().lower()}"
    through = "the proxy: " if any("ProxyError" in type(c).__name__ for c in chain) else ""
    for cause in reversed(chain):
        if "SSL" in type(cause).__name__ or "Certificate" in type(cause).__name__:
            return f"{through}no secure connection: {str(cause)[:120]}"
        if "Timeout" in type(cause).__name__ or isinstance(cause, TimeoutError):
            return f"{through}timed out"
        if "IncompleteRead" in type(cause).__name__ or "InvalidChunk" in type(cause).__name__:
            return "the body was cut short"
        if isinstance(cause, OSError) and cause.errno in errno.errorcode:
            return f"{through}{(cause.strerror or str(cause)).lower()}"
        if "RemoteDisconnected" in type(cause).__name__:
            return f"{through}connection closed without an answer"
    return f"{through}{chain[-1]}".replace("\n", " ")[:160]


def _no_network(error: BaseException) -> bool:
    """Tell whether this machine seems to have no network, rather than a server in trouble."""
    return any(
        isinstance(cause, NameResolutionError | socket.gaierror)
        or (isinstance(cause, OSError) and cause.errno in _NO_WAY_OUT)
        for cause in _causes(error)
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that it wraps: causes, contexts, reasons and arguments."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        cause = waiting.pop(0)
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        inner = [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
        waiting += [one for one in inner if isinstance(one, BaseException)]
