"""What a head must satisfy, rule by rule; `tests/listener` has the same rules on the wire."""

import pytest

from fastproxy.http.errors import ProtocolError
from fastproxy.http.framing import (
    check_framing,
    is_target_authority,
    is_upgrade,
    remove_hop_by_hop,
    split_absolute_form,
    take_authority,
)
from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import Request


def request(headers: HeaderMap, method: bytes = b"POST") -> Request:
    return Request(method, b"/", headers)


@pytest.mark.parametrize(
    "value",
    [
        b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked,chunked", b"xchunked", b"chunked;q=1", b"identity",
        b"",
    ],
)  # fmt: skip
def test_s51_only_exactly_chunked_is_a_transfer_coding(value: bytes) -> None:
    """`gzip, chunked` and its like are where two servers disagree on the body's end: TE.TE smuggling."""
    with pytest.raises(ProtocolError) as caught:
        check_framing(request({b"transfer-encoding": value}))
    assert (caught.value.reply_status, caught.value.reply_code) == (501, "http1.invalid_transfer_encoding")


@pytest.mark.parametrize("value", [b"chunked", b"Chunked", b"CHUNKED"])
def test_chunked_in_any_case_is_a_body_of_unknown_length(value: bytes) -> None:
    """RFC 9112 section 7: transfer coding names are case-insensitive."""
    checked = request({b"transfer-encoding": value})
    check_framing(checked)
    assert checked.has_body
    assert checked.content_length is None


def test_s51_length_and_coding_together_are_refused() -> None:
    """CL.TE smuggling (RFC 9112 section 6.1)."""
    with pytest.raises(ProtocolError) as caught:
        check_framing(request({b"transfer-encoding": b"chunked", b"content-length": b"0"}))
    assert caught.value.reply_code == "http1.content_length_and_chunked_not_allowed"
    assert caught.value.reply_status == 400


def test_s51_a_coding_in_an_http_10_request_is_refused() -> None:
    """RFC 9112 section 6.1: its framing is faulty."""
    checked = request({b"transfer-encoding": b"chunked"})
    checked.version = "1.0"
    with pytest.raises(ProtocolError):
        check_framing(checked)


@pytest.mark.parametrize(("value", "length", "has_body"), [(b"0", 0, False), (b"7", 7, True)])
def test_content_length_says_whether_a_body_follows(value: bytes, length: int, has_body: bool) -> None:
    """Zero is no body: nothing to wait for."""
    checked = request({b"content-length": value})
    check_framing(checked)
    assert (checked.content_length, checked.has_body) == (length, has_body)


@pytest.mark.parametrize(
    "host",
    [
        b"a",
        b"A.example:80",
        b"[::1]",
        b"[2001:db8::1]:8443",
        b"a.",
        b"under_score",
        b"a:",
        b"xn--bcher-kva.example",
    ],
)
def test_valid_hosts_are_taken_as_they_are(host: bytes) -> None:
    """Case and port are forwarded unchanged (spec/http.md section 7.3)."""
    headers: HeaderMap = {b"host": host, b"x": b"1"}
    assert take_authority(headers) == host
    assert headers == {b"x": b"1"}


@pytest.mark.parametrize(
    "host",
    [
        b"a/b", b"a b", b"a@b", b"user:pw@a", b"a?b", b"a#b", b"a\\b", b"[::1", b"::1", b"a:99999999", b"a:8x", b"\xe4",
        b"a\tb", b'a"b', b"<a>", b"a,b", b"[::1]x",
    ],
)  # fmt: skip
def test_s49_a_host_that_could_be_read_in_two_ways_is_refused(host: bytes) -> None:
    """It selects the virtual host here and perhaps another one at the upstream."""
    with pytest.raises(ProtocolError) as caught:
        take_authority({b"host": host})
    assert caught.value.reply_status == 400


def test_missing_host_is_for_the_caller_to_judge() -> None:
    """HTTP/1.0 may have a default."""
    assert take_authority({b"x": b"1"}) is None


@pytest.mark.parametrize(
    ("target", "authority", "rest"),
    [
        (b"http://a/x?y", b"a", b"/x?y"),
        (b"HTTPS://A:8443", b"A:8443", b"/"),
        (b"http://a?x=1", b"a", b"/?x=1"),
        (b"http://user:pw@a/x", b"a", b"/x"),
        (b"http://[::1]:80/x", b"[::1]:80", b"/x"),
        (b"http://a//x", b"a", b"//x"),
    ],
)
def test_absolute_form_splits_into_authority_and_path(target: bytes, authority: bytes, rest: bytes) -> None:
    """RFC 9112 section 3.2.2: it replaces the host header; user-info is dropped."""
    assert split_absolute_form(target) == (authority, rest)


@pytest.mark.parametrize(
    ("authority", "needs_port", "expected"),
    [
        (b"a", False, True), (b"a", True, False), (b"a:80", True, True), (b"a:0", True, True), (b"a:65535", True, True),
        (b"a:65536", True, False), (b"a:", True, False), (b"a:", False, False), (b"[::1]", False, True),
        (b"[::1]:80", True, True), (b"[::1]", True, False), (b"[::1", False, False), (b"[:::1]", False, False),
        (b"a-b.c", False, True), (b"*", False, False), (b"a%41", False, False), (b"a_b", False, False),
        (b"", False, False),
        (b":80", True, False), (b"u@a:80", True, False), (b"a:80:80", True, False), (b"a:8a", True, False),
    ],
)  # fmt: skip
def test_authorities_of_targets_are_names_or_addresses(
    authority: bytes,
    needs_port: bool,
    expected: bool,
) -> None:
    """CONNECT needs a port besides (RFC 9110 section 9.3.6)."""
    assert is_target_authority(authority, needs_port=needs_port) is expected


