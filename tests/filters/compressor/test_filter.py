"""Compression of responses, from wire to wire."""

from dataclasses import replace
from typing import Any

import pytest

from fastproxy.filters.compressor.settings import CompressorPerRoute
from fastproxy.listener.settings import UpgradeSettings
from fastproxy.router.settings import DirectResponseAction, RouteSettings
from tests.filters.compressor.support import CODECS, Decoder, compressor, unchunk
from tests.listener.support import Proxy, head_of, route, status_of, to_service

BODY = b"hello world " * 30
HTML = b"content-type: text/html; charset=utf-8"


def get(accept: bytes | None = b"gzip", method: bytes = b"GET") -> bytes:
    lines = [method + b" / HTTP/1.1", b"host: a"]
    if accept is not None:
        lines.append(b"accept-encoding: " + accept)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def answer(*lines: bytes, body: bytes = BODY, status: bytes = b"200 OK") -> bytes:
    head = (b"HTTP/1.1 " + status, b"content-length: %d" % len(body), *lines)
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def exchange(
    *filters: Any, request: bytes = get(), response: bytes = answer(HTML), **proxy_options: Any
) -> tuple[dict[bytes, bytes], bytes]:
    """Headers and body, frames removed, of the answer."""
    with Proxy(filters=filters or [compressor()], **proxy_options) as proxy:
        proxy.send(request)
        proxy.upstream.take()
        proxy.upstream.respond(response)
        received = proxy.take()
        proxy.check_nothing_left()
    headers = head_of(received)[1]
    body = received.partition(b"\r\n\r\n")[2]
    if headers.get(b"transfer-encoding") == b"chunked" and not request.startswith(b"HEAD"):
        body, complete = unchunk(body)
        assert complete
    return headers, body


@pytest.mark.parametrize("encoding", CODECS)
def test_a_response_is_compressed_for_who_asks(encoding: bytes) -> None:
    """Length gone, encoding and `vary` there, the rest as it was."""
    headers, body = exchange(compressor(encoding), request=get(encoding))
    assert headers[b"content-encoding"] == encoding
    assert headers[b"vary"] == b"Accept-Encoding"
    assert headers[b"transfer-encoding"] == b"chunked"
    assert b"content-length" not in headers
    assert len(body) < len(BODY)
    decoder = Decoder(encoding)
    assert decoder.decode(body) == BODY
    assert decoder.is_complete


@pytest.mark.parametrize("encoding", CODECS)
def test_a_stream_stays_a_stream(encoding: bytes) -> None:
    """Every chunk of the upstream is readable before the next one comes."""
    with Proxy(filters=[compressor(encoding)]) as proxy:
        proxy.send(get(encoding))
        proxy.upstream.respond(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n" + HTML + b"\r\n\r\n")
        assert head_of(proxy.take())[1][b"content-encoding"] == encoding
        decoder = Decoder(encoding)
        for number in range(5):
            event = b"data: %d\n\n" % number
            proxy.upstream.respond(b"%x\r\n%s\r\n" % (len(event), event))
            assert decoder.decode(unchunk(proxy.take())[0]) == event
        proxy.upstream.respond(b"0\r\n\r\n")
        rest, complete = unchunk(proxy.take())
        assert complete
        assert decoder.decode(rest) == b""
        assert decoder.is_complete
        proxy.check_nothing_left()


@pytest.mark.parametrize(
    ("response", "varies"),
    [
        (answer(HTML, body=b"x" * 29), False),
        (answer(b"content-type: image/png"), False),
        (answer(HTML, b"content-encoding: br"), False),
        (answer(HTML, b"content-encoding: identity"), False),
        (answer(HTML, b"cache-control: public, No-Transform"), False),
        (answer(HTML, b"content-range: bytes 0-359/900", status=b"206 Partial Content"), False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 304 Not Modified\r\n" + HTML + b"\r\n\r\n", True),
    ],
)
def test_what_is_not_worth_it_or_not_allowed_passes_as_it_is(response: bytes, varies: bool) -> None:
    """Small, of another type, encoded, not to be transformed, a part, without a body."""
    headers, body = exchange(response=response)
    assert headers.get(b"content-encoding") in (None, b"br", b"identity")
    assert body == response.partition(b"\r\n\r\n")[2]
    assert (b"vary" in headers) is varies


@pytest.mark.parametrize("request_", [get(None), get(b"br"), get(b"gzip;q=0"), get(b"identity")])
def test_caches_learn_that_it_could_have_been_compressed(request_: bytes) -> None:
    """Otherwise a cache gives the plain answer to all, or worse the compressed one."""
    headers, body = exchange(request=request_)
    assert body == BODY
    assert headers[b"vary"] == b"Accept-Encoding"
    assert headers[b"content-length"] == b"%d" % len(BODY)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"vary: origin", b"origin, Accept-Encoding"),
        (b"vary: accept-encoding", b"accept-encoding"),
        (b"vary: *", b"*, Accept-Encoding"),
    ],
)
def test_vary_is_added_to(line: bytes, expected: bytes) -> None:
    """As in Envoy."""
    assert exchange(response=answer(HTML, line))[0][b"vary"] == expected


