"""Priorities at the moment of a request: which one, and what its state means for the choice."""

from collections.abc import Sequence
from typing import final

from fastproxy.upstream.balancer.picker import Picker, Tools
from fastproxy.upstream.endpoint import Endpoint


@final
class PriorityPicker(Picker):
    """Spreads requests over several pickers by percent; made only where there is more than one with a share."""

    __slots__ = ("_random", "_slots")

    def __init__(self, parts: Sequence[tuple[int, Picker]], tools: Tools) -> None:
        """Lay out the shares.

        Args:
            parts: percentages, which add up to 100, and who serves them.
            tools: chance, for requests that have no hash.
        """
        self._slots = [picker for percent, picker in parts for _ in range(percent)]
        assert len(self._slots) == 100
        self._random = tools.random.random

    def select(self, hash_value: int | None, attempt: int) -> Endpoint | None:
        """By the hash, so that equal requests stay together, or by chance. Hot path."""
        slot = int(self._random() * 100) if hash_value is None else hash_value % 100
        return self._slots[slot].select(hash_value, attempt)


@final
class Panic(Picker):
    """A priority in panic: counts, and passes on to a picker that ignores health, or to nobody."""

    __slots__ = ("_inner", "_stats")

    def __init__(self, inner: Picker, tools: Tools) -> None:
        self._inner = inner
        self._stats = tools.stats

    def select(self, hash_value: int | None, attempt: int) -> Endpoint | None:
        """Any endpoint, healthy or not. Hot path."""
        self._stats.lb_healthy_panic += 1
        return self._inner.select(hash_value, attempt)


@final
class ByChance(Picker):
    """Hides the hash from priorities of a policy that does not go by it: Envoy chooses those by chance then."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Picker) -> None:
        self._inner = inner

    def select(self, hash_value: int | None, attempt: int) -> Endpoint | None:
        """As without a hash. Hot path."""
        return self._inner.select(None, attempt)
