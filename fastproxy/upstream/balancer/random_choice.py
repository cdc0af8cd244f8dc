"""RANDOM: any endpoint with the same chance; weights do not count (Envoy)."""

from collections.abc import Sequence
from typing import final

from fastproxy.upstream.balancer.picker import Picker, Tools
from fastproxy.upstream.endpoint import Endpoint


@final
class RandomChoice(Picker):
    """Any of them."""

    __slots__ = ("_endpoints", "_random")

    def __init__(self, endpoints: Sequence[Endpoint], tools: Tools) -> None:
        self._endpoints = tuple(endpoints)
        self._random = tools.random.random

    def select(self, hash_value: int | None, attempt: int) -> Endpoint | None:
        """Any. Hot path."""
        endpoints = self._endpoints
        return endpoints[int(self._random() * len(endpoints))]
