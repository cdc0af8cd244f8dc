"""The keys to judge by, and how they were come by: given, asked from a running proxy, fetched, or not had.

Local keys are read by the configuration's loader, as the proxy reads them. For fetched ones the order is: a file that
the operator names; the keys in force of a running proxy, from its admin interface; a fetch of our own, with the
proxy's code for it and through the configured cluster.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fastproxy import clock
from fastproxy.advice import RemovedKid
from fastproxy.config.settings import ProxySettings
from fastproxy.control.dns import DiscoveryService
from fastproxy.control.eds import EndpointFiles
from fastproxy.control.file_watch import FileWatcher
from fastproxy.control.jwks_document import BadJwks, parse_jwks
from fastproxy.control.jwks_http import MAX_BODY_BYTES, NO_VALIDATORS, Fetched, FetchFailed, JwksHttpClient
from fastproxy.control.jwks_retrieval import DiscoveryRetrieval, RemoteRetrieval
from fastproxy.control.jwks_source import without_secrets
from fastproxy.control.lookup import system_lookup
from fastproxy.explain.asked import BadQuestion
from fastproxy.explain.running import RunningKeys, RunningProxy
from fastproxy.filters.jwt_authn.settings import (
    DiscoveryJwksSettings,
    LocalJwksSettings,
    ProviderSettings,
    RemoteJwksSettings,
)

_DNS_TIMEOUT_S = 5.0


@dataclass(slots=True)
class Keys:
    """What is known of one provider's keys."""

    how: str
    """How they were come by, in words."""
    document: bytes = b""
    """Empty: there are none."""
    error: str = ""
    """Why there are none."""
    is_known: bool = True
    """False: nobody has tried to get them."""
    removed: tuple[RemovedKid, ...] = ()
    note: str = ""
    """What else an operator should know about them."""


@dataclass(slots=True)
class KeyBook:
    """Finds the keys of providers. `offline`: nothing is asked or fetched.

    Args:
        settings: the configuration.
        given: key sets by provider name, from `--jwks`.
        offline: never touch the network.
        running: what a running proxy says about its keys; None if there is none.
    """

    settings: ProxySettings
    given: Mapping[str, bytes]
    offline: bool
    running: RunningProxy | None = None
    _found: dict[str, Keys] = field(default_factory=dict)

    def keys_of(self, provider: ProviderSettings) -> Keys:
        """What is known now, without asking anybody."""
        known = self._found.get(provider.source_id)
        if known is None:
            known = self._found[provider.source_id] = self._look_up(provider)
        return known

    async def fetch(self, provider: ProviderSettings) -> Keys:
        """Fetch the keys of a provider, unless they are known or must not be fetched."""
        known = self.keys_of(provider)
        if known.is_known or self.offline:
            return known
        known.is_known = True
        try:
            body = await _retrieve(self.settings, provider)
            parse_jwks(body)
        except (FetchFailed, BadJwks) as error:
            known.how, known.error = f"a fetch from {source_of(provider)}", str(error)
        else:
            known.how, known.document, known.error = f"fetched from {source_of(provider)}", body, ""
        return known

    async def refetch(self, provider: ProviderSettings) -> Keys:
        """Fetch although keys are held: what the proxy does for a kid that it does not know."""
        known = self.keys_of(provider)
        if provider.name in self.given or self.offline or isinstance(provider.jwks, LocalJwksSettings):
            return known
        if known.how.startswith(("fetched", "a fetch")):
            return known
        removed = known.removed
        fresh = Keys("", is_known=False)
        self._found[provider.source_id] = fresh
        await self.fetch(provider)
        if not fresh.document or _are_the_same(fresh.document, known.document):
            self._found[provider.source_id] = known
            return known
        fresh.removed = removed
        return fresh

    def _look_up(self, provider: ProviderSettings) -> Keys:
        given = self.given.get(provider.name)
        if given is not None:
            return Keys(f"given by --jwks {provider.name}=...", given)
        running = None if self.running is None else self.running.keys_of(provider)
        jwks = provider.jwks
        if isinstance(jwks, LocalJwksSettings):
            return _local(jwks, running)
        if running is not None and self.running is not None:
            how = f"those in force in the proxy at {self.running.address}"
            if running.document:
                return Keys(how, running.document, removed=running.removed, note=running.note)
            return Keys(how, error=running.error or "it holds none", removed=running.removed)
        return Keys("", error="not fetched", is_known=False)


def _are_the_same(one: bytes, other: bytes) -> bool:
    return bool(other) and parse_jwks(one).fingerprint == parse_jwks(other).fingerprint


def _local(jwks: LocalJwksSettings, running: RunningKeys | None) -> Keys:
    found = Keys(f"from {jwks.origin}", jwks.jwks)
    if running is not None:
        found.removed = running.removed
        if running.error:
            found.note = f"the running proxy cannot use what the file holds now: {running.error}"
    return found


def source_of(provider: ProviderSettings) -> str:
    """Where a provider's keys are, without secrets."""
    jwks = provider.jwks
    if isinstance(jwks, LocalJwksSettings):
        return jwks.origin
    if isinstance(jwks, RemoteJwksSettings):
        return f"{without_secrets(jwks.uri)} (cluster '{jwks.cluster}')"
    return f"what {without_secrets(jwks.issuer)} says by OpenID discovery"


def read_given(entries: tuple[str, ...], names: frozenset[str]) -> dict[str, bytes]:
    """Read `--jwks PROVIDER=FILE`.

    Raises:
        BadQuestion: no such provider or file, or no key set in it.
    """
    found = {}
    for entry in entries:
        name, equals, filename = entry.partition("=")
        if not equals or name not in names:
            known = ", ".join(sorted(names)) or "none"
            raise BadQuestion(f"--jwks must be PROVIDER=FILE; the providers are: {known}")
        try:
            with Path(filename).open("rb") as stream:
                document = stream.read(MAX_BODY_BYTES + 1)
            parse_jwks(document[: MAX_BODY_BYTES + 1], is_local=True)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "not a file name"
            raise BadQuestion(f"--jwks {name}: the file cannot be read: {why}") from None
        except BadJwks as error:
            raise BadQuestion(f"--jwks {name}: {error}") from None
        found[name] = document
    return found


async def _retrieve(settings: ProxySettings, provider: ProviderSettings) -> bytes:
    """One fetch as the control plane makes it: DNS, TLS, limits and credentials as configured."""
    jwks = provider.jwks
    assert not isinstance(jwks, LocalJwksSettings)
    clusters = tuple(one for one in settings.clusters if one.name == jwks.cluster)
    files = FileWatcher()
    discovery = DiscoveryService(clusters, lambda _message: None, files=EndpointFiles(files))
    client = JwksHttpClient({one.name: one for one in clusters}, discovery.endpoints)
    discovery.start()
    try:
        await discovery.wait_initialised(_DNS_TIMEOUT_S)
        if isinstance(jwks, RemoteJwksSettings):
            fetched = await RemoteRetrieval(jwks, client).retrieve(NO_VALIDATORS, clock.monotonic())
        else:
            fetched = await _discover(provider, client)
    finally:
        await discovery.stop()
        await files.stop()
        await client.close()
        # aiohttp closes TLS connections in the next turn of the loop.
        await asyncio.sleep(0)
    return fetched.body or b""


async def _discover(provider: ProviderSettings, client: JwksHttpClient) -> Fetched:
    assert isinstance(provider.jwks, DiscoveryJwksSettings)
    retrieval = DiscoveryRetrieval(provider.jwks, client, system_lookup, provider.name)
    return await retrieval.retrieve(NO_VALIDATORS, clock.monotonic())
