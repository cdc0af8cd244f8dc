"""RING_HASH: consistent hashing on a ring (ketama; Karger et al. 1997).

Every endpoint has points on the circle of 64-bit numbers, as many as its weight says: the hashes of `<key>_<n>`. A
request goes to the endpoint of the first point at or after its hash. When an endpoint comes or goes, only requests
that go to it, or went to it, move. Points and sizes are computed as Envoy computes them, so both proxies agree.

Points are sorted in buckets by their upper bits: so a ring of any size is sorted in small pieces, between which
requests go on.
"""

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import final

from fastproxy.upstream.balancer.hash_key import hash_key
from fastproxy.upstream.balancer.picker import TablePicker, Tools
from fastproxy.upstream.balancer.settings import RingHashSettings
from fastproxy.upstream.endpoint import Endpoint
from fastproxy.upstream.hashing import murmur2, xxh64

#: Points hashed, or sorted, between two pauses: about a millisecond of work.
_SLICE = 1000
#: In the place of a bucket that was emptied.
_EMPTY = (array("Q"), array("I"))


@final
class RingHash(TablePicker):
    """The ring of one list of endpoints."""

    __slots__ = ("_endpoints", "_getrandbits", "_hashes", "_owners", "_settings", "_shares", "_stats")

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        shares: Sequence[float],
        settings: RingHashSettings,
        tools: Tools,
    ) -> None:
        """Prepare a ring.

        Args:
            endpoints: at least one.
            shares: of the ring, one per endpoint, each above 0; together 1.
            settings: sizes and hash function.
            tools: chance, for requests without a hash.
        """
        self._endpoints = tuple(endpoints)
        self._shares = tuple(shares)
        self._settings = settings
        self._stats = tools.stats
        self._getrandbits = tools.random.getrandbits
        # Sorted hashes, and the position of the owner of each. Arrays, for a ring may have millions of points.
        self._hashes = array("Q")
        self._owners = array("I")

    def select(self, hash_value: int | None, attempt: int) -> Endpoint | None:
        """The owner of the first point at or after the hash; None if the ring may have no points. Hot path."""
        if hash_value is None:
            hash_value = self._getrandbits(64)
        owners = self._owners
        if not owners:
            # `minimum_ring_size: 0`, or a maximum of 0: nobody is chosen, as in Envoy.
            return None
        at = bisect_left(self._hashes, hash_value) + attempt
        return self._endpoints[owners[at % len(owners)]]

    def build(self) -> Iterator[None]:
        """Compute the points and sort them."""
        smallest = min(self._shares)
        minimum, maximum = self._settings.minimum_ring_size, self._settings.maximum_ring_size
        # The endpoint with the smallest share has a whole number of points, unless that is too many in all.
        scale = min(math.ceil(smallest * minimum) / smallest, float(maximum))
        bucket_bits = max(0, math.ceil(scale / _SLICE).bit_length())
        shift = 64 - bucket_bits
        # Arrays: eight bytes a point, where a pair of numbers would need a hundred.
        buckets = [(array("Q"), array("I")) for _ in range(1 << bucket_bits)]
        hashed = murmur2 if self._settings.murmur else xxh64
        points, target = 0, 0.0
        numbers = []
        for owner, endpoint in enumerate(self._endpoints):
            key = hash_key(endpoint, self._settings.consistent) + b"_"
            target += scale * self._shares[owner]
            number = max(0, math.ceil(target) - points)
            for start in range(0, number, _SLICE):
                for index in range(start, min(start + _SLICE, number)):
                    point = hashed(key + b"%d" % index)
                    found, owners = buckets[point >> shift]
                    found.append(point)
                    owners.append(owner)
                yield
            points += number
            numbers.append(number)
        for at, (found, owners) in enumerate(buckets):
            pairs = sorted(zip(found, owners, strict=True))
            self._hashes.extend([point for point, _ in pairs])
            self._owners.extend([owner for _, owner in pairs])
            buckets[at] = _EMPTY
            yield
        self._stats.lb_gauges = {
            "ring_hash_lb.size": points,
            "ring_hash_lb.min_hashes_per_host": min(numbers),
            "ring_hash_lb.max_hashes_per_host": max(numbers),
        }
