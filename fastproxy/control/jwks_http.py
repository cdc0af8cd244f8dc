"""One HTTP request for keys or metadata: a GET that trusts nothing about its answer (S37, S39, S40).

The destination says where to connect and whether with TLS; the URI says path, query and `host`, as in Envoy.
Redirects, cookies, proxies from the environment and compressed bodies are not followed, kept, used or
accepted.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import SplitResult, urlsplit

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

import fastproxy
from fastproxy.control.jwks_freshness import parse_max_age_s
from fastproxy.ipc.messages import EndpointAddress
from fastproxy.upstream.settings import (
    UNHEALTHY_FLAGS,
    Address,
    ClusterSettings,
    HealthFlag,
    HealthStatus,
    UpstreamTlsSettings,
    eds_flags,
)

#: A real key set has a few KiB; Microsoft's common one about 20.
MAX_BODY_BYTES: Final = 1024 * 1024
_HEADERS: Final = {
    "accept": "application/jwk-set+json, application/json",
    # A compressed body could be a thousand times larger than what the limit sees.
    "accept-encoding": "identity",
    "user-agent": f"fastproxy/{fastproxy.__version__}",
}


class FetchFailed(Exception):
    """No answer that could be a key set; the text is fit for a log: no body, no header of the peer.

    `transient`: another attempt may find it different (`retry_policy`).
    """

    def __init__(self, reason: str, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.transient = transient


@dataclass(frozen=True, slots=True)
class Validators:
    """What a conditional request needs (RFC 9110 section 13.1)."""

    etag: str = ""
    last_modified: str = ""
    uri: str = ""
    """What they were given for; they mean nothing anywhere else."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A complete answer with status 200, or 304."""

    body: bytes | None
    """None: the held copy is current (304)."""
    validators: Validators
    max_age_s: float | None
    """How long the answer says that it is fresh; None if it does not."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a request goes, and how the connection is made."""

    addresses: Sequence[EndpointAddress]
    """Tried in this order."""
    tls: UpstreamTlsSettings | None
    connect_timeout_s: float = 5.0


#: A request that is not conditional.
NO_VALIDATORS: Final = Validators()
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})

#: Current addresses of a cluster by its name.
EndpointsOf = Callable[[str], Sequence[EndpointAddress]]


