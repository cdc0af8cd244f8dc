"""What the health of clusters needs of others: time, chance, who checks, and whom it tells."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

from fastproxy import clock
from fastproxy.control.health.checkers import CheckerFactory, make_checker
from fastproxy.ipc.messages import ClusterEndpoints, EndpointHealth, TallyRequest


@dataclass(frozen=True, slots=True)
class HealthTools:
    """What health checks need of the world; tests bring their own."""

    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Random = field(default_factory=Random)
    make_checker: CheckerFactory = make_checker
    now: Callable[[], float] = clock.monotonic


@dataclass(frozen=True, slots=True)
class HealthListener:
    """Who is told, as long as the cluster is part of the configuration in force."""

    on_endpoints: Callable[[ClusterEndpoints], None]
    """Other endpoints."""
    tell: Callable[[EndpointHealth | TallyRequest], None]
    """Tells all workers the flags of an endpoint, or asks them how requests ended."""
