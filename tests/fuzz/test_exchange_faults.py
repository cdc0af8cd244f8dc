# Invariants: whatever happens in whatever order, no call raises; what leaves the proxy on either side is a sequence of
# whole messages, of which only the last may be cut off; and when both sides have gone nothing is left.
"""Random faults at every point of an exchange, on a data path without sockets: a walk of a hundred steps for each seed.

The steps are those of the real world: pieces of requests, of good, bad and retriable responses; peers that leave,
reset, stop reading and read again; connections that are made or refused; time. The routes retry, mirror, compress,
buffer, switch protocols and limit times; some walks have CORS, health checks, rewritten replies, and upstream
connections that wear out. A walk that fails says its seed, and is the same again with it.
"""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import pytest

from fastproxy.farewell import Farewell
from fastproxy.filters.base import HttpFilter
from fastproxy.filters.buffer.filter import BufferFilter
from fastproxy.filters.buffer.settings import BufferSettings
from fastproxy.filters.cors.filter import CorsFilter
from fastproxy.filters.cors.settings import CorsPolicy, CorsRouteSettings, CorsSettings
from fastproxy.filters.health_check.filter import HealthCheckFilter
from fastproxy.filters.health_check.settings import HealthCheckSettings
from fastproxy.format.settings import BodyFormatSettings, HeaderValueSettings
from fastproxy.http.messages import LocalReply, Request
from fastproxy.listener.connection import DownstreamConnection
from fastproxy.listener.settings import (
    CombinedFilter,
    LocalReplySettings,
    ReplyMapperSettings,
    UpgradeSettings,
)
from fastproxy.match.settings import HeaderMatch, RequestConditions, StringKind, StringMatch
from fastproxy.router.settings import (
    DirectResponseAction,
    MirrorPolicy,
    RetryOn,
    RetrySettings,
    RouteSettings,
    RouteUpgrade,
)
from fastproxy.stats import StatsSink
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.errors import ConnectFailed, ConnectTimeout
from fastproxy.upstream.settings import ClusterSettings, ConnectionSettings, ThresholdSettings
from tests.filters.compressor.support import compressor
from tests.listener.support import CLUSTER, FakeTransport, FakeUpstream, Proxy, route, to_service

_T = TypeVar("_T")

_CORS = CorsRouteSettings(CorsPolicy((StringMatch(StringKind.EXACT, "http://a"),), allow_methods="GET"))
_LOCAL_REPLIES = LocalReplySettings(
    (ReplyMapperSettings(CombinedFilter(()), 410, None, (HeaderValueSettings("x-a", "%RESPONSE_CODE%"),)),),
    BodyFormatSettings("%LOCAL_REPLY_BODY% %REQ(host)%"),
)
_CHECK = HealthCheckSettings((HeaderMatch("x-check"),), is_pass_through=True, cache_time_s=1.0)


