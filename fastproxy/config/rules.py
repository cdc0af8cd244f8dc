"""The constraints that Envoy's schema carries (`validate.rules`), checked over a whole message tree.

Generic: it knows the options in the descriptors and nothing about any message, so it covers every message of the
schema, those packed into `Any` included. The validator published for Python works with no current protobuf.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError
from validate import validate_pb2

from fastproxy.config import schema
from fastproxy.config.problems import Place, ProblemLog, quote
from fastproxy.config.rule_checks import check_duration, check_scalar
from fastproxy.config.well_known import WRAPPERS

_DURATIONS = frozenset({"google.protobuf.Duration", "google.protobuf.Timestamp"})
#: Oneofs that Envoy requires and the builders judge: a provider without key source may mean OIDC discovery.
_OPTIONAL_HERE = frozenset({"envoy.extensions.filters.http.jwt_authn.v3.JwtProvider.jwks_source_specifier"})


@dataclass(frozen=True, slots=True)
class _FieldPlan:
    field: FieldDescriptor
    rules: Any
    kind: str | None
    """The set member of the oneof `validate.FieldRules.type`."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to check in a message besides its sub-messages."""

    fields: tuple[_FieldPlan, ...]
    required_oneofs: tuple[tuple[str, str], ...]
    """Name, and the alternatives in words."""
    skipped: frozenset[str]
    """Message fields whose content is exempt (`validate.rules.message.skip`)."""


@dataclass(frozen=True, slots=True)
class _At:
    """Where a field is, and who takes the complaints about it."""

    place: Place
    path: str
    log: ProblemLog


def check_rules(message: Any, place: Place, path: str, log: ProblemLog) -> None:
    """Report every violated rule in `message` and below."""
    if not place.children and log.tainted(path):
        # Nothing of it could be read, and that has been said: what is missing in it is no news.
        return
    plan = _plan(message.DESCRIPTOR)
    for field_plan in plan.fields:
        field = field_plan.field
        where = f"{path}.{field.name}" if path else field.name
        _check_field(field_plan, message, place.child(field.name), where, log)
    for oneof, alternatives in plan.required_oneofs:
        if message.WhichOneof(oneof) is None:
            log.echo(place, path, f"one of {alternatives} is required")
    for field, value in message.ListFields():
        if not schema.is_message(field) or field.name in plan.skipped:
            continue
        where = f"{path}.{field.name}" if path else field.name
        for key, item, shown in _parts(field, value):
            inner = place.child(field.name) if key is None else place.child(field.name).child(key)
            _check_inside(item, inner, where + shown, log)


def _check_inside(message: Any, place: Place, path: str, log: ProblemLog) -> None:
    if message.DESCRIPTOR.full_name != schema.ANY:
        check_rules(message, place, path, log)
        return
    inner = unpack(message)
    if inner is not None:
        check_rules(inner, place, path, log)


def unpack(message: Any) -> Any:
    """The message inside an `Any`; None when it is empty, of an unknown type or damaged."""
    found = schema.find_message(schema.type_name(message.type_url))
    if found is None:
        return None
    inner = found()
    try:
        inner.ParseFromString(message.value)
    except DecodeError:
        return None
    return inner


def _parts(field: FieldDescriptor, value: Any) -> list[tuple[str | int | None, Any, str]]:
    """The messages in a field: key in the place tree, message, and how the path shows it."""
    if not field.is_repeated:
        return [(None, value, "")]
    if not schema.is_map(field):
        return [(index, item, f"[{index}]") for index, item in enumerate(value)]
    assert field.message_type is not None
    if not schema.is_message(field.message_type.fields_by_name["value"]):
        return []
    return [(str(key), value[key], f"[{quote(str(key))}]") for key in sorted(value)]


