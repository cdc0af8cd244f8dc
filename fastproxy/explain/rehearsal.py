"""A request through the proxy's own parts: parser, preparation, routes, filters, router, upstream connection.

The parts are built from the settings as a worker builds them, with these differences: clusters lead to a server of
our own, nothing is logged, keys come from a `KeyBook`, and an observer watches each `jwt_authn` filter.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fastproxy.explain.keybook import KeyBook
from fastproxy.explain.memory_io import CapturingUpstream, MemoryTransport
from fastproxy.explain.trace import Trace
from fastproxy.filters.base import HttpFilter, Outcome
from fastproxy.filters.build import build_filter
from fastproxy.filters.chain import FilterChain
from fastproxy.filters.jwt_authn.filter import JwtAuthnFilter
from fastproxy.filters.jwt_authn.provider import Provider
from fastproxy.filters.jwt_authn.settings import JwtAuthnSettings
from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import Request
from fastproxy.listener.manager import HttpConnectionManager
from fastproxy.listener.settings import HttpConnectionManagerSettings, ListenerSettings
from fastproxy.router.route import Route
from fastproxy.router.router import Router
from fastproxy.router.settings import RouteConfigurationSettings
from fastproxy.router.table import RouteTable
from fastproxy.stats import StatsSink
from fastproxy.upstream.cluster import Cluster
from fastproxy.upstream.settings import Address, ClusterSettings, DiscoveryType

#: Nothing in a rehearsal waits for anybody outside; this is for mistakes of ours.
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A request as the filters get it."""

    method: bytes
    target: bytes
    path: bytes
    authority: bytes
    headers: HeaderMap
    filter_configs: Mapping[str, object] | None


@dataclass(slots=True)
class WatchedFilter:
    """One `jwt_authn` filter of the chain and what it did."""

    name: str
    runtime: JwtAuthnFilter
    trace: Trace


@dataclass(slots=True)
class Rehearsal:
    """Everything that happened."""

    seen: SeenRequest | None = None
    """None: the request did not reach the filters."""
    route: tuple[int, int] | None = None
    """Virtual host and route by their positions; None if none matched."""
    filters: list[WatchedFilter] = field(default_factory=list)
    passed_filters: bool = False
    response: bytes = b""
    upstream_heads: list[bytes] = field(default_factory=list)
    request: Request | None = None
    """The request as it was in the end; None if it did not reach the filters."""
    asked_for: set[str] = field(default_factory=set)
    """The key sources that were asked for fresher keys."""

    def providers(self) -> list[Provider]:
        """The providers of all filters."""
        return [provider for one in self.filters for provider in one.runtime.providers.values()]


class _First:
    """Sees the request before the filters."""

    def __init__(self, rehearsal: Rehearsal, naming: RouteTable) -> None:
        self._rehearsal = rehearsal
        self._naming = naming

    def on_request(self, request: Request) -> Outcome:
        """Write down what it is, and which route it has."""
        headers: HeaderMap = {
            name: list(value) if isinstance(value, list) else value for name, value in request.headers.items()
        }
        self._rehearsal.request = request
        self._rehearsal.seen = SeenRequest(
            request.method,
            request.target,
            request.path,
            request.authority,
            headers,
            request.filter_configs,
        )
        self._rehearsal.route = _position(self._naming.select_route(request))
        return None

    def write_stats(self, sink: StatsSink, prefix: str) -> None:
        """Nothing is counted."""


class _Last:
    """Sees the requests that every filter has let pass."""

    def __init__(self, rehearsal: Rehearsal, naming: RouteTable) -> None:
        self._rehearsal = rehearsal
        self._naming = naming

    def on_request(self, request: Request) -> Outcome:
        """Write down that it came so far, and its route, which filters may have changed."""
        self._rehearsal.passed_filters = True
        self._rehearsal.route = _position(self._naming.select_route(request))
        return None

    def write_stats(self, sink: StatsSink, prefix: str) -> None:
        """Nothing is counted."""


