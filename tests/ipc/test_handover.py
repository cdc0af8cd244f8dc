"""Sockets that travel between processes."""

import os
import socket

import pytest

from fastproxy.ipc.channel import ChannelError
from fastproxy.ipc.handover import handover_pair, receive_sockets, send_sockets


def test_a_socket_arrives_under_its_number_and_is_the_same_socket() -> None:
    """What is bound on one side is bound on the other: connections wait in one queue."""
    ours, theirs = handover_pair()
    with ours, theirs, socket.socket() as sent:
        sent.bind(("127.0.0.1", 0))
        send_sockets(ours, {7: sent})
        received = receive_sockets(theirs)

        assert list(received) == [7]
        with received[7] as got:
            assert got.getsockname() == sent.getsockname()
            assert got.fileno() != sent.fileno()
            assert not os.get_inheritable(got.fileno())


def test_several_hundred_sockets_arrive() -> None:
    """More than one message holds."""
    ours, theirs = handover_pair()
    with ours, theirs, socket.socket() as one:
        send_sockets(ours, dict.fromkeys(range(450), one))
        received = receive_sockets(theirs)

        assert sorted(received) == list(range(450))
        for sock in received.values():
            sock.close()


def test_nothing_sent_is_nothing_received() -> None:
    """The receiver must not wait: it serves requests."""
    ours, theirs = handover_pair()
    with ours, theirs:
        assert receive_sockets(theirs) == {}
        send_sockets(ours, {})
        assert receive_sockets(theirs) == {}


def test_a_peer_that_is_gone_is_an_error() -> None:
    """The supervisor replaces a worker that cannot take its sockets."""
    ours, theirs = handover_pair()
    theirs.close()
    with ours, socket.socket() as one, pytest.raises(ChannelError, match="cannot be handed over"):
        send_sockets(ours, {1: one})


def test_a_message_without_its_sockets_is_refused() -> None:
    """With too few descriptors left the kernel drops them in silence; serving with some of them is no choice."""
    ours, theirs = handover_pair()
    with ours, theirs:
        ours.send(b"\0\0\0\1")
        with pytest.raises(ChannelError, match="lost on the way"):
            receive_sockets(theirs)
