"""DNS rules of clusters: families, failures, changes."""

import asyncio
import socket
from random import Random

import pytest

from fastproxy.control.discovery import ClusterDiscovery, LookupFailed
from fastproxy.control.dns import DiscoveryService, RefreshTimer
from fastproxy.control.lookup import resolve, system_lookup
from fastproxy.ipc.messages import ClusterEndpoints, EndpointAddress
from fastproxy.stats import StatsSink
from fastproxy.upstream.settings import (
    ClusterSettings,
    DiscoveryType,
    DnsLookupFamily,
    DnsResolverSettings,
    DnsSettings,
    EndpointSettings,
    EndpointTraits,
    HealthStatus,
    Locality,
)
from tests.control.dns_server import DnsServer, Zone

V4, V6 = socket.AF_INET, socket.AF_INET6


class FakeDns:
    """Answers from a table; what is not in it is an empty answer."""

    def __init__(self, table: dict[tuple[str, int], list[str] | str]) -> None:
        self.table = table
        self.asked: list[tuple[str, int]] = []

    async def lookup(self, name: str, family: socket.AddressFamily) -> list[str]:
        self.asked.append((name, family))
        answer = self.table.get((name, family), [])
        if isinstance(answer, str):
            raise LookupFailed(answer)
        return answer


BOTH: dict[tuple[str, int], list[str] | str] = {
    ("a.test", V4): ["192.0.2.1"],
    ("a.test", V6): ["2001:db8::1"],
}
ONLY_V4: dict[tuple[str, int], list[str] | str] = {("a.test", V4): ["192.0.2.1"]}
V6_BROKEN: dict[tuple[str, int], list[str] | str] = {
    ("a.test", V4): ["192.0.2.1"],
    ("a.test", V6): "server failure",
}


@pytest.mark.parametrize(
    ("family", "table", "expected"),
    [
        (DnsLookupFamily.AUTO, BOTH, ["2001:db8::1"]),
        (DnsLookupFamily.AUTO, ONLY_V4, ["192.0.2.1"]),
        (DnsLookupFamily.AUTO, V6_BROKEN, ["192.0.2.1"]),
        (DnsLookupFamily.V4_PREFERRED, BOTH, ["192.0.2.1"]),
        (DnsLookupFamily.V4_ONLY, BOTH, ["192.0.2.1"]),
        (DnsLookupFamily.V6_ONLY, BOTH, ["2001:db8::1"]),
        (DnsLookupFamily.V6_ONLY, ONLY_V4, []),
        (DnsLookupFamily.ALL, BOTH, ["192.0.2.1", "2001:db8::1"]),
        (DnsLookupFamily.ALL, V6_BROKEN, ["192.0.2.1"]),
        (DnsLookupFamily.AUTO, {}, []),
    ],
)
async def test_lookup_family_decides_which_addresses_count(
    family: DnsLookupFamily, table: dict[tuple[str, int], list[str] | str], expected: list[str]
) -> None:
    """AUTO prefers IPv6, as in Envoy: `localhost` becomes ::1, the usual surprise in local tests."""
    assert await resolve("a.test", family, FakeDns(table).lookup) == expected


@pytest.mark.parametrize("family", [DnsLookupFamily.AUTO, DnsLookupFamily.ALL, DnsLookupFamily.V6_ONLY])
async def test_failed_lookup_without_any_address_is_a_failure(family: DnsLookupFamily) -> None:
    """ "Nobody answered" must not look like "the name has no address"."""
    with pytest.raises(LookupFailed):
        await resolve("a.test", family, FakeDns({("a.test", V6): "timeout"}).lookup)


async def test_literal_address_is_not_looked_up() -> None:
    """Envoy allows IP literals in DNS clusters."""
    dns = FakeDns({})

    assert await resolve("::1", DnsLookupFamily.V4_ONLY, dns.lookup) == ["::1"]
    assert dns.asked == []


async def test_system_lookup_uses_the_hosts_file() -> None:
    """The one test with the real resolver: no network, only /etc/hosts."""
    assert await system_lookup("localhost", V4) == ["127.0.0.1"]


async def test_name_that_cannot_be_encoded_is_a_failed_lookup() -> None:
    """A label of 70 characters makes the codec fail, not the resolver; the refresh must survive it."""
    with pytest.raises(LookupFailed):
        await system_lookup("x" * 70 + "..test", V4)


def strict(*hosts: str, kind: DiscoveryType = DiscoveryType.STRICT_DNS) -> ClusterDiscovery:
    return ClusterDiscovery(ClusterSettings("c", kind, tuple(EndpointSettings(host, 80) for host in hosts)))


def hosts(discovery: ClusterDiscovery) -> list[str]:
    return [endpoint.host for endpoint in discovery.endpoints]


