"""A TCP proxy as the configuration fixes it (Envoy `TcpProxy`). Durations are seconds."""

from dataclasses import dataclass, field

from fastproxy.listener.settings.access_log import AccessLogSettings
from fastproxy.upstream.balancer.settings import SubsetMatch


@dataclass(frozen=True, slots=True)
class TcpCluster:
    """One of the clusters that connections go to."""

    name: str
    """Not checked when the configuration is loaded: without such a cluster connections are cut (as in Envoy)."""
    weight: int = 1
    subset: SubsetMatch | None = None
    """`metadata_match`: to which subset of the cluster."""


@dataclass(frozen=True, slots=True)
class TcpBackoff:
    """The pause between two connect attempts (`backoff_options`)."""

    base_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class TcpProxySettings:
    """How connections are passed on (Envoy `TcpProxy`)."""

    stat_prefix: str
    clusters: tuple[TcpCluster, ...]
    """At least one, of a weight above 0 together."""
    idle_timeout_s: float = 3600.0
    """No byte in either direction for so long: the connection is closed; 0 = never."""
    max_connect_attempts: int = 1
    backoff: TcpBackoff | None = None
    max_connection_duration_s: float = 0.0
    """0 = any time."""
    max_connection_duration_jitter: float = 0.0
    """The share of the duration that chance may add to it."""
    hashes_source_ip: bool = False
    """Clusters that choose by a hash get that of the downstream's address."""
    access_logs: tuple[AccessLogSettings, ...] = ()
    access_log_interval_s: float = 0.0
    """A line every so often while the connection is open; 0 = only at its end."""
    logs_connected: bool = False
    """A line as soon as the upstream is connected, too."""
    config_path: str = field(default="", compare=False, repr=False)
    """Where it stands in the configuration, for messages."""
