"""The operator's steps before the end: failing health checks and draining listeners (spec/http.md section 3).

The recipe of Envoy's operators: `POST /healthcheck/fail`, `POST /drain_listeners?graceful`, wait, SIGTERM.
"""

import asyncio
import logging
from collections.abc import Callable

from fastproxy import clock
from fastproxy.ipc.messages import SetFarewell

_log = logging.getLogger("fastproxy.control")


class Departure:
    """What was said about the end of this proxy, and the timer of a graceful drain.

    Args:
        drain_s: `--drain-time-s`.
        is_immediate: `--drain-strategy immediate`: from the begin of a drain every response ends its connection.
        tell: tells all workers.
        stop_listening: closes the listening sockets; of listeners for inbound traffic alone, if told so.
    """

    def __init__(
        self,
        drain_s: float,
        *,
        is_immediate: bool,
        tell: Callable[[SetFarewell], None],
        stop_listening: Callable[[bool], None],
    ) -> None:
        self._drain_s = drain_s
        self._is_immediate = is_immediate
        self._tell = tell
        self._stop_listening = stop_listening
        self._drain_from = -1.0
        self._timer: asyncio.TimerHandle | None = None
        self.health_failed = False
        """`/healthcheck/fail` was called, and `/healthcheck/ok` not since then."""

    def message(self) -> SetFarewell:
        """What a worker has to know."""
        return SetFarewell(self.health_failed, self._drain_from, 0.0 if self._is_immediate else self._drain_s)

    def set_health(self, *, failed: bool) -> None:
        """Fail health checks, or let them pass again."""
        if failed != self.health_failed:
            _log.info("health checks %s from now on", "fail" if failed else "pass")
        self.health_failed = failed
        self._tell(self.message())

    def drain_listeners(self, *, graceful: bool, inbound_only: bool, skip_exit: bool) -> None:
        """Stop listening: at once, or gracefully, when the drain time is over.

        Args:
            graceful: until then more and more responses end their connections. A second call changes nothing.
            inbound_only: listeners with `traffic_direction: INBOUND` alone.
            skip_exit: go on listening: only with `graceful` is there something to do.
        """
        if not graceful:
            if not skip_exit:
                self._stop_listening(inbound_only)
            return
        if self._drain_from >= 0:
            return
        _log.info("draining the listeners within %g s", self._drain_s)
        self._drain_from = clock.monotonic()
        self._tell(self.message())
        if not skip_exit:
            self._timer = asyncio.get_running_loop().call_later(
                self._drain_s, self._stop_listening, inbound_only
            )

    def stop(self) -> None:
        """The process ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
