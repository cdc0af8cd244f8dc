"""Requests that leave HTTP, as transcripts: who may, what goes upstream when, and how it ends."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from fastproxy.filters.chain import FilterChain
from fastproxy.http.messages import LocalReply, Request
from fastproxy.listener.settings import LogMoments, UpgradeSettings
from fastproxy.listener.upgrades import Upgrades
from fastproxy.match.settings import Fraction, RequestConditions
from fastproxy.router.settings import (
    DirectResponseAction,
    MirrorPolicy,
    RetryOn,
    RetrySettings,
    RouteSettings,
    RouteUpgrade,
)
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.settings import ClusterSettings, UpstreamTlsSettings
from tests.filters.jwt_authn.support import jwt_filter, rule, token
from tests.listener.support import (
    CLUSTER,
    GET,
    OK,
    FakeTransport,
    Proxy,
    head_of,
    route,
    status_of,
    to_service,
)

WEBSOCKET = (UpgradeSettings("websocket"),)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nsec-x: y\r\n\r\n"
REFUSED_ANSWER = b"upstream connect error or disconnect/reset before headers. reset reason: protocol error"
CONNECT = b"CONNECT db.example:5432 HTTP/1.1\r\nhost: else\r\n\r\n"


def upgrade(*lines: bytes, kind: bytes = b"websocket", method: bytes = b"GET", target: bytes = b"/") -> bytes:
    head = (
        method + b" " + target + b" HTTP/1.1",
        b"host: a",
        b"connection: Upgrade",
        b"upgrade: " + kind,
        *lines,
    )
    return b"\r\n".join(head) + b"\r\n\r\n"


def connect_route(**options: Any) -> RouteSettings:
    made = to_service("", upgrades=(RouteUpgrade("connect", **options),))
    return replace(made, conditions=RequestConditions(connect_only=True))


@contextmanager
def switched(**options: Any) -> Iterator[Proxy]:
    """A proxy whose connection has just become a WebSocket one."""
    options.setdefault("upgrades", WEBSOCKET)
    with Proxy(**options) as proxy:
        proxy.send(upgrade())
        proxy.upstream.take()
        proxy.upstream.respond(SWITCH)
        assert status_of(proxy.take()) == 101
        yield proxy


# -- the handshake -----------------------------------------------------------------------------------------


async def test_a_refused_upgrade_is_tried_again_as_the_policy_says() -> None:
    """The downstream sees the try that succeeds, and what it says then goes there once."""
    retry = RetrySettings(RetryOn.SERVER_ERROR, base_interval_s=0.0, max_interval_s=0.0)
    route = to_service(retry=retry, tells_downstream_attempts=True)
    with Proxy(routes=[route], upgrades=WEBSOCKET) as proxy:
        proxy.send(upgrade())
        proxy.upstream.take()
        proxy.upstream.respond(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")
        assert proxy.take() == b""
        proxy.loop.advance(0.0)
        second = await proxy.accept()
        assert head_of(second.take())[1][b"upgrade"] == b"websocket"
        second.respond(SWITCH)
        line, headers = head_of(proxy.take())
        assert line == b"HTTP/1.1 101 Switching Protocols"
        assert headers[b"x-envoy-attempt-count"] == b"2"
        proxy.send(b"hello")
        assert second.take() == b"hello"
        found = proxy.stats().counters
        assert found["cluster.service.upstream_rq_retry_success"] == 1
        assert not proxy.cluster.breakers[0].retries.used


@pytest.mark.parametrize("step", [0, 1, 7])
def test_both_heads_pass_with_what_belongs_to_the_new_protocol(step: int) -> None:
    """`connection` and `upgrade` are hop-by-hop, and here they are the message (spec/http.md section 13)."""
    with Proxy(upgrades=WEBSOCKET) as proxy:
        proxy.send(upgrade(b"sec-websocket-key: k", b"keep-alive: 3", kind=b"WebSocket"), step)
        line, headers = head_of(proxy.upstream.take())
        assert line == b"GET / HTTP/1.1"
        assert headers[b"connection"] == b"Upgrade"
        assert headers[b"upgrade"] == b"WebSocket"
        assert headers[b"sec-websocket-key"] == b"k"
        assert b"keep-alive" not in headers
        proxy.upstream.respond(SWITCH, step)
        line, headers = head_of(proxy.take())
        assert line == b"HTTP/1.1 101 Switching Protocols"
        assert headers == {
            b"upgrade": b"websocket",
            b"connection": b"Upgrade",
            b"sec-x": b"y",
            b"date": b"Tue, 14 Nov 2023 22:13:20 GMT",
            b"server": b"fastproxy",
        }


def test_s46_an_upgrade_cannot_nominate_a_header_of_ours() -> None:
    """`connection` goes upstream, and an upstream would obey it and drop the verified identity."""
    wire = upgrade(b"x-a: 1").replace(b"connection: Upgrade", b"connection: keep-alive, x-a, x-jwt, Upgrade")
    with Proxy(upgrades=WEBSOCKET) as proxy:
        proxy.send(wire)
        headers = head_of(proxy.upstream.take())[1]
        assert headers[b"connection"] == b"upgrade"
        assert b"x-a" not in headers


def test_bytes_pass_both_ways_as_they_are() -> None:
    """Not a byte is looked at, framed or changed; also those that came with the 101."""
    with Proxy(upgrades=WEBSOCKET) as proxy:
        proxy.send(upgrade())
        proxy.upstream.take()
        proxy.upstream.respond(SWITCH + b"\x00first")
        assert proxy.take().endswith(b"\r\n\r\n\x00first")
        proxy.send(GET + b"\xff" * 9000)
        assert proxy.upstream.take() == GET + b"\xff" * 9000
        proxy.upstream.respond(OK, 3)
        assert proxy.take() == OK
        proxy.send(b"x" * 200_000, 70_000)
        assert proxy.upstream.take() == b"x" * 200_000


def test_s52_nothing_but_the_head_goes_upstream_before_the_101() -> None:
    """Early bytes to an upstream that refuses would be its next request (CVE-2025-64763 is the same with CONNECT)."""
    with Proxy(upgrades=WEBSOCKET) as proxy:
        proxy.send(upgrade() + b"early " + GET)
        assert proxy.upstream.take().count(b"HTTP/1.1") == 1
        assert not proxy.transport.is_reading()
        proxy.upstream.respond(SWITCH)
        assert proxy.upstream.take() == b"early " + GET
        assert proxy.transport.is_reading()


def test_early_bytes_in_a_large_read_keep_their_order() -> None:
    """A large read is parsed in slices."""
    early = bytes(range(256)) * 100
    with Proxy(upgrades=WEBSOCKET) as proxy:
        proxy.send(upgrade() + early)
        proxy.upstream.take()
        proxy.upstream.respond(SWITCH)
        assert proxy.upstream.take() == early


def test_an_upgrade_behind_another_request_waits_for_it() -> None:
    """Answers in order; what follows the upgrade is held meanwhile."""
    early = b"e" * 10_000
    with Proxy(upgrades=WEBSOCKET) as proxy:
        proxy.send(GET + upgrade() + early)
        assert proxy.upstream.take().count(b"HTTP/1.1") == 1
        proxy.upstream.respond(OK)
        assert b"upgrade: websocket" in proxy.upstream.take()
        proxy.upstream.respond(SWITCH)
        assert proxy.upstream.take() == early
        assert proxy.take().count(b"HTTP/1.1") == 2


@pytest.mark.parametrize("answer", [b"200 OK", b"301 Moved Permanently", b"204 No Content"])
def test_a_success_that_is_no_101_loses_its_body(answer: bytes) -> None:
    """A client that waits for frames would read them out of it (spec/http.md section 13)."""
    length = b"" if answer.startswith(b"204") else b"content-length: 5\r\n"
    with Proxy(upgrades=WEBSOCKET) as proxy:
        proxy.send(upgrade() + b"early")
        proxy.upstream.take()
        proxy.upstream.respond(
            b"HTTP/1.1 " + answer + b"\r\nx-a: 1\r\n" + length + b"\r\n" + (b"hello" if length else b"")
        )
        received = proxy.take()
        assert received.startswith(b"HTTP/1.1 " + answer)
        assert received.endswith(b"\r\n\r\n")
        headers = head_of(received)[1]
        assert headers[b"connection"] == b"close"
        assert headers.get(b"content-length") == (b"0" if length else None)
        assert proxy.upstream.take() == b""
        assert proxy.log.lines == [answer[:3].decode() + " - websocket_handshake_unsuccessful"]
        assert proxy.is_closed()
        assert proxy.upstream.is_closed()


def test_an_upstream_that_refuses_is_an_ordinary_response() -> None:
    """403 with its body; what followed the request is no request."""
    with Proxy(upgrades=WEBSOCKET) as proxy:
        proxy.send(upgrade() + GET)
        proxy.upstream.take()
        proxy.upstream.respond(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nnope")
        received = proxy.take()
        assert received.endswith(b"\r\n\r\nnope")
        assert head_of(received)[1][b"connection"] == b"close"
        assert proxy.upstream.take() == b""
        assert proxy.log.lines == ["403 - via_upstream"]
        assert proxy.is_closed()
        assert proxy.upstream.is_closed()


# -- who may -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("upgrades", "of_route", "allowed"),
    [
        ((), (), False),
        (WEBSOCKET, (), True),
        ((), (RouteUpgrade("websocket"),), True),
        (WEBSOCKET, (RouteUpgrade("websocket", enabled=False),), False),
        ((UpgradeSettings("websocket", enabled=False),), (), False),
        ((UpgradeSettings("websocket", enabled=False),), (RouteUpgrade("websocket"),), True),
        ((UpgradeSettings("tcp"),), (RouteUpgrade("spdy/3.1"),), False),
    ],
)
def test_the_route_comes_before_the_connection_manager(
    upgrades: tuple[UpgradeSettings, ...], of_route: tuple[RouteUpgrade, ...], allowed: bool
) -> None:
    """spec/http.md section 13; what is not allowed is 403."""
    with Proxy(upgrades=upgrades, routes=[to_service(upgrades=of_route)]) as proxy:
        proxy.send(upgrade() + GET)
        if allowed:
            assert b"upgrade: websocket" in proxy.upstream.take()
            return
        assert head_of(received := proxy.take())[0] == b"HTTP/1.1 403 Forbidden"
        assert received.endswith(b"content-length: 0\r\n\r\n") or b"content-length: 0\r\n" in received
        assert proxy.upstream.take() == b""
        assert proxy.is_closed()
        assert proxy.log.lines == ["403 - upgrade_failed"]
        assert proxy.stats().counters["http.ingress.downstream_rq_ws_on_non_ws_route"] == 1


@pytest.mark.parametrize(
    "wire",
    [
        upgrade(kind=b"websocket, tcp"),
        upgrade(b"upgrade: websocket"),
        upgrade(kind=b"websocket/13"),
        upgrade(b"content-length: 3") + b"abc",
        upgrade(b"transfer-encoding: chunked", method=b"POST") + b"0\r\n\r\n",
        upgrade().replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
def test_requests_that_could_be_read_in_two_ways_are_refused(wire: bytes) -> None:
    """A list of protocols, a body before the new protocol, HTTP/1.0 (RFC 9110 section 7.8)."""
    with Proxy(upgrades=WEBSOCKET, accept_http_10=True) as proxy:
        proxy.send(wire + GET)
        assert b" 403 " in proxy.take()[:15]
        assert proxy.upstream.take() == b""
        assert proxy.is_closed()


def test_a_reply_of_the_route_ends_the_connection() -> None:
    """What follows the request may be frames already."""
    with Proxy(upgrades=WEBSOCKET, routes=[route("/", DirectResponseAction(200, b"no"))]) as proxy:
        proxy.send(upgrade() + GET)
        received = proxy.take()
        assert received.count(b"HTTP/1.1") == 1
        assert head_of(received)[1][b"connection"] == b"close"


def test_s46_s52_the_filters_judge_the_handshake() -> None:
    """No byte of it reaches the upstream without a valid token; identity headers are the filter's alone."""
    with Proxy(upgrades=WEBSOCKET, filters=[jwt_filter(rule("/", "p"))]) as proxy:
        proxy.send(upgrade() + b"early")
        assert status_of(proxy.take()) == 401
        assert proxy.upstream.take() == b""
        assert proxy.is_closed()
        proxy.open_downstream()
        proxy.send(upgrade(b"authorization: Bearer " + token()))
        assert b"upgrade: websocket" in proxy.upstream.take()


