"""Keeps the keys of one source after the other current: fetch, take in, tell the workers, write to disk.

When a fetch is due is `jwks_schedule`'s to say, how it is made `jwks_retrieval`'s; which sources there are, and who
cares for them after a reload, `jwks_fetcher`'s.
"""

import asyncio
import logging
from collections.abc import Callable

from fastproxy import clock
from fastproxy.control.jwks_document import BadJwks, JwksDocument, parse_jwks
from fastproxy.control.jwks_http import NO_VALIDATORS, Fetched, FetchFailed
from fastproxy.control.jwks_retrieval import DiscoveryRetrieval
from fastproxy.control.jwks_schedule import Action
from fastproxy.control.jwks_snapshot import SnapshotRefused, SnapshotStore
from fastproxy.control.jwks_source import JwksMessage, JwksSource
from fastproxy.ipc.messages import JwksFetchFailed, JwksUpdate
from fastproxy.tasks import spawn

_log = logging.getLogger("fastproxy.control.jwks")


class JwksRefresher:
    """What is done with a source, whichever it is.

    Args:
        broadcast: tells all workers.
        uses_tls: whether a cluster does.
        snapshots: where good key sets are kept for the next start; None: nowhere.
        saves: snapshots that are being written, by `source_id`; whoever ends the refresher ends these.
    """

    def __init__(
        self,
        broadcast: Callable[[JwksMessage], None],
        uses_tls: Callable[[str], bool],
        snapshots: SnapshotStore | None,
        saves: dict[str, asyncio.Task[None]],
    ) -> None:
        self._broadcast = broadcast
        self._uses_tls = uses_tls
        self._snapshots = snapshots
        self._saves = saves

    async def keep_current(self, source: JwksSource) -> None:
        """Fetch whenever it is due, until the source is retired."""
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

    def restore(self, source: JwksSource) -> None:
        """Take what an earlier run left on disk, if it may still be used. Blocks for reading it."""
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
        running = self._saves.get(source.provider.source_id)
        if running is not None and not running.done():
            _log.warning("provider '%s': the last key snapshot is still being written; none now", name)
            return
        self._saves[source.provider.source_id] = spawn(
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
        if cluster and source.retrieval.uri.startswith("https:") and not self._uses_tls(cluster):
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
