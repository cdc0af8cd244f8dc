"""Where clusters live: keeps the address list of every cluster current and tells the workers when it changed.

Rules (spec: Envoy's STRICT_DNS, LOGICAL_DNS and `dns_lookup_family`):

- a lookup that failed (server failure, timeout) keeps the last good answer; a name that does not exist is an
  answer, and STRICT_DNS then has no hosts while LOGICAL_DNS keeps its host;
- an answer that brings the same addresses in another order is no change;
- the refresh rate counts from the end of a lookup, so lookups of one cluster never overlap.
"""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

from fastproxy.control.discovery import ClusterDiscovery, LookupFailed
from fastproxy.ipc.messages import ClusterEndpoints, EndpointAddress
from fastproxy.tasks import cancel_and_wait, spawn
from fastproxy.upstream.settings import ClusterSettings, DiscoveryType, DnsLookupFamily

_log = logging.getLogger("fastproxy.control.dns")
#: c-ares, which Envoy uses, gives up after 5 s and 4 tries; the C library's default is 5 s a server.
_LOOKUP_TIMEOUT_S: Final = 10.0
#: The C library's words for "the name exists, but not with such an address" and "no such name".
_EMPTY_ANSWERS: Final = frozenset(
    code
    for code in (
        socket.EAI_NONAME,
        getattr(socket, "EAI_NODATA", None),
        getattr(socket, "EAI_ADDRFAMILY", None),
    )
    if code is not None
)

#: Looks a name up in one address family (AF_INET or AF_INET6): addresses in order, empty if it has none.
FamilyLookup = Callable[[str, socket.AddressFamily], Awaitable[list[str]]]