def test_no_filter_sees_an_upgrade_that_is_not_allowed() -> None:
    """403 whatever the token is, as in Envoy."""
    with Proxy(filters=[jwt_filter(rule("/", "p"))]) as proxy:
        proxy.send(upgrade(target=b"/?access_token=secret"))
        assert status_of(proxy.take()) == 403


class _Deny:
    def on_request(self, request: Request) -> LocalReply:
        return LocalReply(418, details="teapot")

    def write_stats(self, sink: object, prefix: str) -> None:
        """Nothing to tell."""


def test_an_upgrade_type_may_have_filters_of_its_own() -> None:
    """`upgrade_configs.filters`; what those lack still cannot be forged (S46)."""
    own = FilterChain([_Deny()])
    usual = FilterChain([])
    settings = (UpgradeSettings("websocket"), UpgradeSettings("tcp"))
    upgrades = Upgrades(settings, usual, {b"websocket": own}, frozenset((b"x-jwt",)))
    request = Request(b"GET", b"/", {b"x-jwt": b"forged", b"x-a": b"1"})
    request.upgrade = b"websocket"
    assert upgrades.select_filters(request) is own
    assert request.headers == {b"x-a": b"1"}
    request.upgrade = b"tcp"
    assert upgrades.select_filters(request) is usual


