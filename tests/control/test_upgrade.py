"""The exchange between a process and its successor; the whole of it with real processes is in tests/e2e."""

import asyncio
import contextlib
import json
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastproxy.config.settings import AdminSettings
from fastproxy.control.sockets import (
    ListenerSockets,
    StartupError,
    bind_admin_socket,
    open_listener_sockets,
)
from fastproxy.control.upgrade import PeerRefused, Predecessor, UpgradeServer, check_peer
from tests.control.support import listener, until

ADMIN = AdminSettings("127.0.0.1", 0)


class Running:
    """The process that may be replaced."""

    def __init__(self, path: str) -> None:
        self.listeners: tuple[ListenerSockets, ...] = open_listener_sockets((listener("a"), listener("b")), 3)
        self.admin, self.admin_file = bind_admin_socket(ADMIN.address)
        self.replaced: list[int] = []
        self.server = UpgradeServer(
            path,
            listeners=lambda: self.listeners,
            admin=lambda: ((ADMIN.host, ADMIN.port), self.admin, self.admin_file),
            on_replaced=self.replaced.append,
        )

    async def stop(self) -> None:
        await self.server.stop()
        for one in self.listeners:
            one.close()
        self.admin.close()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "upgrade.sock")


async def test_all_sockets_arrive_and_the_old_process_ends_when_the_new_one_is_live(path: str) -> None:
    """Not before: until then the old one serves."""
    running = Running(path)
    running.server.start()
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    predecessor = await Predecessor.find(path)
    assert predecessor is not None
    assert predecessor.pid == os.getpid()
    inherited = predecessor.inheritance
    assert {place: len(known.sockets) for place, known in inherited.listeners.items()} == {
        one.spot.place: 3 for one in running.listeners
    }
    names = [sock.getsockname() for sock in inherited.listeners[running.listeners[0].spot.place].sockets]
    assert names == [("127.0.0.1", running.listeners[0].port)] * 3
    taken = inherited.take_admin(ADMIN)
    assert taken is not None
    admin, _file = taken
    assert admin.getsockname() == running.admin.getsockname()
    assert running.replaced == []

    await predecessor.release()
    await until(lambda: running.replaced == [os.getpid()])
    await running.stop()
    assert Path(path).exists(), "it is the successor's"
    admin.close()


async def test_a_successor_that_gives_up_is_forgotten_and_the_next_one_can_come(path: str) -> None:
    """The old process goes on as if nothing were."""
    running = Running(path)
    running.server.start()
    for _ in range(3):
        predecessor = await Predecessor.find(path)
        assert predecessor is not None
        predecessor.leave()
    predecessor = await Predecessor.find(path)
    assert predecessor is not None
    await predecessor.release()
    await until(lambda: running.replaced == [os.getpid()])
    await running.stop()


async def test_nobody_there_means_a_start_like_any_other(path: str) -> None:
    """Also when a process was killed and its socket file is still there."""
    assert await Predecessor.find(path) is None
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    assert await Predecessor.find(path) is None
    running = Running(path)
    running.server.start()
    await running.stop()
    assert not Path(path).exists()


async def test_a_process_of_another_user_is_refused_on_both_sides(
    path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever gets the sockets has the service; whoever gives them could have kept copies."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert check_peer(ours) == os.getpid()
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        with pytest.raises(PeerRefused, match="another user"):
            check_peer(ours)
    running = Running(path)
    running.server.start()
    with pytest.raises(StartupError, match="another user"):
        await Predecessor.find(path)
    await running.stop()


@pytest.mark.parametrize(
    "message",
    [b'{"protocol": 99}\n', b"[]\n", b"\xff\xff\n", b"x" * 2_000_000, b'{"protocol": 1}\n{"state": 3}\n'],
)
async def test_a_peer_that_talks_nonsense_gets_nowhere(path: str, message: bytes) -> None:
    """It is of another release, or no FastProxy at all; the process goes on and answers the next one."""
    running = Running(path)
    running.server.start()
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(message)
    with contextlib.suppress(ConnectionError):
        await reader.read()
    writer.close()
    assert running.replaced == []
    predecessor = await Predecessor.find(path)
    assert predecessor is not None
    predecessor.leave()
    await running.stop()


def _nothing(message: dict[str, Any]) -> None:
    message.clear()


def _other_version(message: dict[str, Any]) -> None:
    message["protocol"] = 2


def _bad_place(message: dict[str, Any]) -> None:
    message["listeners"][0]["place"] = ["127.0.0.1"]


def _unknown_socket(message: dict[str, Any]) -> None:
    message["listeners"][0]["sockets"] = [12345]


@pytest.mark.parametrize("spoil", [_nothing, _other_version, _bad_place, _unknown_socket])
async def test_a_predecessor_that_talks_nonsense_ends_the_start(
    path: str, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[dict[str, Any]], None]
) -> None:
    """Somebody serves there, so starting beside it would be wrong."""
    real = json.dumps

    def spoiled(message: dict[str, Any]) -> str:
        if "listeners" in message:
            spoil(message)
        return real(message)

    monkeypatch.setattr(json, "dumps", spoiled)
    running = Running(path)
    running.server.start()
    with pytest.raises(StartupError, match="cannot take over"):
        await Predecessor.find(path)
    await running.stop()


def test_a_path_that_cannot_be_used_is_said_in_words(tmp_path: Path) -> None:
    """The operator sees the option and the reason."""
    running = Running(str(tmp_path / "missing" / "upgrade.sock"))
    with pytest.raises(StartupError, match=r"--upgrade-socket .*missing.*No such file"):
        running.server.start()
    for one in running.listeners:
        one.close()
    running.admin.close()
