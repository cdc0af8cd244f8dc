"""Hands sockets from `main` to a worker, or from one `main` to its successor: SCM_RIGHTS, one number per socket.

Descriptors travel beside the messages, over a socketpair of their own, because the stream that carries the messages
is read by the event loop, which would drop them. They are sent before the message that names their numbers, so who
has that message finds them in the socket's queue and need not wait.
"""

import socket
import struct
from collections.abc import Mapping
from typing import Final

from fastproxy.ipc.codec import ChannelError

#: Linux takes 253 descriptors in one message (SCM_MAX_FD).
_MAX_PER_DATAGRAM: Final = 200
_NUMBER: Final = struct.Struct("!I")


def handover_pair() -> tuple[socket.socket, socket.socket]:
    """Make the two ends; neither blocks."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in (ours, theirs):
        end.setblocking(False)
    return ours, theirs


def send_sockets(via: socket.socket, sockets: Mapping[int, socket.socket]) -> None:
    """Send sockets under their numbers; the receiver gets descriptors of its own.

    Raises:
        ChannelError: the peer is gone, or has left too much unread.
    """
    numbers = sorted(sockets)
    for start in range(0, len(numbers), _MAX_PER_DATAGRAM):
        batch = numbers[start : start + _MAX_PER_DATAGRAM]
        payload = b"".join(_NUMBER.pack(number) for number in batch)
        try:
            socket.send_fds(via, [payload], [sockets[number].fileno() for number in batch])
        except OSError as error:
            raise ChannelError(f"sockets cannot be handed over: {error.strerror}") from error


def receive_sockets(via: socket.socket) -> dict[int, socket.socket]:
    """Take everything that was sent so far, by number.

    Raises:
        ChannelError: what came is not what `send_sockets` sends (as with too few descriptors left here).
    """
    received: dict[int, socket.socket] = {}
    while True:
        try:
            payload, fds, flags, _ = socket.recv_fds(via, _MAX_PER_DATAGRAM * _NUMBER.size, _MAX_PER_DATAGRAM)
        except BlockingIOError:
            return received
        if not payload:
            return received
        found = [socket.socket(fileno=fd) for fd in fds]
        if flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC) or len(payload) != len(found) * _NUMBER.size:
            for sock in (*found, *received.values()):
                sock.close()
            raise ChannelError("sockets were lost on the way: too many open files?")
        for sock in found:
            sock.setblocking(False)
            sock.set_inheritable(False)
        received.update(zip((number for (number,) in _NUMBER.iter_unpack(payload)), found, strict=True))
