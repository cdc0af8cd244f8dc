"""Watches the answers of one endpoint for signs that it should not be used.

Only clusters that have something to watch for have monitors; all others pay one attribute test per response.
"""

from typing import TYPE_CHECKING, Protocol, final

from fastproxy.http.headers import HeaderMap

if TYPE_CHECKING:
    from fastproxy.upstream.endpoint import Endpoint


class Watcher(Protocol):
    """Who decides what follows from what a monitor saw."""

    def on_immediate_failure(self, endpoint: "Endpoint") -> None:
        """The endpoint asked to be taken out of use."""


@final
class EndpointMonitor:
    """Watches one endpoint in one worker."""

    __slots__ = ("_endpoint", "_has_checks", "_watcher")

    def __init__(self, endpoint: "Endpoint", watcher: Watcher, *, has_checks: bool) -> None:
        self._endpoint = endpoint
        self._watcher = watcher
        self._has_checks = has_checks
        """Somebody will find out when it works again, so it may be taken out of use."""

    def on_response(self, status: int, headers: HeaderMap) -> None:
        """A response head came. Hot path: once per request, in clusters with monitors only."""
        if self._has_checks and b"x-envoy-immediate-health-check-fail" in headers:
            self._watcher.on_immediate_failure(self._endpoint)
