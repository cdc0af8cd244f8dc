"""How all workers change to another configuration, or none does."""

from dataclasses import dataclass, field

from fastproxy.ipc.messages.life import ListenerSocket


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
