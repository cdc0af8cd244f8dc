"""What all ways of choosing an endpoint have in common."""

from collections.abc import Callable, Iterator, Sequence
from random import Random

from fastproxy.upstream.endpoint import Endpoint
from fastproxy.upstream.stats import ClusterStats


class Picker:
    """Chooses among endpoints that were fixed when it was made. A new list needs a new picker."""

    def select(self, hash_value: int | None, attempt: int) -> Endpoint | None:
        """Choose one. Hot path: once per request.

        Args:
            hash_value: the request's hash, 64 bits, or None; only policies that go by it look at it.
            attempt: 0, or how many choices for the same request were turned down; a policy that goes by the hash
                would choose the same endpoint again otherwise.

        Returns:
            An endpoint; None if there is none that may be used.
        """
        raise NotImplementedError


class TablePicker(Picker):
    """A picker whose table takes time to compute: `build` must have run to its end before the first choice."""

    def build(self) -> Iterator[None]:
        """Compute the table; yields after every millisecond or so of work, so that requests can go on meanwhile."""
        raise NotImplementedError


class Nowhere(Picker):
    """No endpoint at all."""

    def select(self, hash_value: int | None, attempt: int) -> Endpoint | None:
        """None."""
        return None


NOWHERE = Nowhere()


class Tools:
    """What pickers need besides endpoints: chance, a clock, and the cluster's counters."""

    __slots__ = ("now", "random", "stats")

    def __init__(self, random: Random, now: Callable[[], float], stats: ClusterStats) -> None:
        self.random = random
        self.now = now
        """Monotonic seconds."""
        self.stats = stats


def are_equal(weights: Sequence[float]) -> bool:
    """Whether all weights are the same."""
    return not weights or min(weights) == max(weights)
