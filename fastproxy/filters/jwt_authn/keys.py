"""The keys of one provider in one worker, and the requests that wait for them.

Keys come from the control plane. A worker never fetches; it asks, at most once at a time, and every answer wakes all
who wait, whether it brought keys or not.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable

from cachetools import TTLCache

from fastproxy import clock
from fastproxy.jwt import JwksError, JwkSet, Verifier

_log = logging.getLogger("fastproxy.jwt_authn")

#: Requests that may wait for keys at once, per provider and worker; beyond it they are answered at once.
_MAX_WAITING = 1024
#: A key id that a fetch did not bring is not asked for again for this long, unless the keys change: the tokens of
#: a key that was removed would otherwise cause a fetch per cool-down for as long as somebody sends them.
_MISSING_S = 30.0
_MAX_MISSING = 1024


class ProviderKeys:
    """Feeds a verifier with keys and lets requests wait for them, within a bound."""

    def __init__(
        self,
        verifier: Verifier,
        source_id: str,
        *,
        ask: Callable[[str], None],
        wait_s: float,
        is_local: bool = False,
    ) -> None:
        """Begin without keys, or with those that the verifier has.

        Args:
            verifier: gets the keys.
            source_id: names the key source in messages from the control plane.
            ask: sends a `JwksRefreshRequest`.
            wait_s: how long a request waits for the answer.
            is_local: the keys are the operator's own, so symmetric ones may be among them (S4). This comes from
                the configuration, not from the message that brings them.
        """
        self._verifier = verifier
        self._is_local = is_local
        self._source_id = source_id
        self._ask = ask
        self._wait_s = wait_s
        self._epoch = 0
        self._waiting: set[asyncio.Future[bool]] = set()
        self._missing: TTLCache[bytes, bool] = TTLCache(_MAX_MISSING, _MISSING_S, clock.monotonic)

    @property
    def source_id(self) -> str:
        """Names the key source in messages from the control plane."""
        return self._source_id

    def inherit(self, previous: "ProviderKeys") -> None:
        """Take over what is known of the same source: the epoch in force, and keys that do not exist."""
        self._epoch = previous._epoch  # noqa: SLF001 - of the same class
        self._missing = previous._missing  # noqa: SLF001 - of the same class

    def on_update(self, epoch: int, document: bytes, *, fetched: bool = True) -> None:
        """Put new keys in force; an empty document withdraws them (fail closed).

        `fetched`: False if this is only what the control plane held already.
        """
        if epoch < self._epoch:
            return
        if epoch == self._epoch:
            # Nothing new: a fetch was not due, or brought the same keys. Whoever waits is judged on what is here.
            self._wake(fetched=fetched)
            return
        self._epoch = epoch
        self._missing.clear()
        try:
            keys = JwkSet.parse(document, allow_symmetric=self._is_local) if document else None
        except JwksError as error:
            # The control plane has parsed it before; if we disagree the old keys are the safer ones.
            _log.error("key set for %s refused: %s", self._source_id, error)
        else:
            self._verifier.replace_keys(keys)
        self._wake(fetched=fetched)

    def on_fetch_failed(self) -> None:
        """No new keys are coming for now."""
        self._wake(fetched=False)

    def is_missing(self, token: bytes) -> bool:
        """Tell whether the key of a token was asked for lately and does not exist: no use asking again (S36)."""
        return bool(self._missing) and _memory_key(token) in self._missing

    def on_missing(self, token: bytes) -> None:
        """A fetch that was made for this token brought no key for it."""
        self._missing[_memory_key(token)] = True

    async def wait_for_update(self) -> bool:
        """Ask for a fetch and wait for its outcome, at most `wait_s` seconds.

        Returns:
            Whether a fetch succeeded, whatever it brought.
        """
        if len(self._waiting) >= _MAX_WAITING:
            return False
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        is_first = not self._waiting
        self._waiting.add(waiter)
        if is_first:
            self._ask(self._source_id)
        try:
            async with asyncio.timeout(self._wait_s):
                return await waiter
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(waiter)

    def _wake(self, *, fetched: bool) -> None:
        waiting, self._waiting = self._waiting, set()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(fetched)


def _memory_key(token: bytes) -> bytes:
    # The header segment holds the kid, and all tokens of one key share it. Its sender chooses its length.
    return hashlib.blake2b(token.partition(b".")[0], digest_size=16).digest()
