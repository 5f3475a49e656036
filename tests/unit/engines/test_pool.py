"""The worker threads: results, errors, and a signal at every point where a lock is handled."""

from __future__ import annotations

import signal
import sys
import threading
import time

import pytest

from protclip_core.engines.pool import WorkerPool


class StoppedError(BaseException):
    """What the handler of these tests raises."""


def striking(number, frame):
    raise StoppedError


@pytest.fixture
def handler():
    before = signal.signal(signal.SIGTERM, striking)
    yield
    signal.signal(signal.SIGTERM, before)


def strike_at(count):
    """Trace this thread; send SIGTERM at the given event inside the library's own locking."""
    seen = 0

    def trace(frame, event, _argument):
        nonlocal seen
        if not frame.f_code.co_filename.endswith(("threading.py", "_base.py", "thread.py")):
            return trace
        seen += 1
        if seen == count:
            sys.settrace(None)
            signal.raise_signal(signal.SIGTERM)
        return trace

    sys.settrace(trace)


def some_work(n):
    time.sleep(0.001)
    return n


def work_with(pool):
    running = {pool.submit(some_work, n) for n in range(3)}
    while running:
        _, running = pool.first_finished(running)


def test_a_signal_at_any_point_stops_it_and_leaves_no_thread(handler):
    """Each event in turn: a lock left closed would hang the end, or raise a RuntimeError."""
    count, traced = 0, sys.gettrace()
    try:
        while True:
            count += 1
            try:
                with WorkerPool(2) as pool:
                    strike_at(count)
                    work_with(pool)
                    sys.settrace(None)
            except StoppedError:
                continue
            finally:
                sys.settrace(None)
            break
    finally:
        sys.settrace(traced)
    assert count > 100
    assert not [t for t in threading.enumerate() if t.name.startswith("protclip")]


def test_results_come_as_they_finish_and_errors_are_raised():
    release = threading.Event()
    with WorkerPool(2) as pool:
        slow, fast = pool.submit(release.wait, 30), pool.submit(some_work, 5)
        assert pool.first_finished({slow, fast}) == ([5], {slow})
        release.set()
        assert pool.result(slow) is True
        with pytest.raises(ZeroDivisionError):
            pool.result(pool.submit(lambda: 1 / 0))


def test_what_has_not_begun_is_given_up():
    begun, release = [], threading.Event()

    def work(n):
        begun.append(n)
        release.wait(30)

    with WorkerPool(1) as pool:
        for n in range(4):
            pool.submit(work, n)
        while not begun:
            time.sleep(0.001)
        threading.Timer(0.2, release.set).start()
    assert begun == [0]


def test_a_second_signal_does_not_wait_for_the_work(handler):
    """The first ends the wait for results, the second the wait for what is in work."""
    release, struck = threading.Event(), []
    pool = WorkerPool(1)
    stuck = pool.submit(release.wait, 3600)

    def send():
        for _ in range(2):
            time.sleep(0.2)
            struck.append(time.monotonic())
            signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)

    threading.Thread(target=send).start()
    with pytest.raises(StoppedError), pool:
        pool.result(stuck)
    assert len(struck) == 2
    release.set()
