"""Fetches the key sets of all `remote_jwks` providers and tells the workers (when: `jwks_schedule`).

One task per source, so a source never has two fetches at once and a slow one holds up no other (S36, S43).
"""

import asyncio
import logging
from collections.abc import Callable
from urllib.parse import urlsplit

from fastproxy import clock
from fastproxy.control.jwks_document import BadJwks, JwksDocument, parse_jwks
from fastproxy.control.jwks_http import FetchedBody, FetchFailed, JwksHttpClient, Validators
from fastproxy.control.jwks_schedule import Action, JwksSchedule, RefreshAnswer, SchedulePolicy
from fastproxy.filters.jwt_authn.settings import ProviderSettings, RemoteJwksSettings
from fastproxy.ipc.messages import JwksFetchFailed, JwksUpdate
from fastproxy.stats import StatsSink
from fastproxy.tasks import cancel_and_wait, spawn

_log = logging.getLogger("fastproxy.control.jwks")

JwksMessage = JwksUpdate | JwksFetchFailed


class JwksSource:
    """What is known about the keys of one provider."""

    def __init__(self, provider: ProviderSettings, remote: RemoteJwksSettings, cooldown_s: float) -> None:
        self.provider = provider
        self.remote = remote
        self.schedule = JwksSchedule(
            SchedulePolicy(remote.cache_duration_s, provider.max_stale_s, cooldown_s), clock.monotonic()
        )
        self.document: JwksDocument | None = None
        self.validators = Validators()
        self.fetched_at: float | None = None
        """Unix time of the last good fetch."""
        self.last_error = ""
        """Why the last fetch failed; empty after a good one."""
        self.fetches_good = self.fetches_failed = 0
        self.wakeup = asyncio.Event()

    def answer(self) -> JwksMessage:
        """Return what a worker may be told without a fetch."""
        if self.document is not None:
            return JwksUpdate(self.provider.source_id, self.schedule.epoch, self.document.text)
        return JwksFetchFailed(self.provider.source_id, self.last_error or "not fetched yet")


