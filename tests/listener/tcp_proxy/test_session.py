"""One connection through a TCP proxy, from the first byte to the line in the access log, on real sockets."""

import asyncio
import socket
from pathlib import Path

import pytest

from fastproxy import clock
from fastproxy.listener.settings import TcpBackoff, TcpCluster
from fastproxy.upstream.settings import Address, ThresholdSettings
from tests.listener.tcp_proxy.support import closed_port, running

pytestmark = pytest.mark.parametrize("max_pipes", [0, 16])
"""Copying and splicing must not differ in anything but cost."""


async def test_bytes_go_both_ways_unchanged(tmp_path: Path, max_pipes: int) -> None:
    """Any bytes: nobody looks into them."""
    async with running(tmp_path, max_pipes=max_pipes) as world:
        client, upstream = await world.pair()
        await client.send(b"\0\xffGET\r\n\r\n")
        assert await upstream.receive() == b"\0\xffGET\r\n\r\n"
        await upstream.send(b"answer")
        assert await client.receive() == b"answer"


async def test_the_upstream_is_connected_before_the_client_says_anything(
    tmp_path: Path, max_pipes: int
) -> None:
    """Protocols in which the server speaks first: SMTP, MySQL."""
    async with running(tmp_path, max_pipes=max_pipes) as world:
        client, upstream = await world.pair()
        await upstream.send(b"220 ready\r\n")
        assert await client.receive() == b"220 ready\r\n"


async def test_what_the_client_sends_at_once_waits_for_the_upstream(tmp_path: Path, max_pipes: int) -> None:
    """It stays in the kernel, unread, until there is somewhere to send it."""
    async with running(tmp_path, max_pipes=max_pipes) as world:
        client = await world.connect()
        await client.send(b"early")
        assert await (await world.accept()).receive() == b"early"


async def test_each_side_may_end_for_itself(tmp_path: Path, max_pipes: int) -> None:
    """A half-closed connection goes on in the other direction for as long as it likes."""
    async with running(tmp_path, max_pipes=max_pipes) as world:
        client, upstream = await world.pair()
        await client.send(b"request")
        client.finish()
        assert await upstream.read(100) == b"request"
        await upstream.send(b"late answer")
        assert await client.receive() == b"late answer"
        upstream.finish()
        assert await client.receive() == b""
        port = world.server.getsockname()[1]
        assert await world.log_lines(1) == [f"- 7 11 127.0.0.1:{port} up TcpConnectionEnd"]

        client, upstream = await world.pair()
        upstream.finish()
        assert await client.receive() == b""
        await client.send(b"still talking")
        assert await upstream.receive() == b"still talking"
        client.finish()
        assert await upstream.receive() == b""
        await world.log_lines(2)
        assert world.proxy.open_connections == 0


