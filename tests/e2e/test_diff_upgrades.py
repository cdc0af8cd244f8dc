"""Upgrades and CONNECT, byte by byte, as in Envoy."""

# ruff: noqa: E501 - a table, one connection a line

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import require_peer
from tests.e2e.support.cases import CONTENDER
from tests.e2e.support.differences import (
    BARE_101,
    UNASKED_101,
    UPGRADE_CONNECTION,
    UPGRADE_WITH_BODY,
    Difference,
)
from tests.e2e.support.proxies import Config, Ports, RunningProxy, running_envoy, running_fastproxy
from tests.e2e.support.templates import bootstrap, cluster, direct, forward, listener, virtual_host
from tests.e2e.support.tunnels import SeenTunnel, TunnelUpstream
from tests.e2e.support.wire import Downstream, WireResponse

pytestmark = pytest.mark.peer("envoy")

_WEBSOCKET = {"upgrade_type": "websocket"}
_CONNECT = {"upgrade_type": "CONNECT"}
_LOG_LINE = (
    "%REQ(:METHOD)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %BYTES_SENT%\n"
)
LISTENERS = ("on", "off", "proxied", "silent")


def _connect(*upgrades: Config) -> Config:
    return forward({"connect_matcher": {}}, upgrade_configs=list(upgrades))


_ROUTES: dict[str, list[Config]] = {
    "on": [
        forward({"prefix": "/off"}, upgrade_configs=[{**_WEBSOCKET, "enabled": False}]),
        forward({"prefix": "/short"}, timeout="0.3s"),
        forward({"prefix": "/rules"}),
        direct({"prefix": "/direct"}, 200, "direct"),
        _connect({**_CONNECT, "connect_config": {}}),
        forward({"prefix": "/"}),
    ],
    "off": [
        forward({"prefix": "/on"}, upgrade_configs=[_WEBSOCKET]),
        forward({"connect_matcher": {}}),
        forward({"prefix": "/"}),
    ],
    "proxied": [forward({"connect_matcher": {}}), forward({"prefix": "/"})],
    "silent": [forward({"prefix": "/"})],
}
_OPTIONS: dict[str, Config] = {
    "on": {"upgrade_configs": [_WEBSOCKET]},
    "off": {},
    "proxied": {"upgrade_configs": [_CONNECT, {**_WEBSOCKET, "enabled": False}, {"upgrade_type": "tcp"}]},
    "silent": {"upgrade_configs": [_WEBSOCKET], "stream_idle_timeout": "1s"},
}


@dataclass(frozen=True, slots=True)
class Talk:
    """One connection: a handshake, and what is said after the answer."""

    id: str
    handshake: bytes
    status: int
    says: bytes = b""
    """Echoed where the handshake succeeds."""
    before: bytes = b""
    """What the upstream said first."""
    listener: str = "on"
    differs: Difference | None = None
    fastproxy_status: int = 0
    closes: bool | None = None
    """The proxy closes by itself."""


