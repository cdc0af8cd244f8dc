"""`local_jwks` files, watched by content: new keys get to all workers at once, bad ones to none.

The file is read again every few seconds by its name, so every way of replacing it is seen: written in place,
renamed over, or swapped as a symlink anywhere on the path (Kubernetes' `..data`). A file that is just being
written looks broken for a moment; what is broken must look the same twice before it is worth a warning.
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Final

from fastproxy import clock
from fastproxy.control.jwks_document import BadJwks, JwksDocument, parse_jwks
from fastproxy.control.key_history import KeyHistory
from fastproxy.filters.jwt_authn.settings import LocalJwksSettings, ProviderSettings
from fastproxy.ipc.messages import JwksUpdate
from fastproxy.stats import StatsSink
from fastproxy.tasks import cancel_and_wait, spawn

_log = logging.getLogger("fastproxy.control.jwks")
#: Reading a key file costs some ten microseconds; two seconds after a change is soon enough for a rotation.
POLL_INTERVAL_S: Final = 2.0
#: The bound of `DataSource` when the configuration is loaded.
_MAX_BYTES: Final = 16 * 1024 * 1024


class LocalSource:
    """The keys of one watched file, beginning with those that the configuration was loaded with."""

    def __init__(self, provider: ProviderSettings, local: LocalJwksSettings) -> None:
        self.provider = provider
        self.filename = local.filename
        self.is_live = True
        """The workers are told of changes; False once a reload has dropped the source."""
        self.document = parse_jwks(local.jwks, is_local=True)
        """What the workers have."""
        self.epoch = 1
        self.loaded_at = clock.unix_time()
        """Unix time at which the keys in force were read."""
        self.history = KeyHistory()
        self.history.on_document(self.document, self.loaded_at)
        self.last_error = ""
        """Why what the file holds now is not used; empty if it is."""
        self.reloads_good = self.reloads_failed = 0
        self._seen = hashlib.sha256(local.jwks).digest()
        self._suspect = b""

    def message(self) -> JwksUpdate:
        """Return the keys in force as workers get them."""
        return JwksUpdate(self.provider.source_id, self.epoch, self.document.text)

    def on_content(self, content: bytes | OSError) -> JwksUpdate | None:
        """Take what the file holds, or why it cannot be read.

        Returns:
            What all workers must be told; None: the keys are the same, or the new ones cannot be used.
        """
        seen = hashlib.sha256(_words(content) if isinstance(content, OSError) else content).digest()
        if seen == self._seen:
            self._suspect = b""
            return None
        try:
            document = _parse(content)
        except BadJwks as error:
            if seen != self._suspect:
                self._suspect = seen
                return None
            self._seen, self.last_error = seen, str(error)
            self.reloads_failed += 1
            _log.warning(
                "provider '%s': %s cannot be used: %s; the keys that were read before stay in force",
                self.provider.name,
                self.filename,
                error,
            )
            return None
        self._seen, self._suspect = seen, b""
        return self._replace(document)

    def _replace(self, document: JwksDocument) -> JwksUpdate | None:
        recovered, self.last_error = self.last_error, ""
        self.reloads_good += 1
        self.loaded_at = clock.unix_time()
        if document.fingerprint == self.document.fingerprint:
            if recovered:
                _log.info("provider '%s': %s is good again", self.provider.name, self.filename)
            return None
        self.document = document
        self.history.on_document(document, self.loaded_at)
        self.epoch += 1
        _log.info(
            "provider '%s': %s was replaced (epoch %d, %d keys: %s)",
            self.provider.name,
            self.filename,
            self.epoch,
            len(document.keys),
            document.kids(),
        )
        return self.message()

    def write_stats(self, sink: StatsSink) -> None:
        """Add `jwks.<provider>.*`."""
        prefix = f"jwks.{self.provider.name}."
        sink.counter(prefix + "reload_success", self.reloads_good)
        sink.counter(prefix + "reload_failed", self.reloads_failed)
        sink.gauge(prefix + "epoch", self.epoch)
        sink.gauge(prefix + "keys", len(self.document.keys))


class LocalWatcher:
    """Keeps the keys of every `local_jwks` file current.

    Args:
        providers: all of them; those without a file are left alone.
        broadcast: tells all workers.
        pause: waits until the files are to be read again, for tests.
        previous: the watcher of the configuration in force; sources that stay are shared with it.
    """

    def __init__(
        self,
        providers: tuple[ProviderSettings, ...],
        broadcast: Callable[[JwksUpdate], None],
        *,
        pause: Callable[[], Awaitable[None]] | None = None,
        previous: "LocalWatcher | None" = None,
    ) -> None:
        self._broadcast = broadcast
        self._pause = pause or _pause
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._contents: dict[str, bytes] = {}
        self.sources: dict[str, LocalSource] = {}
        """Every source by `source_id`."""
        known = {} if previous is None else previous.sources
        for provider in providers:
            local = provider.jwks
            if isinstance(local, LocalJwksSettings) and local.filename:
                source_id = provider.source_id
                if source_id in known:
                    self._contents[source_id] = local.jwks
                self.sources[source_id] = known.get(source_id) or LocalSource(provider, local)
        self.shared = frozenset(self._contents)
        """Sources of `previous`, with their keys and epochs."""

    def start(self) -> None:
        """Begin watching; what is shared with the previous watcher is being watched."""
        for source_id, source in self.sources.items():
            if source_id not in self._contents:
                # A task each: a file on a network share that hangs must not hold up the others.
                self._tasks[source_id] = spawn(self._watch(source), name=f"jwks-file-{source.provider.name}")

    def take_over(self, previous: "LocalWatcher") -> list[LocalSource]:
        """Become the watcher in force. `stop` the previous one to end what it alone watches.

        The file that the configuration was loaded with counts at once, so that rules and keys change together.

        Returns:
            Sources of `previous` that are gone.
        """
        dropped = [one for source_id, one in previous.sources.items() if source_id not in self.sources]
        for source in dropped:
            source.is_live = False
        self._tasks.update(previous.release(self.shared))
        for source_id, content in self._contents.items():
            message = self.sources[source_id].on_content(content)
            if message is not None:
                self._broadcast(message)
        return dropped

    def release(self, source_ids: Collection[str]) -> dict[str, asyncio.Task[None]]:
        """Give away the watching of some sources; it goes on, and `stop` no longer ends it."""
        return {one: self._tasks.pop(one) for one in source_ids if one in self._tasks}

    async def stop(self) -> None:
        """Stop watching; workers keep what they have."""
        await cancel_and_wait(*self._tasks.values())

    def snapshot(self) -> list[JwksUpdate]:
        """Return the keys in force, for a worker that starts: it does not read the files itself."""
        return [source.message() for source in self.sources.values()]

    def write_stats(self, sink: StatsSink) -> None:
        """Add `jwks.<provider>.*`."""
        for source in self.sources.values():
            source.write_stats(sink)

    async def _watch(self, source: LocalSource) -> None:
        while True:
            await self._pause()
            message = source.on_content(await asyncio.to_thread(_read, source.filename))
            if message is not None and source.is_live:
                self._broadcast(message)


async def _pause() -> None:
    await asyncio.sleep(POLL_INTERVAL_S)


def _read(filename: str) -> bytes | OSError:
    path = Path(filename)
    try:
        # A named pipe would hang the thread.
        if not path.is_file():
            return FileNotFoundError(2, "no such regular file")
        with path.open("rb") as stream:
            return stream.read(_MAX_BYTES + 1)
    except OSError as error:
        return error


def _words(error: OSError) -> bytes:
    return (error.strerror or type(error).__name__).encode()


def _parse(content: bytes | OSError) -> JwksDocument:
    if isinstance(content, OSError):
        raise BadJwks(f"it cannot be read: {_words(content).decode()}")
    if len(content) > _MAX_BYTES:
        raise BadJwks(f"it is larger than {_MAX_BYTES} bytes")
    return parse_jwks(content, is_local=True)