def _check_field(plan: _FieldPlan, message: Any, place: Place, path: str, log: ProblemLog) -> None:
    field, rules, kind = plan.field, plan.rules, plan.kind
    if field.is_repeated:
        _check_many(plan, getattr(message, field.name), _At(place, path, log))
        return
    if schema.is_message(field):
        is_set = message.HasField(field.name)
        required = rules.message.required or (
            kind is not None and getattr(getattr(rules, kind), "required", False)
        )
        # In a oneof the rule only says that the chosen member must have a value.
        if required and not is_set and field.containing_oneof is None:
            log.echo(place, path, "the field is required")
        if not is_set or kind is None:
            return
        problem = _check_message_value(field, rules, kind, getattr(message, field.name))
    else:
        # An unset member of a oneof or optional field is no value; a plain field without value is zero or "".
        if kind is None or (field.has_presence and not message.HasField(field.name)):
            return
        value = getattr(message, field.name)
        problem = check_scalar(kind, getattr(rules, kind), value, field.enum_type)
    if problem is not None:
        log.echo(place, path, problem)


def _check_message_value(field: FieldDescriptor, rules: Any, kind: str, value: Any) -> str | None:
    assert field.message_type is not None
    name = field.message_type.full_name
    if name in WRAPPERS:
        return check_scalar(kind, getattr(rules, kind), value.value)
    if name in _DURATIONS and kind in ("duration", "timestamp"):
        return check_duration(getattr(rules, kind), value)
    if name == schema.ANY and kind == "any":
        allowed = getattr(rules.any, "in")
        if len(allowed) and value.type_url not in allowed:
            return "must be one of " + ", ".join(allowed)
        if value.type_url in rules.any.not_in:
            return "must not be of this type"
    return None


def _check_many(plan: _FieldPlan, values: Any, at: _At) -> None:
    if plan.kind not in ("repeated", "map"):
        return
    rules = getattr(plan.rules, plan.kind)
    if rules.ignore_empty and not len(values):
        return
    is_list = plan.kind == "repeated"
    least, most = (rules.min_items, rules.max_items) if is_list else (rules.min_pairs, rules.max_pairs)
    if len(values) < least:
        at.log.echo(
            at.place, at.path, "must not be empty" if least == 1 else f"must have at least {least} entries"
        )
    if most and len(values) > most:
        at.log.echo(at.place, at.path, f"must have at most {most} entries")
    if is_list and rules.unique and not schema.is_message(plan.field) and len(set(values)) != len(values):
        at.log.echo(at.place, at.path, "must not have equal entries")
    items: list[tuple[str | int, Any]]
    if is_list:
        items = list(enumerate(values))
        _check_items(plan.field, rules.items, items, at)
        return
    assert plan.field.message_type is not None
    key_field, value_field = (plan.field.message_type.fields_by_name[name] for name in ("key", "value"))
    _check_items(key_field, rules.keys, [(str(key), key) for key in values], at)
    _check_items(value_field, rules.values, [(str(key), values[key]) for key in values], at)


def _check_items(field: FieldDescriptor, rules: Any, items: list[tuple[str | int, Any]], at: _At) -> None:
    kind = rules.WhichOneof("type")
    if kind is None:
        return
    for key, value in items:
        if schema.is_message(field):
            problem = _check_message_value(field, rules, kind, value)
        else:
            problem = check_scalar(kind, getattr(rules, kind), value, field.enum_type)
        if problem is not None:
            shown = f"[{key}]" if isinstance(key, int) else f"[{quote(key)}]"
            at.log.echo(at.place.child(key), at.path + shown, problem)


@cache
def _plan(descriptor: Descriptor) -> _Plan:
    options = descriptor.GetOptions()
    if options.Extensions[validate_pb2.disabled] or options.Extensions[validate_pb2.ignored]:
        return _Plan((), (), frozenset())
    fields, skipped = [], set()
    for field in descriptor.fields:
        rules = field.GetOptions().Extensions[validate_pb2.rules]
        if rules.message.skip:
            skipped.add(field.name)
        kind = rules.WhichOneof("type")
        if kind is not None or rules.message.required:
            fields.append(_FieldPlan(field, rules, kind))
    oneofs = tuple(
        (oneof.name, " or ".join(field.name for field in oneof.fields))
        for oneof in descriptor.oneofs
        if oneof.GetOptions().Extensions[validate_pb2.required] and oneof.full_name not in _OPTIONAL_HERE
    )
    return _Plan(tuple(fields), oneofs, frozenset(skipped))