def ws(
    target: str = "/ws",
    *lines: str,
    method: str = "GET",
    kind: str = "websocket",
    connection: str = "Upgrade",
) -> bytes:
    head = [
        f"{method} {target} HTTP/1.1",
        "Host: h.test",
        f"Connection: {connection}",
        f"Upgrade: {kind}",
        "Sec-WebSocket-Key: k",
        *lines,
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n"


def connect(*lines: str, target: str = "db.test:5432") -> bytes:
    return "\r\n".join((f"CONNECT {target} HTTP/1.1", "Host: other.test", *lines)).encode() + b"\r\n\r\n"


TALKS = [
    Talk("websocket", ws(), 101, b"hello \x00\xff there"),
    Talk("case", ws(kind="WebSocket", connection="keep-alive, upgrade"), 101, b"x"),
    Talk("large", ws(), 101, bytes(range(256)) * 4096),
    Talk("early-answer", ws("/early"), 101, b"x", before=b"EARLY"),
    Talk("head", ws(method="HEAD"), 101, b"x"),
    Talk("post", ws(method="POST", kind="tcp"), 101, b"x", listener="proxied"),
    Talk("te-trailers", ws("/ws", "TE: trailers", "Keep-Alive: 3", "Proxy-Connection: x"), 101, b"x"),
    Talk("http2-settings", ws("/ws", "Upgrade-Insecure-Requests: 1"), 101, b"x"),
    Talk("upstream-closes", ws(), 101, b"QUIT"),
    Talk("upstream-resets", ws(), 101, b"RESET"),
    Talk("nominated", ws("/ws", "X-Foo: 1", connection="x-foo, Upgrade"), 101, b"x", differs=UPGRADE_CONNECTION),
    Talk("200", ws("/200"), 200, closes=True),
    Talk("200-chunked", ws("/200-chunked"), 200, closes=True),
    Talk("204", ws("/204"), 204, closes=True),
    Talk("302", ws("/302"), 302, closes=True),
    Talk("403", ws("/403"), 403, closes=True),
    Talk("403-chunked", ws("/403-chunked"), 403, closes=True),
    Talk("500", ws("/500"), 500, closes=True),
    Talk("101-with-length", ws("/101-with-length"), 502, closes=True),
    Talk("bare-101", ws("/bare-101"), 101, differs=BARE_101, fastproxy_status=502),
    Talk("101-unasked", b"GET /early HTTP/1.1\r\nHost: h.test\r\n\r\n", 101, differs=UNASKED_101, fastproxy_status=502),
    Talk("route-off", ws("/off"), 403, closes=True),
    Talk("not-configured", ws(), 403, listener="off", closes=True),
    Talk("route-on", ws("/on"), 101, b"x", listener="off"),
    Talk("manager-off", ws(), 403, listener="proxied", closes=True),
    Talk("another-type", ws(kind="foo"), 403, closes=True),
    Talk("two-types", ws(kind="websocket, foo"), 403, closes=True),
    Talk("direct", ws("/direct"), 200, closes=True),
    Talk("timeout-is-for-the-answer", ws("/short"), 101, b"x"),
    Talk("idle", ws(), 101, listener="silent", closes=True),
    Talk("body", ws("/ws", "Transfer-Encoding: chunked", method="POST") + b"0\r\n\r\n", 101, differs=UPGRADE_WITH_BODY, fastproxy_status=403),
    Talk("tunnel", connect(), 200, b"raw \x00 bytes"),
    Talk("tunnel-upstream-closes", connect(), 200, b"QUIT"),
    Talk("connect-proxied", connect(), 200, b"x", listener="proxied"),
    Talk("connect-ipv6", connect(target="[::1]:443"), 200, b"x", listener="proxied"),
    Talk("connect-length-0", connect("Content-Length: 0"), 200, b"x", listener="proxied"),
    Talk("connect-length", connect("Content-Length: 5"), 400, listener="proxied", closes=True),
    Talk("connect-chunked", connect("Transfer-Encoding: chunked"), 501, listener="proxied", closes=True),
    Talk("connect-path", connect(target="/x"), 400, listener="proxied", closes=True),
    Talk("connect-not-configured", connect(), 403, listener="off", closes=True),
    Talk("connect-no-route", connect(), 404, listener="silent", closes=True),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class TunnelPair:
    """Both proxies and the upstream behind them."""

    envoy: RunningProxy
    contender: RunningProxy
    upstream: TunnelUpstream


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TunnelPair]:
    """Envoy and FastProxy over one file."""
    require_peer("envoy")
    directory = tmp_path_factory.mktemp("upgrades")
    second = directory / "second"
    second.mkdir()
    with ExitStack() as stack:
        upstream = stack.enter_context(TunnelUpstream())
        start = running_envoy if CONTENDER == "envoy" else running_fastproxy
        yield TunnelPair(
            stack.enter_context(running_envoy(_template(upstream, directory), LISTENERS, directory)),
            stack.enter_context(start(_template(upstream, second), LISTENERS, second)),
            upstream,
        )


def _template(upstream: TunnelUpstream, directory: Path) -> "_Template":
    return _Template(upstream, str(directory))


@dataclass(frozen=True, slots=True)
class _Template:
    upstream: TunnelUpstream
    directory: str

    def __call__(self, ports: Ports) -> Config:
        log = {
            "name": "file",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                "path": f"{self.directory}/access.log",
                "log_format": {"text_format_source": {"inline_string": _LOG_LINE}},
            },
        }
        return bootstrap(
            ports["admin"],
            [
                listener(
                    name,
                    ports[name],
                    [virtual_host("all", ["*"], _ROUTES[name])],
                    options={**_OPTIONS[name], "access_log": [log]},
                )
                for name in LISTENERS
            ],
            [cluster("echo", self.upstream.port)],
        )


@dataclass(frozen=True, slots=True)
class _Seen:
    response: WireResponse
    echoed: bytes
    closed: bool
    upstream: list[SeenTunnel]


