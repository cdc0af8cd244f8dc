# Invariant: what listener filters make of a connection depends on its bytes alone, not on the pieces that they come in
# or on the kind of socket; nothing raises, and nothing waits when it is over.
"""Fuzzing the begin of a connection: PROXY headers and ClientHellos, whole, broken, in pieces, on real sockets."""

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.listener.opening import Opening
from fastproxy.listener.settings import ListenerFilterSettings, ProxyProtocolSettings, TlsInspectorSettings
from fastproxy.listener.stats import ListenerStats
from tests.listener.test_client_hello import hello_of
from tests.listener.test_proxy_header import V4, v2

_HELLO = hello_of("a.test", ("http/1.1",))
_V1 = b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\n"
_FRAGMENTS = st.sampled_from([
    _V1, b"PROXY TCP6 ::1 ::2 3 4\r\n", b"PROXY UNKNOWN\r\n", b"PROXY ", b"TCP4 ", b"192.0.2.1 ", b"1 2",
    b"\r\n", b"%\n",
    v2(V4), v2(V4 + b"\x04\0\x03abc"), v2(V4, command=0x20), v2(V4[:-1]), v2(V4)[:14],
    _HELLO, _HELLO[:5], _HELLO[:60], _HELLO[60:], b"\x16\x03\x01", b"\x16", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 200,
])  # fmt: skip
_WIRES = st.lists(st.one_of(_FRAGMENTS, st.binary(max_size=20)), max_size=6)
_FILTERS: tuple[tuple[ListenerFilterSettings, ...], ...] = (
    (ProxyProtocolSettings(),),
    (ProxyProtocolSettings(optional=True), TlsInspectorSettings()),
    (ProxyProtocolSettings(versions=frozenset((2,))), TlsInspectorSettings(refuses_malformed=True)),
    (TlsInspectorSettings(max_client_hello_bytes=100),),
)


def _pair(family: socket.AddressFamily) -> tuple[socket.socket, socket.socket]:
    if family == socket.AF_UNIX:
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        return peer, server.accept()[0]


async def _open(
    wire: bytes, step: int, family: socket.AddressFamily, filters: Sequence[ListenerFilterSettings]
) -> tuple[Any, ...]:
    """What becomes of a connection: refused, or whom it comes from, what it asks for, and the bytes left in it."""
    peer, ours = _pair(family)
    ours.setblocking(False)
    peer.setblocking(False)
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[str] = loop.create_future()
    info = ConnectionInfo(("127.0.0.1", 1), ("127.0.0.1", 2))
    with peer:
        opening = Opening(
            ours,
            info,
            filters,
            ListenerStats(),
            loop,
            # A second answer would raise.
            on_decided=lambda _: ended.set_result("decided"),
            on_closed=lambda _: ended.set_result("closed"),
        )
        opening.start(60.0, continues=False)
        at = 0
        while at < len(wire) and not (ended.done() and ended.result() == "closed"):
            # When it is over nobody reads until all is sent, and a buffer does not hold many small pieces.
            size = len(wire) if ended.done() else step
            await loop.sock_sendall(peer, wire[at : at + size])
            at += size
            # Now and then it has a look between two pieces.
            await asyncio.sleep(0)
        if not (ended.done() and ended.result() == "closed"):
            peer.shutdown(socket.SHUT_WR)
        outcome = await asyncio.wait_for(ended, 30)
        assert (opening._timer, opening._pause, opening._reading) == (None, None, False)
        if outcome == "closed":
            assert ours.fileno() == -1
            return (outcome,)
        left = b""
        with ours:
            while data := await loop.sock_recv(ours, 65536):
                left += data
        return (
            outcome,
            info.remote_address,
            info.transport_protocol,
            info.requested_server_name,
            info.application_protocols,
            left,
        )


@pytest.mark.parametrize("filters", _FILTERS)
@settings(max_examples=40, deadline=None)
@given(pieces=_WIRES, step=st.sampled_from([1, 7, 50]))
def test_pieces_and_sockets_make_no_difference(
    filters: tuple[ListenerFilterSettings, ...], pieces: list[bytes], step: int
) -> None:
    """Who can choose where a header is cut must not be able to choose who he is."""
    wire = b"".join(pieces)
    whole = asyncio.run(_open(wire, 65536, socket.AF_INET, filters))
    for family in (socket.AF_INET, socket.AF_UNIX):
        # The pieces of a Unix domain socket's buffer cost hundreds of bytes each.
        size = max(step, 20) if family == socket.AF_UNIX else step
        assert asyncio.run(_open(wire, size, family, filters)) == whole
    if whole[0] == "decided":
        assert wire.endswith(whole[-1])
