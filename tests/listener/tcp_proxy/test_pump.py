"""One direction between two sockets: when it copies, when it splices, and what it leaves behind."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from fastproxy.listener.tcp_proxy.pipes import PIPE_BYTES
from fastproxy.listener.tcp_proxy.pump import COPY_BYTES, Pump, PumpTools
from tests.listener.tcp_proxy.support import tools


class Owner:
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def on_finished(self, pump: Pump) -> None:
        self.events.append("finished")

    def on_broken(self, pump: Pump, *, source: bool) -> None:
        pump.stop()
        self.events.append("source broken" if source else "sink broken")

    def on_blocked(self, pump: Pump) -> None:
        self.events.append("blocked")

    def on_drained(self, pump: Pump) -> None:
        self.events.append("drained")


class Bench:
    """A pump between two pairs of sockets; `far` ends are the test's."""

    def __init__(self, shared: PumpTools, *, limit_bytes: int = PIPE_BYTES) -> None:
        self.owner = Owner()
        self.tools = shared
        self.far_source, self.source = socket.socketpair()
        self.sink, self.far_sink = socket.socketpair()
        for one in (self.far_source, self.source, self.sink, self.far_sink):
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
        self.pump = Pump(shared, self.source, self.sink, self.owner, limit_bytes=limit_bytes)
        self.pump.start()

    async def move(self, size: int) -> bytes:
        """Send at one end, and take at the other."""
        loop = asyncio.get_running_loop()
        sending = loop.create_task(loop.sock_sendall(self.far_source, b"x" * size))
        found = b""
        async with asyncio.timeout(20.0):
            while len(found) < size:
                found += await loop.sock_recv(self.far_sink, size)
        await sending
        return found

    def close(self) -> None:
        self.pump.stop()
        for one in (self.far_source, self.source, self.sink, self.far_sink):
            one.close()
        self.tools.pipes.close()


@pytest.fixture
async def bench() -> Iterator[Bench]:  # type: ignore[misc]  # a generator of pytest-asyncio
    made = Bench(tools())
    yield made
    made.close()


async def test_small_messages_need_no_pipe(bench: Bench) -> None:
    """Two file descriptors for a chat would be a waste, and a pipe is no faster."""
    for size in (1, 100, COPY_BYTES - 1):
        assert await bench.move(size) == b"x" * size
    assert not bench.pump.has_pipe
    assert bench.tools.pipes.lent == 0


async def test_a_full_read_brings_the_pipe_and_small_reads_give_it_back(bench: Bench) -> None:
    """Large transfers are moved by the kernel, and only they."""
    assert len(await bench.move(COPY_BYTES)) == COPY_BYTES
    assert bench.pump.has_pipe
    assert len(await bench.move(500_000)) == 500_000
    await bench.move(10)
    assert bench.tools.pipes.lent == 0
    assert bench.pump.moved == COPY_BYTES + 500_010


async def test_a_pipe_is_given_back_when_the_connection_is_quiet(bench: Bench) -> None:
    """The last read of a transfer may have been a large one."""
    await bench.move(COPY_BYTES)
    bench.pump.release_quiet_pipe()
    assert not bench.pump.has_pipe
    assert len(await bench.move(3 * COPY_BYTES)) == 3 * COPY_BYTES


async def test_without_a_pipe_everything_is_copied() -> None:
    """No descriptors, or a system without `splice`."""
    bench = Bench(tools(max_pipes=0))
    assert len(await bench.move(1_000_000)) == 1_000_000
    assert not bench.pump.has_pipe
    bench.close()


@pytest.mark.parametrize("max_pipes", [0, 4])
async def test_no_more_than_the_limit_is_held(max_pipes: int) -> None:
    """`per_connection_buffer_limit_bytes`, when nobody reads at the other end."""
    bench = Bench(tools(max_pipes=max_pipes), limit_bytes=10_000)
    loop = asyncio.get_running_loop()
    sending = loop.create_task(loop.sock_sendall(bench.far_source, b"x" * 20_000_000))
    async with asyncio.timeout(20.0):
        while "blocked" not in bench.owner.events:
            await asyncio.sleep(0)
        assert 0 < bench.pump.held_bytes <= 10_000
        left = 20_000_000
        while left:
            left -= len(await loop.sock_recv(bench.far_sink, left))
    await sending
    assert "drained" in bench.owner.events
    bench.close()


async def test_the_end_is_passed_on_after_the_last_byte(bench: Bench) -> None:
    """And only then is the owner told."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(bench.far_source, b"last")
    bench.far_source.shutdown(socket.SHUT_WR)
    assert await loop.sock_recv(bench.far_sink, 100) == b"last"
    assert await loop.sock_recv(bench.far_sink, 100) == b""
    assert bench.owner.events == ["finished"]


async def test_a_sink_that_is_gone_is_reported(bench: Bench) -> None:
    """A write fails; nothing is left registered."""
    bench.far_sink.close()
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(bench.far_source, b"x")
    async with asyncio.timeout(20.0):
        while not bench.owner.events:
            await asyncio.sleep(0)
    assert bench.owner.events == ["sink broken"]
    assert not loop.remove_reader(bench.source)
