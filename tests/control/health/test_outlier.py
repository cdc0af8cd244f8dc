"""The rules of outlier detection, and what a cluster makes of what workers say."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from fastproxy.control.health.cluster import ClusterHealth
from fastproxy.control.health.outlier import Ejection, OutlierDetector
from fastproxy.ipc.messages import EndpointOutlier, OutlierTally
from fastproxy.stats import StatsSink
from fastproxy.upstream.health.settings import OutlierKind, OutlierSettings
from fastproxy.upstream.settings import ClusterSettings
from tests.control.health.support import (
    DOWN,
    PASS,
    Script,
    Told,
    check_settings,
    cluster_settings,
    endpoint,
    flags,
)

KIND = OutlierKind.CONSECUTIVE_5XX


def detector(**more: Any) -> OutlierDetector:
    return OutlierDetector(OutlierSettings(**{"max_ejection_percent": 100, **more}), Random(1))


def hosts(*rates: tuple[int, int]) -> list[Ejection]:
    return [Ejection(successes=good, failures=bad) for good, bad in rates]


@pytest.mark.parametrize(
    ("total", "more", "ejected"),
    [
        (4, {"max_ejection_percent": 50}, 2),
        (3, {"max_ejection_percent": 10}, 0),
        (10, {"max_ejection_percent": 10}, 1),
        (3, {"max_ejection_percent": 10, "always_eject_one_host": True}, 1),
        (2, {"max_ejection_percent": 100}, 2),
    ],
)
def test_no_more_than_the_allowed_part_is_ejected(total: int, more: dict[str, Any], ejected: int) -> None:
    """Over all workers; with Envoy's default of 10 % nothing is ejected from fewer than ten endpoints."""
    one, everybody = detector(**more), hosts(*[(0, 0)] * total)
    found = [one.on_detection(host, everybody, KIND, enforced=True, now=0.0) for host in everybody]
    assert sum(found) == ejected
    sink = StatsSink()
    one.write_stats(sink, "o.", everybody)
    assert sink.gauges["o.ejections_active"] == ejected
    assert sink.counters["o.ejections_overflow"] == total - ejected
    assert sink.counters["o.ejections_detected_consecutive_5xx"] == total
    assert sink.counters["o.ejections_enforced_total"] == ejected


def test_detection_that_is_not_enforced_is_counted_alone() -> None:
    """How one finds out what a setting would do."""
    one, everybody = detector(), hosts((0, 0))
    assert not one.on_detection(everybody[0], everybody, KIND, enforced=False, now=0.0)
    sink = StatsSink()
    one.write_stats(sink, "o.", everybody)
    assert sink.counters["o.ejections_detected_consecutive_5xx"] == 1
    assert sink.counters["o.ejections_enforced_consecutive_5xx"] == 0


def test_ejections_grow_longer_up_to_the_maximum_and_shorter_with_good_intervals() -> None:
    """30, 60, 90 seconds; the multiplier falls by one with each interval without an ejection."""
    one = detector(base_ejection_time_s=30.0, max_ejection_time_s=75.0)
    (host,) = everybody = hosts((0, 0))
    now, lengths = 0.0, []
    for _ in range(4):
        one.on_detection(host, everybody, KIND, enforced=True, now=now)
        start = now
        while host.is_ejected:
            now += 1.0
            one.on_interval(everybody, now)
        lengths.append(now - start)
    assert lengths == [30.0, 60.0, 75.0, 75.0]
    for _ in range(5):
        one.on_interval(everybody, now)
    one.on_detection(host, everybody, KIND, enforced=True, now=now)
    assert one.on_interval(everybody, now + 29.0) == []
    assert one.on_interval(everybody, now + 30.0) == [host]


def test_jitter_makes_an_ejection_longer() -> None:
    """Endpoints that failed together do not come back together."""
    one = detector(base_ejection_time_s=30.0, max_ejection_time_jitter_s=10.0)
    (host,) = everybody = hosts((0, 0))
    one.on_detection(host, everybody, KIND, enforced=True, now=0.0)
    assert 0.0 < host.jitter_s < 10.0
    assert one.on_interval(everybody, 30.0) == []
    assert one.on_interval(everybody, 30.0 + host.jitter_s) == [host]


def test_success_rate_far_below_the_average_ejects() -> None:
    """mean - stdev * factor / 1000; those with too few requests are not looked at."""
    one = detector()
    everybody = hosts(*[(100, 0)] * 5, (50, 50), (0, 99))
    assert one.on_interval(everybody, 0.0) == [everybody[5]]
    assert one.rates.average == pytest.approx(550 / 6)
    assert 50 < one.rates.threshold < 100
    assert (everybody[5].success_rate, everybody[6].success_rate) == (50.0, -1.0)
    # Every interval begins at nothing.
    assert one.on_interval(everybody, 1.0) == []
    assert one.rates.average == -1.0


def test_rates_of_too_few_endpoints_say_nothing() -> None:
    """`success_rate_minimum_hosts`."""
    assert detector().on_interval(hosts(*[(1000, 0)] * 3, (0, 1000)), 0.0) == []


