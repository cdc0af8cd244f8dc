"""What choosing an endpoint costs, for every policy, and how long its tables take to compute.

    python bench/endpoint_choice.py                  # 1,000 endpoints, the form (compiled or not) that is installed
    python bench/endpoint_choice.py --endpoints 10

`choice`: CPU microseconds of `Cluster.select_endpoint`, the fastest of several rounds. `update`: CPU milliseconds from
a change of the endpoints' health to a new choice, in all; `longest`: the longest that the event loop stood still.
"""

import argparse
import asyncio
import json
import random
import time
from collections.abc import Iterator

import uvloop

from fastproxy.build_info import form
from fastproxy.upstream.balancer.settings import (
    ConsistentHashing,
    LeastRequestSettings,
    LoadBalancingSettings,
    MaglevSettings,
    Policy,
    RandomSettings,
    RingHashSettings,
    RoundRobinSettings,
    SlowStartSettings,
    SubsetSelector,
    SubsetSettings,
    subset_match,
)
from fastproxy.upstream.cluster import Cluster
from fastproxy.upstream.settings import (
    Address,
    ClusterSettings,
    DiscoveredEndpoint,
    EndpointTraits,
    HealthFlag,
)

_SLOW_START = SlowStartSettings(3600.0)
_BOUNDED = ConsistentHashing(balance_factor=150)


def cases() -> Iterator[tuple[str, LoadBalancingSettings, bool, bool]]:
    """Name, settings, whether weights differ, whether there are two priorities."""
    policies: list[tuple[str, Policy, bool]] = [
        ("round robin", RoundRobinSettings(), False),
        ("round robin, weights", RoundRobinSettings(), True),
        ("round robin, slow start", RoundRobinSettings(_SLOW_START), False),
        ("least request", LeastRequestSettings(), False),
        ("least request, weights", LeastRequestSettings(), True),
        ("random", RandomSettings(), False),
        ("ring hash", RingHashSettings(), False),
        ("ring hash, 100,000 points", RingHashSettings(minimum_ring_size=100_000), False),
        ("ring hash, bounded load", RingHashSettings(consistent=_BOUNDED), False),
        ("maglev", MaglevSettings(), False),
    ]
    for name, policy, weights in policies:
        yield name, LoadBalancingSettings(policy), weights, False
    yield "round robin, two priorities", LoadBalancingSettings(), False, True
    subsets = SubsetSettings((SubsetSelector(("stage",)),))
    yield "round robin, subset", LoadBalancingSettings(subsets=subsets), False, False


def make_endpoints(count: int, *, weights: bool, priorities: bool) -> list[DiscoveredEndpoint]:
    """Endpoints, half of them in one subset; with priorities half of the first one's are out of use."""
    found = []
    for n in range(count):
        traits = EndpointTraits(
            weight=1 + n % 7 if weights else 1,
            priority=n % 2 if priorities else 0,
            metadata=json.dumps({"envoy.lb": {"stage": ("prod", "canary")[n % 2]}}),
        )
        found.append(DiscoveredEndpoint(Address(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 80), traits))
    return found


async def measure_update(cluster: Cluster) -> tuple[float, float]:
    """Milliseconds in all, and the longest at a time, until a change of health has taken effect."""
    victim = cluster.endpoints[5]
    victim.set_health(HealthFlag.FAILED_ACTIVE_HC, on=True, now=0.0)
    started = at = time.process_time()
    cluster.on_health_changed()
    longest = time.process_time() - at
    # Slices run from the event loop; a turn of it without one means that there is nothing left to do.
    while True:
        at = time.process_time()
        await asyncio.sleep(0)
        took = time.process_time() - at
        longest = max(longest, took)
        if took < 0.0005:
            break
    return (time.process_time() - started) * 1000, longest * 1000


def measure_choice(cluster: Cluster, *, rounds: int, choices: int) -> float:
    """CPU microseconds of one choice."""
    match = subset_match({"stage": "prod"})
    hashes = [random.getrandbits(64) for _ in range(choices)]
    best = float("inf")
    select = cluster.select_endpoint
    for _ in range(rounds):
        started = time.process_time_ns()
        for hash_value in hashes:
            select(hash_value, match)
        took = time.process_time_ns() - started
        started = time.process_time_ns()
        for hash_value in hashes:  # noqa: B007
            pass
        best = min(best, (took - (time.process_time_ns() - started)) / choices / 1000)
    return best


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--endpoints", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7, help="the fastest one counts (default: 7)")
    parser.add_argument("--choices", type=int, default=20_000, help="choices in a round (default: 20000)")
    arguments = parser.parse_args()
    print(f"{form()} form, {arguments.endpoints} endpoints:")
    print(f"  {'':28}{'choice us':>10}{'update ms':>11}{'longest ms':>12}")
    for name, settings, weights, priorities in cases():
        cluster = Cluster(ClusterSettings("c", load_balancing=settings))
        cluster.update_endpoints(make_endpoints(arguments.endpoints, weights=weights, priorities=priorities))
        if priorities:
            for endpoint in cluster.endpoints[: arguments.endpoints // 2]:
                if endpoint.priority == 0:
                    endpoint.set_health(HealthFlag.FAILED_ACTIVE_HC, on=True, now=0.0)
        update, longest = await measure_update(cluster)
        choice = measure_choice(cluster, rounds=arguments.rounds, choices=arguments.choices)
        print(f"  {name:28}{choice:10.2f}{update:11.1f}{longest:12.1f}")


if __name__ == "__main__":
    uvloop.run(main())
