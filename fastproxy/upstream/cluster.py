"""A cluster at run time: its endpoints, which change, and the choice among them (spec/clusters.md sections 2, 3)."""

from collections.abc import Iterable
from random import SystemRandom

from fastproxy import clock
from fastproxy.stats import StatsSink
from fastproxy.upstream.endpoint import Endpoint
from fastproxy.upstream.settings import (
    Address,
    ClusterSettings,
    DiscoveredEndpoint,
    DiscoveryType,
    EndpointTraits,
)
from fastproxy.upstream.stats import ClusterStats

_random = SystemRandom()
_PLAIN = EndpointTraits()


class Cluster:
    """A named upstream service as one worker sees it."""

    def __init__(self, settings: ClusterSettings) -> None:
        self.settings = settings
        self.name = settings.name
        self.stats = ClusterStats()
        self._endpoints: tuple[Endpoint, ...] = ()
        self._usable: tuple[Endpoint, ...] = ()
        # Workers start at different places, so that few requests over many workers still spread.
        self._next = _random.randrange(1 << 16)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The current endpoints, in the order of the configuration."""
        return self._endpoints

    def select_endpoint(self) -> Endpoint | None:
        """The next endpoint in turn (ROUND_ROBIN); None if there is none. Hot path: once per request."""
        endpoints = self._usable
        if not endpoints:
            return None
        self._next = at = self._next + 1
        return endpoints[at % len(endpoints)]

    def update_endpoints(self, endpoints: Iterable[DiscoveredEndpoint | Address]) -> None:
        """Replace the list; endpoints that stay keep connections, counters and health, the others drain.

        Args:
            endpoints: the complete list; of an address that occurs twice the first entry counts. An `Address` alone
                is an endpoint about which nothing else is said.
        """
        wanted: dict[Address, EndpointTraits] = {}
        for entry in endpoints:
            if isinstance(entry, Address):
                wanted.setdefault(entry, _PLAIN)
            else:
                wanted.setdefault(entry.address, entry.traits)
        now = clock.monotonic()
        if self.settings.discovery is DiscoveryType.LOGICAL_DNS and wanted:
            self._update_logical(*next(iter(wanted.items())), now)
        else:
            self._update_all(wanted, now)
        self.on_health_changed()

    def on_health_changed(self) -> None:
        """Choose among the endpoints anew: health flags of some have changed (`Endpoint.set_health`)."""
        self._usable = tuple(endpoint for endpoint in self._endpoints if endpoint.is_healthy)

    def _update_logical(self, address: Address, traits: EndpointTraits, now: float) -> None:
        """LOGICAL_DNS is one endpoint, whose address is the first of the answer."""
        if self._endpoints:
            self._endpoints[0].move(address)
            self._endpoints[0].describe_as(traits, now)
        else:
            self._update_all({address: traits}, now)

    def _update_all(self, wanted: dict[Address, EndpointTraits], now: float) -> None:
        leaving = {endpoint.address: endpoint for endpoint in self._endpoints}
        updated: list[Endpoint] = []
        for address, traits in wanted.items():
            endpoint = leaving.pop(address, None)
            if endpoint is None:
                endpoint = Endpoint(address, self.settings, self.stats, traits, now=now)
            else:
                endpoint.describe_as(traits, now)
            updated.append(endpoint)
        self._endpoints = tuple(updated)
        for endpoint in leaving.values():
            endpoint.pool.drain()

    def close_idle(self, now: float) -> None:
        """Close pooled connections that were idle for too long; called every few seconds."""
        for endpoint in self._endpoints:
            endpoint.pool.close_idle(now)

    def drain(self) -> None:
        """Close idle connections and take none back: the worker is about to end."""
        for endpoint in self._endpoints:
            endpoint.pool.drain()

    def write_stats(self, sink: StatsSink) -> None:
        """Add this cluster's numbers to a snapshot."""
        prefix = f"cluster.{self.settings.stat_name or self.name}."
        self.stats.write(sink, prefix)
        sink.gauge(prefix + "upstream_cx_active", sum(e.pool.open_connections for e in self._endpoints))
        sink.hosts[self.name] = {e.text: e.stats.encode(e.pool.open_connections) for e in self._endpoints}
