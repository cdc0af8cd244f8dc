"""Watches the answers of one endpoint for signs that it should not be used.

Only clusters that have something to watch for have monitors; all others pay one attribute test per response.
"""

from collections.abc import Callable
from typing import final

from fastproxy.http.headers import HeaderMap
from fastproxy.upstream.health.settings import OutlierKind, OutlierSettings

_GATEWAY_ERRORS = frozenset((502, 503, 504))
_NO_OUTLIERS = OutlierSettings()


@final
class EndpointMonitor:
    """Watches one endpoint in one worker.

    Args:
        on_immediate_failure: it asks to be taken out of use; None: nobody would find out when it works again, so
            it may ask in vain.
        on_outlier: it failed too often in a row.
        outliers: what counts as an outlier; None: nothing does.
    """

    __slots__ = (
        "_consecutive_5xx",
        "_consecutive_gateway",
        "_consecutive_local",
        "_on_immediate_failure",
        "_on_outlier",
        "_settings",
        "_split",
        "_watches_outliers",
        "failures",
        "local_failures",
        "local_successes",
        "successes",
    )

    def __init__(
        self,
        on_immediate_failure: Callable[[], None] | None,
        on_outlier: Callable[[OutlierKind], None],
        outliers: OutlierSettings | None = None,
    ) -> None:
        self._on_immediate_failure = on_immediate_failure
        self._on_outlier = on_outlier
        self._watches_outliers = outliers is not None
        self._settings = _NO_OUTLIERS if outliers is None else outliers
        self._split = self._settings.split_local_origin
        self._consecutive_5xx = self._consecutive_gateway = self._consecutive_local = 0
        self.successes = 0
        """Answers below 500 since `take_tally`."""
        self.failures = 0
        """Other answers, and unless they are split off, what follows."""
        self.local_successes = 0
        """Answers at all."""
        self.local_failures = 0
        """Requests that got none: connect failures, resets, timeouts."""

    def on_response(self, status: int, headers: HeaderMap) -> None:
        """A response head came. Hot path: once per request, in clusters with monitors only."""
        self.local_successes += 1
        self._consecutive_local = 0
        if status < 500:
            self.successes += 1
            self._consecutive_5xx = self._consecutive_gateway = 0
        else:
            self._on_failure(is_gateway_error=status in _GATEWAY_ERRORS)
        tell = self._on_immediate_failure
        if tell is not None and b"x-envoy-immediate-health-check-fail" in headers:
            tell()

    def on_no_response(self) -> None:
        """A request got no answer, or not all of it: connect failure, reset, timeout."""
        if not self._split:
            # 503 or 504 to the downstream, and counted like one from the endpoint.
            self._on_failure(is_gateway_error=True)
            return
        self.local_failures += 1
        self._consecutive_local += 1
        if self._consecutive_local == self._settings.consecutive_local_origin_failure:
            self._consecutive_local = 0
            self._on_outlier(OutlierKind.CONSECUTIVE_LOCAL_ORIGIN_FAILURE)

    def on_uneject(self) -> None:
        """It gets another chance: failures of before do not count any more."""
        self._consecutive_5xx = self._consecutive_gateway = self._consecutive_local = 0

    def take_tally(self) -> list[int]:
        """Successes, failures, local successes and local failures since this was asked."""
        tally = [self.successes, self.failures, self.local_successes, self.local_failures]
        self.successes = self.failures = self.local_successes = self.local_failures = 0
        return tally

    def _on_failure(self, *, is_gateway_error: bool) -> None:
        self.failures += 1
        if not self._watches_outliers:
            return
        if is_gateway_error:
            self._consecutive_gateway += 1
            if self._consecutive_gateway == self._settings.consecutive_gateway_failure:
                self._consecutive_gateway = 0
                self._on_outlier(OutlierKind.CONSECUTIVE_GATEWAY_FAILURE)
        else:
            self._consecutive_gateway = 0
        self._consecutive_5xx += 1
        if self._consecutive_5xx == self._settings.consecutive_5xx:
            self._consecutive_5xx = 0
            self._on_outlier(OutlierKind.CONSECUTIVE_5XX)