async def system_lookup(name: str, family: socket.AddressFamily) -> list[str]:
    """Ask the system's resolver, hosts file included.

    Raises:
        LookupFailed: no answer; an answer without addresses is an empty list.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_LOOKUP_TIMEOUT_S):
            found = await loop.getaddrinfo(name, None, family=family, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise LookupFailed(f"no answer within {_LOOKUP_TIMEOUT_S:.0f} s") from None
    except socket.gaierror as error:
        if error.errno in _EMPTY_ANSWERS:
            return []
        raise LookupFailed(error.strerror or "resolver error") from error
    except (OSError, UnicodeError) as error:
        raise LookupFailed(type(error).__name__) from error
    # A scope id (`fe80::1%eth0`) is part of the address string already; duplicates come from several socket
    # types.
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def resolve(name: str, family: DnsLookupFamily, lookup: FamilyLookup) -> list[str]:
    """Resolve a name by the rules of `dns_lookup_family`; an IP literal is its own answer.

    AUTO asks for IPv6 first and for IPv4 only if there is none: `localhost` becomes `::1`, as in Envoy.

    Raises:
        LookupFailed: a family that decides did not answer.
    """
    if is_ip_literal(name):
        return [name]
    v4, v6 = socket.AF_INET, socket.AF_INET6
    if family is DnsLookupFamily.V4_ONLY:
        return await lookup(name, v4)
    if family is DnsLookupFamily.V6_ONLY:
        return await lookup(name, v6)
    if family is DnsLookupFamily.ALL:
        answers = await asyncio.gather(lookup(name, v4), lookup(name, v6), return_exceptions=True)
        return _merge(answers)
    first, second = (v4, v6) if family is DnsLookupFamily.V4_PREFERRED else (v6, v4)
    failure = None
    try:
        if addresses := await lookup(name, first):
            return addresses
    except LookupFailed as error:
        failure = error
    addresses = await lookup(name, second)
    if not addresses and failure is not None:
        raise failure
    return addresses


def _merge(answers: Sequence[list[str] | BaseException]) -> list[str]:
    addresses = [address for answer in answers if isinstance(answer, list) for address in answer]
    for answer in answers:
        if isinstance(answer, BaseException) and not (isinstance(answer, LookupFailed) and addresses):
            raise answer
    return addresses


def is_ip_literal(host: str) -> bool:
    """Tell an IPv4 or IPv6 address from a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class DiscoveryService:
    """Runs the lookups of all clusters and publishes what changed.

    Args:
        clusters: all clusters, STATIC ones included: they are published once.
        publish: gets the complete list of a cluster, on every change.
        lookup: for tests; the system's resolver otherwise.
        previous: the service of the configuration in force. Clusters with equal settings are shared with it, all
            others warm up in silence until `take_over`.
    """

    def __init__(
        self,
        clusters: tuple[ClusterSettings, ...],
        publish: Callable[[ClusterEndpoints], None],
        lookup: FamilyLookup = system_lookup,
        *,
        previous: "DiscoveryService | None" = None,
    ) -> None:
        self._publish = publish
        self._lookup = lookup
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
        for discovery in self._own():
            discovery.is_live = previous is None
        self._first_answers: list[asyncio.Event] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def _own(self) -> list[ClusterDiscovery]:
        """Those that are not the previous service's."""
        return [discovery for name, discovery in self.clusters.items() if name not in self._shared]

    def start(self) -> None:
        """Begin resolving; STATIC clusters are known already, and shared ones are being resolved."""
        for discovery in self._own():
            if discovery.settings.discovery is not DiscoveryType.STATIC:
                answered = asyncio.Event()
                self._first_answers.append(answered)
                name = discovery.settings.name
                self._tasks[name] = spawn(self._keep_current(discovery, answered), name=f"dns-{name}")

    def take_over(self, previous: "DiscoveryService") -> list[ClusterDiscovery]:
        """Become the service in force: publish from now on, and care for what is shared.

        Returns:
            Clusters of `previous` that are gone or were replaced. `stop` it to end their lookups.
        """
        dropped = [one for name, one in previous.clusters.items() if name not in self._shared]
        for discovery in dropped:
            discovery.is_live = False
        self._tasks.update(previous.release(self._shared))
        for discovery in self._own():
            discovery.is_live = True
        return dropped

    def release(self, names: Collection[str]) -> dict[str, asyncio.Task[None]]:
        """Give away the lookups of some clusters; they go on, and `stop` no longer ends them."""
        return {name: self._tasks.pop(name) for name in names if name in self._tasks}

    async def wait_initialised(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` for every cluster's first answer or failure; False if one is missing."""
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

    def snapshot(self) -> list[ClusterEndpoints]:
        """Return the current list of every cluster, for a worker that starts."""
        return [discovery.message() for discovery in self.clusters.values()]

    async def stop(self) -> None:
        """Stop resolving; the lists stay as they are."""
        await cancel_and_wait(*self._tasks.values())

    async def _keep_current(self, discovery: ClusterDiscovery, answered: asyncio.Event) -> None:
        while True:
            await self._refresh(discovery)
            answered.set()
            await asyncio.sleep(discovery.settings.dns_refresh_rate_s)

    async def _refresh(self, discovery: ClusterDiscovery) -> None:
        settings = discovery.settings
        answers = await asyncio.gather(
            *(
                resolve(endpoint.host, settings.dns_lookup_family, self._lookup)
                for endpoint in settings.endpoints
            ),
            return_exceptions=True,
        )
        results: list[list[str] | LookupFailed] = []
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, LookupFailed):
                raise answer
            results.append(answer)
        was_failing = discovery.failing
        changed = discovery.on_answers(results)
        if discovery.failing and not was_failing:
            _log.warning(
                "cluster '%s': %s; the cluster has %s", settings.name, discovery.failing, discovery.describe()
            )
        elif was_failing and not discovery.failing:
            _log.info("cluster '%s': names resolve again", settings.name)
        if changed:
            _log.info("cluster '%s' now has %s", settings.name, discovery.describe())
            if discovery.is_live:
                self._publish(discovery.message())
