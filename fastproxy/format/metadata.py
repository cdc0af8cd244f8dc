"""Operators that read metadata: `DYNAMIC_METADATA`, `METADATA` (spec/http.md section 10)."""

from typing import Any

import orjson

from fastproxy.format.context import FormatContext, Operator
from fastproxy.format.redaction import redacting


def build_dynamic_metadata(argument: str, *, redact: bool) -> Operator:
    """`%DYNAMIC_METADATA(namespace:key:key)%`: what filters found out, of any type.

    Raises:
        ValueError: no namespace.
    """
    path = _path(argument)
    if not path or not all(path):
        raise ValueError("%DYNAMIC_METADATA% needs a namespace in brackets, then keys, separated by colons")

    def value(context: FormatContext) -> object:
        # A JSON format takes it as it is, an object too.
        found: Any = context.request.dynamic_metadata
        for key in path:
            if not isinstance(found, dict):
                return None
            found = found.get(key)
        return found

    return redacting(value) if redact else value


def build_metadata(argument: str, *, redact: bool) -> Operator:
    """`%METADATA(DYNAMIC:namespace:key)%`; other kinds of metadata do not exist here.

    Raises:
        ValueError: another kind than DYNAMIC.
    """
    kind, _, rest = argument.partition(":")
    if kind != "DYNAMIC":
        raise ValueError(f"%METADATA({kind}:...)% is not supported; there is metadata of kind DYNAMIC alone")
    return build_dynamic_metadata(rest, redact=redact)


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
