"""Exponential back-off: how long to wait before the next try."""


class Backoff:
    """Delays that double from `first_s` to `longest_s`; `reset` starts over.

    `longest_s` is also what bounds the doubling, so a source that fails for months overflows nothing.
    """

    __slots__ = ("_first_s", "_longest_s", "_next_s")

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._next_s = first_s

    def next_delay_s(self) -> float:
        """Return the delay before the next try, in seconds, and double the one after."""
        delay = self._next_s
        self._next_s = min(delay * 2, self._longest_s)
        return delay

    def reset(self) -> None:
        """Forget earlier failures."""
        self._next_s = self._first_s
