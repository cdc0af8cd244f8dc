"""Endpoints and tools for pickers, with chance that is the same in every run."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

from fastproxy.upstream.balancer.picker import Picker, TablePicker, Tools
from fastproxy.upstream.balancer.policy import Layout
from fastproxy.upstream.balancer.settings import LoadBalancingSettings
from fastproxy.upstream.endpoint import Endpoint
from fastproxy.upstream.settings import (
    Address,
    ClusterSettings,
    EndpointTraits,
    HealthFlag,
    HealthStatus,
    Locality,
)
from fastproxy.upstream.stats import ClusterStats

DOWN = HealthFlag.FAILED_ACTIVE_HC


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_tools(seed: int = 7, now: Callable[[], float] | None = None) -> Tools:
    return Tools(Random(seed), now or Clock(), ClusterStats())


def make_endpoint(
    number: int,
    *,
    weight: int = 1,
    priority: int = 0,
    zone: str = "",
    zone_weight: int = 0,
    health: HealthStatus = HealthStatus.UNKNOWN,
    now: float = 0.0,
    hostname: str = "",
    **metadata: object,
) -> Endpoint:
    text = json.dumps({"envoy.lb": metadata}) if metadata else ""
    traits = EndpointTraits(weight, priority, Locality(zone=zone), zone_weight, health, text)
    address = Address(f"10.0.{number >> 8}.{number & 255}", 80, hostname)
    return Endpoint(address, ClusterSettings("c"), ClusterStats(), traits, now=now)


def make_endpoints(count: int, **more: Any) -> list[Endpoint]:
    return [make_endpoint(number, **more) for number in range(count)]


def weighted(*weights: int) -> list[Endpoint]:
    return [make_endpoint(number, weight=weight) for number, weight in enumerate(weights)]


def set_down(endpoints: Iterable[Endpoint], flag: HealthFlag = DOWN) -> None:
    for endpoint in endpoints:
        endpoint.set_health(flag, on=True, now=0.0)


def built(table: TablePicker) -> TablePicker:
    """A table, built to the end."""
    for _ in table.build():
        pass
    return table


def make_picker(
    endpoints: Sequence[Endpoint], settings: LoadBalancingSettings, tools: Tools | None = None
) -> Picker:
    """The whole of it: policy, localities, priorities."""
    layout = Layout(endpoints, settings, tools or make_tools())
    for table in layout.tables:
        built(table)
    return layout.root


def choices(picker: Picker, count: int) -> Counter[Endpoint | None]:
    return Counter(picker.select(None, 0) for _ in range(count))


def hashes(count: int, seed: int = 3) -> list[int]:
    random = Random(seed)
    return [random.getrandbits(64) for _ in range(count)]
