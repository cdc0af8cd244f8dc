"""TCP connections beside Envoy: the same transcript on every connection, and the same lines in the access log."""

import os
import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.conftest import require_peer
from tests.e2e.support.proxies import (
    Config,
    Ports,
    RunningProxy,
    resident_bytes,
    running_envoy,
    running_fastproxy,
    workers_of,
)
from tests.e2e.support.templates import address, bootstrap, cluster

_TYPES = "type.googleapis.com/envoy.extensions"
_LINE = (
    "LOG %RESPONSE_FLAGS% %RESPONSE_CODE% %BYTES_RECEIVED% %BYTES_SENT% %PROTOCOL% %UPSTREAM_CLUSTER% "
    "%REQUESTED_SERVER_NAME% %ACCESS_LOG_TYPE%\n"
)
_LISTENERS = ("plain", "refused", "empty", "unknown", "idle", "duration", "sni", "v1", "v2", "chained")
_WAIT_S = 10.0


def tcp_proxy(cluster_name: str, **fields: Any) -> Config:
    """The network filter."""
    log = {
        "name": "log",
        "typed_config": {
            "@type": f"{_TYPES}.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"text_format_source": {"inline_string": _LINE}},
        },
    }
    config = {
        "@type": f"{_TYPES}.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "t",
        "cluster": cluster_name,
        "access_log": [log],
        **fields,
    }
    return {"name": "envoy.filters.network.tcp_proxy", "typed_config": config}


def tcp_listener(name: str, port: int, cluster_name: str, *listener_filters: Config, **fields: Any) -> Config:
    """A listener that ends in it."""
    return {
        "name": name,
        "address": address(port),
        "listener_filters": list(listener_filters),
        "filter_chains": [{"filters": [tcp_proxy(cluster_name, **fields)]}],
    }


def with_header(name: str, port: int, version: str) -> Config:
    """A cluster that wants a PROXY header."""
    return cluster(
        name,
        port,
        transport_socket={
            "name": "envoy.transport_sockets.upstream_proxy_protocol",
            "typed_config": {
                "@type": f"{_TYPES}.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
                "config": {"version": version},
                "transport_socket": {
                    "name": "envoy.transport_sockets.raw_buffer",
                    "typed_config": {"@type": f"{_TYPES}.transport_sockets.raw_buffer.v3.RawBuffer"},
                },
            },
        },
    )


def template(upstream: int) -> Callable[[Ports], Config]:
    """Everything, over one upstream that the tests play."""

    def build(ports: Ports) -> Config:
        inspector = {
            "name": "tls",
            "typed_config": {"@type": f"{_TYPES}.filters.listener.tls_inspector.v3.TlsInspector"},
        }
        proxy_header = {
            "name": "pp",
            "typed_config": {"@type": f"{_TYPES}.filters.listener.proxy_protocol.v3.ProxyProtocol"},
        }
        sni = tcp_listener("sni", ports["sni"], "a", inspector)
        sni["filter_chains"] = [
            {"filter_chain_match": {"server_names": ["a.test"]}, "filters": [tcp_proxy("a")]},
            {"filter_chain_match": {"server_names": ["*.b.test"]}, "filters": [tcp_proxy("b")]},
        ]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            closed = probe.getsockname()[1]
        return bootstrap(
            ports["admin"],
            [
                tcp_listener("plain", ports["plain"], "a"),
                tcp_listener("refused", ports["refused"], "closed"),
                tcp_listener("empty", ports["empty"], "empty"),
                tcp_listener("unknown", ports["unknown"], "nowhere"),
                tcp_listener("idle", ports["idle"], "a", idle_timeout="0.3s"),
                tcp_listener("duration", ports["duration"], "a", max_downstream_connection_duration="0.3s"),
                sni,
                tcp_listener("v1", ports["v1"], "v1"),
                tcp_listener("v2", ports["v2"], "v2"),
                tcp_listener("chained", ports["chained"], "v2", proxy_header),
            ],
            [
                cluster("a", upstream),
                cluster("b", upstream),
                cluster("closed", closed),
                {"name": "empty", "type": "STATIC", "connect_timeout": "1s"},
                with_header("v1", upstream, "V1"),
                with_header("v2", upstream, "V2"),
            ],
        )

    return build


