"""Trailers: what may be one, and how they are written."""

import pytest

from fastproxy.http.headers import HeaderMap
from fastproxy.http.trailers import encode_body_end, remove_forbidden


@pytest.mark.parametrize(
    "name",
    [
        b"content-length", b"transfer-encoding", b"host", b"connection", b"te", b"trailer", b"authorization", b"cookie",
        b"set-cookie", b"expect", b"range", b"content-type", b"content-encoding", b"cache-control", b"x-forwarded-for",
        b"x-forwarded-client-cert", b"x-envoy-retry-on", b"x-request-id", b"forwarded", b"content_length",
        b"x_forwarded_for", b"x-jwt-payload", b"x_jwt-payload",
    ],
)  # fmt: skip
def test_s46_what_decides_about_a_message_is_no_trailer(name: bytes) -> None:
    """Whoever merges trailers into headers would believe it (RFC 9110 section 6.5.1)."""
    fields: HeaderMap = {name: b"1", b"x-checksum": b"2"}
    remove_forbidden(fields, frozenset((b"x-jwt-payload",)))
    assert fields == {b"x-checksum": b"2"}


@pytest.mark.parametrize(
    "name", [b"grpc-status", b"grpc-message", b"digest", b"server-timing", b"x-jwt-payload"]
)
def test_other_fields_stay(name: bytes) -> None:
    """They are what trailers are for; a name is an identity only where a filter says so."""
    fields: HeaderMap = {name: b"1"}
    remove_forbidden(fields)
    assert fields == {name: b"1"}


def test_the_last_chunk_has_every_line() -> None:
    """One for each value; none is left of an empty map (RFC 9112 section 7.1.2)."""
    assert encode_body_end({b"a": b"1", b"b": [b"2", b"3"]}) == b"0\r\na: 1\r\nb: 2\r\nb: 3\r\n\r\n"
    assert encode_body_end({}) == b"0\r\n\r\n"