class JwksFetcher:
    """Keeps the keys of every remote provider current.

    Args:
        providers: those with `remote_jwks`.
        client: makes the requests.
        broadcast: tells all workers.
        cooldown_s: the least time between two fetches of a source that requests asked for.
    """

    def __init__(
        self,
        providers: tuple[ProviderSettings, ...],
        client: JwksHttpClient,
        broadcast: Callable[[JwksMessage], None],
        *,
        cooldown_s: float = 10.0,
    ) -> None:
        self._client = client
        self._broadcast = broadcast
        self._tasks: list[asyncio.Task[None]] = []
        self.sources = {
            provider.source_id: JwksSource(provider, provider.jwks, cooldown_s)
            for provider in providers
            if isinstance(provider.jwks, RemoteJwksSettings)
        }
        """Every source by `source_id`."""

    def start(self) -> None:
        """Begin fetching."""
        for source in self.sources.values():
            self._tasks.append(spawn(self._keep_current(source), name=f"jwks-{source.provider.name}"))

    async def stop(self) -> None:
        """Stop fetching and close connections; workers keep what they have."""
        await cancel_and_wait(*self._tasks)
        await self._client.close()

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
            return source.answer()
        if decision is RefreshAnswer.FETCH:
            _log.debug("provider '%s': a token names an unknown key, fetching", source.provider.name)
            source.wakeup.set()
        return None

    def on_endpoints_changed(self, cluster: str) -> None:
        """A cluster got other addresses: sources that wait for their first keys try again at once."""
        for source in self.sources.values():
            if source.remote.cluster == cluster:
                source.schedule.on_reachable(clock.monotonic())
                source.wakeup.set()

    def write_stats(self, sink: StatsSink) -> None:
        """Add `jwks.<provider>.*`; the name is the operator's, never a token's (S54)."""
        now = clock.monotonic()
        for source in self.sources.values():
            prefix = f"jwks.{source.provider.name}."
            sink.counter(prefix + "fetch_success", source.fetches_good)
            sink.counter(prefix + "fetch_failed", source.fetches_failed)
            sink.gauge(prefix + "epoch", source.schedule.epoch)
            sink.gauge(prefix + "keys", 0 if source.document is None else len(source.document.keys))
            sink.gauge(prefix + "stale", int(source.schedule.is_stale(now)))

    async def _keep_current(self, source: JwksSource) -> None:
        self._warn_about_plaintext(source)
        schedule = source.schedule
        while True:
            now = clock.monotonic()
            action = schedule.due(now)
            if action is Action.WITHDRAW:
                self._withdraw(source)
            elif action is Action.FETCH:
                await self._fetch(source)
            else:
                await _wait(source.wakeup, schedule.next_due_at() - now)

    async def _fetch(self, source: JwksSource) -> None:
        """Fetch once. Keys that become too old meanwhile are withdrawn after it; it is bounded in time."""
        remote = source.remote
        source.schedule.on_fetch_started(clock.monotonic())
        try:
            fetched = await self._client.fetch(
                remote.uri, remote.cluster, remote.timeout_s, source.validators
            )
            document = None if fetched is None else parse_jwks(fetched.body)
        except (FetchFailed, BadJwks) as error:
            self._on_failure(source, str(error))
        except Exception as error:
            # Unforeseen, so a bug; but it must not end the refresh of these keys for good.
            _log.exception("provider '%s': fetching the keys failed unexpectedly", source.provider.name)
            self._on_failure(source, f"internal error ({type(error).__name__})")
        else:
            self._on_success(source, fetched, document)

    def _on_success(
        self, source: JwksSource, fetched: FetchedBody | None, document: JwksDocument | None
    ) -> None:
        schedule, name, now = source.schedule, source.provider.name, clock.monotonic()
        recovered, source.last_error = source.last_error, ""
        source.fetches_good += 1
        source.fetched_at = clock.unix_time()
        if fetched is None or document is None:
            changed = False
            schedule.on_unchanged(now)
        else:
            source.validators = fetched.validators
            changed = schedule.on_success(now, document.fingerprint)
            # An unchanged set keeps its text: the workers have exactly that.
            source.document = document if changed or source.document is None else source.document
            if document.had_private_members:
                _log.warning(
                    "provider '%s': %s publishes private keys; only public ones are used",
                    name,
                    without_secrets(source.remote.uri),
                )
        if changed and source.document is not None:
            kids = ", ".join(key.get("kid", "(no kid)") for key in source.document.keys[:8])
            _log.info(
                "provider '%s': keys changed (epoch %d, %d keys: %s), fresh for %.0f s",
                name,
                schedule.epoch,
                len(source.document.keys),
                kids,
                source.remote.cache_duration_s,
            )
        elif recovered:
            _log.info("provider '%s': the keys can be fetched again and have not changed", name)
        self._broadcast(source.answer())

    def _on_failure(self, source: JwksSource, reason: str) -> None:
        now = clock.monotonic()
        source.fetches_failed += 1
        source.last_error = reason
        retry_s = source.schedule.on_failure(now)
        _log.warning(
            "provider '%s': fetching keys from %s failed: %s; %s; next try in %.1f s",
            source.provider.name,
            without_secrets(source.remote.uri),
            reason,
            _consequence(source, now),
            retry_s,
        )
        self._broadcast(JwksFetchFailed(source.provider.source_id, reason))

    def _withdraw(self, source: JwksSource) -> None:
        source.schedule.on_withdrawn()
        source.document = None
        # A conditional request would be answered 304, and there is nothing any more that is "not modified".
        source.validators = Validators()
        _log.error(
            "provider '%s': the keys could not be refreshed for %.0f s after they expired and are withdrawn:"
            " requests that need them get 503 until a fetch succeeds",
            source.provider.name,
            source.provider.max_stale_s,
        )
        self._broadcast(JwksUpdate(source.provider.source_id, source.schedule.epoch, ""))

    def _warn_about_plaintext(self, source: JwksSource) -> None:
        if source.remote.uri.startswith("https:") and not self._client.uses_tls(source.remote.cluster):
            _log.warning(
                "provider '%s': the uri says https, but cluster '%s' has no TLS: keys travel in clear and"
                " whoever sits on the way can replace them; add a transport_socket to the cluster",
                source.provider.name,
                source.remote.cluster,
            )


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    """Wait until the event or the timeout, and clear the event. Infinity: no timeout."""
    try:
        async with asyncio.timeout(timeout_s if timeout_s < float("inf") else None):
            await event.wait()
    except TimeoutError:
        return
    event.clear()


def _consequence(source: JwksSource, now: float) -> str:
    limit = source.schedule.stale_until
    if limit is None or source.schedule.expires_at is None:
        return "there are no keys: requests that need them get 503"
    fresh_s = source.schedule.expires_at - now
    age = f"fresh for {fresh_s:.0f} s" if fresh_s > 0 else f"stale since {-fresh_s:.0f} s"
    return f"the keys held are {age} and serve for {limit - now:.0f} s more"


def without_secrets(uri: str) -> str:
    """Return a URI fit for logs and pages: without user information and query, where credentials hide."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
