"""Follows the files that clusters, listeners and routes of the configuration in force come from (CDS, LDS, RDS).

What has changed waits here until the reloader takes it. A content that cannot be used is kept, and tried again together
with the next change: routes to a cluster that comes a moment later are right then.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fastproxy.config import ConfigError, ResourceKind, Resources, ResourceSource, check_response
from fastproxy.control.file_watch import FileContent, FileWatch, FileWatcher, digest_of
from fastproxy.control.update_stats import UpdateStats
from fastproxy.stats import StatsSink
from fastproxy.tasks import cancel_and_wait, spawn

_log = logging.getLogger("fastproxy.control.resources")


@dataclass(frozen=True, slots=True)
class ResourceStatus:
    """How one subscription stands, for /reload_status."""

    kind: str
    """`cds`, `lds`, `rds` or `eds`."""
    name: str
    """The route table or cluster that it is for; empty: everything in the file."""
    path: str
    version: str
    updated_at: float
    last_error: tuple[str, ...]
    """Why what the file holds now is not used; empty if it is."""


class _Subscription:
    """What came of one file for one of those who ask for it."""

    def __init__(self, source: ResourceSource) -> None:
        self.source = source
        self.digest = b""
        self.stats = UpdateStats(
            source.stat_prefix,
            counts_empty=source.kind is ResourceKind.ROUTES,
            counts_reloads=source.kind is not ResourceKind.LISTENERS,
        )

    def adopt(self, digest: bytes, version: str, *, empty: bool) -> None:
        """This content is in force."""
        if digest != self.digest:
            self.digest = digest
            self.stats.on_success(version, empty=empty and self.source.kind is ResourceKind.ROUTES)
            self.stats.reloads += 1
        self.stats.last_error = ""


class ResourceFollower:
    """Follows the files of one configuration, and of the next when that is in force.

    Args:
        watcher: looks at the files.
        request: asks for `take` to be called.
    """

    def __init__(self, watcher: FileWatcher, request: Callable[[], None]) -> None:
        self._watcher = watcher
        self._request = request
        self._subscriptions: dict[ResourceSource, _Subscription] = {}
        self._watches: dict[str, tuple[FileWatch, asyncio.Task[None]]] = {}
        self._digests: dict[str, bytes] = {}
        """Of what is in force, by path."""
        self._pending: dict[str, bytes] = {}
        self._rejected: dict[str, bytes] = {}

    def adopt(self, resources: Resources) -> None:
        """These are in force now."""
        self._digests = {path: digest_of(one.content) for path, one in resources.files.items()}
        known, self._subscriptions = self._subscriptions, {}
        for source in resources.sources:
            one = self._subscriptions[source] = known.get(source) or _Subscription(source)
            file = resources.files[source.path]
            one.adopt(self._digests[source.path], file.version, empty=file.is_empty)
        for waiting in (self._pending, self._rejected):
            for path in [*waiting]:
                if path not in self._digests or digest_of(waiting[path]) == self._digests[path]:
                    del waiting[path]
        self._follow(self._digests)

    def take(self) -> dict[str, bytes]:
        """What has changed and was not tried yet, by path: clusters first, then listeners, then routes."""
        order = list(dict.fromkeys(source.path for source in self._subscriptions))
        taken = dict(sorted(self._pending.items(), key=lambda one: order.index(one[0])))
        self._pending.clear()
        return taken

    @property
    def rejected(self) -> dict[str, bytes]:
        """What was tried in vain and still stands in the files."""
        return dict(self._rejected)

    def on_rejected(self, path: str, content: bytes, problems: Iterable[str]) -> None:
        """What a file holds cannot be used."""
        self._rejected[path] = content
        for one in self._of(path):
            one.stats.on_rejected("\n".join(problems))

    def status(self) -> tuple[ResourceStatus, ...]:
        """How every subscription stands."""
        return tuple(
            ResourceStatus(
                one.source.kind.value,
                one.source.name,
                one.source.path,
                one.stats.version,
                one.stats.updated_at,
                tuple(one.stats.last_error.splitlines()),
            )
            for one in self._subscriptions.values()
        )

    def write_stats(self, sink: StatsSink) -> None:
        """Add the numbers of every subscription."""
        for one in self._subscriptions.values():
            one.stats.write(sink)

    async def stop(self) -> None:
        """Follow no longer."""
        for watch, _ in self._watches.values():
            watch.close()
        await cancel_and_wait(*(task for _, task in self._watches.values()))

    # -- inside --------------------------------------------------------------------------------------------

    def _of(self, path: str) -> list[_Subscription]:
        return [one for one in self._subscriptions.values() if one.source.path == path]

    def _follow(self, paths: Iterable[str]) -> None:
        wanted = set(paths)
        for path in self._watches.keys() - wanted:
            watch, task = self._watches.pop(path)
            watch.close()
            task.cancel()
        for path in sorted(wanted - self._watches.keys()):
            watch = self._watcher.follow(path, self._digests[path])
            self._watches[path] = watch, spawn(self._run(path, watch), name=f"resources {path}")

    async def _run(self, path: str, watch: FileWatch) -> None:
        while True:
            await self._on_news(path, await watch.next())

    async def _on_news(self, path: str, news: FileContent) -> None:
        self._pending.pop(path, None)
        self._rejected.pop(path, None)
        if news.digest == self._digests.get(path):
            # It was changed back, or a reload has read it already.
            for one in self._of(path):
                one.stats.last_error = ""
            return
        try:
            version, is_empty = await asyncio.to_thread(check_response, path, news.content)
        except ConfigError as error:
            for one in self._of(path):
                one.stats.on_failure(str(error))
            _log.error("what is in force stays, for the file cannot be used: %s", error.problems[0])
            return
        if is_empty and all(one.source.kind is ResourceKind.ROUTES for one in self._of(path)):
            # As Envoy: it says nothing about any route table.
            for one in self._of(path):
                one.stats.on_success(version, empty=True)
            return
        self._pending[path] = news.content
        self._request()
