"""Endpoints: what is said about them, and the flags that say whether they may be used."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from fastproxy.upstream.cluster import Cluster
from fastproxy.upstream.endpoint import Endpoint
from fastproxy.upstream.settings import (
    Address,
    ClusterSettings,
    DiscoveredEndpoint,
    EndpointTraits,
    HealthFlag,
    HealthStatus,
    describe_health,
)
from fastproxy.upstream.stats import ClusterStats
from tests.upstream.support import Waiter

A, B = (Address(f"198.51.100.{n}", 80) for n in (1, 2))


def endpoint(**traits: object) -> Endpoint:
    return Endpoint(A, ClusterSettings("c"), ClusterStats(), EndpointTraits(**traits), now=10.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "flags", "healthy", "degraded"),
    [
        (HealthStatus.UNKNOWN, "healthy", True, False),
        (HealthStatus.HEALTHY, "healthy", True, False),
        (HealthStatus.UNHEALTHY, "/failed_eds_health", False, False),
        (HealthStatus.TIMEOUT, "/failed_eds_health", False, False),
        (HealthStatus.DRAINING, "/eds_status_draining", False, False),
        (HealthStatus.DEGRADED, "/degraded_eds_health", False, True),
    ],
)
def test_health_status_becomes_flags(
    status: HealthStatus, flags: str, *, healthy: bool, degraded: bool
) -> None:
    """Envoy's names in `/clusters`."""
    made = endpoint(health=status)
    assert describe_health(made.health) == flags
    assert (made.is_healthy, made.is_degraded) == (healthy, degraded)
    # On its way out: whether the others are enough is judged without it.
    assert made.is_excluded == (status is HealthStatus.DRAINING)


def test_every_reason_must_go_before_an_endpoint_is_healthy_again() -> None:
    """An ejected endpoint whose health checks pass is still ejected."""
    made = endpoint()
    assert made.set_health(HealthFlag.FAILED_ACTIVE_HC, on=True, now=11.0)
    assert made.set_health(HealthFlag.FAILED_OUTLIER_CHECK, on=True, now=12.0)
    assert not made.set_health(HealthFlag.FAILED_OUTLIER_CHECK, on=True, now=13.0)
    assert describe_health(made.health) == "/failed_active_hc/failed_outlier_check"
    made.set_health(HealthFlag.FAILED_ACTIVE_HC, on=False, now=14.0)
    assert made.available_since == 10.0
    made.set_health(HealthFlag.FAILED_OUTLIER_CHECK, on=False, now=15.0)
    assert (made.is_healthy, made.available_since) == (True, 15.0)


def test_a_new_health_status_leaves_the_flags_of_others_alone() -> None:
    """Discovery says HEALTHY; what the proxy saw itself still stands."""
    made = endpoint(health=HealthStatus.DEGRADED)
    made.set_health(HealthFlag.FAILED_OUTLIER_CHECK, on=True, now=11.0)
    assert not made.is_degraded
    assert made.describe_as(EndpointTraits(weight=7, health=HealthStatus.HEALTHY), 12.0)
    assert describe_health(made.health) == "/failed_outlier_check"
    assert made.weight == 7
    assert not made.describe_as(EndpointTraits(weight=7, health=HealthStatus.HEALTHY), 13.0)


def test_metadata_for_load_balancing_is_what_stands_below_envoy_lb() -> None:
    """Other filters' metadata is theirs."""
    made = endpoint(metadata='{"envoy.lb": {"stage": "canary"}, "other": {"stage": "x"}}')
    assert made.metadata == {"stage": "canary"}
    made.describe_as(EndpointTraits(metadata='{"envoy.lb": "odd"}'), 1.0)
    assert made.metadata == {}


def test_endpoints_that_stay_keep_their_state_when_the_list_changes() -> None:
    """A new weight for one must not un-eject another, nor close its connections."""
    cluster = Cluster(ClusterSettings("c"))
    cluster.update_endpoints([A, B])
    first, _ = cluster.endpoints
    first.stats.rq_total = 5
    first.set_health(HealthFlag.FAILED_OUTLIER_CHECK, on=True, now=1.0)
    pool = first.pool
    cluster.update_endpoints([DiscoveredEndpoint(A, EndpointTraits(weight=3)), B])
    kept, _ = cluster.endpoints
    assert kept is first
    assert (kept.weight, kept.stats.rq_total, kept.pool) == (3, 5, pool)
    assert not kept.is_healthy
    assert {one.text for _ in range(4) if (one := cluster.select_endpoint())} == {str(B)}
    first.set_health(HealthFlag.FAILED_OUTLIER_CHECK, on=False, now=2.0)
    cluster.on_health_changed()
    assert {one.text for _ in range(4) if (one := cluster.select_endpoint())} == {str(A), str(B)}


@pytest.mark.parametrize("abstract", [False, True])
async def test_a_unix_domain_socket_is_connected_to(tmp_path: Path, *, abstract: bool) -> None:
    """Envoy's `pipe` address; `@` begins a name that is in no file system."""
    path = f"@{tmp_path}" if abstract else str(tmp_path / "s")
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.set_result(await reader.readexactly(7))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(serve, path.replace("@", "\0", 1))
    async with server:
        cluster = Cluster(ClusterSettings("c"))
        cluster.update_endpoints([Address(path, 0)])
        (made,) = cluster.endpoints
        waiter = Waiter()
        made.pool.connect(waiter, cluster.breakers[0])
        assert await received == b"request"
        assert made.text == path
        cluster.drain()
        assert waiter.connection is not None
        waiter.connection.close()
