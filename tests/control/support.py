"""Builders and peers that the control plane's tests share."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from fastproxy.config.settings import AdminSettings, ProxySettings
from fastproxy.control.options import ControlOptions
from fastproxy.filters.jwt_authn.settings import (
    JwtAuthnSettings,
    LocalJwksSettings,
    ProviderSettings,
    RemoteJwksSettings,
)
from fastproxy.listener.settings import HttpConnectionManagerSettings, HttpFilterSettings, ListenerSettings
from fastproxy.router.settings import RouteConfigurationSettings
from fastproxy.upstream.settings import ClusterSettings, EndpointSettings, UpstreamTlsSettings

FAKE_WORKER = (sys.executable, str(Path(__file__).with_name("fake_worker.py")))


def provider(
    uri: str = "http://issuer.test/certs",
    *,
    name: str = "p",
    cluster: str = "keys",
    timeout_s: float = 5.0,
    cache_duration_s: float = 300.0,
    max_stale_s: float = 3600.0,
) -> ProviderSettings:
    remote = RemoteJwksSettings(uri, cluster, timeout_s, cache_duration_s)
    return ProviderSettings(name, "https://issuer.test", (), remote, max_stale_s=max_stale_s)


def local_provider(jwks: bytes, name: str = "local") -> ProviderSettings:
    return ProviderSettings(name, "https://issuer.test", (), LocalJwksSettings(jwks, "inline_string"))


def cluster(
    name: str, *ports: int, host: str = "127.0.0.1", tls: UpstreamTlsSettings | None = None
) -> ClusterSettings:
    return ClusterSettings(name, endpoints=tuple(EndpointSettings(host, port) for port in ports), tls=tls)


def listener(
    name: str = "main", port: int = 0, providers: Iterable[ProviderSettings] = ()
) -> ListenerSettings:
    filters = (
        HttpFilterSettings("jwt", JwtAuthnSettings(providers={entry.name: entry for entry in providers})),
    )
    http = HttpConnectionManagerSettings("ingress", RouteConfigurationSettings("routes", ()), filters)
    return ListenerSettings(name, "127.0.0.1", port, http)


def proxy_settings(
    *listeners: ListenerSettings, clusters: tuple[ClusterSettings, ...] = (), admin: bool = False
) -> ProxySettings:
    return ProxySettings(listeners, clusters, AdminSettings("127.0.0.1", 0) if admin else None)


def behaviour(mode: str = "serve", **more: str) -> bytes:
    return json.dumps({"mode": mode, **more}).encode()


def options(**more: Any) -> ControlOptions:
    return ControlOptions(**{"worker_argv": FAKE_WORKER, "drain_time_s": 30.0, **more})


async def ask(port: int, command: str = "state") -> dict[str, Any]:
    """Visit a fake worker."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(command.encode() + b"\n")
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return dict(json.loads(answer)) if answer else {}


async def until(condition: Callable[[], Awaitable[bool]] | Callable[[], bool]) -> None:
    """Poll a condition that another process makes true; pytest's timeout is the bound."""
    while True:
        result = condition()
        if await result if isinstance(result, Awaitable) else result:
            return
        await asyncio.sleep(0.01)


def jwk(kid: str, **more: Any) -> dict[str, Any]:
    """Make a fresh public P-256 key."""
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    return {**ECAlgorithm.to_jwk(public, as_dict=True), "kid": kid, "alg": "ES256", "use": "sig", **more}


def jwks(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


@dataclass
class Answer:
    """What the scripted key server says next."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    hang: bool = False


class KeyServer:
    """An identity provider's key endpoint on a real socket: answers as told and records every request head."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[str] = []
        self.requested = asyncio.Event()
        self.port = 0

    async def on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head.decode())
            self.requested.set()
            answer = self.answer
            if answer.raw is not None:
                writer.write(answer.raw)
            else:
                headers = {"content-length": str(len(answer.body)), "connection": "close", **answer.headers}
                lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                writer.write(f"HTTP/1.1 {answer.status} x\r\n{lines}\r\n".encode() + answer.body)
            await writer.drain()
            if answer.hang:
                await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @property
    def uri(self) -> str:
        return "http://issuer.test:8443/certs?realm=a%2Fb"


@asynccontextmanager
async def key_server(answer: Answer, ssl_context: Any = None) -> AsyncIterator[KeyServer]:
    server = KeyServer(answer)
    listening = await asyncio.start_server(server.on_connection, "127.0.0.1", 0, ssl=ssl_context)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await listening.wait_closed()