# -- hostile upstreams -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        SWITCH,
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        SWITCH.replace(b"\r\n\r\n", b"\r\n\r\n" + OK),
    ],
)
def test_s51_a_101_that_nobody_asked_for_is_no_answer(answer: bytes) -> None:
    """The client would take the rest of the connection for another protocol, the proxy for responses."""
    with Proxy(upgrades=WEBSOCKET) as proxy:
        proxy.send(GET)
        proxy.upstream.respond(answer)
        received = proxy.take()
        assert status_of(received) == 502
        assert received.endswith(REFUSED_ANSWER)
        assert proxy.upstream.is_closed()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\n\r\nframes",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\r\n",
        SWITCH.replace(b"sec-x: y", b"content-length: 3"),
        SWITCH.replace(b"sec-x: y", b"transfer-encoding: chunked"),
    ],
)
@pytest.mark.parametrize("step", [0, 1])
def test_a_101_that_does_not_say_what_it_is_is_no_answer(answer: bytes, step: int) -> None:
    """RFC 9110 section 15.2.2 demands `upgrade`; with a length it is framed in two ways."""
    with Proxy(upgrades=WEBSOCKET) as proxy:
        proxy.send(upgrade() + b"early")
        proxy.upstream.take()
        proxy.upstream.respond(answer, step)
        assert status_of(proxy.take()) == 502
        assert proxy.upstream.take() == b""
        assert proxy.upstream.is_closed()


