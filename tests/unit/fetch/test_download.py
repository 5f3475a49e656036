"""Downloads from a real server on this machine: resumed, retried, checked, refused."""

from __future__ import annotations

import gzip
import hashlib
import logging
import random
import shutil
import socket
from collections import namedtuple

import pytest

from protclip_core.errors import ModelError, ResourceError, UsageError
from protclip_core.fetch.download import RemoteFile, download
from protclip_core.fetch.http import check_url, fetch_json, mirrored
from protclip_core.fetch.retries import Patience, shown
from tests.support.local_server import Fault, forget_network, local_server
from tests.support.refusals import refused as refused_as

BLOCK = 1 << 16
BODY = random.Random(0).randbytes(5 * BLOCK + 17)
SHA256, MD5 = hashlib.sha256(BODY).hexdigest(), hashlib.md5(BODY).hexdigest()
GIT_SHA1 = hashlib.sha1(b"blob %d\0" % len(BODY) + BODY).hexdigest()
QUICK = Patience(tries=3, timeout=5.0, pause=0.01)
WAY_OUT = "protclip models import"


@pytest.fixture
def server(monkeypatch):
    forget_network(monkeypatch)
    with local_server() as running:
        yield running


def remote(url, **known):
    return RemoteFile(name="model.bin", url=url, **({"sha256": SHA256} | known))


def fetch(file, folder, **options):
    return download(file, folder, **({"patience": QUICK} | options))


def visible(folder):
    """Names in a folder without lock files."""
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


def refused(file, folder, **options):
    """Message of the error of a download; nothing may stand under the final name."""
    with pytest.raises(ModelError) as caught:
        fetch(file, folder, **options)
    assert not (folder / file.name).exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Bar:
    """Progress that remembers."""

    def __init__(self):
        self.calls, self.done = [], 0

    def start(self, what, total, unit):
        self.calls.append((what, total, unit))

    def advance(self, amount):
        assert amount > 0
        self.done += amount
        self.calls.append(amount)

    def finish(self):
        self.calls.append("finish")


def test_file_comes_whole_and_once(server, tmp_path):
    url, bar = server.serve("/a", BODY), Bar()
    known = {"size": len(BODY), "md5": MD5.upper(), "git_sha1": GIT_SHA1}
    path = fetch(remote(url, **known), tmp_path / "deep" / "er", progress=bar)
    assert path == tmp_path / "deep" / "er" / "model.bin"
    assert path.read_bytes() == BODY
    assert visible(path.parent) == ["model.bin"]
    assert bar.calls[0] == ("downloading model.bin", len(BODY), "bytes")
    assert (bar.done, bar.calls[-1]) == (len(BODY), "finish")
    assert server.to("/a")[0].headers["accept-encoding"] == "identity"
    for offline in (False, True):
        assert fetch(remote(url, **known), path.parent, offline=offline) == path
    assert len(server.requests) == 1


def test_finished_file_that_is_another_is_fetched_anew(server, tmp_path, caplog):
    (tmp_path / "model.bin").write_bytes(b"old")
    assert fetch(remote(server.serve("/a", BODY)), tmp_path).read_bytes() == BODY
    assert "is not the file that is wanted" in caplog.text


def test_empty_file_that_should_be_empty(server, tmp_path):
    wanted = hashlib.sha256(b"").hexdigest()
    assert fetch(remote(server.serve("/a", b""), sha256=wanted), tmp_path).read_bytes() == b""


