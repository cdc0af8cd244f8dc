"""Operators that read metadata, what filters or the configuration say about a request (spec/http.md section 10)."""

from collections.abc import Callable
from typing import Any

import orjson

from fastproxy.format.context import FormatContext, Operator
from fastproxy.format.redaction import redacting

#: What is read, by the kind that `%METADATA(KIND:...)%` names.
_SOURCES: dict[str, Callable[[FormatContext], object]] = {
    "DYNAMIC": lambda c: c.request.dynamic_metadata,
    "ROUTE": lambda c: c.request.route_metadata,
    "VIRTUAL_HOST": lambda c: c.request.host_metadata,
    "CLUSTER": lambda c: c.request.cluster_metadata,
    "UPSTREAM_HOST": lambda c: c.request.upstream_metadata,
    "LISTENER": lambda c: c.request.connection.listener_metadata,
    "LISTENER_FILTER_CHAIN": lambda c: c.request.connection.chain_metadata,
}


def read_metadata(text: str) -> dict[str, object] | None:
    """What formats read of `filter_metadata`, which settings have as a JSON object; None if there is none."""
    found: dict[str, object] | None = orjson.loads(text) if text else None
    return found


def build_dynamic_metadata(argument: str, *, redact: bool) -> Operator:
    """`%DYNAMIC_METADATA(namespace:key:key)%`: what filters found out, of any type.

    Raises:
        ValueError: no namespace.
    """
    return _build("DYNAMIC_METADATA", "DYNAMIC", argument, redact=redact)


def build_cluster_metadata(argument: str, *, redact: bool) -> Operator:
    """`%CLUSTER_METADATA(namespace:key:key)%`: what the configuration says about the cluster.

    Raises:
        ValueError: no namespace.
    """
    return _build("CLUSTER_METADATA", "CLUSTER", argument, redact=redact)


def build_upstream_metadata(argument: str, *, redact: bool) -> Operator:
    """`%UPSTREAM_METADATA(namespace:key:key)%`: what it says about the endpoint.

    Raises:
        ValueError: no namespace.
    """
    return _build("UPSTREAM_METADATA", "UPSTREAM_HOST", argument, redact=redact)


def build_metadata(argument: str, *, redact: bool) -> Operator:
    """`%METADATA(KIND:namespace:key)%`: any of these, of route, virtual host, listener or filter chain.

    Raises:
        ValueError: an unknown kind, or no namespace.
    """
    kind, _, rest = argument.partition(":")
    if kind not in _SOURCES:
        raise ValueError(f"%METADATA({kind}:...)% is not supported; kinds are {', '.join(_SOURCES)}")
    return _build("METADATA", kind, rest, redact=redact)


def _build(name: str, kind: str, argument: str, *, redact: bool) -> Operator:
    path = _path(argument)
    if not path or not all(path):
        raise ValueError(f"%{name}% needs a namespace in brackets, then keys, separated by colons")
    read = _SOURCES[kind]

    def value(context: FormatContext) -> object:
        # A JSON format takes it as it is, an object too.
        found: Any = read(context)
        for key in path:
            if not isinstance(found, dict):
                return None
            found = found.get(key)
        return found

    return redacting(value) if redact else value


def _path(argument: str) -> list[str]:
    """The keys, separated by colons, or in the older form as a JSON array."""
    if not argument.startswith("["):
        return argument.split(":")
    try:
        path = orjson.loads(argument)
    except orjson.JSONDecodeError:
        path = None
    if not isinstance(path, list) or not all(isinstance(key, str) for key in path):
        raise ValueError(f"{argument} is not a JSON array of strings")
    return path
