"""The configuration as `/config_dump` shows it: `envoy.admin.v3` shapes, without secrets.

What the operator wrote, not what was built from it: field names are Envoy's, so a dump can be compared with one
of Envoy's. Whatever could sign or decrypt something is replaced.
"""

from collections.abc import Iterator
from typing import Any

import orjson
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from udpa.annotations import sensitive_pb2

from fastproxy.config import schema
from fastproxy.config.build.runtime_keys import REQUEST_HEADERS
from fastproxy.config.dynamic.resources import ResourceKind, Resources
from fastproxy.config.rules import unpack
from fastproxy.config.schema import Bootstrap

_REDACTED = "[redacted]"
_ADMIN = "type.googleapis.com/envoy.admin.v3."
_API = "type.googleapis.com/"
_DATA_SOURCE = "envoy.config.core.v3.DataSource"
_JWKS_FIELD = "local_jwks"
_RUNTIME_LAYER, _RUNTIME_FIELD = "envoy.config.bootstrap.v3.RuntimeLayer", "static_layer"
#: Members of a JWK that must stay secret (RFC 7518 sections 6.2.2, 6.3.2, 6.4.1).
_SECRET_JWK_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_ROUTE_CONFIG = "envoy.config.route.v3.RouteConfiguration"
_CLASSES: dict[ResourceKind, Any] = {
    ResourceKind.CLUSTERS: cluster_pb2.Cluster,
    ResourceKind.LISTENERS: listener_pb2.Listener,
    ResourceKind.ROUTES: route_pb2.RouteConfiguration,
}
_FIELDS = {
    ResourceKind.CLUSTERS: "cluster",
    ResourceKind.LISTENERS: "listener",
    ResourceKind.ROUTES: "route_config",
}


def config_dump(bootstrap: bytes, resources: Resources | None = None) -> dict[str, Any]:
    """Show a serialised Bootstrap as JSON-able values.

    Private keys, passwords and whatever else Envoy's schema marks as sensitive, and the secret members of
    inline key sets are replaced by `[redacted]`.

    Args:
        bootstrap: as it was written, or with the resources of files in it, if `resources` has it without.
        resources: what came from files.

    Raises:
        ValueError: the bytes are no Bootstrap.
    """
    resources = resources or Resources()
    message = Bootstrap()
    try:
        message.ParseFromString(resources.bootstrap or bootstrap)
    except DecodeError as exc:
        raise ValueError("not a serialised Bootstrap message") from exc
    routes: list[Any] = []
    _redact(message, routes)
    static = message.static_resources
    dynamic = {kind: list(_dynamic(resources, kind, routes)) for kind in ResourceKind}
    versions = {one.kind: resources.files[one.path].version for one in resources.sources}
    return {
        "configs": [
            {"@type": f"{_ADMIN}BootstrapConfigDump", "bootstrap": _shown(message)},
            {
                "@type": f"{_ADMIN}ClustersConfigDump",
                **_versioned(versions, ResourceKind.CLUSTERS),
                "static_clusters": [{"cluster": _typed(cluster)} for cluster in static.clusters],
                **_if_any("dynamic_active_clusters", dynamic[ResourceKind.CLUSTERS]),
            },
            {
                "@type": f"{_ADMIN}ListenersConfigDump",
                **_versioned(versions, ResourceKind.LISTENERS),
                "static_listeners": [{"listener": _typed(listener)} for listener in static.listeners],
                **_if_any("dynamic_listeners", dynamic[ResourceKind.LISTENERS]),
            },
            {"@type": f"{_ADMIN}ScopedRoutesConfigDump"},
            {
                "@type": f"{_ADMIN}RoutesConfigDump",
                "static_route_configs": [{"route_config": _typed(config)} for config in routes],
                **_if_any("dynamic_route_configs", dynamic[ResourceKind.ROUTES]),
            },
            {"@type": f"{_ADMIN}SecretsConfigDump"},
        ]
    }


