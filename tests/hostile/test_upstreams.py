"""Upstreams that do what no upstream should: the client gets an answer or a cut connection, and nobody else suffers."""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.e2e.support.proxies import (
    Config,
    Ports,
    RunningProxy,
    resident_bytes,
    running_fastproxy,
    workers_of,
)
from tests.e2e.support.templates import bootstrap, cluster, forward, listener, virtual_host
from tests.e2e.support.threaded_server import ThreadedServer
from tests.e2e.support.wire import Downstream, WireResponse, encode_request

_MIB = 1 << 20
_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"transfer-encoding: chunked\r\n\r\n"
#: What it says first, and what it says for ever after that.
ENDLESS = {
    "header-lines": (_OK, b"x-flood: 0123456789\r\n" * 500),
    "equal-names": (_OK, b"set-cookie: a=b\r\n" * 500),
    "header-value": (_OK + b"x-flood: ", b"a" * 8192),
    "header-name": (_OK, b"a" * 8192),
    "status-line": (b"HTTP/1.1 200 ", b"a" * 8192),
    "interim-heads": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 300),
    "early-hints": (b"", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 200),
    "empty-lines": (b"", b"\r\n" * 4096),
    "trailers": (_CHUNKED + b"2\r\nok\r\n0\r\n", b"x-flood: 0123456789\r\n" * 500),
    "chunk-extension": (_CHUNKED + b"2;a=", b"b" * 8192),
    "chunk-size": (_CHUNKED, b"0" * 8192),
}
#: What ends in an error at once, or leaves the request to its timeout.
BROKEN = {
    "huge-chunk": _CHUNKED + b"FFFFFFFFFFFFFFFFF\r\n",
    "negative-chunk": _CHUNKED + b"-1\r\n",
    "chunk-without-end": _CHUNKED + b"2\r\nokXX2\r\n",
    "huge-length": _OK + b"content-length: 99999999999999999999999\r\n\r\n",
    "signed-length": _OK + b"content-length: +2\r\n\r\nok",
    "list-of-lengths": _OK + b"content-length: 2, 2\r\n\r\nok",
    "huge-status": b"HTTP/1.1 99999 OK\r\ncontent-length: 0\r\n\r\n",
    "no-http": b"220 mail.test ESMTP\r\n",
    "nul-in-name": _OK + b"a\0b: c\r\ncontent-length: 0\r\n\r\n",
    "bare-cr": _OK + b"a: b\rc: d\r\ncontent-length: 0\r\n\r\n",
    "space-before-colon": _OK + b"content-length : 0\r\n\r\n",
    "folded": _OK + b"a: b\r\n c\r\ncontent-length: 0\r\n\r\n",
}


