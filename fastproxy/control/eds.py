"""Endpoints that come from files: follows the file of each EDS cluster.

A file is read whole or not at all, and a cluster that it does not name keeps what it has. Clusters may share a file; it
is parsed once for all of them.
"""

import asyncio
import logging
from collections.abc import Callable

from fastproxy.config import Assignments, ConfigError, read_assignments
from fastproxy.control.discovery import ClusterDiscovery
from fastproxy.control.file_watch import FileContent, FileWatcher
from fastproxy.tasks import spawn
from fastproxy.upstream.settings import EdsSettings

_log = logging.getLogger("fastproxy.control.eds")
#: A reload must come to an end, also if a file never appears.
_RELOAD_FETCH_TIMEOUT_S = 15.0


class EndpointFiles:
    """Reads files with endpoints; what was read last of each is kept for whoever asks next."""

    def __init__(self, watcher: FileWatcher) -> None:
        self.watcher = watcher
        self._known: dict[str, tuple[bytes, asyncio.Task[Assignments]]] = {}

    async def read(self, path: str, content: FileContent) -> Assignments:
        """Parse a content.

        Raises:
            ConfigError: it is no response at all.
        """
        digest, task = self._known.get(path, (b"", None))
        if task is None or digest != content.digest:
            # A large file takes its time; health, keys and the admin interface go on meanwhile.
            task = spawn(asyncio.to_thread(read_assignments, path, content.content), name=f"eds {path}")
            self._known[path] = content.digest, task
        return await asyncio.shield(task)


class EdsFollower:
    """Keeps one EDS cluster as its file has it.

    Args:
        discovery: the cluster.
        files: reads.
        publish: is called when the cluster has other endpoints.
        is_reload: the proxy is running already, and the wait for a missing file is bounded.
    """

    def __init__(
        self,
        discovery: ClusterDiscovery,
        files: EndpointFiles,
        publish: Callable[[ClusterDiscovery], None],
        *,
        is_reload: bool,
    ) -> None:
        assert discovery.settings.eds is not None
        self._eds: EdsSettings = discovery.settings.eds
        self._discovery = discovery
        self._files = files
        self._publish = publish
        self._is_reload = is_reload
        self.answered = asyncio.Event()
        """The file was there once, or is waited for no longer."""

    async def run(self) -> None:
        """Follow the file until cancelled."""
        watch = self._files.watcher.follow(self._eds.path)
        try:
            try:
                async with asyncio.timeout(self._timeout_s()):
                    news = await watch.next()
            except TimeoutError:
                self._give_up_waiting()
                news = await watch.next()
            while True:
                await self._take(news)
                self.answered.set()
                news = await watch.next()
        finally:
            watch.close()

    def _timeout_s(self) -> float | None:
        timeout_s = self._eds.initial_fetch_timeout_s or None
        return timeout_s or (_RELOAD_FETCH_TIMEOUT_S if self._is_reload else None)

    def _give_up_waiting(self) -> None:
        self._discovery.updates.fetch_timeouts += 1
        self.answered.set()
        _log.warning(
            "cluster '%s': there is no regular file %s; the cluster has no endpoints until there is one",
            self._discovery.settings.name,
            self._eds.path,
        )

    async def _take(self, news: FileContent) -> None:
        path, discovery = self._eds.path, self._discovery
        try:
            found = await self._files.read(path, news)
        except ConfigError as error:
            discovery.updates.on_failure("\n".join(str(problem) for problem in error.problems))
            self._complain()
            return
        if found.problems:
            discovery.updates.on_rejected("\n".join(str(problem) for problem in found.problems))
            self._complain()
        elif found.is_empty:
            # As Envoy: it says nothing about this cluster.
            discovery.updates.on_success(found.version, empty=True)
        elif self._eds.service_name not in found.by_name:
            discovery.updates.on_rejected(f"{path}: there is no assignment for '{self._eds.service_name}'")
            self._complain()
        else:
            self._accept(found)

    def _accept(self, found: Assignments) -> None:
        discovery = self._discovery
        discovery.updates.on_success(found.version)
        service = self._eds.service_name
        if discovery.on_assignment(found.by_name[service], found.policies[service]):
            name = discovery.settings.name
            _log.info("cluster '%s' now has %s (%s)", name, discovery.describe(), self._eds.path)
            self._publish(discovery)

    def _complain(self) -> None:
        _log.error(
            "cluster '%s' keeps its endpoints, for its file cannot be used: %s",
            self._discovery.settings.name,
            self._discovery.updates.last_error.replace("\n", "; "),
        )
