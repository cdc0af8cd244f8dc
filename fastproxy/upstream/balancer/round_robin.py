"""ROUND_ROBIN: in turn; with weights, each as often as its weight says and as evenly spread as that allows.

The weighted schedule is earliest deadline first, as in Envoy: the n-th turn of an endpoint of weight w is due at n/w.
A heap holds the next turn of each, so a choice costs O(log endpoints). Turns that are due at the same moment go in the
order of the endpoints. Within any sequence of as many choices as the weights add up to, every endpoint has exactly as
many turns as its weight: n/w is computed anew each time, and correctly rounded, so nothing drifts.
"""

from collections.abc import Sequence
from heapq import heapify, heapreplace
from typing import final

from fastproxy.upstream.balancer.picker import Picker, Tools
from fastproxy.upstream.endpoint import Endpoint

# A turn: when it is due, the endpoint's position (so that endpoints are never compared), its number, weight, endpoint.
_Turn = tuple[float, int, int, int, Endpoint]


@final
class Rotation(Picker):
    """Endpoints of equal weight, from a random start: workers must not all begin with the same one."""

    __slots__ = ("_endpoints", "_next")

    def __init__(self, endpoints: Sequence[Endpoint], tools: Tools) -> None:
        self._endpoints = tuple(endpoints)
        self._next = tools.random.randrange(len(endpoints))

    def select(self, hash_value: int | None, attempt: int) -> Endpoint | None:
        """The next one. Hot path."""
        endpoints = self._endpoints
        self._next = at = self._next + 1
        return endpoints[at % len(endpoints)]


@final
class WeightedRotation(Picker):
    """Endpoints of different weights, from a random place in the schedule."""

    __slots__ = ("_turns",)

    def __init__(self, endpoints: Sequence[Endpoint], tools: Tools) -> None:
        self._turns: list[_Turn] = [
            (1 / endpoint.weight, position, 1, endpoint.weight, endpoint)
            for position, endpoint in enumerate(endpoints)
        ]
        heapify(self._turns)
        for _ in range(tools.random.randrange(len(endpoints))):
            self.select(None, 0)

    def select(self, hash_value: int | None, attempt: int) -> Endpoint | None:
        """The one that is due. Hot path."""
        turns = self._turns
        _, position, number, weight, endpoint = turns[0]
        number += 1
        heapreplace(turns, (number / weight, position, number, weight, endpoint))
        return endpoint
