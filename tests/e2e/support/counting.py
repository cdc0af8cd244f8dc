"""Upstreams that say who they are, and clients that count which of them answered."""

import http.client
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Named(ThreadingHTTPServer):
    daemon_threads = True
    name = ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One write for head and body, and no waiting for an acknowledgement in between.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        assert isinstance(self.server, _Named)
        body = self.server.name.encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


@contextmanager
def named_upstreams(names: str) -> Iterator[dict[str, int]]:
    """One server for each letter, which answers with it; ports by letter."""
    servers = []
    for name in names:
        server = _Named(("127.0.0.1", 0), _Handler)
        server.name = name
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
    try:
        yield {server.name: server.server_port for server in servers}
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def ask(port: int, path: str, requests: list[Mapping[str, str]]) -> str:
    """Make requests with these headers over one connection: the letters that answered, `-` for a 503."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    answers = []
    try:
        for headers in requests:
            connection.request("GET", path, headers=dict(headers))
            response = connection.getresponse()
            body = response.read().decode()
            assert response.status in {200, 503}, body
            answers.append(body if response.status == 200 else "-")
    finally:
        connection.close()
    return "".join(answers)
