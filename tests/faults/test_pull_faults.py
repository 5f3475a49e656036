"""``protclip models pull`` by whole processes; numbers as in the fault list (38 to 40, 48)."""

from __future__ import annotations

import hashlib
import signal

import pytest

from protclip_core.weights.bundle import open_bundle
from tests.cli.test_models_cli import zipped
from tests.support.local_server import Fault, forget_network, local_server, wait_until


@pytest.fixture
def server(monkeypatch):
    forget_network(monkeypatch)
    with local_server() as running:
        yield running


class Pull:
    """A model on a server, and the program that pulls it into ``cache``."""

    def __init__(self, protclip, server, cache, bundle):
        self.program, self.server, self.cache = protclip, server, cache
        self.data = zipped(bundle)
        self.url = server.serve("/model.zip", self.data)
        self.sha256 = hashlib.sha256(self.data).hexdigest()
        self.served = server.content["/model.zip"]
        self.target = cache / "models/small"

    @property
    def part(self):
        """The file on its way, in the folder of its source."""
        found = list((self.cache / "downloads/small").glob("*/model.zip.part"))
        return found[0] if found else self.cache / "nothing"

    def start(self, *more, url=None, sha256=None, timeout="1", **options):
        source = ["--from", url or self.url, "--sha256", sha256 or self.sha256]
        environment = {"PROTCLIP_CACHE": self.cache, "PROTCLIP_TIMEOUT": timeout}
        return self.program.start(
            "models", "pull", "small", *source, *more, env=environment, **options
        )

    def run(self, *more, **options):
        return self.start(*more, **options).wait()

    def refused(self, *parts, **options):
        """It ends with 4 and one line that names the URL, and nothing is installed."""
        done = self.run(**options)
        assert done.rc == 4, done
        (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
        for part in parts:
            assert part in line
        assert "Traceback" not in done.err
        assert not self.target.exists()
        assert not list((self.cache / "downloads/small").glob("*/model.zip"))
        return line

    def installed(self):
        open_bundle(self.target).verify()
        return sorted(path.name for path in (self.cache / "models").iterdir())


@pytest.fixture
def pull(protclip, server, tmp_path, tiny_bundle):
    return Pull(protclip, server, tmp_path / "cache", tiny_bundle)


def test_what_arrives_is_not_the_model(pull):
    """Faults 38 and 39: another hash, a page, a pointer, a cut file; five of five, by name."""
    pull.refused("sha256 mismatch", "f" * 64, pull.sha256, pull.url, sha256="f" * 64)
    assert not pull.part.exists()
    good = pull.served.body
    for body, what in (
        (b"<!DOCTYPE html><title>Sign in</title>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs"),
        (good[: len(good) // 2], "sha256 mismatch"),
        (b"", "sha256 mismatch"),
        (good[:99] + bytes([good[99] ^ 1]) + good[100:], "sha256 mismatch"),
    ):
        pull.served.body = body
        pull.refused(what, pull.url)
    pull.served.body = good
    assert pull.run().rc == 0
    assert pull.installed() == [".small.lock", "small"]


@pytest.mark.full
def test_a_server_that_fails(pull, server):
    """Fault 40: no such file, an error on every try, a stall; soon, and with the URL."""
    pull.refused("HTTP 404", server.url + "/no.zip", url=server.url + "/no.zip")
    for fault, what in (
        (Fault(status=403), "HTTP 403"),
        (Fault(status=500), "HTTP 500"),
        (Fault(stall=1000), "no data for 1 s"),
    ):
        pull.served.always = fault
        line = pull.refused(pull.url)
        assert what in line or "timed out" in line, line
    pull.served.always = None


@pytest.mark.parametrize("target", ["file:///etc/passwd", "http://example.org/x", "ftp://a.b/c"])
def test_redirects_to_elsewhere_than_https(pull, server, target):
    """Fault 40: both addresses are named, and nothing is asked of the second."""
    pull.served.always = Fault(status=302, headers={"Location": target})
    pull.refused(target, pull.url)
    assert len(server.requests) == 1


@pytest.mark.full
def test_no_network(pull, server):
    """Fault 40: a port that nobody listens to; the way out is in the line."""
    url = pull.url
    server.close()
    line = pull.refused(url, "models import", url=url)
    assert "refused" in line


def test_interrupted_and_resumed(pull, server):
    """Fault 39: kill -9 in the middle; the next try asks for the rest only."""
    half = len(pull.data) // 2
    pull.served.faults = [Fault(stall=half)]
    run = pull.start(timeout="30")
    wait_until(lambda: pull.part.exists() and pull.part.stat().st_size > 0, "nothing arrived")
    run.send(signal.SIGKILL)
    run.wait()
    server.go.set()
    assert not pull.target.exists()
    there = pull.part.stat().st_size
    done = pull.run()
    assert done.rc == 0, done
    assert pull.installed() == [".small.lock", "small"]
    assert server.requests[-1].headers["range"] == f"bytes={there}-"
    assert server.requests[-1].sent == len(pull.data) - there
    assert not (pull.cache / "downloads/small").exists()


def test_interrupt_by_the_user_keeps_what_came(pull, server):
    pull.served.faults = [Fault(stall=len(pull.data) // 2)]
    run = pull.start(timeout="30", measured=False)
    wait_until(lambda: pull.part.exists() and pull.part.stat().st_size > 0, "nothing arrived")
    run.send(signal.SIGINT)
    done = run.wait()
    server.go.set()
    assert done.rc == 130
    assert "Traceback" not in done.err
    assert pull.part.stat().st_size > 0
    assert pull.run().rc == 0


def test_offline(pull, server):
    done = pull.run("--offline")
    assert done.rc == 4
    assert "[model.not_downloaded]" in done.err and "models import" in done.err
    assert server.requests == []
    assert pull.run().rc == 0
    assert pull.run("--offline").rc == 0


def test_four_processes_at_once(pull, server):
    """Fault 48: one whole model, all succeed, the file is fetched once."""
    pull.served.faults = [Fault(stall=len(pull.data) // 2)]
    first = pull.start(timeout="30")
    wait_until(lambda: pull.part.exists() and pull.part.stat().st_size > 0, "nothing arrived")
    others = [pull.start(timeout="30") for _ in range(3)]
    for other in others:
        wait_until(lambda run=other: "waiting" in run.err_so_far(), "it does not wait")
    server.go.set()
    for run in (first, *others):
        done = run.wait()
        assert done.rc == 0, done
    assert len(server.to("/model.zip")) == 1
    assert pull.installed() == [".small.lock", "small"]


def test_the_first_of_several_is_killed(pull, server):
    """A holder that is killed blocks nobody: the one that waited goes on with its part."""
    pull.served.faults = [Fault(stall=len(pull.data) // 2)]
    first = pull.start(timeout="30")
    wait_until(lambda: pull.part.exists() and pull.part.stat().st_size > 0, "nothing arrived")
    second = pull.start(timeout="30")
    wait_until(lambda: "waiting" in second.err_so_far(), "it does not wait")
    first.send(signal.SIGKILL)
    first.wait()
    server.go.set()
    assert second.wait().rc == 0
    assert pull.installed() == [".small.lock", "small"]


def test_nothing_of_another_source_gets_into_a_model(pull, server, tmp_path, tiny_bundle):
    """What a source that failed has left under the same name is not taken for a part of another."""
    (tmp_path / "evil.zip").write_bytes(zipped(tiny_bundle)[:-30])
    broken = (tmp_path / "evil.zip").read_bytes()
    url = server.serve("/other/model.zip", broken)
    pull.refused("evil", url=url.replace("other", "evil"))
    done = pull.run(url=url, sha256=hashlib.sha256(broken).hexdigest())
    assert done.rc == 4, done
    assert list((pull.cache / "downloads/small").glob("*/model.zip"))
    assert pull.run().rc == 0
    assert pull.installed() == [".small.lock", "small"]
    assert not (pull.cache / "downloads/small").exists()


def test_killed_between_the_old_model_and_the_new_one(pull):
    """The old one is put back by whoever comes next, and what was left over goes."""
    assert pull.run().rc == 0
    models = pull.cache / "models"
    pull.target.rename(models / ".small.old")
    for name in (".small.new", "..small.new.0123abcd.tmp"):
        (models / name).mkdir()
    listed = pull.program("models", "remove", "other", env={"PROTCLIP_CACHE": pull.cache})
    assert listed.rc == 2
    assert pull.run("--force").rc == 0
    assert pull.installed() == [".small.lock", "small"]
    pull.target.rename(models / ".small.old")
    removed = pull.program("models", "remove", "small", env={"PROTCLIP_CACHE": pull.cache})
    assert removed.rc == 0, removed
    assert sorted(path.name for path in models.iterdir()) == [".small.lock"]


def test_forced_over_a_model_in_use(pull):
    """The old model is there until the new one is: a reader finds one or the other, whole."""
    assert pull.run().rc == 0
    reader = open_bundle(pull.target)
    assert pull.run("--force").rc == 0
    reader.verify()
    assert pull.installed() == [".small.lock", "small"]
