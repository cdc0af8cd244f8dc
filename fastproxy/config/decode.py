"""Nodes to protobuf messages, by the descriptors; every problem is collected with its place.

protobuf's own JSON reader stops at the first error, knows no lines, and lacks Envoy's coercions.
"""

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import EncodeError, Message

from fastproxy.config import schema
from fastproxy.config.nodes import Entry, ListNode, MapNode, Node, ScalarNode, describe
from fastproxy.config.problems import Place, ProblemLog, quote
from fastproxy.config.scalars import WrongValue, parse_scalar
from fastproxy.config.well_known import PARSERS

#: Prefix of the type URLs of FastProxy's own extensions, inside a TypedStruct.
OWN_PREFIX = "fastproxy."

#: An `Any` that may be `{}`, without "@type": it says that the filter is on, with the settings that it has.
_MAY_BE_EMPTY = "envoy.config.route.v3.FilterConfig.config"


class Decoder:
    """Turns the nodes of one text into messages and a tree of places."""

    def __init__(self, log: ProblemLog, file: str, *, allow_unknown_fields: bool = False) -> None:
        self._log = log
        self._file = file
        self._allow_unknown_fields = allow_unknown_fields

    def message(self, node: Node, message: Any, path: str = "") -> Place:
        """Fill `message` from `node`; returns where everything stood. Problems go to the log."""
        place = Place(self._file, node.line)
        name = message.DESCRIPTOR.full_name
        if name == schema.ANY:
            place.replaces = True
            self._any(node, message, path, place)
        elif (parse := PARSERS.get(name)) is not None:
            try:
                parse(node, message)
            except WrongValue as exc:
                self._log.error(place, path, exc.problem, exc.fix)
        elif isinstance(node, MapNode):
            message.SetInParent()
            for entry in node.entries:
                self._entry(entry, message, path, place)
        else:
            self._log.error(
                place,
                path,
                f"expected a mapping ({name}), found {describe(node)}",
                "A file starts with static_resources:, admin: or node:" if not path else "",
            )
        return place

    def _entry(self, entry: Entry, message: Any, path: str, place: Place) -> None:
        descriptor = message.DESCRIPTOR
        field = schema.fields_by_any_name(descriptor).get(entry.key)
        at = Place(self._file, entry.line)
        if field is None:
            shown = entry.key if entry.key.isidentifier() else quote(entry.key)
            where = f"{path}.{shown[:80]}" if path else shown[:80]
            report = self._log.warning if self._allow_unknown_fields else self._log.error
            fix = schema.unknown_field_fix(descriptor, entry.key)
            report(at, where, f"unknown field {quote(entry.key)} in {descriptor.full_name}", fix)
            return
        where = f"{path}.{field.name}" if path else field.name
        if isinstance(entry.value, ScalarNode) and entry.value.value is None and not _takes_null(field):
            return
        if field.name in place.children:
            # Accepted because Envoy accepts it; the last one wins there, too.
            self._log.warning(at, where, "the field is given twice", "The last one counts; remove the other")
            message.ClearField(field.name)
        if not self._oneof_is_free(field, message, at, where):
            return
        if schema.is_map(field):
            place.children[field.name] = self._map(field, entry, message, where)
        elif field.is_repeated:
            place.children[field.name] = self._list(field, entry, message, where)
        else:
            place.children[field.name] = self._single(field, entry, message, where)

    def _oneof_is_free(self, field: FieldDescriptor, message: Any, at: Place, path: str) -> bool:
        oneof = field.containing_oneof
        if oneof is None or not field.has_presence:
            return True
        taken = message.WhichOneof(oneof.name)
        if taken is None or taken == field.name:
            return True
        self._log.error(at, path, f"{field.name} and {taken} exclude each other", "Remove one of them")
        return False

    def _single(self, field: FieldDescriptor, entry: Entry, message: Any, path: str) -> Place:
        if schema.is_message(field):
            if (
                field.full_name == _MAY_BE_EMPTY
                and isinstance(entry.value, MapNode)
                and not entry.value.entries
            ):
                getattr(message, field.name).SetInParent()
                return Place(self._file, entry.line)
            place = self.message(entry.value, getattr(message, field.name), path)
            # An empty mapping is presence too, and so is one that had problems.
            getattr(message, field.name).SetInParent()
            # Problems of the field as a whole belong to the line with its name.
            place.line = entry.line
            return place
        place = Place(self._file, entry.line)
        try:
            setattr(message, field.name, parse_scalar(field, entry.value))
        except WrongValue as exc:
            self._log.error(place, path, exc.problem, exc.fix)
        return place

    def _list(self, field: FieldDescriptor, entry: Entry, message: Any, path: str) -> Place:
        place = Place(self._file, entry.line)
        values = getattr(message, field.name)
        # A single value stands for a list of one (`domains: "*"`), as in Envoy.
        items = entry.value.items if isinstance(entry.value, ListNode) else [entry.value]
        for index, item in enumerate(items):
            where = f"{path}[{index}]"
            at = place.children[index] = Place(self._file, item.line)
            if isinstance(item, ScalarNode) and item.value is None and not _takes_null(field):
                self._log.error(
                    at, where, "the list entry is empty", 'Remove the "-", or write what belongs there'
                )
                continue
            if schema.is_message(field):
                place.children[index] = self.message(item, values.add(), where)
                continue
            try:
                values.append(parse_scalar(field, item))
            except WrongValue as exc:
                self._log.error(at, where, exc.problem, exc.fix)
        return place

    def _map(self, field: FieldDescriptor, entry: Entry, message: Any, path: str) -> Place:
        place = Place(self._file, entry.line)
        if not isinstance(entry.value, MapNode):
            self._log.error(
                place, path, f"expected a mapping of names to values, found {describe(entry.value)}"
            )
            return place
        values = getattr(message, field.name)
        assert field.message_type is not None
        key_field, value_field = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        for item in entry.value.entries:
            where = f"{path}[{quote(item.key)}]"
            at = Place(self._file, item.line)
            if item.key in place.children:
                self._log.warning(
                    at, where, "the name is given twice", "The last one counts; remove the other"
                )
            place.children[item.key] = at
            try:
                key = parse_scalar(key_field, ScalarNode(item.line, item.key))
                if schema.is_message(value_field):
                    values[key].Clear()
                    place.children[item.key] = inner = self.message(item.value, values[key], where)
                    inner.line, inner.replaces = item.line, True
                else:
                    values[key] = parse_scalar(value_field, item.value)
            except WrongValue as exc:
                self._log.error(at, where, exc.problem, exc.fix)
        return place

    def _any(self, node: Node, message: Any, path: str, place: Place) -> None:
        if not isinstance(node, MapNode):
            self._log.error(place, path, f'expected a mapping with an "@type", found {describe(node)}')
            return
        type_url, rest = _split_type(node)
        if type_url is None:
            example = f"type.googleapis.com/{schema.WELL_KNOWN_TYPES[1]}"
            self._log.error(
                place, path, 'no "@type"', f'Say which message this is, for example "@type": {example}'
            )
            return
        name = schema.type_name(type_url)
        if name and type_url.find("/") < 1:
            self._log.error(
                place,
                path,
                f"{quote(type_url)} is no type URL",
                f'Write "@type": type.googleapis.com/{name}',
            )
            return
        if name in schema.TYPED_STRUCTS:
            name, rest = _open_typed_struct(name, rest)
        found = schema.find_message(name)
        if found is None:
            problem = f"unknown type {quote(type_url if name in type_url else name)}"
            self._log.error(place, path, problem, schema.unknown_type_fix(name))
            return
        inner = found()
        if name in PARSERS:
            # The JSON form of these is one value, so beside "@type" it needs a name of its own.
            values = [entry.value for entry in rest.entries if entry.key == "value"]
            rest_place = self.message(values[-1], inner, path) if values else place
        else:
            rest_place = self.message(rest, inner, path)
        place.children.update(rest_place.children)
        self._pack(inner, message, path, place)

    def _pack(self, inner: Message, message: Any, path: str, place: Place) -> None:
        try:
            message.Pack(inner, deterministic=True)
        except EncodeError:
            self._log.error(place, path, "nested too deeply to be encoded")


def _split_type(node: MapNode) -> tuple[str | None, MapNode]:
    """The last `@type` of a mapping, and the mapping without it."""
    type_url = None
    rest = MapNode(node.line)
    for entry in node.entries:
        if entry.key != "@type":
            rest.entries.append(entry)
        elif isinstance(entry.value, ScalarNode) and isinstance(entry.value.value, str):
            type_url = entry.value.value
    return type_url, rest


def _open_typed_struct(name: str, rest: MapNode) -> tuple[str, MapNode]:
    """A TypedStruct that names a message of Envoy's schema means that message, with `value` as its text.

    One of our own extensions has no message in the schema, and stays a TypedStruct.
    """
    url = value = None
    for entry in rest.entries:
        if entry.key in ("type_url", "typeUrl") and isinstance(entry.value, ScalarNode):
            url = entry.value.value
        elif entry.key == "value" and isinstance(entry.value, MapNode):
            value = entry.value
    if not isinstance(url, str) or schema.type_name(url).startswith(OWN_PREFIX):
        return name, rest
    return schema.type_name(url), value or MapNode(rest.line)


def _takes_null(field: FieldDescriptor) -> bool:
    kind = field.message_type
    return kind is not None and kind.full_name == "google.protobuf.Value"
