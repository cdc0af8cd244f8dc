"""Taking a proxy out of service: what clients see after /healthcheck/fail and /drain_listeners, as from Envoy."""

import http.client
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.support.cases import CONTENDER
from tests.e2e.support.proxies import Config, Ports, RunningProxy, running_envoy, running_fastproxy
from tests.e2e.support.templates import bootstrap, direct, listener, virtual_host

_HOSTS = [virtual_host("any", ["*"], [direct({"prefix": "/"}, 200, "here")])]


def _fill(ports: Ports) -> Config:
    inbound = listener("inbound", ports["inbound"], _HOSTS, listener_options={"traffic_direction": "INBOUND"})
    return bootstrap(ports["admin"], [listener("plain", ports["plain"], _HOSTS), inbound], [])


@pytest.fixture(params=["envoy", CONTENDER])
def proxy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningProxy]:
    """One of both: what is asserted holds for either."""
    listeners = ("plain", "inbound")
    if request.param == "envoy":
        with running_envoy(_fill, listeners, tmp_path) as running:
            yield running
    else:
        with running_fastproxy(
            _fill, listeners, tmp_path, "--concurrency", "2", "--drain-strategy", "immediate"
        ) as one:
            yield one


Connect = Callable[..., http.client.HTTPConnection]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes connections that are closed with the test."""
    with ExitStack() as stack:

        def make(proxy: RunningProxy, name: str = "plain") -> http.client.HTTPConnection:
            made = http.client.HTTPConnection("127.0.0.1", proxy.ports[name], timeout=20)
            stack.callback(made.close)
            return made

        yield make


def _says_close(connection: http.client.HTTPConnection) -> bool:
    connection.request("GET", "/")
    response = connection.getresponse()
    assert response.read() == b"here"
    return response.headers.get("connection") == "close"


def test_responses_end_their_connections_while_health_checks_fail(
    proxy: RunningProxy, connect: Connect
) -> None:
    """Clients go elsewhere one by one; new connections are still served."""
    kept = connect(proxy)
    assert not _says_close(kept)
    assert proxy.admin("/healthcheck/fail", "POST") == (200, "OK\n")
    assert proxy.admin("/ready") == (503, "DRAINING\n")
    _keep_asking(kept)
    assert _says_close(connect(proxy))
    assert "http.plain.downstream_cx_drain_close: 2\n" in proxy.admin("/stats?filter=drain_close")[1]
    assert proxy.admin("/healthcheck/ok", "POST") == (200, "OK\n")
    assert proxy.admin("/ready") == (200, "LIVE\n")
    again = connect(proxy)
    while _says_close(again):
        # The word needs a moment from process to process.
        again = connect(proxy)
    assert not _says_close(again)


def test_drained_listeners_refuse_and_what_is_open_goes_on(proxy: RunningProxy, connect: Connect) -> None:
    """At once; only those for inbound traffic, if told so. The process stays."""
    kept, other = connect(proxy, "inbound"), connect(proxy)
    assert not _says_close(kept)
    assert not _says_close(other)
    assert proxy.admin("/drain_listeners?inboundonly", "POST") == (200, "OK\n")
    _wait_until_refused(proxy, "inbound")
    assert not _says_close(kept)
    assert not _says_close(connect(proxy))
    assert proxy.admin("/drain_listeners", "POST") == (200, "OK\n")
    _wait_until_refused(proxy, "plain")
    assert not _says_close(other)
    assert proxy.admin("/ready") == (200, "LIVE\n")
    assert proxy.process.poll() is None


def test_a_reload_does_not_open_drained_listeners_again(tmp_path: Path) -> None:
    """Somebody takes the proxy out of service: nothing may put it back by the way."""
    with running_fastproxy(_fill, ("plain", "inbound"), tmp_path) as proxy:
        proxy.admin("/drain_listeners", "POST")
        _wait_until_refused(proxy, "plain")
        proxy.process.send_signal(signal.SIGHUP)
        while "listeners were drained" not in proxy.admin("/reload_status")[1]:
            assert proxy.process.poll() is None
        _wait_until_refused(proxy, "plain")


def test_a_graceful_drain_ends_connections_at_once_with_that_strategy(
    tmp_path: Path, connect: Connect
) -> None:
    """And closes the listeners when its time is over; until then they accept."""
    options = ("--drain-strategy", "immediate", "--drain-time-s", "2")
    with running_fastproxy(_fill, ("plain", "inbound"), tmp_path, *options) as proxy:
        kept = connect(proxy)
        assert not _says_close(kept)
        assert proxy.admin("/drain_listeners?graceful", "POST") == (200, "OK\n")
        _keep_asking(kept)
        assert _says_close(connect(proxy))
        _wait_until_refused(proxy, "plain")
        assert proxy.admin("/ready") == (200, "LIVE\n")


def _keep_asking(connection: http.client.HTTPConnection) -> None:
    """Until a response ends the connection: the admin interface answers before the workers have heard of it."""
    while not _says_close(connection):
        pass


def _wait_until_refused(proxy: RunningProxy, name: str) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", proxy.ports[name]), timeout=20).close()
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            # It was in the queue when the last process closed the socket.
            continue
        assert proxy.process.poll() is None
