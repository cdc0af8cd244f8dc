"""What the wire may not look like: every rejection with its status, body and close (spec/http.md section 5)."""

import asyncio
from unittest.mock import create_autospec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import Request
from fastproxy.listener.request_reader import RequestReader
from tests.listener.support import GET, OK, Proxy, head_of, status_of

HOST = b"host: a\r\n"


def head(*lines: bytes, first: bytes = b"GET / HTTP/1.1", host: bytes = b"host: a") -> bytes:
    return b"\r\n".join((first, *((host,) if host else ()), *lines, b"", b""))


REJECTED = {
    "no-http": (b"hello\r\n\r\n", 400, "http1.codec_error"),
    "lower-case-version": (head(first=b"GET / http/1.1"), 400, "http1.codec_error"),
    "no-version": (b"GET /\r\n\r\n", 426, "low_version"),
    "unknown-method": (head(first=b"FOO / HTTP/1.1"), 400, "http1.codec_error"),
    "lower-case-method": (head(first=b"patch / HTTP/1.1"), 400, "http1.codec_error"),
    "rtsp": (head(first=b"GET / RTSP/1.0"), 400, "http1.codec_error"),
    "rtsp-2": (head(first=b"GET / RTSP/2.0"), 400, "http1.codec_error"),
    "rtsp-post-two-spaces": (head(first=b"POST  /  RTSP/1.0"), 400, "http1.codec_error"),
    "rtsp-own-method": (head(first=b"DESCRIBE rtsp://a/b RTSP/1.0"), 400, "http1.codec_error"),
    "ice": (head(first=b"SOURCE / ICE/1.0"), 400, "http1.codec_error"),
    "h2-preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "http1.codec_error"),
    "tls-hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "http1.codec_error"),
    "space-before-colon": (head(b"x : 1"), 400, "http1.codec_error"),
    "space-in-name": (head(b"x y: 1"), 400, "http1.codec_error"),
    "empty-name": (head(b": 1"), 400, "http1.codec_error"),
    "no-colon": (head(b"x"), 400, "http1.codec_error"),
    "nul-in-value": (head(b"x: a\x00b"), 400, "http1.invalid_characters"),
    "control-in-value": (head(b"x: a\x01b"), 400, "http1.invalid_characters"),
    "delete-in-value": (head(b"x: a\x7f"), 400, "http1.invalid_characters"),
    "bare-cr": (head(b"x: a\rb"), 400, "http1.codec_error"),
    "bare-lf": (b"GET / HTTP/1.1\nhost: a\n\n", 400, "http1.codec_error"),
    "bare-lf-after-header": (b"GET / HTTP/1.1\r\nhost: a\nx: 1\r\n\r\n", 400, "http1.codec_error"),
    "obs-fold": (head(b"x: a\r\n b"), 400, "http1.codec_error"),
    "fold-first": (b"GET / HTTP/1.1\r\n x: 1\r\nhost: a\r\n\r\n", 400, "http1.codec_error"),
    "target-control": (head(first=b"GET /\x01 HTTP/1.1"), 400, "http1.codec_error"),
    "target-non-ascii": (head(first=b"GET /\xff HTTP/1.1"), 400, "http1.codec_error"),
    "target-space": (head(first=b"GET /a b HTTP/1.1"), 400, "http1.codec_error"),
    "target-relative": (head(first=b"GET a HTTP/1.1"), 400, "http1.codec_error"),
    "target-star-get": (head(first=b"GET * HTTP/1.1"), 400, "http1.invalid_url"),
    "target-ftp": (head(first=b"GET ftp://a/ HTTP/1.1"), 400, "http1.invalid_scheme"),
    "length-sign": (head(b"content-length: +3"), 400, "http1.codec_error"),
    "length-negative": (head(b"content-length: -1"), 400, "http1.codec_error"),
    "length-text": (head(b"content-length: x"), 400, "http1.codec_error"),
    "length-hex": (head(b"content-length: 0x3"), 400, "http1.codec_error"),
    "length-list": (head(b"content-length: 3, 3"), 400, "http1.codec_error"),
    "length-overflow": (head(b"content-length: 99999999999999999999"), 400, "http1.codec_error"),
    "length-empty": (head(b"content-length:"), 400, "http1.codec_error"),
    "length-twice": (head(b"content-length: 0", b"content-length: 0"), 400, "http1.codec_error"),
    "length-differs": (head(b"content-length: 1", b"content-length: 2"), 400, "http1.codec_error"),
    "length-and-chunked": (
        head(b"content-length: 3", b"transfer-encoding: chunked"), 400,
        "http1.content_length_and_chunked_not_allowed",
    ),
    "chunked-and-length": (
        head(b"transfer-encoding: chunked", b"content-length: 3"), 400,
        "http1.content_length_and_chunked_not_allowed",
    ),
    "te-gzip": (head(b"transfer-encoding: gzip"), 501, "http1.invalid_transfer_encoding"),
    "te-gzip-chunked": (head(b"transfer-encoding: gzip, chunked"), 501, "http1.invalid_transfer_encoding"),
    "te-chunked-gzip": (head(b"transfer-encoding: chunked, gzip"), 501, "http1.invalid_transfer_encoding"),
    "te-twice": (
        head(b"transfer-encoding: chunked", b"transfer-encoding: chunked"), 501, "http1.invalid_transfer_encoding",
    ),
    "te-xchunked": (head(b"transfer-encoding: xchunked"), 501, "http1.invalid_transfer_encoding"),
    "te-te": (
        head(b"transfer-encoding: chunked", b"transfer-encoding: identity"), 501, "http1.invalid_transfer_encoding",
    ),
    "two-hosts": (head(b"host: b"), 400, "http1.multiple_host_headers"),
    "two-equal-hosts": (head(b"Host: a"), 400, "http1.multiple_host_headers"),
    "host-path": (head(host=b"host: a/b"), 400, "http.invalid_authority"),
    "host-userinfo": (head(host=b"host: u@a"), 400, "http.invalid_authority"),
    "too-many-headers": (head(*(b"x-%d: 1" % n for n in range(100))), 431, "http1.too_many_headers"),
    "too-many-of-one-name": (head(*(b"x-a: 1",) * 100), 431, "http1.too_many_headers"),
    "large-head": (head(b"x: " + b"v" * 70_000), 431, "http1.headers_too_large"),
    "large-target": (head(first=b"GET /" + b"v" * 70_000 + b" HTTP/1.1"), 431, "http1.headers_too_large"),
    "endless-head": (b"GET / HTTP/1.1\r\nx: " + b"v" * 200_000, 431, "http1.headers_too_large"),
    "nominated-host": (head(b"connection: x-forwarded-for"), 400, "http1.connection_header_rejected"),
    "http-2": (head(first=b"GET / HTTP/2.0"), 426, "low_version"),
    "http-0.9": (head(first=b"GET / HTTP/0.9"), 426, "low_version"),
}  # fmt: skip

