"""Replaces the configuration of a running proxy: all of it in all workers, or nothing.

The steps, each of which can say no without consequences: load and check the file, find what only a restart can change,
bind new addresses, warm up new clusters and key sources, have every worker build its runtime. Then all workers switch.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Protocol

from fastproxy import clock
from fastproxy.config import ConfigError
from fastproxy.config.settings import ProxySettings
from fastproxy.control.change_counts import ChangeCounts
from fastproxy.control.file_watch import FileWatcher
from fastproxy.control.generation import Configuration, ControlServices, Generation
from fastproxy.control.reload_status import ReloadStatus
from fastproxy.control.resources import ResourceFollower
from fastproxy.control.sockets import StartupError, open_listener_sockets
from fastproxy.control.supervisor import Supervisor
from fastproxy.stats import StatsSink
from fastproxy.tasks import cancel_and_wait, spawn

_log = logging.getLogger("fastproxy.control.reload")

#: Loads the configuration again from where it came from; ConfigError: with every problem of it.
#: It is given the one in force.
LoadConfiguration = Callable[[Configuration], Configuration]
#: Makes the configuration in force anew with other contents of files with resources, by path; ConfigError: as above.
UpdateConfiguration = Callable[[Configuration, Mapping[str, bytes]], Configuration]


class ReloadRefused(Exception):
    """The new configuration is not used; the one in force goes on. One problem a line."""


class ReloadHost(Protocol):
    """What a reload needs of the control plane."""

    generation: Generation
    services: ControlServices
    past_stats: StatsSink
    """What services counted that are gone."""

    def on_reload(self, *, begins: bool) -> None:
        """A reload begins, or has ended one way or the other."""
        ...


class Reloader:
    """Does one reload at a time. Requests that come meanwhile are one more reload after it.

    Args:
        host: the control plane.
        supervisor: tells the workers.
        load: loads the configuration again.
        update: makes it anew when a file with resources has changed; None: there are none.
        watcher: looks at those files.
    """

    def __init__(
        self,
        host: ReloadHost,
        supervisor: Supervisor,
        load: LoadConfiguration,
        update: UpdateConfiguration | None,
        watcher: FileWatcher,
    ) -> None:
        self._host = host
        self._supervisor = supervisor
        self._load = load
        self._update = update
        self._wanted = asyncio.Event()
        self._load_wanted = False
        self.resources = ResourceFollower(watcher, self._wanted.set)
        """Follows the files with resources."""
        self.changes = ChangeCounts()
        """Clusters and listeners that came, went and changed since the start."""
        self._task: asyncio.Task[None] | None = None
        self._retirements: set[asyncio.Task[None]] = set()
        self.status = ReloadStatus(loaded_at=clock.unix_time())
        """How it went so far."""

    def start(self) -> None:
        """Begin to follow requests; those that came before are followed now."""
        self.resources.adopt(self._host.generation.configuration.resources)
        self._task = spawn(self._run(), name="reload")

    async def stop(self) -> None:
        """End; a reload under way is given up, or finished if the workers are switching already."""
        await self.resources.stop()
        await cancel_and_wait(self._task, *self._retirements)

    def request(self, trigger: str) -> None:
        """Ask for a reload; `trigger` says in words what for."""
        self.status.last_trigger = trigger
        self._load_wanted = True
        self._wanted.set()

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if self._load_wanted:
                self._load_wanted = False
                await self.reload()
            if changed := self.resources.take():
                await self._on_changed(changed)

    async def reload(self) -> bool:
        """Load everything again; whether the new configuration is in force."""
        return await self._try(partial(self._load, self._host.generation.configuration))

    async def _on_changed(self, changed: dict[str, bytes]) -> None:
        """Files with resources hold something else: all of it if it fits together, else what does by itself."""
        update = self._update
        assert update is not None
        together = {**self.resources.rejected, **changed}
        if len(together) > 1:
            self.status.last_trigger = _changed(together)
            try:
                loaded = await asyncio.to_thread(update, self._host.generation.configuration, together)
            except ConfigError:
                # Each by itself says why.
                pass
            else:
                if await self._try(lambda: loaded):
                    return
        for path, content in changed.items():
            self.status.last_trigger = _changed([path])
            in_force = self._host.generation.configuration
            if not await self._try(partial(update, in_force, {path: content})):
                self.resources.on_rejected(path, content, self.status.last_error)

    async def _try(self, load: Callable[[], Configuration]) -> bool:
        """Put what `load` makes into force; whether that could be done."""
        status = self.status
        _log.info("%s: reloading the configuration", status.last_trigger)
        status.in_progress, status.last_attempt_at = True, clock.unix_time()
        self._host.on_reload(begins=True)
        try:
            await self._replace(await self._read(load))
        except ReloadRefused as refusal:
            status.failed += 1
            status.last_error = tuple(str(refusal).splitlines())
            _log.error(
                "the configuration is NOT reloaded, generation %d goes on:\n%s", status.generation, refusal
            )
            return False
        except Exception as error:
            # Unforeseen, so a bug; but the configuration in force must go on.
            status.failed += 1
            status.last_error = (f"internal error ({type(error).__name__}), see the log",)
            _log.exception("reload failed unexpectedly; generation %d goes on", status.generation)
            return False
        finally:
            status.in_progress = False
            self._host.on_reload(begins=False)
        status.succeeded += 1
        status.last_error = ()
        return True

    async def _read(self, load: Callable[[], Configuration]) -> Configuration:
        try:
            # Parsing takes a tenth of a second and more; health, keys and the admin interface go on meanwhile.
            configuration = await asyncio.to_thread(load)
        except ConfigError as error:
            raise ReloadRefused(str(error)) from error
        problems = unchangeable(self._host.generation.settings, configuration.settings)
        if problems:
            raise ReloadRefused("\n".join(problems))
        told = set(self._host.generation.configuration.warnings)
        for warning in configuration.warnings:
            # A file with endpoints or clusters may change every second.
            if warning not in told:
                _log.warning("%s", warning)
        return configuration

    async def _replace(self, configuration: Configuration) -> None:
        old = self._host.generation
        if old.stopped:
            raise ReloadRefused("listeners were drained, and a reload would open them again: restart instead")
        try:
            sockets = open_listener_sockets(
                configuration.settings.listeners, self._host.services.options.concurrency, old.sockets
            )
        except StartupError as error:
            raise ReloadRefused(str(error)) from error
        new = Generation(old.number + 1, configuration, sockets, self._host.services, old)
        try:
            await new.warm_up()
            failure = await self._supervisor.prepare(new.prepare_message, new.worker_sockets)
        except BaseException:
            await self._give_up(old, new)
            raise
        if failure:
            await self._give_up(old, new)
            raise ReloadRefused(failure)
        await self._commit(old, new)

    async def _give_up(self, old: Generation, new: Generation) -> None:
        self._supervisor.abort()
        await new.discard(old)

    async def _commit(self, old: Generation, new: Generation) -> None:
        # Up to the messages to the workers nothing waits: whatever changes from here on, the new generation tells it.
        new.take_over(old, self._host.past_stats)
        self._host.generation = new
        self.changes.count(old.configuration, new.configuration)
        self.status.generation, self.status.loaded_at = new.number, clock.unix_time()
        retirement = spawn(old.retire(), name=f"retire generation {old.number}")
        self._retirements.add(retirement)
        retirement.add_done_callback(self._retirements.discard)
        await self._supervisor.commit(new.state())
        # Not before all workers serve by it: whoever waits for the counters wants to know just that.
        self.resources.adopt(new.configuration.resources)
        _log.info(
            "generation %d is in force: %d listeners, %d clusters",
            new.number,
            len(new.settings.listeners),
            len(new.settings.clusters),
        )


def _changed(paths: Iterable[str]) -> str:
    found = list(paths)
    return f"{', '.join(found)} {'has' if len(found) == 1 else 'have'} changed"


def unchangeable(old: ProxySettings, new: ProxySettings) -> list[str]:
    """Say what a new configuration changes that a reload cannot."""
    before, after = (None if one.admin is None else one.admin.address for one in (old, new))
    if before == after:
        return []
    return [
        "admin: the address of the admin interface cannot be changed by a reload; restart, or upgrade to a new process"
    ]
