"""Which of many routes can match a path, without trying them all.

A route answers for a path by a prefix of it, or by the whole of it; a regular expression has a literal prefix, if only
the empty one. So every route has a key, and those that can match a path are the ones whose key is the path, or a prefix
of it. All prefixes are kept sorted, each with a link to the longest other one that begins it: the greatest key that is
not above the path, or one of those that its links lead to, is the longest prefix of the path (whatever lies between a
prefix of the path and the path begins with that prefix).

Each key knows its candidates: its own routes and those of the keys that begin it, in the order of the configuration, up
to the first one that matches whatever has the key. The caller tries them one by one, conditions and all; so an index
can only ever leave out routes that do not match, and the first match is the one that a scan would find.
"""

from bisect import bisect_right
from collections.abc import Sequence

from fastproxy.match.path import literal_prefix
from fastproxy.match.settings import PathKind, PathMatch
from fastproxy.router.route import Route

#: Below this many routes a scan is faster (bench/route_lookup.py).
MIN_ROUTES = 8
# Candidates in all lists together, for each route. Where many routes share a prefix and differ in their conditions the
# lists repeat each other; past this the index would cost more memory than it saves time.
_MAX_CANDIDATES_PER_ROUTE = 64


class _Entry:
    """One route under one key."""

    __slots__ = ("certain", "position", "route")

    def __init__(self, position: int, route: Route, *, certain: bool) -> None:
        self.position = position
        self.route = route
        self.certain = certain
        """It matches whatever request has the key."""


class RouteIndex:
    """The routes of one virtual host by their paths."""

    __slots__ = ("_candidates", "_exact", "_folds", "_keys", "_parents")

    def __init__(self, routes: Sequence[Route]) -> None:
        """Build the index.

        Raises:
            IndexTooLargeError: the routes differ by conditions rather than by paths; a scan does as well.
        """
        # A route that ignores case is found under its key in lower case, and then all others have to be, too.
        self._folds = any(not route.match.case_sensitive for route in routes)
        exact: dict[bytes, list[_Entry]] = {}
        prefixes: dict[bytes, list[_Entry]] = {}
        for position, route in enumerate(routes):
            self._add(position, route, exact, prefixes)
        self._keys = sorted(prefixes)
        self._parents: list[int] = []
        budget = _MAX_CANDIDATES_PER_ROUTE * len(routes) + 1024
        merged: list[tuple[_Entry, ...]] = []
        path: list[int] = []
        for at, key in enumerate(self._keys):
            while path and not key.startswith(self._keys[path[-1]]):
                path.pop()
            parent = path[-1] if path else -1
            self._parents.append(parent)
            merged.append(_merge(prefixes[key], merged[parent] if path else ()))
            path.append(at)
            budget -= len(merged[at])
            if budget < 0:
                raise IndexTooLargeError
        self._candidates = [_routes(entries) for entries in merged]
        self._exact: dict[bytes, tuple[Route, ...]] = {}
        for key, entries in exact.items():
            below = self._longest_prefix(key)
            candidates = _merge(entries, merged[below] if below >= 0 else ())
            self._exact[key] = _routes(candidates)
            budget -= len(candidates)
            if budget < 0:
                raise IndexTooLargeError

    def _add(
        self,
        position: int,
        route: Route,
        exact: dict[bytes, list[_Entry]],
        prefixes: dict[bytes, list[_Entry]],
    ) -> None:
        match = route.match
        for key, is_whole in _keys_of(match):
            folded = key.lower() if self._folds else key
            certain = (
                route.conditions is None
                and match.kind is not PathKind.REGEX
                and (not self._folds or not match.case_sensitive or key.lower() == key.upper())
            )
            entry = _Entry(position, route, certain=certain)
            (exact if is_whole else prefixes).setdefault(folded, []).append(entry)

    def candidates(self, path: bytes) -> tuple[Route, ...]:
        """Every route that can match the path, in order. Hot path: once per request in a large table."""
        if self._folds:
            path = path.lower()
        found = self._exact.get(path)
        if found is not None:
            return found
        at = self._longest_prefix(path)
        return self._candidates[at] if at >= 0 else ()

    def _longest_prefix(self, path: bytes) -> int:
        """Where the longest key stands that begins `path`; -1 if there is none."""
        keys, parents = self._keys, self._parents
        at = bisect_right(keys, path) - 1
        while at >= 0 and not path.startswith(keys[at]):
            at = parents[at]
        return at


class IndexTooLargeError(Exception):
    """The candidates of all keys together are too many."""


def _keys_of(match: PathMatch) -> tuple[tuple[bytes, bool], ...]:
    """Under which keys a route is to be found, and whether each is a whole path or a prefix."""
    value = match.value.encode()
    if match.kind is PathKind.EXACT:
        return ((value, True),)
    if match.kind is PathKind.PREFIX:
        return ((value, False),)
    if match.kind is PathKind.SEPARATED_PREFIX:
        return ((value, True), (value + b"/", False))
    return ((literal_prefix(match.value), False),)


def _merge(own: Sequence[_Entry], inherited: Sequence[_Entry]) -> tuple[_Entry, ...]:
    """Both in the order of the configuration, up to the first that matches in any case."""
    merged: list[_Entry] = []
    for entry in sorted((*own, *inherited), key=_position):
        merged.append(entry)
        if entry.certain:
            break
    return tuple(merged)


def _position(entry: _Entry) -> int:
    return entry.position


def _routes(entries: Sequence[_Entry]) -> tuple[Route, ...]:
    return tuple(entry.route for entry in entries)