def test_strict_dns_uses_every_address_of_every_name() -> None:
    """A name behind which three machines stand is three endpoints."""
    cluster = strict("a.test", "b.test")

    assert cluster.on_answers([["192.0.2.1", "192.0.2.2"], ["192.0.2.3"]])
    assert cluster.endpoints == (
        EndpointAddress("192.0.2.1", 80, "a.test"),
        EndpointAddress("192.0.2.2", 80, "a.test"),
        EndpointAddress("192.0.2.3", 80, "b.test"),
    )


def test_logical_dns_uses_the_first_address_of_the_latest_answer() -> None:
    """One logical host, whatever the answer holds."""
    cluster = strict("a.test", kind=DiscoveryType.LOGICAL_DNS)

    assert cluster.on_answers([["192.0.2.1", "192.0.2.2"]])
    assert hosts(cluster) == ["192.0.2.1"]
    assert cluster.on_answers([["192.0.2.2", "192.0.2.1"]])
    assert hosts(cluster) == ["192.0.2.2"]


def test_the_other_addresses_of_a_logical_host_are_kept_for_connecting() -> None:
    """A dead first address must not be the end of it (RFC 8305)."""
    cluster = strict("a.test", kind=DiscoveryType.LOGICAL_DNS)

    cluster.on_answers([["192.0.2.1", "2001:db8::1", "192.0.2.2"]])
    (only,) = cluster.endpoints
    assert [one.host for one in only.additional] == ["2001:db8::1", "192.0.2.2"]
    assert {one.port for one in only.additional} == {only.port}


def test_failed_lookup_keeps_the_last_good_answer_of_that_name_only() -> None:
    """A resolver's outage must not become an outage of the upstreams; other names go on."""
    cluster = strict("a.test", "b.test")
    cluster.on_answers([["192.0.2.1"], ["192.0.2.2"]])

    assert cluster.on_answers([LookupFailed("timeout"), ["192.0.2.9"]])
    assert hosts(cluster) == ["192.0.2.1", "192.0.2.9"]
    assert "a.test" in cluster.failing


def test_name_that_vanished_empties_strict_dns_and_not_logical_dns() -> None:
    """Envoy's rule: NXDOMAIN is an answer for STRICT_DNS and a failure for LOGICAL_DNS."""
    strict_cluster, logical = strict("a.test"), strict("a.test", kind=DiscoveryType.LOGICAL_DNS)
    strict_cluster.on_answers([["192.0.2.1"]])
    logical.on_answers([["192.0.2.1"]])

    assert strict_cluster.on_answers([[]])
    assert not logical.on_answers([[]])
    assert hosts(strict_cluster) == []
    assert hosts(logical) == ["192.0.2.1"]


def test_rotated_answer_is_no_change() -> None:
    """Round-robin DNS would otherwise rebuild every cluster every five seconds."""
    cluster = strict("a.test")
    cluster.on_answers([["192.0.2.1", "192.0.2.2"]])
    sink = StatsSink()

    assert not cluster.on_answers([["192.0.2.2", "192.0.2.1"]])
    cluster.write_stats(sink)
    assert sink.counters["cluster.c.update_no_rebuild"] == 1
    assert sink.counters["cluster.c.membership_change"] == 1


def test_configured_hostname_wins_over_the_dns_name() -> None:
    """`auto_host_rewrite` sends it."""
    endpoint = EndpointSettings("a.test", 80, "service.test")
    cluster = ClusterDiscovery(ClusterSettings("c", DiscoveryType.STRICT_DNS, (endpoint,)))
    cluster.on_answers([["192.0.2.1"]])

    assert cluster.endpoints[0].hostname == "service.test"


def dns_cluster(name: str, host: str, refresh_s: float) -> ClusterSettings:
    return ClusterSettings(
        name, DiscoveryType.STRICT_DNS, (EndpointSettings(host, 80),), dns_refresh_rate_s=refresh_s
    )


async def test_changes_are_published_and_nothing_else() -> None:
    """A worker rebuilds its pools for every message."""
    dns = FakeDns(dict(ONLY_V4))
    published: asyncio.Queue[ClusterEndpoints] = asyncio.Queue()
    service = DiscoveryService((dns_cluster("c", "a.test", 0.001),), published.put_nowait, dns.lookup)
    service.start()

    first = await published.get()
    asked = len(dns.asked)
    while len(dns.asked) < asked + 10:  # several refreshes without a change
        await asyncio.sleep(0)
    assert published.empty()
    dns.table["a.test", V4] = ["192.0.2.7"]
    second = await published.get()
    await service.stop()

    assert [e.host for e in first.endpoints] == ["192.0.2.1"]
    assert [e.host for e in second.endpoints] == ["192.0.2.7"]
    assert service.snapshot() == [second]


