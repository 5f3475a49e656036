"""Runs of the program without paying for its imports each time.

A server process imports the program once and forks for every run that a test asks for. A run is a
process of its own, with its own descriptors, limits and signals, and can be killed like any other;
what it lacks is only the start of the interpreter, which some tests ask for with ``fresh=True``.

Between the server and a run stands a monitor, also forked, that waits for the run and tells how
it ended. The server is this file, started as a script.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

if __name__ != "__main__":
    from tests.support.environment import patient

IMPORTS = (
    "torch",
    "h5py",
    "safetensors.torch",
    "rich.progress",
    "rich.table",
    "protclip_cli.main",
    "protclip_core.tasks.embed.task",
    "protclip_core.tasks.embed.plan",
    "protclip_core.weights.tensors",
    "protclip_core.store.tools",
    "sklearn.pipeline",
)


@dataclass
class Outcome:
    """How a run ended; ``rc`` is negative where a signal ended it."""

    rc: int
    out: str
    err: str


class Run:
    """A run that was started; ``out`` and ``err`` are the files it writes to, if any."""

    def __init__(self, pid, wait, out, err):
        self.pid, self._wait, self._out, self._err = pid, wait, out, err
        self._outcome = None

    def send(self, number):
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def err_so_far(self):
        return Path(self._err.name).read_text(encoding="utf-8", errors="replace")

    def wait(self, timeout=60.0):
        """Wait for the end; ``timeout`` is what a quiet machine needs at most (`patient`)."""
        if self._outcome is None:
            code = self._wait(patient(timeout))
            texts = []
            for file in (self._out, self._err):
                text = ""
                if file is not None:
                    file.seek(0)
                    text = file.read().decode("utf-8", "replace")
                    file.close()
                texts.append(text)
            self._outcome = Outcome(code, *texts)
        return self._outcome


class Program:
    """The program as tests run it; use it like a function, or `start` and wait."""

    def __init__(self):
        self._socket, theirs = socket.socketpair()
        self._server = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()]
        )
        theirs.close()

    def close(self):
        # Told, not only closed: a process that a test forked may hold the socket open as well.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        try:
            self._server.wait(30)
        except subprocess.TimeoutExpired:
            self._server.kill()  # it served all runs; that it does not end is no test's failure
            self._server.wait()

    def __call__(self, *arguments, timeout=60.0, **options):
        return self.start(*arguments, **options).wait(timeout)

    def start(
        self,
        *arguments,
        stdin=b"",
        stdout=None,
        stderr=None,
        closed=(),
        cwd=None,
        env=None,
        limits=None,
        prelude="",
        fresh=False,
        measured=True,
    ):
        """Start a run.

        ``stdin`` holds bytes or is a descriptor; ``stdout`` and ``stderr`` are descriptors, else
        they are kept for the outcome. ``closed`` names descriptors that the run does not get,
        ``limits`` maps names of `resource` to values. ``prelude`` is code run before the program,
        to make it meet what a test machine cannot offer. A run that is to meet a signal of the
        user must not be ``measured``: the signal may strike while coverage holds its lock, which
        nobody opens then.
        """
        if isinstance(stdin, bytes):
            source = tempfile.TemporaryFile()  # noqa: SIM115
            source.write(stdin)
            source.seek(0)
        else:
            source = os.fdopen(os.dup(stdin), "rb")
        # They stay open until the run was waited for.
        out = None if stdout is not None else tempfile.NamedTemporaryFile()  # noqa: SIM115
        err = None if stderr is not None else tempfile.NamedTemporaryFile()  # noqa: SIM115
        descriptors = [
            source.fileno(),
            out.fileno() if out else stdout,
            err.fileno() if err else stderr,
        ]
        request = {
            "arguments": [str(a) for a in arguments],
            "cwd": str(cwd or Path.cwd()),
            "env": {k: str(v) for k, v in (env or {}).items()},
            "limits": limits or {},
            "closed": list(closed),
            "prelude": prelude,
            "measured": measured,
        }
        with source:
            launch = self._launch_fresh if fresh else self._launch
            return Run(*launch(request, descriptors), out, err)

    def _launch(self, request, descriptors):
        read, write = os.pipe()
        data = json.dumps(request).encode()
        socket.send_fds(self._socket, [len(data).to_bytes(4, "big")], [*descriptors, write])
        self._socket.sendall(data)
        os.close(write)
        status = os.fdopen(read, "rb")
        pid = int(status.readline())

        def wait(timeout):
            import select

            if not select.select([status], [], [], timeout)[0]:
                os.kill(pid, signal.SIGKILL)
                raise TimeoutError(f"the run took more than {timeout} s")
            with status:
                return os.waitstatus_to_exitcode(int(status.readline()))

        return pid, wait

    def _launch_fresh(self, request, descriptors):
        def prepare():
            for number in request["closed"]:
                os.close(number)
            _set_limits(request["limits"])

        process = subprocess.Popen(
            [sys.executable, "-m", "protclip_cli", *request["arguments"]],
            stdin=descriptors[0],
            stdout=descriptors[1],
            stderr=descriptors[2],
            cwd=request["cwd"],
            env={**(os.environ if request["measured"] else unmeasured()), **request["env"]},
            preexec_fn=prepare if request["closed"] or request["limits"] else None,
        )
        return process.pid, process.wait


def unmeasured():
    """Environment of a process that coverage leaves alone; why: see `Program.start`."""
    return {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}


def _set_limits(limits):
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, name), (value, value))


def _serve(descriptor):
    for name in IMPORTS:
        importlib.import_module(name)
    with contextlib.suppress(ImportError):  # what typer itself puts off, where it is there
        importlib.import_module("typer._adapters")
    gc.freeze()  # so that collections in the runs do not touch, and copy, all of this
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # monitors need no one to wait for them
    channel = socket.socket(fileno=descriptor)
    while True:
        size, descriptors, _flags, _address = socket.recv_fds(channel, 4, 4)
        if not size:
            return
        data = b""
        while len(data) < int.from_bytes(size, "big"):
            data += channel.recv(1 << 16)
        if os.fork() == 0:
            channel.close()
            _monitor(json.loads(data), descriptors)
        for number in descriptors:
            os.close(number)


def _monitor(request, descriptors):
    *standard, status = descriptors
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(status)
        _become_program(request, standard)
    os.write(status, f"{pid}\n".encode())
    for number in standard:
        os.close(number)
    _pid, code = os.waitpid(pid, 0)
    os.write(status, f"{code}\n".encode())
    os._exit(0)


def _become_program(request, standard):
    """Be as a new interpreter would be, run the program, and end as it would."""
    code = 70
    try:
        if not request["measured"] and "coverage" in sys.modules:
            coverage = sys.modules["coverage"].Coverage.current()
            if coverage is not None:
                coverage.stop()
        for number, descriptor in enumerate(standard):
            os.dup2(descriptor, number)
            os.close(descriptor)
        for number in request["closed"]:
            os.close(number)
        os.chdir(request["cwd"])
        os.environ.update(request["env"])
        sys.argv = ["protclip", *request["arguments"]]
        streams = [None, None, None]
        for number, mode in enumerate("rww"):
            if number not in request["closed"]:
                errors = "backslashreplace" if number == 2 else "strict"
                streams[number] = os.fdopen(
                    number, mode, encoding="utf-8", errors=errors, closefd=False
                )
        sys.stdin, sys.stdout, sys.stderr = streams
        # Tests may themselves run under nohup; a run starts as from a plain shell.
        for number in (signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        exec(request["prelude"], {})
        _set_limits(request["limits"])
        from protclip_cli.main import run

        run()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:  # noqa: BLE001 (as the interpreter does)
        import traceback

        traceback.print_exc()
        code = 1
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        code = 120  # as the interpreter's own last flush
    os._exit(code)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    _serve(int(sys.argv[1]))
