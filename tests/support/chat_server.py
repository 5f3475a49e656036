"""A server on 127.0.0.1 that speaks OpenAI's protocol, with faults that tests switch on."""

from __future__ import annotations

import json
import re
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_TERM = re.compile(r"^Term: (.*)$", re.MULTILINE)


def completion(content):
    """A chat completion, as the protocol has it."""
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "stub",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": content},
            }
        ],
    }


def good_texts(name, number):
    return json.dumps({"texts": [f"Wording {n} of {name}." for n in range(1, number + 1)]})


class ChatServer:
    """The running server.

    ``faults`` maps the name of a term to a list, used up one a request: a status, ``"stall"``
    (silent until the server ends), bytes (the whole body), or a text (the answer). ``always`` meets
    every request. ``asked`` notes term, body and headers of each request.
    """

    def __init__(self, number=2):
        self.number, self.faults, self.always, self.asked = number, {}, None, []
        self.pause, self.most_at_once, self.under_way = 0.0, 0, 0
        self.end, self._guard = threading.Event(), threading.Lock()
        outer = self

        class Handler(_Handler):
            owner = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads, self._server.block_on_close = True, False
        self._server.handle_error = lambda *_: None  # a client that goes away is part of the tests
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    @property
    def terms(self):
        """Names of the terms that were asked for, in order."""
        return [name for name, _, _ in self.asked]

    def answer(self, name, body, headers):
        """Note a request; return status and body, or ``None`` to stay silent."""
        with self._guard:
            self.asked.append((name, body, headers))
            faults = self.faults.get(name)
            fault = faults.pop(0) if faults else self.always
        if fault == "stall":
            self.end.wait(60)
            return None
        if isinstance(fault, int):
            return fault, json.dumps({"error": {"message": f"fault {fault}"}}).encode()
        if isinstance(fault, bytes):
            return 200, fault
        content = good_texts(name, self.number) if fault is None else fault
        return 200, json.dumps(completion(content)).encode()

    def entered(self, step):
        with self._guard:
            self.under_way += step
            self.most_at_once = max(self.most_at_once, self.under_way)

    def close(self):
        self.end.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner = None

    def do_POST(self):
        self.owner.entered(1)
        try:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = _TERM.search(body["messages"][-1]["content"])[1]
            headers = {key.lower(): value for key, value in self.headers.items()}
            found = self.owner.answer(name, body, {"path": self.path, **headers})
            time.sleep(self.owner.pause)
        finally:
            self.owner.entered(-1)
        if found is None:
            self.close_connection = True
            return
        status, content = found
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if status == 429:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        """Tests look at ``asked`` instead."""


@contextmanager
def chat_server(number=2):
    """Run a server while the block runs."""
    server = ChatServer(number)
    try:
        yield server
    finally:
        server.close()
