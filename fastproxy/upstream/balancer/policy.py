"""From settings and endpoints to a picker: one policy over one list, then localities, then priorities."""

from collections.abc import Sequence
from typing import final

from fastproxy.upstream.balancer.bounded_load import BoundedLoad
from fastproxy.upstream.balancer.changing_weights import ChangingRotation, with_slow_start
from fastproxy.upstream.balancer.least_request import LeastOfAll, LeastOfSome
from fastproxy.upstream.balancer.loads import PriorityHealth, share_load
from fastproxy.upstream.balancer.locality import LocalityPicker, effective_weights, hash_shares
from fastproxy.upstream.balancer.maglev import Maglev
from fastproxy.upstream.balancer.picker import NOWHERE, Picker, TablePicker, Tools, are_equal
from fastproxy.upstream.balancer.priority import ByChance, Panic, PriorityPicker
from fastproxy.upstream.balancer.random_choice import RandomChoice
from fastproxy.upstream.balancer.ring_hash import RingHash
from fastproxy.upstream.balancer.round_robin import Rotation, WeightedRotation
from fastproxy.upstream.balancer.settings import (
    LeastRequestSettings,
    LoadBalancingSettings,
    MaglevSettings,
    RandomSettings,
    RingHashSettings,
)
from fastproxy.upstream.endpoint import Endpoint


@final
class Layout:
    """The picker for a list of endpoints, and the tables that must be built before it may be asked."""

    __slots__ = ("_settings", "_tools", "root", "tables")

    def __init__(self, endpoints: Sequence[Endpoint], settings: LoadBalancingSettings, tools: Tools) -> None:
        self._settings = settings
        self._tools = tools
        self.tables: list[TablePicker] = []
        self.root = self._build_root(endpoints)

    def _build_root(self, endpoints: Sequence[Endpoint]) -> Picker:
        if not endpoints:
            return NOWHERE
        settings = self._settings
        highest = max(endpoint.priority for endpoint in endpoints)
        levels = [
            PriorityHealth([endpoint for endpoint in endpoints if endpoint.priority == priority])
            for priority in range(highest + 1)
        ]
        loads = share_load(
            levels,
            overprovisioning_factor=settings.overprovisioning_factor,
            panic_threshold=settings.panic_threshold,
            weighted=settings.weighted_priority_health,
        )
        parts: list[tuple[int, Picker]] = []
        for level, load in zip(levels, loads, strict=True):
            if load.healthy:
                picker = self._build_panic(level) if load.panic else self._build_level(level, level.healthy)
                parts.append((load.healthy, picker))
        # In Envoy's order: the healthy shares of all priorities come before the degraded ones.
        for level, load in zip(levels, loads, strict=True):
            if load.degraded:
                picker = self._build_panic(level) if load.panic else self._build_level(level, level.degraded)
                parts.append((load.degraded, picker))
        if len(parts) == 1:
            return parts[0][1]
        root = PriorityPicker(parts, self._tools)
        return root if isinstance(settings.policy, RingHashSettings | MaglevSettings) else ByChance(root)

    def _build_panic(self, level: PriorityHealth) -> Picker:
        if self._settings.fail_traffic_on_panic:
            return Panic(NOWHERE, self._tools)
        return Panic(self._build_list(level.all), self._tools)

    def _build_level(self, level: PriorityHealth, usable: Sequence[Endpoint]) -> Picker:
        if not self._settings.locality_weighted:
            return self._build_list(usable)
        localities = effective_weights(level, usable, self._settings.overprovisioning_factor)
        if not localities:
            return NOWHERE
        if isinstance(self._settings.policy, RingHashSettings | MaglevSettings):
            return self._build_table(hash_shares(localities))
        if len(localities) == 1:
            return self._build_list(localities[0][1])
        return LocalityPicker(localities, self._build_list, self._tools)

    def _build_list(self, endpoints: Sequence[Endpoint]) -> Picker:
        """One policy over one list."""
        policy, tools = self._settings.policy, self._tools
        if not endpoints:
            return NOWHERE
        if isinstance(policy, RingHashSettings | MaglevSettings):
            whole = sum(endpoint.weight for endpoint in endpoints)
            return self._build_table({endpoint: endpoint.weight / whole for endpoint in endpoints})
        if isinstance(policy, RandomSettings):
            return RandomChoice(endpoints, tools)
        if len(endpoints) == 1:
            return Rotation(endpoints, tools)
        equal = are_equal([endpoint.weight for endpoint in endpoints])
        if isinstance(policy, LeastRequestSettings):
            if policy.full_scan and equal:
                return LeastOfAll(endpoints, tools)
            plain: Picker = (
                LeastOfSome(endpoints, tools, policy.choice_count)
                if equal
                else ChangingRotation(endpoints, tools, bias=policy.active_request_bias)
            )
            return with_slow_start(plain, policy.slow_start, endpoints, tools, policy.active_request_bias)
        plain = Rotation(endpoints, tools) if equal else WeightedRotation(endpoints, tools)
        return with_slow_start(plain, policy.slow_start, endpoints, tools, 0.0)

    def _build_table(self, shares: dict[Endpoint, float]) -> Picker:
        policy, tools = self._settings.policy, self._tools
        assert isinstance(policy, RingHashSettings | MaglevSettings)
        endpoints, parts = list(shares), list(shares.values())
        table: TablePicker = (
            RingHash(endpoints, parts, policy, tools)
            if isinstance(policy, RingHashSettings)
            else Maglev(endpoints, parts, policy, tools)
        )
        self.tables.append(table)
        factor = policy.consistent.balance_factor
        return BoundedLoad(table, endpoints, parts, factor, tools) if factor else table
