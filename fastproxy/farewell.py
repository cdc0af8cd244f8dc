"""What an operator has said about the end of this proxy: health checks fail, listeners drain (spec/http.md section 3).

One object per worker, which the control plane's word changes; connection managers and filters look at it.
"""

from random import random


class Farewell:
    """Says when a response ends its connection although nobody has ended the proxy yet."""

    __slots__ = ("_drain_from", "_drain_s", "health_failed")

    def __init__(self) -> None:
        self.health_failed = False
        """Others are to take this proxy out of service (`POST /healthcheck/fail`)."""
        self._drain_from = -1.0
        self._drain_s = 0.0

    @property
    def is_active(self) -> bool:
        """Whether responses may have to end their connections."""
        return self.health_failed or self._drain_from >= 0

    def say(self, *, health_failed: bool, drain_from: float, drain_s: float) -> None:
        """Take the control plane's word.

        Args:
            health_failed: health checks fail.
            drain_from: monotonic time since when listeners drain; negative: they do not.
            drain_s: how long it takes until every response ends its connection; 0: from the first one on.
        """
        self.health_failed = health_failed
        self._drain_from = drain_from
        self._drain_s = drain_s

    def is_due(self, now: float) -> bool:
        """Whether a response at this monotonic time ends its connection: the later, the more likely (Envoy)."""
        if self.health_failed:
            return True
        if self._drain_from < 0:
            return False
        passed = now - self._drain_from
        # Spread over the time, so that not all clients connect elsewhere at once.
        return passed >= self._drain_s or random() * self._drain_s < passed  # noqa: S311 - no secret
