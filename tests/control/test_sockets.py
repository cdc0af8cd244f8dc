"""Binding addresses: what is shared, what is refused, and what the operator reads then."""

import socket

import pytest

from fastproxy.control.sockets import StartupError, bind_admin_socket, open_listener_sockets
from fastproxy.listener.settings import ListenerSettings
from tests.control.support import listener


def test_every_worker_gets_its_own_socket_on_the_same_port() -> None:
    """The kernel spreads connections over them (SO_REUSEPORT); port 0 is chosen once for all."""
    (sockets,) = open_listener_sockets((listener(),), 3)

    assert len({sock.fileno() for sock in sockets.sockets}) == 3
    assert {sock.getsockname()[1] for sock in sockets.sockets} == {sockets.port}
    assert sockets.address == f"127.0.0.1:{sockets.port}"
    sockets.close()


@pytest.mark.parametrize("reuse_port", [False, True])
def test_port_in_use_is_refused_with_address_and_advice(*, reuse_port: bool) -> None:
    """Also if its holder would share it: two proxies on one port answer every second request wrongly."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(reuse_port))
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(StartupError) as caught:
            open_listener_sockets((listener("ok"), listener("ingress", port)), 2)

    text = str(caught.value)
    assert f"listener 'ingress': cannot bind 127.0.0.1:{port}: Address already in use" in text
    assert "choose another port" in text


def test_address_of_another_machine_is_refused_with_advice() -> None:
    """A file copied from another host is the usual reason."""
    settings = ListenerSettings("l", "192.0.2.1", 8080, listener().filter_chains)

    with pytest.raises(StartupError, match="this machine has no such address"):
        open_listener_sockets((settings,), 1)


def test_admin_address_is_never_shared() -> None:
    """Two admin interfaces on one port would answer for each other."""
    with bind_admin_socket("127.0.0.1", 0) as first:
        first.listen()
        with pytest.raises(StartupError, match="the admin interface: cannot bind"):
            bind_admin_socket("127.0.0.1", first.getsockname()[1])