# -- flow control, time, the end ---------------------------------------------------------------------------


def test_a_slow_side_pauses_the_other() -> None:
    """Otherwise a tunnel buffers without bound."""
    with switched() as proxy:
        proxy.upstream.block()
        assert not proxy.transport.is_reading()
        proxy.upstream.unblock()
        assert proxy.transport.is_reading()
        proxy.downstream.pause_writing()
        assert not proxy.upstream.transport.is_reading()
        proxy.downstream.resume_writing()
        assert proxy.upstream.transport.is_reading()


def test_the_end_of_the_upstream_is_the_end_of_the_downstream() -> None:
    """UC, after everything was passed on (Envoy)."""
    with switched() as proxy:
        proxy.upstream.respond(b"bye")
        proxy.upstream.close()
        assert proxy.take() == b"bye"
        assert proxy.is_closed()
        assert not proxy.transport.was_aborted()
        details = "upstream_reset_after_response_started{connection_termination}"
        assert proxy.log.lines == [f"101 UC {details}"]
        assert proxy.stats().gauges["http.ingress.downstream_cx_upgrades_active"] == 0
        assert proxy.stats().gauges["http.ingress.downstream_rq_active"] == 0
        assert proxy.stats().gauges["cluster.service.upstream_rq_active"] == 0


