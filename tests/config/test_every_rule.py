"""Every constraint of the schema, broken once through a whole file: the walk is made from the descriptors."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import yaml
from google.protobuf.descriptor import FieldDescriptor
from validate import validate_pb2

from fastproxy.config import ConfigError, load_config, schema

#: Messages inside an `Any`, and where a file has them.
_PACKED = {
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager": "listener",
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy": "listener",
    "envoy.extensions.filters.http.router.v3.Router": "filter",
    "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication": "filter",
    "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit": "filter",
    "envoy.extensions.filters.http.rbac.v3.RBAC": "filter",
    "envoy.extensions.filters.http.buffer.v3.Buffer": "filter",
    "envoy.extensions.filters.http.health_check.v3.HealthCheck": "filter",
    "envoy.extensions.filters.http.compressor.v3.Compressor": "filter",
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation": "filter",
    "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext": "cluster",
    "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext": "chain",
    "envoy.extensions.access_loggers.file.v3.FileAccessLog": "log",
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": "options",
}
_HOLDERS: dict[str, tuple[tuple[str, ...], str]] = {
    "listener": (("static_resources", "listeners", "filter_chains", "filters"), "typed_config"),
    "chain": (("static_resources", "listeners", "filter_chains", "transport_socket"), "typed_config"),
    "cluster": (("static_resources", "clusters", "transport_socket"), "typed_config"),
    "options": (("static_resources", "clusters"), "typed_extension_protocol_options"),
}
_LISTS = frozenset({"listeners", "filter_chains", "filters", "clusters", "http_filters", "access_log"})
_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_LIMITS = {"gt": 0, "gte": -1, "lt": 0, "lte": 1}


@dataclass(frozen=True)
class Break:
    """One constraint, and a file that violates it and perhaps others."""

    rule: str
    """The field and the rule's name."""
    path: str
    file: dict[str, Any]


class Spot:
    """A place in a file: how to write something there."""

    def __init__(self, path: str = "", wrap: Any = None) -> None:
        self.path = path
        self._wrap = wrap or (lambda content: content)

    def file(self, content: Any) -> dict[str, Any]:
        """A file that has `content` here."""
        made = self._wrap(content)
        assert isinstance(made, dict)
        return made

    def below(self, field: str, shape: str) -> "Spot":
        """A field of the mapping here; `shape`: single, list, or map."""
        shown = {"single": "", "list": "[0]", "map": '["k"]'}[shape]

        def wrap(content: Any) -> Any:
            held = {"single": content, "list": [content], "map": {"k": content}}[shape]
            return self._wrap({field: held})

        return Spot(f"{self.path}.{field}{shown}".lstrip("."), wrap)

    def packed(self, field: str, name: str, *, shape: str = "single") -> "Spot":
        """A message in an `Any` of the mapping here."""
        inner = self.below(field, shape)
        return Spot(
            inner.path, lambda content: inner.file({"@type": f"type.googleapis.com/{name}", **content})
        )


def _through(names: tuple[str, ...], spot: Spot) -> Spot:
    for name in names:
        spot = spot.below(name, "list" if name in _LISTS else "single")
    return spot


def _roots() -> Iterator[tuple[Any, Spot]]:
    yield schema.Bootstrap.DESCRIPTOR, Spot()
    names, field = _HOLDERS["listener"]
    manager = _through(names, Spot()).packed(field, _MANAGER)
    for name, holder in _PACKED.items():
        found = schema.find_message(name)
        assert found is not None
        if holder in _HOLDERS:
            names, field = _HOLDERS[holder]
            spot = _through(names, Spot()).packed(
                field, name, shape="map" if holder == "options" else "single"
            )
        else:
            entry = "http_filters" if holder == "filter" else "access_log"
            spot = manager.below(entry, "list").packed("typed_config", name)
        yield found.DESCRIPTOR, spot


def _shape(field: FieldDescriptor) -> str:
    return "map" if schema.is_map(field) else "list" if field.is_repeated else "single"


def _content(field: FieldDescriptor) -> FieldDescriptor:
    if not schema.is_map(field):
        return field
    assert field.message_type is not None
    return field.message_type.fields_by_name["value"]


def _number_breaks(rules: Any, number: Any, show: Any, *, lowest: float | None) -> Iterator[tuple[str, Any]]:
    for name, step in _LIMITS.items():
        if rules.HasField(name):
            value = number(getattr(rules, name)) + step
            if lowest is None or value >= lowest:
                yield name, show(value)


def _text_breaks(rules: Any) -> Iterator[tuple[str, Any]]:
    for name in ("min_len", "min_bytes"):
        if getattr(rules, name) and not (rules.ignore_empty and getattr(rules, name) == 1):
            yield name, "a" * (getattr(rules, name) - 1)
    for name in ("max_len", "max_bytes"):
        if rules.HasField(name):
            yield name, "a" * (getattr(rules, name) + 1)
    if rules.HasField("pattern"):
        yield "pattern", "\u20ac /"
    if rules.HasField("prefix"):
        yield "prefix", "\u20ac"
    if len(getattr(rules, "in")):
        yield "in", "\u20ac"
    for value in rules.not_in:
        yield "not_in", value
    kind = rules.WhichOneof("well_known")
    if kind == "well_known_regex":
        yield kind, "a\nb"
    elif kind is not None:
        yield kind, "a b://["


