"""The processes of a run: how they meet, agree at each step, and notice that one is missing.

torchrun starts them and says in the environment who is who. A run of one process needs none of
this. Every rank leaves notes in the store they met at, so that those who lose another can say who
it was: its process number when it comes, and a line when it goes.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from protclip_core.errors import UsageError, WorkerLostError

__all__ = ["Ranks", "join_ranks"]

_log = logging.getLogger(__name__)

#: Seconds in which those who are still there leave a note, after one has gone.
_GRACE = 5.0
#: Seconds that ranks wait while the first prepares the data.
_PREPARING = 12 * 3600.0
_LOST = re.compile(
    r"gloo|nccl|connection (?:closed|reset|refused)|timed? ?out|broken pipe|socket|"
    r"recvvalue|store|heartbeat|watchdog",
    re.IGNORECASE,
)


class Ranks:
    """The ranks of a run; one process by itself is a run of one rank.

    Attributes
    ----------
    rank, world
        Number of this process, and how many there are.
    device
        Where this rank computes.
    group
        For collectives; ``None`` in a run of one.
    doing
        What this rank is doing, for errors: ``"in step 12"``.
    """

    def __init__(self, rank: int, world: int, device: torch.device, timeout: float) -> None:
        self.rank, self.world, self.device, self.timeout = rank, world, device, timeout
        self.group: dist.ProcessGroup | None = None
        self.doing = "before the first step"
        self._store: Any = None

    @classmethod
    def alone(cls, device: str | torch.device = "cpu") -> Ranks:
        """Return the ranks of a run of one process."""
        return cls(0, 1, torch.device(device), 60.0)

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and talks."""
        return self.rank == 0

    def meet(self) -> None:
        """Meet the others, as the environment says.

        Raises
        ------
        WorkerLostError
            They do not come within the timeout.
        """
        if self.world == 1:
            return
        wait = timedelta(seconds=self.timeout)
        try:
            # How long a start takes depends on imports and disks, not on the network.
            meeting = dist.rendezvous("env://", timeout=max(wait, timedelta(seconds=60)))
            store = next(iter(meeting))[0]
            self._store = dist.PrefixStore("protclip", store)
            self.note("here", {"pid": os.getpid(), "host": socket.gethostname()})
            dist.init_process_group(
                "nccl" if self.device.type == "cuda" else "gloo",
                store=dist.PrefixStore("group", store),
                rank=self.rank,
                world_size=self.world,
                timeout=wait,
            )
        except (RuntimeError, ValueError) as error:
            raise WorkerLostError(
                f"rank {self.rank} of {self.world} did not meet the others",
                code="worker.no_meeting",
                hint="start with torchrun, all ranks within a minute",
            ) from error
        self.group = dist.group.WORLD

    def note(self, kind: str, content: object) -> None:
        """Leave a note about this rank for the others."""
        if self._store is not None:
            with suppress(RuntimeError):
                self._store.set(f"{kind}/{self.rank}", json.dumps(content))

    def wait_for_first(self, stage: str = "prepared") -> None:
        """Let the first rank prepare what all will read; it calls `prepared` when it has.

        Raises
        ------
        WorkerLostError
            It ended before.
        """
        until = time.monotonic() + _PREPARING
        while not self._has(stage, 0):
            # In Python, not in the store: a signal must get through.
            time.sleep(0.05)
            if self._has("gone", 0) or self._dead(0) or time.monotonic() > until:
                raise self.lost()

    def prepared(self, stage: str = "prepared") -> None:
        """Tell the others that they may read."""
        self.note(stage, "")

    def table(self, values: Sequence[float]) -> list[list[float]]:
        """Return the numbers of every rank, in the order of the ranks; all must call it."""
        own = torch.tensor(values, dtype=torch.float64)
        if self.group is None:
            return [own.tolist()]
        own = own.to(self.device)
        found = [torch.empty_like(own) for _ in range(self.world)]
        dist.all_gather(found, own, group=self.group)
        rows: list[list[float]] = torch.stack(found).tolist()
        return rows

    def objects(self, value: object) -> list[Any]:
        """Return an object of every rank; all must call it."""
        if self.group is None:
            return [value]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value, group=self.group)
        return found

    def is_loss_of_a_rank(self, error: BaseException) -> bool:
        """Tell whether an error says that another rank cannot be reached."""
        return (
            self.group is not None
            and isinstance(error, RuntimeError)
            and bool(_LOST.search(str(error)))
        )

    def lost(self) -> WorkerLostError:
        """Find out who is missing, and return the error that says so."""
        when = self.doing
        self.note("gone", f"lost another rank {when}")
        until = time.monotonic() + _GRACE
        missing = [rank for rank in range(self.world) if rank != self.rank]
        while missing and time.monotonic() < until:
            missing = [rank for rank in missing if not self._has("gone", rank)]
            if missing and all(self._dead(rank) for rank in missing):
                break
            time.sleep(0.05)
        hint = "start again with --resume"
        if missing:
            names = " and ".join(map(str, missing))
            which = f"rank {names}" if len(missing) == 1 else f"ranks {names}"
            dead = all(self._dead(rank) for rank in missing)
            what = "was lost" if dead else f"did not answer within {self.timeout:g} seconds"
            return WorkerLostError(f"{which} {what} {when}", code="worker.lost_rank", hint=hint)
        for rank in range(self.world):
            reason = self._read("gone", rank)
            if rank != self.rank and reason and not reason.startswith("lost another"):
                return WorkerLostError(
                    f"rank {rank} ended {when} ({reason})", code="worker.lost_rank", hint=hint
                )
        return WorkerLostError(
            f"the ranks lost each other {when}", code="worker.lost_rank", hint=hint
        )

    def first_has_told(self) -> bool:
        """Whether the first rank, not this one, has ended as well, and so has said why."""
        if self.first or self._store is None:
            return False
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            if self._has("gone", 0):
                return True
            time.sleep(0.05)
        return False

    def part(self) -> None:
        """Leave the group, all having come to their end."""
        if self.group is not None:
            dist.destroy_process_group()
            self.group = None

    def _has(self, kind: str, rank: int) -> bool:
        try:
            return bool(self._store.check([f"{kind}/{rank}"]))
        except RuntimeError:
            # The store is gone, and with it whoever kept it.
            return False

    def _read(self, kind: str, rank: int) -> Any:
        if not self._has(kind, rank):
            return None
        with suppress(RuntimeError, ValueError):
            return json.loads(self._store.get(f"{kind}/{rank}"))
        return None

    def _dead(self, rank: int) -> bool:
        """Whether a rank of this host is known to have ended."""
        note = self._read("here", rank)
        if not note or note["host"] != socket.gethostname():
            return False
        try:
            with open(f"/proc/{note['pid']}/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123
                return file.read().rpartition(")")[2].split()[0] in "ZX"
        except FileNotFoundError:
            return True
        except OSError:
            return False


def join_ranks(timeout: float | None, *, device: str = "auto") -> Ranks:
    """Read the environment that torchrun made, and meet the other ranks.

    Parameters
    ----------
    timeout
        Seconds after which a rank that does not come is lost; default 60, with CUDA 600.
    device
        ``"auto"``, or a device for all ranks.

    Raises
    ------
    UsageError
        An environment that says nothing sensible, or fewer devices than ranks.
    WorkerLostError
        The others do not come.
    """
    try:
        rank, world = (int(os.environ.get(name, start)) for name, start in _NUMBERS)
        local = int(os.environ.get("LOCAL_RANK", rank))
    except ValueError as error:
        raise UsageError(
            "RANK and WORLD_SIZE must be numbers", code="usage.bad_environment", hint="use torchrun"
        ) from error
    if device == "auto":
        device = f"cuda:{local}" if torch.cuda.is_available() else "cpu"
    where = torch.device(device)
    if where.type == "cuda":
        if local >= torch.cuda.device_count():
            raise UsageError(
                f"local rank {local} has no device among {torch.cuda.device_count()}",
                code="usage.no_device",
                hint="start one process for each device",
            )
        torch.cuda.set_device(where)
    seconds = timeout or (600.0 if where.type == "cuda" else 60.0)
    ranks = Ranks(rank, world, where, seconds)
    ranks.meet()
    return ranks


_NUMBERS = (("RANK", "0"), ("WORLD_SIZE", "1"))
