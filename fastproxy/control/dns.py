"""Where clusters live: keeps the address list of every cluster current and tells the workers when it changed.

Endpoints of EDS clusters come from files (`fastproxy.control.eds`), all others from here.

Rules (spec: Envoy's STRICT_DNS, LOGICAL_DNS and `dns_lookup_family`):

- a lookup that failed (server failure, timeout) keeps the last good answer; a name that does not exist is an
  answer, and STRICT_DNS then has no hosts while LOGICAL_DNS keeps its host;
- an answer that brings the same addresses in another order is no change;
- the pause counts from the end of a lookup, so lookups of one cluster never overlap: the refresh rate, or the lowest
  time to live where that is to be respected, or after a failure one that grows.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from random import Random

from fastproxy.control.backoff import Backoff
from fastproxy.control.cares import CaresResolver
from fastproxy.control.discovery import ClusterDiscovery, LookupFailed
from fastproxy.control.eds import EdsFollower, EndpointFiles
from fastproxy.control.lookup import (
    Answer,
    FamilyLookup,
    TimedLookup,
    resolve_timed,
    system_lookup,
    without_ttl,
)
from fastproxy.control.resources import ResourceStatus
from fastproxy.ipc.messages import ClusterEndpoints, EndpointAddress
from fastproxy.tasks import cancel_and_wait, spawn
from fastproxy.upstream.settings import ClusterSettings, DiscoveryType

_log = logging.getLogger("fastproxy.control.dns")


class RefreshTimer:
    """Decides how long to wait until a cluster's names are looked up again.

    Args:
        settings: of the cluster.
        random: spreads load, protects nothing.
    """

    def __init__(self, settings: ClusterSettings, random: Random) -> None:
        self._settings = settings
        self._random = random
        failure = settings.dns.failure_refresh_s
        self._backoff = None if failure is None else Backoff(*failure)

    def next_delay_s(self, *, failed: bool, ttl_s: float | None) -> float:
        """Seconds until the next round.

        Args:
            failed: a lookup of the round that has just ended failed.
            ttl_s: lowest time to live of its answers, if there is one.
        """
        dns = self._settings.dns
        if failed and self._backoff is not None:
            # Half of it random, so that a resolver that comes back is not asked by everybody at once.
            delay = self._backoff.next_delay_s() * self._random.uniform(0.5, 1.0)
        else:
            delay = self._settings.dns_refresh_rate_s
            if dns.respect_ttl and ttl_s is not None and not failed:
                delay = ttl_s
        if not failed and self._backoff is not None:
            self._backoff.reset()
        return delay + (self._random.uniform(0.0, dns.jitter_s) if dns.jitter_s else 0.0)


class DiscoveryService:
    """Runs the lookups of all clusters and publishes what changed.

    Args:
        clusters: all clusters, STATIC ones included: they are published once.
        publish: gets the complete list of a cluster, on every change.
        lookup: for tests; the system's resolver otherwise. Clusters with a resolver of their own do not use it.
        files: reads the endpoints of EDS clusters.
        previous: the service of the configuration in force. Clusters with equal settings are shared with it, all
            others warm up in silence until `take_over`.
        pause: waits for so many seconds, for tests.
    """

    def __init__(
        self,
        clusters: tuple[ClusterSettings, ...],
        publish: Callable[[ClusterEndpoints], None],
        lookup: FamilyLookup = system_lookup,
        *,
        files: EndpointFiles | None = None,
        previous: "DiscoveryService | None" = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._publish = publish
        self._lookup = without_ttl(lookup)
        self._pause = pause
        self._files = files
        self._is_reload = previous is not None
        known: dict[str, ClusterDiscovery] = {} if previous is None else previous.clusters
        self._shared = frozenset(
            cluster.name
            for cluster in clusters
            if cluster.name in known and known[cluster.name].settings == cluster
        )
        self.clusters: dict[str, ClusterDiscovery] = {
            cluster.name: known[cluster.name] if cluster.name in self._shared else ClusterDiscovery(cluster)
            for cluster in clusters
        }
        """State of every cluster by name."""
        self._first_answers: list[asyncio.Event] = []
        self._first_files: list[asyncio.Event] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def _own(self) -> list[ClusterDiscovery]:
        """Those that are not the previous service's."""
        return [discovery for name, discovery in self.clusters.items() if name not in self._shared]

    def start(self) -> None:
        """Begin resolving; STATIC clusters are known already, and shared ones are being resolved."""
        for discovery in self._own():
            if discovery.settings.eds is not None and self._files is not None:
                self._follow_file(discovery, self._files)
            elif discovery.settings.discovery in (DiscoveryType.STRICT_DNS, DiscoveryType.LOGICAL_DNS):
                answered = asyncio.Event()
                self._first_answers.append(answered)
                name = discovery.settings.name
                self._tasks[name] = spawn(self._keep_current(discovery, answered), name=f"dns-{name}")

    def _follow_file(self, discovery: ClusterDiscovery, files: EndpointFiles) -> None:
        def publish(changed: ClusterDiscovery) -> None:
            self._publish(changed.message())

        follower = EdsFollower(discovery, files, publish, is_reload=self._is_reload)
        self._first_files.append(follower.answered)
        name = discovery.settings.name
        self._tasks[name] = spawn(follower.run(), name=f"eds-{name}")

    def take_over(self, previous: "DiscoveryService") -> list[ClusterDiscovery]:
        """Become the service in force: publish from now on, and care for what is shared.

        Returns:
            Clusters of `previous` that are gone or were replaced. `stop` it to end their lookups.
        """
        dropped = [one for name, one in previous.clusters.items() if name not in self._shared]
        self._tasks.update(previous.release(self._shared))
        return dropped

    def release(self, names: Collection[str]) -> dict[str, asyncio.Task[None]]:
        """Give away the lookups of some clusters; they go on, and `stop` no longer ends them."""
        return {name: self._tasks.pop(name) for name in names if name in self._tasks}

    async def wait_initialised(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` for every cluster's first answer or failure; False if one is missing.

        For a file it waits as long as its cluster says (`initial_fetch_timeout`).
        """
        for answered in self._first_files:
            await answered.wait()
        try:
            async with asyncio.timeout(timeout_s):
                for answered in self._first_answers:
                    await answered.wait()
        except TimeoutError:
            return False
        return True

    def endpoints(self, cluster: str) -> tuple[EndpointAddress, ...]:
        """Return the current addresses of a cluster; empty if there are none or no such cluster."""
        discovery = self.clusters.get(cluster)
        return () if discovery is None else discovery.endpoints

    def file_status(self) -> list[ResourceStatus]:
        """How the file of each EDS cluster stands."""
        return [
            ResourceStatus(
                "eds",
                name,
                one.settings.eds.path,
                one.updates.version,
                one.updates.updated_at,
                tuple(one.updates.last_error.splitlines()),
            )
            for name, one in self.clusters.items()
            if one.settings.eds is not None
        ]

    def snapshot(self) -> list[ClusterEndpoints]:
        """Return the current list of every cluster, for a worker that starts."""
        return [discovery.message() for discovery in self.clusters.values()]

    async def stop(self) -> None:
        """Stop resolving; the lists stay as they are."""
        await cancel_and_wait(*self._tasks.values())

    async def _keep_current(self, discovery: ClusterDiscovery, answered: asyncio.Event) -> None:
        resolver = discovery.settings.dns.resolver
        lookup = self._lookup if resolver is None else CaresResolver(resolver).lookup
        timer = RefreshTimer(discovery.settings, Random())  # noqa: S311 spreads load
        while True:
            failed, ttl_s = await self._refresh(discovery, lookup)
            answered.set()
            await self._pause(timer.next_delay_s(failed=failed, ttl_s=ttl_s))

    async def _refresh(self, discovery: ClusterDiscovery, lookup: TimedLookup) -> tuple[bool, float | None]:
        """Look every name up once; whether one failed, and the lowest time to live."""
        settings = discovery.settings
        answers = await asyncio.gather(
            *(
                resolve_timed(endpoint.host, settings.dns_lookup_family, lookup)
                for endpoint in settings.endpoints
            ),
            return_exceptions=True,
        )
        results: list[list[str] | LookupFailed] = []
        times: list[float] = []
        for answer in answers:
            if isinstance(answer, LookupFailed):
                results.append(answer)
            elif isinstance(answer, Answer):
                results.append(list(answer.addresses))
                if answer.ttl_s is not None:
                    times.append(answer.ttl_s)
            else:
                raise answer
        self._take(discovery, results)
        logical = settings.discovery is DiscoveryType.LOGICAL_DNS
        failed = any(isinstance(one, LookupFailed) or (logical and not one) for one in results)
        return failed, min(times) if times else None

    def _take(self, discovery: ClusterDiscovery, results: list[list[str] | LookupFailed]) -> None:
        name = discovery.settings.name
        was_failing = discovery.failing
        changed = discovery.on_answers(results)
        if discovery.failing and not was_failing:
            _log.warning(
                "cluster '%s': %s; the cluster has %s", name, discovery.failing, discovery.describe()
            )
        elif was_failing and not discovery.failing:
            _log.info("cluster '%s': names resolve again", name)
        if changed:
            _log.info("cluster '%s' now has %s", name, discovery.describe())
            self._publish(discovery.message())
