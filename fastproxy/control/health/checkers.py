"""One check of one endpoint: HTTP, TCP or gRPC. Answers are limited, never followed, and none of their bytes is kept.

A checker bounds nothing in time; who calls it does.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Final, Protocol

import aiohttp
from yarl import URL

from fastproxy.control.health.connecting import open_streams, os_reason, pipe_path
from fastproxy.control.health.state import CheckResult, FailureKind
from fastproxy.control.health.target import Target
from fastproxy.control.health.tls_relay import TlsRelay
from fastproxy.upstream.health.settings import (
    GrpcCheckSettings,
    HealthCheckSettings,
    HttpCheckSettings,
    TcpCheckSettings,
)

#: A body is read so that the connection can be used again; one that is longer costs the connection.
_MAX_BODY_BYTES: Final = 1024 * 1024
#: What is kept of a TCP answer while its payloads are looked for.
_MAX_TCP_BYTES: Final = 64 * 1024
_USER_AGENT: Final = "Envoy/HC"
#: An idle connection for checks is kept over the longest usual interval.
_KEEPALIVE_S: Final = 600.0
PASSED: Final = CheckResult()


class Checker(Protocol):
    """Checks one endpoint, again and again."""

    async def check(self) -> CheckResult:
        """Check now."""
        ...

    async def close(self) -> None:
        """Close what is open."""
        ...


def make_checker(settings: HealthCheckSettings, target: Target) -> Checker:
    """Make the checker that the settings ask for."""
    what = settings.checker
    if isinstance(what, HttpCheckSettings):
        return HttpChecker(what, target, reuse=settings.reuse_connection)
    if isinstance(what, TcpCheckSettings):
        return TcpChecker(what, target, reuse=settings.reuse_connection)
    return _grpc_checker(what, target, reuse=settings.reuse_connection)


def _grpc_checker(settings: GrpcCheckSettings, target: Target, *, reuse: bool) -> Checker:
    # Loading the library costs 30 ms and some MiB, which few need.
    from fastproxy.control.health.grpc_checker import GrpcChecker  # noqa: PLC0415

    return GrpcChecker(settings, target, reuse=reuse)


class HttpChecker:
    """`http_health_check`."""

    def __init__(self, settings: HttpCheckSettings, target: Target, *, reuse: bool) -> None:
        self._settings = settings
        self._target = target
        self._reuse = reuse
        self._session: aiohttp.ClientSession | None = None
        self._relay = None if target.announces is None else TlsRelay(target)
        """Sends the PROXY header, and shakes hands behind it."""
        scheme = "http" if target.tls is None or self._relay is not None else "https"
        # The path as it stands: a health check must not be rewritten.
        place = "localhost" if target.address.is_pipe else str(target.address)
        self._url = URL(f"{scheme}://{place}{settings.path}", encoded=True)
        headers = {
            "host": target.authority(settings.host),
            "user-agent": _USER_AGENT,
            **dict(settings.headers_to_add),
        }
        self._headers = {
            name: value for name, value in headers.items() if name not in settings.headers_to_remove
        }

    async def check(self) -> CheckResult:
        """Ask once; redirects are answers like any other."""
        context = None if self._relay is not None else self._target.context
        session = await self._open_session()
        exchange = session.request(
            self._settings.method,
            self._url,
            headers=self._headers,
            data=self._settings.send or None,
            allow_redirects=False,
            ssl=True if context is None else context,
            server_hostname=None if context is None else self._target.server_hostname,
            timeout=aiohttp.ClientTimeout(total=None),
        )
        try:
            async with exchange as response:
                return await self._judge(response)
        except aiohttp.ClientConnectorError as error:
            return CheckResult(FailureKind.NETWORK, reason=_connect_reason(error))
        except (aiohttp.ClientError, ValueError, OSError) as error:
            if self._relay is not None and self._relay.failure:
                return CheckResult(FailureKind.NETWORK, reason=self._relay.failure)
            # Its text may quote the peer's bytes; the type says enough.
            return CheckResult(FailureKind.NETWORK, reason=f"broke the exchange off ({type(error).__name__})")

    async def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            await self._session.close()
        if self._relay is not None:
            await self._relay.close()

    async def _judge(self, response: aiohttp.ClientResponse) -> CheckResult:
        status = response.status
        body = await self._read(response)
        if not any(one.includes(status) for one in self._settings.expected):
            retriable = any(one.includes(status) for one in self._settings.retriable)
            return CheckResult(
                FailureKind.ACTIVE, retriable=retriable, reason=f"status {status}", status=status
            )
        if not has_blocks(body, self._settings.receive):
            return CheckResult(FailureKind.ACTIVE, reason="the body is not the expected one", status=status)
        return CheckResult(degraded="x-envoy-degraded" in response.headers, status=status)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """Read to the end; the beginning is returned."""
        kept, length = bytearray(), 0
        wanted = self._settings.response_buffer_bytes if self._settings.receive else 0
        async for chunk in response.content.iter_any():
            length += len(chunk)
            if len(kept) < wanted:
                kept += chunk[: wanted - len(kept)]
            if length > _MAX_BODY_BYTES:
                response.close()
                break
        return bytes(kept)

    async def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            options: dict[str, Any] = {"force_close": True} if not self._reuse else {}
            if self._reuse:
                options["keepalive_timeout"] = _KEEPALIVE_S
            address, path = self._target.address, ""
            if self._relay is not None:
                path = "\0" + await self._relay.open()
            elif address.is_pipe:
                path = pipe_path(address)
            connector = (
                aiohttp.UnixConnector(path, limit=0, **options)
                if path
                else aiohttp.TCPConnector(limit=0, **options)
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
            )
        return self._session


class TcpChecker:
    """`tcp_health_check`."""

    def __init__(self, settings: TcpCheckSettings, target: Target, *, reuse: bool) -> None:
        self._settings = settings
        self._target = target
        # To be connected to is all there is to find out; a kept connection would find out nothing more.
        self._reuse = reuse and bool(settings.receive)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def check(self) -> CheckResult:
        """Connect, send, and look for the payloads."""
        try:
            reader, writer = await self._connect()
            result = await self._converse(reader, writer)
        except ssl.SSLError:
            result = CheckResult(FailureKind.NETWORK, reason="TLS handshake failed")
        except OSError as error:
            result = CheckResult(FailureKind.NETWORK, reason=os_reason(error))
        except BaseException:
            self._abort()
            raise
        if result.failure is not None or not self._reuse:
            self._abort()
        return result

    async def close(self) -> None:
        """Close the connection."""
        self._abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> CheckResult:
        if self._settings.send:
            writer.write(self._settings.send)
        received = b""
        while not has_blocks(received, self._settings.receive):
            chunk = await reader.read(4096)
            if not chunk:
                return CheckResult(FailureKind.NETWORK, reason="closed the connection")
            received += chunk
            if len(received) > _MAX_TCP_BYTES:
                return CheckResult(FailureKind.ACTIVE, reason="sent too much that is not expected")
        return PASSED

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None:
            reader, writer = self._streams
            if not reader.at_eof() and not writer.is_closing():
                return self._streams
            self._abort()
        self._streams = await open_streams(self._target, limit_bytes=4096)
        return self._streams

    def _abort(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


def has_blocks(received: bytes, blocks: tuple[bytes, ...]) -> bool:
    """Whether all blocks are there, one after the other, with anything between them."""
    start = 0
    for block in blocks:
        found = received.find(block, start)
        if found < 0:
            return False
        start = found + len(block)
    return True


def _connect_reason(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "certificate refused"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "TLS handshake failed"
    return os_reason(error.os_error)


#: Makes the checker of one endpoint.
CheckerFactory = Callable[[HealthCheckSettings, Target], Checker]
