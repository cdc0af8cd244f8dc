"""Listening sockets: accepting a few at a time, and what happens when nothing can be accepted."""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any, cast

import pytest

from fastproxy.listener.entrance import Entrance, ListeningSockets, Refusal

PEER = ("192.0.2.7", 4711)


class FakeLoop:
    """Readers and timers, called by hand."""

    def __init__(self) -> None:
        self.readers: dict[object, tuple[Callable[..., None], tuple[Any, ...]]] = {}
        self.timers: list[Callable[[], None]] = []

    def add_reader(self, sock: object, callback: Callable[..., None], *args: Any) -> None:
        self.readers[sock] = (callback, args)

    def remove_reader(self, sock: object) -> None:
        self.readers.pop(sock, None)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        assert delay_s > 0, "at once would be a loop that does nothing else"
        self.timers.append(callback)
        return cast("asyncio.TimerHandle", self)

    def cancel(self) -> None:
        """As the handle of the last timer."""
        self.timers.pop()


class FakeSocket:
    """A listening socket with a script of what `accept` gives."""

    def __init__(self) -> None:
        self.script: list[FakeSocket | OSError] = []
        self.is_closed = False

    def listen(self, backlog: int) -> None:
        assert backlog == 7

    def accept(self) -> tuple["FakeSocket", tuple[str, int]]:
        if not self.script:
            raise BlockingIOError
        one = self.script.pop(0)
        if isinstance(one, OSError):
            raise one
        return one, PEER

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def close(self) -> None:
        self.is_closed = True


class Bench:
    """One socket that is accepted on."""

    def __init__(self) -> None:
        self.loop = FakeLoop()
        self.accepted: list[object] = []
        self.sockets = ListeningSockets(
            "main", 7, cast("asyncio.AbstractEventLoop", self.loop), self._on_accepted
        )
        self.sock = FakeSocket()
        self.sockets.accept(cast("socket.socket", self.sock))

    def _on_accepted(self, sock: socket.socket, peer: object) -> None:
        assert peer == PEER
        self.accepted.append(sock)

    def knock(self, *script: FakeSocket | OSError) -> None:
        self.sock.script += script
        callback, args = self.loop.readers[self.sock]
        callback(*args)


def test_a_burst_of_connections_is_accepted_in_parts() -> None:
    """Those that are being served must not wait for all of it."""
    bench = Bench()
    bench.knock(*(FakeSocket() for _ in range(100)))
    assert 0 < len(bench.accepted) < 100
    while bench.sock.script:
        bench.knock()
    assert len(bench.accepted) == 100


def test_a_connection_that_was_aborted_in_the_backlog_holds_up_nothing() -> None:
    """ECONNABORTED says something of that one alone."""
    bench = Bench()
    bench.knock(ConnectionAbortedError(), FakeSocket())
    assert len(bench.accepted) == 1


def test_without_file_descriptors_the_backlog_is_left_alone_for_a_moment(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The socket stays readable: asking at once again would take all of the processor. It is said once."""
    bench = Bench()
    with caplog.at_level(logging.ERROR, "fastproxy.listener"):
        for _ in range(3):
            bench.knock(OSError(errno.EMFILE, "Too many open files"), FakeSocket())
            assert bench.loop.readers == {}
            bench.sock.script.clear()
            bench.loop.timers.pop()()
    assert [record.getMessage() for record in caplog.records] == [
        "listener 'main' cannot accept: Too many open files; trying again every 0.5 s"
    ]
    bench.knock(FakeSocket())
    assert len(bench.accepted) == 1


def test_a_listener_that_stops_accepts_nothing_more() -> None:
    """Not even after the pause that it was in."""
    bench = Bench()
    bench.knock(OSError(errno.EMFILE, "Too many open files"))
    assert bench.loop.timers
    bench.sockets.close()
    assert bench.sock.is_closed
    assert bench.loop.readers == {}
    assert bench.loop.timers == []


def test_connections_reach_the_listener_in_force() -> None:
    """The event loop's server keeps the entrance, and with it only the newest configuration."""

    class Plain:
        def __init__(self) -> None:
            self.made = Refusal()

        def make_plain(self) -> Refusal:
            return self.made

    old, new = Plain(), Plain()
    entrance = Entrance(old)
    assert entrance() is old.made
    entrance.listener = new
    assert entrance() is new.made
