"""Which requests may leave HTTP, and through which filters (Envoy `upgrade_configs`; spec/http.md section 13)."""

from collections.abc import Callable, Mapping

from fastproxy.filters.chain import FilterChain
from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import LocalReply, Request
from fastproxy.listener.settings import UpgradeSettings
from fastproxy.router.route import Route

UPGRADE_REFUSED = LocalReply(403, details="upgrade_failed", close=True)


class Upgrades:
    """The connection manager's word on upgrades; a route's own comes first."""

    __slots__ = ("_chains", "_filters", "_forgeable", "_types")

    def __init__(
        self,
        settings: tuple[UpgradeSettings, ...],
        filters: FilterChain,
        chains: Mapping[bytes, FilterChain],
        identity_headers: frozenset[bytes],
    ) -> None:
        """Settle what is allowed.

        Args:
            settings: `upgrade_configs` of the connection manager.
            filters: its usual filters.
            chains: the filters of upgrade types that have their own.
            identity_headers: names that only filters may set; a chain that lacks those filters must not let a
                downstream's through (S46).
        """
        self._types = {one.type.encode(): one.enabled for one in settings}
        self._filters = filters
        self._chains = chains
        self._forgeable = identity_headers

    def select_filters(self, request: Request) -> FilterChain | LocalReply | None:
        """The filters that an upgrade request passes, or the refusal; its route is already known.

        Returns:
            None if nobody has allowed it or could have: without a route it is a request like any other, and ends with
            404 (Envoy). Should a filter find one, what asks for the upgrade is gone.
        """
        route = request.route
        asked = request.upgrade
        allowed = self._types.get(asked, False)
        if isinstance(route, Route):
            allowed = route.upgrades.get(asked, allowed)
        if not allowed and route is None:
            if request.method != b"CONNECT":
                request.upgrade = b""
                request.headers.pop(b"upgrade", None)
                request.headers.pop(b"connection", None)
            return None
        if not allowed or request.version != "1.1":
            return UPGRADE_REFUSED
        chain = self._chains.get(asked)
        if chain is None:
            return self._filters
        for name in self._forgeable.intersection(request.headers):
            del request.headers[name]
        return chain

    def response_filters(self, request: Request) -> Callable[[Request, HeaderMap], bool] | None:
        """What looks at the head of a response to an upgrade request; see `FilterChain.on_response`."""
        return self._chains.get(request.upgrade, self._filters).on_response