@pytest.mark.parametrize("size", [1, 65536, 65537, 5_000_000])
async def test_large_transfers_arrive_whole_in_both_directions(
    tmp_path: Path, max_pipes: int, size: int
) -> None:
    """The sizes around the change from copying to splicing, and far above."""
    data = bytes(range(256)) * (size // 256) + b"." * (size % 256)
    async with running(tmp_path, max_pipes=max_pipes) as world:
        client, upstream = await world.pair()
        _, received = await asyncio.gather(client.send(data), upstream.read(size))
        assert received == data
        _, received = await asyncio.gather(upstream.send(data), client.read(size))
        assert received == data
        client.finish()
        upstream.finish()
        assert (await world.log_lines(1))[0].startswith(f"- {size} {size} ")


async def test_a_slow_reader_holds_up_the_sender(tmp_path: Path, max_pipes: int) -> None:
    """Nothing is read that nobody takes: memory stays flat whatever the sender does."""
    async with running(tmp_path, max_pipes=max_pipes, listener={"buffer_limit_bytes": 100_000}) as world:
        client, upstream = await world.pair()
        sending = asyncio.get_running_loop().create_task(upstream.send(b"x" * 30_000_000))
        await world.until(lambda: "downstream_flow_control_paused_reading_total" in world.counters())
        assert world.counters()["downstream_cx_tx_bytes_buffered"] <= 100_000
        (session,) = world.proxy._sessions
        assert session.relay is not None
        # The kernel's buffers are full on both sides; what the proxy has moved is far from everything.
        assert session.relay.sent_bytes < 25_000_000
        assert not sending.done()
        assert len(await client.read(30_000_000)) == 30_000_000
        await sending
        assert world.counters()["downstream_flow_control_resumed_reading_total"] >= 1


async def test_a_reset_by_the_upstream_reaches_the_client(tmp_path: Path, max_pipes: int) -> None:
    """An answer that was cut off must not look complete. Flag UR."""
    async with running(tmp_path, max_pipes=max_pipes) as world:
        client, upstream = await world.pair()
        await client.send(b"q")
        assert await upstream.receive() == b"q"
        upstream.reset()
        assert await client.is_reset()
        assert (await world.log_lines(1))[0].startswith("UR 1 0 ")


async def test_a_reset_by_the_client_reaches_the_upstream(tmp_path: Path, max_pipes: int) -> None:
    """The other way round, without a flag: nothing is wrong with the upstream."""
    async with running(tmp_path, max_pipes=max_pipes) as world:
        client, upstream = await world.pair()
        await client.send(b"q")
        assert await upstream.receive() == b"q"
        client.reset()
        assert await upstream.is_reset()
        assert (await world.log_lines(1))[0].startswith("- 1 0 ")


async def test_a_reset_while_bytes_wait_ends_the_connection(tmp_path: Path, max_pipes: int) -> None:
    """Full buffers must not hide that their reader has gone; and the pipe with its bytes is never lent again."""
    async with running(tmp_path, max_pipes=max_pipes) as world:
        client, upstream = await world.pair()
        sending = asyncio.get_running_loop().create_task(upstream.send(b"x" * 30_000_000))
        await world.until(lambda: "downstream_flow_control_paused_reading_total" in world.counters())
        client.reset()
        with pytest.raises(ConnectionError):
            await sending
        await world.log_lines(1)
        assert world.proxy.tools.pipes.lent == 0
        assert world.proxy.tools.pipes._free == []


async def test_a_refused_connect_cuts_the_client(tmp_path: Path, max_pipes: int) -> None:
    """Flags UF,URX; the client gets no byte."""
    port = closed_port()
    async with running(tmp_path, max_pipes=max_pipes, endpoints=(Address("127.0.0.1", port),)) as world:
        client = await world.connect()
        assert await client.receive() == b""
        assert await world.log_lines(1) == [f"UF,URX 0 0 127.0.0.1:{port} up TcpConnectionEnd"]
        counters = world.counters()
        assert counters["up.upstream_cx_connect_fail"] == 1
        assert counters["up.upstream_cx_connect_attempts_exceeded"] == 1


async def test_the_next_endpoint_is_tried(tmp_path: Path, max_pipes: int) -> None:
    """`max_connect_attempts`; the failed attempt stays in the flags, as in Envoy."""
    port = closed_port()
    async with running(
        tmp_path, max_pipes=max_pipes, max_connect_attempts=3, backoff=TcpBackoff(0.001, 0.01)
    ) as world:
        good = world.cluster.endpoints[0].address
        world.cluster.update_endpoints((Address("127.0.0.1", port), good))
        for _ in range(2):
            # In turn: one of the two begins with the endpoint that refuses.
            client, upstream = await world.pair()
            await client.send(b"x")
            assert await upstream.receive() == b"x"
            client.finish()
            upstream.finish()
            assert await client.receive() == b""
        flags = {line.split()[0] for line in await world.log_lines(2)}
        assert "UF" in flags
        assert flags <= {"UF", "-"}


async def test_a_connect_that_takes_too_long_is_given_up(tmp_path: Path, max_pipes: int) -> None:
    """`connect_timeout`: a backlog that is full answers nothing."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as deaf,
        socket.socket() as first,
        socket.socket() as second,
    ):
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(deaf.getsockname())
        async with running(
            tmp_path,
            max_pipes=max_pipes,
            endpoints=(Address("127.0.0.1", deaf.getsockname()[1]),),
            cluster={"connect_timeout_s": 0.05},
        ) as world:
            client = await world.connect()
            assert await client.receive() == b""
            assert (await world.log_lines(1))[0].startswith("UF,URX 0 0 ")
            assert world.counters()["up.upstream_cx_connect_timeout"] == 1


async def test_without_an_endpoint_the_client_is_cut(tmp_path: Path, max_pipes: int) -> None:
    """Flag UH."""
    async with running(tmp_path, max_pipes=max_pipes, endpoints=()) as world:
        client = await world.connect()
        assert await client.receive() == b""
        assert await world.log_lines(1) == ["UH 0 0 - up TcpConnectionEnd"]
        assert world.counters()["up.upstream_cx_none_healthy"] == 1


async def test_connections_above_the_limit_of_the_cluster_are_cut(tmp_path: Path, max_pipes: int) -> None:
    """`circuit_breakers`, `max_connections`: flag UO, until one of those before it has ended."""
    one = ThresholdSettings(max_connections=1)
    async with running(tmp_path, max_pipes=max_pipes, cluster={"thresholds": (one, one)}) as world:
        client, upstream = await world.pair()
        second = await world.connect()
        assert await second.receive() == b""
        assert (await world.log_lines(1))[0].startswith("UO 0 0 ")
        assert world.counters()["up.upstream_cx_overflow"] == 1
        client.finish()
        upstream.finish()
        await world.until(lambda: world.proxy.is_idle)
        client, upstream = await world.pair()
        await client.send(b"x")
        assert await upstream.receive() == b"x"


async def test_a_cluster_that_is_not_there_cuts_the_client(tmp_path: Path, max_pipes: int) -> None:
    """Flag NC: names are not checked at load, as in Envoy."""
    async with running(tmp_path, max_pipes=max_pipes, clusters=(TcpCluster("gone"),)) as world:
        client = await world.connect()
        assert await client.receive() == b""
        assert await world.log_lines(1) == ["NC 0 0 - - TcpConnectionEnd"]
        assert world.counters()["downstream_cx_no_route"] == 1


async def test_an_idle_connection_is_closed_in_peace(tmp_path: Path, max_pipes: int) -> None:
    """`idle_timeout`: an end for both sides, no reset, no flag."""
    async with running(tmp_path, max_pipes=max_pipes, idle_timeout_s=0.2) as world:
        client, upstream = await world.pair()
        assert await client.receive() == b""
        assert await upstream.receive() == b""
        assert (await world.log_lines(1))[0].startswith("- 0 0 ")
        assert world.counters()["idle_timeout"] == 1


async def test_bytes_in_either_direction_put_the_idle_timeout_off(tmp_path: Path, max_pipes: int) -> None:
    """The timer is armed once, and looks at when the last byte moved before it acts."""
    async with running(tmp_path, max_pipes=max_pipes, idle_timeout_s=0.4) as world:
        client, upstream = await world.pair()
        (session,) = world.proxy._sessions
        opened = clock.monotonic()
        while clock.monotonic() < opened + 0.6:
            await upstream.send(b".")
            assert await client.receive() == b"."
        assert session in world.proxy._sessions
        assert await client.receive() == b""


async def test_a_connection_is_cut_when_it_lasted_too_long(tmp_path: Path, max_pipes: int) -> None:
    """`max_downstream_connection_duration`, with its jitter: flag DT."""
    async with running(
        tmp_path, max_pipes=max_pipes, max_connection_duration_s=0.1, max_connection_duration_jitter=0.5
    ) as world:
        client, upstream = await world.pair()
        assert await client.receive() == b""
        assert await upstream.receive() == b""
        assert (await world.log_lines(1))[0].startswith("DT 0 0 ")
        assert world.counters()["max_downstream_connection_duration"] == 1


async def test_the_duration_holds_while_the_upstream_is_connected_too(tmp_path: Path, max_pipes: int) -> None:
    """A client cannot gain time by a cluster that does not answer."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as deaf,
        socket.socket() as first,
        socket.socket() as second,
    ):
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(deaf.getsockname())
        async with running(
            tmp_path,
            max_pipes=max_pipes,
            max_connection_duration_s=0.05,
            endpoints=(Address("127.0.0.1", deaf.getsockname()[1]),),
        ) as world:
            client = await world.connect()
            assert await client.receive() == b""
            assert (await world.log_lines(1))[0].startswith("DT 0 0 ")
            await world.until(lambda: world.cluster.breakers[0].connections.used == 0)


