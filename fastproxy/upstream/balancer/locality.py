"""`locality_weighted_lb_config`: requests are spread over localities first, by the weights of these.

A locality's weight counts in full while enough of its endpoints are usable, and shrinks with them beyond that: weight *
min(1, 1.4 * usable / all), with the overprovisioning factor of the cluster. A locality without a weight gets nothing.
"""

from collections.abc import Callable, Sequence
from heapq import heapify, heapreplace
from typing import final

from fastproxy.upstream.balancer.loads import PriorityHealth
from fastproxy.upstream.balancer.picker import Picker, Tools
from fastproxy.upstream.endpoint import Endpoint
from fastproxy.upstream.settings import Locality


def effective_weights(
    level: PriorityHealth, usable: Sequence[Endpoint], overprovisioning_factor: int
) -> list[tuple[float, tuple[Endpoint, ...]]]:
    """The localities of one priority that get requests: weight, and endpoints to choose among."""
    members: dict[Locality, list[Endpoint]] = {}
    counted: dict[Locality, int] = {}
    for endpoint in usable:
        members.setdefault(endpoint.locality, []).append(endpoint)
    for endpoint in level.all:
        if endpoint not in level.excluded:
            counted[endpoint.locality] = counted.get(endpoint.locality, 0) + 1
    found = []
    for where, endpoints in members.items():
        weight = endpoints[0].traits.locality_weight
        part = min(1.0, overprovisioning_factor / 100 * len(endpoints) / max(1, counted.get(where, 0)))
        if weight:
            found.append((weight * part, tuple(endpoints)))
    return found


def hash_shares(localities: Sequence[tuple[float, tuple[Endpoint, ...]]]) -> dict[Endpoint, float]:
    """Shares of a ring or table: of each locality by its weight, within it by the endpoints' weights."""
    whole = sum(weight for weight, _ in localities)
    shares = {}
    for weight, endpoints in localities:
        within = sum(endpoint.weight for endpoint in endpoints)
        for endpoint in endpoints:
            shares[endpoint] = weight / whole * endpoint.weight / within
    return shares


@final
class LocalityPicker(Picker):
    """A weighted rotation over localities (earliest deadline first, as in `round_robin`)."""

    __slots__ = ("_turns",)

    def __init__(
        self,
        localities: Sequence[tuple[float, tuple[Endpoint, ...]]],
        build: Callable[[Sequence[Endpoint]], Picker],
        tools: Tools,
    ) -> None:
        """Make one picker for each locality.

        Args:
            localities: weights above 0 and endpoints; at least one.
            build: makes the picker of one locality.
            tools: chance.
        """
        self._turns: list[tuple[float, int, int, float, Picker]] = [
            (1 / weight, position, 1, weight, build(endpoints))
            for position, (weight, endpoints) in enumerate(localities)
        ]
        heapify(self._turns)
        for _ in range(tools.random.randrange(len(localities))):
            self._next()

    def select(self, hash_value: int | None, attempt: int) -> Endpoint | None:
        """The locality that is due chooses. Hot path."""
        return self._next().select(hash_value, attempt)

    def _next(self) -> Picker:
        _, position, number, weight, picker = self._turns[0]
        number += 1
        heapreplace(self._turns, (number / weight, position, number, weight, picker))
        return picker
