"""A proxy in front of a server that loses connections and answers with errors when a test says so."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Fault = tuple[int, bytes] | None  # an answer, or None: the connection is lost in the middle of the body


class Weather:
    """Hands requests on to a port; ``faults`` says which go wrong: each call is asked with the request's path."""

    def __init__(self, port: int) -> None:
        self.requests: list[str] = []
        self.fault: Callable[[str], Fault | bool] = lambda path: False
        weather = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                weather.requests.append(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fault = weather.fault(self.path)
                if isinstance(fault, tuple):
                    self.answer(fault[0], [("Content-Type", "application/xml")], fault[1])
                    return
                inner = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                inner.request(self.command, self.path, body or None, dict(self.headers.items()))
                response = inner.getresponse()
                content = response.read()
                inner.close()
                self.answer(response.status, response.getheaders(), content, is_lost=fault is None)

            def answer(self, status: int, headers: Any, content: bytes, is_lost: bool = False) -> None:
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in ("transfer-encoding", "connection"):
                        self.send_header(name, value)
                if "content-length" not in [name.lower() for name, _value in headers]:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if is_lost else content)
                if is_lost:
                    self.close_connection = True

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_one

            def log_message(self, *words: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port: int = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def end(self) -> None:
        """Stop listening."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