def _breaks_of_value(kind: str, rules: Any, field: FieldDescriptor) -> Iterator[tuple[str, Any]]:
    """Rule names, and values of the field that violate them."""
    if kind == "duration":
        yield from _number_breaks(rules, lambda one: one.seconds * 10**9 + one.nanos, _seconds, lowest=0)
    elif kind == "string":
        yield from _text_breaks(rules)
    elif kind == "bytes":
        if rules.min_len and not rules.ignore_empty:
            yield "min_len", ""
    elif kind == "enum":
        allowed = list(getattr(rules, "in"))
        if rules.defined_only or allowed:
            yield "defined_only" if rules.defined_only else "in", 12345
        for value in rules.not_in:
            yield "not_in", value
    elif kind == "bool":
        if rules.HasField("const"):
            yield "const", not rules.const
    elif kind not in ("any", "message", "timestamp"):
        unsigned = kind.startswith(("u", "fixed"))
        yield from _number_breaks(rules, lambda one: one, lambda one: one, lowest=0 if unsigned else None)


def _seconds(nanos: int) -> str:
    return f"{nanos // 10**9}.{nanos % 10**9:09}s"


def _breaks_of_field(field: FieldDescriptor, spot: Spot) -> Iterator[Break]:
    rules = field.GetOptions().Extensions[validate_pb2.rules]
    kind = rules.WhichOneof("type")
    where, label = f"{spot.path}.{field.name}".lstrip("."), field.full_name
    required = rules.message.required or (kind in ("any", "duration") and getattr(rules, kind).required)
    if required and field.containing_oneof is None:
        yield Break(f"{label} required", where, spot.file({}))
    if kind == "repeated":
        yield from _breaks_of_list(field, rules.repeated, spot)
    elif kind == "map":
        if rules.map.min_pairs:
            yield Break(f"{label} min_pairs", where, spot.file({}))
        key_rules = rules.map.keys
        if (of_key := key_rules.WhichOneof("type")) is not None:
            for name, key in _breaks_of_value(of_key, getattr(key_rules, of_key), _content(field)):
                yield Break(
                    f"{label} keys {name}", f"{where}[{_quoted(key)}]", spot.file({field.name: {key: {}}})
                )
    elif kind is not None:
        for name, value in _breaks_of_value(kind, getattr(rules, kind), field):
            yield Break(f"{label} {name}", where, spot.file({field.name: value}))


def _quoted(key: Any) -> str:
    return '"' + str(key) + '"'


def _breaks_of_list(field: FieldDescriptor, rules: Any, spot: Spot) -> Iterator[Break]:
    where, label = f"{spot.path}.{field.name}".lstrip("."), field.full_name
    is_text = field.cpp_type == FieldDescriptor.CPPTYPE_STRING
    item: Any = {} if schema.is_message(field) else "a" if is_text else 1
    if rules.min_items and not rules.ignore_empty:
        yield Break(f"{label} min_items", where, spot.file({field.name: [item] * (rules.min_items - 1)}))
    if rules.max_items:
        yield Break(f"{label} max_items", where, spot.file({field.name: [item] * (rules.max_items + 1)}))
    if rules.unique and not schema.is_message(field):
        yield Break(f"{label} unique", where, spot.file({field.name: [item, item]}))
    if (of_item := rules.items.WhichOneof("type")) is not None:
        for name, value in _breaks_of_value(of_item, getattr(rules.items, of_item), field):
            yield Break(f"{label} items {name}", f"{where}[0]", spot.file({field.name: [value]}))


@cache
def every_break() -> tuple[Break, ...]:
    """All constraints of all messages that a file can hold; each message by the shortest way to it."""
    found: list[Break] = []
    seen: set[str] = set()
    queue = list(_roots())
    while queue:
        descriptor, spot = queue.pop(0)
        options = descriptor.GetOptions()
        if descriptor.full_name in seen or options.Extensions[validate_pb2.disabled]:
            continue
        seen.add(descriptor.full_name)
        for field in descriptor.fields:
            found += _breaks_of_field(field, spot)
            inner: Any = _content(field).message_type
            skipped = field.GetOptions().Extensions[validate_pb2.rules].message.skip
            if inner is not None and not inner.full_name.startswith("google.") and not skipped:
                queue.append((inner, spot.below(field.name, _shape(field))))
        for oneof in descriptor.oneofs:
            if oneof.GetOptions().Extensions[validate_pb2.required]:
                found.append(Break(f"{oneof.full_name} oneof", spot.path, spot.file({})))
    return tuple(found)


def complaints(file: dict[str, Any]) -> dict[str, str]:
    """What a load says, by path."""
    with pytest.raises(ConfigError) as caught:
        load_config(None, config_yaml=yaml.safe_dump(file, allow_unicode=True))
    assert all(entry.line is not None for entry in caught.value.problems)
    return {entry.path: entry.problem for entry in caught.value.problems}


def test_the_walk_sees_every_kind_of_rule() -> None:
    """Otherwise the test below is about nothing."""
    kinds = {one.rule.partition(" ")[2] for one in every_break()}

    assert {
        "required", "oneof", "min_items", "max_items", "items min_len", "min_len", "max_bytes", "pattern", "prefix",
        "well_known_regex", "gt", "gte", "lt", "lte", "defined_only", "in", "not_in", "const", "min_pairs",
    } - kinds == set()  # fmt: skip
    assert len(every_break()) > 500


def test_every_rule_of_the_schema_is_enforced_at_its_field_and_line() -> None:
    """A rule that is skipped is a value that Envoy refuses, and that runs here until it does harm."""
    missed = []
    for one in every_break():
        said = complaints(one.file)
        if one.path not in said:
            missed.append((one.rule, one.path, said))

    assert missed == []
