"""How one fetch gets a body for its source: through a named cluster, or by discovery.

When a fetch is due is the business of `jwks_schedule`; whether the body is a key set, of `jwks_document`.
"""

import asyncio
import logging
import random
import ssl
from collections.abc import Callable
from typing import Final, Protocol
from urllib.parse import urlsplit

from fastproxy.control.discovery import LookupFailed
from fastproxy.control.jwks_headers import read_headers
from fastproxy.control.jwks_http import (
    NO_HEADERS,
    NO_VALIDATORS,
    Destination,
    Fetched,
    FetchFailed,
    JwksHttpClient,
    Validators,
)
from fastproxy.control.lookup import FamilyLookup, resolve
from fastproxy.control.oidc import (
    BadMetadata,
    is_same_origin,
    metadata_uri,
    parse_metadata,
    port_of,
    select_allowed,
)
from fastproxy.filters.jwt_authn.settings import DiscoveryJwksSettings, RemoteJwksSettings
from fastproxy.ipc.messages import EndpointAddress
from fastproxy.upstream.settings import DnsLookupFamily, UpstreamTlsSettings

_log = logging.getLogger("fastproxy.control.jwks")
#: What `http_uri.timeout: 0s` means here. Envoy then waits for ever, and so would every refresh.
_DEFAULT_TIMEOUT_S: Final = 10.0
#: Metadata is read again this often, though all is well: the place of the keys changes with a migration.
_REDISCOVERY_S: Final = 86400.0


class Retrieval(Protocol):
    """Gets the body of one source."""

    cluster: str
    """The named cluster; empty if there is none."""

    @property
    def uri(self) -> str:
        """Where the keys are, as far as that is known."""
        ...

    async def retrieve(self, known: Validators, now: float) -> Fetched:
        """Fetch once, bounded in time; `now` is monotonic seconds. FetchFailed: no answer."""
        ...


