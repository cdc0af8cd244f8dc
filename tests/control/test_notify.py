"""What a service manager is told."""

import os
import socket
from pathlib import Path

import pytest

from fastproxy.control.notify import notify, reloading


def test_lines_arrive_in_one_datagram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd reads a message as a whole."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        monkeypatch.setenv("NOTIFY_SOCKET", path)

        assert notify("READY=1", "STATUS=serving")
        assert manager.recv(1000) == b"READY=1\nSTATUS=serving"


def test_an_abstract_address_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers have it at times."""
    name = f"fastproxy-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")

        assert notify(*reloading())
        first, second = manager.recv(1000).decode().split("\n")
        assert first == "RELOADING=1"
        assert int(second.removeprefix("MONOTONIC_USEC=")) > 0


@pytest.mark.parametrize("address", ["", "/nobody/listens/here", "vsock:2:1234"])
def test_without_a_manager_nothing_happens(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy must run the same without systemd."""
    monkeypatch.setenv("NOTIFY_SOCKET", address)

    assert not notify("READY=1")
