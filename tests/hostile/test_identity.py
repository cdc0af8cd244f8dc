"""S46, S52: who the caller is comes from the verified token alone, and nothing passes before the verdict."""

import pytest

from tests.e2e.support.upstream import SeenRequest
from tests.e2e.support.wire import Downstream, encode_request
from tests.hostile.conftest import Target

_FORGED = "eyJzdWIiOiJldmUifQ"
_SPELLINGS = [
    "x-jwt-payload",
    "X-JWT-PAYLOAD",
    "X-Jwt-Payload",
    "x_jwt_payload",
    "X_JWT-payload",
    "x-jwt_payload",
]


def identity_values(seen: SeenRequest) -> list[bytes]:
    """Every header that a lenient upstream (CGI, WSGI) takes for x-jwt-payload."""
    return [value for name, value in seen.headers if name.lower().replace(b"_", b"-") == b"x-jwt-payload"]


@pytest.mark.parametrize("name", _SPELLINGS)
@pytest.mark.parametrize("path", ["/open", "/guarded"])
def test_s46_a_forged_identity_header_is_removed(target: Target, path: str, name: str) -> None:
    """Also where no token is asked for: an upstream that sees the header believes it."""
    token = target.key.issue()
    auth = [("authorization", f"Bearer {token}")] if path == "/guarded" else []
    with Downstream(target.proxy.ports["guarded"]) as downstream:
        downstream.send(
            encode_request("GET", path, (name, _FORGED), ("x-other", "1"), (name, _FORGED), *auth)
        )
        assert downstream.read_response().status == 200

    (seen,) = target.seen_after_fence()

    assert identity_values(seen) == ([token.split(".")[1].encode()] if auth else [])
    assert seen.values(b"x-other") == [b"1"]


@pytest.mark.parametrize(
    "nominated", ["x-jwt-payload", "X-JWT-Payload", "close, x-jwt-payload", "x-jwt-payload, x-jwt-payload"]
)
def test_s46_connection_cannot_remove_the_verified_payload(target: Target, nominated: str) -> None:
    """`Connection: x-jwt-payload` would turn an authenticated request into an anonymous one."""
    token = target.key.issue()
    headers = (("connection", nominated), ("x-jwt-payload", _FORGED), ("authorization", f"Bearer {token}"))
    with Downstream(target.proxy.ports["guarded"]) as downstream:
        downstream.send(encode_request("GET", "/guarded", *headers))
        assert downstream.read_response().status == 200

    (seen,) = target.seen_after_fence()

    assert identity_values(seen) == [token.split(".")[1].encode()]


@pytest.mark.parametrize("step", [0, 1], ids=["whole", "one-byte-at-a-time"])
@pytest.mark.parametrize("trailer", ["x-jwt-payload", "authorization", "content-length", "host", "x-any"])
def test_s46_trailers_never_become_headers(target: Target, trailer: str, step: int) -> None:
    """A trailer comes after authentication; whoever merges it lets the caller name himself (RFC 9110 section 6.5.1)."""
    token = target.key.issue()
    head = encode_request(
        "POST", "/guarded", ("authorization", f"Bearer {token}"), ("transfer-encoding", "chunked")
    )
    wire = head + b"3\r\nabc\r\n0\r\n" + f"{trailer}: {_FORGED}\r\n\r\n".encode()
    with Downstream(target.proxy.ports["guarded"]) as downstream:
        if step:
            downstream.send_in_steps(wire, step)
        else:
            downstream.send(wire)
        responses = downstream.read_responses([b"POST"])

    # Refusing a forbidden trailer is as good as dropping it.
    assert [response.status for response in responses] in ([200], [400])
    for seen in target.seen_after_fence():
        assert _FORGED.encode() not in b"".join(value for _, value in seen.headers)
        assert seen.trailer_lines == ()


def test_s46_an_upgrade_request_carries_no_forged_identity(target: Target) -> None:
    """Upgrades take another way through many proxies; the rule must not."""
    headers = (("connection", "upgrade"), ("upgrade", "websocket"), ("x-jwt-payload", _FORGED))
    with Downstream(target.proxy.ports["guarded"]) as downstream:
        downstream.send(encode_request("GET", "/open", *headers))
        downstream.read_response()

    for seen in target.seen_after_fence():
        assert identity_values(seen) == []


def test_s52_nothing_reaches_the_upstream_before_the_verdict(target: Target) -> None:
    """Not the head, not the body, not even a connection: an upstream may act on the first byte."""
    connections = target.upstream.connections
    body = b"x" * 200_000
    for headers in ((), (("authorization", "Bearer a.b.c"),), (("expect", "100-continue"),)):
        with Downstream(target.proxy.ports["guarded"]) as downstream:
            downstream.send(encode_request("POST", "/guarded", *headers, body=body))
            assert downstream.read_response().status == 401

    assert target.upstream.connections == connections
    assert target.seen_after_fence() == []


def test_s52_a_refused_upload_is_not_read_for_ever(target: Target) -> None:
    """The refusal comes at once, and the connection ends, whatever length was announced."""
    with Downstream(target.proxy.ports["guarded"]) as downstream:
        downstream.send(encode_request("POST", "/guarded", ("content-length", "1000000000")) + b"x" * 1000)
        response = downstream.read_response()

        assert response.status == 401
        assert response.closes
        assert downstream.is_closed_by_peer()


@pytest.mark.parametrize(
    "path",
    ["//guarded", "/%67uarded", "/x/../guarded", "/guarded%00", "/GUARDED", "/guarded;x", "/.//guarded"],
)
def test_s49_the_rule_sees_what_the_upstream_sees(target: Target, path: str) -> None:
    """Whatever the spelling, `prefix: /` protects it."""
    with Downstream(target.proxy.ports["guarded"]) as downstream:
        downstream.send(encode_request("GET", path))
        response = downstream.read_response()

    assert response.status in {400, 401}
    assert target.seen_after_fence() == []


@pytest.mark.parametrize("wire", [
    b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a/guarded HTTP/1.1\r\nHost: b\r\n\r\n",
    b"GET http://a HTTP/1.1\r\nHost: b\r\n\r\n",
], ids=["connect", "options-star", "absolute", "absolute-no-path"])  # fmt: skip
def test_s49_other_target_forms_do_not_pass_a_guarded_listener(target: Target, wire: bytes) -> None:
    """Envoy's `prefix: /` does not cover CONNECT; a tunnel without a token would be the worst of all holes."""
    responses, _ = target.attack(wire, listener="guarded")

    assert all(response.status >= 400 for response in responses), responses
    assert target.seen_after_fence() == []


def test_s55_a_refusal_says_a_fixed_reason_only(target: Target) -> None:
    """Reflected input in an answer is a gift to phishing and to header injection."""
    with Downstream(target.proxy.ports["guarded"]) as downstream:
        downstream.send(
            encode_request("GET", "/guarded", ("authorization", "Bearer <script>alert(1)</script>.b.c"))
        )
        response = downstream.read_response()

    assert response.status == 401
    assert b"script" not in response.body
