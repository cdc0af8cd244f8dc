"""MAGLEV: consistent hashing by a lookup table (Eisenbud et al., "Maglev", NSDI 2016, section 3.4).

Every endpoint has its own order in which it would like the table's entries. In turn each takes the first one of its
order that is still free, with a smaller weight not in every turn, until the table is full. Shares are equal to within
a few entries, whatever the hashes are; when an endpoint goes, a few entries of the others change, too. The table is
computed as Envoy computes it, so both proxies agree.
"""

from collections.abc import Iterator, Sequence
from typing import final

from fastproxy.upstream.balancer.hash_key import hash_key
from fastproxy.upstream.balancer.picker import TablePicker, Tools
from fastproxy.upstream.balancer.settings import MaglevSettings
from fastproxy.upstream.endpoint import Endpoint
from fastproxy.upstream.hashing import xxh64

_MASK = (1 << 64) - 1
#: Entries looked at between two pauses: about a millisecond of work.
_SLICE = 5000


@final
class Maglev(TablePicker):
    """The table of one list of endpoints."""

    __slots__ = ("_endpoints", "_getrandbits", "_settings", "_shares", "_size", "_stats", "_table")

    def __init__(
        self, endpoints: Sequence[Endpoint], shares: Sequence[float], settings: MaglevSettings, tools: Tools
    ) -> None:
        """Prepare a table.

        Args:
            endpoints: at least one.
            shares: of the table, one per endpoint, each above 0; together 1.
            settings: the size.
            tools: chance, for requests without a hash.
        """
        self._endpoints = tuple(endpoints)
        self._shares = tuple(shares)
        self._settings = settings
        self._stats = tools.stats
        self._size = settings.table_size
        self._getrandbits = tools.random.getrandbits
        self._table: list[Endpoint] = []

    def select(self, hash_value: int | None, attempt: int) -> Endpoint | None:
        """The entry that the hash points to. Hot path."""
        if hash_value is None:
            hash_value = self._getrandbits(64)
        if attempt:
            hash_value ^= _MASK - attempt + 1
        return self._table[hash_value % self._size]

    def build(self) -> Iterator[None]:
        """Fill the table."""
        size = self._size
        keyed = sorted(
            (hash_key(endpoint, self._settings.consistent), position)
            for position, endpoint in enumerate(self._endpoints)
        )
        order = [position for _, position in keyed]
        at = [xxh64(key) % size for key, _ in keyed]
        skip = [xxh64(key, 1) % (size - 1) + 1 for key, _ in keyed]
        shares = [self._shares[position] for position in order]
        largest = max(shares)
        due = [0.0] * len(order)
        table = [-1] * size
        taken = [0] * len(order)
        filled, turn, work = 0, 0, 0
        while filled < size:
            turn += 1
            for index, share in enumerate(shares):
                if turn * share < due[index]:
                    continue
                due[index] += largest
                entry, step = at[index], skip[index]
                while table[entry] >= 0:
                    work += 1
                    entry += step
                    if entry >= size:
                        entry -= size
                table[entry] = order[index]
                taken[index] += 1
                at[index] = entry + step if entry + step < size else entry + step - size
                filled += 1
                if filled == size:
                    break
                work += 1
                if work >= _SLICE:
                    work = 0
                    yield
        self._stats.lb_gauges = {
            "maglev_lb.min_entries_per_host": min(taken),
            "maglev_lb.max_entries_per_host": max(taken),
        }
        endpoints = self._endpoints
        self._table = [endpoints[owner] for owner in table]
