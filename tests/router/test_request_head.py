"""The head of a request as it goes upstream."""

import pytest

from fastproxy.http.messages import Request
from fastproxy.http.name_case import ProperCase
from fastproxy.router.request_head import encode_request_head


def request(method: bytes = b"GET", **headers: bytes) -> Request:
    found = Request(method, b"/x?y=1", {name.encode(): value for name, value in headers.items()})
    found.authority = b"a:80"
    return found


def test_the_host_comes_first_and_is_the_authority() -> None:
    """RFC 9110 section 7.2 asks for it: some upstreams look no further."""
    assert encode_request_head(request(accept=b"*/*"), None) == (
        b"GET /x?y=1 HTTP/1.1\r\nhost: a:80\r\naccept: */*\r\n\r\n"
    )
    assert encode_request_head(request(), None) == b"GET /x?y=1 HTTP/1.1\r\nhost: a:80\r\n\r\n"


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"OPTIONS", b"FETCH"])
def test_a_method_that_may_have_a_body_says_that_there_is_none(method: bytes) -> None:
    """RFC 9112 section 6.3 lets an upstream wait for one otherwise, or refuse with 411."""
    assert encode_request_head(request(method), None).endswith(b"\r\ncontent-length: 0\r\n\r\n")


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"TRACE", b"CONNECT"])
def test_other_methods_say_nothing_of_a_body_that_is_not_there(method: bytes) -> None:
    """As Envoy."""
    assert b"content-length" not in encode_request_head(request(method), None)


def test_an_upgrade_says_nothing_of_a_body() -> None:
    """What follows it belongs to another protocol."""
    upgrade = request(b"POST")
    upgrade.upgrade = b"websocket"
    assert b"content-length" not in encode_request_head(upgrade, None)


def test_a_body_of_unknown_length_is_chunked() -> None:
    """The framing is the proxy's, whatever the downstream's was."""
    chunked = request(b"GET")
    chunked.content_length = None
    assert encode_request_head(chunked, None).endswith(b"\r\ntransfer-encoding: chunked\r\n\r\n")


def test_names_in_proper_case_include_the_host() -> None:
    """`proper_case_words` of the cluster."""
    named = request(accept=b"*/*")
    assert encode_request_head(named, ProperCase()) == (
        b"GET /x?y=1 HTTP/1.1\r\nHost: a:80\r\nAccept: */*\r\n\r\n"
    )
    assert named.headers == {b"accept": b"*/*"}
