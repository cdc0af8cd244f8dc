"""`CircuitBreakers` (envoy.config.cluster.v3): limits of what a cluster is burdened with."""

from fastproxy.config.view import View
from fastproxy.upstream.settings import NO_LIMIT, RetryBudgetSettings, ThresholdSettings

_PRIORITIES = ("DEFAULT", "HIGH")


def build_thresholds(cluster: View) -> tuple[ThresholdSettings, ThresholdSettings]:
    """The thresholds of routes of priority DEFAULT, and of priority HIGH; Envoy's defaults where nothing is said."""
    found: dict[str, ThresholdSettings] = {}
    breakers = cluster.child("circuit_breakers")
    if breakers is not None:
        for view in breakers.children("thresholds"):
            # Envoy: of two with one priority the first one counts.
            found.setdefault(view.only("priority", _PRIORITIES), _build(view))
    default, high = (found.get(priority, ThresholdSettings()) for priority in _PRIORITIES)
    return default, high


def build_endpoint_limit(cluster: View) -> int:
    """`per_host_thresholds`: connections to one endpoint. Like Envoy, it knows no other limit there."""
    limit = NO_LIMIT
    breakers = cluster.child("circuit_breakers")
    if breakers is None:
        return limit
    for view in breakers.children("per_host_thresholds"):
        for field in (
            "max_pending_requests",
            "max_requests",
            "max_retries",
            "retry_budget",
            "track_remaining",
            "max_connection_pools",
        ):
            view.unsupported(field, "there is no such limit for one endpoint", "Set it in thresholds")
        if view.choice("priority") == "DEFAULT":
            limit = view.integer_or("max_connections", limit)
        else:
            view.unsupported(
                "priority",
                "connections to an endpoint are limited whatever the priority",
                "Remove the priority",
            )
    return limit


def _build(view: View) -> ThresholdSettings:
    budget = view.child("retry_budget")
    if budget is not None and view.has("max_retries"):
        view.without_effect("max_retries", "retry_budget takes its place")
    default = ThresholdSettings()
    return ThresholdSettings(
        max_connections=view.integer_or("max_connections", default.max_connections),
        max_pending_requests=view.integer_or("max_pending_requests", default.max_pending_requests),
        max_requests=view.integer_or("max_requests", default.max_requests),
        max_retries=view.integer_or("max_retries", default.max_retries),
        retry_budget=None if budget is None else _build_budget(budget),
        max_connection_pools=view.integer_or("max_connection_pools", default.max_connection_pools),
        track_remaining=view.flag("track_remaining"),
    )


def _build_budget(budget: View) -> RetryBudgetSettings:
    default = RetryBudgetSettings()
    percent = budget.child("budget_percent")
    return RetryBudgetSettings(
        percent=default.percent if percent is None else percent.number("value"),
        min_concurrency=budget.integer_or("min_retry_concurrency", default.min_concurrency),
    )
