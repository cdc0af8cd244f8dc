"""What answers to requests say about the health of an endpoint."""

from typing import Any

import pytest

from fastproxy.upstream.cluster import Cluster
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.errors import ConnectTimeout
from fastproxy.upstream.health.events import EndpointEvent, FailedImmediately, OutlierDetected
from fastproxy.upstream.health.settings import (
    CheckIntervals,
    HealthCheckSettings,
    HealthSettings,
    OutlierKind,
    OutlierSettings,
    TcpCheckSettings,
)
from fastproxy.upstream.settings import (
    Address,
    ClusterSettings,
    DiscoveredEndpoint,
    DiscoveryType,
    HealthFlag,
    describe_health,
)
from tests.listener.support import FakeTransport, SteppedLoop

A, B = (Address(f"198.51.100.{n}", 80) for n in (1, 2))
CHECK = HealthCheckSettings(TcpCheckSettings(), 1.0, CheckIntervals(1.0, 1.0, 1.0, 1.0), 1, 1)


def checked(
    *addresses: Address, discovery: DiscoveryType = DiscoveryType.STATIC
) -> tuple[Cluster, list[EndpointEvent]]:
    told: list[EndpointEvent] = []
    settings = ClusterSettings("c", discovery, health=HealthSettings((CHECK,)))
    cluster = Cluster(settings, report=told.append)
    cluster.update_endpoints([DiscoveredEndpoint(one, health=HealthFlag(0)) for one in addresses])
    return cluster, told


def test_endpoint_can_ask_to_be_taken_out_of_use_with_any_answer() -> None:
    """`x-envoy-immediate-health-check-fail`: here at once, and everywhere by way of the control plane."""
    cluster, told = checked(A, B)
    first, second = cluster.endpoints
    assert first.monitor is not None
    first.monitor.on_response(200, {b"server": b"x"})
    assert told == []
    for _ in range(2):
        first.monitor.on_response(200, {b"x-envoy-immediate-health-check-fail": b"true"})
    assert told == [FailedImmediately("c", "198.51.100.1:80")]
    assert describe_health(first.health) == "/failed_active_hc/excluded_via_immediate_hc_fail"
    assert {cluster.select_endpoint() for _ in range(8)} == {second}


def test_cluster_without_checks_has_no_monitors() -> None:
    """Nobody would find out when such an endpoint works again; and nobody pays for looking."""
    cluster = Cluster(ClusterSettings("c"))
    cluster.update_endpoints([A])
    assert cluster.endpoints[0].monitor is None


def test_word_of_the_control_plane_replaces_all_flags_that_are_its_own() -> None:
    """And leaves those of the configuration."""
    cluster, _ = checked(A, B)
    first = cluster.endpoints[0]
    first.set_health(HealthFlag.EDS_STATUS_DRAINING, on=True, now=1.0)
    cluster.on_control_health("198.51.100.1:80", HealthFlag.FAILED_ACTIVE_HC | HealthFlag.ACTIVE_HC_TIMEOUT)
    assert describe_health(first.health) == "/failed_active_hc/active_hc_timeout/eds_status_draining"
    cluster.on_control_health("198.51.100.1:80", HealthFlag(0))
    assert describe_health(first.health) == "/eds_status_draining"
    cluster.on_control_health("198.51.100.9:80", HealthFlag.FAILED_ACTIVE_HC)
    assert cluster.endpoints[1].is_healthy


def test_logical_endpoint_is_meant_by_any_address() -> None:
    """It may have moved on since the message was sent."""
    cluster, _ = checked(A, discovery=DiscoveryType.LOGICAL_DNS)
    cluster.on_control_health("198.51.100.77:80", HealthFlag.FAILED_ACTIVE_HC)
    assert not cluster.endpoints[0].is_healthy
    cluster.update_endpoints([DiscoveredEndpoint(B, health=HealthFlag(0))])
    assert cluster.endpoints[0].is_healthy


