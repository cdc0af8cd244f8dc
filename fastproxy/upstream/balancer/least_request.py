"""LEAST_REQUEST: the one with the fewest active requests among a few chosen by chance (the power of two choices).

Two random choices already bring the longest queue from log n / log log n down to log log n (Mitzenmacher 2001), and
need no look at all endpoints. With unequal weights Envoy uses a schedule instead: see `changing_weights`.
"""

from collections.abc import Sequence
from typing import final

from fastproxy.upstream.balancer.picker import Picker, Tools
from fastproxy.upstream.endpoint import Endpoint


@final
class LeastOfSome(Picker):
    """Looks at `choice_count` endpoints, which may be the same one."""

    __slots__ = ("_choices", "_endpoints", "_random")

    def __init__(self, endpoints: Sequence[Endpoint], tools: Tools, choice_count: int) -> None:
        self._endpoints = tuple(endpoints)
        self._choices = range(choice_count - 1)
        self._random = tools.random.random

    def select(self, hash_value: int | None, attempt: int) -> Endpoint | None:
        """The least busy of a few. Hot path."""
        endpoints, random = self._endpoints, self._random
        count = len(endpoints)
        best = endpoints[int(random() * count)]
        fewest = best.stats.rq_total - best.stats.rq_ended
        for _ in self._choices:
            other = endpoints[int(random() * count)]
            active = other.stats.rq_total - other.stats.rq_ended
            if active < fewest:
                best, fewest = other, active
        return best


@final
class LeastOfAll(Picker):
    """`selection_method: FULL_SCAN`: looks at every endpoint; among equals chance decides."""

    __slots__ = ("_endpoints", "_random")

    def __init__(self, endpoints: Sequence[Endpoint], tools: Tools) -> None:
        self._endpoints = tuple(endpoints)
        self._random = tools.random.random

    def select(self, hash_value: int | None, attempt: int) -> Endpoint | None:
        """The least busy of all. Takes time for each of them."""
        active = [endpoint.active_requests for endpoint in self._endpoints]
        fewest = min(active)
        least = [endpoint for endpoint, count in zip(self._endpoints, active, strict=True) if count == fewest]
        return least[int(self._random() * len(least))]
