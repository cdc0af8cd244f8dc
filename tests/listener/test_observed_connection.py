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


_BYTES = "%DOWNSTREAM_WIRE_BYTES_RECEIVED% %DOWNSTREAM_WIRE_BYTES_SENT% %UPSTREAM_WIRE_BYTES_RECEIVED%"


@pytest.mark.parametrize("step", [0, 1, 60])
def test_bytes_of_pipelined_requests_are_kept_apart(step: int) -> None:
    """However they arrive; the answers, too."""
    first = b"POST /1 HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"
    with Proxy(log_format=_BYTES, counts_bytes=True) as proxy:
        proxy.send(first + GET + GET, step)
        for _ in range(3):
            proxy.upstream.respond(OK)
        answer = len(proxy.take()) // 3
        sizes = (len(first), len(GET), len(GET))
        assert proxy.log.lines == [f"{size} {answer} {len(OK)}" for size in sizes]
        counters = proxy.stats().counters
        assert counters["http.ingress.downstream_cx_rx_bytes_total"] == sum(sizes)
        assert counters["http.ingress.downstream_cx_tx_bytes_total"] == 3 * answer
        proxy.check_nothing_left()


def test_a_connection_can_count_and_keep_names() -> None:
    """Both at once."""
    with Proxy(log_format=_BYTES, counts_bytes=True, kept_case=_KEEP) as proxy:
        proxy.send(GET.replace(b"host", b"HOST"))
        assert b"\r\nHOST: " in proxy.upstream.take()
        proxy.upstream.respond(OK)
        assert proxy.log.lines == [f"{len(GET)} {len(proxy.take())} {len(OK)}"]


def test_a_refused_request_has_its_bytes() -> None:
    """Not those of the one before it."""
    with Proxy(log_format=_BYTES, counts_bytes=True) as proxy:
        proxy.send(GET)
        proxy.upstream.respond(OK)
        proxy.take()
        bad = b"GET / HTTP/1.1\r\nhost: a\r\nBAD\r\n\r\n"
        proxy.send(bad)
        assert proxy.log.lines[1] == f"{len(bad)} {len(proxy.take())} 0"
