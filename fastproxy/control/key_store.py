"""The keys of all providers in the control plane: fetched ones, discovered ones, watched files.

Workers hold copies. Every change goes to all of them in one go and under a higher epoch, and a worker that starts
gets all keys in force, so no two workers judge by different keys for longer than a message takes.
"""

from collections.abc import Callable, Iterable

from fastproxy import clock
from fastproxy.control.admin.view import JwksStatus
from fastproxy.control.jwks_fetcher import JwksFetcher
from fastproxy.control.jwks_http import JwksHttpClient
from fastproxy.control.jwks_local import LocalWatcher
from fastproxy.control.jwks_report import report_jwks
from fastproxy.control.jwks_snapshot import SnapshotStore
from fastproxy.control.jwks_source import JwksMessage
from fastproxy.control.lookup import FamilyLookup, system_lookup
from fastproxy.filters.jwt_authn.settings import ProviderSettings
from fastproxy.ipc.messages import JwksUpdate
from fastproxy.stats import StatsSink


class KeyStore:
    """All key sources. `stop` it in the loop that started it.

    Args:
        providers: every provider of the configuration, one for each `source_id`.
        client: makes the requests.
        broadcast: tells all workers.
        cooldown_s: the least time between two fetches of a source that requests asked for.
        snapshot_dir: directory for fetched key sets; empty: none is kept.
        lookup: name resolution for discovery.
        previous: the store of the configuration in force; sources that stay the same are shared with it.
    """

    def __init__(
        self,
        providers: tuple[ProviderSettings, ...],
        client: JwksHttpClient,
        broadcast: Callable[[JwksMessage], None],
        *,
        cooldown_s: float = 10.0,
        snapshot_dir: str = "",
        lookup: FamilyLookup = system_lookup,
        previous: "KeyStore | None" = None,
    ) -> None:
        self._providers = providers
        self.fetcher: JwksFetcher = JwksFetcher(
            providers,
            client,
            broadcast,
            cooldown_s=cooldown_s,
            snapshots=SnapshotStore(snapshot_dir) if snapshot_dir else None,
            lookup=lookup,
            previous=None if previous is None else previous.fetcher,
        )
        """The sources whose keys are fetched."""
        self.watcher: LocalWatcher = LocalWatcher(
            providers, broadcast, previous=None if previous is None else previous.watcher
        )
        """The sources whose keys lie in a file here."""

    def start(self) -> None:
        """Begin fetching and watching."""
        self.fetcher.start()
        self.watcher.start()

    @property
    def kept(self) -> frozenset[str]:
        """Sources of the previous store, with their keys and epochs: verdicts made by them stand."""
        return self.fetcher.shared | self.watcher.shared

    def take_over(self, previous: "KeyStore", past: StatsSink) -> None:
        """Become the store in force; what `previous` counted for sources that are dropped is added to `past`."""
        now = clock.monotonic()
        for source in self.fetcher.take_over(previous.fetcher):
            source.write_stats(past, now)
        for dropped in self.watcher.take_over(previous.watcher):
            dropped.write_stats(past)

    async def retire(self) -> None:
        """After another store has taken over: end what it alone does."""
        await self.watcher.stop()
        await self.fetcher.retire()

    async def stop(self) -> None:
        """Stop both; workers keep what they have."""
        await self.watcher.stop()
        await self.fetcher.stop()

    async def wait_first_results(self) -> None:
        """Wait for the fetches that listeners must wait for (`async_fetch` without `fast_listener`)."""
        await self.fetcher.wait_first_results()

    def snapshot(self) -> list[JwksUpdate]:
        """Return all keys in force, for a worker that starts."""
        return [*self.watcher.snapshot(), *self.fetcher.snapshot()]

    def on_refresh_request(self, source_id: str) -> JwksMessage | None:
        """Take a worker's `JwksRefreshRequest`; see `JwksFetcher.on_refresh_request`."""
        local = self.watcher.sources.get(source_id)
        return self.fetcher.on_refresh_request(source_id) if local is None else local.message()

    def on_endpoints_changed(self, cluster: str) -> None:
        """A cluster got other addresses."""
        self.fetcher.on_endpoints_changed(cluster)

    def write_stats(self, sink: StatsSink) -> None:
        """Add `jwks.<provider>.*` for every source that can change."""
        self.fetcher.write_stats(sink)
        self.watcher.write_stats(sink)

    def report(self, now: float) -> Iterable[JwksStatus]:
        """Describe the keys of every provider; `now` is monotonic seconds."""
        return report_jwks(self._providers, {**self.fetcher.sources, **self.watcher.sources}, now)
