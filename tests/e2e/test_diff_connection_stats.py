"""The numbers of connections beside Envoy's: after each way in which one can go, `/stats` says the same.

A client plays one connection to each proxy and waits until it is over there, too; then what every counter has grown by
is compared, by name.
"""

import re
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require_peer
from tests.e2e.support.proxies import Config, Ports, RunningProxy, running_envoy, running_fastproxy
from tests.e2e.support.templates import (
    address,
    bootstrap,
    cluster,
    direct,
    forward,
    listener,
    redirect,
    virtual_host,
)
from tests.e2e.support.tls_setup import INSPECTOR, Pki, proxy_protocol
from tests.e2e.support.upstream import After, Answer, ScriptedUpstream
from tests.e2e.test_diff_tcp_proxy import tcp_proxy

_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
_HALF = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nok"
_SCRIPTS = {
    "early": Answer(before_body=True),
    "dies": Answer(parts=(_HALF,), after=After.CLOSE),
    "nothing": Answer(parts=(), after=After.CLOSE),
    "hang": Answer(parts=(), after=After.HANG),
    "half": Answer(parts=(_HALF,), after=After.HANG),
    "close": Answer(after=After.CLOSE),
    "switch": Answer(parts=(_SWITCH,), after=After.HANG),
    "switch-and-close": Answer(parts=(_SWITCH,), after=After.CLOSE),
}
_MANAGERS: dict[str, Config] = {
    "plain": {},
    "never": {"delayed_close_timeout": "0s"},
    "idle": {"common_http_protocol_options": {"idle_timeout": "0.5s"}, "drain_timeout": "0.4s"},
    "aged": {"common_http_protocol_options": {"max_connection_duration": "0.4s"}, "drain_timeout": "2s"},
    "counted": {"common_http_protocol_options": {"max_requests_per_connection": 2}},
    "hurried": {"request_timeout": "0.3s"},
    "strict": {
        "normalize_path": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
    },
    "dropping": {
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "common_http_protocol_options": {"headers_with_underscores_action": "DROP_HEADER"},
    },
}
_OTHERS = (
    "tls",
    "mutual",
    "tcp",
    "inspected",
    "unmatched",
    "limited",
    "behind",
    "behind_v2",
    "perhaps_behind",
    "small",
)
_LISTENERS = (*_MANAGERS, *_OTHERS)
_COMPARED = re.compile(
    r"(http1?|listener|tcp|proxy_proto|tls_inspector|cluster\.service)\.(?!admin)|downstream_cx_proxy_proto_error"
)
#: Sizes of heads differ; how often reading stops is a proxy's own affair; the TLS library does not tell the curve.
#: A redirect is an answer of the route's own for Envoy, and nothing else. The rest moves with time.
_NOT_COMPARED = re.compile(
    r"bytes|_ms$|_time$|flow_control|\.curves\.|rq_redirect|per_socket_event|internal|external"
    r"|total_match_count|update_|membership|max_host_weight|warming|service\.version"
)
#: FastProxy says at once that it closes; Envoy leaves the connection open for `delayed_close_timeout` first, so that
#: a client that waits for the end is always one that "did not close in time".
_OWN_END = "downstream_cx_delayed_close_timeout"

Play = Callable[[RunningProxy], None]


