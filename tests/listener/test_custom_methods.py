"""Methods that llhttp does not know (Envoy `allow_custom_methods`)."""

import asyncio
from collections.abc import Iterable
from unittest.mock import create_autospec

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.http.messages import Request
from fastproxy.listener.custom_methods import MAX_METHOD_BYTES
from fastproxy.listener.request_reader import RequestReader
from fastproxy.match.settings import (
    HeaderMatch,
    PathKind,
    PathMatch,
    RequestConditions,
    StringKind,
    StringMatch,
)
from fastproxy.router.settings import DirectResponseAction, RouteSettings
from tests.listener.support import GET, OK, Proxy, status_of, to_service
from tests.listener.test_request_reader import REJECTED

_HEAD = b" /x HTTP/1.1\r\nhost: a\r\n"
_CHUNKS = b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
_LOG = "%REQ(:METHOD)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%"


def custom(**settings: object) -> Proxy:
    """A proxy with the option."""
    return Proxy(allow_custom_methods=True, log_format=_LOG, **settings)  # type: ignore[arg-type]  # any of them


class Collector(RequestReader):
    """A reader that keeps what it parsed."""

    def __init__(self) -> None:
        # Parsing needs no loop; only an end that lingers does.
        loop = create_autospec(asyncio.AbstractEventLoop, instance=True)
        super().__init__(
            loop, max_head_bytes=61440, max_headers_count=100, flush_timeout_s=300.0, linger_s=1.0
        )
        self.allow_custom_methods()
        self.requests: list[Request] = []

    def serve(self) -> None:
        while self._queue:
            self.requests.append(self._queue.popleft())


def parse(wire: bytes, cuts: Iterable[int] = ()) -> list[tuple[bytes, bytes]]:
    """Method and body of each request, when `wire` is read in pieces that end at `cuts`."""
    reader = Collector()
    begin = 0
    for end in [*sorted(set(cuts)), len(wire)]:
        reader.read_slices(wire[begin:end])
        begin = end
    assert reader._fault is None, reader._fault
    assert all(one.body_complete for one in reader.requests)
    return [(one.method, b"".join(one.waiting_body)) for one in reader.requests]