class _Slow:
    """A filter that waits for something, as for keys, and now and then refuses."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.waiting: list[asyncio.Future[None]] = []

    def on_request(self, request: Request) -> Awaitable[LocalReply | None] | LocalReply | None:
        del request
        return self._wait() if self._chance.random() < 0.5 else None

    async def _wait(self) -> LocalReply | None:
        waited = asyncio.get_running_loop().create_future()
        self.waiting.append(waited)
        try:
            await waited
        finally:
            self.waiting.remove(waited)
        return LocalReply(503, details="slow") if self._chance.random() < 0.2 else None

    def write_stats(self, sink: StatsSink, prefix: str) -> None:
        """It counts nothing."""


_RETRY = RetrySettings(
    RetryOn.SERVER_ERROR | RetryOn.RESET | RetryOn.CONNECT_FAILURE,
    max_retries=3,
    per_try_timeout_s=3.0,
    per_try_idle_timeout_s=2.0,
)


def _routes() -> list[RouteSettings]:
    connect = to_service("", upgrades=(RouteUpgrade("connect", connects_tcp=True),))
    return [
        replace(connect, conditions=RequestConditions(connect_only=True)),
        route("/direct", DirectResponseAction(200, b"made here")),
        to_service("/retry", retry=_RETRY, replay_limit_bytes=200, tells_downstream_attempts=True),
        to_service("/mirror", mirrors=(MirrorPolicy(CLUSTER), MirrorPolicy(CLUSTER)), timeout_s=5.0),
        to_service(
            "/both", mirrors=(MirrorPolicy(CLUSTER),), retry=_RETRY, timeout_s=2.0, replay_limit_bytes=200
        ),
        replace(to_service("/cors"), filter_configs={"cors": _CORS}),
        to_service("/brief", timeout_s=1.0, idle_timeout_s=3.0, max_stream_duration_s=4.0),
        to_service("/"),
    ]


_PATHS = (b"/direct", b"/retry", b"/mirror", b"/both", b"/brief", b"/", b"/retry/x", b"/none%2f", b"/cors")
_HEADS = (
    b"GET %b HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n",
    b"GET %b HTTP/1.1\r\nhost: a\r\n\r\n" * 3,
    b"HEAD %b HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET %b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    b"POST %b HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
    b"PUT %b HTTP/1.1\r\nhost: a\r\ncontent-length: 300\r\nexpect: 100-continue\r\n\r\n",
    b"POST %b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
    b"GET %b HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    b"GET %b HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
    b"GET %b HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nearly bytes",
    b"GET %b HTTP/1.1\r\nhost: a\r\nx-check: 1\r\n\r\n",
    b"POST %b HTTP/1.1\r\nhost: a\r\nx-check: 1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n",
    b"GET %b HTTP/1.1\r\nhost: a\r\norigin: http://a\r\n\r\n",
    b"POST %b HTTP/1.1\r\nhost: a\r\norigin: http://a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-t: 1\r\n\r\n",
    b"GET %b HT",
)
_SENT = (
    b"CONNECT db:1 HTTP/1.1\r\nhost: db:1\r\n\r\n",
    b"CONNECT db:1 HTTP/1.1\r\nhost: db:1\r\n\r\nearly bytes",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"0\r\nx-t: 1\r\n\r\n",
    b"a" * 100,
    b"b" * 5000,
    b"\r\n",
    b"zz\r\n",
    b"TP/1.1\r\nhost: a\r\n\r\n",
)
_ANSWERS = (
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ntransfer-encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\nuntil the end",
    b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 100\r\n\r\n" + b"c" * 100,
    b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno",
    b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n",
    b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 413 Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nearly",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 199 Odd\r\ncontent-length: 3\r\n\r\nabc",
    b"HTTP/1.1 304 Same\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\ncontent-type: text/css\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-t: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno",
    b"HTTP/1.1 204 None\r\ncontent-length: 2\r\n\r\nok",
    b"0\r\nx-t: 1\r\n\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"ok",
    b"garbage\r\n\r\n",
)


_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([0-9]{3}) [A-Za-z ]+\Z")
_REQUEST_LINE = re.compile(rb"(GET|POST|PUT) /[a-z0-9/%]* HTTP/1\.1\Z")
_CHUNK = re.compile(rb"([0-9a-f]+)\r\n")


def _end_of_message(wire: bytes, at: int, first_line: re.Pattern[bytes], *, answers: bool) -> int:
    """Where the message that begins at `at` ends; past the end if it is cut off, or has no end of its own."""
    end = wire.find(b"\r\n\r\n", at)
    if end < 0:
        return len(wire) + 1
    line, *fields = wire[at:end].split(b"\r\n")
    found = first_line.match(line)
    assert found, line
    headers = {}
    for field in fields:
        name, colon, value = field.partition(b": ")
        assert colon, field
        assert name not in headers, name
        headers[name] = value
    at = end + 4
    if b"upgrade" in headers:
        return len(wire) + 1
    length, coding = headers.get(b"content-length"), headers.get(b"transfer-encoding")
    assert length is None or coding is None
    if coding is not None:
        assert coding == b"chunked"
        return _end_of_chunks(wire, at)
    if length is not None:
        return at + int(length)
    if answers and found.group(1) not in (b"100", b"204", b"304"):
        return len(wire) + 1
    return at


def _end_of_chunks(wire: bytes, at: int) -> int:
    while True:
        chunk = _CHUNK.match(wire, at)
        if chunk is None:
            assert len(wire) - at < 8, wire[at : at + 20]
            return len(wire) + 1
        size = int(chunk.group(1), 16)
        at = chunk.end() + size + 2
        assert wire[at - 2 : at] in (b"\r\n", b"\r", b""), wire[chunk.end() : at]
        if size == 0:
            return at


def _check_messages(wire: bytes, first_line: re.Pattern[bytes], *, answers: bool) -> bool:
    """Read every message; says whether the last one is complete."""
    at = 0
    while at < len(wire):
        at = _end_of_message(wire, at, first_line, answers=answers)
    return at == len(wire)


class _Walk:
    """One walk."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        # In these walks every byte that leaves can be told: no answer to HEAD, and no protocol from the first byte on.
        self.is_read = bool(seed % 2)
        self.heads = [head for head in _HEADS if not (self.is_read and head.startswith(b"HEAD"))]
        self.sent = [data for data in _SENT if not (self.is_read and data.startswith(b"CONNECT"))]
        filters: list[HttpFilter] = [
            compressor(min_content_length=1),
            BufferFilter("b", BufferSettings(2000)),
        ]
        filters = filters[: self.random.choice((0, 1, 2))]
        self.slow = _Slow(self.random)
        more: list[HttpFilter] = [
            CorsFilter("cors", CorsSettings()),
            HealthCheckFilter("check", _CHECK, Farewell(), lambda _cluster: (1, 1)),
            self.slow,
        ]
        for one in more:
            if self.random.random() < 0.5:
                filters.insert(self.random.randint(0, len(filters)), one)
        self.proxy = Proxy(
            routes=_routes(),
            filters=filters,
            cluster=ClusterSettings(
                CLUSTER,
                thresholds=(ThresholdSettings(self.random.choice((3, 100)), 5, 6, 2), ThresholdSettings()),
                connections=ConnectionSettings(
                    max_requests=self.random.choice((0, 1, 3)),
                    max_duration_s=self.random.choice((0.0, 5.0)),
                    max_stream_s=self.random.choice((0.0, 3.0)),
                ),
            ),
            local_replies=self.random.choice((None, _LOCAL_REPLIES)),
            proxy_100_continue=self.random.random() < 0.3,
            accept_http_10=True,
            warm=False,
            buffer_limit_bytes=1000,
            upgrades=(UpgradeSettings("websocket"),),
            request_timeout_s=self.random.choice((0.0, 2.0)),
            request_headers_timeout_s=self.random.choice((0.0, 2.0)),
            max_connection_duration_s=self.random.choice((0.0, 6.0)),
            stream_idle_timeout_s=8.0,
        )
        self.downstreams: list[tuple[DownstreamConnection, FakeTransport]] = []
        self.transports: list[FakeTransport] = []
        self.blocked: set[object] = set()
        self.pending: list[int] = []

    # -- steps ---------------------------------------------------------------------------------------------

    def arrive(self) -> None:
        if len(self.downstreams) < 4:
            self.proxy.open_downstream()
            self._listen()

    def _listen(self) -> None:
        self.downstreams.append((self.proxy.downstream, self.proxy.transport))
        self.transports.append(self.proxy.transport)

    def ask(self) -> None:
        self._send(self.random.choice(self.heads).replace(b"%b", self.random.choice(_PATHS)))

    def say(self) -> None:
        self._send(self.random.choice(self.sent))

    def _send(self, data: bytes) -> None:
        for connection, transport in self._some(self.downstreams):
            # A transport that does not read gives what was under way, at most.
            if not transport.is_closing() and (transport.is_reading() or self.random.random() < 0.1):
                connection.data_received(data)

    def leave(self) -> None:
        for one in self._some(self.downstreams):
            connection, transport = one
            if self.random.random() < 0.5 and not transport.is_closing():
                connection.eof_received()
            transport.lose(self.random.choice((None, ConnectionResetError())))
            self.downstreams.remove(one)

    def block_downstream(self) -> None:
        for connection, transport in self._some(self.downstreams):
            self._toggle(connection, transport)

    def answer(self) -> None:
        for upstream in self._some(self._open_upstreams()):
            if upstream.transport.is_reading():
                upstream.connection.data_received(self.random.choice(_ANSWERS))

    def end(self) -> None:
        for upstream in self._some(self._open_upstreams()):
            upstream.close(self.random.choice((None, ConnectionResetError())))

    def end_wait(self) -> None:
        for waited in self._some([one for one in self.slow.waiting if not one.done()]):
            waited.set_result(None)

    def block_upstream(self) -> None:
        for upstream in self._some(self._open_upstreams()):
            self._toggle(upstream.connection, upstream.transport)

    async def connect(self) -> None:
        await self.proxy.settle()
        waiting = [n for n, attempt in enumerate(self.proxy.attempts) if not attempt.done()]
        if waiting:
            number = self.random.choice(waiting)
            if self.random.random() < 0.75:
                await self.proxy.accept(number)
            else:
                await self.proxy.refuse(
                    self.random.choice((ConnectFailed("refused"), ConnectTimeout())), number
                )

    def wait(self) -> None:
        self.proxy.advance(self.random.choice((0.01, 0.3, 1.0, 3.0)))

    def _toggle(self, protocol: DownstreamConnection | UpstreamConnection, transport: FakeTransport) -> None:
        if transport.is_closing():
            return
        if protocol in self.blocked:
            self.blocked.discard(protocol)
            protocol.resume_writing()
        else:
            self.blocked.add(protocol)
            protocol.pause_writing()

    def _some(self, things: list[_T]) -> list[_T]:
        return [self.random.choice(things)] if things else []

    def _open_upstreams(self) -> list[FakeUpstream]:
        return [one for one in self.proxy.upstreams if not one.transport.is_closing()]

    # -- the walk ------------------------------------------------------------------------------------------

    async def run(self, steps: int) -> None:
        kinds: list[Callable[[], object]] = [
            self.arrive,
            self.ask,
            self.say,
            self.leave,
            self.block_downstream,
        ]
        kinds += [self.answer, self.end, self.block_upstream, self.connect, self.wait]
        kinds.append(self.end_wait)
        weights = [4, 9, 5, 1, 2, 9, 1, 2, 8, 3, 4]
        self._listen()
        for kind in self.random.choices(kinds, weights, k=steps):
            found = kind()
            if asyncio.iscoroutine(found):
                await found
            self.proxy.loop.run_ready()
            await self.proxy.settle()

    async def leave_all(self) -> None:
        """Everybody goes, and every timer has its time."""
        for connection, transport in self.downstreams:
            if not transport.is_closing():
                connection.eof_received()
            transport.lose(None)
        await self.proxy.settle()
        for number, attempt in enumerate(self.proxy.attempts):
            if not attempt.done():
                await self.proxy.refuse(ConnectFailed("refused"), number)
        self.proxy.advance(400)
        for number, attempt in enumerate(self.proxy.attempts):
            if not attempt.done():
                await self.proxy.refuse(ConnectFailed("refused"), number)
        for upstream in self._open_upstreams():
            upstream.close()
        await self.proxy.settle()

    def check_what_left(self) -> None:
        """Each side got messages, and nothing between them: whoever comes next on a connection is not its victim."""
        if not self.is_read:
            return
        for transport in self.transports:
            _check_messages(bytes(transport.written), _STATUS_LINE, answers=True)
        for upstream in self.proxy.upstreams:
            _check_messages(bytes(upstream.transport.written), _REQUEST_LINE, answers=False)

    def check_nothing_left(self) -> None:
        """Gauges, circuit breakers, copies, pools, timers and tasks."""
        proxy = self.proxy
        gauges = proxy.stats().gauges
        left = {name: value for name, value in gauges.items() if name.endswith("_active") and value}
        assert left == {}
        breaker = proxy.cluster.breakers[0]
        used = [one.used for one in (breaker.connections, breaker.pending, breaker.requests, breaker.retries)]
        assert used == [0, 0, 0, 0]
        assert proxy.manager.is_idle
        assert proxy.pool.is_empty
        assert proxy.loop.live_timers == 0
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        assert tasks == set()


@pytest.mark.parametrize("first", range(0, 200, 20))
async def test_nothing_is_left_after_any_order_of_faults(
    first: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A slot, a timer or a task that each hundredth fault leaves behind stops a proxy after a week."""
    for seed in range(first, first + 20):
        walk = _Walk(seed)
        with walk.proxy:
            try:
                await walk.run(100)
                await walk.leave_all()
                walk.check_what_left()
                walk.check_nothing_left()
            except Exception as error:
                error.add_note(f"seed {seed}")
                raise
            assert caplog.records == [], f"seed {seed}"