class RemoteRetrieval:
    """`remote_jwks`: one URI through a named cluster, with `retry_policy`."""

    def __init__(
        self,
        remote: RemoteJwksSettings,
        client: JwksHttpClient,
        *,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.cluster = remote.cluster
        self._remote = remote
        self._client = client
        self._uniform = uniform

    @property
    def uri(self) -> str:
        """`http_uri.uri`."""
        return self._remote.uri

    async def retrieve(self, known: Validators, now: float) -> Fetched:
        """Fetch once. `http_uri.timeout` covers all attempts and the pauses between them, as in Envoy.

        Raises:
            FetchFailed: no attempt brought an answer.
        """
        limit_s = self._remote.timeout_s or _DEFAULT_TIMEOUT_S
        failure: FetchFailed | None = None
        try:
            async with asyncio.timeout(limit_s):
                for pause_s in self._pauses():
                    await asyncio.sleep(pause_s)
                    try:
                        return await self._attempt(known)
                    except FetchFailed as error:
                        failure = error
                        if not error.transient:
                            break
        except TimeoutError:
            if failure is None:
                raise FetchFailed(f"no complete answer within {limit_s:g} s") from None
        assert failure is not None
        raise failure

    def _pauses(self) -> list[float]:
        """The pause before every attempt: none, then a random part of an interval that doubles."""
        retry = self._remote.retry
        if retry is None:
            return [0.0]
        pauses, interval_s = [0.0], retry.base_interval_s
        # The interval grows to what the timeout cannot hold anyway, so a huge num_retries makes no huge list.
        for _ in range(min(retry.num_retries, 100)):
            pauses.append(self._uniform(0.0, min(interval_s, retry.max_interval_s)))
            interval_s = min(interval_s * 2, retry.max_interval_s)
        return pauses

    async def _attempt(self, known: Validators) -> Fetched:
        headers = await read_headers(self._remote.request_headers)
        destination = self._client.destination(self._remote.cluster)
        return await self._client.get(self._remote.uri, destination, known, headers)


class DiscoveryRetrieval:
    """No key source, but an issuer: metadata first, then the `jwks_uri` in it (S38).

    Without a named cluster the connection goes to what the host resolves to at that moment. The addresses are
    checked and then connected to, so a name server cannot answer the check and the connection differently.
    """

    def __init__(
        self, settings: DiscoveryJwksSettings, client: JwksHttpClient, lookup: FamilyLookup, name: str
    ) -> None:
        self.cluster = settings.cluster
        self._settings = settings
        self._client = client
        self._lookup = lookup
        self._name = name
        self._jwks_uri = ""
        self._discovered_at = 0.0
        self._is_suspect = False
        self._tls: UpstreamTlsSettings | None = None

    @property
    def uri(self) -> str:
        """The discovered `jwks_uri`; the place of the metadata before it is known."""
        return self._jwks_uri or metadata_uri(self._settings.issuer)

    async def retrieve(self, known: Validators, now: float) -> Fetched:
        """Fetch once; discover first if that never happened, is a day ago, or the last fetch failed.

        Raises:
            FetchFailed: no answer, or metadata that must not be believed.
        """
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                if not self._jwks_uri or self._is_suspect or now - self._discovered_at >= _REDISCOVERY_S:
                    await self._discover(now)
                fetched = await self._fetch_keys(known)
        except TimeoutError:
            self._is_suspect = True
            raise FetchFailed(f"no complete answer within {self._settings.timeout_s:g} s") from None
        except FetchFailed:
            self._is_suspect = True
            raise
        self._is_suspect = False
        return fetched

    def on_bad_document(self) -> None:
        """What is at `jwks_uri` is no key set: look for it again before the next fetch."""
        self._is_suspect = True

    async def _discover(self, now: float) -> None:
        issuer = self._settings.issuer
        uri = metadata_uri(issuer)
        try:
            # With a known place of the keys a hanging metadata server must not use up the whole time.
            async with asyncio.timeout(self._settings.timeout_s / 2 if self._jwks_uri else None):
                destination = await self._destination(uri)
                headers = await read_headers(self._settings.request_headers)
                fetched = await self._client.get(uri, destination, NO_VALIDATORS, headers)
            found = parse_metadata(fetched.body or b"", issuer)
        except (FetchFailed, BadMetadata, TimeoutError) as error:
            reason = str(error) or "no answer"
            if not self._jwks_uri:
                raise FetchFailed(f"discovery at {uri}: {reason}") from None
            _log.warning(
                "provider '%s': discovery at %s failed: %s; the keys stay where they were",
                self._name,
                uri,
                reason,
            )
            return
        if found != self._jwks_uri:
            _log.info("provider '%s': discovery found the keys at %s", self._name, found.partition("?")[0])
        self._jwks_uri, self._discovered_at = found, now

    async def _fetch_keys(self, known: Validators) -> Fetched:
        headers = NO_HEADERS
        if is_same_origin(self._jwks_uri, self._settings.issuer):
            # Only there: the metadata must not decide who gets the operator's credentials (S37).
            headers = await read_headers(self._settings.request_headers)
        destination = await self._destination(self._jwks_uri)
        return await self._client.get(self._jwks_uri, destination, known, headers)

    async def _destination(self, uri: str) -> Destination:
        if self.cluster:
            return self._client.destination(self.cluster)
        parts, issuer = urlsplit(uri), urlsplit(self._settings.issuer)
        host, port = parts.hostname or "", port_of(parts) or 0
        addresses = await self._resolve(host)
        if host != issuer.hostname and not self._settings.allow_private_networks:
            allowed = select_allowed(addresses, await self._resolve(issuer.hostname or ""))
            if not allowed:
                raise FetchFailed(
                    "jwks_uri leads to an address that is not public; fastproxy.jwks.allow_private_networks"
                    " allows that"
                )
            addresses = allowed
        endpoints = [EndpointAddress(address, port, host) for address in addresses]
        return Destination(endpoints, self._default_tls() if parts.scheme == "https" else None)

    async def _resolve(self, host: str) -> list[str]:
        try:
            addresses = await resolve(host, DnsLookupFamily.ALL, self._lookup)
        except LookupFailed as error:
            raise FetchFailed(f"{host} cannot be resolved: {error}", transient=True) from None
        if not addresses:
            raise FetchFailed(f"{host} has no address", transient=True)
        return addresses

    def _default_tls(self) -> UpstreamTlsSettings:
        if self._tls is None:
            context = ssl.create_default_context()
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            self._tls = UpstreamTlsSettings(context)
        return self._tls