class JwksHttpClient:
    """Makes the requests of all key sources. `close` it in the loop that used it."""

    def __init__(self, clusters: dict[str, ClusterSettings], endpoints_of: EndpointsOf) -> None:
        self._clusters = clusters
        self._endpoints_of = endpoints_of
        self._session: aiohttp.ClientSession | None = None

    def destination(self, cluster_name: str) -> Destination:
        """Return where requests through a cluster go at this moment.

        Raises:
            FetchFailed: no such cluster, or it has no address.
        """
        cluster = self._clusters.get(cluster_name)
        if cluster is None:
            raise FetchFailed(f"cluster '{cluster_name}' does not exist")
        known = self._endpoints_of(cluster_name)
        if not known:
            raise FetchFailed(f"cluster '{cluster_name}' has no address (yet)", transient=True)
        # Out of use in the configuration; a key fetch goes nowhere that requests may not go.
        usable = [one for one in known if not eds_flags(HealthStatus(one.health)) & UNHEALTHY_FLAGS]
        addresses = [one for one in usable if one.port]
        if not addresses:
            problem = "Unix domain sockets only" if usable else "no endpoint that is in use"
            raise FetchFailed(f"cluster '{cluster_name}' has {problem}")
        # Those that fail their checks come last: the checks may be wrong, and keys are needed.
        addresses.sort(key=lambda one: (bool(HealthFlag(one.flags) & UNHEALTHY_FLAGS), one.priority))
        return Destination(addresses, cluster.tls, cluster.connect_timeout_s)

    async def get(
        self,
        uri: str,
        destination: Destination,
        known: Validators = NO_VALIDATORS,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Fetched:
        """Get `uri`; every address is tried until one can be connected to. The caller bounds the time.

        Args:
            uri: absolute http or https URI.
            destination: where to connect; TLS is its business, whatever the scheme says.
            known: validators of the copy that is held.
            headers: more request headers, names in lower case.

        Raises:
            FetchFailed: anything but 200, or 304 for the copy that is held.
        """
        parts = urlsplit(uri)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise FetchFailed("the uri is not an absolute http or https URI")
        request = _Request(parts, {**headers, **_request_headers(parts, uri, known)}, uri)
        failure = ""
        for endpoint in destination.addresses:
            address = str(Address(endpoint.host, endpoint.port))
            try:
                return await self._send(request, endpoint, destination)
            except aiohttp.ClientConnectorError as error:
                failure = f"cannot connect to {address}: {_connect_reason(error)}"
            except aiohttp.ConnectionTimeoutError:
                failure = f"cannot connect to {address} within {destination.connect_timeout_s:g} s"
            except aiohttp.ClientError as error:
                # Its text may quote the peer's bytes; the type says enough.
                raise FetchFailed(
                    f"{address} broke the exchange off ({type(error).__name__})", transient=True
                ) from None
        raise FetchFailed(failure, transient=True)

    def uses_tls(self, cluster_name: str) -> bool:
        """Tell whether requests through this cluster are encrypted."""
        cluster = self._clusters.get(cluster_name)
        return cluster is not None and cluster.tls is not None

    def cluster(self, cluster_name: str) -> ClusterSettings | None:
        """Return the settings of a cluster as this client knows it; None if there is none of that name."""
        return self._clusters.get(cluster_name)

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def _send(self, request: "_Request", endpoint: EndpointAddress, to: Destination) -> Fetched:
        tls, parts = to.tls, request.parts
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        address = Address(endpoint.host, endpoint.port)
        url = URL(f"{'http' if tls is None else 'https'}://{address}{target}", encoded=True)
        exchange = self._open_session().get(
            url,
            headers=request.headers,
            allow_redirects=False,
            ssl=True if tls is None else tls.context,
            server_hostname=None if tls is None else (tls.sni or parts.hostname),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=to.connect_timeout_s or None),
        )
        async with exchange as response:
            status, headers = response.status, response.headers
            max_age_s = parse_max_age_s(",".join(headers.getall("cache-control", ())), headers.get("age", ""))
            if status == 304 and request.is_conditional:
                return Fetched(None, NO_VALIDATORS, max_age_s)
            if 300 <= status < 400:
                raise FetchFailed(f"status {status}: redirects are not followed, name the final uri")
            if status != 200:
                raise FetchFailed(f"status {status}", transient=status >= 500 or status == 429)
            if headers.get("content-encoding", "identity").lower() != "identity":
                raise FetchFailed("the body is compressed, though that was not offered")
            return Fetched(await _read_body(response), _validators(headers, request.uri), max_age_s)

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


@dataclass(frozen=True, slots=True)
class _Request:
    parts: SplitResult
    headers: dict[str, str]
    uri: str

    @property
    def is_conditional(self) -> bool:
        return "if-none-match" in self.headers or "if-modified-since" in self.headers


def _request_headers(parts: SplitResult, uri: str, known: Validators) -> dict[str, str]:
    # User information in the URI is not sent anywhere: `host` is what follows it.
    headers = {**_HEADERS, "host": parts.netloc.rpartition("@")[2]}
    if known.uri != uri:
        return headers
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


def _validators(headers: CIMultiDictProxy[str], uri: str) -> Validators:
    # They are sent back as they came; a kilobyte of them would be no validator.
    etag, last_modified = headers.get("etag", ""), headers.get("last-modified", "")
    return Validators(
        etag if len(etag) <= 256 else "", last_modified if len(last_modified) <= 64 else "", uri
    )


def _connect_reason(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"certificate refused ({error.certificate_error})"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "TLS handshake failed"
    number = error.os_error.errno
    return os.strerror(number) if number else type(error.os_error).__name__
