"""`upgrade_configs` of a connection manager and of a route: which requests may leave HTTP."""

from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.http_filters import HttpFilters, build_http_filters
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.listener.settings import UpgradeSettings
from fastproxy.router.settings import RouteUpgrade


def build_upgrades(manager: View, context: BuildContext, filters: HttpFilters) -> tuple[UpgradeSettings, ...]:
    """Build those of a connection manager; filters of their own become known to routes through `filters`."""
    found: list[UpgradeSettings] = []
    for view in manager.children("upgrade_configs"):
        kind = _take_type(view, [one.type for one in found])
        own = None
        if view.has("filters"):
            chain = build_http_filters(view, context, field="filters")
            filters.views |= chain.views
            own = tuple(chain.settings)
        found.append(UpgradeSettings(kind, view.flag_or("enabled", default=True), own))
    return tuple(found)


def build_route_upgrades(view: View, *, matches_connect: bool) -> tuple[RouteUpgrade, ...]:
    """Build those of a `RouteAction`; `matches_connect`: its route has a `connect_matcher`."""
    found: list[RouteUpgrade] = []
    for one in view.children("upgrade_configs"):
        kind = _take_type(one, [known.type for known in found])
        connect = one.child("connect_config")
        if connect is not None:
            _check_connect(one, connect, kind)
        elif kind == "connect" and not matches_connect:
            one.warn("has no effect: only a route with connect_matcher gets CONNECT requests")
        found.append(RouteUpgrade(kind, one.flag_or("enabled", default=True), connect is not None))
    return tuple(found)


def _take_type(view: View, known: list[str]) -> str:
    kind = view.text("upgrade_type").lower()
    if kind in known:
        view.error(f"multiple upgrade configs with the same name: {quote(kind)}", field="upgrade_type")
    elif not kind:
        view.error("an upgrade needs a type", "For WebSocket: upgrade_type: websocket", field="upgrade_type")
    elif kind in ("h2c", "connect-udp"):
        view.error(f"{quote(kind)} is not supported", "Remove it", field="upgrade_type")
    return kind


def _check_connect(view: View, connect: View, kind: str) -> None:
    if kind != "connect":
        view.error("connect_config is for upgrade_type CONNECT", "Remove it", field="connect_config")
    connect.unsupported("proxy_protocol_config", "no PROXY header is sent into a tunnel", "Remove it")
    connect.unsupported("allow_post", "only CONNECT opens a tunnel", "Remove it")
