"""Conditions on headers and query parameters (spec/http.md 8.2); the differential tests compare them with Envoy."""

import pytest

from fastproxy.http.connection_info import ConnectionInfo, PeerCertificate, TlsInfo
from fastproxy.http.headers import append
from fastproxy.http.messages import Request
from fastproxy.match.request import build_request_matcher
from fastproxy.match.settings import (
    HeaderMatch,
    QueryMatch,
    RangeMatch,
    RequestConditions,
    StringKind,
    StringMatch,
)

ONE = StringMatch(StringKind.EXACT, "1")


def request(*values: bytes, target: bytes = b"/p", method: bytes = b"GET") -> Request:
    made = Request(method, target, {})
    made.set_target(target)
    made.authority = b"h.test"
    for value in values:
        append(made.headers, b"x-a", value)
    return made


def holds(condition: HeaderMatch | QueryMatch, one: Request) -> bool:
    conditions = (
        RequestConditions(headers=(condition,))
        if isinstance(condition, HeaderMatch)
        else RequestConditions(query_parameters=(condition,))
    )
    matches = build_request_matcher(conditions)
    assert matches is not None
    return matches(one)


def test_without_conditions_there_is_nothing_to_ask() -> None:
    """The usual rule costs nothing more."""
    assert build_request_matcher(RequestConditions()) is None


@pytest.mark.parametrize(
    ("condition", "values", "expected"),
    [
        (HeaderMatch("x-a"), [b""], True),
        (HeaderMatch("x-a"), [], False),
        (HeaderMatch("x-a", value=False), [], True),
        (HeaderMatch("x-a", value=True, invert=True), [], True),
        (HeaderMatch("x-a", value=False, invert=True), [b""], True),
        (HeaderMatch("x-a", ONE), [b"1"], True),
        (HeaderMatch("x-a", ONE), [b"2", b"1"], True),
        (HeaderMatch("x-a", ONE), [b"2,1"], False),
        (HeaderMatch("x-a", ONE, invert=True), [b"2"], True),
        (HeaderMatch("x-a", ONE, invert=True), [b"2", b"1"], False),
        (HeaderMatch("x-a", ONE, invert=True), [], False),
        (HeaderMatch("x-a", ONE, invert=True, missing_as_empty=True), [], True),
        (HeaderMatch("x-a", RangeMatch(-2, 3)), [b"-2"], True),
        (HeaderMatch("x-a", RangeMatch(-2, 3)), [b"3"], False),
        (HeaderMatch("x-a", RangeMatch(-2, 3)), [b"1.0"], False),
        (HeaderMatch("x-a", RangeMatch(-2, 3)), [b"9" * 5000], False),
    ],
)
def test_header_conditions(condition: HeaderMatch, values: list[bytes], expected: bool) -> None:
    """Values one by one; a missing header satisfies nothing but its absence."""
    assert holds(condition, request(*values)) is expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (":method", "GET"),
        (":path", "/p?q"),
        (":authority", "h.test"),
        ("host", "h.test"),
        (":scheme", "http"),
    ],
)
def test_parts_of_the_request_line(name: str, value: str) -> None:
    """The path with its query."""
    assert holds(HeaderMatch(name, StringMatch(StringKind.EXACT, value)), request(target=b"/p?q"))


@pytest.mark.parametrize(
    ("condition", "query", "expected"),
    [
        (QueryMatch("q"), b"q", True),
        (QueryMatch("q"), b"a=1&q=", True),
        (QueryMatch("q"), b"Q=1", False),
        (QueryMatch("q", value=False), b"a", True),
        (QueryMatch("q", ONE), b"q=1&q=2", True),
        (QueryMatch("q", ONE), b"q=2&q=1", False),
        (QueryMatch("q", ONE), b"q=%31", False),
        (QueryMatch("q", ONE), b"", False),
    ],
)
def test_query_conditions(condition: QueryMatch, query: bytes, expected: bool) -> None:
    """The first value, not decoded."""
    assert holds(condition, request(target=b"/p?" + query)) is expected


def test_all_conditions_must_hold() -> None:
    """They are joined by and."""
    matches = build_request_matcher(
        RequestConditions(
            connect_only=True, headers=(HeaderMatch("x-a"),), query_parameters=(QueryMatch("q"),)
        )
    )
    assert matches is not None
    assert matches(request(b"1", target=b"/?q", method=b"CONNECT"))
    assert not matches(request(b"1", target=b"/?q"))
    assert not matches(request(target=b"/?q", method=b"CONNECT"))
    assert not matches(request(b"1", target=b"/", method=b"CONNECT"))


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize(
    ("over_tls", "certificate", "given"), [(False, False, False), (True, False, False), (True, True, True)]
)
def test_client_certificates(wanted: bool, over_tls: bool, certificate: bool, given: bool) -> None:
    """`tls_context`: a plain connection has none, TLS alone neither."""
    one = request()
    one.connection = ConnectionInfo(("192.0.2.7", 1), ("203.0.113.9", 443))
    if over_tls:
        one.connection.tls = TlsInfo("TLSv1.3", "TLS_AES_128_GCM_SHA256")
        one.connection.tls.peer = PeerCertificate(b"") if certificate else None
    matches = build_request_matcher(RequestConditions(has_client_certificate=wanted))
    assert matches is not None
    assert matches(one) is (given is wanted)


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (b"application/grpc", True),
        (b"application/grpc+proto", True),
        (b"application/grpc-web", False),
        (b"", False),
    ],
)
def test_grpc(content_type: bytes, expected: bool) -> None:
    """By content type alone, as in Envoy."""
    one = request()
    one.headers[b"content-type"] = content_type
    matches = build_request_matcher(RequestConditions(grpc=True))
    assert matches is not None
    assert matches(one) is expected
