"""Real processes for the tests of the trainer, forked from one that has imported everything."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import resource
import signal
import socket
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import train.pretrain
from tests.support.environment import patient
from train.config.run import load_config

CONFIGS = Path(train.pretrain.__file__).parent / "configs"
DEBUG = CONFIGS / "debug.toml"
SECONDS = patient(60)

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["train.pretrain", "tests.train.faulty"])


@dataclass
class Ended:
    """How a process ended: its exit code (negative for a signal), and what it wrote."""

    code: int
    err: str


class Job:
    """Processes that run ``main(rank)`` each; rank, number and meeting place in the environment."""

    def __init__(self, folder, main, *arguments, ranks=1, environment=None, limit=None):
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        values = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        values |= {"WORLD_SIZE": str(ranks), "GLOO_SOCKET_IFNAME": "lo", **(environment or {})}
        self.logs = [folder / f"rank{rank}.{time.monotonic_ns()}.err" for rank in range(ranks)]
        self.processes = [
            _context.Process(
                target=_child, args=(rank, log, values, limit, main, arguments), daemon=False
            )
            for rank, log in enumerate(self.logs)
        ]
        for process in self.processes:
            process.start()

    def wait(self):
        """Wait for all; none outlives the time."""
        until = time.monotonic() + SECONDS
        for process in self.processes:
            process.join(max(0.0, until - time.monotonic()))
        hanging = [process for process in self.processes if process.is_alive()]
        for process in hanging:
            process.kill()
            process.join()
        assert not hanging, "a process does not come to an end"
        return [Ended(p.exitcode, log.read_text()) for p, log in zip(self.processes, self.logs)]

    def wait_until(self, condition):
        until = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < until
            assert any(p.is_alive() for p in self.processes), [log.read_text() for log in self.logs]
            time.sleep(0.01)


def _child(rank, log, values, limit, main, arguments):
    os.environ.update(values | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
    signal.signal(signal.SIGINT, signal.default_int_handler)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    code = 1
    try:
        code = main(*arguments) or 0
    except BaseException:  # noqa: BLE001 (the process ends here, and says why)
        with contextlib.suppress(OSError):
            traceback.print_exc()
    os._exit(code)


def debug_config(**train_keys):
    """The recipe that ships, with other settings of ``[train]``."""
    config = load_config(DEBUG)
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **train_keys))


def write_config(path, changes):
    """Write the recipe that ships with lines replaced or put behind the head of a table."""
    text = DEBUG.read_text().replace('"debug/', f'"{CONFIGS}/debug/')
    for table, keys in changes.items():
        for key, value in keys.items():
            lines = text.splitlines()
            start = lines.index(f"[{table}]")
            same = [n for n in range(start, len(lines)) if lines[n].startswith(f"{key} =")]
            if same:
                lines[same[0]] = f"{key} = {value}"
            else:
                lines.insert(start + 1, f"{key} = {value}")
            text = "\n".join(lines) + "\n"
    path.write_text(text)
    return path