BODIES = {
    400: b"Bad Request",
    426: b"Upgrade Required",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
}


@pytest.mark.parametrize("step", [0, 1, 1000])
@pytest.mark.parametrize("name", REJECTED)
def test_s51_rejections(name: str, step: int) -> None:
    """The status and text of Envoy, one answer, and the connection ends; nothing goes upstream."""
    wire, status, code = REJECTED[name]
    if step == 1 and len(wire) > 10_000:
        step = 37
    with Proxy() as proxy:
        proxy.send(wire + GET, step)
        _line, headers = head_of(received := proxy.take())
        assert status_of(received) == status
        assert headers[b"connection"] == b"close"
        assert received.partition(b"\r\n\r\n")[2] == BODIES[status]
        assert proxy.is_closed()
        assert proxy.upstream.take() == b""
        (logged,) = proxy.log.lines
        assert logged.split()[0] == str(status)
        assert logged.split()[2] == code
        counted = logged.split()[1] == "DPE" or code == "low_version"
        assert proxy.stats().counters["http.ingress.downstream_cx_protocol_error"] == counted
        proxy.check_nothing_left()


@pytest.mark.parametrize("size", [b"z", b"-1", b"0x5", b"5 5", b"fffffffffffffffff", b"", b"+5"])
@pytest.mark.parametrize("step", [0, 1])
def test_s51_a_bad_chunk_ends_request_and_exchange(size: bytes, step: int) -> None:
    """The body is on its way upstream: it must break there, not look complete."""
    with Proxy() as proxy:
        proxy.send(head(b"transfer-encoding: chunked", first=b"POST / HTTP/1.1") + b"2\r\nok\r\n")
        sent = proxy.upstream.take()
        proxy.send(size + b"\r\nhello\r\n0\r\n\r\n", step)
        assert status_of(proxy.take()) == 400
        assert proxy.is_closed()
        assert proxy.upstream.is_closed()
        assert not (sent + proxy.upstream.take()).endswith(b"0\r\n\r\n")
        proxy.check_nothing_left()


