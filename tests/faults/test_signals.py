"""A signal at any point of work with files: it is never lost, and nothing is left behind."""

from __future__ import annotations

import gc
import signal
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest

from protclip_cli.boundary import Stopped, guarded
from protclip_core.io.atomic import write_atomic
from protclip_core.store.reader import EmbeddingStore
from protclip_core.store.writer import StoreWriter


def save(path, *, residues, layout):
    with StoreWriter(path, 4, attributes={"a": "x"}, per_residue=residues, layout=layout) as writer:
        vectors, lengths = np.ones((2, 4), np.float32), np.array([2, 1])
        own = np.ones((3, 4), np.float32) if residues else None
        writer.write(["a", "b"], vectors, lengths, np.zeros(2), np.zeros((2, 32), np.uint8), own)


def read(path):
    with EmbeddingStore.open(path) as store:
        assert store.attributes == {"a": "x"} and store.ids == ["a", "b"]
        assert store.read(slice(None)).sum() == 8 and store.lengths.tolist() == [2, 1]
        assert store.residues("a").shape == (2, 4)


class Striker:
    """Sends SIGTERM at one event of this thread; tells whether it did, and whether it was lost."""

    def __init__(self):
        self.struck = self.lost = False

    @contextmanager
    def at(self, event):
        """Strike at the given event of the block: a line, a call or a return of any module."""
        seen, traced, hook = 0, sys.gettrace(), sys.unraisablehook

        def trace(_frame, _event, _argument):
            nonlocal seen
            seen += 1
            if seen == event:
                self.struck = True
                sys.settrace(None)
                signal.raise_signal(signal.SIGTERM)
            return trace

        def note(lost):
            self.lost |= isinstance(lost.exc_value, Stopped)

        def stop(number, _frame):
            raise Stopped(number)

        handler = signal.signal(signal.SIGTERM, stop)
        sys.unraisablehook = note
        try:
            sys.settrace(trace)
            yield
        finally:
            sys.settrace(traced)
            sys.unraisablehook = hook
            signal.signal(signal.SIGTERM, handler)


def strike_all_over(work, check, step):
    """Strike at each so-manieth event in turn until the work ends without one; how often."""
    event = times = 0
    while True:
        event, striker, stopped = event + step, Striker(), False
        try:
            with striker.at(event):
                work()
        except Stopped:
            stopped = True
        if not striker.struck:
            return times
        # Where nothing can be raised Python says so, and the program sends the signal again.
        assert stopped or striker.lost, event
        check(event)
        times += 1


#: Each event in turn takes minutes, so each run has a few of them.
STEP = pytest.mark.parametrize(
    "step", [pytest.param(997, id="some"), pytest.param(7, id="most", marks=pytest.mark.nightly)]
)
#: A file that was being made when the signal struck is closed by the interpreter.
UNCLOSED = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@STEP
@pytest.mark.parametrize("layout", ["packed", "per-protein"])
def test_a_store_that_is_read(tmp_path, layout, step):
    save(tmp_path / "s.h5", residues=True, layout=layout)
    times = strike_all_over(
        lambda: read(tmp_path / "s.h5"), lambda _event: read(tmp_path / "s.h5"), step
    )
    assert times > 3000 / step


@UNCLOSED
@STEP
@pytest.mark.parametrize("layout", ["packed", "per-protein"])
def test_a_store_that_is_written(tmp_path, layout, step):
    path = tmp_path / "s.h5"

    def check(event):
        gc.collect()  # closes the file of the run that was struck, as the end of a process does
        if path.exists():
            read(path)
        save(path, residues=True, layout=layout)  # whatever is left, the next run removes
        assert [p.name for p in tmp_path.iterdir()] == ["s.h5"], event
        path.unlink()

    times = strike_all_over(lambda: save(path, residues=True, layout=layout), check, step)
    assert times > 3000 / step


@UNCLOSED
@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.nightly)])
def test_a_file_that_is_written(tmp_path, step):
    path = tmp_path / "x.txt"
    path.write_bytes(b"old")

    def check(event):
        assert path.read_bytes() in (b"whole", b"old"), event
        write_atomic(path, b"old")
        assert [p.name for p in tmp_path.iterdir()] == ["x.txt"], event

    assert strike_all_over(lambda: write_atomic(path, b"whole"), check, step) > 100 / step


class Falling:
    """Sends SIGTERM while it is taken down, where nothing can be raised."""

    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
        _ = 1


def fall():
    Falling()
    for _ in range(60_000):  # a signal that is lost would let all of it go on
        time.sleep(0.001)


def fail_instead():
    try:
        signal.raise_signal(signal.SIGTERM)
        time.sleep(10)
    except Stopped:
        raise SystemError("returned a result with an exception set") from None


@pytest.mark.parametrize("work", [fall, fail_instead])
def test_a_signal_that_is_lost_or_becomes_another_error_still_ends_the_program(work, capsys):
    before = signal.getsignal(signal.SIGTERM), sys.unraisablehook
    assert guarded(work, kept="all is kept") == 143
    assert capsys.readouterr().err == "error: stopped by SIGTERM; all is kept\n"
    assert (signal.getsignal(signal.SIGTERM), sys.unraisablehook) == before


def test_a_signal_that_is_lost_at_the_very_end_does_not_come_later():
    assert guarded(Falling) in (0, 143)
    time.sleep(0.1)  # an alarm that is left would end this process
