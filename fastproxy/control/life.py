"""Where in its life the proxy is."""

from fastproxy import clock
from fastproxy.control.admin.view import ServerState


class Life:
    """Its state, and since when it lives. The control plane moves it, the admin interface shows it."""

    def __init__(self) -> None:
        self._began_at = clock.monotonic()
        self.state = ServerState.PRE_INITIALIZING
        self.initialization_ms: float | None = None
        """How long the start took; None before its end."""

    def begin_to_serve(self) -> None:
        """The start is over."""
        self.state = ServerState.LIVE
        self.initialization_ms = self.uptime_s() * 1000

    def uptime_s(self) -> float:
        """Seconds since the start."""
        return clock.monotonic() - self._began_at