def _template(upstream: int, pki: Pki) -> Callable[[Ports], Config]:
    hosts = [
        virtual_host(
            "all",
            ["*"],
            [
                direct({"prefix": "/direct"}, 200, "hi"),
                redirect({"prefix": "/redirect"}, path_redirect="/x"),
                forward({"prefix": "/none"}, "empty"),
                forward({"prefix": "/limited"}, "service", timeout="0.3s"),
                forward({"prefix": "/ws"}, "service", upgrade_configs=[{"upgrade_type": "websocket"}]),
                forward({"prefix": "/"}, "service"),
            ],
        )
    ]

    def build(ports: Ports) -> Config:
        def one(name: str, options: Config | None = None, **more: Any) -> Config:
            made = listener(name, ports[name], hosts, options=options, listener_options={"stat_prefix": name})
            return {**made, **more}

        def secured(name: str, **validation: Any) -> Config:
            made = one(name)
            made["filter_chains"][0]["transport_socket"] = pki.socket("first", **validation)
            return made

        buffered = listener(
            "small",
            ports["small"],
            hosts,
            filters=[
                {
                    "name": "buffer",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer",
                        "max_request_bytes": 100,
                    },
                }
            ],
            listener_options={"stat_prefix": "small"},
        )
        unmatched = one("unmatched", listener_filters=[INSPECTOR])
        unmatched["filter_chains"][0]["filter_chain_match"] = {"server_names": ["x.test"]}
        made = bootstrap(
            ports["admin"],
            [
                *(one(name, options) for name, options in _MANAGERS.items()),
                secured("tls"),
                secured("mutual", validation={}, require_client_certificate=True),
                {
                    "name": "tcp",
                    "stat_prefix": "tcp",
                    "address": address(ports["tcp"]),
                    "filter_chains": [{"filters": [tcp_proxy("service")]}],
                },
                one("inspected", listener_filters=[INSPECTOR], listener_filters_timeout="0.3s"),
                unmatched,
                one("limited"),
                buffered,
                one("behind", listener_filters=[proxy_protocol()], listener_filters_timeout="0.3s"),
                one("behind_v2", listener_filters=[proxy_protocol(disallowed_versions=["V1"])]),
                one(
                    "perhaps_behind",
                    listener_filters=[proxy_protocol(allow_requests_without_proxy_protocol=True)],
                ),
            ],
            [cluster("service", upstream), cluster("empty")],
        )
        limits = {"envoy": {"resource_limits": {"listener": {"limited": {"connection_limit": 1}}}}}
        return {**made, "layered_runtime": {"layers": [{"name": "limits", "static_layer": limits}]}}

    return build


@pytest.fixture(scope="module")
def proxies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningProxy, RunningProxy]]:
    """Envoy and FastProxy with the same listeners."""
    require_peer("envoy")
    directory: Path = tmp_path_factory.mktemp("connections")
    with ExitStack() as stack:
        upstream = stack.enter_context(ScriptedUpstream(_SCRIPTS))
        template = _template(upstream.port, Pki(directory))
        yield (
            stack.enter_context(running_envoy(template, _LISTENERS, directory)),
            stack.enter_context(running_fastproxy(template, _LISTENERS, directory)),
        )


