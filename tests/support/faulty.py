"""A proxy before a store, through which requests fail as they do on a bad day: by chance, but the same at each test."""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ERROR = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>on a bad day</Message></Error>"


class Faulty(ThreadingHTTPServer):
    """Every `each`-th request, about, fails: by 500, 503, a reset before or after the store did it, a late answer."""

    daemon_threads = True

    def __init__(self, store: int, each: int = 0, seed: int = 1) -> None:
        super().__init__(("127.0.0.1", 0), _Forward)
        self.store, self.each, self.dice, self.lock = store, each, random.Random(seed), threading.Lock()
        self.gone = ""  # what is asked for such a name fails
        self.delay = 0.0  # seconds that each file of data takes
        self.puts: list[str] = []
        self.faults = 0
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fault(self, path: str) -> str:
        """What becomes of the next request."""
        with self.lock:
            if self.gone and self.gone in path:
                return "before"
            if not self.each or self.dice.random() >= 1 / self.each:
                return ""
            self.faults += 1
            return self.dice.choice(["500", "503", "before", "after", "slow"])

    def handle_error(self, *_: Any) -> None:
        """A connection that was reset is meant to be."""


class _Forward(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Faulty

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.fault(self.path)
        if fault == "before":
            return self._reset()
        if fault in ("500", "503"):
            said = ERROR % (b"InternalError" if fault == "500" else b"SlowDown")
            return self._answer(int(fault), {"Content-Type": "application/xml"}, said)
        if fault == "slow":
            time.sleep(1)
        if self.command == "PUT":
            self.server.puts.append(self.path)
            time.sleep(self.server.delay if "/data/" in self.path else 0)
        store = http.client.HTTPConnection("127.0.0.1", self.server.store, timeout=30)
        store.request(self.command, self.path, body, dict(self.headers))
        answer = store.getresponse()
        said = answer.read()
        store.close()
        if fault == "after":
            return self._reset()
        self._answer(answer.status, dict(answer.getheaders()), said)

    def _answer(self, status: int, headers: dict[str, str], said: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        long = (
            len(said)
            if self.command != "HEAD"
            else int(headers.get("Content-Length", headers.get("content-length", 0)))
        )
        self.send_header("Content-Length", str(long))
        self.end_headers()
        self.wfile.write(said if self.command != "HEAD" else b"")

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _forward

    def log_message(self, *_: Any) -> None:
        """Nothing is to be said of requests."""
