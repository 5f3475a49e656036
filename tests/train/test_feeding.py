"""What becomes of a process that puts batches together."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from protclip_core.errors import WorkerLostError
from train.data.loader import feed, lost_worker
from train.loop.optim import Progress

SAID = "DataLoader worker (pid 4711) is killed by signal: Killed. "


class Numbers:
    """Data of one epoch of 12 batches; the process that is to make the seventh dies."""

    def __init__(self, deadly=None):
        self.deadly = deadly

    def plan(self, epoch):
        return range(12)

    def batch(self, epoch, position):
        if position == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.full((1000,), position)


def test_batches_come_in_order_and_go_on_where_a_run_stood():
    batches = feed(Numbers(), Progress(position=5), workers=2)
    found = [next(batches) for _ in range(9)]
    assert [place.position for place, _ in found] == [5, 6, 7, 8, 9, 10, 11, 0, 1]
    assert [int(batch[0]) for _, batch in found] == [5, 6, 7, 8, 9, 10, 11, 0, 1]


def test_a_lost_process_is_told_as_one():
    with pytest.raises((RuntimeError, WorkerLostError)) as caught:
        for _ in feed(Numbers(deadly=6), Progress(), workers=2):
            pass
    error = caught.value
    told = error if isinstance(error, WorkerLostError) else lost_worker(error)
    assert told.code == "worker.lost_process"


def test_a_lost_process_is_found_behind_the_error_it_led_to():
    error = ImportError("numpy cannot be loaded")
    error.__cause__ = RuntimeError(SAID)
    assert " 4711 " in str(lost_worker(error))
    assert lost_worker(RuntimeError("a DataLoader worker is slow")) is None
