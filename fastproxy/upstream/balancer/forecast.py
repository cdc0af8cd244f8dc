"""Choosing ahead of requests, so that connections are there when they are needed (`predictive_preconnect_ratio`).

What was chosen ahead is what the next requests get, in that order: the forecast is never wrong, and shares stay what
the policy says. Only policies that look at nothing of the request can be asked ahead of it.
"""

from collections import deque
from collections.abc import Callable
from typing import final

from fastproxy.upstream.balancer.picker import Picker
from fastproxy.upstream.endpoint import Endpoint

#: For one request; so that endpoints that come back do not get all connections of their warm-up at once (Envoy).
MAX_AT_ONCE = 3


@final
class Forecast(Picker):
    """Another picker, asked ahead.

    Args:
        picker: who chooses; its choice must not depend on the request.
        most: how many choices may be made ahead, Envoy: as many as there are endpoints.
        wants: whether the cluster should have one more connection, the request at hand counted.
        warm: begins a connection to an endpoint; False: it has enough, or may have no more.
    """

    __slots__ = ("_ahead", "_most", "_picker", "_wants", "_warm")

    def __init__(
        self, picker: Picker, most: int, wants: Callable[[], bool], warm: Callable[[Endpoint], bool]
    ) -> None:
        self._picker = picker
        self._most = most
        self._wants = wants
        self._warm = warm
        self._ahead: deque[Endpoint] = deque()

    def select(self, hash_value: int | None, attempt: int) -> Endpoint | None:
        """The next choice; before it, if connections are too few, one to who comes behind all others. Hot path.

        If nobody was chosen ahead, that is the endpoint of this request, which finds its connection under way.
        """
        self._look_ahead()
        return self._ahead.popleft() if self._ahead else self._picker.select(hash_value, attempt)

    def _look_ahead(self) -> None:
        for _ in range(MAX_AT_ONCE):
            if len(self._ahead) >= self._most or not self._wants():
                return
            following = self._picker.select(None, 0)
            if following is None:
                return
            self._ahead.append(following)
            if not self._warm(following):
                return