def test_head_says_what_get_would_vary_by_and_nothing_is_compressed() -> None:
    """There is no body."""
    response = answer(HTML).removesuffix(BODY)
    headers, body = exchange(request=get(method=b"HEAD"), response=response)
    assert (body, headers[b"vary"], headers[b"content-length"]) == (b"", b"Accept-Encoding", b"360")


def test_a_strong_etag_goes_and_a_weak_one_stays() -> None:
    """A strong one is for the bytes (RFC 9110 section 8.8.3)."""
    assert b"etag" not in exchange(response=answer(HTML, b'etag: "a"'))[0]
    assert exchange(response=answer(HTML, b'etag: W/"a"'))[0][b"etag"] == b'W/"a"'


def test_reasons_are_told_where_that_is_asked_for() -> None:
    """`status_header_enabled`."""
    options: dict[str, Any] = {
        "tells_status": True,
        "disable_on_etag_header": True,
        "uncompressible_statuses": frozenset((500,)),
    }

    def told(*lines: bytes, **response: Any) -> bytes | None:
        return exchange(compressor(**options), response=answer(*lines, **response))[0].get(
            b"x-envoy-compression-status"
        )

    assert told(HTML) == b"gzip;Compressed;OriginalLength=360"
    assert told(HTML, body=b"x") == b"gzip;ContentLengthTooSmall"
    assert told(b"content-type: a/b") == b"gzip;ContentTypeNotAllowed"
    assert told(HTML, b'etag: W/"a"') == b"gzip;EtagNotAllowed"
    assert told(HTML, status=b"500 Oh") == b"gzip;StatusCodeNotAllowed"
    assert told(HTML, b"cache-control: no-transform") is None


def test_several_compressors_share_the_choice() -> None:
    """The client's weights decide, not the order of the filters; only one of them compresses."""
    chain = [compressor(b"br"), compressor(b"gzip"), compressor(b"zstd")]
    for accept, encoding in ((b"gzip, br;q=0.9", b"gzip"), (b"*", b"br"), (b"zstd", b"zstd")):
        headers, body = exchange(*chain, request=get(accept))
        assert headers[b"content-encoding"] == encoding
        assert headers[b"vary"] == b"Accept-Encoding"
        assert Decoder(encoding).decode(body) == BODY


def test_a_compressor_for_other_types_is_no_choice() -> None:
    """Otherwise the client's favourite that is not for this response would prevent any compression."""
    other = compressor(b"br", content_types=frozenset((b"text/css",)))
    assert exchange(other, compressor(), request=get(b"br, gzip;q=0.1"))[0][b"content-encoding"] == b"gzip"


def test_the_upstream_does_not_compress_for_us_if_it_is_told_nothing() -> None:
    """`remove_accept_encoding_header`; compressors behind the one that removes it still know."""
    chain = [compressor(remove_accept_encoding_header=True), compressor(b"zstd")]
    with Proxy(filters=chain) as proxy:
        proxy.send(get(b"zstd"))
        assert b"accept-encoding" not in head_of(proxy.upstream.take())[1]
        proxy.upstream.respond(answer(HTML))
        assert head_of(proxy.take())[1][b"content-encoding"] == b"zstd"


def of_route(config: CompressorPerRoute) -> list[RouteSettings]:
    return [replace(to_service(), filter_configs={"gzip": config})]


@pytest.mark.parametrize(
    ("config", "settings", "compressed"),
    [
        (CompressorPerRoute(enabled=False), {}, False),
        (CompressorPerRoute(enabled=True), {"enabled": False}, True),
        (CompressorPerRoute(), {"enabled": False}, False),
        (CompressorPerRoute(is_skipped=True), {}, False),
        (CompressorPerRoute(), {"is_off_by_default": True}, True),
        (None, {"is_off_by_default": True}, False),
        (None, {"enabled": False}, False),
    ],
)
def test_a_route_has_the_last_word(
    config: CompressorPerRoute | None, settings: dict[str, Any], compressed: bool
) -> None:
    """`CompressorPerRoute`, and `FilterConfig` around it."""
    routes = [to_service()] if config is None else of_route(config)
    headers, _ = exchange(compressor(**settings), routes=routes)
    assert (b"content-encoding" in headers) is compressed


