"""Choosing among weighted clusters (Envoy `WeightedCluster`; spec/http.md section 9.1)."""

from bisect import bisect_right
from itertools import accumulate

from fastproxy.http.messages import Request
from fastproxy.match.request import header_values
from fastproxy.router.hash_policy import RequestHash

_MAX_UINT64 = (1 << 64) - 1


class ClusterChoice:
    """Chooses an index; a weight of 0 is never chosen."""

    __slots__ = ("_bounds", "_hash_policy", "_header", "_total")

    def __init__(self, weights: tuple[int, ...], header: bytes, hash_policy: RequestHash | None) -> None:
        """Prepare a choice.

        Args:
            weights: at least one of them above 0 (the configuration has checked this before).
            header: name of a header whose number decides; empty if there is none.
            hash_policy: its hash decides; None if it does not.
        """
        self._bounds = tuple(accumulate(weights))
        self._total = self._bounds[-1]
        self._header = header
        self._hash_policy = hash_policy

    def select(self, request: Request) -> int:
        """The index for this request, the same at every call."""
        return bisect_right(self._bounds, self._number(request) % self._total)

    def _number(self, request: Request) -> int:
        if self._header:
            found = header_values(request, self._header)
            # One value, and a whole number: anything else is left to chance, as in Envoy.
            if len(found) == 1 and found[0].isdigit() and len(found[0]) <= 20:
                number = int(found[0])
                if number <= _MAX_UINT64:
                    return number
        elif self._hash_policy is not None:
            hashed = self._hash_policy.compute(request, may_set_cookie=False)
            if hashed is not None:
                return hashed
        return request.draw() >> 32