def test_without_a_hash_the_log_says_so_and_names_it(server, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    file = remote(server.serve("/a", BODY), sha256=None)
    assert fetch(file, tmp_path).read_bytes() == BODY
    assert f"could not be checked; its sha256 is {SHA256}" in caplog.text
    fetch(file, tmp_path)
    assert len(server.requests) == 1


def test_offline_names_url_and_way_out(tmp_path):
    message = refused(remote("https://files.example/a"), tmp_path, offline=True)
    assert message.startswith("https://files.example/a: offline")
    assert WAY_OUT in message


@pytest.mark.parametrize("fault", [Fault(cut=2 * BLOCK), Fault(cut=0), Fault(status=503)])
def test_passing_faults_are_tried_again_and_only_the_rest_is_asked_for(server, tmp_path, fault):
    """Fault 39: interrupted and resumed within one call."""
    url, bar = server.serve("/a", BODY, faults=[fault]), Bar()
    assert fetch(remote(url), tmp_path, progress=bar).read_bytes() == BODY
    first, second = server.to("/a")
    assert "range" not in first.headers
    if fault.cut:
        assert second.headers["range"] == f"bytes={2 * BLOCK}-"
        assert second.headers["if-range"] == '"1"'
        assert (second.status, second.sent) == (206, len(BODY) - 2 * BLOCK)
    else:
        assert "range" not in second.headers
    assert bar.done == len(BODY)


def test_next_run_asks_only_for_the_missing_bytes(server, tmp_path):
    """Fault 39: a run gave up; what it fetched waits as a part and is used by the next."""
    url = server.serve("/a", BODY, always=Fault(cut=BLOCK))
    message = refused(remote(url), tmp_path, patience=Patience(tries=1))
    assert "the body was cut short" in message
    assert "(1 try in 0 s)" in message
    assert visible(tmp_path) == ["model.bin.part", "model.bin.part.json"]
    assert (tmp_path / "model.bin.part").read_bytes() == BODY[:BLOCK]
    server.content["/a"].always, bar = None, Bar()
    assert fetch(remote(url), tmp_path, progress=bar).read_bytes() == BODY
    assert server.requests[-1].headers["range"] == f"bytes={BLOCK}-"
    assert bar.calls[1] == BLOCK, "bytes already there count at once"
    assert visible(tmp_path) == ["model.bin"]


def interrupted(server, folder, **options):
    """Leave a part of two blocks; returns the URL."""
    url = server.serve("/a", BODY, **options, faults=[Fault(cut=2 * BLOCK)])
    refused(remote(url), folder, patience=Patience(tries=1))
    assert (folder / "model.bin.part").stat().st_size == 2 * BLOCK
    return url


@pytest.mark.parametrize(
    "change",
    [
        {"ranges": False},
        {"etag": '"2"'},
        {"etag": '"2"', "heed_conditions": False},
        {"always": None, "faults": [Fault(status=416)]},
    ],
    ids=["ranges ignored", "changed", "changed and joined", "416"],
)
def test_part_that_cannot_be_continued_begins_anew(server, tmp_path, change):
    url = interrupted(server, tmp_path)
    for name, value in change.items():
        setattr(server.content["/a"], name, value)
    assert fetch(remote(url), tmp_path).read_bytes() == BODY
    assert server.requests[1].headers["range"] == f"bytes={2 * BLOCK}-"
    assert server.requests[-1].sent == len(BODY)


def test_part_is_continued_by_date_and_by_hash_alone(server, tmp_path):
    date = "Sat, 01 Nov 2025 10:00:00 GMT"
    url = interrupted(server, tmp_path / "date", etag='W/"1"', last_modified=date)
    fetch(remote(url), tmp_path / "date")
    assert server.requests[-1].headers["if-range"] == date
    url = interrupted(server, tmp_path / "hash", etag=None)
    fetch(remote(url), tmp_path / "hash")
    assert "if-range" not in server.requests[-1].headers
    assert server.requests[-1].status == 206


def test_part_of_another_file_is_not_continued(server, tmp_path):
    interrupted(server, tmp_path)
    other = BODY[::-1]
    file = remote(server.serve("/b", other), sha256=hashlib.sha256(other).hexdigest())
    assert fetch(file, tmp_path).read_bytes() == other
    assert "range" not in server.requests[-1].headers


def test_wrong_content_is_named_with_both_hashes_and_deleted(server, tmp_path):
    """Faults 38, 39: a byte flipped on the way; each hash finds it; so does the next run."""
    flipped = bytearray(BODY)
    flipped[len(BODY) // 2] ^= 1
    url = server.serve("/a", bytes(flipped))
    got = hashlib.sha256(flipped).hexdigest()
    message = refused(remote(url), tmp_path)
    assert message.startswith(f"{url}: sha256 mismatch, expected {SHA256}, got {got}; ")
    assert "run again" in message
    assert visible(tmp_path) == []
    md5, git = remote(url, sha256=None, md5=MD5), remote(url, sha256=None, git_sha1=GIT_SHA1)
    assert f"md5 mismatch, expected {MD5}" in refused(md5, tmp_path)
    assert f"git sha1 mismatch, expected {GIT_SHA1}" in refused(git, tmp_path)


def test_flipped_byte_in_a_part_is_found(server, tmp_path):
    url = interrupted(server, tmp_path)
    with (tmp_path / "model.bin.part").open("r+b") as handle:
        handle.write(b"\x00\x00\x00\x00")
    assert "sha256 mismatch" in refused(remote(url), tmp_path)
    assert fetch(remote(url), tmp_path).read_bytes() == BODY


@pytest.mark.parametrize(
    ("body", "options", "reason"),
    [
        (b"<!DOCTYPE html><p>log in", {}, "a web page (HTML) came instead of the file"),
        (b"\n <html>", {}, "a web page (HTML) came instead of the file"),
        (b"{}", {"headers": {"Content-Type": "text/html; charset=utf-8"}}, "a web page (HTML)"),
        (b"version https://git-lfs.github.com/spec/v1\noid x", {}, "a git-lfs pointer came"),
        (b"", {}, f"sends 0 bytes, the file should have {len(BODY):,}"),
        (BODY[:-1], {}, f"sends {len(BODY) - 1:,} bytes, the file should have"),
        (BODY + b"x", {}, f"sends {len(BODY) + 1:,} bytes, the file should have"),
        (BODY + b"x", {"state_length": False}, f"at most {len(BODY):,} were expected"),
        (BODY[:-1], {"state_length": False, "ranges": False}, "the body was cut short at"),
        (gzip.compress(BODY), {"headers": {"Content-Encoding": "gzip"}}, "sends it encoded (gzip)"),
    ],
)
def test_what_comes_instead_of_the_file_is_named(server, tmp_path, body, options, reason):
    """Fault 38: truncated, empty, HTML, git-lfs pointer, as downloaded."""
    message = refused(remote(server.serve("/a", body, **options), size=len(BODY)), tmp_path)
    assert reason in message
    assert "/a: " in message
    assert WAY_OUT in message


def test_size_beyond_the_cap_is_refused_before_it_is_fetched(server, tmp_path):
    url = server.serve("/a", BODY)
    assert "at most 1,000 were expected" in refused(remote(url), tmp_path, most_bytes=1000)
    server.content["/a"].state_length = False
    assert "at most 1,000 were expected" in refused(remote(url), tmp_path, most_bytes=1000)


def test_disk_without_room_is_found_before(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 100_000))
    with pytest.raises(ResourceError, match="MB needed"):
        fetch(remote(server.serve("/a", BODY)), tmp_path)
    assert not (tmp_path / "model.bin").exists()


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (500, 3), (429, 3), (408, 3)])
def test_status_and_number_of_tries(server, tmp_path, status, tries):
    """Fault 40: what may pass is tried again, what will not is not."""
    url = server.serve("/a", BODY, always=Fault(status=status))
    message = refused(remote(url), tmp_path)
    assert message.startswith(f"{url}: cannot be downloaded: HTTP {status}")
    assert ("(1 try in" if tries == 1 else f"({tries} tries in") in message
    assert len(server.requests) == tries
    assert WAY_OUT in message
    assert "PROTCLIP_MIRROR" in message


