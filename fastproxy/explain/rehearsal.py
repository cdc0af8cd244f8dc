"""A request through the proxy's own parts: parser, preparation, routes, filters, router, upstream connection.

The parts are built from the settings as a worker builds them, with these differences: clusters lead to a server of
our own, nothing is logged, keys come from a `KeyBook`, and an observer watches each `jwt_authn` filter.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fastproxy.explain.arrival import Arrival
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
from fastproxy.listener.settings import HttpFilterSettings
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
    settings: JwtAuthnSettings
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
    """Those of the filters that the request passed, or would have."""
    chain: tuple[HttpFilterSettings, ...] = ()
    """All filters that it passed, or would have."""
    upgrade: str = ""
    """The upgrade type whose own filters those are; empty: they are the usual ones."""
    passed_filters: bool = False
    response: bytes = b""
    upstream_heads: list[bytes] = field(default_factory=list)
    request: Request | None = None
    """The request as it was in the end; None if it did not reach the filters."""
    asked_for: set[str] = field(default_factory=set)
    """The key sources that were asked for fresher keys."""


class _First:
    """Sees the request before the filters of one chain."""

    def __init__(self, rehearsal: Rehearsal, naming: RouteTable, part: "_Chain") -> None:
        self._rehearsal = rehearsal
        self._naming = naming
        self._part = part

    def on_request(self, request: Request) -> Outcome:
        """Write down what it is, and which route it has."""
        headers: HeaderMap = {
            name: list(value) if isinstance(value, list) else value for name, value in request.headers.items()
        }
        self._rehearsal.request = request
        self._part.take(self._rehearsal)
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


class _Chain:
    """The filters of every request, or those of an upgrade type."""

    def __init__(self, settings: tuple[HttpFilterSettings, ...], upgrade: str = "") -> None:
        self.settings = settings
        self.upgrade = upgrade
        self.watched: list[WatchedFilter] = []

    def take(self, rehearsal: Rehearsal) -> None:
        """Write down that the request passes these filters."""
        rehearsal.filters, rehearsal.chain, rehearsal.upgrade = self.watched, self.settings, self.upgrade


async def rehearse(arrival: Arrival, raw: bytes, book: KeyBook, at: float) -> Rehearsal:
    """Send a request through.

    Args:
        arrival: where it comes in.
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
        stage = _Stage(arrival, clusters, rehearsal, book, at)
        connection = stage.manager(arrival.make_info())
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
        # Its own name, whatever logs and statistics call it.
        cluster = Cluster(replace(one, tls=None, discovery=DiscoveryType.STATIC, stat_name=""))
        hostname = next((entry.hostname or entry.host for entry in one.endpoints), "")
        cluster.update_endpoints([Address("127.0.0.1", port, hostname)])
        clusters[one.name] = cluster
    return clusters


class _Stage:
    """The parts of a proxy for one request."""

    def __init__(
        self,
        arrival: Arrival,
        clusters: dict[str, Cluster],
        rehearsal: Rehearsal,
        book: KeyBook,
        at: float,
    ) -> None:
        http = arrival.http
        self._rehearsal = rehearsal
        self._at = at
        self._naming = RouteTable(_with_positions(http.route_config))
        self._providers: dict[str, list[Provider]] = {}
        usual = _Chain(http.http_filters)
        own = {
            one.type.encode(): _Chain(one.filters, one.type)
            for one in http.upgrades
            if one.filters is not None
        }
        built = {kind: self._build_filters(one) for kind, one in own.items()}
        usual_filters = self._build_filters(usual)
        watched = [one for chain in (usual, *own.values()) for one in chain.watched]
        identity_headers = frozenset[bytes]().union(*(one.runtime.identity_headers for one in watched))
        router = Router(
            http.route_config,
            clusters,
            suppress_envoy_headers=http.suppress_envoy_headers,
            identity_headers=identity_headers,
        )
        self.manager = HttpConnectionManager(
            arrival.listener,
            http,
            router=router,
            filters=FilterChain(usual_filters, router.select_route),
            access_logs=(),
            loop=asyncio.get_running_loop(),
            upgrade_filters={kind: FilterChain(one, router.select_route) for kind, one in built.items()},
            identity_headers=identity_headers,
        )
        # Until one of the chains sees the request it is the usual one.
        usual.take(rehearsal)
        _bring_keys(watched, book)

    def _build_filters(self, chain: _Chain) -> list[HttpFilter]:
        filters: list[HttpFilter] = [_First(self._rehearsal, self._naming, chain)]
        for one in chain.settings:
            if not isinstance(one.config, JwtAuthnSettings):
                filters.append(build_filter(one.name, one.config))
                continue
            trace = Trace(self._at)
            runtime = JwtAuthnFilter(one.config, ask=self._ask, observer=trace)
            chain.watched.append(WatchedFilter(one.name, one.config, runtime, trace))
            filters.append(runtime)
            for provider in runtime.providers.values():
                self._providers.setdefault(provider.keys.source_id, []).append(provider)
        return [*filters, _Last(self._rehearsal, self._naming)]

    def _ask(self, source_id: str) -> None:
        self._rehearsal.asked_for.add(source_id)
        asyncio.get_running_loop().call_soon(_answer, self._providers.get(source_id, []))


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


def _bring_keys(watched: list[WatchedFilter], book: KeyBook) -> None:
    for one in watched:
        for provider in one.runtime.providers.values():
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