class Client:
    """One connection."""

    def __init__(self, proxy: RunningProxy, name: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", proxy.ports[name]), timeout=20)

    def shake_hands(self) -> None:
        """Go over to TLS, without any check."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.socket = context.wrap_socket(self.socket)

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def get(self, path: str, *headers: str) -> None:
        """Send a request."""
        lines = [f"GET {path} HTTP/1.1", "host: a", *headers, "", ""]
        self.send("\r\n".join(lines).encode())

    def read(self) -> bytes:
        """Read what is there."""
        return self.socket.recv(65536)

    def read_to_end(self) -> None:
        """Read until the proxy closes."""
        with suppress(ConnectionError):
            while self.read():
                pass

    def close(self) -> None:
        """Leave."""
        self.socket.close()

    def reset(self) -> None:
        """Leave without a word."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def _say(name: str, data: bytes, *, reads: bool = True) -> Play:
    """Send bytes, wait for an answer, leave."""

    def play(proxy: RunningProxy) -> None:
        client = Client(proxy, name)
        client.send(data)
        if reads:
            client.read()
        client.close()

    return play


def _ask(name: str, path: str, *headers: str, ends: bool = False) -> Play:
    """Send a request, wait for its answer or for the end, leave."""

    def play(proxy: RunningProxy) -> None:
        client = Client(proxy, name)
        client.get(path, *headers)
        if ends:
            client.read_to_end()
        else:
            client.read()
        client.close()

    return play


def _until_end(name: str, data: bytes) -> Play:
    """Send bytes, and wait until the proxy closes."""

    def play(proxy: RunningProxy) -> None:
        client = Client(proxy, name)
        client.send(data)
        client.read_to_end()
        client.close()

    return play


def _leave(name: str, path: str, script: str, *, resets: bool) -> Play:
    """Leave while a request is being served."""

    def play(proxy: RunningProxy) -> None:
        client = Client(proxy, name)
        client.get(path, f"x-script: {script}")
        proxy.wait_until(lambda: _stats(proxy)[f"http.{name}.downstream_rq_active"] == 1)
        if resets:
            client.reset()
        else:
            client.close()

    return play


def _secured(name: str, *headers: str, ends: bool = False) -> Play:
    def play(proxy: RunningProxy) -> None:
        client = Client(proxy, name)
        with suppress(ssl.SSLError, ConnectionError):
            client.shake_hands()
            client.get("/direct", *headers)
            if ends:
                client.read_to_end()
            else:
                client.read()
        client.close()

    return play


def _twice(name: str, *, waits_for: str = "") -> Play:
    """Two requests, the second one when a counter has moved; then wait for the end."""

    def play(proxy: RunningProxy) -> None:
        client = Client(proxy, name)
        client.get("/direct")
        client.read()
        if waits_for:
            before = _stats(proxy)
            if not before[waits_for]:
                proxy.wait_until(lambda: _stats(proxy)[waits_for] > 0)
        client.get("/direct")
        client.read_to_end()
        client.close()

    return play


def _overflow(proxy: RunningProxy) -> None:
    first = Client(proxy, "limited")
    first.get("/direct")
    first.read()
    second = Client(proxy, "limited")
    second.read_to_end()
    second.close()
    first.close()


def _silence(name: str, *, waits: bool) -> Play:
    """Say nothing: leave, or wait until the proxy closes."""

    def play(proxy: RunningProxy) -> None:
        client = Client(proxy, name)
        if waits:
            client.read_to_end()
        client.close()

    return play


_V1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
_V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\1\2\3\4\5\6\7\x08\0\1\0\2"
_GET = b"GET /direct HTTP/1.1\r\nhost: a\r\n\r\n"
_POST = b"POST %s HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n%s\r\nabc"
PLAYS: dict[str, Play] = {
    "nothing-said": _silence("plain", waits=False),
    "one-request": _ask("plain", "/direct"),
    "forwarded": _ask("plain", "/x"),
    "redirect": _ask("plain", "/redirect"),
    "no-endpoint": _ask("plain", "/none"),
    "close-asked-for": _ask("plain", "/direct", "connection: close", ends=True),
    "garbage": _until_end("plain", b"GARBAGE\r\n\r\n"),
    "garbage-without-delay": _until_end("never", b"GARBAGE\r\n\r\n"),
    "head-too-large": _until_end("plain", b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 70000 + b"\r\n\r\n"),
    "half-a-head": _say("plain", b"GET / HT", reads=False),
    "broken-chunk": _until_end(
        "plain", b"POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nZZ\r\n"
    ),
    "answered-before-the-body": _until_end("plain", _POST % (b"/direct", b"")),
    "answered-early-by-the-upstream": _until_end("plain", _POST % (b"/x", b"x-script: early\r\n")),
    "upstream-ends-in-the-body": _ask("plain", "/x", "x-script: dies", ends=True),
    "upstream-says-nothing": _ask("plain", "/x", "x-script: nothing"),
    "too-slow": _ask("plain", "/limited", "x-script: hang"),
    "too-slow-in-the-body": _ask("plain", "/limited", "x-script: half", ends=True),
    "body-too-large": _until_end(
        "small",
        b"POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1000\r\n" + bytes(4096),
    ),
    "client-leaves": _leave("plain", "/x", "hang", resets=False),
    "client-resets": _leave("plain", "/x", "hang", resets=True),
    "request-too-slow": _until_end("hurried", _POST % (b"/x", b"")),
    "idle": _ask("idle", "/direct", ends=True),
    "idle-from-the-begin": _silence("idle", waits=True),
    "request-in-the-drain": _twice("aged", waits_for="http.aged.downstream_cx_max_duration_reached"),
    "last-of-two": _twice("counted"),
    "path-to-ask-for-again": _ask("strict", "/a%2fb"),
    "header-name-refused": _ask("strict", "/direct", "a_b: 1", ends=True),
    "header-names-dropped": _ask("dropping", "/direct", "a_b: 1", "c_d: 1"),
    "version-refused": _until_end("plain", b"GET / HTTP/1.0\r\nhost: a\r\n\r\n"),
    "upgrade-refused": _ask("plain", "/direct", "connection: upgrade", "upgrade: websocket", ends=True),
    "upgrade-left": _ask("plain", "/ws", "connection: upgrade", "upgrade: websocket", "x-script: switch"),
    "upgrade-ended": _ask(
        "plain", "/ws", "connection: upgrade", "upgrade: websocket", "x-script: switch-and-close", ends=True
    ),
    "tls": _secured("tls"),
    "tls-close-asked-for": _secured("tls", "connection: close", ends=True),
    "tls-garbage": _until_end("tls", b"GARBAGE\r\n\r\n"),
    "tls-nothing-said": _silence("tls", waits=False),
    "tls-without-certificate": _secured("mutual"),
    "tcp-client-ends": _ask("tcp", "/x"),
    "tcp-upstream-ends": _ask("tcp", "/x", "x-script: close", ends=True),
    "inspected": _ask("inspected", "/direct"),
    "inspected-too-late": _silence("inspected", waits=True),
    "inspected-left": _silence("inspected", waits=False),
    "no-chain": _until_end("unmatched", _GET),
    "above-the-limit": _overflow,
    "header-v1": _say("behind", _V1 + _GET),
    "header-v2": _say("behind", _V2 + _GET),
    "header-missing": _until_end("behind", _GET),
    "header-v1-wrong": _until_end("behind", b"PROXY TCP4 192.0.2.1 x 1 2\r\n"),
    "header-v2-wrong": _until_end("behind", _V2[:12] + b"\x51\x11\0\x0c" + bytes(12)),
    "header-in-part": _say("behind", _V1[:9], reads=False),
    "header-too-late": _silence("behind", waits=True),
    "header-of-another-version": _until_end("behind_v2", _V1 + _GET),
    "header-not-needed": _say("perhaps_behind", _GET),
}


def _stats(proxy: RunningProxy) -> dict[str, int]:
    found = re.findall(r"^([^:\s]+): (-?\d+)$", proxy.admin("/stats")[1], re.MULTILINE)
    return {name: int(value) for name, value in found if _COMPARED.match(name)}


def _is_over(stats: dict[str, int]) -> bool:
    """Whether no client is connected, or on its way to a filter chain."""
    return not any(
        value for name, value in stats.items() if name.endswith(("downstream_cx_active", "pre_cx_active"))
    )


def _growth(proxy: RunningProxy, play: Play, expected: dict[str, int] | None) -> dict[str, int]:
    """What every counter grows by while a connection is played; waits for what is expected, if that is known."""
    proxy.wait_until(lambda: _is_over(_stats(proxy)))
    before = _stats(proxy)
    play(proxy)

    def grown() -> dict[str, int]:
        after = _stats(proxy)
        return {
            name: value - before.get(name, 0)
            for name, value in after.items()
            if value != before.get(name, 0)
            and not _NOT_COMPARED.search(name)
            and not name.endswith(("_active", _OWN_END))
        }

    if expected is not None:
        with suppress(AssertionError):
            proxy.wait_until(lambda: grown() == expected)
    else:
        proxy.wait_until(lambda: bool(grown()) and _is_over(_stats(proxy)))
    return grown()


@pytest.mark.parametrize("name", PLAYS)
def test_counters_grow_as_envoys_do(proxies: tuple[RunningProxy, RunningProxy], name: str) -> None:
    """Whoever moves from Envoy keeps dashboards and alerts."""
    envoy, fastproxy = proxies
    expected = _growth(envoy, PLAYS[name], None)
    found = _growth(fastproxy, PLAYS[name], expected)
    assert found == expected


def test_an_early_answer_can_be_read_by_a_client_that_goes_on_sending(
    proxies: tuple[RunningProxy, RunningProxy],
) -> None:
    """A reset for bytes that nobody reads must not overtake the 413."""
    client = Client(proxies[1], "small")
    client.send(b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 8000000\r\n\r\n")
    with suppress(ConnectionError):
        for _ in range(100):
            client.send(bytes(80000))
    answer = client.read()
    client.close()
    assert answer.startswith(b"HTTP/1.1 413 Payload Too Large\r\n")
    assert answer.endswith(b"Payload Too Large")
