"""What a cluster may be burdened with (Envoy `CircuitBreakers`)."""

from dataclasses import dataclass

#: Envoy's number for a limit that is none.
NO_LIMIT = 4294967295
#: Numbers of each cluster that the workers share: connections, pending requests, requests and retries, once for each
#: of the two priorities.
SHARED_ROWS_PER_CLUSTER = 8


@dataclass(frozen=True, slots=True)
class RetryBudgetSettings:
    """`retry_budget`: retries as a share of the requests of the moment, instead of `max_retries`."""

    percent: float = 20.0
    """Of the requests under way and waiting."""
    min_concurrency: int = 3
    """So many are allowed in any case."""


@dataclass(frozen=True, slots=True)
class ThresholdSettings:
    """What a cluster may be burdened with by routes of one priority (Envoy `CircuitBreakers.Thresholds`)."""

    max_connections: int = 1024
    max_pending_requests: int = 1024
    """Requests that wait for a connection."""
    max_requests: int = 1024
    """Requests under way."""
    max_retries: int = 3
    """Retries under way, those that wait for their turn included."""
    retry_budget: RetryBudgetSettings | None = None
    max_connection_pools: int = NO_LIMIT
    """Endpoints that one worker has connections to at a time."""
    track_remaining: bool = False
    """Show what is left of each limit as a gauge."""
