"""`lb_subset_config`: a route's `metadata_match` narrows down the endpoints of a cluster before the policy chooses.

Every selector names metadata keys. Each combination of values that endpoints have for all keys of a selector is a
subset with a balancer of its own, health, priorities and panic included. A request goes to the subset whose keys and
values are exactly those of its route; if there is none, the selector with these keys, or else the cluster, says what
then. Subsets are known as soon as endpoints change; the balancer of one is made when the first request needs it.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import final

from fastproxy.upstream.balancer.balancer import Balancer
from fastproxy.upstream.balancer.picker import NOWHERE, Picker, Tools
from fastproxy.upstream.balancer.settings import (
    Fallback,
    LoadBalancingSettings,
    SubsetMatch,
    SubsetSelector,
    SubsetSettings,
    encode_value,
    subset_match,
)
from fastproxy.upstream.endpoint import Endpoint

_Criteria = tuple[tuple[str, str], ...]
_NO_CRITERIA = SubsetMatch(())


@final
class Subset:
    """The endpoints that have certain metadata."""

    __slots__ = ("_balancer", "_endpoints", "_is_current", "_settings", "_tools")

    def __init__(self, settings: LoadBalancingSettings, tools: Tools) -> None:
        self._settings = settings
        self._tools = tools
        self._endpoints: tuple[Endpoint, ...] = ()
        self._balancer: Balancer | None = None
        self._is_current = False

    @property
    def has_endpoints(self) -> bool:
        """Whether an endpoint belongs to it, healthy or not."""
        return bool(self._endpoints)

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Its endpoints from now on; also when their health has changed."""
        self._endpoints = tuple(endpoints)
        self._is_current = False

    def picker(self) -> Picker:
        """Who chooses among its endpoints. Hot path."""
        balancer = self._balancer
        if balancer is None:
            balancer = self._balancer = Balancer(self._settings, self._tools)
        if not self._is_current:
            self._is_current = True
            balancer.update(self._endpoints)
        return balancer.picker


@final
class SubsetPicker:
    """Finds the subset of a request."""

    __slots__ = ("_any", "_default", "_selectors", "_settings", "_settings_of_all", "_subsets", "_tools")

    def __init__(self, settings: LoadBalancingSettings, subsets: SubsetSettings, tools: Tools) -> None:
        self._settings_of_all = settings
        self._settings = subsets
        self._tools = tools
        self._selectors: dict[tuple[str, ...], SubsetSelector] = {one.keys: one for one in subsets.selectors}
        self._subsets: dict[_Criteria, Subset] = {}
        self._any = Subset(settings, tools)
        self._default = Subset(settings, tools)

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Sort the endpoints into subsets anew."""
        self._any.update(endpoints)
        default = subset_match(self._settings.default_subset).criteria
        self._default.update([one for one in endpoints if self._has(one, default)])
        members: dict[_Criteria, dict[Endpoint, None]] = {}
        stats = self._tools.stats
        duplicates = 0
        for selector in self._settings.selectors:
            for endpoint in endpoints:
                for criteria in self._criteria_of(endpoint, selector.keys):
                    known = members.setdefault(criteria, {})
                    if known and selector.single_host and endpoint not in known:
                        # The file promised that there is one; Envoy takes the first, too.
                        duplicates += 1
                    else:
                        known[endpoint] = None
        stats.lb_subsets_single_host_per_subset_duplicate = duplicates
        for criteria in self._subsets.keys() - members.keys():
            del self._subsets[criteria]
            stats.lb_subsets_removed += 1
        for criteria, found in members.items():
            subset = self._subsets.get(criteria)
            if subset is None:
                subset = self._subsets[criteria] = Subset(self._settings_of_all, self._tools)
                stats.lb_subsets_created += 1
            subset.update(tuple(found))

    def picker(self, match: SubsetMatch | None) -> Picker:
        """Who chooses for a request. Hot path: once per request, in clusters with subsets only.

        Args:
            match: what the route asks for; None is nothing.
        """
        if match is None:
            match = _NO_CRITERIA
        # Fewer keys in every step, so this ends.
        while match.criteria:
            subset = self._subsets.get(match.criteria)
            if subset is not None:
                self._tools.stats.lb_subsets_selected += 1
                return subset.picker()
            selector = self._selectors.get(tuple([key for key, _ in match.criteria]))
            if selector is None or selector.fallback is None:
                break
            if selector.fallback is not Fallback.KEYS_SUBSET:
                return self._fall_back(selector.fallback)
            match = match.only(selector.fallback_keys)
        return self._fall_back(self._settings.fallback)

    def _fall_back(self, fallback: Fallback) -> Picker:
        if fallback is Fallback.NO_FALLBACK:
            return NOWHERE
        subset = self._any if fallback is Fallback.ANY_ENDPOINT else self._default
        if not subset.has_endpoints and self._settings.panic_mode_any:
            self._tools.stats.lb_subsets_fallback_panic += 1
            return self._any.picker()
        self._tools.stats.lb_subsets_fallback += 1
        return subset.picker()

    def _has(self, endpoint: Endpoint, criteria: _Criteria) -> bool:
        return all(
            key in endpoint.metadata and value in self._values(endpoint.metadata[key])
            for key, value in criteria
        )

    def _criteria_of(self, endpoint: Endpoint, keys: tuple[str, ...]) -> Iterator[_Criteria]:
        """The subsets of one selector that an endpoint belongs to; none, if it lacks one of the keys."""
        if not keys or any(key not in endpoint.metadata for key in keys):
            return iter(())
        values = [self._values(endpoint.metadata[key]) for key in keys]
        return (tuple(zip(keys, one, strict=True)) for one in itertools.product(*values))

    def _values(self, value: object) -> list[str]:
        if isinstance(value, list) and self._settings.list_as_any:
            return [encode_value(item) for item in value]
        return [encode_value(value)]
