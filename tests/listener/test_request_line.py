"""Request lines of the two other protocols that llhttp speaks."""

import pytest

from fastproxy.http.messages import Request
from fastproxy.listener.request_line import find_other_protocol
from tests.listener.support import GET, OK, Proxy, status_of

_HOST = b"\r\nhost: a\r\n\r\n"


@pytest.mark.parametrize(
    ("raw", "targets", "position"),
    [
        (b"GET /a HTTP/1.1", [b"/a"], -1),
        (b"GET /a RTSP/1.0", [b"/a"], 0),
        (b"GET /a   RTSP/1.0", [b"/a"], 0),
        (b"GET   /a RTSP/1.0", [b"/a"], 0),
        (b"\r\n\r\nGET /a ICE/1.0", [b"/a"], 0),
        (b"GET /a HTTP/1.0\r\nuser-agent: RTSP/1.0", [b"/a"], -1),
        (b"GET /RTSP/1 HTTP/1.0", [b"/RTSP/1"], -1),
        (b"GET /a HTTP/1.1\r\n\r\nGET /b RTSP/1.0\r\n\r\nGET /c HTTP/1.1", [b"/a", b"/b", b"/c"], 1),
        (b"GET /(.*) RTSP/1.0", [b"/(.*)"], 0),
        (b"", [], -1),
    ],
)
def test_the_line_of_a_request_is_what_counts(raw: bytes, targets: list[bytes], position: int) -> None:
    """The same words may stand in a target or in a header of an honest request."""
    assert find_other_protocol(raw, [Request(b"GET", target, {}) for target in targets]) == position


@pytest.mark.parametrize("step", [0, 1, 7])
def test_s51_another_protocol_behind_an_honest_request_is_refused(step: int) -> None:
    """The first is answered, and what comes after the refused one is not read."""
    with Proxy() as proxy:
        proxy.send(GET + b"GET /b RTSP/1.0" + _HOST + GET, step)
        proxy.upstream.respond(OK)
        received = proxy.take()
        assert status_of(received) == 200
        assert status_of(received[received.rindex(b"HTTP/1.1 ") :]) == 400
        assert received.count(b"HTTP/1.1 ") == 2
        assert proxy.is_closed()
        assert proxy.upstream.take().count(b" HTTP/1.1\r\n") == 1


def test_s51_another_protocol_in_the_rest_of_a_split_head_is_refused() -> None:
    """Its line came with the request before."""
    with Proxy() as proxy:
        proxy.send(GET + b"GET /b RTS")
        proxy.upstream.respond(OK)
        assert status_of(proxy.take()) == 200
        proxy.send(b"P/1.0\r\nhost: a\r\n")
        proxy.send(b"\r\n")
        assert status_of(proxy.take()) == 400
        assert proxy.is_closed()


def test_an_old_client_may_mention_them() -> None:
    """HTTP/1.0 is what makes us look, and is served where that is allowed."""
    with Proxy(accept_http_10=True) as proxy:
        proxy.send(b"GET /a HTTP/1.0\r\nhost: a\r\nx-next: GET /b RTSP/1.0\r\n\r\n")
        proxy.upstream.respond(OK)
        assert status_of(proxy.take()) == 200