@dataclass
class Stage:
    """One proxy, and the upstream behind it."""

    proxy: RunningProxy
    server: socket.socket
    opened: list[socket.socket] = field(default_factory=list)

    def connect(self, listener: str) -> socket.socket:
        """A client."""
        sock = socket.create_connection(("127.0.0.1", self.proxy.ports[listener]), timeout=_WAIT_S)
        self.opened.append(sock)
        return sock

    def accept(self, token: bytes) -> tuple[socket.socket, bytes]:
        """The connection on which `token` comes, and all that came until then; readiness checks do not say it."""
        while True:
            sock, _ = self.server.accept()
            sock.settimeout(_WAIT_S)
            self.opened.append(sock)
            head = b""
            with suppress(ConnectionResetError):
                while token not in head and (piece := sock.recv(65536)):
                    head += piece
            if token in head:
                return sock, head

    def pair(
        self, listener: str = "plain", first: bytes = b"first"
    ) -> tuple[socket.socket, socket.socket, bytes]:
        """Both ends of a connection on which the client has sent `first`, and how it arrived."""
        client = self.connect(listener)
        client.sendall(first)
        return client, *self.accept(b"first")


def read(sock: socket.socket, size: int) -> bytes | str:
    """So many bytes, or what comes before the end, or how it ends."""
    found = b""
    try:
        while len(found) < size and (piece := sock.recv(size - len(found))):
            found += piece
    except ConnectionResetError:
        return "reset"
    return found


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def client_ends_first(stage: Stage) -> list[object]:
    client, upstream, head = stage.pair()
    client.shutdown(socket.SHUT_WR)
    seen: list[object] = [head, read(upstream, 1)]
    upstream.sendall(b"late")
    seen.append(read(client, 4))
    upstream.close()
    return [*seen, read(client, 1)]


def upstream_ends_first(stage: Stage) -> list[object]:
    client, upstream, head = stage.pair()
    seen: list[object] = [head]
    upstream.shutdown(socket.SHUT_WR)
    seen.append(read(client, 1))
    client.sendall(b"late")
    seen.append(read(upstream, 4))
    client.close()
    return [*seen, read(upstream, 1)]


def upstream_resets(stage: Stage) -> list[object]:
    client, upstream, head = stage.pair()
    seen: list[object] = [head]
    reset(upstream)
    return [*seen, read(client, 1)]


def client_resets(stage: Stage) -> list[object]:
    client, upstream, head = stage.pair()
    seen: list[object] = [head]
    reset(client)
    return [*seen, read(upstream, 1)]


def no_upstream(listener: str) -> Callable[[Stage], list[object]]:
    def play(stage: Stage) -> list[object]:
        return [read(stage.connect(listener), 1)]

    return play


def ended_by_the_proxy(listener: str) -> Callable[[Stage], list[object]]:
    def play(stage: Stage) -> list[object]:
        client, upstream, head = stage.pair(listener)
        return [head, read(client, 1), read(upstream, 1)]

    return play


def client_hello(name: str) -> bytes:
    """The first bytes of a TLS client."""
    context = ssl.create_default_context()
    outgoing = ssl.MemoryBIO()
    session = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with suppress(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


def passes_tls_on(name: str, *, step: int = 65536) -> Callable[[Stage], list[object]]:
    def play(stage: Stage) -> list[object]:
        hello = client_hello(name)
        client = stage.connect("sni")
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(hello), step):
            client.sendall(hello[start : start + step])
        upstream, head = stage.accept(hello)
        seen: list[object] = [head == hello]
        upstream.sendall(b"server hello")
        seen.append(read(client, 12))
        client.close()
        upstream.close()
        return seen

    return play


def matches_no_name(first: bytes) -> Callable[[Stage], list[object]]:
    def play(stage: Stage) -> list[object]:
        client = stage.connect("sni")
        with suppress(OSError):
            client.sendall(first)
        return [read(client, 1) in {b"", "reset"}]

    return play


def tells_the_client(listener: str, before: bytes = b"") -> Callable[[Stage], list[object]]:
    def play(stage: Stage) -> list[object]:
        client, upstream, head = stage.pair(listener, before + b"first")
        for port in (client.getsockname()[1], stage.proxy.ports[listener]):
            head = head.replace(str(port).encode(), b"PORT").replace(struct.pack("!H", port), b"PP")
        client.close()
        upstream.close()
        return [head]

    return play