def test_refused_port_and_unknown_host(tmp_path, monkeypatch):
    """Fault 40: no network."""
    forget_network(monkeypatch)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/a"
        message = refused(remote(url), tmp_path)
    assert f"{url}: cannot be downloaded: connection refused (3 tries in 0 s)" in message
    message = refused(remote("https://host.invalid/a"), tmp_path)
    assert "https://host.invalid/a: cannot be downloaded: host name not found (2 tries" in message


@pytest.mark.parametrize("fault", [Fault(stall=BLOCK), Fault(stall=0), Fault(mute=True)])
def test_stall_counts_as_a_failed_try(server, tmp_path, fault):
    """Fault 40: bytes stop coming, or never begin to; with the last byte the clock starts."""
    url = server.serve("/a", BODY, always=fault)
    impatient = Patience(tries=2, timeout=0.3, pause=0.01)
    message = refused(remote(url), tmp_path, patience=impatient)
    assert "cannot be downloaded: timed out (2 tries in" in message
    server.content["/a"].always = None
    assert fetch(remote(url), tmp_path).read_bytes() == BODY
    # Each of the two tries brought a block.
    wanted = f"bytes={2 * BLOCK}-" if fault.stall else None
    assert server.requests[-1].headers.get("range") == wanted


def test_nothing_comes_for_less_than_a_minute():
    """Fault 40: by default all tries and pauses in which nothing comes stay under 60 s."""
    patience = Patience()
    assert patience.total + 0.5 < 60
    assert sum(min(8, patience.pause * 2**n) for n in range(patience.tries - 1)) <= 20


