"""The data plane of one process, seen from the control plane: messages in, sockets served, messages out.

A worker owns its process, so it gets one here, too: `python -m fastproxy.worker FD` as the supervisor starts it.
"""

import asyncio
import base64
import os
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastproxy.config import load_config
from fastproxy.ipc.channel import Channel
from fastproxy.ipc.handover import handover_pair, send_sockets
from fastproxy.ipc.messages import (
    ClusterEndpoints,
    Drain,
    Drained,
    EndpointAddress,
    JwksFetchFailed,
    JwksRefreshRequest,
    JwksUpdate,
    ListenerSocket,
    ReopenAccessLogs,
    SetLogLevel,
    StartServing,
    StatsRequest,
    StatsSnapshot,
    WorkerFailed,
    WorkerInit,
    WorkerReady,
)
from fastproxy.worker import _reason
from tests.filters.jwt_authn.support import JWKS
from tests.jwt.support import ISSUER, claims, sign

ROOT = Path(__file__).resolve().parent.parent

FILE = """
static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          access_log:
          - name: file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: LOG
              log_format: {text_format_source: {inline_string: "%RESPONSE_CODE% %REQ(:PATH)%\\n"}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /direct}
                direct_response: {status: 200, body: {inline_string: hello}}
              - match: {prefix: /}
                route: {cluster: service}
          http_filters:
          - name: envoy.filters.http.jwt_authn
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers:
                p:
                  issuer: ISSUER
                  audiences: [api]
                  remote_jwks: {http_uri: {uri: "http://127.0.0.1:1/certs", cluster: service, timeout: 5s}}
              rules:
              - match: {prefix: /guarded}
                requires: {provider_name: p}
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: service
    type: STRICT_DNS
    connect_timeout: 1s
    load_assignment:
      cluster_name: service
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: service.example, port_value: 80}}}
"""

TOKEN = sign("ES256", claims(iat=None, exp=4_000_000_000))
GUARDED = b"GET /guarded HTTP/1.1\r\nhost: a\r\nauthorization: Bearer " + TOKEN + b"\r\n\r\n"


class RunningWorker:
    """A worker seen from the control plane."""

    def __init__(self, channel: Channel, process: Process, port: int, log: Path) -> None:
        self.channel = channel
        self.process = process
        self.port = port
        self.log = log

    async def exit_code(self) -> int:
        """Wait for its end."""
        return await asyncio.wait_for(self.process.wait(), 30)

    async def receive(self, kind: type[Any]) -> Any:
        """The next message of a kind; unasked snapshots come in between."""
        while True:
            message = await asyncio.wait_for(self.channel.receive(), 30)
            assert message is not None, "the worker is gone"
            if isinstance(message, kind):
                return message

    async def snapshot(self, request_id: int = 7) -> StatsSnapshot:
        self.channel.send(StatsRequest(request_id))
        snapshot: StatsSnapshot = await self.receive(StatsSnapshot)
        while snapshot.request_id != request_id:
            snapshot = await self.receive(StatsSnapshot)
        return snapshot

    async def get(self, wire: bytes, end: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(wire)
        received = await asyncio.wait_for(reader.readuntil(end), 30)
        writer.close()
        await writer.wait_closed()
        return received


@asynccontextmanager
async def running_worker(directory: Path, *, bootstrap: bytes | None = None) -> AsyncIterator[RunningWorker]:
    log = directory / "access.log"
    if bootstrap is None:
        path = directory / "config.yaml"
        path.write_text(FILE.replace("LOG", str(log)).replace("ISSUER", ISSUER))
        bootstrap = load_config(path).bootstrap
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        channel, process = await start(listening)
    channel.send(
        WorkerInit(
            worker_id=3,
            concurrency=1,
            bootstrap=base64.b64encode(bootstrap).decode(),
            log_level="error",
            sockets=[ListenerSocket(0, 0)],
        )
    )
    try:
        yield RunningWorker(channel, process, port, log)
    finally:
        await end(channel, process)


async def start(*sockets: socket.socket) -> tuple[Channel, Process]:
    """Start the process; our end of the channel."""
    ours, theirs = socket.socketpair()
    our_handover, their_handover = handover_pair()
    with theirs, our_handover, their_handover:
        send_sockets(our_handover, dict(enumerate(sockets)))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fastproxy.worker", str(theirs.fileno()),
            str(their_handover.fileno()),
            pass_fds=(theirs.fileno(), their_handover.fileno()), env=dict(os.environ), cwd=ROOT,
        )  # fmt: skip
    return await Channel.open(ours), process


async def end(channel: Channel, process: Process) -> None:
    """The control plane goes away; the worker must follow."""
    channel.close()
    await asyncio.wait_for(process.wait(), 30)
    # The transport of our end is closed by a callback.
    await asyncio.sleep(0)


def endpoints(*ports: int) -> ClusterEndpoints:
    return ClusterEndpoints(
        "service", [EndpointAddress("127.0.0.1", port, "service.example") for port in ports]
    )


