"""One address of a cluster as one worker sees it: connections, counters, and whether it may be used.

Health has one home, `Endpoint.health`. What decides about health (the configuration's `health_status`, active checks,
outlier detection) sets and clears flags of its own there, never those of others, and then calls
`Cluster.on_health_changed()` once, which chooses among the endpoints anew. An endpoint that stays when the list of
addresses changes is the same object: its connections, counters and flags stay with it.
"""

import json
from collections.abc import Mapping

from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.http.headers import HeaderMap
from fastproxy.upstream.balancer.settings import SubsetMatch, encode_value
from fastproxy.upstream.happy_eyeballs import order_addresses
from fastproxy.upstream.monitor import EndpointMonitor
from fastproxy.upstream.pool import ConnectionPool
from fastproxy.upstream.settings import (
    CONTROL_FLAGS,
    DEGRADED_FLAGS,
    EDS_FLAGS,
    EXCLUDED_FLAGS,
    UNHEALTHY_FLAGS,
    Address,
    ClusterSettings,
    EndpointTraits,
    HealthFlag,
    Locality,
    eds_flags,
)
from fastproxy.upstream.stats import ClusterStats, EndpointStats

_LB_METADATA = "envoy.lb"


class Endpoint:
    """One address of a cluster and the connections to it."""

    __slots__ = (
        "_addresses",
        "_cluster_stats",
        "_named",
        "_settings",
        "_traits",
        "address",
        "available_since",
        "filter_metadata",
        "health",
        "is_degraded",
        "is_excluded",
        "is_healthy",
        "is_watched",
        "metadata",
        "monitor",
        "pool",
        "stats",
        "text",
        "weight",
    )

    def __init__(
        self,
        address: Address,
        settings: ClusterSettings,
        stats: ClusterStats,
        traits: EndpointTraits,
        *,
        now: float,
        additional: tuple[Address, ...] = (),
    ) -> None:
        self.address = address
        """Who it is; there may be more addresses to connect to."""
        self.text = str(address)
        self._addresses = order_addresses((address, *additional), settings.connections.happy_eyeballs)
        self.stats = EndpointStats()
        self.pool = ConnectionPool(self._addresses, settings, stats, self.stats)
        self._settings = settings
        self._cluster_stats = stats
        self._named: dict[tuple[str, ConnectionInfo | None], ConnectionPool] = {}
        """Pools for one server name (`auto_sni`), one downstream connection (PROXY header), or both."""
        self.health = eds_flags(traits.health)
        """Why it is not simply healthy; changed only through `set_health` and `describe_as`."""
        self.is_healthy = False
        """Whether it takes its share of the requests. This and the next two follow from `health`."""
        self.is_degraded = False
        """Whether it takes only what the healthy ones cannot."""
        self.is_excluded = False
        """Whether it is left out of account altogether while shares and panic are computed."""
        self._judge()
        self.monitor: EndpointMonitor | None = None
        """Watches its answers; None: there is nothing to watch for."""
        self.available_since = now
        """Monotonic seconds at which it was added, or became healthy again: slow start counts from here."""
        self.weight = traits.weight
        self.filter_metadata = _read_metadata(traits.metadata)
        """All that its metadata says, for formats; None if it has none."""
        self.metadata: Mapping[str, object] = _lb_metadata(self.filter_metadata)
        """The values below `envoy.lb`."""
        self._traits = traits
        self.is_watched = False
        """There is more to do about its responses than to count them."""
        self._settle_watch()

    @property
    def pools(self) -> list[ConnectionPool]:
        """All connections to it."""
        return [self.pool, *self._named.values()]

    def pool_of(self, server_name: str, owner: ConnectionInfo | None) -> ConnectionPool:
        """Connections that are kept apart from others.

        Args:
            server_name: what TLS sends; empty: the cluster's own name.
            owner: the downstream connection for which alone they are made; None: for all.
        """
        if not server_name and owner is None:
            return self.pool
        pool = self._named.get((server_name, owner))
        if pool is None:
            pool = ConnectionPool(
                self._addresses,
                self._settings,
                self._cluster_stats,
                self.stats,
                server_name=server_name,
                owner=owner,
            )
            pool.is_healthy = self.is_healthy
            self._named[server_name, owner] = pool
        return pool

    def close_idle(self, now: float) -> None:
        """Close what was idle for too long, and forget names and owners that nothing is left of."""
        for pool in self.pools:
            pool.close_idle(now)
        if self._named:
            for (_, owner), pool in self._named.items():
                if owner is not None and owner.is_closed:
                    pool.drain()
            self._named = {key: pool for key, pool in self._named.items() if not pool.is_empty}

    def watch(self, monitor: EndpointMonitor) -> None:
        """Have its answers watched."""
        self.monitor = monitor
        self._settle_watch()

    def _settle_watch(self) -> None:
        self.is_watched = self.monitor is not None or self.is_canary

    def count_response(self, status: int, headers: HeaderMap) -> None:
        """It has answered; for all responses of an endpoint that `is_watched`, and for failures of others."""
        if self.is_canary:
            self._cluster_stats.canary_statuses[status] += 1
        if status < 500:
            self.stats.rq_success += 1
        else:
            self.stats.rq_error += 1
        if self.monitor is not None:
            self.monitor.on_response(status, headers)

    def count_failure(self) -> None:
        """It has not answered, and is to blame."""
        self.stats.rq_error += 1
        if self.monitor is not None:
            self.monitor.on_no_response()

    def count_timeout(self) -> None:
        """It has not answered in time."""
        self.stats.rq_timeout += 1
        if self.monitor is not None:
            self.monitor.on_no_response()

    @property
    def traits(self) -> EndpointTraits:
        """What the configuration or discovery says about it."""
        return self._traits

    @property
    def priority(self) -> int:
        """Priority of its locality; 0 is the highest."""
        return self._traits.priority

    @property
    def locality(self) -> Locality:
        """Where it is."""
        return self._traits.locality

    @property
    def active_requests(self) -> int:
        """Requests of this worker that are with it now."""
        return self.stats.rq_total - self.stats.rq_ended

    @property
    def is_canary(self) -> bool:
        """Whether its metadata says `canary: true` below `envoy.lb`."""
        return self.metadata.get("canary") is True

    def has_metadata(self, match: SubsetMatch) -> bool:
        """Whether its metadata has every key and value of `match`."""
        return all(
            key in self.metadata and encode_value(self.metadata[key]) == value
            for key, value in match.criteria
        )

    @property
    def open_connections(self) -> int:
        """Connections of this worker to it, those of no pool included."""
        return sum(pool.open_connections for pool in self.pools) + self.stats.tcp_open

    def set_health(self, flag: HealthFlag, *, on: bool, now: float) -> bool:
        """Set or clear a flag; call `Cluster.on_health_changed` when all changes of the moment are made.

        Args:
            flag: one flag or several.
            on: whether it is to be set.
            now: monotonic seconds.

        Returns:
            Whether anything changed.
        """
        return self._replace_health(self.health | flag if on else self.health & ~flag, now)

    def take_over_health(self, flags: HealthFlag, now: float) -> bool:
        """Replace the flags that the control plane decides; whether anything changed. As `set_health` otherwise."""
        return self._replace_health(self.health & ~CONTROL_FLAGS | flags & CONTROL_FLAGS, now)

    def describe_as(self, traits: EndpointTraits, now: float) -> bool:
        """Take over what is said about the endpoint now; False if that is what was said before."""
        if traits == self._traits:
            return False
        if traits.metadata != self._traits.metadata:
            self.filter_metadata = _read_metadata(traits.metadata)
            self.metadata = _lb_metadata(self.filter_metadata)
            self._settle_watch()
        self._traits = traits
        self.weight = traits.weight
        self._replace_health(self.health & ~EDS_FLAGS | eds_flags(traits.health), now)
        return True

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where its connections are made to, in the order of attempts."""
        return self._addresses

    def move(self, address: Address, additional: tuple[Address, ...] = ()) -> None:
        """It is found at other addresses now: new connections go there, old ones stay."""
        self.address = address
        self._addresses = order_addresses((address, *additional), self._settings.connections.happy_eyeballs)
        for pool in self.pools:
            pool.addresses = self._addresses
        self.text = str(address)

    def _replace_health(self, health: HealthFlag, now: float) -> bool:
        if health == self.health:
            return False
        was_healthy = self.is_healthy
        self.health = health
        self._judge()
        if self.is_healthy and not was_healthy:
            self.available_since = now
        return True

    def _judge(self) -> None:
        unhealthy, degraded = bool(self.health & UNHEALTHY_FLAGS), bool(self.health & DEGRADED_FLAGS)
        self.is_healthy = not (unhealthy or degraded)
        for pool in self.pools:
            pool.is_healthy = self.is_healthy
        self.is_degraded = degraded and not unhealthy
        self.is_excluded = bool(self.health & EXCLUDED_FLAGS)


def _read_metadata(text: str) -> Mapping[str, object] | None:
    found: object = json.loads(text) if text else None
    return found if isinstance(found, dict) else None


def _lb_metadata(metadata: Mapping[str, object] | None) -> Mapping[str, object]:
    found = None if metadata is None else metadata.get(_LB_METADATA)
    return found if isinstance(found, dict) else {}