def test_the_end_of_the_downstream_is_the_end_of_the_upstream() -> None:
    """What it said last still arrives: the upstream's connection is closed, not cut."""
    with switched() as proxy:
        assert proxy.stats().gauges["http.ingress.downstream_cx_upgrades_active"] == 1
        proxy.send(b"bye")
        proxy.leave()
        assert proxy.upstream.take() == b"bye"
        assert proxy.upstream.is_closed()
        assert not proxy.upstream.transport.was_aborted()
        assert proxy.log.lines == ["101 DC downstream_remote_disconnect"]
        proxy.check_nothing_left()


def test_the_route_timeout_ends_with_the_handshake_and_idleness_counts() -> None:
    """spec/http.md section 13: any byte resets the idle timeout; when it fires both sides close, SI."""
    with switched(routes=[to_service(timeout_s=2.0)], stream_idle_timeout_s=10.0) as proxy:
        for _ in range(3):
            proxy.advance(8)
            proxy.send(b"x")
            proxy.advance(8)
            proxy.upstream.respond(b"y")
        assert not proxy.is_closed()
        proxy.advance(12)
        assert proxy.is_closed()
        assert proxy.upstream.is_closed()
        assert proxy.log.lines == ["101 SI stream_idle_timeout"]


def test_the_route_timeout_ends_a_handshake_without_answer() -> None:
    """504 like for any other request."""
    with Proxy(upgrades=WEBSOCKET, routes=[to_service(timeout_s=2.0)]) as proxy:
        proxy.send(upgrade())
        proxy.advance(2.1)
        assert status_of(proxy.take()) == 504
        proxy.loop.run_ready()
        assert proxy.upstream.is_closed()


def test_draining_leaves_tunnels_until_the_drain_time_ends() -> None:
    """They have no next request that could say `connection: close`."""
    with switched() as proxy:
        proxy.manager.drain()
        assert not proxy.is_closed()
        proxy.send(b"x")
        assert proxy.upstream.take() == b"x"
        proxy.manager.abort()
        proxy.loop.run_ready()
        assert proxy.upstream.is_closed()


def test_copies_are_not_made_of_upgrades() -> None:
    """Nobody would talk to the other end of them."""
    mirror = MirrorPolicy(CLUSTER, fraction=Fraction(100, 100))
    with Proxy(upgrades=WEBSOCKET, routes=[to_service(mirrors=(mirror,))]) as proxy:
        proxy.offer()
        proxy.send(upgrade())
        assert [bool(one.take()) for one in proxy.upstreams] == [False, True]