def test_answers_of_the_proxy_are_compressed_as_well() -> None:
    """A `direct_response` is a response."""
    routes = [route("/", DirectResponseAction(200, BODY))]
    with Proxy(filters=[compressor(content_types=frozenset((b"text/plain",)))], routes=routes) as proxy:
        for request in (get(), get(None), get(method=b"HEAD"), get()):
            proxy.send(request)
            received = proxy.take()
            headers = head_of(received)[1]
            body = received.partition(b"\r\n\r\n")[2]
            if request == get():
                assert headers[b"content-encoding"] == b"gzip"
                assert Decoder(b"gzip").decode(unchunk(body)[0]) == BODY
            else:
                assert b"content-encoding" not in headers
                assert body == (b"" if request.startswith(b"HEAD") else BODY)
        proxy.check_nothing_left()


def test_an_http_1_0_client_learns_the_end_by_the_close() -> None:
    """It does not know chunks."""
    with Proxy(filters=[compressor()], accept_http_10=True) as proxy:
        proxy.send(get().replace(b"HTTP/1.1", b"HTTP/1.0"))
        proxy.upstream.respond(answer(HTML))
        received = proxy.take()
        assert b"transfer-encoding" not in head_of(received)[1]
        assert Decoder(b"gzip").decode(received.partition(b"\r\n\r\n")[2]) == BODY
        assert proxy.is_closed()


def test_an_upgrade_is_never_compressed() -> None:
    """Its bytes are no body."""
    switch = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
    with Proxy(filters=[compressor()], upgrades=(UpgradeSettings("websocket"),)) as proxy:
        proxy.send(get().replace(b"\r\n\r\n", b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"))
        proxy.upstream.respond(switch + BODY)
        received = proxy.take()
        assert status_of(received) == 101
        assert b"content-encoding" not in head_of(received)[1]
        assert received.endswith(BODY)


def test_a_response_that_breaks_off_does_not_look_complete() -> None:
    """The stream has no end, and the connection is cut."""
    with Proxy(filters=[compressor()]) as proxy:
        proxy.send(get())
        proxy.upstream.respond(answer(HTML).removesuffix(b"world "))
        proxy.upstream.close()
        decoder = Decoder(b"gzip")
        body, complete = unchunk(proxy.take().partition(b"\r\n\r\n")[2])
        assert BODY.startswith(decoder.decode(body))
        assert not complete
        assert not decoder.is_complete
        assert proxy.transport.was_aborted()


def test_numbers_have_the_names_of_envoy() -> None:
    """Dashboards know them."""
    with Proxy(filters=[compressor(has_response_prefix=True)]) as proxy:
        for request in (get(), get(b"identity"), get(None)):
            proxy.send(request)
            proxy.upstream.respond(answer(HTML))
        proxy.send(get())
        proxy.upstream.respond(answer(HTML, body=b"x"))
        counters = proxy.stats().counters
    prefix = "http.ingress.compressor.lib.gzip."
    for name in ("header_compressor_used", "header_identity", "no_accept_header"):
        assert counters[prefix + name] == 1, name
    prefix += "response."
    assert counters[prefix + "compressed"] == 1
    assert counters[prefix + "not_compressed"] == 3
    assert counters[prefix + "content_length_too_small"] == 1
    assert counters[prefix + "total_uncompressed_bytes"] == len(BODY)
    assert 0 < counters[prefix + "total_compressed_bytes"] < len(BODY)


def test_remembered_choices_are_bounded() -> None:
    """`accept-encoding` is the client's: a flood of different values must not fill the memory."""
    one = compressor()
    with Proxy(filters=[one]) as proxy:
        for number in range(1000):
            proxy.send(get(b"gzip;q=0.%d" % (number + 1)))
            proxy.upstream.respond(answer(HTML))
        assert len(one._choices) <= 256
        long = b"gzip," + b"x" * 50_000
        for _ in range(2):
            proxy.take()
            proxy.send(get(long))
            proxy.upstream.respond(answer(HTML))
            assert head_of(proxy.take())[1][b"content-encoding"] == b"gzip"
        assert all(len(accept) <= 256 for accept, _ in one._choices)
