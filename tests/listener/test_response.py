"""Response heads on their way downstream: framing by version and status, and what every response carries."""

from typing import Any

import pytest

from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import Request
from fastproxy.listener.response import ResponseEncoder
from fastproxy.listener.settings import HttpConnectionManagerSettings, ServerHeader
from fastproxy.router.settings import RouteConfigurationSettings


def encoder(**settings: Any) -> ResponseEncoder:
    return ResponseEncoder(
        HttpConnectionManagerSettings("s", RouteConfigurationSettings("r", ()), **settings)
    )


def request(method: bytes = b"GET", version: str = "1.1") -> Request:
    made = Request(method, b"/", {})
    made.version = version
    return made


@pytest.mark.parametrize(
    ("method", "version", "status", "upstream", "framing", "chunked", "keep_alive"),
    [
        (b"GET", "1.1", 200, {b"content-length": b"5"}, {b"content-length": b"5"}, False, True),
        (
            b"GET",
            "1.1",
            200,
            {b"transfer-encoding": b"chunked"},
            {b"transfer-encoding": b"chunked"},
            True,
            True,
        ),
        (b"GET", "1.1", 200, {}, {b"transfer-encoding": b"chunked"}, True, True),
        (b"HEAD", "1.1", 200, {}, {b"transfer-encoding": b"chunked"}, False, True),
        (b"HEAD", "1.1", 200, {b"content-length": b"5"}, {b"content-length": b"5"}, False, True),
        (b"GET", "1.1", 204, {}, {}, False, True),
        (b"GET", "1.1", 204, {b"content-length": b"0"}, {}, False, True),
        (b"GET", "1.1", 304, {b"content-length": b"5"}, {b"content-length": b"5"}, False, True),
        (b"GET", "1.1", 304, {b"transfer-encoding": b"chunked"}, {}, False, True),
        (b"GET", "1.0", 200, {b"transfer-encoding": b"chunked"}, {}, False, False),
        (b"GET", "1.0", 200, {b"content-length": b"5"}, {b"content-length": b"5"}, False, True),
        (b"GET", "1.0", 304, {}, {}, False, True),
    ],
)
def test_framing(
    method: bytes,
    version: str,
    status: int,
    upstream: dict[bytes, bytes],
    framing: dict[bytes, bytes],
    chunked: bool,
    keep_alive: bool,
) -> None:
    """RFC 9112 sections 6.1 to 6.3, from the side of the sender."""
    made, headers = request(method, version), HeaderMap({**upstream, b"x": b"1"})
    assert encoder().frame(made, status, headers) is chunked
    assert headers == {**framing, b"x": b"1"}
    assert made.keep_alive is keep_alive


def test_hop_by_hop_headers_go_and_nominated_ones_stay() -> None:
    """Unlike in requests (spec/http.md section 7.4)."""
    headers: HeaderMap = {
        b"connection": b"close, x-a",
        b"keep-alive": b"timeout=5",
        b"proxy-connection": b"x",
        b"upgrade": b"h2",
        b"x-a": b"1",
        b"content-length": b"0",
    }
    encoder().frame(request(), 200, headers)
    assert headers == {b"x-a": b"1", b"content-length": b"0"}


@pytest.mark.parametrize(
    ("version", "keep_alive", "line", "connection"),
    [
        ("1.1", True, b"HTTP/1.1 200 OK", None),
        ("1.1", False, b"HTTP/1.1 200 OK", b"close"),
        ("1.0", True, b"HTTP/1.0 200 OK", b"keep-alive"),
        ("1.0", False, b"HTTP/1.0 200 OK", b"close"),
    ],
)
def test_version_and_connection(
    version: str, keep_alive: bool, line: bytes, connection: bytes | None
) -> None:
    """The answer speaks the peer's version, and says what becomes of the connection."""
    made, headers = request(version=version), HeaderMap({b"date": b"kept", b"server": b"inner"})
    made.keep_alive = keep_alive
    data = encoder(server_name="name").encode(made, 200, headers)
    assert data.startswith(line + b"\r\n")
    assert data.endswith(b"\r\n\r\n")
    assert headers.get(b"connection") == connection
    assert headers[b"server"] == b"name"
    assert headers[b"date"] == b"kept"


def test_server_header_choices() -> None:
    """`server_header_transformation`: ours, ours if there is none, theirs."""
    for choice, absent, present in (
        (ServerHeader.OVERWRITE, b"s", b"s"),
        (ServerHeader.APPEND_IF_ABSENT, b"s", b"inner"),
        (ServerHeader.PASS_THROUGH, None, b"inner"),
    ):
        made = encoder(server_name="s", server_header=choice)
        without: HeaderMap = {}
        with_one: HeaderMap = {b"server": b"inner"}
        made.encode(request(), 200, without)
        made.encode(request(), 200, with_one)
        assert (without.get(b"server"), with_one[b"server"]) == (absent, present)


def test_names_with_capitals_are_for_the_wire_only() -> None:
    """Logs and filters go on reading lower case."""
    headers: HeaderMap = {b"x-many": [b"1", b"2"], b"etag": b"x", b"x-3d-9a": b"y"}
    data = encoder(proper_case_words=True).encode(request(), 200, headers)
    assert b"\r\nX-Many: 1\r\nX-Many: 2\r\nEtag: x\r\nX-3d-9a: y\r\nDate: " in data
    assert b"\r\nServer: fastproxy\r\n" in data
    assert b"x-many" in headers


def test_request_id_and_via_in_responses() -> None:
    """`always_set_request_id_in_response`, `via`."""
    made = request()
    made.headers[b"x-request-id"] = b"id"
    headers: HeaderMap = {b"x-request-id": b"of the upstream", b"via": b"1.1 inner"}
    encoder(via="1.1 edge", always_set_request_id_in_response=True).encode(made, 200, headers)
    assert (headers[b"x-request-id"], headers[b"via"]) == (b"id", b"1.1 inner, 1.1 edge")
