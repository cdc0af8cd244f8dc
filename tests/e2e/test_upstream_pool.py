"""Connections to the upstream are used again, and only when both sides agree where the last message ended."""

import pytest

from tests.e2e.conftest import StartFastProxy
from tests.e2e.support.proxies import Config, ConfigTemplate, Ports, RunningProxy
from tests.e2e.support.templates import EVERYTHING_TO_ECHO, bootstrap, cluster, listener
from tests.e2e.support.upstream import After, Answer, ScriptedUpstream
from tests.e2e.support.wire import Downstream, encode_request, method_of

_REQUESTS = {
    "get": encode_request("GET", "/first"),
    "post": encode_request("POST", "/first", body=b"abc"),
    "post-empty": encode_request("POST", "/first", body=b""),
    "chunked": encode_request("POST", "/first", chunks=(b"abc", b"de")),
    "chunked-empty": encode_request("POST", "/first", chunks=()),
    "chunked-large": encode_request("POST", "/first", chunks=(bytes(100_000),) * 3),
    "trailers": encode_request("POST", "/first", ("transfer-encoding", "chunked"))
    + b"1\r\na\r\n0\r\nx: y\r\n\r\n",
    "head": encode_request("HEAD", "/first", script="head-length"),
    "204": encode_request("GET", "/first", script="204"),
    "304": encode_request("GET", "/first", script="304-length"),
    "chunked-answer": encode_request("GET", "/first", script="chunked"),
    "trailers-in-answer": encode_request("GET", "/first", script="chunked-trailers"),
    "100-first": encode_request("GET", "/first", script="100-first"),
    "expect": encode_request("POST", "/first", ("expect", "100-continue"), body=b"abc"),
}
_NOT_REUSED = {
    "says-close": "says-close",
    "until-close": "until-close",
    "http-1-0": "http10-length",
    "bytes-after": "bytes-after",
    "early-answer": "early-401",
}


def one_connection_template(upstream_port: int) -> ConfigTemplate:
    """Everything to one upstream."""

    def template(ports: Ports) -> Config:
        listeners = [listener("plain", ports["plain"], EVERYTHING_TO_ECHO)]
        return bootstrap(ports["admin"], listeners, [cluster("echo", upstream_port)])

    return template


@pytest.fixture
def proxy(start_fastproxy: StartFastProxy, upstream: ScriptedUpstream) -> RunningProxy:
    """A FastProxy before one upstream."""
    return start_fastproxy(one_connection_template(upstream.port))


def test_the_next_request_follows_on_the_same_connection(
    proxy: RunningProxy, upstream: ScriptedUpstream
) -> None:
    """One stray byte behind a message would be the beginning of somebody else's request."""
    for name, request in _REQUESTS.items():
        with Downstream(proxy.ports["plain"]) as downstream:
            for step in (0, 1) if len(request) < 1000 else (0,):
                if step:
                    downstream.send_in_steps(request, step)
                else:
                    downstream.send(request)
                assert downstream.read_response(method_of(request)).status < 400, name
                downstream.send(encode_request("GET", "/second"))
                assert downstream.read_response().body == b"ok", name

    seen = upstream.take_requests()
    assert {request.connection for request in seen} == {1}
    assert all(request.complete for request in seen)
    assert upstream.faults == []


@pytest.mark.parametrize("script", _NOT_REUSED.values(), ids=_NOT_REUSED)
def test_a_connection_in_doubt_is_not_used_again(
    proxy: RunningProxy, upstream: ScriptedUpstream, script: str
) -> None:
    """Better one more handshake than an answer for the wrong request."""
    body = b"x" * 100 if script == "early-401" else None
    with Downstream(proxy.ports["plain"]) as downstream:
        downstream.send(encode_request("POST" if body else "GET", "/first", script=script, body=body))
        downstream.read_response()
    with Downstream(proxy.ports["plain"]) as downstream:
        downstream.send(encode_request("GET", "/second"))
        assert downstream.read_response().body == b"ok"

    first, second = upstream.take_requests()
    if script != "early-401":  # when the body was sent before the answer came, the connection is sound
        assert first.connection != second.connection


def test_an_idle_connection_that_the_upstream_closed_is_not_used(
    proxy: RunningProxy, upstream: ScriptedUpstream
) -> None:
    """Idle timers fire at the upstream first as often as not; the downstream should not see them as 503."""
    for _ in range(10):
        with Downstream(proxy.ports["plain"]) as downstream:
            downstream.send(encode_request("GET", "/"))
            assert downstream.read_response().status == 200
        upstream.close_connections()
        upstream.wait_until(lambda: upstream.open_connections == 0)


def test_an_upstream_that_closes_a_reused_connection_without_answering_is_tried_anew(
    proxy: RunningProxy, upstream: ScriptedUpstream
) -> None:
    """The race of keep-alive: the close and the next request pass each other. A GET may be sent again."""
    upstream.paths["/fickle"] = Answer((), After.CLOSE)
    with Downstream(proxy.ports["plain"]) as downstream:
        downstream.send(encode_request("GET", "/"))
        assert downstream.read_response().status == 200
        downstream.send(encode_request("GET", "/fickle"))
        response = downstream.read_response()

    assert response.status == 503
    attempts = [seen for seen in upstream.take_requests() if seen.path == b"/fickle"]
    assert len(attempts) in {1, 2}


def test_a_downstream_that_leaves_early_does_not_poison_the_connection(
    proxy: RunningProxy, upstream: ScriptedUpstream
) -> None:
    """The answer to the abandoned request must not become the answer to the next one."""
    upstream.paths["/held"] = Answer((b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirst",), held=True)
    with Downstream(proxy.ports["plain"]) as downstream:
        downstream.send(encode_request("GET", "/held"))
        upstream.wait_until(lambda: bool(upstream.requests))
        downstream.abort()

    for _ in range(2):
        with Downstream(proxy.ports["plain"]) as downstream:
            downstream.send(encode_request("GET", "/second"))
            assert downstream.read_response().body == b"ok"
        upstream.release()
