"""What ends a run early, told as one error that names what was lost, and when."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from protclip_core.engines.memory import is_out_of_memory
from protclip_core.errors import ProtclipError, ResourceError
from train.data.loader import lost_worker, stop_watching
from train.loop.ranks import Ranks

__all__ = ["named_faults"]


@contextmanager
def named_faults(ranks: Ranks) -> Iterator[None]:
    """Turn the loss of a process or of memory into errors, and leave a note for other ranks.

    Raises
    ------
    WorkerLostError
        A process that puts batches together, or another rank.
    ResourceError
        Memory ran out.
    """
    try:
        yield
    except BaseException as error:
        expected = isinstance(error, ProtclipError) or not isinstance(error, Exception)
        worker = None if expected else lost_worker(error)
        if worker is not None:
            stop_watching()
            ranks.note("gone", str(worker))
            raise worker from error
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            ranks.note("gone", "out of memory")
            hint = "lower [data] token_budget, or set recompute"
            raise ResourceError(
                f"memory ran out {ranks.doing}", code="resource.out_of_memory", hint=hint
            ) from error
        if ranks.is_loss_of_a_rank(error):
            raise ranks.lost() from error
        said = "" if isinstance(error, RuntimeError) else str(error)
        ranks.note("gone", said or type(error).__name__)
        raise
