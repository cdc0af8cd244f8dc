"""Cares for the key sets of all providers that have them remotely: which there are, and whose they are after a reload.

One task per source, so a source never has two fetches at once and a slow one holds up no other (S36, S43).
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from fastproxy import clock
from fastproxy.control.jwks_http import JwksHttpClient
from fastproxy.control.jwks_refresh import JwksRefresher
from fastproxy.control.jwks_retrieval import DiscoveryRetrieval, RemoteRetrieval
from fastproxy.control.jwks_schedule import RefreshAnswer
from fastproxy.control.jwks_snapshot import SnapshotStore
from fastproxy.control.jwks_source import JwksMessage, JwksSource
from fastproxy.control.lookup import FamilyLookup, system_lookup
from fastproxy.filters.jwt_authn.settings import LocalJwksSettings, ProviderSettings, RemoteJwksSettings
from fastproxy.ipc.messages import JwksFetchFailed, JwksUpdate
from fastproxy.stats import StatsSink
from fastproxy.tasks import cancel_and_wait, spawn

_log = logging.getLogger("fastproxy.control.jwks")
#: How long a fetch may go on for requests of a configuration that a reload has replaced. They wait no longer.
_RETIREMENT_S: Final = 15.0


class JwksFetcher:
    """Keeps the keys of every provider current whose keys are fetched.

    Args:
        providers: all of them; those with `local_jwks` are left alone.
        client: makes the requests.
        broadcast: tells all workers.
        cooldown_s: the least time between two fetches of a source that requests asked for.
        snapshots: where good key sets are kept for the next start; None: nowhere.
        lookup: name resolution for discovery.
        previous: the fetcher of the configuration in force. Sources that mean the same in both, their cluster
            included, are shared with it; all others are fetched in silence until `take_over`.
    """

    def __init__(
        self,
        providers: tuple[ProviderSettings, ...],
        client: JwksHttpClient,
        broadcast: Callable[[JwksMessage], None],
        *,
        cooldown_s: float = 10.0,
        snapshots: SnapshotStore | None = None,
        lookup: FamilyLookup = system_lookup,
        previous: "JwksFetcher | None" = None,
    ) -> None:
        self._client = client
        self._snapshots = snapshots
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.saves: dict[str, asyncio.Task[None]] = {}
        """Snapshots that are being written, by `source_id`."""
        self._clients: dict[str, JwksHttpClient] = {}
        self._lent: set[JwksHttpClient] = set()
        """Clients that sources need which another fetcher has taken over."""
        self.sources: dict[str, JwksSource] = {}
        """Every source by `source_id`."""
        shared: set[str] = set()
        directory = None if snapshots is None else snapshots.directory
        if previous is not None:
            # Writes of shared sources under way, and later ones, are this fetcher's to end.
            self.saves = previous.saves
        self._refresher = JwksRefresher(broadcast, client.uses_tls, snapshots, self.saves)
        for provider in providers:
            settings = provider.jwks
            if previous is not None and previous.serves(provider, client, directory):
                self.sources[provider.source_id] = previous.sources[provider.source_id]
                shared.add(provider.source_id)
            elif not isinstance(settings, LocalJwksSettings):
                retrieval = (
                    RemoteRetrieval(settings, client)
                    if isinstance(settings, RemoteJwksSettings)
                    else DiscoveryRetrieval(settings, client, lookup, provider.name)
                )
                source = JwksSource(provider, settings, retrieval, cooldown_s)
                source.is_live = previous is None
                self.sources[provider.source_id] = source
                self._clients[provider.source_id] = client
        self.shared = frozenset(shared)
        """Sources of `previous`, with their keys and epochs."""

    def start(self) -> None:
        """Take what earlier runs left on disk, and begin fetching. Blocks for reading the snapshots."""
        for source_id, source in self.sources.items():
            if source_id not in self.shared:
                self._refresher.restore(source)
                self._tasks[source_id] = spawn(
                    self._refresher.keep_current(source), name=f"jwks-{source.provider.name}"
                )

    def take_over(self, previous: "JwksFetcher") -> list[JwksSource]:
        """Become the fetcher in force: tell the workers from now on, and care for what is shared.

        A source that replaces one of the same id goes on from its epoch: workers ignore what is older than what
        they have.

        Returns:
            Sources of `previous` that are gone or were replaced. `retire` it to end them.
        """
        dropped = []
        for source_id, old in previous.sources.items():
            if source_id in self.shared:
                continue
            dropped.append(old)
            new = self.sources.get(source_id)
            if new is not None:
                old.is_live = False
                new.schedule.epoch += old.schedule.epoch
        tasks, clients = previous.release(self.shared)
        self._tasks.update(tasks)
        self._clients.update(clients)
        for source in self.sources.values():
            source.is_live = True
        return dropped

    def release(
        self, source_ids: Collection[str]
    ) -> tuple[dict[str, asyncio.Task[None]], dict[str, JwksHttpClient]]:
        """Give away the care for some sources, and the clients that they use: `stop` no longer ends these."""
        clients = {source_id: self._clients.pop(source_id) for source_id in source_ids}
        self._lent = set(clients.values())
        tasks = {one: self._tasks.pop(one) for one in source_ids if one in self._tasks}
        return tasks, clients

    async def retire(self) -> None:
        """After another fetcher has taken over: end once the fetches under way have ended, for requests wait."""
        running = list(self._tasks.values())
        for source_id in self._tasks:
            self.sources[source_id].is_retired = True
            self.sources[source_id].wakeup.set()
        if running:
            await asyncio.wait(running, timeout=_RETIREMENT_S)
        await self.stop()

    async def stop(self) -> None:
        """Stop fetching and close connections; workers keep what they have."""
        await cancel_and_wait(*self._tasks.values(), *self.saves.values())
        for client in {self._client, *self._clients.values()} - self._lent:
            await client.close()

    def serves(self, provider: ProviderSettings, client: JwksHttpClient, directory: Path | None) -> bool:
        """Tell whether a source here is what another configuration means by a provider's."""
        source = self.sources.get(provider.source_id)
        if source is None:
            return False
        known, cluster = source.provider, source.retrieval.cluster
        return (
            directory == (None if self._snapshots is None else self._snapshots.directory)
            and known.jwks == provider.jwks
            and known.max_stale_s == provider.max_stale_s
            and client.cluster(cluster) == self._clients[provider.source_id].cluster(cluster)
        )

    async def wait_first_results(self) -> None:
        """Wait until every source that listeners must wait for was fetched once, well or not.

        A fetch is bounded in time, and so is this.
        """
        for source in self.sources.values():
            if source.is_awaited:
                await source.first_result.wait()

    def snapshot(self) -> list[JwksUpdate]:
        """Return the keys in force, for a worker that starts; a source without keys is not in it."""
        found = (source.answer() for source in self.sources.values())
        return [message for message in found if isinstance(message, JwksUpdate)]

    def on_refresh_request(self, source_id: str) -> JwksMessage | None:
        """Take a worker's `JwksRefreshRequest`.

        Returns:
            The answer for that worker alone, if there is one already; None: the fetch that runs now answers,
            to all workers. Answering at once costs one message, so that a flood of requests is not multiplied
            (S36).
        """
        source = self.sources.get(source_id)
        if source is None:
            return JwksFetchFailed(source_id, "no such key source")
        decision = source.schedule.on_refresh_request(clock.monotonic())
        if decision is RefreshAnswer.COOLING:
            return source.answer(fetched=False)
        if decision is RefreshAnswer.FETCH:
            _log.debug("provider '%s': a token names an unknown key, fetching", source.provider.name)
            source.wakeup.set()
        return None

    def on_endpoints_changed(self, cluster: str) -> None:
        """A cluster got other addresses: sources that wait for their first keys try again at once."""
        for source in self.sources.values():
            if source.retrieval.cluster == cluster:
                source.schedule.on_reachable(clock.monotonic())
                source.wakeup.set()

    def write_stats(self, sink: StatsSink) -> None:
        """Add `jwks.<provider>.*`."""
        now = clock.monotonic()
        for source in self.sources.values():
            source.write_stats(sink, now)
