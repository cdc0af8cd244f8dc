"""The messages. Plain data only; every field is JSON, so that a message can be read and none runs code.

`main -> worker`: WorkerInit (first, once), then the state of the moment, then StartServing; after that
ClusterEndpoints, EndpointHealth, TallyRequest, JwksUpdate, JwksFetchFailed, TlsFilesUpdate, StatsRequest, SetLogLevel,
ReopenAccessLogs, Drain.
A reload: Prepare to all workers; when each has said Prepared, to all of them Commit, the state for the new
configuration, and StartServing, which is when they switch; when one has said PrepareFailed, Abort to all.
`worker -> main`: WorkerReady, WorkerFailed, JwksRefreshRequest, ClusterUsed, ImmediateFailure, EndpointOutlier,
OutlierTally, StatsSnapshot, Prepared, PrepareFailed, Switched, Drained.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ListenerSocket:
    """A listening socket that `main` opened; the descriptor itself travels by `fastproxy.ipc.handover`."""

    listener_index: int
    """Position in `ProxySettings.listeners`."""
    number: int
    """The socket's name for as long as it is open; one that the worker has already is not sent again."""


@dataclass(frozen=True, slots=True)
class WorkerInit:
    """Everything a worker needs to build its runtime: it inherits nothing but the descriptors named here."""

    worker_id: int
    concurrency: int
    bootstrap: str
    """The serialised `Bootstrap` protobuf, base64."""
    log_level: str
    sockets: list[ListenerSocket] = field(default_factory=list)
    generation: int = 1
    """Which configuration this is: 1 at the start, one more with every reload."""
    counts_fd: int = -1
    """The memory in which workers count together (`SharedCounts`); -1 for a worker that is the only one."""
    counts_rows: int = 0
    """How many rows it has."""
    count_blocks: dict[str, int] = field(default_factory=dict)
    """Its first row of each cluster."""
    log_format: str = ""
    """Layout of the application log; empty: Envoy's default."""
    access_log_flush_s: float = 1.0
    """How long lines of access logs may wait to be written."""
    access_log_flush_bytes: int = 64 * 1024
    """How much of an access log may wait."""


@dataclass(frozen=True, slots=True)
class StartServing:
    """The worker has been told everything there is to know: endpoints and keys. It may accept now.

    After Commit: it serves by the new configuration from now on.
    """


@dataclass(frozen=True, slots=True)
class Prepare:
    """Build the runtime of another configuration beside the one that serves, and say whether it can be."""

    generation: int
    bootstrap: str
    """The serialised `Bootstrap` protobuf, base64."""
    sockets: list[ListenerSocket]
    """All sockets of the new configuration; those that it shares with the old one keep their numbers."""
    kept_sources: list[str]
    """Key sources that mean the same in both: their keys, and verdicts made by them, stay in force."""
    count_blocks: dict[str, int] = field(default_factory=dict)
    """As in WorkerInit."""


@dataclass(frozen=True, slots=True)
class Commit:
    """All workers are prepared. What follows up to StartServing is the state for the new configuration."""

    generation: int


@dataclass(frozen=True, slots=True)
class Abort:
    """Forget what was prepared."""

    generation: int


@dataclass(frozen=True, slots=True)
class AdditionalAddress:
    """Another address of the same endpoint."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class EndpointAddress:
    """One address of a cluster, resolved by the control plane, and what the configuration says about it."""

    host: str
    """IP literal, or the path of a Unix domain socket."""
    port: int
    hostname: str
    weight: int = 1
    priority: int = 0
    region: str = ""
    zone: str = ""
    sub_zone: str = ""
    locality_weight: int = 0
    health: str = "UNKNOWN"
    """Envoy's `health_status`, by name."""
    metadata: str = ""
    """`filter_metadata` as a JSON object; empty if there is none."""
    flags: int = 0
    """`HealthFlag`s that the control plane decides: active checks, ejections."""
    check_host: str = ""
    """Where it is checked, if not at its own address; workers do not look at this and what follows."""
    check_port: int = 0
    check_hostname: str = ""
    unchecked: bool = False
    """`disable_active_health_check`."""
    additional: tuple[AdditionalAddress, ...] = ()
    """The same host at other addresses."""


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """The flags of one endpoint that the control plane decides, all of them."""

    cluster: str
    address: str
    """`ip:port`, or the path of a socket."""
    flags: int


@dataclass(frozen=True, slots=True)
class ClusterUsed:
    """A worker has made its first connection to a cluster: its health checks go over to their usual interval."""

    cluster: str


@dataclass(frozen=True, slots=True)
class ImmediateFailure:
    """An endpoint asked to be taken out of use, in the answer to a request (`x-envoy-immediate-health-check-fail`).

    The worker has done so already; the answer is EndpointHealth to all workers.
    """

    cluster: str
    address: str


@dataclass(frozen=True, slots=True)
class EndpointOutlier:
    """An endpoint failed too often in a row in one worker; the answer is EndpointHealth to all workers."""

    cluster: str
    address: str
    kind: str
    """`OutlierKind`, by value."""
    enforced: bool
    """The enforcing percentage allows an ejection. The worker may have made it already."""


@dataclass(frozen=True, slots=True)
class TallyRequest:
    """Ask how requests to the endpoints of a cluster ended since the last time; the answer is OutlierTally."""

    cluster: str


