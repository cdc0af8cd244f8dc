"""Deadlines that are set on every request and hardly ever reached.

`loop.call_later` plus `cancel` costs about a microsecond. A `LazyTimer` stores the deadline and keeps one loop timer
armed across requests: when that one fires early it arms itself again for the deadline that is in force by then.
"""

import asyncio
from collections.abc import Callable


class LazyTimer:
    """One resettable deadline. Times are `clock.monotonic()` seconds, which are the loop's own."""

    __slots__ = ("_armed_for", "_callback", "_handle", "_loop", "deadline")

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self.deadline = 0.0
        """When to call back, in monotonic seconds; 0: not at all."""
        self._armed_for = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def set(self, now: float, delay_s: float) -> None:
        """Call back `delay_s` after `now` unless set again or cleared before. Hot path: twice per request."""
        deadline = self.deadline = now + delay_s
        if self._handle is None:
            self._armed_for = deadline
            self._handle = self._loop.call_later(delay_s, self._on_timer)
        elif deadline < self._armed_for:
            self._handle.cancel()
            self._armed_for = deadline
            self._handle = self._loop.call_later(delay_s, self._on_timer)

    @property
    def is_set(self) -> bool:
        """Whether a deadline is in force."""
        return self.deadline != 0.0

    def clear(self) -> None:
        """Forget the deadline; the armed loop timer stays and will find nothing to do."""
        self.deadline = 0.0

    def close(self) -> None:
        """Release the loop timer: it keeps its owner alive."""
        self.deadline = 0.0
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _on_timer(self) -> None:
        self._handle = None
        if not self.deadline:
            return
        # The loop's clock, not ours: this is the time that decided to call us.
        remaining = self.deadline - self._loop.time()
        if remaining > 0.001:
            self._armed_for = self.deadline
            self._handle = self._loop.call_later(remaining, self._on_timer)
            return
        self.deadline = 0.0
        self._callback()
