"""`expect: 100-continue` (RFC 9110 section 10.1.1): the proxy's own 100, and `proxy_100_continue`."""

import pytest

from tests.listener.support import OK, Proxy, head_of, status_of

HEAD = b"POST /x HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def test_the_proxy_asks_for_the_body_itself() -> None:
    """The upstream gets no `expect`, and a 100 of it goes nowhere."""
    with Proxy() as proxy:
        proxy.send(HEAD)
        assert proxy.take() == CONTINUE
        assert b"expect" not in head_of(proxy.upstream.take())[1]
        proxy.upstream.respond(CONTINUE)
        assert proxy.take() == b""
        proxy.send(b"abc")
        proxy.upstream.respond(OK)
        assert status_of(proxy.take()) == 200
        proxy.check_nothing_left()


def test_the_upstream_asks_for_the_body() -> None:
    """With the headers of its 100, but for those of the connection; later ones are swallowed, as other 1xx are."""
    with Proxy(proxy_100_continue=True) as proxy:
        proxy.send(HEAD)
        assert proxy.take() == b""
        assert head_of(proxy.upstream.take())[1][b"expect"] == b"100-continue"
        proxy.upstream.respond(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Co")
        assert proxy.take() == b""
        proxy.upstream.respond(
            b"ntinue\r\nx-a: b\r\ncontent-length: 0\r\nconnection: keep-alive\r\nkeep-alive: 5\r\n\r\n"
            + CONTINUE
        )
        assert proxy.take() == b"HTTP/1.1 100 Continue\r\nx-a: b\r\n\r\n"
        proxy.send(b"abc")
        assert proxy.upstream.take() == b"abc"
        proxy.upstream.respond(CONTINUE + OK)
        assert status_of(proxy.take()) == 200
        assert not proxy.is_closed()
        # The next request of both connections waits anew.
        proxy.send(HEAD)
        proxy.upstream.respond(CONTINUE)
        assert proxy.take() == CONTINUE
        proxy.send(b"abc")
        proxy.upstream.respond(OK)
        assert status_of(proxy.take()) == 200
        proxy.check_nothing_left()


def test_a_100_and_the_answer_in_one_read_are_two_responses() -> None:
    """The answer came without the body, so the connection ends."""
    with Proxy(proxy_100_continue=True) as proxy:
        proxy.send(HEAD)
        proxy.upstream.respond(CONTINUE + OK)
        received = proxy.take()
        assert received.startswith(CONTINUE + b"HTTP/1.1 200 OK\r\n")
        assert proxy.is_closed()
        proxy.check_nothing_left()


def test_a_final_answer_instead_is_all_that_there_is() -> None:
    """The body that the client keeps to itself is not waited for."""
    with Proxy(proxy_100_continue=True) as proxy:
        proxy.send(HEAD)
        proxy.upstream.respond(b"HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n")
        received = proxy.take()
        assert status_of(received) == 417
        assert head_of(received)[1][b"connection"] == b"close"
        assert proxy.is_closed()


@pytest.mark.parametrize("proxied", [False, True])
def test_an_upstream_that_ends_after_its_100_has_closed_early(proxied: bool) -> None:
    """A whole interim response is no broken one: 503, and not 502."""
    with Proxy(proxy_100_continue=proxied) as proxy:
        proxy.send(HEAD)
        proxy.upstream.respond(CONTINUE)
        proxy.upstream.close()
        received = proxy.take()
        assert received.startswith(CONTINUE + b"HTTP/1.1 503 ")
        assert proxy.log.lines == ["503 UC upstream_reset_before_response_started{connection_termination}"]


@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 200 OK\r\nx"])
def test_an_upstream_that_ends_inside_the_next_head_is_broken(begun: bytes) -> None:
    """As without a 100 before it."""
    with Proxy(proxy_100_continue=True) as proxy:
        proxy.send(HEAD)
        proxy.upstream.respond(CONTINUE + begun)
        proxy.upstream.close()
        assert proxy.take().startswith(CONTINUE + b"HTTP/1.1 502 ")


def test_an_http_1_0_client_gets_no_100() -> None:
    """It would take it for the answer."""
    with Proxy(proxy_100_continue=True, accept_http_10=True) as proxy:
        proxy.send(HEAD.replace(b"HTTP/1.1", b"HTTP/1.0"))
        proxy.upstream.respond(CONTINUE)
        assert proxy.take() == b""


def test_a_100_with_too_many_headers_is_refused() -> None:
    """It is held to what a final head is held to."""
    with Proxy(proxy_100_continue=True) as proxy:
        proxy.send(HEAD)
        proxy.upstream.respond(b"HTTP/1.1 100 Continue\r\n" + b"x-a: b\r\n" * 101 + b"\r\n")
        assert status_of(proxy.take()) == 502