@pytest.mark.parametrize(
    ("target", "code"),
    [
        (b"ftp://a/x", "http1.invalid_scheme"),
        (b"x", "http1.invalid_url"),
        (b"*", "http1.invalid_url"),
        (b"http:///x", "http1.invalid_url"),
        (b"http://a@b@c/x", "http1.invalid_url"),
        (b"http://a\\b/x", "http1.invalid_url"),
        (b"http://a_b/x", "http1.invalid_url"),
        (b"http://a:/x", "http1.invalid_url"),
        (b"http://a:65536/x", "http1.invalid_url"),
        (b"http://[:::1]/x", "http1.invalid_url"),
        (b"javascript://a/x", "http1.invalid_scheme"),
    ],
)
def test_other_target_forms_are_refused(target: bytes, code: str) -> None:
    """spec/http.md section 5."""
    with pytest.raises(ProtocolError) as caught:
        split_absolute_form(target)
    assert caught.value.reply_code == code
    assert caught.value.reply_status == 400


def test_hop_by_hop_headers_are_removed_and_others_stay() -> None:
    """RFC 9110 section 7.6.1; the list of spec/http.md section 7.3."""
    kept: HeaderMap = {
        b"authorization": b"x",
        b"proxy-authorization": b"x",
        b"cookie": b"a=b",
        b"via": b"x",
        b"trailer": b"x",
        b"upgrade-insecure-requests": b"1",
        b"x-forwarded-host": b"x",
    }
    removed: HeaderMap = {
        b"connection": b"close",
        b"keep-alive": b"timeout=5",
        b"proxy-connection": b"x",
        b"transfer-encoding": b"chunked",
        b"upgrade": b"h2c",
        b"http2-settings": b"x",
        b"te": b"deflate",
        b"expect": b"100-Continue",
    }
    checked = request(kept | removed)
    remove_hop_by_hop(checked)
    assert checked.headers == kept


@pytest.mark.parametrize(
    ("te", "left"),
    [
        (b"trailers", b"trailers"),
        (b"Trailers, deflate", b"trailers"),
        (b"gzip", None),
        (b"trailers;q=1", None),
    ],
)
def test_te_keeps_the_token_trailers_alone(te: bytes, left: bytes | None) -> None:
    """gRPC needs it; the rest concerns this connection."""
    checked = request({b"te": te})
    remove_hop_by_hop(checked)
    assert checked.headers.get(b"te") == left


def test_another_expectation_passes() -> None:
    """Only `100-continue` is the proxy's (spec/http.md section 5)."""
    checked = request({b"expect": b"something"})
    remove_hop_by_hop(checked)
    assert checked.headers == {b"expect": b"something"}


@pytest.mark.parametrize("connection", [b"x-a", b"X-A", b"close, x-a ", b"x-a,x-a", b"\tx-a", b",,x-a"])
def test_nominated_headers_are_removed(connection: bytes) -> None:
    """RFC 9110 section 7.6.1."""
    checked = request({b"connection": connection, b"x-a": b"1", b"x-b": b"2"})
    remove_hop_by_hop(checked)
    assert checked.headers == {b"x-b": b"2"}


@pytest.mark.parametrize(
    "name",
    [b"x-forwarded-for", b"X-Forwarded-Proto", b"x-forwarded-host", b":path", b":anything"],
)
def test_nominating_what_others_rely_on_is_refused(name: bytes) -> None:
    """A downstream could otherwise make the upstream believe that it is the first hop."""
    with pytest.raises(ProtocolError) as caught:
        remove_hop_by_hop(request({b"connection": b"close, " + name}))
    assert caught.value.reply_code == "http1.connection_header_rejected"
    assert caught.value.reply_status == 400


@pytest.mark.parametrize("name", [b"host", b"Host"])
def test_s51_nominating_the_host_leaves_a_request_without_one(name: bytes) -> None:
    """And that is what it is refused for, as in Envoy."""
    with pytest.raises(ProtocolError) as caught:
        remove_hop_by_hop(request({b"connection": b"close, " + name}))
    assert (caught.value.reply_code, caught.value.reply_body, caught.value.reply_flag) == (
        "missing_host_header",
        b"",
        "",
    )


def test_s51_nominating_content_length_does_not_remove_it() -> None:
    """The upstream would take the body for the next request."""
    checked = request({b"connection": b"content-length", b"content-length": b"5"})
    remove_hop_by_hop(checked)
    assert checked.headers == {b"content-length": b"5"}


@pytest.mark.parametrize(
    ("connection", "upgrade", "expected"),
    [
        (b"upgrade", b"websocket", True),
        (b"keep-alive, Upgrade", b"websocket", True),
        (b"upgrade", b"", False),
        (b"close", b"websocket", False),
        (b"upgraded", b"websocket", False),
        (None, b"websocket", False),
        (b"upgrade", None, False),
    ],
)
def test_upgrade_needs_both_headers(connection: bytes | None, upgrade: bytes | None, expected: bool) -> None:
    """RFC 9110 section 7.8."""
    headers: HeaderMap = {}
    if connection is not None:
        headers[b"connection"] = connection
    if upgrade is not None:
        headers[b"upgrade"] = upgrade
    assert is_upgrade(headers) is expected
