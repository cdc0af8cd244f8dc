"""The runtimes of one worker: the one that serves, one that may replace it, those that it has replaced.

    prepare --> candidate --commit--> candidate that is told the state --switch--> current --> retired --> forgotten
                                    (or abort --> forgotten)

What always holds: at most one candidate, and it serves nobody; a retired runtime is kept until all that it has begun
has ended, and what it counted is kept for good.
"""

import asyncio
import base64
from collections.abc import Callable

from fastproxy.config import settings_from_bootstrap
from fastproxy.farewell import Farewell
from fastproxy.ipc.messages import (
    ClusterEndpoints,
    EndpointHealth,
    JwksFetchFailed,
    JwksUpdate,
    Prepare,
    SetFarewell,
    TlsFilesUpdate,
    WorkerInit,
)
from fastproxy.runtime.clusters import CountShares, TellOfEndpoint
from fastproxy.runtime.log_files import AccessLogFiles
from fastproxy.runtime.runtime import Runtime
from fastproxy.shared_counts import SharedCounts
from fastproxy.stats import StatsSink
from fastproxy.tasks import spawn

#: After a reload, how long an idle connection that nobody serves any more stays open for a request on its way, and
#: how long a request on one may take (Envoy's default drain time).
_RELOAD_IDLE_GRACE_S = 5.0
_RELOAD_DRAIN_S = 600.0


class Generations:
    """Builds runtimes, lets one follow the other, and passes on what the control plane has found out.

    Args:
        init: the worker's first message; its configuration becomes the current runtime.
        ask: tells the control plane that a request needs fresher keys of a source.
        tell: tells the control plane what is noticed about endpoints.

    Raises:
        FastProxyError, OSError: the first runtime cannot be built.
    """

    def __init__(self, init: WorkerInit, *, ask: Callable[[str], None], tell: TellOfEndpoint) -> None:
        self._id = init.worker_id
        self._concurrency = init.concurrency
        self._ask = ask
        self._tell = tell
        self.log_files = AccessLogFiles(
            asyncio.get_running_loop(), init.access_log_flush_s, init.access_log_flush_bytes
        )
        """The worker's access log files."""
        self._past = StatsSink()
        """What runtimes counted that are gone."""
        self._retired: list[tuple[Runtime, Runtime]] = []
        """Runtimes that still serve what they have begun, each with its successor."""
        self.candidate: Runtime | None = None
        """What may replace the current one."""
        self.is_committing = False
        """Between Commit and StartServing: what the control plane says is meant for the candidate."""
        self._counts = (
            SharedCounts(init.counts_fd, init.counts_rows, init.concurrency) if init.counts_fd >= 0 else None
        )
        self._farewell = Farewell()
        self.current = self._build(init.generation, init.bootstrap, init.count_blocks)
        """What serves."""

    def _build(
        self,
        generation: int,
        bootstrap: str,
        count_blocks: dict[str, int],
        previous: Runtime | None = None,
        kept_sources: tuple[str, ...] = (),
    ) -> Runtime:
        content = base64.b64decode(bootstrap)
        return Runtime(
            generation,
            settings_from_bootstrap(content),
            bootstrap=content,
            concurrency=self._concurrency,
            log_files=self.log_files,
            ask=self._ask,
            shares=(None if self._counts is None else CountShares(self._counts, count_blocks, self._id)),
            previous=previous,
            kept_sources=kept_sources,
            farewell=self._farewell,
            tell=self._tell,
        )

    @property
    def serving(self) -> list[Runtime]:
        """The current runtime, then those that still serve what they have begun."""
        return [self.current, *(runtime for runtime, _ in self._retired)]

    # -- a reload ------------------------------------------------------------------------------------------

    def prepare(self, message: Prepare) -> None:
        """Build a runtime beside the one that serves; what can go wrong in a reload goes wrong here.

        Raises:
            Exception: it cannot be built; there is no candidate then.
        """
        self.candidate = self._build(
            message.generation,
            message.bootstrap,
            message.count_blocks,
            self.current,
            tuple(message.kept_sources),
        )

    def commit(self) -> None:
        """What follows is meant for the candidate, if there is one."""
        self.is_committing = self.candidate is not None

    def abort(self) -> None:
        """Forget the candidate."""
        self.candidate = None
        self.is_committing = False
        self.log_files.retain(self._log_paths())

    def switch(self) -> None:
        """Let the candidate serve, which accepts already. Nothing waits in here: the next request is the new one's."""
        old, new = self.current, self.candidate
        assert new is not None
        self.candidate, self.is_committing = None, False
        self.current = new
        for retired, _ in self._retired:
            retired.redirect(new)
        self._retired.append((old, new))
        old.retire(new, idle_grace_s=_RELOAD_IDLE_GRACE_S)
        spawn(old.end_orphans(_RELOAD_DRAIN_S), name=f"drain of generation {old.generation}")

    def check_idle(self, now: float) -> None:
        """End what did not move for too long; called about once a second. `now` is monotonic seconds."""
        for runtime in self.serving:
            runtime.check_idle(now)

    def forget_idle(self) -> bool:
        """Drop the runtimes that have nothing left to do, and what they alone needed; False if there is none.

        Nobody but this object may hold one, or it stays in memory as long as they do.
        """
        finished = [entry for entry in self._retired if entry[0].is_idle]
        if not finished:
            return False
        self._retired = [entry for entry in self._retired if entry not in finished]
        for runtime, successor in finished:
            part = StatsSink(self._id)
            runtime.write_stats(part, successor)
            self._past.add_past(part, active=False)
        self.log_files.retain(self._log_paths())
        return True

    def _log_paths(self) -> set[str]:
        candidate = [] if self.candidate is None else [self.candidate]
        return set().union(*(runtime.log_paths for runtime in [*self.serving, *candidate]))

    # -- what the control plane says, and is told ----------------------------------------------------------

    def inform(
        self, message: ClusterEndpoints | EndpointHealth | JwksUpdate | JwksFetchFailed | TlsFilesUpdate
    ) -> None:
        """Pass on what the control plane has found out."""
        informed = self._informed()
        for runtime in informed:
            match message:
                case ClusterEndpoints():
                    runtime.on_endpoints(message)
                case EndpointHealth():
                    runtime.on_health(message)
                case JwksUpdate():
                    runtime.on_keys(message)
                case JwksFetchFailed():
                    runtime.on_keys_failed(message)
                case TlsFilesUpdate() if runtime is informed[0]:
                    # A retired runtime shakes no more hands.
                    runtime.on_tls_files(message)

    def _informed(self) -> list[Runtime]:
        """Whom a message about endpoints or keys is for. Requests of a retired runtime wait for keys, too."""
        if self.is_committing and self.candidate is not None:
            return [self.candidate]
        return self.serving

    def follow_farewell(self, message: SetFarewell) -> None:
        """The operator has said something about the end of the proxy."""
        self._farewell.say(
            health_failed=message.health_failed, drain_from=message.drain_from, drain_s=message.drain_s
        )
        for runtime in self.serving:
            runtime.follow_farewell()

    def collect_stats(self) -> StatsSink:
        """All that this worker has counted."""
        sink = StatsSink(self._id)
        sink.add_past(self._past, active=False)
        for runtime, successor in self._retired:
            part = StatsSink(self._id)
            runtime.write_stats(part, successor)
            sink.add_past(part, active=True)
        self.current.write_stats(sink)
        return sink