def test_total_time_ends_the_tries(server, tmp_path):
    url = server.serve("/a", BODY, always=Fault(mute=True))
    patience = Patience(tries=100, timeout=0.2, pause=0.01, total=1.0)
    message = refused(remote(url), tmp_path, patience=patience)
    assert "timed out" in message
    assert 1 < len(server.requests) < 50


def test_many_interruptions_of_a_large_file_are_not_too_many(server, tmp_path):
    """A megabyte gained sets the count of tries back."""
    body = random.Random(1).randbytes(5 << 20)
    url = server.serve("/a", body, faults=[Fault(cut=1 << 20) for _ in range(4)])
    file = remote(url, sha256=hashlib.sha256(body).hexdigest())
    assert fetch(file, tmp_path, patience=Patience(tries=2, pause=0.01)).read_bytes() == body
    assert [one.sent for one in server.requests] == 5 * [1 << 20]


@pytest.mark.parametrize(("status", "again"), [(403, False), (404, False), (500, True)])
def test_proxy_that_refuses(server, tmp_path, monkeypatch, status, again):
    """Fault 40: a proxy answers for https (CONNECT) and for http."""
    tries = "(3 tries in" if again else "(1 try in"
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    server.connect_status = status
    message = refused(remote("https://files.example/a"), tmp_path)
    assert message.startswith("https://files.example/a: cannot be downloaded: the proxy answered")
    assert f"HTTP {status}" in message
    assert tries in message
    assert "check the network or proxy" in message
    monkeypatch.setenv("HTTP_PROXY", server.url)
    server.serve("/a", BODY, always=Fault(status=status))
    message = refused(remote("http://127.0.0.1:9/a"), tmp_path)
    assert f"HTTP {status}" in message
    assert tries in message


def test_download_through_a_proxy(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", server.url)
    server.serve("/a", BODY)
    assert fetch(remote("http://127.0.0.1:9/a"), tmp_path).read_bytes() == BODY


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/a",
        "data:text/plain,x",
        "http://files.example/a",
        "http://127.0.0.1@files.example/a",
        "http://localhost.example/a",
        "//files.example/a",
        "https:///a",
    ],
)
def test_redirect_to_where_nothing_may_be_fetched(server, tmp_path, target):
    """Fault 40: refused before it is asked, naming both URLs."""
    fault = Fault(status=302, headers={"Location": target})
    url = server.serve("/a", BODY, always=fault)
    message = refused(remote(url), tmp_path)
    assert message.startswith(f"{url}: redirects to ")
    shown_target = shown(target if ":" in target else f"http:{target}")
    assert shown_target in message
    assert "passwd" in message or "file:" not in message
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://x/a", "http://files.example/a", "a", "", "https://", "\\\\"],
)
def test_first_url_is_checked_too(tmp_path, url):
    assert "https" in refused(remote(url), tmp_path)


def test_https_may_not_turn_into_http():
    for target in ("http://files.example/a", "http://127.0.0.1/a"):
        with pytest.raises(ModelError, match="https only"):
            check_url(target, first="https://files.example/a")
    check_url("https://other.example/a", first="https://files.example/a")
    check_url("http://[::1]:80/a", first="http://localhost/a")


