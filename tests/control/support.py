"""Builders and peers that the control plane's tests share."""

import asyncio
import datetime as dt
import ipaddress
import json
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from jwt.algorithms import ECAlgorithm

from fastproxy.config.settings import AdminSettings, ProxySettings
from fastproxy.control.options import ControlOptions
from fastproxy.filters.jwt_authn.settings import (
    JwtAuthnSettings,
    LocalJwksSettings,
    ProviderSettings,
    RemoteJwksSettings,
)
from fastproxy.listener.settings import (
    FilterChainSettings,
    HttpConnectionManagerSettings,
    HttpFilterSettings,
    ListenerSettings,
)
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


def local_provider(jwks: bytes, name: str = "local", filename: str = "") -> ProviderSettings:
    origin = f"file {filename}" if filename else "inline_string"
    return ProviderSettings(name, "https://issuer.test", (), LocalJwksSettings(jwks, origin, filename))


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
    return ListenerSettings(name, "127.0.0.1", port, (FilterChainSettings(http),))


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


class Certificates:
    """A private CA and a certificate for issuer.test."""

    def __init__(self, directory: Path) -> None:
        now = dt.datetime.now(tz=dt.UTC)
        ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test ca")])
        ca = (
            x509.CertificateBuilder().subject_name(ca_name).issuer_name(ca_name).public_key(ca_key.public_key())
            .serial_number(1).not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
            .sign(ca_key, hashes.SHA256())
        )  # fmt: skip
        names = [x509.DNSName("issuer.test"), x509.IPAddress(ipaddress.ip_address("127.0.0.9"))]
        leaf = (
            x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(ca_name).public_key(key.public_key())
            .serial_number(2).not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
            )
            .sign(ca_key, hashes.SHA256())
        )  # fmt: skip
        self.ca_pem = ca.public_bytes(serialization.Encoding.PEM).decode()
        chain = directory / "leaf.pem"
        chain.write_bytes(
            leaf.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(chain)


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
        self.answers: dict[str, Answer] = {}
        """By path, before `answer`."""
        self.requests: list[str] = []
        self.requested = asyncio.Event()
        self.port = 0

    async def on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head.decode())
            self.requested.set()
            answer = self.answers.get(head.split(b" ")[1].decode().partition("?")[0], self.answer)
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