async def test_a_worker_learns_then_serves_then_drains(tmp_path: Path) -> None:
    """The whole life: nothing is accepted before StartServing, and the last words are a snapshot and Drained."""
    async with running_worker(tmp_path) as worker:
        worker.channel.send(endpoints())
        worker.channel.send(StartServing())
        ready = await worker.receive(WorkerReady)
        assert ready.worker_id == 3
        received = await worker.get(b"GET /direct HTTP/1.1\r\nhost: a\r\n\r\n", b"hello")
        assert received.startswith(b"HTTP/1.1 200 OK\r\n")
        received = await worker.get(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"no healthy upstream")
        assert received.startswith(b"HTTP/1.1 503 ")

        snapshot = await worker.snapshot()
        assert snapshot.worker_id == 3
        assert snapshot.counters["http.ingress.downstream_rq_total"] == 2
        assert snapshot.counters["http.ingress.jwt_authn.allowed"] == 2

        worker.channel.send(Drain(30.0))
        last = await worker.receive(StatsSnapshot)
        assert last.counters["http.ingress.downstream_rq_total"] == 2
        assert (await worker.receive(Drained)).worker_id == 3
        assert await worker.exit_code() == 0
    assert worker.log.read_text() == "200 /direct\n503 /\n"


async def test_requests_before_the_first_keys_wait_for_them(tmp_path: Path) -> None:
    """One request for keys to the control plane; its answer serves all who wait."""
    async with running_worker(tmp_path) as worker:
        worker.channel.send(StartServing())
        await worker.receive(WorkerReady)
        waiting = [
            asyncio.get_running_loop().create_task(worker.get(GUARDED, b"no healthy upstream"))
            for _ in range(3)
        ]
        source = (await worker.receive(JwksRefreshRequest)).source_id
        while (await worker.snapshot()).gauges["http.ingress.downstream_rq_active"] < 3:
            await asyncio.sleep(0)
        worker.channel.send(JwksUpdate(source, 1, JWKS.decode()))
        for received in await asyncio.gather(*waiting):
            assert received.startswith(b"HTTP/1.1 503 Service Unavailable")
        assert (await worker.snapshot()).counters["http.ingress.jwt_authn.allowed"] == 3


async def test_a_failed_fetch_answers_those_who_wait(tmp_path: Path) -> None:
    """503 with `retry-after`, at once."""
    async with running_worker(tmp_path) as worker:
        worker.channel.send(StartServing())
        await worker.receive(WorkerReady)
        waiting = asyncio.get_running_loop().create_task(worker.get(GUARDED, b"is failed"))
        source = (await worker.receive(JwksRefreshRequest)).source_id
        worker.channel.send(JwksFetchFailed(source, "refused"))
        assert b"\r\nretry-after: 1\r\n" in await waiting


async def test_endpoints_can_change_while_serving(tmp_path: Path) -> None:
    """DNS answers arrive all the time; messages about clusters that are not ours are nobody's."""
    async with running_worker(tmp_path) as worker:
        worker.channel.send(StartServing())
        await worker.receive(WorkerReady)
        worker.channel.send(ClusterEndpoints("unknown", []))
        worker.channel.send(endpoints(1, 2))
        assert set((await worker.snapshot()).hosts["service"]) == {"127.0.0.1:1", "127.0.0.1:2"}
        worker.channel.send(endpoints(2))
        assert set((await worker.snapshot()).hosts["service"]) == {"127.0.0.1:2"}


async def test_logs_follow_the_operator(tmp_path: Path) -> None:
    """Access logs are reopened after a rotation, and the level can be changed."""
    async with running_worker(tmp_path) as worker:
        worker.channel.send(StartServing())
        await worker.receive(WorkerReady)
        await worker.get(b"GET /direct HTTP/1.1\r\nhost: a\r\n\r\n", b"hello")
        worker.log.rename(tmp_path / "rotated.log")
        worker.channel.send(ReopenAccessLogs())
        worker.channel.send(SetLogLevel("critical"))
        worker.channel.send(SetLogLevel("debug", "jwt_authn"))
        await worker.snapshot()
        assert (tmp_path / "rotated.log").read_text() == "200 /direct\n"
        assert worker.log.read_text() == ""


async def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    """The control plane tells the operator, instead of restarting it for ever without a word."""
    async with running_worker(tmp_path, bootstrap=b"\xff\xff") as worker:
        failed = await worker.receive(WorkerFailed)
        assert failed.worker_id == 3
        assert failed.reason
        assert await worker.exit_code() == 1


def test_s53_only_errors_worded_for_operators_are_repeated() -> None:
    """Any other text might quote the configuration, and with it a secret."""
    assert _reason(OSError(24, "Too many open files")) == "[Errno 24] Too many open files"
    reason = _reason(KeyError("a-secret-of-the-file"))
    assert "KeyError" in reason
    assert "a-secret-of-the-file" not in reason


async def test_a_worker_whose_control_plane_is_gone_ends(tmp_path: Path) -> None:
    """Before it serves, and while it does: nobody would ever stop it."""
    async with running_worker(tmp_path) as worker:
        worker.channel.close()
        assert await worker.exit_code() == 0
    async with running_worker(tmp_path) as worker:
        worker.channel.send(StartServing())
        await worker.receive(WorkerReady)
        worker.channel.close()
        assert await worker.exit_code() == 0


async def test_the_first_message_must_be_the_init() -> None:
    """Anything else is no control plane of ours."""
    channel, process = await start()
    channel.send(StartServing())
    assert await asyncio.wait_for(process.wait(), 30) == 1
    await end(channel, process)
