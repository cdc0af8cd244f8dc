"""Requests whose header names go upstream as the downstream wrote them."""

import pytest

from fastproxy.http.name_case import KeptCaseSettings
from tests.listener.support import GET, OK, Proxy, status_of

_KEEP = KeptCaseSettings()


@pytest.mark.parametrize("step", [0, 1, 7])
def test_each_request_has_its_own_names(step: int) -> None:
    """Pipelined ones, too: what the first has said is nothing to the second, and trailers say nothing."""
    head = b"POST /1 HTTP/1.1\r\nHOST: a\r\nX-OWN: 1\r\nTransfer-ENCODING: chunked\r\n\r\n"
    first = head + b"1\r\nx\r\n0\r\nX-LATE: 1\r\n\r\n"
    second = b"GET /2 HTTP/1.1\r\nhost: a\r\nx-own: 2\r\nx-late: 2\r\n\r\n"
    with Proxy(kept_case=_KEEP, generate_request_id=False) as proxy:
        proxy.send(first + second, step)
        sent = proxy.upstream.take()
        assert sent.startswith(b"POST /1 HTTP/1.1\r\nHOST: a\r\nX-OWN: 1\r\n")
        assert b"\r\nTransfer-ENCODING: chunked\r\n" in sent
        assert b"\r\nx-forwarded-proto: http\r\n" in sent
        proxy.upstream.respond(OK)
        sent = proxy.upstream.take()
        assert sent.startswith(b"GET /2 HTTP/1.1\r\nhost: a\r\nx-own: 2\r\nx-late: 2\r\n")
        proxy.upstream.respond(OK)
        assert proxy.take().count(b"HTTP/1.1 200 OK") == 2
        proxy.check_nothing_left()


def test_the_proxys_own_answers_are_in_lower_case() -> None:
    """Nobody has written their names before."""
    with Proxy(kept_case=KeptCaseSettings(proper_case=True)) as proxy:
        proxy.send(GET.replace(b"host", b"HOST"))
        proxy.upstream.close()
        received = proxy.take()
        assert status_of(received) == 503
        assert b"\r\ncontent-length: " in received


def test_a_rejected_head_gives_nobody_its_names() -> None:
    """The request before it keeps its own."""
    with Proxy(kept_case=_KEEP) as proxy:
        proxy.send(
            b"GET /1 HTTP/1.1\r\nHost: a\r\nX-Own: 1\r\n\r\nGET /2 HTTP/1.1\r\nHOST: a\r\nX-OWN: 1\r\nTE\r\n\r\n"
        )
        assert b"\r\nX-Own: 1\r\n" in proxy.upstream.take()
        proxy.upstream.respond(OK)
        received = proxy.take()
        assert (received.count(b" 200 OK\r\n"), received.count(b" 400 Bad Request\r\n")) == (1, 1)
