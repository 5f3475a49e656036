"""Downloads by whole processes: killed, stalled, four at once; numbers as in the fault list."""

from __future__ import annotations

import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from protclip_core.fetch.download import RemoteFile, download
from tests.support.local_server import Fault, forget_network, local_server, wait_until

ROOT = Path(__file__).parents[2]
BLOCK = 1 << 16
BODY = random.Random(0).randbytes(5 * BLOCK + 17)
SHA256 = hashlib.sha256(BODY).hexdigest()

#: Downloads one file; the log and the error go to standard error as one line each.
CHILD = """
import logging, sys
from pathlib import Path
from protclip_core.errors import ProtclipError
from protclip_core.fetch.download import RemoteFile, download
logging.basicConfig(format="%(message)s", level=logging.INFO)
url, sha256, folder = sys.argv[1:]
try:
    print(download(RemoteFile(name="model.bin", url=url, sha256=sha256), Path(folder)))
except ProtclipError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def server(monkeypatch):
    forget_network(monkeypatch)
    with local_server() as running:
        yield running


@pytest.fixture
def start(tmp_path):
    """Start a process that downloads; what is left at the end is killed."""
    started = []

    def run(url, *, timeout=30, largest_file=resource.RLIM_INFINITY):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

        log = tmp_path / f"log{len(started)}"
        with log.open("wb") as errors:
            child = subprocess.Popen(
                [sys.executable, "-c", CHILD, url, SHA256, str(tmp_path / "cache")],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd=ROOT,
                env={**os.environ, "PROTCLIP_TIMEOUT": str(timeout)},
                preexec_fn=limit,
            )
        child.log = log.read_text
        started.append(child)
        return child

    yield run
    for child in started:
        child.kill()
        child.wait(10)


def visible(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


def part_size(folder):
    try:
        return (folder / "model.bin.part").stat().st_size
    except FileNotFoundError:
        return 0


def test_killed_download_goes_on_with_the_missing_bytes(server, start, tmp_path):
    """Fault 39: kill -9; the final name was never there, and the next run asks for the rest."""
    folder = tmp_path / "cache"
    url = server.serve("/a", BODY, faults=[Fault(stall=3 * BLOCK)])
    child = start(url)
    wait_until(lambda: part_size(folder) == 3 * BLOCK, "nothing came")
    assert visible(folder) == ["model.bin.part", "model.bin.part.json"]
    child.send_signal(signal.SIGKILL)
    assert child.wait(10) == -signal.SIGKILL
    assert visible(folder) == ["model.bin.part", "model.bin.part.json"]
    path = download(RemoteFile(name="model.bin", url=url, sha256=SHA256), folder)
    assert path.read_bytes() == BODY
    assert visible(folder) == ["model.bin"]
    _killed, resumed = server.to("/a")
    assert resumed.headers["range"] == f"bytes={3 * BLOCK}-"
    assert resumed.sent == len(BODY) - 3 * BLOCK


def test_four_processes_at_once_fetch_one_file(server, start, tmp_path):
    """Fault 48: all succeed, one whole file, its body served once."""
    url = server.serve("/a", BODY, faults=[Fault(stall=BLOCK)])
    children = [start(url) for _ in range(4)]
    waiting = "another process is downloading it: waiting"
    wait_until(lambda: sum(waiting in c.log() for c in children) == 3, "not all came to wait")
    server.go.set()
    assert [child.wait(30) for child in children] == [0, 0, 0, 0]
    assert [sum(c.log().count(waiting) for c in children), len(server.to("/a"))] == [3, 1]
    assert server.to("/a")[0].sent == len(BODY)
    assert (tmp_path / "cache/model.bin").read_bytes() == BODY
    assert visible(tmp_path / "cache") == ["model.bin"]


def test_process_that_waits_takes_over_from_a_killed_one(server, start, tmp_path):
    """Faults 39, 48: what a killed process held and fetched blocks nobody, and is not lost."""
    folder = tmp_path / "cache"
    url = server.serve("/a", BODY, faults=[Fault(stall=2 * BLOCK)])
    first = start(url)
    wait_until(lambda: part_size(folder) == 2 * BLOCK, "nothing came")
    second = start(url)
    wait_until(lambda: "waiting" in second.log(), "the second process did not wait")
    first.send_signal(signal.SIGKILL)
    assert second.wait(30) == 0, second.log()
    assert server.to("/a")[1].headers["range"] == f"bytes={2 * BLOCK}-"
    assert (folder / "model.bin").read_bytes() == BODY


@pytest.mark.full
def test_process_that_gets_nothing_ends_with_one_line(server, start, tmp_path):
    """Fault 40: the URL, the reason, the tries, the way out; nothing is left to take for a file."""
    url = server.serve("/a", BODY, always=Fault(mute=True))
    child = start(url, timeout=0.2)
    assert child.wait(55) == 1
    (line,) = child.log().splitlines()
    assert line.startswith(f"{url}: cannot be downloaded: timed out (4 tries in ")
    assert "check the network or proxy" in line
    assert visible(tmp_path / "cache") == []


def test_disk_that_fills_up_meanwhile(server, start, tmp_path):
    """The kernel takes no more bytes of the file: said as such, and what came is not lost."""
    url = server.serve("/a", BODY)
    child = start(url, largest_file=2 * BLOCK)
    assert child.wait(30) == 1
    (line,) = child.log().splitlines()
    assert "model.bin: no room to write it" in line
    folder = tmp_path / "cache"
    assert visible(folder) == ["model.bin.part", "model.bin.part.json"]
    path = download(RemoteFile(name="model.bin", url=url, sha256=SHA256), folder)
    assert path.read_bytes() == BODY
    assert server.requests[-1].headers["range"] == f"bytes={2 * BLOCK}-"