SCENARIOS: dict[str, Callable[[Stage], list[object]]] = {
    "the client ends first": client_ends_first,
    "the upstream ends first": upstream_ends_first,
    "the upstream resets": upstream_resets,
    "the client resets": client_resets,
    "refused": no_upstream("refused"),
    "no endpoint": no_upstream("empty"),
    "no cluster": no_upstream("unknown"),
    "idle": ended_by_the_proxy("idle"),
    "duration": ended_by_the_proxy("duration"),
    "server name": passes_tls_on("a.test"),
    "wildcard server name": passes_tls_on("x.y.b.test"),
    "hello in pieces of one byte": passes_tls_on("a.test", step=1),
    "another server name": matches_no_name(client_hello("c.test")),
    "garbage instead of a hello": matches_no_name(b"\x16\x03\x01\xff\xff" + b"\xff" * 40000),
    "no hello": matches_no_name(b"GET / HTTP/1.1\r\n\r\n"),
    "PROXY header, version 1": tells_the_client("v1"),
    "PROXY header, version 2": tells_the_client("v2"),
    "PROXY header in and out": tells_the_client("chained", b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 2000\r\n"),
}


@dataclass(frozen=True, slots=True)
class Played:
    """What one proxy did in every scenario, and what it logged about all."""

    seen: dict[str, list[object]]
    lines: list[str]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Played, Played]:
    """Envoy, and FastProxy."""
    require_peer("envoy")
    found = []
    for run in (running_envoy, running_fastproxy):
        with ExitStack() as stack:
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            server.settimeout(_WAIT_S)
            directory = tmp_path_factory.mktemp("tcp")
            proxy = stack.enter_context(run(template(server.getsockname()[1]), _LISTENERS, directory))
            stage = Stage(proxy, server)
            seen = {}
            for name, play in SCENARIOS.items():
                try:
                    seen[name] = play(stage)
                finally:
                    for sock in stage.opened:
                        sock.close()
                    stage.opened.clear()
            proxy.stop()
            lines = [line for line in proxy.log().splitlines() if line.startswith("LOG ")]
            found.append(Played(seen, sorted(lines)))
    return found[0], found[1]


@pytest.mark.peer("envoy")
@pytest.mark.parametrize("name", SCENARIOS)
def test_both_ends_see_the_same(played: tuple[Played, Played], name: str) -> None:
    """Bytes, ends and resets."""
    envoy, fastproxy = played
    assert fastproxy.seen[name] == envoy.seen[name]


@pytest.mark.peer("envoy")
def test_access_logs_say_the_same(played: tuple[Played, Played]) -> None:
    """Flags, bytes, cluster and server name of every connection, those of the readiness checks included."""
    envoy, fastproxy = played

    def without_empty(lines: list[str]) -> list[str]:
        # A check of readiness may be made more than once, and may end before its upstream is there.
        return [line for line in lines if " 0 0 0 - " not in line or not line.startswith("LOG - ")]

    assert set(without_empty(fastproxy.lines)) == set(without_empty(envoy.lines))


@pytest.mark.skipif(
    "FASTPROXY_LONG_TESTS" not in os.environ, reason="moves a gigabyte: FASTPROXY_LONG_TESTS=1"
)
def test_a_gigabyte_leaves_memory_flat(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing piles up: what is held is bounded by the buffer limit."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(_WAIT_S)
        directory = tmp_path_factory.mktemp("gigabyte")
        with running_fastproxy(template(server.getsockname()[1]), _LISTENERS, directory) as proxy:
            stage = Stage(proxy, server)
            client, upstream, _ = stage.pair()
            (worker,) = workers_of(proxy)
            before = resident_bytes(worker)
            block = b"x" * (256 * 1024)
            peak = before
            for index in range(4096):
                upstream.sendall(block)
                assert len(read(client, len(block))) == len(block)
                if index % 256 == 0:
                    peak = max(peak, resident_bytes(worker))
            assert peak - before < 16 * 1024 * 1024
            for sock in stage.opened:
                sock.close()
