"""Local replies as headers and body (spec/http.md section 12)."""

import pytest

from fastproxy.http.headers import HeaderMap
from fastproxy.http.local_reply import begin_reply, finish_reply, is_grpc
from fastproxy.http.messages import LocalReply, Request


def local_reply_parts(reply: LocalReply, request: Request | None) -> tuple[int, HeaderMap, bytes]:
    request = request or Request(b"", b"", {})
    return finish_reply(begin_reply(reply, request), request)


def grpc_request(content_type: bytes = b"application/grpc") -> Request:
    return Request(b"POST", b"/", {b"content-type": content_type})


def test_a_body_has_its_length_and_type() -> None:
    """Envoy: text/plain."""
    reply = LocalReply(401, b"Jwt is missing", details="x", headers=((b"www-authenticate", b"Bearer"),))
    status, headers, body = local_reply_parts(reply, Request(b"GET", b"/", {}))
    assert (status, body) == (401, b"Jwt is missing")
    assert headers == {
        b"www-authenticate": b"Bearer",
        b"content-length": b"14",
        b"content-type": b"text/plain",
    }


def test_no_body_has_no_type() -> None:
    """`content-length: 0`, and not even that with 204 (RFC 9110 section 8.6)."""
    assert local_reply_parts(LocalReply(404, details="x"), None) == (404, {b"content-length": b"0"}, b"")
    assert local_reply_parts(LocalReply(204, details="x"), None) == (204, {}, b"")


def test_a_reply_is_not_changed_by_being_sent() -> None:
    """One object answers many requests."""
    reply = LocalReply(503, b"x", details="x", headers=((b"a", b"1"), (b"a", b"2")))
    first, second = (local_reply_parts(reply, None)[1] for _ in range(2))
    first[b"b"] = b"changed"
    assert second[b"a"] == [b"1", b"2"]
    assert b"b" not in second
    assert "503" in repr(reply)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, 13),
        (401, 16),
        (403, 7),
        (404, 12),
        (429, 14),
        (502, 14),
        (503, 14),
        (504, 14),
        (500, 2),
        (413, 2),
    ],
)
def test_grpc_callers_get_a_grpc_status(status: int, code: int) -> None:
    """They do not look at HTTP codes (Envoy's table)."""
    got, headers, body = local_reply_parts(LocalReply(status, b"why: 100%\n", details="x"), grpc_request())
    assert (got, body) == (200, b"")
    assert headers[b"content-type"] == b"application/grpc"
    assert headers[b"grpc-status"] == b"%d" % code
    assert headers[b"grpc-message"] == b"why: 100%25%0A"


def test_grpc_reply_without_body_has_no_message() -> None:
    """And keeps the reply's own headers."""
    reply = LocalReply(401, details="x", headers=((b"www-authenticate", b"Bearer"),))
    headers = local_reply_parts(reply, grpc_request())[1]
    assert b"grpc-message" not in headers
    assert headers[b"www-authenticate"] == b"Bearer"


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (b"application/grpc", True),
        (b"application/grpc+proto", True),
        (b"application/grpc-web", False),
        (b"application/json", False),
    ],
)
def test_what_counts_as_grpc(content_type: bytes, expected: bool) -> None:
    """spec/http.md section 8.2."""
    assert is_grpc(grpc_request(content_type)) is expected
    assert not is_grpc(Request(b"POST", b"/", {}))


def test_a_route_changes_its_own_answer_and_not_that_of_a_filter() -> None:
    """Header rules must not take the challenge out of a 401."""

    def rules(request: Request, headers: HeaderMap) -> None:
        assert request.method == b"GET"
        headers |= {b"x-added": b"1", b"www-authenticate": b"rule", b"content-type": b"text/html"}

    request = Request(b"GET", b"/", {})
    request.response_rules = rules
    for is_of_route, expected in ((False, b"Bearer"), (True, b"rule")):
        reply = LocalReply(
            401, b"x", details="x", headers=((b"www-authenticate", b"Bearer"),), is_of_route=is_of_route
        )
        _, headers, _ = local_reply_parts(reply, request)
        assert headers[b"www-authenticate"] == expected
        assert headers[b"x-added"] == b"1"
        assert headers[b"content-type"] == b"text/html"