def _dynamic(resources: Resources, kind: ResourceKind, routes: list[Any]) -> Iterator[dict[str, Any]]:
    """The resources of one kind in the shape that Envoy has for it; route tables inside join `routes`."""
    for one in resources.shown:
        if one.kind is not kind:
            continue
        message: Any = _CLASSES[kind]()
        message.ParseFromString(one.message)
        _redact(message, routes if kind is ResourceKind.LISTENERS else [])
        entry = {"version_info": one.version, _FIELDS[kind]: _typed(message)}
        yield {"name": one.name, "active_state": entry} if kind is ResourceKind.LISTENERS else entry


def _versioned(versions: dict[ResourceKind, str], kind: ResourceKind) -> dict[str, str]:
    return {"version_info": versions[kind]} if versions.get(kind) else {}


def _if_any(name: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: entries} if entries else {}


def _shown(message: Any) -> dict[str, Any]:
    shown: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return shown


def _typed(message: Any) -> dict[str, Any]:
    return {"@type": _API + message.DESCRIPTOR.full_name, **_shown(message)}


def _redact(message: Any, routes: list[Any]) -> None:
    """Replace secrets in place, in `Any`s too, and collect the route tables on the way."""
    if message.DESCRIPTOR.full_name == _ROUTE_CONFIG:
        routes.append(message)
    for field, value in message.ListFields():
        if field.GetOptions().Extensions[sensitive_pb2.sensitive]:
            _hide(message, field, value)
        elif field.name == _RUNTIME_FIELD and message.DESCRIPTOR.full_name == _RUNTIME_LAYER:
            _redact_runtime(value, "")
        elif schema.is_message(field):
            for item in _messages(field, value):
                if item.DESCRIPTOR.full_name == _DATA_SOURCE and field.name == _JWKS_FIELD:
                    _redact_jwks(item)
                elif item.DESCRIPTOR.full_name == schema.ANY:
                    _redact_any(item, routes)
                else:
                    _redact(item, routes)


def _redact_any(holder: Any, routes: list[Any]) -> None:
    inner = unpack(holder)
    if inner is None:
        # Of a type that nobody knows: its bytes could be anything, and could not be shown either.
        holder.Clear()
        return
    _redact(inner, routes)
    holder.Pack(inner, deterministic=True)


def _messages(field: Any, value: Any) -> list[Any]:
    if not field.is_repeated:
        return [value]
    if not schema.is_map(field):
        return list(value)
    if not schema.is_message(field.message_type.fields_by_name["value"]):
        return []
    return [value[key] for key in value]


def _hide(message: Any, field: Any, value: Any) -> None:
    """Replace a sensitive field; where a secret comes from may be shown, what it is may not."""
    if schema.is_message(field):
        for item in _messages(field, value):
            if item.DESCRIPTOR.full_name != _DATA_SOURCE:
                item.Clear()
            elif item.WhichOneof("specifier") in ("inline_string", "inline_bytes"):
                item.inline_string = _REDACTED
    elif field.is_repeated or field.type not in (field.TYPE_STRING, field.TYPE_BYTES):
        message.ClearField(field.name)
    else:
        setattr(message, field.name, _REDACTED if field.type == field.TYPE_STRING else _REDACTED.encode())


def _redact_runtime(struct: Any, prefix: str) -> None:
    """Hide header values for key fetches: bearer tokens, as a rule. The name of a file may be shown."""
    for key, value in struct.fields.items():
        path = prefix + key
        if value.WhichOneof("kind") == "struct_value":
            _redact_runtime(value.struct_value, path + ".")
        elif path.startswith(REQUEST_HEADERS) and "{file:" not in value.string_value:
            value.string_value = _REDACTED


def _redact_jwks(source: Any) -> None:
    kind = source.WhichOneof("specifier")
    if kind not in ("inline_string", "inline_bytes"):
        return
    try:
        document = orjson.loads(getattr(source, kind))
        for key in document["keys"]:
            if isinstance(key, dict):
                key.update(dict.fromkeys(_SECRET_JWK_MEMBERS & key.keys(), _REDACTED))
        source.inline_string = orjson.dumps(document).decode()
    except (ValueError, TypeError, KeyError):
        # Certificates by key id, or not readable here: nothing of it has to be shown.
        source.inline_string = _REDACTED