def test_new_endpoint_is_not_used_before_its_first_check() -> None:
    """The list says so; there is no moment in between."""
    cluster, _ = checked(A)
    cluster.update_endpoints(
        [DiscoveredEndpoint(A), DiscoveredEndpoint(B, health=HealthFlag.FAILED_ACTIVE_HC)]
    )
    assert {cluster.select_endpoint() for _ in range(8)} == {cluster.endpoints[0]}


def pooled(cluster: Cluster) -> UpstreamConnection:
    """An idle connection to the first endpoint."""
    pool = cluster.endpoints[0].pool
    connection = UpstreamConnection(pool)
    connection.connection_made(FakeTransport(SteppedLoop(), connection).as_transport())
    pool.release(connection)
    return connection


@pytest.mark.parametrize("flag", [HealthFlag.FAILED_OUTLIER_CHECK, HealthFlag.FAILED_ACTIVE_HC])
def test_connections_of_pools_are_given_up_when_their_endpoint_fails(flag: HealthFlag) -> None:
    """As Envoy does: if it is used in panic, new ones may do better."""
    cluster = Cluster(ClusterSettings("c", health=HealthSettings((CHECK,))))
    cluster.update_endpoints([DiscoveredEndpoint(A, health=HealthFlag(0))])
    for harmless in (HealthFlag.DEGRADED_ACTIVE_HC, HealthFlag.PENDING_DYNAMIC_REMOVAL, HealthFlag(0)):
        connection = pooled(cluster)
        cluster.on_control_health("198.51.100.1:80", harmless)
        assert connection.is_usable
    cluster.on_control_health("198.51.100.1:80", flag)
    assert not connection.is_usable


class Session:
    """Of a TCP proxy."""

    def __init__(self, cluster: Cluster) -> None:
        self.ended = 0
        self._cluster, self._endpoint = cluster, cluster.endpoints[0]
        assert cluster.tcp.admit()
        cluster.tcp.on_opened(self._endpoint, self)

    def on_endpoint_failed(self) -> None:
        self.ended += 1
        self._cluster.tcp.on_closed(self._endpoint, self, began=0.0, local=True)


@pytest.mark.parametrize("close", [True, False])
def test_connections_of_tcp_proxies_end_if_told_so(*, close: bool) -> None:
    """`close_connections_on_host_health_failure`, for checks and for ejections."""
    health = HealthSettings((CHECK,), close_connections_on_failure=close)
    cluster = Cluster(ClusterSettings("c", health=health))
    cluster.update_endpoints([DiscoveredEndpoint(A, health=HealthFlag(0))])
    for flag in (HealthFlag.FAILED_OUTLIER_CHECK, HealthFlag.FAILED_ACTIVE_HC):
        sessions = [Session(cluster), Session(cluster)]
        cluster.on_control_health("198.51.100.1:80", flag)
        assert [one.ended for one in sessions] == [int(close)] * 2
        cluster.on_control_health("198.51.100.1:80", HealthFlag(0))
        assert [one.ended for one in sessions] == [int(close)] * 2
    assert cluster.endpoints[0].open_connections == (0 if close else 4)


def test_first_use_is_told_once() -> None:
    """Health checks go over to their usual interval."""
    cluster, _ = checked(A)
    assert not cluster.take_first_use()
    cluster.stats.upstream_cx_total = 1
    assert cluster.take_first_use()
    assert not cluster.take_first_use()
    plain = Cluster(ClusterSettings("c"))
    plain.stats.upstream_cx_total = 1
    assert not plain.take_first_use()


def outliers(number: int, **more: Any) -> tuple[Cluster, list[EndpointEvent]]:
    told: list[EndpointEvent] = []
    settings = OutlierSettings(**{"max_ejection_percent": 50, "consecutive_5xx": 3, **more})
    cluster = Cluster(ClusterSettings("c", outliers=settings), report=told.append)
    cluster.update_endpoints([Address(f"198.51.100.{n}", 80) for n in range(1, number + 1)])
    return cluster, told