def test_s51_a_bad_chunk_after_the_response_began_cuts_the_connection() -> None:
    """A second status line in the middle of a body would be a response that nobody sent."""
    with Proxy() as proxy:
        proxy.send(head(b"transfer-encoding: chunked", first=b"POST / HTTP/1.1"))
        proxy.upstream.respond(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok")
        proxy.take()
        proxy.send(b"z\r\n")
        assert proxy.take() == b""
        assert proxy.transport.was_aborted()
        proxy.check_nothing_left()


@pytest.mark.parametrize(
    "junk",
    [b"x-t: " + b"v" * 100_000, b"".join(b"t-%d: 1\r\n" % n for n in range(20_000))],
    ids=["one", "many"],
)
def test_trailers_are_bounded(junk: bytes) -> None:
    """They are dropped, and must not be collected first."""
    with Proxy() as proxy:
        proxy.send(head(b"transfer-encoding: chunked", first=b"POST / HTTP/1.1") + b"0\r\n")
        proxy.send(junk)
        assert status_of(proxy.take()) == 431
        assert proxy.is_closed()
        proxy.check_nothing_left()


def test_chunk_extensions_are_bounded() -> None:
    """The same with what follows a chunk size."""
    with Proxy() as proxy:
        proxy.send(head(b"transfer-encoding: chunked", first=b"POST / HTTP/1.1") + b"5;")
        for _ in range(20):
            proxy.send(b"x" * 10_000)
        assert status_of(proxy.take()) in {400, 431}
        assert proxy.is_closed()


ACCEPTED = {
    "leading-blank-lines": b"\r\n\r\n" + GET,
    "obs-text": head(b"x: \xe9\xff"),
    "tab-in-value": head(b"x: a\tb"),
    "empty-value": head(b"x:"),
    "underscore": head(b"x_y: 1"),
    "hundred-headers": head(*(b"x-%d: 1" % n for n in range(99))),
    "large-head": head(b"x: " + b"v" * 61_000),
    "no-space-after-colon": head(b"x:1"),
    "absolute": head(first=b"GET http://b/ HTTP/1.1"),
}


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_unusual_and_allowed(name: str, step: int) -> None:
    """Stricter than needed would refuse real clients."""
    wire = ACCEPTED[name]
    with Proxy() as proxy:
        proxy.send(wire, 37 if step and len(wire) > 10_000 else step)
        assert proxy.upstream.take().startswith(b"GET / HTTP/1.1\r\n")
        proxy.upstream.respond(OK)
        assert status_of(proxy.take()) == 200
        assert not proxy.is_closed()


def test_white_space_around_a_value_is_no_part_of_it() -> None:
    """RFC 9112 section 5.1; a token with a blank behind it is that token."""
    with Proxy() as proxy:
        proxy.send(head(b"x:  a b \t "))
        assert head_of(proxy.upstream.take())[1][b"x"] == b"a b"


def test_the_authority_of_an_absolute_target_replaces_the_host() -> None:
    """RFC 9112 section 3.2.2: host and target must not say two things (S49)."""
    with Proxy() as proxy:
        proxy.send(head(first=b"GET http://user@b:81/x?y HTTP/1.1"))
        line, headers = head_of(proxy.upstream.take())
        assert line == b"GET /x?y HTTP/1.1"
        assert headers[b"host"] == b"b:81"


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "missing_host_header"),
        (head(first=b"GET /a#b HTTP/1.1"), "path_normalization_failed"),
    ],
)
def test_two_rejections_have_no_body(wire: bytes, code: str) -> None:
    """As in Envoy."""
    with Proxy() as proxy:
        proxy.send(wire)
        received = proxy.take()
        assert status_of(received) == 400
        assert received.endswith(b"\r\ncontent-length: 0\r\n\r\n") or b"content-length: 0\r\n" in received
        assert received.endswith(b"\r\n\r\n")
        assert proxy.log.lines == [f"400 - {code}"]


class Collector(RequestReader):
    """A reader that keeps what it parsed."""

    def __init__(self) -> None:
        # Parsing needs no loop; only an end that lingers does.
        loop = create_autospec(asyncio.AbstractEventLoop, instance=True)
        super().__init__(
            loop, max_head_bytes=61440, max_headers_count=100, flush_timeout_s=300.0, linger_s=1.0
        )
        self.requests: list[Request] = []

    def serve(self) -> None:
        while self._queue:
            self.requests.append(self._queue.popleft())


def parse_requests(wire: bytes, *, step: int = 0) -> list[Request]:
    reader = Collector()
    for at in range(0, len(wire), step or len(wire)):
        reader.read_slices(wire[at : at + step] if step else wire)
    assert reader._fault is None, reader._fault
    return reader.requests


