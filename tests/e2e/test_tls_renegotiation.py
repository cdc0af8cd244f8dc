"""An upstream that asks for another handshake in the middle of a connection (TLS 1.2, RFC 5246 section 7.4.1.1).

`openssl s_server` is such an upstream: what a test writes to its standard input it sends, or for `r` it asks.
"""

import re
import select
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fastproxy.clock import monotonic
from tests.conftest import require_peer
from tests.e2e.support.proxies import Config, ConfigTemplate, Ports, running_envoy, running_fastproxy
from tests.e2e.support.templates import bootstrap, cluster, forward, listener, virtual_host
from tests.tls.pki import Authority

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_PATIENCE_S = 20.0
_ANSWER = b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok"


class AskingUpstream:
    """One `openssl s_server` that speaks TLS 1.2."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._seen = b""
        assert process.stdout is not None
        self._stdout = process.stdout
        self.port = int(self.wait_for(rb"ACCEPT [^\n]*:(\d+)\n").group(1))

    def wait_for(self, pattern: bytes) -> re.Match[bytes]:
        """Wait until it has printed this, what it was sent included; what is before is not looked at again."""
        until = monotonic() + _PATIENCE_S
        while True:
            found = re.search(pattern, self._seen)
            if found is not None:
                self._seen = self._seen[found.end() :]
                return found
            ready, _, _ = select.select([self._stdout], [], [], max(0.0, until - monotonic()))
            data = self._stdout.read1(65536) if ready else b""  # type: ignore[attr-defined]  # a buffered reader
            assert data, self._seen.decode("latin-1")
            self._seen += data

    def say(self, data: bytes) -> None:
        """Type something."""
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        self._process.stdin.flush()


@contextmanager
def _asking_upstream(folder: Path) -> Iterator[AskingUpstream]:
    chain, key = Authority("ca").issue("up.test").write(folder, "up")
    command = [
        str(require_peer("openssl")),
        "s_server",
        "-tls1_2",
        "-accept",
        "127.0.0.1:0",
        "-cert",
        str(chain),
        "-key",
        str(key),
    ]
    process = subprocess.Popen(
        [*command, "-crlf"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield AskingUpstream(process)
    finally:
        process.kill()
        process.communicate()


def _template(upstream: AskingUpstream, **tls: Any) -> ConfigTemplate:
    def template(ports: Ports) -> Config:
        made = cluster("up", upstream.port)
        validation = {"trust_chain_verification": "ACCEPT_UNTRUSTED"}
        context = {"@type": _TLS, "common_tls_context": {"validation_context": validation}, **tls}
        made["transport_socket"] = {"name": "tls", "typed_config": context}
        routes = [forward({"prefix": "/"}, "up")]
        hosts = [virtual_host("all", ["*"], routes)]
        return bootstrap(ports["admin"], [listener("plain", ports["plain"], hosts)], [made])

    return template


def _ask(port: int, upstream: AskingUpstream, *, renegotiates: bool) -> bytes:
    """What a client gets from an upstream that shakes hands once more before it answers, or that does not."""
    with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S) as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        upstream.wait_for(rb"GET / HTTP/1.1\r\n")
        upstream.say(b"r\n" if renegotiates else _ANSWER)
        return b"".join(iter(lambda: client.recv(65536), b""))


def _status(answer: bytes) -> bytes:
    return answer.partition(b"\r\n")[0]


@pytest.mark.peer("envoy", "openssl")
def test_an_upstream_that_renegotiates_is_refused_as_envoy_does(tmp_path: Path) -> None:
    """No second handshake on a connection whose certificate has been judged; the request is answered, none hangs."""
    for run in (running_envoy, running_fastproxy):
        with _asking_upstream(tmp_path) as upstream, run(_template(upstream), ("plain",), tmp_path) as proxy:
            port = proxy.ports["plain"]
            answer = _ask(port, upstream, renegotiates=True)
            assert _status(answer) == b"HTTP/1.1 503 Service Unavailable", run
            assert answer.endswith(b"reset reason: connection termination"), run
            upstream.wait_for(b"no renegotiation")
            # Nothing is left of it: the next request has a connection of its own.
            assert _status(_ask(port, upstream, renegotiates=False)) == b"HTTP/1.1 200 OK", run


@pytest.mark.peer("openssl")
def test_allow_renegotiation_is_warned_about_and_changes_nothing(tmp_path: Path) -> None:
    """The rules about certificates are checked in the first handshake: another one could show another certificate."""
    with (
        _asking_upstream(tmp_path) as upstream,
        running_fastproxy(_template(upstream, allow_renegotiation=True), ("plain",), tmp_path) as proxy,
    ):
        assert "TLS renegotiation is never done" in proxy.log()
        answer = _ask(proxy.ports["plain"], upstream, renegotiates=True)
        assert _status(answer) == b"HTTP/1.1 503 Service Unavailable"
        upstream.wait_for(b"no renegotiation")
