"""Fuzzing the data path from wire to wire.

Invariant: any bytes, in any pieces and with anything happening on the other side, end in well-formed responses or a
closed connection; no exception leaves a protocol's callback; when both sides are gone nothing is left open.
"""

import asyncio
from collections.abc import Sequence

import httptools
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastproxy.router.settings import DirectResponseAction
from fastproxy.upstream.errors import ConnectFailed
from tests.filters.jwt_authn.support import jwt_filter
from tests.listener.support import GET, OK, Proxy, route, to_service

ROUTES = (route("/direct", DirectResponseAction(200, b"direct")), to_service("/", timeout_s=5))

FRAGMENTS = st.sampled_from([
    b"GET ", b"POST ", b"HEAD ", b"OPTIONS ", b"CONNECT ", b"/", b"/direct", b"*", b"a:443", b"http://b/x",
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"Host: a\r\n", b"host: b\r\n", b"Content-Length: 3\r\n",
    b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\n",
    b"Upgrade: websocket\r\n", b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n", b"TE: trailers\r\n", b"X: y\r\n",
    b"abc", b"3\r\nabc\r\n", b"0\r\n\r\n", b"0\r\nx-t: 1\r\n\r\n", b":", b" ", b"\x00", b"\xff", b"?a=%00",
    b"#", b"%2e%2e",
    GET, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n", b"GET /direct HTTP/1.1\r\nhost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
])  # fmt: skip
WIRES = st.lists(st.one_of(FRAGMENTS, st.binary(max_size=20)), max_size=25)


@settings(max_examples=300)
@given(WIRES, st.sampled_from([0, 1, 5, 64]))
@example([b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"\xff"], 1)
def test_any_bytes_give_responses_or_a_close(pieces: Sequence[bytes], step: int) -> None:
    """A proxy on the Internet gets every byte sequence there is. An upstream answers whatever reaches it."""
    with Proxy(routes=ROUTES, filters=[jwt_filter()]) as proxy:
        proxy.send(b"".join(pieces), step)
        received = proxy.take()
        # Nothing here holds a token: every answer is a refusal, and the upstream has seen nothing (S56).
        assert proxy.upstream.take() == b""
        if received:
            assert received.startswith(b"HTTP/1.")
        for part in received.split(b"HTTP/1.")[1:]:
            assert part[2:5] in {b"100", b"400", b"401", b"403", b"404", b"426", b"431", b"501"}, part[:40]
        proxy.leave()
        proxy.check_nothing_left()


@settings(max_examples=300)
@given(WIRES, st.sampled_from([0, 1, 5, 64]))
def test_whatever_reaches_the_upstream_is_well_formed(pieces: Sequence[bytes], step: int) -> None:
    """One request at a time, with a framing that the strict parser accepts: what we forward nobody reads otherwise."""

    class Requests:
        def __init__(self) -> None:
            self.begun = 0
            self.ended = 0
            self.parser = httptools.HttpRequestParser(self)

        def on_message_begin(self) -> None:
            self.begun += 1

        def on_message_complete(self) -> None:
            self.ended += 1

    with Proxy(routes=ROUTES) as proxy:
        seen = Requests()
        proxy.send(b"".join(pieces), step)
        for _ in range(60):
            sent = proxy.upstream.take()
            if not sent:
                break
            seen.parser.feed_data(sent)
            if seen.ended == seen.begun and not proxy.upstream.is_closed():
                method_is_head = seen.parser.get_method() == b"HEAD"
                proxy.upstream.respond(OK[:-2] if method_is_head else OK)
            assert seen.begun - seen.ended <= 1
            if proxy.upstream.is_closed():
                break
        proxy.leave()
        proxy.check_nothing_left()


EVENTS = st.lists(
    st.tuples(
        st.sampled_from([
            "get", "head", "post", "part", "rest", "chunked", "chunk", "last", "direct", "pipelined", "answer",
            "answer-head",
            "answer-body", "answer-chunked", "interim", "until-close", "junk", "upstream-gone", "upstream-reset",
            "block",
            "unblock", "stop-reading", "read-again", "wait", "long-wait", "accept", "refuse", "leave", "drain",
        ]),
        st.booleans(),
    ),
    max_size=30,
)  # fmt: skip

