"""The keys of one provider in one worker, and the requests that wait for them.

Keys come from the control plane. A worker never fetches; it asks, at most once at a time, and every answer wakes all
who wait, whether it brought keys or not.
"""

import asyncio
import logging
from collections.abc import Callable

from fastproxy.jwt import JwksError, JwkSet, Verifier

_log = logging.getLogger("fastproxy.jwt_authn")

#: Requests that may wait for keys at once, per provider and worker; beyond it they are answered at once.
_MAX_WAITING = 1024


class ProviderKeys:
    """Feeds a verifier with keys and lets requests wait for them, within a bound."""

    def __init__(
        self, verifier: Verifier, source_id: str, *, ask: Callable[[str], None], wait_s: float
    ) -> None:
        self._verifier = verifier
        self._source_id = source_id
        self._ask = ask
        self._wait_s = wait_s
        self._epoch = 0
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def source_id(self) -> str:
        """Names the key source in messages from the control plane."""
        return self._source_id

    def on_update(self, epoch: int, document: bytes) -> None:
        """Put new keys in force; an empty document withdraws them (fail closed)."""
        if epoch < self._epoch:
            return
        self._epoch = epoch
        try:
            keys = JwkSet.parse(document) if document else None
        except JwksError as error:
            # The control plane has parsed it before; if we disagree the old keys are the safer ones.
            _log.error("key set for %s refused: %s", self._source_id, error)
        else:
            self._verifier.replace_keys(keys)
        self._wake()

    def on_fetch_failed(self) -> None:
        """No new keys are coming for now."""
        self._wake()

    async def wait_for_update(self) -> None:
        """Ask for a fetch and wait for its outcome, at most `wait_s` seconds."""
        if len(self._waiting) >= _MAX_WAITING:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        is_first = not self._waiting
        self._waiting.add(waiter)
        if is_first:
            self._ask(self._source_id)
        try:
            async with asyncio.timeout(self._wait_s):
                await waiter
        except TimeoutError:
            return
        finally:
            self._waiting.discard(waiter)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)