@pytest.mark.interpreted_only
@pytest.mark.parametrize("step", [1, 7, 65536])
def test_s46_trailer_never_becomes_a_request_header(step: int) -> None:
    """Otherwise a downstream could forge x-jwt-sub after jwt_authn has run (RFC 9110 section 6.5.1)."""
    wire = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx-jwt-sub: eve\r\nhost: b\r\n\r\n"
    first, second = parse_requests(wire + GET, step=step)
    expected: HeaderMap = {b"host": b"a", b"transfer-encoding": b"chunked"}
    assert first.headers == expected
    assert first.body_complete
    assert second.headers == {b"host": b"a"}


CONNECTION = st.lists(
    st.sampled_from(
        [
            b"upgrade",
            b"Upgrade",
            b"close",
            b"keep-alive",
            b",",
            b" ",
            b"\t",
            b";",
            b"x",
            b"-",
            b"upgrad",
            b"e",
        ]
    ),
    max_size=6,
)


@given(CONNECTION, st.sampled_from([b"", b"h2c", b"websocket", b",", b"H2C, x"]), st.sampled_from([0, 5]))
def test_s51_we_and_the_parser_agree_on_what_an_upgrade_is(
    connection: list[bytes], upgrade: bytes, length: int
) -> None:
    """llhttp reads no body after an upgrade: if we forwarded the request, the body would be the next one."""
    lines = [b"connection: " + b"".join(connection), b"upgrade: " + upgrade]
    if length:
        lines.append(b"content-length: 5")
    with Proxy() as proxy:
        proxy.send(head(*lines, first=b"POST / HTTP/1.1") + b"GET /")
        sent = proxy.upstream.take()
        if sent:
            sent_head, _, body = sent.partition(b"\r\n\r\n")
            assert b"content-length: %d" % length in sent_head
            assert body == b"GET /"[:length]


@given(st.lists(st.integers(1, 60), max_size=30))
def test_any_split_of_a_request_stream_gives_the_same_requests(cuts: list[int]) -> None:
    """Three requests of every framing, torn anywhere: the upstream sees the same bytes."""
    wire = (
        b"POST /1 HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 5\r\n\r\nhello"
        b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n1\r\nd\r\n0\r\nx-t: 1\r\n\r\n"
        b"GET /3 HTTP/1.1\r\nHost: a\r\nX-Last: 1\r\n\r\n"
    )
    with Proxy(generate_request_id=False) as proxy:
        at, sent, received = 0, b"", b""
        for cut in [*cuts, len(wire), 0, 0, 0]:
            if cut and at < len(wire):
                proxy.send(wire[at : at + cut])
                at += cut
            sent += proxy.upstream.take()
            exchange = proxy.downstream._stream.exchange
            if exchange is not None and exchange._request_ended:
                proxy.upstream.respond(OK)
                sent += proxy.upstream.take()
            received += proxy.take()
        assert received.count(b"HTTP/1.1 200 OK") == 3
        first, rest = sent.split(b"POST /2 ")
        second, third = rest.split(b"GET /3 ")
        assert first.endswith(b"\r\n\r\nhello")
        assert b"x-a: 1\r\nx-a: 2\r\n" in first
        chunks = second.partition(b"\r\n\r\n")[2]
        assert chunks.endswith(b"0\r\n\r\n")
        assert b"x-t" not in chunks
        assert b"x-last: 1" in third
        proxy.check_nothing_left()


@pytest.mark.parametrize("step", [0, 1, 7])
@pytest.mark.parametrize("length", [b"0", b"2", b"999"])
def test_s51_a_length_beside_chunks_goes_where_it_is_allowed(length: bytes, step: int) -> None:
    """`allow_chunked_length`: the chunks alone say where the body ends, here and at the upstream."""
    lines = (b"content-length: " + length, b"transfer-encoding: chunked")
    wire = head(*lines, first=b"POST /1 HTTP/1.1") + b"5\r\nhello\r\n0\r\n\r\n" + GET
    with Proxy(allow_chunked_length=True) as proxy:
        proxy.send(wire, step)
        sent = proxy.upstream.take()
        assert b"content-length" not in sent
        assert sent.endswith(b"0\r\n\r\n")
        proxy.upstream.respond(OK)
        assert proxy.upstream.take().startswith(b"GET ")
        proxy.upstream.respond(OK)
        assert proxy.take().count(b"HTTP/1.1 200 OK") == 2
        proxy.check_nothing_left()
