"""Fetches the key sets of all providers that have them remotely and tells the workers (when: `jwks_schedule`).

One task per source, so a source never has two fetches at once and a slow one holds up no other (S36, S43).
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from fastproxy import clock
from fastproxy.control.jwks_document import BadJwks, JwksDocument, parse_jwks
from fastproxy.control.jwks_http import NO_VALIDATORS, Fetched, FetchFailed, JwksHttpClient
from fastproxy.control.jwks_retrieval import DiscoveryRetrieval, RemoteRetrieval
from fastproxy.control.jwks_schedule import Action, RefreshAnswer
from fastproxy.control.jwks_snapshot import SnapshotRefused, SnapshotStore
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
        self._broadcast = broadcast
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
                self._restore(source)
                self._tasks[source_id] = spawn(
                    self._keep_current(source), name=f"jwks-{source.provider.name}"
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

    async def _keep_current(self, source: JwksSource) -> None:
        self._warn_about_plaintext(source)
        schedule = source.schedule
        while not source.is_retired:
            now = clock.monotonic()
            action = schedule.due(now)
            if action is Action.WITHDRAW:
                self._withdraw(source)
            elif action is Action.FETCH:
                await self._fetch(source)
                source.first_result.set()
            else:
                await _wait(source.wakeup, schedule.next_due_at() - now)

    async def _fetch(self, source: JwksSource) -> None:
        """Fetch once. Keys that become too old meanwhile are withdrawn after it; it is bounded in time."""
        now = clock.monotonic()
        source.schedule.on_fetch_started(now)
        try:
            fetched = await source.retrieval.retrieve(source.validators, now)
            document = None if fetched.body is None else self._parse(source, fetched.body)
        except (FetchFailed, BadJwks) as error:
            self._on_failure(source, str(error))
        except Exception as error:
            # Unforeseen, so a bug; but it must not end the refresh of these keys for good.
            _log.exception("provider '%s': fetching the keys failed unexpectedly", source.provider.name)
            self._on_failure(source, f"internal error ({type(error).__name__})")
        else:
            self._on_success(source, fetched, document)
            self._save(source)

    def _parse(self, source: JwksSource, body: bytes) -> JwksDocument:
        try:
            return parse_jwks(body)
        except BadJwks:
            if isinstance(source.retrieval, DiscoveryRetrieval):
                source.retrieval.on_bad_document()
            raise

    def _on_success(self, source: JwksSource, fetched: Fetched, document: JwksDocument | None) -> None:
        schedule, name, now = source.schedule, source.provider.name, clock.monotonic()
        recovered, source.last_error = source.last_error, ""
        source.fetches_good += 1
        source.fetched_at, source.from_snapshot = clock.unix_time(), False
        if document is None:
            changed = False
            source.not_modified += 1
            schedule.on_unchanged(now, fetched.max_age_s)
        else:
            source.validators = fetched.validators
            changed = schedule.on_success(now, document.fingerprint, fetched.max_age_s)
            # An unchanged set keeps its text: the workers have exactly that.
            if changed or source.document is None:
                source.document = document
                source.history.on_document(document, source.fetched_at)
            if document.had_private_members:
                _log.warning(
                    "provider '%s': %s publishes private keys; only public ones are used",
                    name,
                    source.shown_uri,
                )
        if changed and source.document is not None:
            _log.info(
                "provider '%s': keys changed (epoch %d, %d keys: %s), fresh for %.0f s",
                name,
                schedule.epoch,
                len(source.document.keys),
                source.document.kids(),
                schedule.lifetime_s,
            )
        elif recovered:
            _log.info("provider '%s': the keys can be fetched again and have not changed", name)
        self._tell(source, source.answer())

    def _on_failure(self, source: JwksSource, reason: str) -> None:
        now = clock.monotonic()
        source.fetches_failed += 1
        source.last_error = reason
        retry_s = source.schedule.on_failure(now)
        _log.warning(
            "provider '%s': fetching keys from %s failed: %s; %s; next try in %.1f s",
            source.provider.name,
            source.shown_uri,
            reason,
            source.consequence(now),
            retry_s,
        )
        self._tell(source, JwksFetchFailed(source.provider.source_id, reason))

    def _withdraw(self, source: JwksSource) -> None:
        source.schedule.on_withdrawn()
        source.document, source.from_snapshot = None, False
        # A conditional request would be answered 304, and there is nothing any more that is "not modified".
        source.validators = NO_VALIDATORS
        _log.error(
            "provider '%s': the keys could not be refreshed for %.0f s after they expired and are withdrawn:"
            " requests that need them get 503 until a fetch succeeds",
            source.provider.name,
            source.provider.max_stale_s,
        )
        self._tell(source, JwksUpdate(source.provider.source_id, source.schedule.epoch, ""))

    def _tell(self, source: JwksSource, message: JwksMessage) -> None:
        if source.is_live:
            self._broadcast(message)

    def _restore(self, source: JwksSource) -> None:
        if self._snapshots is None:
            return
        name = source.provider.name
        try:
            snapshot = self._snapshots.load(source.provider.source_id, clock.unix_time())
            if snapshot is None:
                return
            document = parse_jwks(snapshot.jwks.encode())
        except (SnapshotRefused, BadJwks) as error:
            _log.warning("provider '%s': the key snapshot is not used: %s", name, error)
            return
        if not source.restore(snapshot, document):
            _log.warning("provider '%s': the key snapshot is older than max_stale and is not used", name)
            return
        _log.info(
            "provider '%s': keys of an earlier run (epoch %d, %d keys: %s) until a fetch succeeds; %s",
            name,
            source.schedule.epoch,
            len(document.keys),
            document.kids(),
            source.consequence(clock.monotonic()),
        )

    def _save(self, source: JwksSource) -> None:
        """Write the snapshot in a task of its own: a disk that hangs must not hold up the refresh."""
        if self._snapshots is None:
            return
        name = source.provider.name
        running = self.saves.get(source.provider.source_id)
        if running is not None and not running.done():
            _log.warning("provider '%s': the last key snapshot is still being written; none now", name)
            return
        self.saves[source.provider.source_id] = spawn(
            self._write_snapshot(self._snapshots, source), name=f"jwks-snapshot-{name}"
        )

    async def _write_snapshot(self, store: SnapshotStore, source: JwksSource) -> None:
        snapshot = source.snapshot()
        if snapshot is None:
            return
        try:
            await asyncio.to_thread(store.save, snapshot)
        except OSError as error:
            _log.warning(
                "provider '%s': the key snapshot cannot be written: %s", source.provider.name, error.strerror
            )

    def _warn_about_plaintext(self, source: JwksSource) -> None:
        cluster = source.retrieval.cluster
        if cluster and source.retrieval.uri.startswith("https:") and not self._client.uses_tls(cluster):
            _log.warning(
                "provider '%s': the uri says https, but cluster '%s' has no TLS: keys travel in clear and"
                " whoever sits on the way can replace them; add a transport_socket to the cluster",
                source.provider.name,
                cluster,
            )


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    """Wait until the event or the timeout, and clear the event. Infinity: no timeout."""
    try:
        async with asyncio.timeout(timeout_s if timeout_s < float("inf") else None):
            await event.wait()
    except TimeoutError:
        return
    event.clear()