def test_failure_percentage_ejects_where_it_is_enforced() -> None:
    """0 by default; it needs no average."""
    for chance, expected in ((0, 0), (100, 5)):
        one = detector(enforcing_failure_percentage=chance, enforcing_success_rate=0)
        assert len(one.on_interval(hosts(*[(10, 90)] * 5), 0.0)) == expected


def test_local_failures_are_judged_apart_where_they_are_split_off() -> None:
    """`split_external_local_origin_errors`."""
    everybody = [Ejection(successes=100, local_successes=100) for _ in range(5)]
    everybody.append(Ejection(successes=10, local_successes=10, local_failures=190))
    one = detector(split_local_origin=True)
    assert one.on_interval(everybody, 0.0) == [everybody[5]]
    assert everybody[5].local_success_rate == 5.0
    assert one.local_rates.average > 0


def cluster_of(number: int, *, checks: bool = False, **more: Any) -> tuple[ClusterHealth, Script, Told]:
    script, told = Script(), Told()
    outliers = OutlierSettings(**{"max_ejection_percent": 50, **more})
    settings = ClusterSettings("c", outliers=outliers)
    if checks:
        settings = replace(settings, health=cluster_settings(check_settings(healthy_threshold=1)).health)
    cluster = ClusterHealth(settings, told.listener, script.tools)
    cluster.on_endpoints([endpoint(n) for n in range(1, number + 1)])
    return cluster, script, told


def outlier(number: int, *, enforced: bool = True) -> EndpointOutlier:
    return EndpointOutlier("c", f"192.0.2.{number}:80", "consecutive_5xx", enforced)


async def test_word_of_one_worker_is_told_to_all() -> None:
    """And a worker that ejected one too many is corrected."""
    cluster, _script, told = cluster_of(2)
    cluster.on_outlier(outlier(1))
    cluster.on_outlier(outlier(2))
    cluster.on_outlier(outlier(9))
    assert told.health == [("192.0.2.1:80", "/failed_outlier_check"), ("192.0.2.2:80", "healthy")]
    assert flags(cluster) == {"192.0.2.1": "/failed_outlier_check", "192.0.2.2": "healthy"}
    await cluster.stop()


async def test_ejection_ends_with_an_interval_after_its_time() -> None:
    """Without any request: nobody sends one to an ejected endpoint."""
    cluster, script, told = cluster_of(2)
    cluster.on_outlier(outlier(1))
    for _ in range(2):
        await script.next_round()
    assert len(told.health) == 1
    script.now += 30.0
    for _ in range(2):
        await script.next_round()
    assert told.health[1:] == [("192.0.2.1:80", "healthy")]
    await cluster.stop()


async def test_tallies_of_all_workers_are_added_up_before_anybody_is_judged() -> None:
    """No worker alone has seen enough requests."""
    cluster, script, told = cluster_of(6)
    await script.next_round()
    assert told.asked == ["c"]
    good = {f"192.0.2.{n}:80": [60, 0, 60, 0] for n in range(1, 6)}
    for _ in range(2):
        bad = {"192.0.2.6:80": [30, 30, 60, 0], "192.0.2.99:80": [1, 1, 1, 1]}
        cluster.on_tally(OutlierTally("c", {**good, **bad}))
    await script.next_round()
    assert flags(cluster)["192.0.2.6"] == "/failed_outlier_check"
    status = cluster.outlier_status()
    assert status is not None
    assert status.rates["192.0.2.6:80"] == (50.0, -1.0)
    assert status.average == pytest.approx(550 / 6)
    await cluster.stop()


async def test_small_clusters_are_not_asked() -> None:
    """Nobody is judged by rates there, so nothing is counted together."""
    cluster, script, told = cluster_of(4)
    await script.next_round()
    assert told.asked == []
    await cluster.stop()


@pytest.mark.parametrize("uneject", [True, False])
async def test_check_that_passes_ends_an_ejection(*, uneject: bool) -> None:
    """`successful_active_health_check_uneject_host`; not one that is not enough to make it healthy."""
    cluster, script, _told = cluster_of(2, checks=True, uneject_on_active_success=uneject)
    await script.settle()
    cluster.on_outlier(outlier(1))
    script.will_find(1, DOWN, PASS)
    await script.next_round()
    assert flags(cluster)["192.0.2.1"] == "/failed_active_hc/failed_outlier_check"
    await script.next_round()
    assert flags(cluster)["192.0.2.1"] == ("healthy" if uneject else "/failed_outlier_check")
    await cluster.stop()


async def test_changed_cluster_keeps_ejections() -> None:
    """A reload must not give a bad endpoint its share back."""
    cluster, script, told = cluster_of(2)
    cluster.on_outlier(outlier(1))
    successor = ClusterHealth(
        ClusterSettings("c", outliers=OutlierSettings(), connect_timeout_s=1.0),
        told.listener,
        script.tools,
        cluster,
    )
    successor.on_endpoints([endpoint(1), endpoint(2)])
    assert flags(successor) == flags(cluster)
    await cluster.stop()
    await successor.stop()
