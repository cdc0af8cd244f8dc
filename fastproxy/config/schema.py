"""Envoy's schema: which message a type URL names, and which field a name in the file means.

The generated modules of `xds-protos` are imported when a configuration first names a type from them; all of them
together would take seconds.
"""

import difflib
import importlib
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from envoy.config.bootstrap.v3 import bootstrap_pb2
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

#: The root of every configuration; `Any` because no stubs are published for it.
Bootstrap: Any = bootstrap_pb2.Bootstrap

_ROOT = Path(bootstrap_pb2.__file__).parents[4]
# Only Envoy's own API trees: a type URL must never choose what Python code is imported.
_TREES = frozenset({"envoy", "xds", "udpa", "google"})
_TYPE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+")
_OLD_API = re.compile(r"^envoy\..*\bv2(alpha\d?)?\.")

ANY = "google.protobuf.Any"
TYPED_STRUCTS = frozenset({"xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"})

#: Names that are closer than this are the same word with a slip in it; `drain_timeout_jitter` is another field.
_SLIP_RATIO = 0.85
#: Fields of the v2 API that published files still have, and what to write now.
_OLD_FIELDS = {
    "hosts": "use load_assignment: {endpoints: [{lb_endpoints: [{endpoint: {address: ...}}]}]}",
    "tls_context": 'use transport_socket with typed_config: {"@type": ...UpstreamTlsContext or DownstreamTlsContext}',
    "config": 'use typed_config with the "@type" of its message',
    "runtime": "use layered_runtime",
    "regex": "use safe_regex: {regex: ...}",
    "regex_match": "use safe_regex_match: {regex: ...}",
    "allow_origin": "use allow_origin_string_match",
    "per_filter_config": "use typed_per_filter_config",
    "extension_protocol_options": "use typed_extension_protocol_options",
}
#: Where people most often mean these types; offered when a type URL is misspelt.
WELL_KNOWN_TYPES = (
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    "envoy.extensions.filters.http.router.v3.Router",
    "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
    "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
    "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
    "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    "envoy.extensions.access_loggers.file.v3.FileAccessLog",
    "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
    "envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
)


def type_name(type_url: str) -> str:
    """The full message name in a type URL; everything up to the last slash is only a label."""
    return type_url.rpartition("/")[2]


@cache
def find_message(full_name: str) -> type[Message] | None:
    """The class of a message of Envoy's schema, or None."""
    if _OLD_API.search(full_name) or not _TYPE_NAME.fullmatch(full_name):
        # The package still has the v2 messages; Envoy has not taken them since 1.18.
        return None
    if full_name.partition(".")[0] not in _TREES:
        return None
    pool = descriptor_pool.Default()
    try:
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(full_name))
    except KeyError:
        pass
    package = full_name.rpartition(".")[0]
    _import_package(package)
    try:
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(full_name))
    except KeyError:
        return None


def unknown_type_fix(full_name: str) -> str:
    """What to say about a type URL that names nothing."""
    if _OLD_API.search(full_name):
        return "The v2 API no longer exists; use the v3 message" + _suggestion(full_name)
    return "Check the spelling" + (
        _suggestion(full_name) or f"; the schema in use is xds-protos {schema_version()}"
    )


@cache
def fields_by_any_name(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    """Fields under both their names, `connect_timeout` and `connectTimeout`."""
    fields = {field.json_name: field for field in descriptor.fields}
    fields.update({field.name: field for field in descriptor.fields})
    return fields


def unknown_field_fix(descriptor: Descriptor, name: str) -> str:
    """What to say about a field that a message does not have."""
    if name == "<<":
        return "YAML merge keys are not supported, by Envoy neither; write the fields out"
    if name in _OLD_FIELDS and descriptor.full_name.startswith("envoy."):
        return f"It went with the v2 API; {_OLD_FIELDS[name]}"
    # Suggested in the spelling that was tried, where the two differ.
    spellings = [field.name if name == name.lower() else field.json_name for field in descriptor.fields]
    near = difflib.get_close_matches(name, spellings, n=1, cutoff=0.6)
    newer = f"field newer than the schema in use (xds-protos {schema_version()}) is unknown, too"
    if near:
        is_slip = difflib.SequenceMatcher(None, name, near[0]).ratio() > _SLIP_RATIO
        return f'Did you mean "{near[0]}"?' + ("" if is_slip else f" A {newer}")
    known = sorted(field.name for field in descriptor.fields)
    listed = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return (f"Known fields: {listed}. " if known else "It has no fields. ") + f"A {newer}"


@cache
def schema_version() -> str:
    """Version of the package that holds the schema."""
    try:
        return version("xds-protos")
    except PackageNotFoundError:
        return "unknown"


def is_message(field: FieldDescriptor) -> bool:
    """Whether a field holds messages (maps included)."""
    return field.message_type is not None


def is_map(field: FieldDescriptor) -> bool:
    """Whether a field is a map."""
    entry = field.message_type
    return field.is_repeated and entry is not None and bool(entry.GetOptions().map_entry)


def _import_package(package: str) -> None:
    folder = _ROOT.joinpath(*package.split("."))
    if not folder.is_dir():
        # A nested message: its package is further up.
        outer, _, last = package.rpartition(".")
        if outer and last[:1].isupper():
            _import_package(outer)
        return
    for module in sorted(folder.glob("*_pb2.py")):
        importlib.import_module(f"{package}.{module.stem}")


def _suggestion(full_name: str) -> str:
    last = full_name.rpartition(".")[2]
    for known in WELL_KNOWN_TYPES:
        if known.rpartition(".")[2] == last:
            return f"; did you mean type.googleapis.com/{known}?"
    near = difflib.get_close_matches(full_name, WELL_KNOWN_TYPES, n=1, cutoff=0.75)
    return f"; did you mean type.googleapis.com/{near[0]}?" if near else ""
