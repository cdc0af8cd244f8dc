"""WebSocket with real clients and a real server: the `websockets` library, and what browsers have (WHATWG)."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from fastproxy import clock
from tests.conftest import require_peer
from tests.e2e.conftest import StartFastProxy
from tests.e2e.support.proxies import Config, Ports, RunningProxy, workers_of
from tests.e2e.support.templates import bootstrap, cluster, forward, jwt_authn, listener, rule, virtual_host
from tests.e2e.support.wire import PATIENCE_S
from tests.filters.jwt_authn.support import JWKS, token
from tests.jwt.support import ISSUER

_MIB = 1024 * 1024


async def _answer(connection: ServerConnection) -> None:
    """Echo; `flood N` sends N MiB, `close` closes with a code and a reason."""
    async for message in connection:
        if isinstance(message, str) and message.startswith("flood "):
            for _ in range(int(message.split()[1])):
                await connection.send(bytes(_MIB))
        elif message == "close":
            await connection.close(4001, "enough")
        elif message == "path":
            assert connection.request is not None
            await connection.send(
                f"{connection.request.path} {connection.request.headers.get('authorization')}"
            )
        else:
            await connection.send(message)


def _select_subprotocol(
    _connection: ServerConnection, offered: Sequence[websockets.Subprotocol]
) -> websockets.Subprotocol | None:
    return offered[0] if offered else None


@pytest.fixture
async def upstream_port() -> AsyncIterator[int]:
    """A WebSocket server that echoes."""
    async with serve(
        _answer, "127.0.0.1", 0, max_size=64 * _MIB, select_subprotocol=_select_subprotocol
    ) as server:
        yield next(iter(server.sockets)).getsockname()[1]


@pytest.fixture
async def proxy(start_fastproxy: StartFastProxy, upstream_port: int) -> RunningProxy:
    """FastProxy before it: `plain` is open, `closed` wants a token."""
    provider = {
        "issuer": ISSUER,
        "audiences": ["api"],
        "local_jwks": {"inline_string": JWKS.decode()},
        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
        "from_params": ["access_token"],
        "from_cookies": ["session"],
    }

    def template(ports: Ports) -> Config:
        hosts = [virtual_host("all", ["*"], [forward({"prefix": "/"}, timeout="2s")])]
        options = {"upgrade_configs": [{"upgrade_type": "websocket"}]}
        closed = [jwt_authn({"p": provider}, [rule({"prefix": "/"}, "p")])]
        return bootstrap(
            ports["admin"],
            [
                listener("plain", ports["plain"], hosts, options=options),
                listener("closed", ports["closed"], hosts, options=options, filters=closed),
            ],
            [cluster("echo", upstream_port)],
        )

    return await asyncio.to_thread(start_fastproxy, template, listeners=("plain", "closed"))


async def test_messages_of_every_kind_and_size_come_back(proxy: RunningProxy) -> None:
    """Text, binary, fragments, pings, an empty frame, compression, 16 MiB in one frame."""
    uri = f"ws://127.0.0.1:{proxy.ports['plain']}/chat?room=1"
    async with connect(uri, max_size=64 * _MIB, subprotocols=[websockets.Subprotocol("chat")]) as client:
        assert client.subprotocol == "chat"
        for message in ("hello", "", b"\x00\xff", "ü" * 70_000, bytes(range(256)) * 4096):
            await client.send(message)
            assert await client.recv() == message
        await client.send(["in ", "three ", "pieces"])
        assert await client.recv() == "in three pieces"
        await (await client.ping(b"are you there"))
        large = os.urandom(16 * _MIB)
        await client.send(large)
        assert await client.recv() == large


async def test_a_close_passes_with_its_code_and_reason(proxy: RunningProxy) -> None:
    """From either side."""
    uri = f"ws://127.0.0.1:{proxy.ports['plain']}/"
    async with connect(uri) as client:
        await client.send("close")
        with pytest.raises(websockets.ConnectionClosedError) as caught:
            await client.recv()
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4001, "enough")
    async with connect(uri) as client:
        await client.close(4002, "me too")
        assert client.close_code == 4002


async def test_a_slow_reader_holds_the_sender_back(proxy: RunningProxy) -> None:
    """64 MiB for a client that takes its time: the proxy must not keep them, nor lose a byte."""
    uri = f"ws://127.0.0.1:{proxy.ports['plain']}/"
    async with connect(uri, max_size=2 * _MIB, max_queue=1, ping_interval=None) as client:
        (worker,) = workers_of(proxy)
        before = _peak_bytes(worker)
        await client.send("flood 64")
        for _ in range(64):
            assert len(await client.recv()) == _MIB
            # Slower than the proxy could be; whatever the upstream sends meanwhile has to wait there.
            await asyncio.to_thread(proxy.admin, "/ready")
        assert _peak_bytes(worker) - before < 16 * _MIB
        await client.send("still there")
        assert await client.recv() == "still there"


async def test_a_thousand_short_connections_leave_nothing_behind(proxy: RunningProxy) -> None:
    """Each is a handshake, a message, and a close."""
    uri = f"ws://127.0.0.1:{proxy.ports['plain']}/"

    async def talk(number: int) -> None:
        async with connect(uri, compression=None) as client:
            await client.send(str(number))
            assert await client.recv() == str(number)

    for start in range(0, 1000, 50):
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(talk(number) for number in range(start, start + 50)))
    stats = (await asyncio.to_thread(proxy.admin, "/stats"))[1]
    assert _counter(stats, "http.plain.downstream_cx_upgrades_total") == 1000
    assert _counter(stats, "cluster.echo.upstream_rq_total") == 1000


def _peak_bytes(pid: int) -> int:
    """The most memory that a process ever had resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(pid)


