"""Binding addresses: what is shared, what is refused, and what the operator reads then."""

import socket
from dataclasses import replace

import pytest

from fastproxy.control.sockets import StartupError, bind_admin_socket, open_listener_sockets
from fastproxy.listener.settings import ListenAddress, ListenerSettings, SocketOption, SocketState
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
    with bind_admin_socket(ListenAddress("127.0.0.1", 0))[0] as first:
        first.listen()
        with pytest.raises(StartupError, match="the admin interface: cannot bind"):
            bind_admin_socket(ListenAddress("127.0.0.1", first.getsockname()[1]))


def test_every_address_of_a_listener_has_sockets_of_its_own() -> None:
    """`additional_addresses`; all belong to the one listener."""
    settings = replace(
        listener(), additional_addresses=(ListenAddress("127.0.0.1", 0), ListenAddress("::1", 0))
    )
    opened = open_listener_sockets((listener("first"), settings), 2)

    assert [one.spot.listener_index for one in opened] == [0, 1, 1, 1]
    assert len({(one.spot.address.host, one.port) for one in opened}) == 4
    assert all(len(one.sockets) == 2 for one in opened)
    for one in opened:
        one.close()


def test_workers_share_one_socket_where_the_file_says_so() -> None:
    """`enable_reuse_port: false`."""
    (opened,) = open_listener_sockets((replace(listener(), shares_socket=True),), 3)

    assert len(opened.sockets) == 1
    assert opened.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0
    assert {number for worker in range(3) for number in opened.of_worker(worker, 3)} == set(opened.numbers)
    opened.close()


def test_a_listener_that_does_not_bind_has_no_sockets() -> None:
    """`bind_to_port: false`: in Envoy something else hands connections to it, and here nothing does."""
    assert open_listener_sockets((replace(listener(), binds=False),), 2) == ()


@pytest.mark.parametrize("state", list(SocketState))
def test_configured_socket_options_are_set(state: SocketState) -> None:
    """On every worker's socket, whatever the moment that Envoy would choose."""
    option = SocketOption(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1, state)
    (opened,) = open_listener_sockets((replace(listener(), socket_options=(option,)),), 2)

    assert [sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) for sock in opened.sockets] == [1, 1]
    opened.close()


def test_an_option_that_cannot_be_set_fails_the_start_and_says_which() -> None:
    """A listener without what was asked for might be the wrong one."""
    settings = replace(listener("ingress"), socket_options=(SocketOption(6, 9999, 1),))

    with pytest.raises(StartupError, match="listener 'ingress': socket option 9999 of level 6 cannot be set"):
        open_listener_sockets((settings,), 1)


def test_other_options_of_a_socket_in_use_are_announced_for_the_next_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A reload keeps the sockets, so that no connection is lost."""
    (held,) = open_listener_sockets((listener("a", 0),), 1)
    changed = replace(listener("a", 0), socket_options=(SocketOption(1, 9, 1),))
    (opened,) = open_listener_sockets((changed,), 1, (held,))

    assert opened.sockets == held.sockets
    assert "other socket options" in caplog.text
    opened.close()
