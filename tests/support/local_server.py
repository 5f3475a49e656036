"""A server on 127.0.0.1 that tests start, with faults that they switch on.

It serves bytes at paths, knows ranges and conditions as real servers do, notes every request, and
ends with the block that it was started for. As a proxy it answers CONNECT with a set status.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.environment import patient

VARIABLES = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("PROTCLIP_MIRROR", "PROTCLIP_TIMEOUT", "HF_ENDPOINT", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
)


@dataclass
class Fault:
    """What goes wrong with one request.

    ``status`` and ``headers`` replace the answer. ``cut`` ends the connection after so many bytes
    of the body; ``stall`` sends none after them until the server's ``go`` is set; 0 is at once.
    ``mute`` sends not even a header.
    """

    status: int | None = None
    headers: dict = field(default_factory=dict)
    cut: int | None = None
    stall: int | None = None
    mute: bool = False


@dataclass
class Served:
    """Content at a path; ``faults`` are used up one a request, ``always`` meets every one."""

    body: bytes
    etag: str | None = '"1"'
    last_modified: str | None = None
    ranges: bool = True
    heed_conditions: bool = True
    state_length: bool = True
    headers: dict = field(default_factory=dict)
    faults: list = field(default_factory=list)
    always: Fault | None = None


@dataclass
class Request:
    """A request as it came; ``sent`` counts bytes of the body that were sent."""

    path: str
    headers: dict
    status: int = 0
    sent: int = 0


class LocalServer:
    """The running server; see `local_server`."""

    def __init__(self):
        self.content, self.requests = {}, []
        self.connect_status = 403
        self.go = threading.Event()
        outer = self

        class Handler(_Handler):
            owner = outer

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def serve(self, path, body, **options):
        """Serve bytes, or an object as JSON, at a path; returns the URL."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.content[path] = Served(body, **options)
        return self.url + path

    def to(self, path):
        """Requests for a path, in order."""
        return [one for one in self.requests if one.path.partition("?")[0] == path]

    def close(self):
        self.go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        """A client that goes away is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner = None

    def do_GET(self):
        request = Request(self.path, {k.lower(): v for k, v in self.headers.items()})
        self.owner.requests.append(request)
        self.close_connection = True
        path = self.path.partition("?")[0]
        if "://" in path:  # as a proxy is asked
            path = "/" + path.split("/", 3)[3]
        served = self.owner.content.get(path)
        if served is None:
            served = Served(b"nothing here", ranges=False, always=Fault(status=404))
        fault = served.faults.pop(0) if served.faults else served.always or Fault()
        if fault.mute:
            self.owner.go.wait(60)
            return
        self._answer(request, served, fault)

    def _answer(self, request, served, fault):
        status, start = self._range(served)
        headers = {"Content-Type": "application/octet-stream", "Connection": "close"}
        headers |= served.headers
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{len(served.body) - 1}/{len(served.body)}"
        body = b"" if status == 416 else served.body[start:]
        if served.state_length:
            headers["Content-Length"] = str(len(body))
        if served.etag:
            headers["ETag"] = served.etag
        if served.last_modified:
            headers["Last-Modified"] = served.last_modified
        status = fault.status or status
        request.status = status
        self.send_response(status)
        for name, value in {**headers, **fault.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        end = min(n for n in (fault.cut, fault.stall, len(body)) if n is not None)
        # What is sent is noted first, so that whoever has received it finds it noted.
        request.sent = end
        self.wfile.write(body[:end])
        if fault.stall is not None:
            self.owner.go.wait(60)
            request.sent = len(body)
            with suppress(OSError):
                self.wfile.write(body[end:])

    def _range(self, served):
        wanted = self.headers.get("Range")
        if wanted is None or not served.ranges:
            return 200, 0
        condition = self.headers.get("If-Range")
        if served.heed_conditions and condition not in (None, served.etag, served.last_modified):
            return 200, 0
        start = int(wanted.removeprefix("bytes=").partition("-")[0])
        return (206, start) if start < len(served.body) else (416, 0)

    def do_CONNECT(self):
        self.owner.requests.append(Request(self.path, {}, status=self.owner.connect_status))
        self.close_connection = True
        self.send_response(self.owner.connect_status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        """Tests look at ``requests`` instead."""


@contextmanager
def local_server():
    """Run a server while the block runs."""
    server = LocalServer()
    try:
        yield server
    finally:
        server.close()


def forget_network(monkeypatch):
    """Take away what the environment says about proxies, mirrors and tokens."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN_PATH", "/nonexistent/token")


def wait_until(condition, what, seconds=30):
    """Wait for something that another process or thread does."""
    end = time.monotonic() + patient(seconds)
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.005)
