"""How often and how long to try, and what to say when that was enough."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

from protclip_core.errors import ModelError, UsageError

__all__ = [
    "TIMEOUT_VARIABLE",
    "WAY_OUT",
    "Patience",
    "Retrier",
    "TryFailedError",
    "refuse_credentials",
    "refuse_offline",
    "shown",
]

TIMEOUT_VARIABLE = "PROTCLIP_TIMEOUT"
WAY_OUT = (
    "check the network or proxy, set PROTCLIP_MIRROR or HF_ENDPOINT to a mirror, "
    "or fetch it by hand and use: protclip models import"
)

_PROGRESS_BYTES = 1 << 20
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to go on with a server.

    Attributes
    ----------
    tries
        Most tries in a row that bring nothing.
    timeout
        Seconds without a byte after which a try has failed.
    pause
        Seconds before the second try; doubles from try to try, at most 8.
    total
        Seconds without a byte, over all tries and pauses, after which no more are made.
    """

    tries: int = 4
    timeout: float = 20.0
    pause: float = 1.0
    total: float = 55.0

    @classmethod
    def default(cls) -> Patience:
        """Return what holds where nobody says otherwise; ``PROTCLIP_TIMEOUT`` sets the timeout.

        Raises
        ------
        UsageError
            The variable holds no number of seconds above 0.
        """
        text = os.environ.get(TIMEOUT_VARIABLE, "").strip()
        if not text:
            return cls()
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < 86_400:
            raise UsageError(
                f"{text!r} is not a number of seconds",
                code="usage.bad_environment",
                where=TIMEOUT_VARIABLE,
                hint="set it to a number such as 20",
            )
        return cls(timeout=seconds, total=max(cls.total, 2 * seconds + 10))


class TryFailedError(Exception):
    """One try failed.

    Parameters
    ----------
    reason
        In a few words.
    again, wait
        Whether the next try may fare better, and after how many seconds.
    no_network
        Whether this machine seems to have no network: two such tries are enough.
    """

    def __init__(
        self, reason: str, *, again: bool = True, wait: float = 0.0, no_network: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason, self.again, self.wait, self.no_network = reason, again, wait, no_network


class Retrier:
    """The tries for one URL, and the error that says that there were enough.

    Parameters
    ----------
    url
        For the message.
    patience
        See `Patience`.
    hint
        Way out for the message.
    """

    def __init__(self, url: str, patience: Patience, hint: str = WAY_OUT) -> None:
        self._url, self._patience, self._hint = url, patience, hint
        self._began = self._last_byte = time.monotonic()
        self._tries = self._in_vain = self._gained = 0

    def gained(self, n_bytes: int) -> None:
        """Note that bytes came, so many of them new: the clock starts anew.

        After a megabyte of new bytes so does the count of tries: a file of many gigabytes may be
        cut off more often than a small one.
        """
        self._last_byte = time.monotonic()
        self._gained += n_bytes
        if self._gained >= _PROGRESS_BYTES:
            self._gained = self._in_vain = 0

    def run(self, work: Callable[[float], T]) -> T:
        """Return what ``work(seconds that it may wait)`` gives, after as many tries as it takes.

        Raises
        ------
        ModelError
            No try succeeded; names the URL, the tries, the time and the last reason.
        """
        while True:
            self._tries += 1
            self._in_vain += 1
            try:
                return work(min(self._patience.timeout, max(0.5, self._left())))
            except TryFailedError as failed:
                pause = min(8.0, self._patience.pause * 2 ** (self._in_vain - 1))
                pause = max(pause, min(failed.wait, 10.0))
                most = min(2, self._patience.tries) if failed.no_network else self._patience.tries
                spent = self._in_vain >= most or self._left() <= pause
                if not failed.again or spent:
                    raise self._error(failed) from failed
                time.sleep(pause)

    def _left(self) -> float:
        return self._patience.total - (time.monotonic() - self._last_byte)

    def _error(self, failed: TryFailedError) -> ModelError:
        seconds = time.monotonic() - self._began
        tries = "1 try" if self._tries == 1 else f"{self._tries} tries"
        return ModelError(
            f"cannot be downloaded: {failed.reason} ({tries} in {seconds:.0f} s)",
            code="model.no_network" if failed.no_network else "model.download_failed",
            where=shown(self._url),
            hint=self._hint,
        )


def shown(url: str) -> str:
    """Return a URL for messages: without user name, password and query, which may be secret."""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that hold no address
        return url.partition("?")[0].rpartition("@")[2][:200]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def refuse_credentials(url: str) -> None:
    """Refuse a URL with a user name or password in it.

    It would end up in logs, in histories and in what is written about a model. Requests do not
    send it either, so the server's refusal would not say why.

    Raises
    ------
    UsageError
        There is one; the message does not show it.
    """
    authority = re.match(r"[^:/?#]*:?//([^/?#]*)", url)
    if authority is not None and "@" in authority[1]:
        raise UsageError(
            "user names and passwords do not belong into a URL, and are not sent",
            code="usage.credentials_in_url",
            where=shown(url),
            hint="fetch the file with a program that can log in, and use: protclip models import",
        )


def refuse_offline(url: str) -> ModelError:
    """Return the error for a URL that would have to be asked although it may not."""
    return ModelError(
        "offline, and not downloaded yet",
        code="model.not_downloaded",
        where=shown(url),
        hint="go online, or fetch it by hand and use: protclip models import",
    )
