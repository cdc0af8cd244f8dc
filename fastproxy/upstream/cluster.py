"""A cluster at run time: its endpoints, which change, and the choice among them (spec/clusters.md sections 2, 3)."""

from collections.abc import Iterable
from random import SystemRandom

from fastproxy.stats import StatsSink
from fastproxy.upstream.pool import ConnectionPool
from fastproxy.upstream.settings import Address, ClusterSettings, DiscoveryType
from fastproxy.upstream.stats import ClusterStats, EndpointStats

_random = SystemRandom()


class Endpoint:
    """One address of a cluster and the connections to it."""

    __slots__ = ("address", "pool", "stats", "text")

    def __init__(self, address: Address, settings: ClusterSettings, stats: ClusterStats) -> None:
        self.address = address
        self.text = str(address)
        self.stats = EndpointStats()
        self.pool = ConnectionPool(address, settings, stats, self.stats)

    def move(self, address: Address) -> None:
        """A logical endpoint resolves to another address now: new connections go there, old ones stay."""
        self.address = self.pool.address = address
        self.text = str(address)


class Cluster:
    """A named upstream service as one worker sees it."""

    def __init__(self, settings: ClusterSettings) -> None:
        self.settings = settings
        self.name = settings.name
        self.stats = ClusterStats()
        self._endpoints: tuple[Endpoint, ...] = ()
        # Workers start at different places, so that few requests over many workers still spread.
        self._next = _random.randrange(1 << 16)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The current endpoints, in the order of the configuration."""
        return self._endpoints

    def select_endpoint(self) -> Endpoint | None:
        """The next endpoint in turn (ROUND_ROBIN); None if there is none. Hot path: once per request."""
        endpoints = self._endpoints
        if not endpoints:
            return None
        self._next = at = self._next + 1
        return endpoints[at % len(endpoints)]

    def update_endpoints(self, addresses: Iterable[Address]) -> None:
        """Replace the address list; endpoints that stay keep their connections, the others drain."""
        wanted = list(dict.fromkeys(addresses))
        if self.settings.discovery is DiscoveryType.LOGICAL_DNS:
            # One endpoint, whose address is the first of them.
            wanted = wanted[:1]
            if self._endpoints and wanted:
                self._endpoints[0].move(wanted[0])
                return
        known = {endpoint.address: endpoint for endpoint in self._endpoints}
        updated = tuple(
            known.pop(address) if address in known else Endpoint(address, self.settings, self.stats)
            for address in wanted
        )
        if known or len(updated) != len(self._endpoints):
            self.stats.membership_change += 1
        self._endpoints = updated
        for endpoint in known.values():
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
