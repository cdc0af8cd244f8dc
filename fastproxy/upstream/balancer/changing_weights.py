"""A weighted rotation whose weights change from moment to moment: by active requests, and by slow start.

Earliest deadline first as in `round_robin`, but the time until an endpoint's next turn is 1 / (its weight at this
moment). So a weight takes effect from an endpoint's next turn on, as in Envoy.
"""

from collections.abc import Sequence
from heapq import heapify, heapreplace
from typing import final

from fastproxy.upstream.balancer.picker import Picker, Tools
from fastproxy.upstream.balancer.settings import SlowStartSettings
from fastproxy.upstream.endpoint import Endpoint

_Turn = tuple[float, int, Endpoint]


@final
class ChangingRotation(Picker):
    """LEAST_REQUEST with weights, and every policy that knows slow start while an endpoint is in it."""

    __slots__ = ("_bias", "_slow_start", "_tools", "_turns")

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        tools: Tools,
        *,
        bias: float = 0.0,
        slow_start: SlowStartSettings | None = None,
    ) -> None:
        """Make the schedule.

        Args:
            endpoints: at least one.
            tools: chance and clock.
            bias: `active_request_bias`; 0: active requests do not count.
            slow_start: None: no endpoint is in it.
        """
        self._bias = bias
        self._slow_start = slow_start
        self._tools = tools
        self._turns: list[_Turn] = [
            (1 / self._weight(endpoint), position, endpoint) for position, endpoint in enumerate(endpoints)
        ]
        heapify(self._turns)
        for _ in range(tools.random.randrange(len(endpoints))):
            self.select(None, 0)

    def select(self, hash_value: int | None, attempt: int) -> Endpoint | None:
        """The one that is due. Hot path."""
        turns = self._turns
        due, position, endpoint = turns[0]
        heapreplace(turns, (due + 1 / self._weight(endpoint), position, endpoint))
        return endpoint

    def _weight(self, endpoint: Endpoint) -> float:
        weight = float(endpoint.weight)
        bias = self._bias
        if bias:
            active = endpoint.stats.rq_total - endpoint.stats.rq_ended
            weight /= float(active + 1) if bias == 1.0 else float(active + 1) ** bias
        if self._slow_start is not None:
            weight *= slow_start_factor(self._slow_start, self._tools.now() - endpoint.available_since)
        return weight


def slow_start_factor(settings: SlowStartSettings, age_s: float) -> float:
    """The part of its weight that an endpoint has `age_s` seconds after it became available; 1 after the window."""
    if age_s >= settings.window_s:
        return 1.0
    # Envoy counts the first second as passed, so that a share is never 0.
    elapsed = max(age_s, 0.001) / settings.window_s
    grown = elapsed if settings.aggression == 1.0 else elapsed ** (1 / settings.aggression)
    return max(grown, settings.min_weight_percent / 100)


@final
class SlowStart(Picker):
    """Changing weights until the last endpoint has left slow start, the plain policy from then on."""

    __slots__ = ("_after", "_during", "_ends_at", "_tools")

    def __init__(self, during: Picker, after: Picker, ends_at: float, tools: Tools) -> None:
        self._during = during
        self._after = after
        self._ends_at = ends_at
        self._tools = tools

    def select(self, hash_value: int | None, attempt: int) -> Endpoint | None:
        """By the schedule of the moment. Hot path."""
        picker = self._during if self._tools.now() < self._ends_at else self._after
        return picker.select(hash_value, attempt)


def with_slow_start(
    plain: Picker,
    settings: SlowStartSettings | None,
    endpoints: Sequence[Endpoint],
    tools: Tools,
    bias: float,
) -> Picker:
    """The plain policy, preceded by slow start if an endpoint is in it."""
    if settings is None:
        return plain
    ends_at = max(endpoint.available_since for endpoint in endpoints) + settings.window_s
    if ends_at <= tools.now():
        return plain
    during = ChangingRotation(endpoints, tools, bias=bias, slow_start=settings)
    return SlowStart(during, plain, ends_at, tools)
