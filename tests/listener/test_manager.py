"""What the connections of a listener share: counting, draining, stats names."""

from fastproxy.stats import StatsSink
from tests.listener.support import GET, OK, Proxy


async def test_wait_until_empty_ends_with_the_last_connection() -> None:
    """The worker's drain depends on it."""
    with Proxy() as proxy:
        proxy.send(GET)
        proxy.manager.drain()
        await proxy.manager.wait_until_empty(0.0)
        assert proxy.manager.open_connections == 1
        proxy.upstream.respond(OK)
        proxy.leave()
        await proxy.manager.wait_until_empty(60.0)
        assert proxy.manager.open_connections == 0


async def test_wait_until_empty_returns_at_once_if_nobody_is_there() -> None:
    """An idle worker drains in no time."""
    with Proxy() as proxy:
        proxy.leave()
        proxy.manager.drain()
        await proxy.manager.wait_until_empty(60.0)


def test_a_connection_that_comes_during_the_drain_is_served_once() -> None:
    """It was in the backlog: refusing it would lose a request."""
    with Proxy() as proxy:
        proxy.manager.drain()
        proxy.open_downstream()
        proxy.send(GET)
        proxy.upstream.respond(OK)
        assert b"\r\nconnection: close\r\n" in proxy.take()
        assert proxy.is_closed()


def test_numbers_have_envoys_names() -> None:
    """Dashboards look for them (spec/http.md section 16)."""
    with Proxy() as proxy:
        proxy.send(GET)
        sink = proxy.stats()
        assert sink.gauges["http.ingress.downstream_cx_active"] == 1
        assert sink.gauges["http.ingress.downstream_rq_active"] == 1
        assert sink.gauges["listener.127.0.0.1_8080.downstream_cx_active"] == 1
        assert sink.counters["http.ingress.downstream_rq_http1_total"] == 1
        proxy.upstream.respond(OK)
        sink = proxy.stats()
        assert sink.gauges["http.ingress.downstream_rq_active"] == 0
        assert sink.histograms["http.ingress.downstream_rq_time"][-1] == 1
        assert sink.counters["http.ingress.rq_total"] == 1


def test_a_listener_counts_responses_of_each_connection_manager() -> None:
    """Several managers may share a listener, and several listeners a stat prefix."""
    with Proxy() as proxy:
        proxy.send(GET)
        proxy.upstream.respond(OK)
        sink = StatsSink()
        proxy.manager.write_stats(sink)
        found = {name: value for name, value in sink.counters.items() if ".http.ingress." in name and value}
        assert {name.rpartition(".")[2]: value for name, value in found.items()} == {
            "downstream_rq_2xx": 1,
            "downstream_rq_completed": 1,
        }
        assert all(name.startswith("listener.") for name in found)
        assert sink.gauges["http.ingress.downstream_cx_http1_active"] == 1