def _perform(talk: Talk, proxy: RunningProxy, upstream: TunnelUpstream) -> _Seen:
    upstream.take()
    with Downstream(proxy.ports[talk.listener]) as downstream:
        downstream.send(talk.handshake)
        # What follows a 2xx to CONNECT is no body; HEAD is the method whose answers have none.
        connects = talk.handshake.startswith(b"CONNECT ") and talk.status == 200
        response = downstream.read_response(b"HEAD" if connects else b"GET")
        echoed = b""
        closed = False
        if talk.says:
            downstream.send(talk.says)
            if talk.says == b"RESET":
                echoed = downstream.read_to_end()
            elif talk.says == b"QUIT":
                echoed = downstream.read_some(3)
            else:
                echoed = downstream.read_some(len(talk.says) + len(talk.before))
                assert echoed == talk.before + talk.says
        if talk.closes or talk.says in (b"QUIT", b"RESET"):
            closed = downstream.is_closed_by_peer()
    return _Seen(response, echoed, closed, upstream.take())


def _view(seen: _Seen) -> dict[str, object]:
    headers = sorted(
        (name.lower(), b"<own>" if name.lower() in (b"date", b"server") else value)
        for name, value in seen.response.headers
    )
    heads = [re.sub(rb"(x-request-id|x-forwarded-for): [^\r]*", rb"\1: -", one.head) for one in seen.upstream]
    return {
        "status line": seen.response.status_line,
        "headers": headers,
        "body": seen.response.body,
        "echoed": seen.echoed,
        "closed": seen.closed,
        "upstream heads": [head.split(b"\r\n")[0:1] + sorted(head.split(b"\r\n")[1:]) for head in heads],
        "upstream data": [bytes(one.data) for one in seen.upstream],
    }


@pytest.mark.parametrize("talk", TALKS, ids=lambda talk: talk.id)
def test_handshakes_and_tunnels_are_as_in_envoy(pair: TunnelPair, talk: Talk) -> None:
    """Heads, bytes both ways, and who closes."""
    expected = _perform(talk, pair.envoy, pair.upstream)
    assert expected.response.status == talk.status
    if CONTENDER == "envoy" and talk.differs is not None:
        return
    found = _perform(talk, pair.contender, pair.upstream) if not talk.fastproxy_status else None
    if talk.differs is None:
        assert found is not None
        assert _view(found) == _view(expected)
        return
    if found is None:
        with Downstream(pair.contender.ports[talk.listener]) as downstream:
            downstream.send(talk.handshake)
            assert downstream.read_response().status == talk.fastproxy_status
        return
    assert _view(found) != _view(expected), f"`{talk.differs.id}` makes no difference any more"


def test_s52_early_bytes_do_not_reach_an_upstream_that_refuses(pair: TunnelPair) -> None:
    """To it they would be the next request."""
    early = Talk("early", ws("/403") + b"GET /smuggled HTTP/1.1\r\nHost: h.test\r\n\r\n", 403, closes=True)
    for proxy in (pair.envoy, pair.contender):
        (seen,) = _perform(early, proxy, pair.upstream).upstream
        assert bytes(seen.data) == b""


def test_access_logs_say_how_a_tunnel_ended(pair: TunnelPair) -> None:
    """One line at its end: 101, the bytes that passed, and who closed."""
    lines: dict[str, list[str]] = {}
    for proxy in (pair.envoy, pair.contender):
        path = proxy.log_path.parent / "access.log"
        known = _skip_log(pair, proxy, path)
        for talk in (
            Talk("a", ws(), 101, b"12345"),
            Talk("b", ws(), 101, b"QUIT"),
            Talk("c", ws("/200"), 200, closes=True),
        ):
            _perform(talk, proxy, pair.upstream)
        lines[proxy.name if proxy is pair.envoy else "contender"] = _wait_for_lines(proxy, path, known, 3)
    first, second = lines.values()
    assert sorted(first) == sorted(second)
    assert sorted(first) == [
        "GET 101 DC downstream_remote_disconnect 5 5",
        "GET 101 UC upstream_reset_after_response_started{connection_termination} 4 3",
        "GET 200 - websocket_handshake_unsuccessful 0 0",
    ]


def _skip_log(pair: TunnelPair, proxy: RunningProxy, path: Path) -> int:
    """The number of lines that earlier tests have caused: lines may come late, but in order."""
    fence = "GET 101 DC downstream_remote_disconnect 23 23"
    _perform(Talk("fence", ws(), 101, b"f" * 23), proxy, pair.upstream)
    for _ in range(400):
        found = _lines(path)
        if fence in found:
            return found.index(fence) + 1
        proxy.admin("/reopen_logs", "POST")
    raise AssertionError(_lines(path))


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _wait_for_lines(proxy: RunningProxy, path: Path, known: int, count: int) -> list[str]:
    for _ in range(400):
        found = _lines(path)[known:]
        if len(found) >= count:
            return found
        # Every admin request takes a turn of the proxy's loop; reopening flushes.
        proxy.admin("/reopen_logs", "POST")
    raise AssertionError(_lines(path)[known:])