def _token() -> str:
    now = int(clock.unix_time())
    return token(iat=now, exp=now + 3600).decode()


def _counter(stats: str, name: str) -> int:
    for line in stats.splitlines():
        key, _, value = line.partition(": ")
        if key == name:
            return int(value)
    return 0


async def test_the_handshake_needs_a_token_wherever_a_client_can_put_one(proxy: RunningProxy) -> None:
    """A browser can set neither header nor method: query and cookie are what it has."""
    uri = f"ws://127.0.0.1:{proxy.ports['closed']}/a"
    good = _token()
    with pytest.raises(websockets.InvalidStatus) as caught:
        async with connect(uri):
            pass
    assert caught.value.response.status_code == 401
    for target, headers in (
        (uri, {"authorization": f"Bearer {good}"}),
        (uri, {"cookie": f"session={good}"}),
        (f"{uri}?access_token={good}", {}),
    ):
        async with connect(target, additional_headers=headers) as client:
            await client.send("path")
            # The token is for the proxy alone.
            assert await client.recv() == "/a None"


_BROWSER = """
const [uri] = process.argv.slice(1);
const socket = new WebSocket(uri, ["chat"]);
const seen = [];
socket.binaryType = "arraybuffer";
socket.onopen = () => { seen.push("open " + socket.protocol); socket.send("hello"); };
socket.onmessage = (event) => {
  if (typeof event.data === "string") { seen.push(event.data); socket.send(new Uint8Array(300000)); }
  else { seen.push("bytes " + event.data.byteLength); socket.send("close"); }
};
socket.onclose = (event) => {
  console.log([...seen, `close ${event.code} ${event.reason}`].join("\\n"));
  process.exit(0);
};
socket.onerror = () => { seen.push("error"); };
"""


@pytest.mark.peer("node")
async def test_the_websocket_of_browsers_works(proxy: RunningProxy) -> None:
    """Node has the WHATWG interface, and the handshake that browsers do."""
    node = require_peer("node")
    uri = f"ws://127.0.0.1:{proxy.ports['closed']}/a?access_token={_token()}"
    done = await asyncio.to_thread(_run_node, node, uri)
    assert done.stdout.splitlines() == ["open chat", "hello", "bytes 300000", "close 4001 enough"], (
        done.stderr
    )


def _run_node(node: Path, uri: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [node, "--no-warnings", "--experimental-websocket", "-e", _BROWSER, uri],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
