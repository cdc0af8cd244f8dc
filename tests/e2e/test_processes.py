"""The control plane and its workers as real processes: drain, replacement, spreading."""

import os
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

from fastproxy.clock import monotonic
from tests.e2e.conftest import StartFastProxy
from tests.e2e.support.proxies import Config, ConfigTemplate, Ports, RunningProxy, workers_of
from tests.e2e.support.templates import EVERYTHING_TO_ECHO, bootstrap, cluster, listener
from tests.e2e.support.upstream import Answer, ScriptedUpstream
from tests.e2e.support.wire import PATIENCE_S, Downstream, encode_request

_HELD = Answer(held=True)


def simple_template(upstream_port: int) -> ConfigTemplate:
    """One listener, everything to one upstream."""

    def template(ports: Ports) -> Config:
        listeners = [listener("plain", ports["plain"], EVERYTHING_TO_ECHO)]
        return bootstrap(ports["admin"], listeners, [cluster("echo", upstream_port)])

    return template


def test_sigterm_finishes_what_is_in_flight_and_exits_with_0(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream
) -> None:
    """A deployment must not cut requests: the one in flight is answered, with `connection: close`."""
    upstream.paths["/held"] = _HELD
    proxy = start_fastproxy(simple_template(upstream.port), "--drain-time-s", "20")
    with Downstream(proxy.ports["plain"]) as downstream, Downstream(proxy.ports["plain"]) as idle:
        idle.send(encode_request("GET", "/"))
        assert idle.read_response().status == 200
        downstream.send(encode_request("GET", "/held"))
        upstream.wait_until(lambda: any(seen.path == b"/held" for seen in upstream.requests))

        proxy.process.terminate()
        _wait_until_refused(proxy)
        upstream.release()
        response = downstream.read_response()

        assert response.status == 200
        assert response.closes
        assert downstream.is_closed_by_peer()
        assert idle.is_closed_by_peer()
    assert proxy.process.wait(PATIENCE_S) == 0
    assert "Traceback" not in proxy.log()


def test_a_request_that_outlives_the_drain_time_is_cut(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream
) -> None:
    """The drain time is a bound: an orchestrator would otherwise kill the process, and lose its exit code."""
    upstream.paths["/held"] = _HELD
    proxy = start_fastproxy(simple_template(upstream.port), "--drain-time-s", "1")
    with Downstream(proxy.ports["plain"]) as downstream:
        downstream.send(encode_request("GET", "/held"))
        upstream.wait_until(lambda: bool(upstream.requests))

        proxy.process.terminate()

        assert proxy.process.wait(PATIENCE_S) == 0
        assert downstream.is_closed_by_peer()


def test_a_killed_worker_is_replaced_while_connections_wait(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream
) -> None:
    """The listening sockets stay open in the control plane, so nobody is refused meanwhile."""
    proxy = start_fastproxy(simple_template(upstream.port))
    (worker,) = workers_of(proxy)

    os.kill(worker, signal.SIGKILL)
    with Downstream(proxy.ports["plain"]) as downstream:
        downstream.send(encode_request("GET", "/after"))
        response = downstream.read_response()

    assert response.status == 200
    (replacement,) = workers_of(proxy)
    assert replacement != worker
    assert proxy.admin("/ready")[0] == 200


def test_counters_do_not_go_back_when_a_worker_is_replaced(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream
) -> None:
    """A counter that falls looks like a restart of everything to whoever computes rates."""
    proxy = start_fastproxy(simple_template(upstream.port))
    with Downstream(proxy.ports["plain"]) as downstream:
        for _ in range(3):
            downstream.send(encode_request("GET", "/"))
            assert downstream.read_response().status == 200
    before = _counter(proxy, "http.plain.downstream_rq_total")
    (worker,) = workers_of(proxy)

    os.kill(worker, signal.SIGKILL)
    with Downstream(proxy.ports["plain"]) as downstream:
        downstream.send(encode_request("GET", "/"))
        assert downstream.read_response().status == 200

    assert before == 3
    assert _counter(proxy, "http.plain.downstream_rq_total") == 4


def test_two_workers_share_the_connections_and_add_up_in_the_admin(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream
) -> None:
    """One busy worker beside an idle one would be half a proxy; the operator sees one sum."""
    proxy = start_fastproxy(simple_template(upstream.port), "--concurrency", "2")
    connections = [Downstream(proxy.ports["plain"]) for _ in range(40)]
    try:
        for connection in connections:
            connection.send(encode_request("GET", "/"))
            assert connection.read_response().status == 200
        sockets = [_open_sockets(pid) for pid in workers_of(proxy)]

        assert len(sockets) == 2
        assert min(sockets) >= 5, sockets
        assert _counter(proxy, "http.plain.downstream_rq_total") == 40
        assert _counter(proxy, "http.plain.downstream_cx_active") == 40
    finally:
        for connection in connections:
            connection.close()


def test_workers_end_when_the_control_plane_is_killed(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream
) -> None:
    """An orphan would go on serving an old configuration on the same port."""
    proxy = start_fastproxy(simple_template(upstream.port), "--concurrency", "2")
    workers = workers_of(proxy)

    proxy.process.kill()
    proxy.process.wait(PATIENCE_S)

    deadline = monotonic() + PATIENCE_S
    while any(Path(f"/proc/{pid}/fd").exists() and _is_running(pid) for pid in workers):
        assert monotonic() < deadline, "workers outlive the control plane"
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(["true"], check=True, timeout=1)


def test_a_second_sigterm_ends_at_once(start_fastproxy: StartFastProxy, upstream: ScriptedUpstream) -> None:
    """An operator who does not want to wait any longer must not need SIGKILL."""
    upstream.paths["/held"] = _HELD
    proxy = start_fastproxy(simple_template(upstream.port), "--drain-time-s", "600")
    with Downstream(proxy.ports["plain"]) as downstream:
        downstream.send(encode_request("GET", "/held"))
        upstream.wait_until(lambda: bool(upstream.requests))
        proxy.process.terminate()
        _wait_until_refused(proxy)

        proxy.process.terminate()

        proxy.process.wait(PATIENCE_S)
        assert downstream.is_closed_by_peer()


def _wait_until_refused(proxy: RunningProxy) -> None:
    deadline = monotonic() + PATIENCE_S
    while monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", proxy.ports["plain"]), timeout=5).close()
        except OSError:
            return
    raise AssertionError("still accepts")


def _counter(proxy: RunningProxy, name: str) -> int:
    status, text = proxy.admin(f"/stats?filter=^{name}$")
    assert status == 200
    (line,) = text.splitlines()
    return int(line.partition(": ")[2])


def _open_sockets(pid: int) -> int:
    found = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found += str(entry.readlink()).startswith("socket:")
    return found


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
