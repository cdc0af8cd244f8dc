"""Checks of a whole cluster: who is checked when, what follows, and what workers are told."""

import asyncio
import logging
from collections import deque
from dataclasses import replace

import pytest

from fastproxy.control.health.cluster import ClusterHealth
from fastproxy.control.health.state import CheckResult
from fastproxy.stats import StatsSink
from fastproxy.upstream.settings import DiscoveryType
from tests.control.health.support import (
    DOWN,
    PASS,
    REFUSED,
    Script,
    Told,
    check_settings,
    cluster_settings,
    endpoint,
    flags,
)


async def test_endpoints_are_used_after_their_first_check() -> None:
    """And the start waits for that."""
    script, told = Script(), Told()
    script.will_find(2, REFUSED)
    cluster = ClusterHealth(cluster_settings(), told.listener, script.tools)
    cluster.on_endpoints([endpoint(1), endpoint(2)])

    assert flags(cluster) == {"192.0.2.1": "/failed_active_hc", "192.0.2.2": "/failed_active_hc"}
    assert not cluster.first_round.is_set()
    await script.settle()

    assert cluster.first_round.is_set()
    assert flags(cluster) == {"192.0.2.1": "healthy", "192.0.2.2": "/failed_active_hc"}
    assert told.health == [("192.0.2.1:80", "healthy")]
    await cluster.stop()


async def test_changes_are_told_and_only_they() -> None:
    """A message per check and worker would be many."""
    script, told = Script(), Told()
    cluster = ClusterHealth(cluster_settings(), told.listener, script.tools)
    cluster.on_endpoints([endpoint(1)])
    for _ in range(3):
        await script.next_round()
    script.will_find(1, DOWN)
    for _ in range(3):
        await script.next_round()
    script.will_find(1, PASS)
    for _ in range(3):
        await script.next_round()

    assert [health for _, health in told.health] == ["healthy", "/failed_active_hc", "healthy"]
    await cluster.stop()


async def test_intervals_without_traffic_end_when_a_worker_was_used() -> None:
    """Envoy's surprise: 60 s until the first request."""
    script = Script()
    cluster = ClusterHealth(cluster_settings(), Told().listener, script.tools)
    cluster.on_endpoints([endpoint(1)])
    await script.settle()
    assert script.pauses == [60.0]
    cluster.had_traffic = True
    await script.next_round()
    assert script.pauses == [5.0]
    await cluster.stop()


async def test_initial_jitter_comes_before_the_first_check() -> None:
    """A restart is not a stampede."""
    script = Script()

    settings = check_settings()
    settings = replace(settings, intervals=replace(settings.intervals, initial_jitter_s=10.0))
    cluster = ClusterHealth(cluster_settings(settings), Told().listener, script.tools)
    cluster.on_endpoints([endpoint(1)])
    await script.settle()
    assert script.checked == []
    assert 0 <= script.pauses[0] <= 10.0
    await script.next_round()
    assert script.checked == ["192.0.2.1:80"]
    await cluster.stop()


async def test_all_checks_must_pass() -> None:
    """Several entries in `health_checks`."""
    script, told = Script(), Told()
    settings = cluster_settings(check_settings(), check_settings(alt_port=9000))
    script.results["192.0.2.1:9000"] = deque([REFUSED])
    cluster = ClusterHealth(settings, told.listener, script.tools)
    cluster.on_endpoints([endpoint(1)])
    await script.settle()
    assert flags(cluster) == {"192.0.2.1": "/failed_active_hc"}
    script.results["192.0.2.1:9000"].appendleft(PASS)
    script.results["192.0.2.1:9000"].pop()
    await script.next_round()
    await script.next_round()
    assert flags(cluster) == {"192.0.2.1": "healthy"}
    await cluster.stop()


async def test_endpoint_says_where_it_is_checked_or_that_it_is_not() -> None:
    """`health_check_config`."""
    script = Script()
    cluster = ClusterHealth(cluster_settings(), Told().listener, script.tools)
    cluster.on_endpoints(
        [
            endpoint(1, check_host="192.0.2.99", check_port=81, check_hostname="hc.test"),
            endpoint(2, unchecked=True),
        ]
    )
    await script.settle()
    (target,) = script.targets
    assert str(target.address) == "192.0.2.99:81"
    assert target.authority("from.check") == "hc.test"
    assert flags(cluster)["192.0.2.2"] == "healthy"
    await cluster.stop()


async def test_endpoint_that_dns_dropped_stays_until_it_fails() -> None:
    """A name server that answers nonsense must not take away what works."""
    script, told = Script(), Told()
    cluster = ClusterHealth(cluster_settings(discovery=DiscoveryType.STRICT_DNS), told.listener, script.tools)
    cluster.on_endpoints([endpoint(1), endpoint(2)])
    await script.settle()
    cluster.on_endpoints([endpoint(2)])
    assert flags(cluster) == {"192.0.2.2": "healthy", "192.0.2.1": "/pending_dynamic_removal"}
    await script.next_round()
    script.will_find(1, DOWN)
    await script.next_round()
    assert flags(cluster) == {"192.0.2.2": "healthy"}
    assert [one.host for one in told.lists[-1].endpoints] == ["192.0.2.2"]
    await script.settle()
    assert "192.0.2.1:80" in script.closed
    await cluster.stop()


