"""The `health_check` filter as the configuration fixes it (envoy.extensions.filters.http.health_check.v3)."""

from dataclasses import dataclass

from fastproxy.match.settings import HeaderMatch


@dataclass(frozen=True, slots=True)
class HealthCheckSettings:
    """`HealthCheck`."""

    headers: tuple[HeaderMatch, ...] = ()
    """Which requests are health checks: all conditions hold; with none, every request is one."""
    is_pass_through: bool = False
    """The upstream is asked; otherwise the proxy answers for itself."""
    cache_time_s: float = 0.0
    """How long the upstream's answer stands for the checks that follow; 0: each is asked."""
    min_healthy_percentages: tuple[tuple[str, int], ...] = ()
    """Clusters, and how much of each must be healthy, rounded up; empty: the proxy looks at none."""
    service_cluster: str = ""
    """`node.cluster`, which answers tell."""
    is_off_by_default: bool = False


@dataclass(frozen=True, slots=True)
class HealthCheckRouteSettings:
    """What a route may say: nothing but on or off (`FilterConfig`)."""

    is_off: bool = False
