"""Limits over several workers: they share what they have taken, and give it back however they end."""

import os
import signal
from collections import Counter
from contextlib import ExitStack

from tests.e2e.conftest import StartFastProxy
from tests.e2e.support.proxies import Config, ConfigTemplate, Ports, RunningProxy, workers_of
from tests.e2e.support.templates import EVERYTHING_TO_ECHO, bootstrap, cluster, listener
from tests.e2e.support.upstream import Answer, ScriptedUpstream
from tests.e2e.support.wire import Downstream, encode_request

_LIMIT = 5
_WORKERS = 2
_HELD = Answer((b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",), held=True)


def limited(upstream_port: int) -> ConfigTemplate:
    def template(ports: Ports) -> Config:
        limits = {"thresholds": [{"max_requests": _LIMIT}]}
        return bootstrap(
            ports["admin"],
            [listener("plain", ports["plain"], EVERYTHING_TO_ECHO)],
            [cluster("echo", upstream_port, circuit_breakers=limits)],
        )

    return template


def hold(proxy: RunningProxy, upstream: ScriptedUpstream, stack: ExitStack, wanted: int) -> list[Downstream]:
    """Send requests, one after the other, until `wanted` of them wait at the upstream; those are returned."""
    held: list[Downstream] = []
    for _ in range(wanted):
        downstream = stack.enter_context(Downstream(proxy.ports["plain"]))
        before = len(upstream.requests)
        downstream.send(encode_request("GET", "/held"))
        upstream.wait_until(lambda before=before: len(upstream.requests) > before)  # type: ignore[misc]
        held.append(downstream)
    return held


def refused(proxy: RunningProxy, count: int) -> Counter[int]:
    """Statuses of so many requests on connections of their own, so that every worker gets some."""
    statuses: Counter[int] = Counter()
    for _ in range(count):
        with Downstream(proxy.ports["plain"]) as downstream:
            downstream.send(encode_request("GET", "/"))
            statuses[downstream.read_response().status] += 1
    return statuses


def test_a_limit_holds_over_all_workers(start_fastproxy: StartFastProxy, upstream: ScriptedUpstream) -> None:
    """Five in all, and not five each; and when they are done, the next ones pass."""
    upstream.paths["/held"] = _HELD
    proxy = start_fastproxy(limited(upstream.port), "--concurrency", str(_WORKERS))
    with ExitStack() as stack:
        held = hold(proxy, upstream, stack, _LIMIT)
        assert refused(proxy, 20) == {503: 20}
        _, stats = proxy.admin("/stats?filter=circuit_breakers.default.rq_open")
        assert stats.strip() == "cluster.echo.circuit_breakers.default.rq_open: 1"
        upstream.release()
        assert [one.read_response().status for one in held] == [200] * _LIMIT
        assert refused(proxy, 20) == {200: 20}


def test_what_a_worker_had_taken_is_free_when_it_is_killed(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream
) -> None:
    """Its requests are gone; the others must not be refused for them."""
    upstream.paths["/held"] = _HELD
    proxy = start_fastproxy(limited(upstream.port), "--concurrency", str(_WORKERS))
    with ExitStack() as stack:
        hold(proxy, upstream, stack, _LIMIT)
        for pid in workers_of(proxy):
            os.kill(pid, signal.SIGKILL)
        # Connections wait in the backlog until the successors accept.
        assert refused(proxy, 10) == {200: 10}
