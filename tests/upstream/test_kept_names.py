"""Responses whose header names go downstream as the upstream wrote them."""

import pytest

from fastproxy.http.name_case import KeptCaseSettings
from fastproxy.upstream.settings import ClusterSettings
from tests.listener.support import CLUSTER, GET, Proxy, status_of

_ANSWER = b"HTTP/1.1 200 Rather Fine\r\nX-OWN: 1\r\nContent-LENGTH: 2\r\n\r\nok"


def proxy_of(**kept: bool) -> Proxy:
    return Proxy(cluster=ClusterSettings(CLUSTER, kept_case=KeptCaseSettings(**kept)))


@pytest.mark.parametrize("cut", [0, 14, 20, 40])
def test_each_response_has_its_own_names(cut: int) -> None:
    """The next one on the same connection, too; nothing of an interim response stays."""
    with proxy_of() as proxy:
        proxy.send(GET)
        proxy.upstream.respond(b"HTTP/1.1 103 Early\r\nDATE: x\r\n\r\n" + _ANSWER[:cut])
        proxy.upstream.respond(_ANSWER[cut:])
        received = proxy.take()
        assert received.startswith(b"HTTP/1.1 200 OK\r\nX-OWN: 1\r\nContent-LENGTH: 2\r\n")
        assert b"\r\ndate: " in received
        proxy.send(GET)
        proxy.upstream.respond(_ANSWER.lower().replace(b"http", b"HTTP"))
        assert b"\r\nx-own: 1\r\ncontent-length: 2\r\n" in proxy.take()
        proxy.check_nothing_left()


@pytest.mark.parametrize("cut", [0, 14, 20, 26])
def test_the_reason_phrase_can_go_with_them(cut: int) -> None:
    """`forward_reason_phrase`; without one it is that of the status."""
    with proxy_of(reason_phrase=True, proper_case=True) as proxy:
        proxy.send(GET)
        proxy.upstream.respond(_ANSWER[:cut])
        proxy.upstream.respond(_ANSWER[cut:])
        received = proxy.take()
        assert received.startswith(b"HTTP/1.1 200 Rather Fine\r\nX-OWN: 1\r\n")
        assert b"\r\nServer: fastproxy\r\n" in received
        proxy.send(GET)
        proxy.upstream.respond(b"HTTP/1.1 404 \r\ncontent-length: 0\r\n\r\n")
        assert proxy.take().startswith(b"HTTP/1.1 404 Not Found\r\n")


@pytest.mark.parametrize("phrase", [b"a\x01b", b"a\x7f", b"\x00"])
def test_s47_a_control_character_in_the_reason_phrase_is_refused(phrase: bytes) -> None:
    """It would go into a status line of ours."""
    with proxy_of(reason_phrase=True) as proxy:
        proxy.send(GET)
        proxy.upstream.respond(_ANSWER.replace(b"Rather Fine", phrase))
        assert status_of(proxy.take()) == 502


def test_an_answer_instead_of_the_upstreams_is_the_proxys_own() -> None:
    """The response that was not passed on has no say in it."""
    with proxy_of() as proxy:
        proxy.send(GET)
        proxy.upstream.respond(b"HTTP/1.1 200 OK\r\nCONTENT-TYPE: a\r\nbroken\r\n\r\n")
        received = proxy.take()
        assert status_of(received) == 502
        assert b"\r\ncontent-type: text/plain\r\n" in received
