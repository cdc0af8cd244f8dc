"""How much of the requests each priority gets, from the health of all of them (spec/clusters.md sections 3.3, 3.4).

Plain arithmetic, in whole percents, step by step as Envoy does it, so that shares agree to the last percent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from fastproxy.upstream.endpoint import Endpoint


@final
class PriorityHealth:
    """The endpoints of one priority, by what may be done with them."""

    __slots__ = ("all", "degraded", "excluded", "healthy")

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self.all = tuple(endpoints)
        self.healthy = tuple(endpoint for endpoint in endpoints if endpoint.is_healthy)
        self.degraded = tuple(endpoint for endpoint in endpoints if endpoint.is_degraded)
        self.excluded = frozenset(endpoint for endpoint in endpoints if endpoint.is_excluded)

    def availability(self, overprovisioning_factor: int, *, weighted: bool) -> tuple[int, int]:
        """What the healthy endpoints can take, and the degraded ones, in percent of what may come; 100 at most.

        Args:
            overprovisioning_factor: in percent; how much more than its share an endpoint can take.
            weighted: count weights instead of endpoints.
        """

        def size(endpoints: Sequence[Endpoint]) -> int:
            counted = [endpoint for endpoint in endpoints if endpoint not in self.excluded]
            return sum(endpoint.weight for endpoint in counted) if weighted else len(counted)

        total = size(self.all)
        if not total:
            return 0, 0
        healthy = min(100, overprovisioning_factor * size(self.healthy) // total)
        return healthy, min(100, overprovisioning_factor * size(self.degraded) // total)

    def is_below(self, threshold: float) -> bool:
        """Whether fewer than `threshold` percent of the endpoints may be used."""
        total = len(self.all) - len(self.excluded)
        usable = sum(endpoint not in self.excluded for endpoint in (*self.healthy, *self.degraded))
        return (100.0 * usable / total if total else 0.0) < threshold


@dataclass(frozen=True, slots=True)
class PriorityLoad:
    """What one priority gets. Over all priorities the percentages add up to 100."""

    healthy: int
    """Percent of the requests that go to its healthy endpoints; in panic, to all of its endpoints."""
    degraded: int
    """Percent of the requests that go to its degraded endpoints."""
    panic: bool
    """Too few are usable: health is ignored."""


def share_load(
    levels: Sequence[PriorityHealth], *, overprovisioning_factor: int, panic_threshold: float, weighted: bool
) -> list[PriorityLoad]:
    """Share the requests among priorities, the first one as much as it can take, then the next.

    Args:
        levels: the priorities, highest first.
        overprovisioning_factor: in percent.
        panic_threshold: in percent; 0: never panic.
        weighted: count the weights of endpoints instead of their number.

    Returns:
        One entry per priority.
    """
    available = [level.availability(overprovisioning_factor, weighted=weighted) for level in levels]
    total = min(100, sum(healthy + degraded for healthy, degraded in available))
    healthy, degraded = [0] * len(levels), [0] * len(levels)
    if total:
        left = _distribute(healthy, [one for one, _ in available], 100, total)
        left = _distribute(degraded, [one for _, one in available], left, total)
        if left:
            # Lost by rounding down.
            first = next((n for n, load in enumerate(available) if load[0]), -1)
            if first >= 0:
                healthy[first] += left
            else:
                degraded[next(n for n, load in enumerate(available) if load[1])] += left
    panic = [total < 100 and level.is_below(panic_threshold) for level in levels]
    if not total and not panic_threshold:
        healthy[0] = 100
    elif all(panic):
        healthy, degraded = _by_size(levels), [0] * len(levels)
    return [PriorityLoad(*entry) for entry in zip(healthy, degraded, panic, strict=True)]


def _distribute(loads: list[int], available: Sequence[int], left: int, total: int) -> int:
    for index, one in enumerate(available):
        loads[index] = min(left, math.floor(one * 100 / total))
        left -= loads[index]
    return left


def _by_size(levels: Sequence[PriorityHealth]) -> list[int]:
    """Every priority is in panic: each gets as much as it has endpoints."""
    sizes = [len(level.all) for level in levels]
    whole = sum(sizes)
    if not whole:
        return [100] + [0] * (len(levels) - 1)
    loads = [100 * size // whole for size in sizes]
    loads[next(index for index, size in enumerate(sizes) if size)] += 100 - sum(loads)
    return loads