def answer(cluster: Cluster, index: int, *statuses: int) -> None:
    """0: no answer."""
    monitor = cluster.endpoints[index].monitor
    assert monitor is not None
    for status in statuses:
        if status:
            monitor.on_response(status, {})
        else:
            monitor.on_no_response()


def kinds(told: list[EndpointEvent]) -> list[str]:
    return [one.kind.value for one in told if isinstance(one, OutlierDetected)]


def test_failures_in_a_row_eject_at_once_and_are_told() -> None:
    """The next request of this worker goes elsewhere, before the control plane has said anything."""
    cluster, told = outliers(2)
    answer(cluster, 0, 500, 500, 200, 500, 500)
    assert told == []
    answer(cluster, 0, 501)
    assert told == [OutlierDetected("c", "198.51.100.1:80", OutlierKind.CONSECUTIVE_5XX, enforced=True)]
    assert describe_health(cluster.endpoints[0].health) == "/failed_outlier_check"
    assert {cluster.select_endpoint() for _ in range(4)} == {cluster.endpoints[1]}
    answer(cluster, 0, 500, 500, 500)
    assert len(told) == 1


def test_worker_keeps_the_limit_and_leaves_the_decision_to_the_control_plane() -> None:
    """One of two may go; the other is only told of."""
    cluster, told = outliers(2)
    answer(cluster, 0, 500, 500, 500)
    answer(cluster, 1, 500, 500, 500)
    assert len(told) == 2
    assert cluster.endpoints[1].is_healthy


def test_connect_failures_and_timeouts_count_as_gateway_errors_unless_split() -> None:
    """Envoy: 503 or 504."""
    cluster, told = outliers(2, consecutive_gateway_failure=2, enforcing_consecutive_gateway_failure=100)
    answer(cluster, 0, 503, 0)
    assert kinds(told) == ["consecutive_gateway_failure"]
    split, told = outliers(2, split_local_origin=True, consecutive_local_origin_failure=2)
    answer(split, 0, 0, 500, 0, 500, 200)
    assert kinds(told) == []
    answer(split, 0, 0, 0)
    assert kinds(told) == ["consecutive_local_origin_failure"]


def test_other_errors_end_a_row_of_gateway_errors() -> None:
    """502, 503 and 504 say that something behind it failed; 500 is its own."""
    cluster, told = outliers(2, consecutive_gateway_failure=2, consecutive_5xx=9)
    answer(cluster, 0, 502, 500, 503, 500, 504)
    assert kinds(told) == []
    answer(cluster, 0, 502)
    assert told == [
        OutlierDetected("c", "198.51.100.1:80", OutlierKind.CONSECUTIVE_GATEWAY_FAILURE, enforced=False)
    ]
    assert cluster.endpoints[0].is_healthy


def test_end_of_an_ejection_is_a_new_beginning() -> None:
    """Failures of before do not count."""
    cluster, told = outliers(2)
    answer(cluster, 0, 500, 500, 500, 500, 500)
    cluster.on_control_health("198.51.100.1:80", HealthFlag(0))
    answer(cluster, 0, 500, 500)
    assert len(told) == 1
    answer(cluster, 0, 500)
    assert len(told) == 2


def test_tally_counts_since_the_last_one() -> None:
    """Successes, failures, local successes, local failures."""
    cluster, _ = outliers(2, split_local_origin=True)
    answer(cluster, 0, 200, 404, 500, 0)
    assert cluster.take_tally() == {"198.51.100.1:80": [2, 1, 3, 1]}
    assert cluster.take_tally() == {}


def test_tcp_connections_count_by_whether_they_can_be_made() -> None:
    """A TCP proxy sees no statuses."""
    cluster, told = outliers(2)
    endpoint = cluster.endpoints[0]
    for failed in (True, True, False, True, True, True):
        if failed:
            assert cluster.tcp.admit()
            cluster.tcp.on_connect_failed(endpoint, ConnectTimeout())
        else:
            Session(cluster)
            assert told == []
    assert kinds(told) == ["consecutive_5xx"]
