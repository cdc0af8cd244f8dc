"""A cluster under check without sockets and clocks: the test says what checks find and when the next one is due."""

import asyncio
from collections import deque
from random import Random
from typing import Any

from fastproxy.control.health.cluster import ClusterHealth
from fastproxy.control.health.state import CheckResult, FailureKind
from fastproxy.control.health.target import Target
from fastproxy.control.health.tools import HealthListener, HealthTools
from fastproxy.ipc.messages import ClusterEndpoints, EndpointAddress, EndpointHealth, TallyRequest
from fastproxy.upstream.health.settings import (
    CheckIntervals,
    HealthCheckSettings,
    HealthSettings,
    HttpCheckSettings,
)
from fastproxy.upstream.settings import ClusterSettings, DiscoveryType, HealthFlag, describe_health

PASS = CheckResult()
DOWN = CheckResult(FailureKind.ACTIVE, reason="status 500", status=500)
REFUSED = CheckResult(FailureKind.NETWORK, reason="Connection refused")
TIMEOUT = CheckResult(FailureKind.NETWORK_TIMEOUT)
RETRIABLE = CheckResult(FailureKind.ACTIVE, retriable=True, status=503)
INTERVALS = CheckIntervals(5.0, 6.0, 7.0, 8.0)


def check_settings(**more: Any) -> HealthCheckSettings:
    facts = {"timeout_s": 1.0, "intervals": INTERVALS, "unhealthy_threshold": 3, "healthy_threshold": 2}
    return HealthCheckSettings(HttpCheckSettings("/hc"), **{**facts, **more})


def cluster_settings(
    *checks: HealthCheckSettings, discovery: DiscoveryType = DiscoveryType.STATIC, **health: Any
) -> ClusterSettings:
    return ClusterSettings("c", discovery, health=HealthSettings(checks or (check_settings(),), **health))


def endpoint(number: int, **more: Any) -> EndpointAddress:
    return EndpointAddress(f"192.0.2.{number}", 80, "", **more)


class Script:
    """Checkers that find what the test says, and a clock that stands still until it says so."""

    def __init__(self) -> None:
        self.results: dict[str, deque[CheckResult | BaseException]] = {}
        """By address; the last one stays."""
        self.targets: list[Target] = []
        self.now = 1000.0
        self.checked: list[str] = []
        self.closed: list[str] = []
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def will_find(self, number: int, *results: CheckResult | BaseException) -> None:
        self.results[f"192.0.2.{number}:80"] = deque(results)

    @property
    def tools(self) -> HealthTools:
        return HealthTools(self._sleep, Random(1), self._make_checker, lambda: self.now)

    @property
    def pauses(self) -> list[float]:
        return sorted(seconds for seconds, future in self._sleepers if not future.done())

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def next_round(self) -> None:
        """Every pause ends."""
        await self.settle()
        for _, future in self._sleepers:
            if not future.done():
                future.set_result(None)
        self._sleepers.clear()
        await self.settle()

    async def _sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((seconds, future))
        await future

    def _make_checker(self, _settings: HealthCheckSettings, target: Target) -> "ScriptedChecker":
        self.targets.append(target)
        return ScriptedChecker(self, str(target.address))


class ScriptedChecker:
    def __init__(self, script: Script, address: str) -> None:
        self._script = script
        self._address = address

    async def check(self) -> CheckResult:
        self._script.checked.append(self._address)
        results = self._script.results.get(self._address) or deque([PASS])
        found = results.popleft() if len(results) > 1 else results[0]
        if isinstance(found, BaseException):
            raise found
        return found

    async def close(self) -> None:
        self._script.closed.append(self._address)


class Told:
    """What the workers were told."""

    def __init__(self) -> None:
        self.lists: list[ClusterEndpoints] = []
        self.health: list[tuple[str, str]] = []
        self.asked: list[str] = []
        """Clusters whose tallies were asked for."""

    @property
    def listener(self) -> HealthListener:
        return HealthListener(self.lists.append, self._on_health)

    def _on_health(self, message: EndpointHealth | TallyRequest) -> None:
        if isinstance(message, TallyRequest):
            self.asked.append(message.cluster)
            return
        self.health.append((message.address, describe_health(HealthFlag(message.flags))))


def flags(cluster: ClusterHealth) -> dict[str, str]:
    return {one.host: describe_health(HealthFlag(one.flags)) for one in cluster.endpoints}
