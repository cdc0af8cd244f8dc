"""What the admin pages may see and do. The control plane implements it; tests use a small fake."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from fastproxy.config.settings import ProxySettings
from fastproxy.control.key_history import RemovedKey
from fastproxy.control.reload_status import ReloadStatus
from fastproxy.control.resources import ResourceStatus
from fastproxy.control.tls_watcher import TlsState
from fastproxy.control.totals import MergedStats
from fastproxy.ipc.messages import EndpointAddress


class ServerState(Enum):
    """Envoy's `ServerInfo.State`; the value is its number in `server.state`."""

    LIVE = 0
    DRAINING = 1
    PRE_INITIALIZING = 2
    INITIALIZING = 3


@dataclass(frozen=True, slots=True)
class ListenerStatus:
    """One listener as bound."""

    name: str
    addresses: tuple[tuple[str, int], ...]
    """Host and port, the first address first; a Unix domain socket has its path for a host."""


@dataclass(frozen=True, slots=True)
class OutlierStatus:
    """Success rates of the last interval in percent; -1 where there were too few requests."""

    average: float
    threshold: float
    local_average: float
    local_threshold: float
    rates: Mapping[str, tuple[float, float]]
    """`ip:port` -> success rate, and that of local origin."""


@dataclass(frozen=True, slots=True)
class JwksStatus:
    """The keys of one provider as /jwks shows them: names of keys, never key material."""

    provider: str
    issuer: str
    source: str
    """URI, file name or `inline_string`."""
    cluster: str
    """Empty for local keys, and for discovery by DNS."""
    epoch: int
    keys: tuple[dict[str, str], ...]
    fetched_at: float | None
    """Unix time of the last good fetch, or at which a file's keys were read."""
    expires_in_s: float | None
    """Seconds until the keys are stale; negative: since then."""
    withdrawn_in_s: float | None
    """Seconds until stale keys are withdrawn if no fetch succeeds."""
    next_fetch_in_s: float | None
    last_error: str
    failures: int
    """Failed fetches since the last good one."""
    kind: str = "remote"
    """`remote`, `discovery`, `file`, or `configuration`: inline and environment, which never change."""
    from_snapshot: bool = False
    """The keys come from disk: no fetch has succeeded since the start."""
    keys_since: tuple[float, ...] = ()
    """Unix time since when each of `keys` is in the set, as far as this run knows; empty for keys that never change."""
    removed: tuple[RemovedKey, ...] = ()
    """Keys that left the set in this run, the latest first."""
    public_keys: str = ""
    """The key set as the issuer publishes it, for fetched keys alone; shown to whoever asks for it."""


class AdminView(Protocol):
    """The control plane as the admin pages see it."""

    @property
    def settings(self) -> ProxySettings:
        """The configuration in force."""
        ...

    @property
    def state(self) -> ServerState:
        """Where in its life the proxy is."""
        ...

    def uptime_s(self) -> float:
        """Seconds since the start."""
        ...

    async def collect_stats(self) -> MergedStats:
        """Ask all workers and sum up; bounded in time."""
        ...

    def endpoints(self, cluster: str) -> Iterable[EndpointAddress]:
        """Current addresses of a cluster."""
        ...

    def outliers(self, cluster: str) -> "OutlierStatus | None":
        """What outlier detection found in a cluster; None if it is not on."""
        ...

    def listeners(self) -> Iterable[ListenerStatus]:
        """The listeners as bound."""
        ...

    def jwks(self) -> Iterable[JwksStatus]:
        """The keys of every provider."""
        ...

    def reload_status(self) -> ReloadStatus:
        """How reloads went."""
        ...

    def overprovisioning_factor(self, cluster: str) -> int:
        """What the file that has the endpoints of a cluster says; 0: nothing."""
        ...

    def dynamic_clusters(self) -> Collection[str]:
        """Names of the clusters that come from a file."""
        ...

    def resources(self) -> Iterable[ResourceStatus]:
        """The files with clusters, listeners, routes and endpoints."""
        ...

    def tls(self) -> TlsState:
        """The certificates of every listener."""
        ...

    def config_dump(self) -> dict[str, Any]:
        """The configuration in Envoy's `ConfigDump` shape, secrets redacted."""
        ...

    def command_line_options(self) -> dict[str, Any]:
        """What /server_info shows of the command line."""
        ...

    def set_log_level(self, level: str, component: str) -> None:
        """Change the log level here and in the workers; ValueError: no such level."""
        ...

    def process_ids(self) -> tuple[int, ...]:
        """The control plane's, then the workers'."""
        ...

    def set_health(self, *, failed: bool) -> None:
        """Fail the health checks of others, or let them pass again."""
        ...

    def drain_listeners(self, *, graceful: bool, inbound_only: bool, skip_exit: bool) -> None:
        """Stop listening, at once or when the drain time is over (`Departure.drain_listeners`)."""
        ...

    async def reset_counters(self) -> None:
        """Let every counter begin at 0 again."""
        ...

    def reopen_logs(self) -> None:
        """Make the workers reopen their access logs."""
        ...

    def request_shutdown(self, reason: str) -> None:
        """Drain and exit, as SIGTERM does."""
        ...