async def test_lines_come_at_the_connect_and_at_intervals_too(tmp_path: Path, max_pipes: int) -> None:
    """`access_log_options`: a connection may last for days."""
    async with running(
        tmp_path, max_pipes=max_pipes, logs_connected=True, access_log_interval_s=0.05
    ) as world:
        client, upstream = await world.pair()
        await client.send(b"abc")
        assert await upstream.receive() == b"abc"
        await world.until(lambda: True)
        await world.log_lines(3)
        client.finish()
        upstream.finish()
        await world.until(lambda: world.proxy.open_connections == 0)
        lines = [line.split() for line in await world.log_lines(4)]
        assert (lines[0][5], lines[0][1]) == ("TcpUpstreamConnected", "0")
        assert {line[5] for line in lines[1:-1]} == {"TcpPeriodic"}
        assert (lines[-1][5], lines[-1][1]) == ("TcpConnectionEnd", "3")


async def test_a_drain_lets_connections_go_on_and_cuts_them_at_its_end(
    tmp_path: Path, max_pipes: int
) -> None:
    """Nobody but the two ends knows when a connection may be closed."""
    async with running(tmp_path, max_pipes=max_pipes) as world:
        client, upstream = await world.pair()
        world.proxy.drain()
        await client.send(b"x")
        assert await upstream.receive() == b"x"
        await world.proxy.wait_until_empty(0.05)
        assert world.proxy.open_connections == 1
        world.proxy.abort()
        assert await client.receive() == b""
        assert await upstream.receive() == b""
        await world.proxy.wait_until_empty(10.0)
        assert world.proxy.is_idle