async def test_an_upgrade_is_sent_again_when_the_pooled_connection_had_died() -> None:
    """It has no body, and nothing was switched yet; on the second connection it is an upgrade as well."""
    with Proxy(upgrades=WEBSOCKET) as proxy:
        proxy.send(GET)
        proxy.upstream.take()
        proxy.upstream.respond(OK)
        proxy.take()
        proxy.send(upgrade() + b"early")
        proxy.upstream.close()
        fresh = await proxy.accept()
        assert b"upgrade: websocket" in fresh.take()
        fresh.respond(SWITCH)
        assert status_of(proxy.take()) == 101
        assert fresh.take() == b"early"


# -- CONNECT -----------------------------------------------------------------------------------------------


def test_connect_is_forwarded_where_a_route_says_so() -> None:
    """Target and host are the authority that was asked for, whatever `host` said (RFC 9110 section 9.3.6)."""
    with Proxy(routes=[connect_route()]) as proxy:
        proxy.send(CONNECT + b"early")
        line, headers = head_of(proxy.upstream.take())
        assert line == b"CONNECT db.example:5432 HTTP/1.1"
        assert headers[b"host"] == b"db.example:5432"
        proxy.upstream.respond(b"HTTP/1.1 200 OK\r\n\r\nhi")
        received = proxy.take()
        assert received.endswith(b"\r\n\r\nhi")
        assert set(head_of(received)[1]) == {b"date", b"server"}
        assert proxy.upstream.take() == b"early"
        proxy.upstream.respond(b"more")
        assert proxy.take() == b"more"
        proxy.upstream.close()
        assert proxy.is_closed()