async def rehearse(
    listener: ListenerSettings,
    http: HttpConnectionManagerSettings,
    raw: bytes,
    book: KeyBook,
    at: float,
) -> Rehearsal:
    """Send a request through.

    Args:
        listener: the listener that it comes in by.
        http: the connection manager that serves it.
        raw: the request as bytes.
        book: the keys.
        at: the moment by which tokens are judged, Unix seconds.

    Raises:
        OSError: the loopback interface cannot be listened on.
    """
    rehearsal = Rehearsal()
    is_head = raw.startswith(b"HEAD ")
    async with CapturingUpstream() as upstream:
        clusters = _build_clusters(book.settings.clusters, upstream.port)
        manager = _build_manager(listener, http, clusters, rehearsal, at)
        _bring_keys(rehearsal, book)
        connection = manager()
        transport = MemoryTransport(is_head=is_head)
        connection.connection_made(transport)
        try:
            connection.data_received(raw)
            async with asyncio.timeout(_PATIENCE_S):
                await transport.answered.wait()
        finally:
            connection.connection_lost(None)
            for cluster in clusters.values():
                cluster.drain()
        rehearsal.response, rehearsal.upstream_heads = transport.data, upstream.heads
    return rehearsal


def _build_clusters(settings: tuple[ClusterSettings, ...], port: int) -> dict[str, Cluster]:
    clusters = {}
    for one in settings:
        cluster = Cluster(replace(one, tls=None, discovery=DiscoveryType.STATIC))
        hostname = next((entry.hostname or entry.host for entry in one.endpoints), "")
        cluster.update_endpoints([Address("127.0.0.1", port, hostname)])
        clusters[one.name] = cluster
    return clusters


def _build_manager(
    listener: ListenerSettings,
    http: HttpConnectionManagerSettings,
    clusters: dict[str, Cluster],
    rehearsal: Rehearsal,
    at: float,
) -> HttpConnectionManager:
    naming = RouteTable(_with_positions(http.route_config))
    filters: list[HttpFilter] = [_First(rehearsal, naming)]
    answers: dict[str, list[Provider]] = {}

    def ask(source_id: str) -> None:
        rehearsal.asked_for.add(source_id)
        asyncio.get_running_loop().call_soon(_answer, answers.get(source_id, []))

    for one in http.http_filters:
        if not isinstance(one.config, JwtAuthnSettings):
            filters.append(build_filter(one.name, one.config))
            continue
        trace = Trace(at)
        runtime = JwtAuthnFilter(one.config, ask=ask, observer=trace)
        rehearsal.filters.append(WatchedFilter(one.name, runtime, trace))
        filters.append(runtime)
        for provider in runtime.providers.values():
            answers.setdefault(provider.keys.source_id, []).append(provider)
    filters.append(_Last(rehearsal, naming))
    router = Router(
        http.route_config,
        clusters,
        suppress_envoy_headers=http.suppress_envoy_headers,
        identity_headers=frozenset[bytes]().union(
            *(one.runtime.identity_headers for one in rehearsal.filters)
        ),
    )
    return HttpConnectionManager(
        listener,
        http,
        router=router,
        filters=FilterChain(filters, router.select_route),
        access_logs=(),
        loop=asyncio.get_running_loop(),
    )


def _position(route: Route | None) -> tuple[int, int] | None:
    """Where a route of `_with_positions` stands; None for one that the table made itself (`require_tls`)."""
    host, slash, number = ("" if route is None else route.name).partition("/")
    return (int(host), int(number)) if slash else None


def _with_positions(config: RouteConfigurationSettings) -> RouteConfigurationSettings:
    """The same routes, named by where they stand: then a chosen one says which it is."""
    hosts = tuple(
        replace(
            host,
            routes=tuple(
                replace(route, name=f"{host_index}/{index}") for index, route in enumerate(host.routes)
            ),
        )
        for host_index, host in enumerate(config.virtual_hosts)
    )
    return replace(config, virtual_hosts=hosts)


def _bring_keys(rehearsal: Rehearsal, book: KeyBook) -> None:
    for provider in rehearsal.providers():
        keys = book.keys_of(provider.settings)
        if keys.document:
            provider.keys.on_update(1, keys.document)


def _answer(providers: list[Provider]) -> None:
    """Wake who waits for keys: what there is was brought before."""
    for provider in providers:
        if provider.verifier.keys is None:
            provider.keys.on_fetch_failed()
        else:
            provider.keys.on_update(1, b"")
