"""Random bytes on the listener: the answer is 4xx, 501 or silence and a closed connection, and the proxy lives on."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.e2e.support.wire import Downstream, PeerClosedError
from tests.hostile.conftest import Target

_SETTINGS = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])

_FRAGMENTS = st.sampled_from([
    b"GET ", b"POST ", b"/", b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"Host: a\r\n", b"Host:",
    b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"Connection: ", b"close", b"0",
    b"5\r\nabcde\r\n", b"0\r\n\r\n",
    b"Authorization: Bearer a.b.c\r\n", b":", b" ", b"\t", b"\x00", b"\xff", b"%00", b"?", b"#", b"http://",
    b"x" * 300,
    b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\n", b";a=b",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01",
])  # fmt: skip


def _exchange(target: Target, data: bytes) -> None:
    # Invariant: any bytes end in well-formed HTTP responses and a closed connection. On the guarded listener none of
    # them is a success, since no example holds a valid token.
    with Downstream(target.proxy.ports["guarded"]) as downstream:
        downstream.send(data)
        downstream.half_close()
        try:
            while True:
                response = downstream.read_response()
                assert 400 <= response.status < 500 or response.status in {501, 505}, response
                if not response.complete:
                    break
        except PeerClosedError:
            pass
        assert downstream.is_closed_by_peer()


@_SETTINGS
@given(data=st.binary(max_size=2000))
def test_any_bytes_end_in_a_refusal(target: Target, data: bytes) -> None:
    """A proxy on the Internet gets every byte sequence there is."""
    _exchange(target, data)
    assert target.proxy.process.poll() is None


@_SETTINGS
@given(pieces=st.lists(st.one_of(_FRAGMENTS, st.binary(max_size=20)), max_size=30))
def test_s56_almost_http_ends_in_a_refusal(target: Target, pieces: list[bytes]) -> None:
    """Bytes that look like HTTP get further into the code, and must end the same way."""
    _exchange(target, b"".join(pieces))
    assert target.seen_after_fence() == []


@_SETTINGS
@given(token=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=400))
def test_s56_any_token_text_ends_in_401(target: Target, token: str) -> None:
    """An exception in the auth path denies: never 5xx, never a contact with the upstream."""
    with Downstream(target.proxy.ports["guarded"]) as downstream:
        downstream.send(f"GET /guarded HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        assert downstream.read_response().status == 401
    assert target.seen_after_fence() == []
