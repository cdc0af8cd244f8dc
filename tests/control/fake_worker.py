"""A worker without a data plane: speaks the real protocol with `main`, and tells its visitors what it was told.

Run as `python fake_worker.py FD FD`. The "bootstrap" is JSON: `{"mode": "serve" | "fail" | "crash" | "crash-once" |
"refuse" | "mute" | "die", "marker": FILE}`; the last three are met by a reload. A visitor sends one line and reads one
JSON line:

    state            what this worker knows
    die              end without a word
    refresh SOURCE   send JwksRefreshRequest
    hold             keep this connection "in flight" until the visitor sends another line
"""

import asyncio
import base64
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

from fastproxy.ipc.channel import Channel
from fastproxy.ipc.handover import receive_sockets
from fastproxy.ipc.messages import (
    Abort,
    ClusterEndpoints,
    Commit,
    Drain,
    Drained,
    JwksFetchFailed,
    JwksRefreshRequest,
    JwksUpdate,
    ListenerSocket,
    Message,
    Prepare,
    Prepared,
    PrepareFailed,
    ReopenAccessLogs,
    SetLogLevel,
    StartServing,
    StatsRequest,
    StatsSnapshot,
    Switched,
    WorkerFailed,
    WorkerInit,
    WorkerReady,
)
from fastproxy.tasks import spawn


class FakeWorker:
    def __init__(self, channel: Channel, init: WorkerInit, handover: socket.socket) -> None:
        self.handover = handover
        self.sockets = receive_sockets(handover)
        self.channel = channel
        self.init = init
        self.known: dict[str, Any] = {"endpoints": {}, "jwks": {}, "levels": [], "reopened": 0}
        self.visits = 0
        self.in_flight = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self.servers: dict[int, asyncio.Server] = {}
        self.generation = init.generation
        self.prepared: Prepare | None = None
        self.committing = False

    async def listen(self, entries: list[ListenerSocket]) -> None:
        for number in self.servers.keys() - {entry.number for entry in entries}:
            self.servers.pop(number).close()
        for entry in entries:
            if entry.number not in self.servers:
                sock = self.sockets.pop(entry.number)
                self.servers[entry.number] = await asyncio.start_server(self.on_visitor, sock=sock)

    def prepare(self, message: Prepare) -> None:
        mode = json.loads(base64.b64decode(message.bootstrap)).get("mode", "serve")
        self.sockets.update(receive_sockets(self.handover))
        if mode == "die":
            os._exit(3)
        if mode == "refuse":
            reason = "the access log cannot be opened"
            self.channel.send(PrepareFailed(self.init.worker_id, message.generation, reason))
        elif mode != "mute":
            self.prepared = message
            self.channel.send(Prepared(self.init.worker_id, message.generation))

    async def switch(self) -> None:
        assert self.prepared is not None
        self.generation, self.known["kept"] = self.prepared.generation, self.prepared.kept_sources
        await self.listen(self.prepared.sockets)
        self.prepared, self.committing = None, False
        self.channel.send(Switched(self.init.worker_id, self.generation))

    async def on_visitor(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        command, _, argument = (await reader.readline()).decode().strip().partition(" ")
        if command == "die":
            os._exit(3)
        if command == "refresh":
            self.channel.send(JwksRefreshRequest(argument))
        if command == "hold":
            self.in_flight += 1
            self.idle.clear()
            writer.write(b"held\n")
            await reader.readline()
            self.in_flight -= 1
            if not self.in_flight:
                self.idle.set()
        state = {
            "worker": self.init.worker_id,
            "pid": os.getpid(),
            "log_level": self.init.log_level,
            "generation": self.generation,
            **self.known,
        }
        writer.write(json.dumps(state).encode() + b"\n")
        await writer.drain()
        writer.close()

    def on_message(self, message: Message) -> None:
        if isinstance(message, ClusterEndpoints):
            self.known["endpoints"][message.cluster] = [
                [e.host, e.port, e.hostname] for e in message.endpoints
            ]
        elif isinstance(message, JwksUpdate):
            self.known["jwks"][message.source_id] = [message.epoch, message.jwks]
        elif isinstance(message, JwksFetchFailed):
            self.known["jwks"].setdefault(message.source_id, ["failed", message.reason])
        elif isinstance(message, SetLogLevel):
            self.known["levels"].append([message.level, message.component])
        elif isinstance(message, ReopenAccessLogs):
            self.known["reopened"] += 1
        elif isinstance(message, StatsRequest):
            self.channel.send(
                StatsSnapshot(
                    self.init.worker_id,
                    message.request_id,
                    {"http.ingress.downstream_cx_total": self.visits},
                    {"http.ingress.downstream_cx_active": self.in_flight},
                    {},
                    {},
                )
            )
        elif isinstance(message, Prepare):
            self.prepare(message)
        elif isinstance(message, Commit):
            self.known["endpoints"], self.known["jwks"], self.committing = {}, {}, True
        elif isinstance(message, Abort):
            self.prepared = None
        elif isinstance(message, StartServing):
            spawn(self.switch(), name="switch")
        elif isinstance(message, Drain):
            spawn(self.drain(), name="drain")

    async def drain(self) -> None:
        for server in self.servers.values():
            server.close()
        await self.idle.wait()
        self.channel.send(Drained(self.init.worker_id))
        await self.channel.drain()
        self.channel.close()


def claim(marker: Path) -> bool:
    """Say whether this process is the first to come; of several at once only one is."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


async def run(fd: int, handover_fd: int) -> int:
    channel = await Channel.open(socket.socket(fileno=fd))
    init = await channel.receive()
    if not isinstance(init, WorkerInit):
        return 0
    behaviour = json.loads(base64.b64decode(init.bootstrap))
    mode, marker = behaviour.get("mode", "serve"), Path(behaviour.get("marker", "/nonexistent"))
    if mode == "fail":
        channel.send(WorkerFailed(init.worker_id, "local JWKS cannot be read"))
        await channel.drain()
        return 1
    if mode == "crash" or (mode == "crash-once" and claim(marker)):
        return 7
    if mode == "silent":
        await asyncio.Event().wait()
    worker = FakeWorker(channel, init, socket.socket(fileno=handover_fd))
    while not isinstance(message := await channel.receive(), StartServing):
        if message is None:
            return 0
        worker.on_message(message)
    await worker.listen(init.sockets)
    channel.send(WorkerReady(init.worker_id))
    while (message := await channel.receive()) is not None:
        worker.on_message(message)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(run(int(sys.argv[1]), int(sys.argv[2]))))
