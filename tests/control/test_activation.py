"""Sockets that a service manager passes on (the whole way is in tests/e2e/test_upgrade.py)."""

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fastproxy.config.settings import AdminSettings
from fastproxy.control.activation import take_activated_sockets
from fastproxy.control.inheritance import from_service_manager
from fastproxy.control.sockets import PassedOn, open_listener_sockets
from fastproxy.listener.settings import ListenerSettings, Place, place_of
from tests.control.support import listener, proxy_settings


def environment(count: int, **more: str) -> dict[str, str]:
    return {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(count), "LISTEN_FDNAMES": "web", **more}


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def _place(settings: ListenerSettings) -> Place:
    return place_of(settings.name, settings.addresses()[0])


def test_sockets_are_taken_and_the_variables_are_gone(listening: socket.socket) -> None:
    """A child that found the variables would take descriptors for its own that are not."""
    variables = environment(1, PATH="/bin")
    (taken,) = take_activated_sockets(variables, os.dup(listening.fileno()))
    with taken:
        assert taken.getsockname() == listening.getsockname()
        assert not taken.get_inheritable()
    assert variables == {"PATH": "/bin"}


@pytest.mark.parametrize("change", [{"LISTEN_PID": "1"}, {"LISTEN_FDS": "x"}, {"LISTEN_PID": ""}])
def test_sockets_of_somebody_else_are_left_alone(change: dict[str, str]) -> None:
    """The variables may come from a parent that did not clear them."""
    assert take_activated_sockets(environment(1, **change), 3) == []


def test_what_is_no_listening_socket_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A unit may pass pipes and datagram sockets, too."""
    with (tmp_path / "file").open("w") as file:
        assert take_activated_sockets(environment(1), file.fileno()) == []
        file.write("still open")
    assert "'web'" in caplog.text


def test_sockets_are_matched_by_address_and_strangers_are_closed(caplog: pytest.LogCaptureFixture) -> None:
    """Names are the unit's; the address is what both sides know."""
    made = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [sock.getsockname()[1] for sock in made]
    settings = proxy_settings(listener("main", ports[0]))
    settings = type(settings)(settings.listeners, (), AdminSettings("127.0.0.1", ports[1]))
    found = from_service_manager(made, settings)

    assert found.take_listeners(settings) == {_place(settings.listeners[0]): PassedOn([made[0]])}
    assert settings.admin is not None
    assert found.take_admin(settings.admin) == (made[1], None)
    assert made[2].fileno() == -1
    assert f"127.0.0.1:{ports[2]}" in caplog.text
    found.close()
    assert made[0].fileno() != -1, "what was taken out is not closed"
    for sock in made[:2]:
        sock.close()


@pytest.mark.parametrize(("reuse_port", "sockets"), [(False, 1), (True, 3)])
def test_workers_share_a_socket_beside_which_none_can_be_bound(reuse_port: bool, sockets: int) -> None:
    """`ReusePort=yes` in the unit gives every worker one of its own."""
    with socket.create_server(("127.0.0.1", 0), reuse_port=reuse_port) as given:
        settings = listener("main", given.getsockname()[1])
        (opened,) = open_listener_sockets((settings,), 3, passed_on={_place(settings): PassedOn([given])})
        served = [opened.of_worker(worker, 3) for worker in range(3)]

        assert len(opened.sockets) == sockets
        assert all(len(one) == 1 for one in served)
        assert len({number for one in served for number in one}) == sockets
        opened.close()


def test_no_socket_of_a_larger_predecessor_is_left_without_a_worker() -> None:
    """Connections wait in each of them."""
    given = [socket.create_server(("127.0.0.1", 0), reuse_port=True)]
    port = given[0].getsockname()[1]
    given += [socket.create_server(("127.0.0.1", port), reuse_port=True) for _ in range(4)]
    settings = listener("main", port)
    (opened,) = open_listener_sockets((settings,), 2, passed_on={_place(settings): PassedOn(given)})
    served = [set(opened.of_worker(worker, 2)) for worker in range(2)]

    assert served[0] | served[1] == set(opened.numbers)
    assert not served[0] & served[1]
    opened.close()


def test_a_unix_domain_socket_of_the_service_manager_is_used_and_its_file_left_alone(tmp_path: Path) -> None:
    """It listens on after this process has ended; without the file nobody could connect any more."""
    path = str(tmp_path / "s")
    given = socket.socket(socket.AF_UNIX)
    given.bind(path)
    given.listen()
    settings = replace(listener("main"), host=path, port=0)
    found = from_service_manager([given], proxy_settings(settings))
    (opened,) = open_listener_sockets(
        (settings,), 3, passed_on=found.take_listeners(proxy_settings(settings))
    )

    assert opened.sockets == (given,)
    opened.close()
    assert Path(path).is_socket()