async def test_start_waits_for_the_first_answers_and_failures_within_a_bound() -> None:
    """Listeners open with addresses if DNS is quick, and without them if it is not."""

    async def never(_name: str, _family: socket.AddressFamily) -> list[str]:
        await asyncio.Event().wait()
        return []

    broken = FakeDns({("a.test", V4): "refused", ("a.test", V6): "refused"})
    static = ClusterSettings("s", endpoints=(EndpointSettings("127.0.0.1", 80),))
    quick = DiscoveryService((static, dns_cluster("c", "a.test", 60)), lambda _: None, broken.lookup)
    slow = DiscoveryService((dns_cluster("c", "a.test", 60),), lambda _: None, never)
    quick.start()
    slow.start()

    assert await quick.wait_initialised(5.0)
    assert not await slow.wait_initialised(0.0)
    assert [e.host for e in quick.endpoints("s")] == ["127.0.0.1"]
    assert quick.endpoints("c") == ()
    assert quick.endpoints("unknown") == ()
    await quick.stop()
    await slow.stop()


def test_what_is_said_about_a_name_holds_for_each_of_its_addresses() -> None:
    """Weight, priority, locality and metadata are copied."""
    traits = EndpointTraits(3, 1, Locality("eu"), 2, HealthStatus.DEGRADED, '{"envoy.lb": {}}')
    settings = ClusterSettings("c", DiscoveryType.STRICT_DNS, (EndpointSettings("a.test", 80, "", traits),))
    cluster = ClusterDiscovery(settings)
    cluster.on_answers([["192.0.2.1", "192.0.2.2"]])
    assert cluster.message().endpoints == [
        EndpointAddress(host, 80, "a.test", 3, 1, "eu", "", "", 2, "DEGRADED", '{"envoy.lb": {}}')
        for host in ("192.0.2.1", "192.0.2.2")
    ]


def timer(dns: DnsSettings) -> RefreshTimer:
    return RefreshTimer(ClusterSettings("c", dns_refresh_rate_s=5.0, dns=dns), Random(1))


def test_pauses_grow_after_failures_and_start_over_after_an_answer() -> None:
    """`dns_failure_refresh_rate`: a resolver that is down is not asked every five seconds."""
    refresh = timer(DnsSettings(failure_refresh_s=(1.0, 4.0)))
    grown = [refresh.next_delay_s(failed=True, ttl_s=None) for _ in range(5)]
    for delay, longest in zip(grown, (1.0, 2.0, 4.0, 4.0, 4.0), strict=True):
        assert longest / 2 <= delay <= longest
    assert refresh.next_delay_s(failed=False, ttl_s=None) == 5.0
    assert refresh.next_delay_s(failed=True, ttl_s=None) <= 1.0


def test_time_to_live_is_the_pause_only_where_it_is_respected() -> None:
    """`respect_dns_ttl`; a failure has no time to live."""
    assert timer(DnsSettings()).next_delay_s(failed=False, ttl_s=30.0) == 5.0
    respectful = timer(DnsSettings(respect_ttl=True))
    assert respectful.next_delay_s(failed=False, ttl_s=30.0) == 30.0
    assert respectful.next_delay_s(failed=False, ttl_s=None) == 5.0
    assert respectful.next_delay_s(failed=True, ttl_s=30.0) == 5.0


def test_jitter_lengthens_pauses_by_a_random_part() -> None:
    """`dns_jitter`: a fleet that started together does not ask together."""
    refresh = timer(DnsSettings(jitter_s=2.0))
    delays = {refresh.next_delay_s(failed=False, ttl_s=None) for _ in range(20)}
    assert len(delays) > 1
    assert all(5.0 <= delay <= 7.0 for delay in delays)


async def test_a_cluster_asks_its_own_name_servers_and_comes_back_when_the_answer_ends() -> None:
    """TTL, refresh and the last good answer, with a real name server."""
    pauses: asyncio.Queue[float] = asyncio.Queue()
    go_on = asyncio.Semaphore(0)

    async def pause(delay_s: float) -> None:
        pauses.put_nowait(delay_s)
        await go_on.acquire()

    published: list[ClusterEndpoints] = []
    async with DnsServer(Zone({("a.test", "A"): ["192.0.2.1"]}, ttl_s=17)) as server:
        resolver = DnsResolverSettings(servers=(server.address,), query_timeout_s=0.2, tries=1)
        settings = ClusterSettings(
            "c",
            DiscoveryType.STRICT_DNS,
            (EndpointSettings("a.test", 80),),
            dns_lookup_family=DnsLookupFamily.V4_ONLY,
            dns=DnsSettings(failure_refresh_s=(2.0, 2.0), respect_ttl=True, resolver=resolver),
        )
        service = DiscoveryService((settings,), published.append, pause=pause)
        service.start()
        assert await pauses.get() == 17.0
        server.zone.failing = True
        go_on.release()
        assert 1.0 <= await pauses.get() <= 2.0
        server.zone.failing = False
        server.zone.records["a.test", "A"] = ["192.0.2.2"]
        go_on.release()
        assert await pauses.get() == 17.0
        await service.stop()
    assert [[one.host for one in message.endpoints] for message in published] == [
        ["192.0.2.1"],
        ["192.0.2.2"],
    ]
