"""What answers to requests say about the health of an endpoint."""

import pytest

from fastproxy.upstream.cluster import Cluster
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.health.events import EndpointEvent, FailedImmediately
from fastproxy.upstream.health.settings import (
    CheckIntervals,
    HealthCheckSettings,
    HealthSettings,
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


@pytest.mark.parametrize("close", [True, False])
def test_connections_are_given_up_on_failure_if_told_so(*, close: bool) -> None:
    """`close_connections_on_host_health_failure`; otherwise they serve on in panic."""
    cluster = Cluster(
        ClusterSettings("c", health=HealthSettings((CHECK,), close_connections_on_failure=close))
    )
    cluster.update_endpoints([DiscoveredEndpoint(A, health=HealthFlag(0))])
    pool = cluster.endpoints[0].pool
    connection = UpstreamConnection(pool)
    connection.connection_made(FakeTransport(SteppedLoop(), connection).as_transport())
    pool.release(connection)
    for flags in (HealthFlag.FAILED_OUTLIER_CHECK, HealthFlag.FAILED_ACTIVE_HC):
        assert connection.is_usable
        cluster.on_control_health("198.51.100.1:80", flags)
    assert connection.is_usable is not close


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
