"""How a worker begins, lives and ends."""

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
class Drained:
    """Nothing is in flight any more."""

    worker_id: int