@pytest.mark.parametrize(
    "framing", [b"content-length: 0", b"content-length: 2", b"transfer-encoding: chunked"]
)
def test_s51_an_answer_to_connect_that_claims_a_body_is_refused(framing: bytes) -> None:
    """RFC 9110 section 9.3.6: there is none, and two parsers may disagree on where the tunnel begins."""
    with Proxy(routes=[connect_route()]) as proxy:
        proxy.send(CONNECT)
        proxy.upstream.respond(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\nhi")
        assert status_of(proxy.take()) == 502
        proxy.loop.run_ready()
        assert proxy.upstream.is_closed()


def test_an_upstream_may_refuse_connect() -> None:
    """407 with its body."""
    with Proxy(routes=[connect_route()]) as proxy:
        proxy.send(CONNECT + b"early")
        proxy.upstream.take()
        proxy.upstream.respond(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 2\r\n\r\nno")
        assert proxy.take().endswith(b"\r\n\r\nno")
        assert proxy.upstream.take() == b""
        assert proxy.is_closed()


def test_s52_a_tunnel_gets_the_bytes_alone_and_only_when_it_stands() -> None:
    """`connect_config`: CONNECT ends here (CVE-2025-64763: no early data before the connection is there)."""
    with Proxy(routes=[connect_route(connects_tcp=True)]) as proxy:
        proxy.send(CONNECT + b"early")
        assert head_of(proxy.take())[0] == b"HTTP/1.1 200 OK"
        assert proxy.upstream.take() == b"early"
        proxy.send(b"\x00more")
        assert proxy.upstream.take() == b"\x00more"
        proxy.upstream.respond(b"HTTP/1.1 200 OK\r\n\r\n")
        assert proxy.take() == b"HTTP/1.1 200 OK\r\n\r\n"
        proxy.upstream.close()
        assert proxy.is_closed()


async def test_a_tunnel_never_uses_a_connection_that_has_spoken_http() -> None:
    """Its other end would answer with HTTP."""
    with Proxy(routes=[connect_route(connects_tcp=True), to_service()]) as proxy:
        proxy.send(GET)
        proxy.upstream.take()
        proxy.upstream.respond(OK)
        used = proxy.upstream
        proxy.take()
        proxy.send(CONNECT + b"early")
        assert proxy.take() == b""
        fresh = await proxy.accept()
        assert head_of(proxy.take())[0] == b"HTTP/1.1 200 OK"
        assert fresh.take() == b"early"
        assert used.take() == b""
        proxy.leave()
        fresh.close()
        stats = proxy.stats()
        # A request that waits twice for its connection is one request, and is over when it is.
        assert stats.gauges["cluster.service.upstream_rq_active"] == 0
        assert stats.gauges["cluster.service.upstream_rq_pending_active"] == 0
        assert stats.counters["cluster.service.upstream_rq_total"] == 2


async def test_a_tunnel_takes_only_connections_for_its_own_host() -> None:
    """`auto_sni` keeps connections apart by the name in their TLS; the tunnel's next one bears that name, too."""
    tls = UpstreamTlsSettings(ssl.create_default_context(), auto_sni=True)
    routes = [connect_route(connects_tcp=True), to_service()]
    with Proxy(routes=routes, warm=False, cluster=ClusterSettings(CLUSTER, tls=tls)) as proxy:
        pool = proxy.cluster.endpoints[0].pool_of("db.example", None)
        used = UpstreamConnection(pool)
        transport = FakeTransport(proxy.loop, used)
        used.connection_made(transport.as_transport())
        used.served = 1
        pool.release(used)
        proxy.send(CONNECT)
        await proxy.settle()
        assert transport.is_closing()
        assert (pool.waiting_requests, proxy.pool.waiting_requests) == (1, 0)
        proxy.leave()
        assert pool.waiting_requests == 0


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"content-length: 5\r\n", 400),
        (b"transfer-encoding: chunked\r\n", 501),
        (b"content-length: 0\r\n", 101),
    ],
)
def test_connect_has_no_body(lines: bytes, status: int) -> None:
    """Envoy: 400 and 501; a length of 0 says nothing and goes."""
    with Proxy(routes=[connect_route()]) as proxy:
        proxy.send(b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n" + lines + b"\r\n")
        if status == 101:
            assert b"content-length" not in proxy.upstream.take()
        else:
            assert status_of(proxy.take()) == status
            assert proxy.upstream.take() == b""


def test_connect_without_a_route_is_judged_by_the_filters_first() -> None:
    """401 comes before 404, as for any request (Envoy)."""
    with Proxy(filters=[jwt_filter(rule("", "p"))]) as proxy:
        proxy.send(CONNECT)
        assert status_of(proxy.take()) == 401
        assert proxy.is_closed()


@pytest.mark.parametrize("of_route", [(), (RouteUpgrade("connect", enabled=False),)])
def test_connect_needs_more_than_a_route(of_route: tuple[RouteUpgrade, ...]) -> None:
    """403 where the route matches and nobody allows it."""
    only = replace(to_service("", upgrades=of_route), conditions=RequestConditions(connect_only=True))
    with Proxy(routes=[only]) as proxy:
        proxy.send(CONNECT)
        assert status_of(proxy.take()) == 403
        assert proxy.upstream.take() == b""


def test_a_tunnel_can_be_logged_when_it_is_there() -> None:
    """`flush_log_on_tunnel_successfully_established`: it may last for days; before anything of the answer has left."""
    format_ = "%ACCESS_LOG_TYPE% %RESPONSE_CODE% %RESPONSE_DURATION% %RESPONSE_TX_DURATION% %BYTES_SENT%"
    with switched(log_format=format_, log_moments=LogMoments(at_tunnel=True)) as proxy:
        assert proxy.log.lines == ["DownstreamTunnelSuccessfullyEstablished 101 0 - 0"]
        proxy.upstream.respond(b"abc")
        proxy.leave()
        assert proxy.log.lines[1:] == ["DownstreamEnd 101 0 - 3"]


def test_an_answer_that_does_not_switch_is_sent_to_its_end() -> None:
    """So the log knows how long that took."""
    with Proxy(upgrades=WEBSOCKET, log_format="%RESPONSE_DURATION% %RESPONSE_TX_DURATION%") as proxy:
        proxy.send(upgrade())
        proxy.advance(0.25)
        proxy.upstream.respond(OK)
        assert proxy.log.lines == ["250 0"]
