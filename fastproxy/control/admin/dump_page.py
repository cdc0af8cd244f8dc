"""/config_dump with `?resource`, `?mask` and `?name_regex`, as Envoy chooses parts of the dump."""

from collections.abc import Iterator
from typing import Any

from aiohttp import web

from fastproxy.control.admin.replies import BadAdminRequest, compile_pattern

#: Resource lists of the dump that Envoy knows; those that are not there are empty.
_RESOURCES = frozenset(
    f"{kind}_{what}"
    for kind, lists in {
        "static": ("clusters", "listeners", "route_configs", "secrets", "endpoint_configs"),
        "dynamic_active": ("clusters", "secrets"),
        "dynamic_warming": ("clusters", "secrets"),
        "dynamic": ("listeners", "route_configs", "endpoint_configs"),
    }.items()
    for what in lists
)
#: Where an entry of a resource list has its name: `StaticCluster.cluster.name`, `DynamicListener.name`.
_HOLDERS = ("cluster", "listener", "route_config", "endpoint_config", "secret")

_Dump = dict[str, Any]


class UnknownResource(Exception):
    """The dump has nothing of that name; the text becomes the body of a 404."""


def choose_parts(request: web.Request, dump: _Dump) -> _Dump:
    """Reduce a dump to what the query asks for.

    Raises:
        BadAdminRequest: a parameter cannot be applied.
        UnknownResource: `?resource` names none.
    """
    resource, mask = request.query.get("resource", ""), request.query.get("mask", "")
    pattern = compile_pattern(request.query.get("name_regex", ""), "name_regex")
    configs: list[_Dump] = dump["configs"]
    if pattern is not None:
        configs = [_with_names(config, pattern) for config in configs]
    if resource:
        configs = list(_entries(configs, resource))
        if mask:
            configs = [_masked(entry, mask.split(",")) for entry in configs]
    elif mask:
        paths = mask.split(",")
        # A part of the dump that has none of the fields is left out, as Envoy does.
        configs = [
            _masked(config, paths)
            for config in configs
            if any(path.split(".")[0] in config for path in paths)
        ]
        if not configs:
            raise BadAdminRequest(f"FieldMask {mask} could not be successfully applied to any configs.")
    return {"configs": configs} if configs else {}


def _entries(configs: list[_Dump], resource: str) -> Iterator[_Dump]:
    for config in configs:
        found = config.get(resource)
        if found is not None and not isinstance(found, list):
            raise BadAdminRequest(
                f"{resource} is not a repeated field. Use ?mask={resource} to get only this field"
            )
        if found is not None:
            yield from found
            return
    if resource not in _RESOURCES:
        raise UnknownResource(f"{resource} not found in config dump")


def _with_names(config: _Dump, pattern: Any) -> _Dump:
    return {
        key: [entry for entry in value if pattern.search(_name_of(entry))]
        if isinstance(value, list)
        else value
        for key, value in config.items()
    }


def _name_of(entry: Any) -> str:
    if not isinstance(entry, dict):
        return ""
    holder = next((entry[key] for key in _HOLDERS if isinstance(entry.get(key), dict)), entry)
    return str(holder.get("name") or holder.get("cluster_name") or "")


def _masked(value: _Dump, paths: list[str]) -> _Dump:
    """Keep the fields that the paths lead to, and the types that say what they are."""
    kept: _Dump = {"@type": value["@type"]} if "@type" in value else {}
    below: dict[str, list[str]] = {}
    for path in paths:
        first, _, rest = path.partition(".")
        below.setdefault(first, []).append(rest)
    for first, rests in below.items():
        found = value.get(first)
        if found is None:
            continue
        if "" in rests:
            kept[first] = found
        elif isinstance(found, dict):
            kept[first] = _masked(found, rests)
        else:
            path = f"{first}.{rests[0]}"
            raise BadAdminRequest(f"FieldMask {path} could not be successfully applied to any configs.")
    return kept
