"""`hash_balance_factor`: consistent hashing with bounded loads (Mirrokni et al. 2016).

No endpoint takes more than a given multiple of the average of active requests; a request for one that is full goes to
another, always to the same ones in the same order. Active requests are those of this worker.
"""

import math
from collections.abc import Sequence
from typing import final

from fastproxy.upstream.balancer.picker import Picker, Tools
from fastproxy.upstream.endpoint import Endpoint


@final
class BoundedLoad(Picker):
    """Asks a hashing picker, and looks further if its choice is full."""

    __slots__ = ("_endpoints", "_factor", "_getrandbits", "_inner", "_shares", "_stats")

    def __init__(
        self, inner: Picker, endpoints: Sequence[Endpoint], shares: Sequence[float], factor: int, tools: Tools
    ) -> None:
        """Put a bound on `inner`.

        Args:
            inner: chooses by the hash.
            endpoints: those it chooses among.
            shares: of the requests, one per endpoint; together 1.
            factor: percentage of its fair part that an endpoint may have; above 100.
            tools: chance, and the cluster's number of active requests.
        """
        self._inner = inner
        self._endpoints = tuple(endpoints)
        self._shares = dict(zip(endpoints, shares, strict=True))
        self._factor = factor
        self._stats = tools.stats
        self._getrandbits = tools.random.getrandbits

    def select(self, hash_value: int | None, attempt: int) -> Endpoint | None:
        """The choice of the hash, or the first of the others with room; if all are full, the emptiest. Hot path."""
        if hash_value is None:
            hash_value = self._getrandbits(64)
        chosen = self._inner.select(hash_value, attempt)
        if chosen is None:
            return None
        # `+ 1`: the request that is to be placed.
        active = self._stats.upstream_rq_total - self._stats.upstream_rq_ended + 1
        slots = (active * self._factor + 99) // 100
        load = self._load(chosen, slots)
        if load < 1:
            return chosen
        return self._next_best(chosen, load, slots, hash_value)

    def _load(self, endpoint: Endpoint, slots: int) -> float:
        """1 and above: full."""
        return endpoint.active_requests / max(1, math.ceil(slots * self._shares[endpoint]))

    def _next_best(self, chosen: Endpoint, load: float, slots: int, hash_value: int) -> Endpoint:
        endpoints = self._endpoints
        count = len(endpoints)
        # A walk over all of them whose order depends on the hash: a step that has no divisor in common with `count`.
        step = 1 + (hash_value >> 32) % count
        while math.gcd(step, count) != 1:
            step += 1
        at = hash_value % count
        for _ in range(count):
            other = endpoints[at]
            at = (at + step) % count
            found = self._load(other, slots)
            if found < 1:
                return other
            if found < load:
                chosen, load = other, found
        return chosen
