"""Unix domain sockets: what is at the path before, who may connect, and what is there afterwards."""

import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fastproxy.control.inheritance import Inheritance
from fastproxy.control.pipes import PipeFile
from fastproxy.control.sockets import (
    ListenerSockets,
    PassedOn,
    StartupError,
    bind_admin_socket,
    open_listener_sockets,
)
from fastproxy.listener.settings import ListenAddress, ListenerSettings
from tests.control.support import listener, proxy_settings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "proxy.sock"


def pipe(path: object, mode: int = 0) -> ListenerSettings:
    return replace(listener("ingress"), host=str(path), port=0, pipe_mode=mode)


def open_pipe(path: object, mode: int = 0, workers: int = 3) -> ListenerSockets:
    (opened,) = open_listener_sockets((pipe(path, mode),), workers)
    return opened


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_all_workers_share_the_one_socket_of_a_path(path: Path) -> None:
    """A path can be bound once; the kernel gives a connection to whichever worker accepts first."""
    opened = open_pipe(path)

    assert path.is_socket()
    assert len(opened.sockets) == 1
    assert {number for worker in range(3) for number in opened.of_worker(worker, 3)} == set(opened.numbers)
    assert opened.address == str(path)
    opened.close()


@pytest.mark.parametrize(("mode", "expected"), [(0, 0o755), (0o600, 0o600), (0o777, 0o777)])
@pytest.mark.usefixtures("umask")
def test_the_file_gets_its_mode_before_anybody_can_connect(path: Path, mode: int, expected: int) -> None:
    """Whatever the umask is; without a mode it decides."""
    opened = open_pipe(path, mode)

    assert stat.S_IMODE(path.stat().st_mode) == expected
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
        client.connect(str(path))
    opened.close()


def test_the_file_goes_with_the_socket(path: Path) -> None:
    """Otherwise whoever looks for the path finds one that nobody answers on."""
    open_pipe(path).close()

    assert not path.exists()


def test_the_file_stays_where_a_successor_goes_on(path: Path) -> None:
    """It has the same socket."""
    open_pipe(path).close(keeps_file=True)

    assert path.is_socket()


def test_a_file_that_somebody_else_has_put_there_meanwhile_stays(path: Path) -> None:
    """A process that ends late must not cut its successor off."""
    opened = open_pipe(path)
    path.unlink()
    path.write_text("other")
    opened.close()

    assert path.read_text() == "other"


def test_the_socket_of_a_process_that_was_killed_is_replaced(path: Path) -> None:
    """It cannot remove its file, and an operator should not have to."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    before = path.stat().st_ino
    opened = open_pipe(path)

    assert path.is_socket()
    opened.sockets[0].listen()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    opened.close()
    assert before


def test_the_socket_of_a_living_process_is_never_taken(path: Path) -> None:
    """Envoy takes it: the other process then waits for connections that never come."""
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen()

        with pytest.raises(
            StartupError, match=r"listener 'ingress': cannot bind .*another process listens there"
        ):
            open_pipe(path)

        assert path.is_socket()


def test_a_full_queue_of_a_living_process_does_not_look_like_a_dead_one(path: Path) -> None:
    """Connecting waits, or fails for the moment: somebody is there all the same."""
    with socket.socket(socket.AF_UNIX) as living, socket.socket(socket.AF_UNIX) as first:
        living.bind(str(path))
        living.listen(0)
        first.connect(str(path))

        with pytest.raises(StartupError, match="another process listens there"):
            open_pipe(path)


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_never_removed(path: Path, kind: str) -> None:
    """Envoy removes it: a path with a slip of the pen deletes somebody's data."""
    target = path.with_name("data")
    target.write_text("precious")
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(target)

    with pytest.raises(StartupError, match="no socket; move it away or choose another path"):
        open_pipe(path)

    assert path.exists()
    assert target.read_text() == "precious"


def test_a_directory_that_is_missing_is_said(tmp_path: Path) -> None:
    """The usual reason for a failing start in a fresh container."""
    with pytest.raises(StartupError, match="the directory of the path does not exist"):
        open_pipe(tmp_path / "none" / "s")


def test_abstract_names_have_no_file_and_are_taken_only_once() -> None:
    """`@name` of the configuration is the kernel's NUL and name."""
    name = f"@fastproxy-test-{os.getpid()}"
    opened = open_pipe(name)

    assert opened.sockets[0].getsockname() == b"\0" + name[1:].encode()
    assert opened.address == name
    with pytest.raises(StartupError, match=r"ss -lxp"):
        open_pipe(name)
    opened.close()
    open_pipe(name).close()


def test_a_start_that_fails_leaves_no_file(path: Path) -> None:
    """The second listener's address cannot be had: the first one's file goes, too."""
    other = listener("second", 0)
    with pytest.raises(StartupError):
        open_listener_sockets((pipe(path), replace(other, host="192.0.2.1", port=1)), 1)

    assert not path.exists()


def test_a_reload_keeps_the_socket_and_changes_the_mode_only_when_it_takes_over(path: Path) -> None:
    """A configuration that is refused after all must have changed nothing (S58)."""
    held = open_pipe(path, 0o600)
    (kept,) = open_listener_sockets((pipe(path, 0o660),), 3, (held,))

    assert kept.sockets == held.sockets
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kept.settle_mode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    kept.close()


def test_a_predecessors_socket_is_used_on_and_its_file_removed_at_the_end(path: Path) -> None:
    """Its owner left it to this process."""
    given = open_pipe(path)
    settings = proxy_settings(pipe(path))
    inheritance = Inheritance(listeners={given.spot.place: PassedOn(list(given.sockets), str(path))})
    (opened,) = open_listener_sockets(settings.listeners, 3, passed_on=inheritance.take_listeners(settings))

    assert opened.sockets == given.sockets
    opened.close()
    assert not path.exists()


def test_a_predecessors_socket_without_its_file_is_served_with_a_warning(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is connected goes on; the log says why nobody new comes."""
    given = open_pipe(path)
    path.unlink()
    known = PassedOn(list(given.sockets), str(path))

    assert known.file() is None
    assert "lost its file" in caplog.text
    given.close()


def test_the_admin_interface_can_have_a_path(path: Path) -> None:
    """With permissions of its own: that is who may stop the proxy."""
    sock, file = bind_admin_socket(ListenAddress(str(path), 0, mode=0o600))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert isinstance(file, PipeFile)
    sock.close()
    file.remove()
    assert not path.exists()
