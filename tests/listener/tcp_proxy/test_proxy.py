"""What all connections of a TCP proxy share: the choice of a cluster, a reload, the numbers."""

import asyncio
from collections import Counter
from pathlib import Path

from fastproxy.listener.network_filter import NetworkFilter
from fastproxy.listener.settings import ListenerSettings, TcpBackoff, TcpCluster, TcpProxySettings
from fastproxy.listener.tcp_proxy.proxy import TcpProxy
from fastproxy.upstream.balancer.settings import LoadBalancingSettings, RingHashSettings
from fastproxy.upstream.settings import Address
from tests.listener.tcp_proxy.support import bound, info, running, tools


def proxy(**settings: object) -> TcpProxy:
    made = TcpProxySettings("t", **{"clusters": (TcpCluster("a"),), **settings})  # type: ignore[arg-type]
    return TcpProxy(
        ListenerSettings("l", "127.0.0.1", 0, ()), made, clusters={}, access_logs=(), tools=tools()
    )


async def test_clusters_are_chosen_by_weight() -> None:
    """A weight of 0 gets nothing."""
    weighted = proxy(clusters=(TcpCluster("a", 3), TcpCluster("never", 0), TcpCluster("b", 1)))
    chosen = Counter(weighted.select_cluster().name for _ in range(4000))
    assert set(chosen) == {"a", "b"}
    # Four standard deviations of a binomial distribution.
    assert abs(chosen["a"] - 3000) < 110


async def test_the_hash_depends_on_the_address_alone() -> None:
    """`hash_policy: source_ip`: all connections of a client go the same way."""
    hashing = proxy(hashes_source_ip=True)
    assert hashing.hash_of(info("192.0.2.1")) == hashing.hash_of(info("192.0.2.1"))
    assert hashing.hash_of(info("192.0.2.1")) != hashing.hash_of(info("192.0.2.2"))
    assert proxy().hash_of(info()) is None


async def test_a_client_always_reaches_the_same_endpoint_of_a_hashing_cluster(tmp_path: Path) -> None:
    """The hash arrives at the balancer."""
    servers = [bound() for _ in range(3)]
    async with running(
        tmp_path,
        hashes_source_ip=True,
        endpoints=tuple(Address("127.0.0.1", one.getsockname()[1]) for one in servers),
        cluster={"load_balancing": LoadBalancingSettings(policy=RingHashSettings())},
    ) as world:
        for _ in range(5):
            client = await world.connect()
            client.finish()
        loop = asyncio.get_running_loop()
        accepting = [loop.create_task(loop.sock_accept(one)) for one in servers]
        (first,), others = await asyncio.wait(accepting, return_when=asyncio.FIRST_COMPLETED)
        server = servers[accepting.index(first)]
        accepted = [first.result()[0]] + [(await loop.sock_accept(server))[0] for _ in range(4)]
        assert len(accepted) == 5
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for sock in (*accepted, *servers):
            sock.close()


async def test_pauses_grow_and_stay_below_their_bound() -> None:
    """`backoff_options`; none without them."""
    assert proxy().pause_after(1) == 0.0
    patient = proxy(backoff=TcpBackoff(1.0, 5.0))
    assert all(0 <= patient.pause_after(1) <= 1.0 for _ in range(100))
    assert all(0 <= patient.pause_after(40) <= 5.0 for _ in range(100))
    assert max(patient.pause_after(40) for _ in range(100)) == 5.0


async def test_an_equal_proxy_takes_the_connections_over(tmp_path: Path) -> None:
    """A reload that changes something else must not cut a connection, not even after the drain time."""
    async with running(tmp_path) as world:
        client, upstream = await world.pair()
        heir = TcpProxy(
            world.proxy._listener,
            world.proxy.settings,
            clusters=world.proxy.clusters,
            access_logs=(),
            tools=world.proxy.tools,
        )
        assert world.proxy.hand_over(heir)
        assert (world.proxy.is_idle, heir.open_connections) == (True, 1)
        world.proxy.abort()
        await client.send(b"x")
        assert await upstream.receive() == b"x"
        client.finish()
        upstream.finish()
        assert await client.receive() == b""
        await world.until(lambda: heir.is_idle)
        assert heir.stats.downstream_cx_rx_bytes_total == 1
        assert (world.proxy.stats.downstream_cx_active, heir.stats.downstream_cx_active) == (0, 0)


async def test_a_proxy_with_other_settings_takes_nothing_over(tmp_path: Path) -> None:
    """Its connections would be under rules that they were not made by."""
    async with running(tmp_path) as world:
        await world.pair()
        other: NetworkFilter = proxy(idle_timeout_s=1.0)
        assert not world.proxy.hand_over(other)
        assert world.proxy.open_connections == 1


async def test_open_connections_are_counted_with_their_bytes(tmp_path: Path) -> None:
    """A transfer that takes a day shows in the numbers before it ends, and once."""
    async with running(tmp_path) as world:
        client, upstream = await world.pair()
        await client.send(b"12345")
        assert await upstream.receive() == b"12345"
        counters = world.counters()
        assert counters["downstream_cx_total"] == 1
        assert counters["downstream_cx_rx_bytes_total"] == 5
        assert counters["listener.127.0.0.1_0.downstream_cx_active"] == 1
        assert (counters["up.upstream_cx_active"], counters["up.upstream_rq_active"]) == (1, 1)
        client.finish()
        upstream.finish()
        await world.until(lambda: world.proxy.is_idle)
        counters = world.counters()
        assert counters["downstream_cx_rx_bytes_total"] == 5
        assert counters["listener.127.0.0.1_0.downstream_cx_destroy"] == 1
        assert "up.upstream_cx_active" not in counters


async def test_quiet_connections_give_their_pipes_back(tmp_path: Path) -> None:
    """`check_idle`, about once a second."""
    async with running(tmp_path) as world:
        client, upstream = await world.pair()
        await asyncio.gather(client.send(b"x" * 3_000_000), upstream.read(3_000_000))
        world.proxy.check_idle(0.0)
        assert world.proxy.tools.pipes.lent == 0
