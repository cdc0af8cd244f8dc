"""`http_filters`: which filters there are, in which order, with which settings."""

from dataclasses import dataclass, field

from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.filter_kinds import FILTER_KINDS
from fastproxy.config.decode import OWN_PREFIX
from fastproxy.config.problems import quote
from fastproxy.config.schema import TYPED_STRUCTS, type_name
from fastproxy.config.view import View
from fastproxy.listener.settings import HttpFilterSettings

ROUTER = "envoy.extensions.filters.http.router.v3.Router"
#: Filters that FastProxy has, by the type of their configuration.
KNOWN_FILTERS = (*FILTER_KINDS, ROUTER)
#: FastProxy's own filters, by the type_url inside a TypedStruct.
OWN_FILTERS: tuple[str, ...] = ()

# Old style: the name alone said which filter it was.
_TYPES_BY_NAME = {
    "envoy.filters.http.router": ROUTER,
    "envoy.router": ROUTER,
    **{name: kind.type_name for kind in FILTER_KINDS.values() for name in kind.names},
}
_URL = "type.googleapis.com/"


@dataclass(slots=True)
class HttpFilters:
    """The filters of a connection manager."""

    settings: list[HttpFilterSettings] = field(default_factory=list)
    """Those before the router, in order."""
    suppress_envoy_headers: bool = False
    """The router's."""
    views: dict[str, View | None] = field(default_factory=dict)
    """By name; None for one that FastProxy does without. What routes say about filters is checked against it."""


def build_http_filters(manager: View, context: BuildContext, field: str = "http_filters") -> HttpFilters:
    """Build all filters of a connection manager, or of an upgrade type that has its own; `field` holds them."""
    entries = manager.children(field)
    found = HttpFilters()
    last = ""
    for index, entry in enumerate(entries):
        name = entry.text("name")
        if name in found.views:
            entry.warn(f"another filter is named {quote(name)}, too", field="name")
        disabled = entry.flag("disabled")
        config = _open_filter(entry)
        found.views[name] = config
        last = config.type_name if config is not None else ""
        if config is None:
            continue
        kind = FILTER_KINDS.get(config.type_name)
        if kind is not None:
            settings = kind.build(config, context, name=name, disabled=disabled)
            found.settings.append(HttpFilterSettings(name, settings))
        elif config.type_name == ROUTER:
            found.suppress_envoy_headers = config.flag("suppress_envoy_headers")
            if disabled:
                entry.error("the router cannot be disabled", "Remove the field", field="disabled")
            if index != len(entries) - 1:
                entry.error(
                    f"the router answers every request, so it must be the last of the {field}",
                    "Move it to the end of the list",
                )
    if last != ROUTER and not _mentions_router(entries):
        manager.error(
            f"the last of the {field} must be the router",
            f'Add {{name: envoy.filters.http.router, typed_config: {{"@type": {_URL}{ROUTER}}}}}',
            field=field,
        )
    return found


def _open_filter(entry: View) -> View | None:
    """The configuration of a filter that FastProxy has; any other is refused, or skipped if it is optional."""
    name = entry.text("name")
    optional = entry.flag("is_optional")
    config = entry.typed("typed_config")
    if config is None:
        if entry.selected("config_type") is None:
            _missing_config(entry, name, optional=optional)
        return None
    if config.type_name in KNOWN_FILTERS:
        return config
    kind = config.type_name
    known = ", ".join(_short(one) for one in KNOWN_FILTERS + OWN_FILTERS)
    if kind in TYPED_STRUCTS:
        kind = type_name(config.text("type_url"))
        config.accept("value")
        if kind.startswith(OWN_PREFIX):
            known = ", ".join(OWN_FILTERS) or "none in this version"
    config.accept(*(one.name for one, _ in config.message.ListFields()))
    if optional:
        entry.warn(f"has no effect: FastProxy has no filter {quote(kind)}, and it is optional")
    else:
        entry.error(
            f"FastProxy has no HTTP filter {quote(kind)}",
            f"Remove it, or set is_optional: true to do without it. FastProxy has {known}",
            field="typed_config",
        )
    return None


def _short(kind: str) -> str:
    # envoy.extensions.filters.http.cors.v3.Cors is "cors" to everybody; names of our own stay whole.
    return kind.split(".")[-3] if kind.startswith("envoy.") else kind


def _missing_config(entry: View, name: str, *, optional: bool) -> None:
    if optional:
        entry.warn(f"has no effect: the filter {quote(name)} has no typed_config, and it is optional")
        return
    kind = _TYPES_BY_NAME.get(name)
    entry.error(
        f"the HTTP filter {quote(name)} has no typed_config",
        f'Add typed_config: {{"@type": {_URL}{kind}}}'
        if kind
        else "The name is only a label; typed_config says which filter it is: " + ", ".join(KNOWN_FILTERS),
    )


def _mentions_router(entries: list[View]) -> bool:
    """Whether a complaint about a missing router would only be an echo."""
    return any(
        entry.message.typed_config.type_url.endswith(ROUTER)
        or _TYPES_BY_NAME.get(entry.message.name) == ROUTER
        or entry.log.tainted(entry.path)
        for entry in entries
    )
