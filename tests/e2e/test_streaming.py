"""Large bodies and slow peers: memory stays flat, and nobody's slowness fills the proxy."""

import os
from pathlib import Path

import pytest

from tests.e2e.conftest import StartFastProxy
from tests.e2e.support.proxies import Config, ConfigTemplate, Ports, RunningProxy, resident_bytes, workers_of
from tests.e2e.support.templates import EVERYTHING_TO_ECHO, bootstrap, cluster, listener
from tests.e2e.support.upstream import After, Answer, ScriptedUpstream
from tests.e2e.support.wire import Downstream, encode_request

_MIB = 1024 * 1024
#: 1 GiB takes a while on a small machine; FASTPROXY_E2E_FULL=1 asks for it.
_LARGE = 1024 * _MIB if os.environ.get("FASTPROXY_E2E_FULL") == "1" else 256 * _MIB
_FLAT = 24 * _MIB
_WATER_MARK = 65536


def streaming_template(upstream_port: int) -> ConfigTemplate:
    """Low water marks on both sides, and no timeout on the route."""
    routes = [
        {
            **EVERYTHING_TO_ECHO[0],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "echo", "timeout": "0s"}}],
        }
    ]

    def template(ports: Ports) -> Config:
        limit = {"per_connection_buffer_limit_bytes": _WATER_MARK}
        listeners = [listener("plain", ports["plain"], routes, listener_options=limit)]
        return bootstrap(ports["admin"], listeners, [cluster("echo", upstream_port, **limit)])

    return template


@pytest.fixture
def proxy(start_fastproxy: StartFastProxy, upstream: ScriptedUpstream) -> RunningProxy:
    """A FastProxy with low water marks that has served one request already."""
    running = start_fastproxy(streaming_template(upstream.port))
    with Downstream(running.ports["plain"]) as downstream:
        downstream.send(encode_request("POST", "/warm", body=bytes(_MIB)))
        assert downstream.read_response().status == 200
    upstream.take_requests()
    return running


@pytest.mark.timeout(600)
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_large_upload_passes_in_flat_memory(
    proxy: RunningProxy, upstream: ScriptedUpstream, framing: str
) -> None:
    """One upload must not decide how much memory the proxy needs."""
    (worker,) = workers_of(proxy)
    before = resident_bytes(worker)
    peak = before
    piece = os.urandom(_MIB)
    chunked = framing == "chunked"
    header = ("transfer-encoding", "chunked") if chunked else ("content-length", str(_LARGE))
    with Downstream(proxy.ports["plain"]) as downstream:
        downstream.send(encode_request("POST", "/upload", header))
        for _ in range(_LARGE // _MIB):
            downstream.send(b"%x\r\n%s\r\n" % (_MIB, piece) if chunked else piece)
            peak = max(peak, resident_bytes(worker))
        downstream.send(b"0\r\n\r\n" if chunked else b"")
        assert downstream.read_response().status == 200

    (seen,) = upstream.take_requests()
    assert seen.body_length == _LARGE
    assert peak - before < _FLAT


@pytest.mark.timeout(600)
@pytest.mark.parametrize("framing", ["length", "until-close"])
def test_a_large_download_passes_in_flat_memory(
    proxy: RunningProxy, upstream: ScriptedUpstream, framing: str
) -> None:
    """One download must not decide how much memory the proxy needs."""
    (worker,) = workers_of(proxy)
    before = resident_bytes(worker)
    peak, received = before, 0
    head = b"content-length: %d\r\n" % _LARGE if framing == "length" else b""
    after = After.KEEP if framing == "length" else After.CLOSE
    upstream.paths["/download"] = Answer((b"HTTP/1.1 200 OK\r\n" + head + b"\r\n",), after, zeros=_LARGE)
    with Downstream(proxy.ports["plain"]) as downstream:
        downstream.send(encode_request("GET", "/download", ("connection", "close")))
        while piece := downstream.read_some(_MIB):
            received += len(piece)
            peak = max(peak, resident_bytes(worker))

    assert received > _LARGE
    assert peak - before < _FLAT


def test_a_slow_reader_makes_the_upstream_wait(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    """Beyond what the kernel's buffers hold the proxy takes no more from the upstream than its water marks say."""
    total = 256 * _MIB
    (worker,) = workers_of(proxy)
    before = resident_bytes(worker)
    upstream.paths["/slow"] = Answer((b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total,), zeros=total)
    with Downstream(proxy.ports["plain"], receive_buffer_bytes=32768) as downstream:
        downstream.send(encode_request("GET", "/slow"))
        downstream.read_some(10000)

        taken = upstream.wait_until_no_progress()

        assert taken < _kernel_buffers() + 4 * _WATER_MARK
        assert resident_bytes(worker) - before < 8 * _MIB
        piece = downstream.read_some(32 * _MIB)
        assert len(piece) == 32 * _MIB
        assert upstream.wait_until_no_progress() > taken


def test_an_upstream_that_does_not_read_makes_the_downstream_wait(
    proxy: RunningProxy, upstream: ScriptedUpstream
) -> None:
    """The same the other way round: an upload into a stuck service must not pile up in the proxy."""
    total = 256 * _MIB
    (worker,) = workers_of(proxy)
    before = resident_bytes(worker)
    upstream.paths["/stuck"] = Answer(unread=True)
    with Downstream(proxy.ports["plain"]) as downstream:
        downstream.send(encode_request("POST", "/stuck", ("content-length", str(total))))
        upstream.wait_until(lambda: bool(upstream.requests))

        sent = downstream.send_until_stalled(bytes(65536), total)

        assert sent < _kernel_buffers() + 4 * _WATER_MARK + 4 * _MIB
        assert resident_bytes(worker) - before < 8 * _MIB


def test_a_slow_reader_does_not_slow_others(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    """Back-pressure is per connection."""
    total = 64 * _MIB
    upstream.paths["/slow"] = Answer((b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total,), zeros=total)
    with Downstream(proxy.ports["plain"], receive_buffer_bytes=32768) as slow:
        slow.send(encode_request("GET", "/slow"))
        upstream.wait_until_no_progress()

        with Downstream(proxy.ports["plain"]) as other:
            for _ in range(20):
                other.send(encode_request("GET", "/"))
                assert other.read_response().body == b"ok"


def test_a_reader_that_goes_away_frees_the_upstream(proxy: RunningProxy, upstream: ScriptedUpstream) -> None:
    """An answer nobody reads any more must not be fetched to its end."""
    total = 256 * _MIB
    upstream.paths["/slow"] = Answer((b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total,), zeros=total)
    with Downstream(proxy.ports["plain"], receive_buffer_bytes=32768) as downstream:
        downstream.send(encode_request("GET", "/slow"))
        downstream.read_some(10000)
        downstream.abort()

    assert upstream.wait_until_no_progress() < total
    upstream.wait_until(lambda: upstream.open_connections <= 1)


def _kernel_buffers() -> int:
    """What two TCP connections can hold at most when nobody reads: both kernels' buffers on both hops."""
    largest = [int(Path(f"/proc/sys/net/ipv4/tcp_{kind}mem").read_text().split()[2]) for kind in "rw"]
    return 2 * sum(largest)