@pytest.mark.parametrize(
    "method",
    [
        b"FOO", b"foo", b"get", b"head", b"Get", b"connect", b"POSTS", b"POS", b"GETX", b"PRI", b"DESCRIBE", b"SETUP",
        b"FLUSH", b"M!#$%&'*+-.^_`|~1", b"1", b"A" * MAX_METHOD_BYTES,
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [0, 1, 7])
@pytest.mark.parametrize("rest", [b"\r\n", b"content-length: 3\r\n\r\nabc", _CHUNKS])
def test_any_token_is_a_method(method: bytes, step: int, rest: bytes) -> None:
    """With a body or without one; upper and lower case are different (RFC 9110 section 9.1)."""
    wire = method + _HEAD + rest
    with custom() as proxy:
        for _ in range(2):
            proxy.send(wire, step)
            sent = proxy.upstream.take()
            assert sent.startswith(method + b" /x HTTP/1.1\r\n")
            proxy.upstream.respond(OK)
            assert proxy.take().endswith(b"\r\n\r\nok")
        assert proxy.log.lines == [f"{method.decode()} 200 via_upstream"] * 2
        proxy.check_nothing_left()


@pytest.mark.parametrize("method", [b"FOO", b"foo", b"DESCRIBE"])
def test_without_the_option_it_is_refused(method: bytes) -> None:
    """That is the default."""
    with Proxy() as proxy:
        proxy.send(method + _HEAD + b"\r\n")
        assert status_of(proxy.take()) == 400


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize(
    "start",
    [
        b"F\0O", b"F(O", b"F\tO", b"\xff", b"F,O", b'F"O', b" FOO", b"\tFOO", b"FOO\r\n", b"FOO\n", b"F:O", b"", b"\0",
        b"A" * (MAX_METHOD_BYTES + 1), b"A" * 5000, b"POST\0", b"POST\t/x", b"\r\n FOO", b"\r\nF\r\nOO",
    ],
)  # fmt: skip
def test_what_is_no_token_is_refused(start: bytes, step: int) -> None:
    """And nothing behind it is read (S51)."""
    with custom() as proxy:
        proxy.send(start + _HEAD + b"\r\n" + GET, step)
        assert status_of(proxy.take()) == 400
        assert proxy.is_closed()
        assert proxy.upstream.take() == b""
        assert proxy.log.lines == ["- 400 http1.codec_error"]


@pytest.mark.interpreted_only
def test_blank_lines_before_a_request_are_skipped() -> None:
    """Before the first one, and between two (RFC 9112 section 2.2)."""
    wire = (
        b"\r\n\r\nFOO"
        + _HEAD
        + b"\r\n\r\n\r\nBAR"
        + _HEAD
        + b"content-length: 1\r\n\r\nx\r\nBAZ"
        + _HEAD
        + b"\r\n"
    )
    expected = [(b"FOO", b""), (b"BAR", b"x"), (b"BAZ", b"")]
    assert parse(wire) == expected
    assert parse(wire, range(1, len(wire))) == expected


_METHODS = st.sampled_from(
    [b"GET", b"POST", b"FOO", b"foo", b"POSTER", b"P", b"X-1", b"OPTIONS", b"SETUP", b"PURGE"]
)
_TEXT = st.sampled_from(
    [
        b"abc", b"\r\n\r\n", b"\n\r\n", b"\r", b"\n",
        b"0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"FOO /y HTTP/1.1\r\n\r\n",
        b"0\r\n\r\nEVIL /y HTTP/1.1\r\nhost: a\r\n\r\n", b"\r\n0\r\n\r\n", b"a\n\r\n\n\r\nb",
    ]
)  # fmt: skip
_BODIES = st.lists(_TEXT, max_size=3).map(b"".join)


@st.composite
def _messages(draw: st.DrawFn) -> tuple[bytes, bytes, bytes]:
    """The wire form of a request, its method, and its body as `methods_of` tells it."""
    method = draw(_METHODS)
    blank = draw(st.sampled_from([b"", b"\r\n", b"\r\n\r\n"]))
    kind = draw(st.sampled_from(["none", "length", "chunked", "trailers"]))
    body = draw(_BODIES)
    head = blank + method + _HEAD
    if kind == "none":
        return head + b"\r\n", method, b""
    if kind == "length":
        return head + b"content-length: %d\r\n\r\n" % len(body) + body, method, body
    chunk = b"%x;a=b\r\n%b\r\n" % (len(body), body) if body else b""
    end = b"0\r\nx-t: 1\r\ny: 2\r\n\r\n" if kind == "trailers" else b"0\r\n\r\n"
    return head + b"transfer-encoding: chunked\r\n\r\n" + chunk + end, method, body


@pytest.mark.interpreted_only
@settings(deadline=None, max_examples=40)
@given(st.data())
def test_s51_any_split_of_any_sequence_gives_the_same_requests(data: st.DataObject) -> None:
    """A body that looks like a head stays a body, and nothing else is ever a method."""
    messages = data.draw(st.lists(_messages(), min_size=1, max_size=4))
    wire = b"".join(one[0] for one in messages)
    expected = [one[1:] for one in messages]
    assert parse(wire, data.draw(st.lists(st.integers(1, len(wire)), max_size=12))) == expected
    assert parse(wire) == expected
    assert parse(wire, range(1, len(wire))) == expected


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize(
    "name", sorted(set(REJECTED) - {"unknown-method", "lower-case-method", "h2-preface"})
)
def test_s51_whatever_else_is_refused_is_refused_as_before(name: str, step: int) -> None:
    """The option is about methods alone."""
    wire, status, code = REJECTED[name]
    with custom() as proxy:
        proxy.send(wire, step)
        assert status_of(proxy.take()) == status
        assert proxy.log.lines[-1].endswith(f" {status} {code}")


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("version", [b"RTSP/1.0", b"ICE/1.0", b"ICE/1.1", b"HTTP/1.2", b"http/1.1"])
@pytest.mark.parametrize("method", [b"FOO", b"GET", b"DESCRIBE"])
def test_s51_no_other_protocol_gets_in(method: bytes, version: bytes, step: int) -> None:
    """Whatever the method."""
    with custom() as proxy:
        proxy.send(method + b" /x " + version + b"\r\nhost: a\r\n\r\n", step)
        assert status_of(proxy.take()) == 400
        assert proxy.upstream.take() == b""


def test_a_method_counts_as_a_begun_head() -> None:
    """Otherwise half of one would have the time of an idle connection."""
    with custom(request_headers_timeout_s=2.0) as proxy:
        proxy.send(b"FO")
        proxy.advance(3)
        assert status_of(proxy.take()) == 408
        assert proxy.is_closed()


def test_limits_hold() -> None:
    """A head of custom method is a head."""
    with custom() as proxy:
        proxy.send(b"FOO" + _HEAD + b"x: " + b"v" * 70_000)
        assert status_of(proxy.take()) == 431
    with custom() as proxy:
        proxy.send(b"FOO" + _HEAD + b"".join(b"h%d: v\r\n" % n for n in range(100)) + b"\r\n")
        assert status_of(proxy.take()) == 431
        assert proxy.log.lines == ["FOO 431 http1.too_many_headers"]


@pytest.mark.parametrize("step", [0, 1])
def test_upgrades_are_where_they_were(step: int) -> None:
    """What follows an upgrade that is never granted is the next request; CONNECT is CONNECT, and `connect` is not."""
    upgrade = b"connection: upgrade\r\nupgrade: h2c\r\n\r\n"
    with custom() as proxy:
        proxy.send(b"FOO" + _HEAD + upgrade + b"BAR" + _HEAD + b"\r\n", step)
        assert proxy.upstream.take().startswith(b"FOO ")
        proxy.upstream.respond(OK)
        assert status_of(proxy.take()) == 200
    with custom() as proxy:
        proxy.send(b"CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\nFOO" + _HEAD + b"\r\n", step)
        assert proxy.upstream.take() == b""
        assert proxy.is_closed()
        assert proxy.log.lines[0].startswith("CONNECT ")
    with custom() as proxy:
        proxy.send(b"connect a:80 HTTP/1.1\r\nhost: a\r\n\r\n", step)
        assert status_of(proxy.take()) == 400


def test_head_in_small_letters_has_an_answer_with_a_body() -> None:
    """It is another method, of which nothing is known."""
    with custom() as proxy:
        proxy.send(b"head" + _HEAD + b"\r\n")
        proxy.upstream.respond(OK)
        assert proxy.take().endswith(b"\r\n\r\nok")


def test_a_custom_method_is_not_sent_again_unasked() -> None:
    """Nobody knows whether it is idempotent (RFC 9110 section 9.2.2)."""
    with custom() as proxy:
        proxy.send(GET)
        proxy.upstream.respond(OK)
        proxy.take()
        proxy.send(b"FOO" + _HEAD + b"\r\n")
        proxy.upstream.close()
        assert status_of(proxy.take()) == 503


def test_routes_tell_methods_apart() -> None:
    """`:method` is compared as it is written."""
    method = HeaderMatch(":method", StringMatch(StringKind.EXACT, "FOO"))
    own = RouteSettings(
        PathMatch(PathKind.PREFIX, "/"),
        DirectResponseAction(299),
        conditions=RequestConditions(headers=(method,)),
    )
    with custom(routes=[own, to_service()]) as proxy:
        proxy.send(b"FOO" + _HEAD + b"\r\n")
        assert status_of(proxy.take()) == 299
        proxy.send(b"foo" + _HEAD + b"\r\n")
        proxy.upstream.respond(OK)
        assert status_of(proxy.take()) == 200