@dataclass(frozen=True, slots=True)
class OutlierTally:
    """Answer to TallyRequest, unless there were no requests."""

    cluster: str
    hosts: dict[str, list[int]]
    """`ip:port` -> successes, failures, local successes, local failures."""


@dataclass(frozen=True, slots=True)
class ClusterEndpoints:
    """The complete current address list of a cluster; replaces what the worker had."""

    cluster: str
    endpoints: list[EndpointAddress]
    overprovisioning_factor: int = 0
    """`policy` of a ClusterLoadAssignment from a file; 0: as the cluster has it."""
    weighted_priority_health: bool = False
    """The same; of no meaning without a factor."""


@dataclass(frozen=True, slots=True)
class JwksUpdate:
    """New keys for a source. Sent to all workers in one go; a higher `epoch` replaces a lower one.

    The epoch that the worker has already means: a fetch brought nothing new, or was not due. What it has is
    current, and requests that wait must be judged on it. This answer may go to the asking worker alone.
    An empty `jwks` withdraws the keys: `max_stale` has passed, fail closed.
    Keys of watched `local_jwks` files come in the same way, and only they may hold symmetric keys; which sources
    are local is for the receiver's configuration to say.
    """

    source_id: str
    epoch: int
    jwks: str
    fetched: bool = True
    """False: no fetch was made for this answer, so a key that is missing from it may exist all the same."""


@dataclass(frozen=True, slots=True)
class JwksFetchFailed:
    """A fetch failed; requests that wait for it must stop waiting. Keys that are held stay in force."""

    source_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class JwksRefreshRequest:
    """A worker met a token whose key it does not have (`kid` unknown, or no keys at all).

    The control plane decides whether a fetch is due (single flight, cool-down) and always answers with
    JwksUpdate or JwksFetchFailed for this source: to all workers if it fetched, else to the one that asked.
    """

    source_id: str


@dataclass(frozen=True, slots=True)
class TlsFilesUpdate:
    """What the files hold that TLS on listeners is made from. Never logged: private keys are among it.

    All of them together, for a certificate and its key only make sense as a pair; the control plane has tried them.
    """

    epoch: int
    files: dict[str, str] = field(repr=False)
    """Content by file name, base64."""


@dataclass(frozen=True, slots=True)
class StatsRequest:
    """Ask for a snapshot; the answer carries the same `request_id`."""

    request_id: int


@dataclass(frozen=True, slots=True)
class StatsSnapshot:
    """Totals since the worker started. `request_id` 0: sent unasked, every few seconds."""

    worker_id: int
    request_id: int
    counters: dict[str, int]
    gauges: dict[str, int]
    histograms: dict[str, list[float]]
    """Name -> cumulative bucket counts (see fastproxy.stats.BUCKETS), then sum, then count."""
    hosts: dict[str, dict[str, dict[str, int]]]
    """cluster -> `ip:port` -> cx_active, cx_total, rq_total, rq_success, rq_error... for /clusters."""


@dataclass(frozen=True, slots=True)
class SetLogLevel:
    """Change the application log level."""

    level: str
    component: str = ""
    """One component (`fastproxy.logs`); empty means all of them."""


@dataclass(frozen=True, slots=True)
class ReopenAccessLogs:
    """Close and reopen access log files (SIGUSR1, after rotation)."""


@dataclass(frozen=True, slots=True)
class SetFarewell:
    """What the operator has said about the end of this proxy (`fastproxy.farewell`)."""

    health_failed: bool
    drain_from: float
    """Monotonic time, which all processes share; negative: no drain."""
    drain_s: float


@dataclass(frozen=True, slots=True)
class StopListening:
    """Close these listening sockets; what is open stays open."""

    listeners: list[int]
    """Positions in the configuration."""
    sockets: list[int]
    """Numbers of their sockets."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Stop accepting, finish what is in flight with `connection: close`, then say Drained and exit."""

    drain_time_s: float
    idle_grace_s: float = 0.0
    """A connection between two requests is closed when it has been idle for so long: the next request may be on
    its way already, and is answered then. 0: at once."""


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """The runtime is built and every listener accepts."""

    worker_id: int


@dataclass(frozen=True, slots=True)
class WorkerFailed:
    """The worker could not start; `reason` is fit for an operator."""

    worker_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """The runtime of the new configuration is built, and nothing but the switch is left to do."""

    worker_id: int
    generation: int


@dataclass(frozen=True, slots=True)
class PrepareFailed:
    """This worker cannot run the new configuration; `reason` is fit for an operator."""

    worker_id: int
    generation: int
    reason: str


@dataclass(frozen=True, slots=True)
class Switched:
    """The worker serves by the new configuration."""

    worker_id: int
    generation: int


@dataclass(frozen=True, slots=True)
class Drained:
    """Nothing is in flight any more."""

    worker_id: int


ToWorker = (
    WorkerInit
    | StartServing
    | ClusterEndpoints
    | EndpointHealth
    | TallyRequest
    | JwksUpdate
    | JwksFetchFailed
    | TlsFilesUpdate
    | StatsRequest
    | SetLogLevel
    | ReopenAccessLogs
    | SetFarewell
    | StopListening
    | Drain
    | Prepare
    | Commit
    | Abort
)
ToMain = (
    WorkerReady
    | WorkerFailed
    | JwksRefreshRequest
    | ClusterUsed
    | ImmediateFailure
    | EndpointOutlier
    | OutlierTally
    | StatsSnapshot
    | Prepared
    | PrepareFailed
    | Switched
    | Drained
)
Message = ToWorker | ToMain