class HostileUpstream(ThreadedServer):
    """Does what the path of a request says; on `/early` connections it answers before it is asked."""

    name = "hostile-upstream"

    def __init__(self) -> None:
        super().__init__()
        self.requests = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                await self._answer(head.split(b" ")[1].decode().strip("/"), reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _answer(self, what: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kind, _, rest = what.partition("/")
        if kind in ENDLESS:
            first, more = ENDLESS[kind]
            writer.write(first)
            while True:
                writer.write(more)
                await writer.drain()
                # Whoever has cut the connection is seen here; its last bytes may be taken for granted until then.
                await asyncio.sleep(0)
                if writer.transport.is_closing():
                    return
        if kind in BROKEN:
            writer.write(BROKEN[kind])
            await writer.drain()
            await reader.read()
        elif kind == "drip":
            for byte in itertools.chain(_OK, itertools.repeat(ord("a"))):
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(0.01)
        elif kind == "half-close":
            writer.write_eof()
            await reader.read()
        elif kind == "half-close-after":
            writer.write(_OK + b"content-length: 9\r\n\r\nhalf")
            writer.write_eof()
            await reader.read()
        elif kind == "twice":
            body = f"<{rest}>".encode()
            answer = _OK + b"content-length: %d\r\n\r\n%s" % (len(body), body)
            writer.write(answer + answer)
            await writer.drain()
        else:
            body = what.encode()
            writer.write(_OK + b"content-length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()


@dataclass(frozen=True, slots=True)
class Victim:
    """A proxy before such an upstream."""

    proxy: RunningProxy
    upstream: HostileUpstream

    def ask(self, path: str) -> list[WireResponse]:
        """What a client gets, to the end of its connection or the first complete answer."""
        with Downstream(self.proxy.ports["http"]) as downstream:
            downstream.send(encode_request("GET", path, ("connection", "close")))
            responses = downstream.read_responses([b"GET"])
            downstream.read_to_end()
            return responses


@pytest.fixture(scope="module")
def running_victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """Once for all attacks."""
    with ExitStack() as stack:
        upstream = stack.enter_context(HostileUpstream())

        def template(ports: Ports) -> Config:
            routes = [
                forward({"prefix": "/drip"}, "bad", timeout="0.5s"),
                # A second try would hide what the first one did.
                forward({"prefix": "/"}, "bad", timeout="15s"),
            ]
            listeners = [listener("http", ports["http"], [virtual_host("all", ["*"], routes)])]
            return bootstrap(ports["admin"], listeners, [cluster("bad", upstream.port)])

        folder = tmp_path_factory.mktemp("upstreams")
        yield Victim(stack.enter_context(running_fastproxy(template, ("http",), folder)), upstream)


@pytest.fixture
def victim(running_victim: Victim) -> Iterator[Victim]:
    """Alive after each attack, without a traceback, and of the same size."""
    (good,) = running_victim.ask("/fine")
    assert good.body == b"fine"
    (worker,) = workers_of(running_victim.proxy)
    before, logged = resident_bytes(worker), len(running_victim.proxy.log())
    yield running_victim
    (good,) = running_victim.ask("/fine")
    assert good.body == b"fine"
    assert resident_bytes(worker) - before < 8 * _MIB
    assert "Traceback" not in running_victim.proxy.log()[logged:]


@pytest.mark.parametrize("what", ENDLESS)
def test_what_never_ends_is_cut(victim: Victim, what: str) -> None:
    """In bounded memory, long before the route's timeout: 502, or the end of a response that had begun."""
    responses = victim.ask(f"/{what}")
    if what in {"trailers", "chunk-extension", "chunk-size"}:
        assert not responses or not responses[0].complete or responses[0].status == 502
    else:
        assert [one.status for one in responses] == [502]


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_no_response_is_not_passed_on(victim: Victim, what: str) -> None:
    """502 if nothing was sent yet; otherwise the connection ends without the response's end."""
    (response,) = victim.ask(f"/{what}")
    if "chunk" in what:
        assert response.status == 502 or not response.complete
    else:
        assert response.status == 502
        assert b"ok" not in response.body.split(b" ")


def test_a_head_that_drips_is_given_up_by_the_timeout_of_the_route(victim: Victim) -> None:
    """Bytes that come are no progress as long as they make no head."""
    (response,) = victim.ask("/drip")
    assert response.status == 504


def test_an_upstream_that_closes_its_half_without_answering_is_done(victim: Victim) -> None:
    """It will say nothing more; the request need not wait for its timeout."""
    (response,) = victim.ask("/half-close")
    assert response.status == 503
    (response,) = victim.ask("/half-close-after")
    assert (response.status, response.complete) == (200, False)


def test_a_second_response_to_one_request_reaches_nobody(victim: Victim) -> None:
    """Whoever comes next would take it for the answer to a request of his own."""
    with Downstream(victim.proxy.ports["http"]) as downstream:
        for number in range(5):
            downstream.send(encode_request("GET", f"/twice/{number}"))
            assert downstream.read_response().body == b"<%d>" % number
    (response,) = victim.ask("/fine")
    assert response.body == b"fine"
