"""Why a request failed, in a few words."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Iterator

from urllib3.exceptions import NameResolutionError

__all__ = ["reason_of"]


def reason_of(error: BaseException) -> str:
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
