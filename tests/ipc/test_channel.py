"""The channel between control plane and worker, over a real socketpair."""

import asyncio
import re
import socket
import struct

import pytest

from fastproxy.ipc import channel as channel_module
from fastproxy.ipc.channel import Channel, ChannelError
from fastproxy.ipc.messages import (
    ClusterEndpoints,
    EndpointAddress,
    JwksRefreshRequest,
    ListenerSocket,
    Message,
    StatsSnapshot,
    WorkerInit,
)

MESSAGES: list[Message] = [
    WorkerInit(1, 2, "AAE=", "info", [ListenerSocket(0, 7), ListenerSocket(1, 9)]),
    ClusterEndpoints("c", [EndpointAddress("::1", 443, "a.test")]),
    ClusterEndpoints("c", [EndpointAddress("::1", 443, "", 3, 1, "r", "z", "s", 9, "DEGRADED", '{"a": {}}')]),
    StatsSnapshot(0, 3, {"a": 1}, {"b": -2}, {"h": [1, 2.5]}, {"c": {"1.1.1.1:1": {"cx_total": 5}}}),
    JwksRefreshRequest("p|c|https://x/\u00e9"),
]


async def open_pair() -> tuple[Channel, Channel]:
    left, right = socket.socketpair()
    return await Channel.open(left), await Channel.open(right)


async def test_messages_arrive_in_order_and_equal() -> None:
    """A worker's state is the sum of what it was told, in the order it was told."""
    left, right = await open_pair()
    for message in MESSAGES:
        left.send(message)

    received = [await right.receive() for _ in MESSAGES]

    assert received == MESSAGES
    left.close()
    right.close()


async def test_end_of_file_is_none_and_sending_afterwards_is_harmless() -> None:
    """Both sides learn of the other's death this way; main must not fail while it says good-bye."""
    left, right = await open_pair()
    left.close()

    assert await right.receive() is None
    right.close()
    right.send(MESSAGES[0])
    await right.drain()


async def test_peer_that_dies_inside_a_frame_is_gone_not_an_error() -> None:
    """A killed worker stops writing anywhere, also between two bytes of a message."""
    ours, theirs = socket.socketpair()
    channel = await Channel.open(ours)
    theirs.sendall(struct.pack("!I", 100) + b'{"type"')
    theirs.close()

    assert await channel.receive() is None
    channel.close()


@pytest.mark.parametrize(
    ("frame", "complaint"),
    [
        (b"[]", "not a JSON object"),
        (b"{", "not JSON"),
        (b'{"type":"Nope"}', "unknown message type"),
        (b'{"type":["Drain"]}', "unknown message type"),
        (b'{"type":"JwksRefreshRequest"}', "lacks source_id"),
        (b'{"type":"JwksRefreshRequest","source_id":1}', "JwksRefreshRequest.source_id has the wrong type"),
        (b'{"type":"JwksRefreshRequest","source_id":"a","more":1}', "does not know"),
        (b'{"type":"StatsRequest","request_id":true}', "wrong type"),
        (b'{"type":"ClusterEndpoints","cluster":"c","endpoints":[{"host":"h"}]}', "lacks hostname, port"),
        (b'{"type":"StatsSnapshot","worker_id":0,"request_id":0,"counters":{}}', "lacks gauges, histograms, hosts"),
        (b'{"type":"ClusterEndpoints","cluster":"c","endpoints":[1]}', "ClusterEndpoints.endpoints[] has the wrong"),
    ],
)  # fmt: skip
async def test_what_is_not_a_message_is_refused_by_field(frame: bytes, complaint: str) -> None:
    """Half a message would be half a policy; the complaint names the field and never shows its value."""
    ours, theirs = socket.socketpair()
    channel = await Channel.open(ours)
    theirs.sendall(struct.pack("!I", len(frame)) + frame)

    with pytest.raises(ChannelError, match=re.escape(complaint)):
        await channel.receive()
    channel.close()
    theirs.close()


async def test_frame_above_the_limit_is_refused_before_it_is_read() -> None:
    """A length that is nonsense must not become memory."""
    ours, theirs = socket.socketpair()
    channel = await Channel.open(ours)
    theirs.sendall(struct.pack("!I", 2**32 - 1))

    with pytest.raises(ChannelError, match="above the limit"):
        await channel.receive()
    channel.close()
    theirs.close()


async def test_peer_that_stops_reading_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hanging worker must not grow the control plane's memory without bound."""
    monkeypatch.setattr(channel_module, "MAX_BUFFERED_BYTES", 100_000)
    ours, theirs = socket.socketpair()
    channel = await Channel.open(ours)
    message = JwksRefreshRequest("x" * 50_000)

    def flood() -> None:
        for _ in range(100):
            channel.send(message)

    with pytest.raises(ChannelError, match="does not read"):
        flood()
    theirs.close()
    channel.close()
    await asyncio.sleep(0)


async def test_message_that_cannot_be_encoded_is_refused() -> None:
    """A lone surrogate from a broken peer must end as our error, not as an unknown one."""
    left, right = await open_pair()

    with pytest.raises(ChannelError, match="cannot be encoded"):
        left.send(JwksRefreshRequest("\ud800"))
    left.close()
    right.close()
