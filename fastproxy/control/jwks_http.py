"""One JWKS request through a named cluster: a GET that trusts nothing about its answer (S37, S39, S40).

The cluster says where to connect and whether with TLS; the URI says path, query and `host`, as in Envoy.
Redirects, cookies, proxies from the environment and compressed bodies are not followed, kept, used or
accepted.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

import fastproxy
from fastproxy.ipc.messages import EndpointAddress
from fastproxy.upstream.settings import Address, ClusterSettings

#: A real key set has a few KiB; Microsoft's common one about 20.
MAX_BODY_BYTES: Final = 1024 * 1024
#: What `http_uri.timeout: 0s` means here. Envoy then waits for ever, and so would every refresh.
_DEFAULT_TIMEOUT_S: Final = 10.0
_HEADERS: Final = {
    "accept": "application/jwk-set+json, application/json",
    # A compressed body could be a thousand times larger than what the limit sees.
    "accept-encoding": "identity",
    "user-agent": f"fastproxy/{fastproxy.__version__}",
}


class FetchFailed(Exception):
    """No answer that could be a key set; the text is fit for a log: no body, no header of the peer."""


@dataclass(frozen=True, slots=True)
class Validators:
    """What a conditional request needs (RFC 9110 section 13.1)."""

    etag: str = ""
    last_modified: str = ""


@dataclass(frozen=True, slots=True)
class FetchedBody:
    """A complete 200 answer."""

    body: bytes
    validators: Validators


#: Current addresses of a cluster by its name.
EndpointsOf = Callable[[str], Sequence[EndpointAddress]]


class JwksHttpClient:
    """Makes the requests of all key sources. `close` it in the loop that used it."""

    def __init__(self, clusters: dict[str, ClusterSettings], endpoints_of: EndpointsOf) -> None:
        self._clusters = clusters
        self._endpoints_of = endpoints_of
        self._session: aiohttp.ClientSession | None = None

    async def fetch(
        self, uri: str, cluster_name: str, timeout_s: float, known: Validators
    ) -> FetchedBody | None:
        """Get `uri` through a cluster; every address is tried until one can be connected to.

        Args:
            uri: absolute http or https URI (`remote_jwks.http_uri.uri`).
            cluster_name: where to connect.
            timeout_s: for everything together, connecting and the last byte included; 0 is 10 s.
            known: validators of the copy that is held.

        Returns:
            The body, or None: the held copy is current (304).

        Raises:
            FetchFailed: anything else.
        """
        cluster = self._clusters.get(cluster_name)
        if cluster is None:
            raise FetchFailed(f"cluster '{cluster_name}' does not exist")
        parts = urlsplit(uri)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise FetchFailed("the uri is not an absolute http or https URI")
        endpoints = self._endpoints_of(cluster_name)
        if not endpoints:
            raise FetchFailed(f"cluster '{cluster_name}' has no address (yet)")
        limit_s = timeout_s or _DEFAULT_TIMEOUT_S
        try:
            async with asyncio.timeout(limit_s):
                return await self._try_each(endpoints, cluster, parts, known)
        except TimeoutError:
            raise FetchFailed(f"no complete answer within {limit_s:g} s") from None

    def uses_tls(self, cluster_name: str) -> bool:
        """Tell whether requests through this cluster are encrypted."""
        cluster = self._clusters.get(cluster_name)
        return cluster is not None and cluster.tls is not None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def _try_each(
        self,
        endpoints: Sequence[EndpointAddress],
        cluster: ClusterSettings,
        parts: SplitResult,
        known: Validators,
    ) -> FetchedBody | None:
        failure = ""
        for endpoint in endpoints:
            address = str(Address(endpoint.host, endpoint.port))
            try:
                return await self._request(endpoint, cluster, parts, known)
            except aiohttp.ClientConnectorError as error:
                failure = f"cannot connect to {address}: {_connect_reason(error)}"
            except aiohttp.ConnectionTimeoutError:
                failure = f"cannot connect to {address} within {cluster.connect_timeout_s:g} s"
            except aiohttp.ClientError as error:
                # Its text may quote the peer's bytes; the type says enough.
                raise FetchFailed(f"{address} broke the exchange off ({type(error).__name__})") from None
        raise FetchFailed(failure)

    async def _request(
        self, endpoint: EndpointAddress, cluster: ClusterSettings, parts: SplitResult, known: Validators
    ) -> FetchedBody | None:
        tls = cluster.tls
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        address = Address(endpoint.host, endpoint.port)
        url = URL(f"{'http' if tls is None else 'https'}://{address}{target}", encoded=True)
        request = self._open_session().get(
            url,
            headers=_request_headers(parts, known),
            allow_redirects=False,
            ssl=True if tls is None else tls.context,
            server_hostname=None if tls is None else (tls.sni or parts.hostname),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=cluster.connect_timeout_s or None),
        )
        async with request as response:
            if response.status == 304 and (known.etag or known.last_modified):
                return None
            if 300 <= response.status < 400:
                raise FetchFailed(f"status {response.status}: redirects are not followed, name the final uri")
            if response.status != 200:
                raise FetchFailed(f"status {response.status}")
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise FetchFailed("the body is compressed, though that was not offered")
            return FetchedBody(await _read_body(response), _validators(response.headers))

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            # A connection per fetch: the next one is minutes away, and DNS or the certificate may have
            # changed.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True, limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                skip_auto_headers=("accept-encoding",),
            )
        return self._session


def _request_headers(parts: SplitResult, known: Validators) -> dict[str, str]:
    # User information in the URI is not sent anywhere: `host` is what follows it.
    headers = {**_HEADERS, "host": parts.netloc.rpartition("@")[2]}
    if known.etag:
        headers["if-none-match"] = known.etag
    if known.last_modified:
        headers["if-modified-since"] = known.last_modified
    return headers


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    if response.content_length is not None and response.content_length > MAX_BODY_BYTES:
        raise FetchFailed(f"the body is larger than {MAX_BODY_BYTES} bytes")
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise FetchFailed(f"the body is larger than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _validators(headers: CIMultiDictProxy[str]) -> Validators:
    # They are sent back as they came; a kilobyte of them would be no validator.
    etag, last_modified = headers.get("etag", ""), headers.get("last-modified", "")
    return Validators(etag if len(etag) <= 256 else "", last_modified if len(last_modified) <= 64 else "")


def _connect_reason(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"certificate refused ({error.certificate_error})"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "TLS handshake failed"
    number = error.os_error.errno
    return os.strerror(number) if number else type(error.os_error).__name__