SENT = {
    "get": GET,
    "head": GET.replace(b"GET", b"HEAD"),
    "post": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc",
    "part": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\na",
    "rest": b"bc",
    "chunked": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
    "chunk": b"3\r\nabc\r\n",
    "last": b"0\r\n\r\n",
    "direct": b"GET /direct HTTP/1.1\r\nhost: a\r\n\r\n",
    "pipelined": GET * 3,
}
ANSWERED = {
    "answer": OK,
    "answer-head": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n",
    "answer-body": b"ok",
    "answer-chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "interim": b"HTTP/1.1 103 Early\r\n\r\n",
    "until-close": b"HTTP/1.0 200 OK\r\n\r\nok",
    "junk": b"\x00\r\n",
}


class Story:
    """Plays events on a proxy, as far as each is possible at its time."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.downstream_full = False
        self.blocked: set[int] = set()

    async def play(self, event: str) -> None:
        proxy = self.proxy
        upstream = proxy.upstreams[-1] if proxy.upstreams else None
        upstream_alive = upstream is not None and not upstream.is_closed()
        waiting = [n for n, attempt in enumerate(proxy.attempts) if not attempt.done()]
        if event in SENT and proxy.transport.is_reading() and not proxy.transport.is_closing():
            proxy.send(SENT[event])
        elif event in ANSWERED and upstream and upstream_alive and upstream.transport.is_reading():
            upstream.respond(ANSWERED[event])
        elif event == "upstream-gone" and upstream and upstream_alive:
            upstream.close()
        elif event == "upstream-reset" and upstream and upstream_alive:
            upstream.close(ConnectionResetError())
        elif event == "block" and upstream and upstream_alive and id(upstream) not in self.blocked:
            self.blocked.add(id(upstream))
            upstream.block()
        elif event == "unblock" and upstream and upstream_alive and id(upstream) in self.blocked:
            self.blocked.discard(id(upstream))
            upstream.unblock()
        elif event == "stop-reading" and not self.downstream_full and not proxy.transport.is_closing():
            self.downstream_full = True
            proxy.downstream.pause_writing()
        elif event == "read-again" and self.downstream_full and not proxy.transport.is_closing():
            self.downstream_full = False
            proxy.downstream.resume_writing()
        elif event in {"wait", "long-wait"}:
            proxy.advance(2 if event == "wait" else 20)
        elif event == "accept" and waiting:
            await proxy.accept(waiting[0])
        elif event == "refuse" and waiting:
            await proxy.refuse(ConnectFailed("refused"), waiting[0])
        elif event == "leave" and not proxy.transport.is_closing():
            proxy.leave()
        elif event == "drain":
            proxy.manager.drain()
        await proxy.settle()
        self.check()

    def check(self) -> None:
        proxy = self.proxy
        gauges = proxy.stats().gauges
        assert gauges["cluster.service.upstream_rq_active"] in {0, 1}
        assert gauges["http.ingress.downstream_rq_active"] in {0, 1}
        busy = [u for u in proxy.upstreams if u.connection._handler is not None]
        assert len(busy) <= 1
        for connection in proxy.pool._idle:
            assert connection.is_usable
            transport = connection._transport
            assert transport is None or transport.is_reading()
        downstream = proxy.downstream
        if not proxy.transport.is_closing() and not proxy.transport.eof_written:
            stuck = downstream._stream.request is None and not downstream._queue and not downstream._unread
            assert proxy.transport.is_reading() or not stuck, "idle and not reading: it would hang for ever"


async def tell(events: Sequence[tuple[str, bool]], *, warm: bool) -> None:
    with Proxy(routes=ROUTES, warm=warm, stream_idle_timeout_s=10, idle_timeout_s=30) as proxy:
        story = Story(proxy)
        for event, again in events:
            await story.play(event)
            if again:
                await story.play(event)
        if not proxy.transport.is_lost:
            proxy.leave()
        for attempt in proxy.attempts:
            if not attempt.done():
                attempt.set_exception(ConnectFailed("end"))
        await proxy.settle()
        assert proxy.manager.open_connections == 0
        assert proxy.loop.live_timers == 0
        proxy.check_nothing_left()
        requests = proxy.stats().counters["http.ingress.downstream_rq_total"]
        assert len(proxy.log.lines) == requests, "one line a request"


@pytest.mark.parametrize("warm", [True, False])
@settings(max_examples=300)
@given(events=EVENTS)
def test_any_order_of_events_on_both_sides_leaves_nothing_behind(
    warm: bool, events: Sequence[tuple[str, bool]]
) -> None:
    """Requests, answers, floods, stalls, ends and timeouts in any order: gauges at zero, no hang, no leak."""
    asyncio.run(tell(events, warm=warm))
