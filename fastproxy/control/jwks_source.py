"""What the control plane knows about the keys of one provider that fetches them."""

import asyncio
from urllib.parse import urlsplit

from fastproxy import clock
from fastproxy.control.jwks_document import JwksDocument
from fastproxy.control.jwks_http import NO_VALIDATORS
from fastproxy.control.jwks_retrieval import Retrieval
from fastproxy.control.jwks_schedule import JwksSchedule, SchedulePolicy
from fastproxy.control.jwks_snapshot import Snapshot
from fastproxy.control.key_history import KeyHistory
from fastproxy.filters.jwt_authn.settings import (
    DiscoveryJwksSettings,
    ProviderSettings,
    RemoteJwksSettings,
)
from fastproxy.ipc.messages import JwksFetchFailed, JwksUpdate
from fastproxy.stats import StatsSink

JwksMessage = JwksUpdate | JwksFetchFailed


class JwksSource:
    """Keys, schedule and history of one source. Reads the clock when it is made; fetches nothing itself.

    Args:
        provider: the first provider that has this source.
        settings: its key source.
        retrieval: how a fetch is made.
        cooldown_s: the least time between two fetches that requests asked for.
    """

    def __init__(
        self,
        provider: ProviderSettings,
        settings: RemoteJwksSettings | DiscoveryJwksSettings,
        retrieval: Retrieval,
        cooldown_s: float,
    ) -> None:
        remote = settings if isinstance(settings, RemoteJwksSettings) else None
        self.provider = provider
        self.retrieval = retrieval
        self.is_live = True
        """The workers are told of changes; False while a reload warms the source up, or once it is replaced."""
        self.is_retired = False
        """A reload has dropped the source: no more fetches after the one under way."""
        self.kind = "discovery" if remote is None else "remote"
        """What /jwks calls it."""
        policy = SchedulePolicy(
            settings.cache_duration_s,
            provider.max_stale_s,
            cooldown_s,
            retry_first_s=1.0 if remote is None else remote.failed_refetch_s,
        )
        self.schedule = JwksSchedule(policy, clock.monotonic())
        self.document: JwksDocument | None = None
        self.history = KeyHistory()
        self.validators = NO_VALIDATORS
        self.fetched_at: float | None = None
        """Unix time of the last good fetch, in an earlier run perhaps."""
        self.from_snapshot = False
        """The keys in force come from disk; no fetch of this run has succeeded yet."""
        self.last_error = ""
        """Why the last fetch failed; empty after a good one."""
        self.fetches_good = self.fetches_failed = self.not_modified = 0
        self.wakeup = asyncio.Event()
        self.first_result = asyncio.Event()
        """Set when the first fetch has ended, well or not."""
        self.is_awaited = remote is not None and remote.wait_for_first_fetch
        """Listeners wait for `first_result` (`async_fetch` without `fast_listener`)."""

    @property
    def shown_uri(self) -> str:
        """Where the keys come from, fit for logs and pages."""
        return without_secrets(self.retrieval.uri)

    def answer(self, *, fetched: bool = True) -> JwksMessage:
        """Return what a worker may be told; `fetched`: a fetch has just found that."""
        if self.document is not None:
            return JwksUpdate(self.provider.source_id, self.schedule.epoch, self.document.text, fetched)
        return JwksFetchFailed(self.provider.source_id, self.last_error or "not fetched yet")

    def restore(self, snapshot: Snapshot, document: JwksDocument) -> bool:
        """Take keys of an earlier run; False if they are too old."""
        # A clock that was set back must not make them younger than they were; the future was refused before.
        age_s = max(clock.unix_time() - snapshot.fetched_at, 0.0)
        if not self.schedule.on_restored(clock.monotonic(), document.fingerprint, age_s, snapshot.lifetime_s):
            return False
        self.document, self.fetched_at, self.from_snapshot = document, snapshot.fetched_at, True
        self.history.on_document(document, snapshot.fetched_at)
        return True

    def snapshot(self) -> Snapshot | None:
        """Return what is worth keeping on disk."""
        if self.document is None or self.fetched_at is None:
            return None
        return Snapshot(
            self.provider.source_id, self.fetched_at, self.schedule.lifetime_s, self.document.text
        )

    def consequence(self, now: float) -> str:
        """Say in words what a failed fetch means for requests; `now` is monotonic seconds."""
        limit, expires_at = self.schedule.stale_until, self.schedule.expires_at
        if limit is None or expires_at is None:
            return "there are no keys: requests that need them get 503"
        fresh_s = expires_at - now
        age = f"fresh for {fresh_s:.0f} s" if fresh_s > 0 else f"stale since {-fresh_s:.0f} s"
        return f"the keys held are {age} and serve for {limit - now:.0f} s more"

    def write_stats(self, sink: StatsSink, now: float) -> None:
        """Add `jwks.<provider>.*`; the name is the operator's, never a token's (S54)."""
        prefix = f"jwks.{self.provider.name}."
        sink.counter(prefix + "fetch_success", self.fetches_good)
        sink.counter(prefix + "fetch_failed", self.fetches_failed)
        sink.counter(prefix + "fetch_not_modified", self.not_modified)
        sink.gauge(prefix + "epoch", self.schedule.epoch)
        sink.gauge(prefix + "keys", 0 if self.document is None else len(self.document.keys))
        sink.gauge(prefix + "stale", int(self.schedule.is_stale(now)))
        sink.gauge(prefix + "from_snapshot", int(self.from_snapshot))


def without_secrets(uri: str) -> str:
    """Return a URI without user information and query: either may carry a credential."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