def test_redirects_are_followed_without_the_token(server, tmp_path):
    with local_server() as other:
        theirs = other.serve("/b", BODY)
        to = {"Location": theirs.replace("127.0.0.1", "localhost")}
        server.serve("/step", b"", always=Fault(status=307, headers=to))
        near = Fault(status=302, headers={"Location": "/step?x=1"})
        url = server.serve("/a", b"", always=near)
        assert fetch(remote(url, token="secret"), tmp_path).read_bytes() == BODY
        assert [r.headers.get("authorization") for r in server.requests] == 2 * ["Bearer secret"]
        assert "authorization" not in other.requests[0].headers
        assert "secret" not in repr(remote(url, token="secret"))


def test_token_is_not_replaced_by_netrc(server, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    fetch(remote(server.serve("/a", BODY)), tmp_path)
    assert "authorization" not in server.requests[0].headers


def test_redirect_loop(server, tmp_path):
    """Fault 40."""
    url = server.serve("/a", b"", always=Fault(status=301, headers={"Location": "/a"}))
    assert "more than 5 redirects" in refused(remote(url), tmp_path)
    assert len(server.requests) == 6


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a\\b", "a\nb"])
def test_names_from_elsewhere_stay_in_the_folder(tmp_path, name):
    with refused_as("model.bad_file_name", "https://files.example/a"):
        fetch(RemoteFile(name=name, url="https://files.example/a"), tmp_path)


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot be written"):
        fetch(remote("https://files.example/a"), tmp_path / "file")


def test_mirror_takes_the_place_of_scheme_and_host(monkeypatch):
    monkeypatch.delenv("PROTCLIP_MIRROR", raising=False)
    assert mirrored("https://zenodo.org/a?b=1") == "https://zenodo.org/a?b=1"
    monkeypatch.setenv("PROTCLIP_MIRROR", "https://mirror.example/zenodo/")
    assert mirrored("https://zenodo.org/a?b=1") == "https://mirror.example/zenodo/a?b=1"


@pytest.mark.parametrize(
    ("text", "seconds"), [("", 20), ("3.5", 3.5), ("soon", None), ("0", None), ("nan", None)]
)
def test_timeout_from_the_environment(monkeypatch, text, seconds):
    monkeypatch.setenv("PROTCLIP_TIMEOUT", text)
    if seconds is not None:
        assert Patience.default().timeout == seconds
        return
    with refused_as("usage.bad_environment", text, "PROTCLIP_TIMEOUT"):
        Patience.default()


def test_json_that_is_none_or_too_much(server):
    assert fetch_json(server.serve("/a", {"a": 1}), patience=QUICK) == {"a": 1}
    with pytest.raises(ModelError, match="JSON was expected; what came begins with '<html>'"):
        fetch_json(server.serve("/b", b"<html>"), patience=QUICK)
    with pytest.raises(ModelError, match="more than 10 bytes"):
        fetch_json(server.serve("/c", 100 * b"1"), patience=QUICK, most_bytes=10)


def test_json_nested_too_deep(server, tmp_path):
    """What a server says, and what stands in the note of a part; neither ends in a traceback."""
    deep = b"[" * 300_000
    with pytest.raises(ModelError, match="JSON was expected"):
        fetch_json(server.serve("/deep", deep), patience=QUICK)
    (tmp_path / "model.bin.part").write_bytes(BODY[:BLOCK])
    (tmp_path / "model.bin.part.json").write_bytes(deep)
    assert fetch(remote(server.serve("/a", BODY)), tmp_path).read_bytes() == BODY


@pytest.mark.parametrize(
    "url", ["https://user:pw@files.example/a", "https://pw@files.example/a", "http://u:pw@[::1]/a"]
)
def test_passwords_do_not_belong_into_a_url(tmp_path, monkeypatch, url):
    with pytest.raises(UsageError, match="do not belong into a URL") as caught:
        fetch(remote(url), tmp_path)
    assert "pw" not in str(caught.value)
    monkeypatch.setenv("PROTCLIP_MIRROR", url)
    with pytest.raises(UsageError, match="do not belong into a URL"):
        fetch(remote(mirrored("https://files.example/a")), tmp_path)


def test_messages_about_a_url_that_is_none():
    assert shown("https://u:pw@[x/a?b") == "[x/a"


def test_messages_hold_no_secrets():
    assert shown("https://me:pass@h.example:1/a?token=x#y") == "https://h.example:1/a"