async def test_endpoint_that_comes_back_is_the_same_as_before() -> None:
    """No new first check, and no gap."""
    script = Script()
    cluster = ClusterHealth(cluster_settings(), Told().listener, script.tools)
    cluster.on_endpoints([endpoint(1)])
    await script.settle()
    cluster.on_endpoints([])
    cluster.on_endpoints([endpoint(1, weight=3)])
    assert flags(cluster) == {"192.0.2.1": "healthy"}
    assert cluster.endpoints[0].weight == 3
    assert len(script.targets) == 1
    await cluster.stop()


@pytest.mark.parametrize("how", ["ignored", "failed"])
async def test_endpoint_goes_at_once_if_told_so_or_if_it_fails_already(how: str) -> None:
    """`ignore_health_on_host_removal`."""
    script = Script()
    if how == "failed":
        script.will_find(1, REFUSED)
    settings = cluster_settings(ignore_on_removal=how == "ignored")
    cluster = ClusterHealth(settings, Told().listener, script.tools)
    cluster.on_endpoints([endpoint(1)])
    await script.settle()
    cluster.on_endpoints([])
    await script.settle()
    assert flags(cluster) == {}
    assert script.closed == ["192.0.2.1:80"]
    await cluster.stop()


async def test_logical_endpoint_keeps_its_health_when_its_address_changes() -> None:
    """It is one endpoint, whatever DNS says; it is checked at the new address."""
    script = Script()
    cluster = ClusterHealth(
        cluster_settings(discovery=DiscoveryType.LOGICAL_DNS), Told().listener, script.tools
    )
    cluster.on_endpoints([endpoint(1)])
    await script.settle()
    cluster.on_endpoints([endpoint(2)])
    assert flags(cluster) == {"192.0.2.2": "healthy"}
    await script.settle()
    assert script.checked == ["192.0.2.1:80", "192.0.2.2:80"]
    assert script.closed == ["192.0.2.1:80"]
    await cluster.stop()


async def test_immediate_failure_is_told_also_if_nothing_changes() -> None:
    """The worker that saw it has set the flag by itself, and must not be alone with it."""
    script, told = Script(), Told()
    cluster = ClusterHealth(cluster_settings(), told.listener, script.tools)
    cluster.on_endpoints([endpoint(1)])
    await script.settle()
    cluster.fail_immediately("192.0.2.1:80")
    cluster.fail_immediately("192.0.2.1:80")
    cluster.fail_immediately("192.0.2.7:80")
    failed = ("192.0.2.1:80", "/failed_active_hc/excluded_via_immediate_hc_fail")
    assert told.health[1:] == [failed, failed]
    sink = StatsSink()
    cluster.write_stats(sink)
    assert sink.counters["cluster.c.health_check.passive_failure"] == 2
    assert sink.gauges["cluster.c.membership_excluded"] == 1
    await cluster.stop()


async def test_a_bug_in_a_checker_is_a_failed_check_and_not_the_end_of_checking(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Otherwise the endpoint keeps its state for ever."""
    script = Script()
    script.will_find(1, RuntimeError("oops"), PASS)
    cluster = ClusterHealth(cluster_settings(), Told().listener, script.tools)
    cluster.on_endpoints([endpoint(1)])
    with caplog.at_level(logging.CRITICAL):
        await script.settle()
    assert flags(cluster) == {"192.0.2.1": "/failed_active_hc"}
    await script.next_round()
    await script.next_round()
    assert flags(cluster) == {"192.0.2.1": "healthy"}
    await cluster.stop()


async def test_check_that_never_ends_is_a_timeout() -> None:
    """An upstream that takes the connection and says nothing must not hold up anything."""

    class Silent:
        async def check(self) -> CheckResult:
            await asyncio.Event().wait()
            raise AssertionError

        async def close(self) -> None:
            """Nothing is open."""

    script = Script()

    tools = replace(script.tools, make_checker=lambda _s, _t: Silent())
    cluster = ClusterHealth(cluster_settings(check_settings(timeout_s=0.01)), Told().listener, tools)
    cluster.on_endpoints([endpoint(1)])
    await cluster.first_round.wait()
    assert flags(cluster) == {"192.0.2.1": "/failed_active_hc/active_hc_timeout"}
    await cluster.stop()


async def test_results_are_counted_under_envoys_names() -> None:
    """Dashboards."""
    script = Script()
    script.will_find(2, REFUSED)
    script.will_find(3, DOWN)
    script.will_find(4, CheckResult(degraded=True))
    cluster = ClusterHealth(cluster_settings(), Told().listener, script.tools)
    cluster.on_endpoints(
        [endpoint(n) for n in (1, 2, 3, 4)] + [endpoint(5, unchecked=True, health="DRAINING")]
    )
    await script.settle()
    sink = StatsSink()
    cluster.write_stats(sink)
    prefix = "cluster.c.health_check."
    assert {n.removeprefix(prefix): v for n, v in sink.counters.items() if n.startswith(prefix)} == {
        "attempt": 4,
        "success": 2,
        "failure": 2,
        "passive_failure": 0,
        "network_failure": 1,
        "verify_cluster": 0,
    }
    assert sink.gauges[prefix + "healthy"] == 3
    assert sink.gauges[prefix + "degraded"] == 1
    membership = [
        sink.gauges[f"cluster.c.membership_{n}"] for n in ("total", "healthy", "degraded", "excluded")
    ]
    assert membership == [5, 1, 1, 1]
    await cluster.stop()


async def test_endpoint_listed_twice_is_one() -> None:
    """Two tasks would check it, and one of them would never end."""
    script = Script()
    cluster = ClusterHealth(cluster_settings(), Told().listener, script.tools)
    cluster.on_endpoints([endpoint(1), endpoint(1)])
    await script.settle()
    assert script.checked == ["192.0.2.1:80"]
    await cluster.stop()
