"""A window on a message that remembers what was read through it: no field is ever silently ignored.

Builders read the configuration only through views. When they are done, `View.sweep` goes over the messages again,
and every field that is set but that nobody read is an error, or, when it is listed in `harmless`, a warning.
A builder that forgets a field therefore fails loudly, and support for a field begins with reading it.
"""

from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from fastproxy.config.harmless import why_harmless
from fastproxy.config.problems import Place, ProblemLog, quote
from fastproxy.config.rules import unpack

_NANO = 1_000_000_000
#: The largest `int` of the system's own interfaces.
MAX_SYSTEM_INTEGER = 2**31 - 1
_NOT_SUPPORTED = "not supported by FastProxy"


class View:
    """One message with its path and place. Reading a field consumes it; sub-messages are read as views.

    Args:
        message: the protobuf message; never changed.
        place: where it stood in the text.
        path: field path from the Bootstrap.
        log: takes the problems.
    """

    __slots__ = ("_children", "_used", "log", "message", "path", "place")

    def __init__(self, message: Any, place: Place, path: str, log: ProblemLog) -> None:
        self.message = message
        self.place = place
        self.path = path
        self.log = log
        self._used: set[str] = set()
        self._children: dict[tuple[str, str | int | None], View] = {}

    # What the message is.

    @property
    def type_name(self) -> str:
        """Full name of the message."""
        return str(self.message.DESCRIPTOR.full_name)

    def has(self, name: str) -> bool:
        """Whether a field is set, without consuming it: a message was written, or a value is not the default."""
        field = self._field(name)
        if field.is_repeated:
            return len(getattr(self.message, name)) > 0
        if field.has_presence:
            return bool(self.message.HasField(name))
        return bool(getattr(self.message, name) != field.default_value)

    def selected(self, oneof: str) -> str | None:
        """Which member of a oneof is set; does not consume it."""
        chosen = self.message.WhichOneof(oneof)
        return None if chosen is None else str(chosen)

    # Scalars.

    def text(self, name: str) -> str:
        """A string field; empty when unset."""
        return str(self._take(name))

    def texts(self, name: str) -> tuple[str, ...]:
        """A repeated string field."""
        return tuple(self._take(name))

    def blob(self, name: str) -> bytes:
        """A bytes field."""
        return bytes(self._take(name))

    def integer(self, name: str) -> int:
        """An integer field; 0 when unset."""
        return int(self._take(name))

    def number(self, name: str) -> float:
        """A floating-point field; 0 when unset."""
        return float(self._take(name))

    def integers(self, name: str) -> tuple[int, ...]:
        """A repeated integer field."""
        return tuple(int(value) for value in self._take(name))

    def flag(self, name: str) -> bool:
        """A bool field; False when unset."""
        return bool(self._take(name))

    def choice(self, name: str) -> str:
        """The name of an enum field's value; a number that has none is an error, and the default comes back."""
        return self._enum_name(name, self._take(name))

    def choices(self, name: str) -> tuple[str, ...]:
        """The names of a repeated enum field's values."""
        return tuple(self._enum_name(name, value) for value in self._take(name))

    def integer_or(self, name: str, default: int) -> int:
        """A wrapped integer (`UInt32Value`) or the default."""
        return int(self._take(name).value) if self.has(name) else default

    def system_integer_or(self, name: str, default: int) -> int:
        """Like `integer_or`, for a limit that the system keeps in 32 bits with a sign: more than that is no more."""
        return min(self.integer_or(name, default), MAX_SYSTEM_INTEGER)

    def flag_or(self, name: str, *, default: bool) -> bool:
        """A wrapped bool (`BoolValue`) or the default."""
        return bool(self._take(name).value) if self.has(name) else default

    def duration_s(self, name: str, default: float) -> float:
        """A duration in seconds, or the default when it is not set."""
        if not self.has(name):
            return default
        value = self._take(name)
        return float(value.seconds + value.nanos / _NANO)

    def struct(self, name: str) -> dict[str, object]:
        """A `google.protobuf.Struct` as plain values, consumed whole; whole numbers become int."""
        return _plain_struct(self._take(name)) if self.has(name) else {}

    def plain_struct(self) -> dict[str, object]:
        """This message, a `google.protobuf.Struct`, as plain values, consumed whole; whole numbers become int."""
        self.accept("fields")
        return _plain_struct(self.message)

    # Messages.

    def child(self, name: str) -> "View | None":
        """A sub-message, or None when it is not set."""
        return self._child(name, None, getattr(self.message, name)) if self.has(name) else None

    def child_or_empty(self, name: str) -> "View":
        """A sub-message; an empty one when it is not set, so that every field has its default."""
        found = self.child(name)
        if found is None:
            return View(getattr(self.message, name), self.place, self.join(name), self.log)
        return found

    def children(self, name: str) -> list["View"]:
        """The messages of a repeated field."""
        return [self._child(name, index, item) for index, item in enumerate(getattr(self.message, name))]

    def entries(self, name: str) -> dict[str, "View"]:
        """The messages of a map, in the order of their names: protobuf keeps no other."""
        values = getattr(self.message, name)
        return {str(key): self._child(name, str(key), values[key]) for key in sorted(values)}

    def typed(self, name: str) -> "View | None":
        """The message inside an `Any` field; None when there is none (the caller says what to do about it)."""
        if not self.has(name):
            return None
        inner = unpack(getattr(self.message, name))
        if inner is None:
            # Its type is unknown, and decoding said so.
            self._used.add(name)
            return None
        return self._child(name, None, inner)

    def typed_entries(self, name: str) -> dict[str, "View"]:
        """The messages inside the `Any`s of a map."""
        values = getattr(self.message, name)
        self._used.add(name)
        found = {}
        for key in sorted(values):
            inner = unpack(values[key])
            if inner is not None:
                found[str(key)] = self._child(name, str(key), inner)
        return found

    def derived(self, name: str, message: Any) -> "View":
        """A message that was made from the field `name`: it is read in the place of what is written there."""
        self._used.add(name)
        view = View(message, self.place_of(name), self.join(name), self.log)
        self._children[name, "derived"] = view
        return view

    # Saying that a field is dealt with, or that it is wrong.

    def accept(self, *names: str) -> None:
        """Consume fields whole: the builder does what they say without reading further."""
        self._used.update(names)

    def without_effect(self, name: str, why: str) -> None:
        """Consume a field and warn, if it is set, that nothing follows from it."""
        if self.has(name):
            self._used.add(name)
            self.warn(f"has no effect: {why}", field=name)

    def only(self, name: str, allowed: Iterable[str], fix: str = "") -> str:
        """An enum of which only some values are supported; another is an error, and comes back all the same."""
        value = self.choice(name)
        if value not in allowed:
            self.error(f"{value} is {_NOT_SUPPORTED}", fix or f"Use {' or '.join(allowed)}", field=name)
        return value

    def error(self, problem: str, fix: str = "", *, field: str | None = None) -> None:
        """Report a mistake in this message or in one field of it, unless an earlier phase found one there."""
        self.log.echo(self.place_of(field), self.join(field), problem, fix)

    def unsupported(self, field: str, problem: str = "", fix: str = "") -> None:
        """Report a field that the schema knows and FastProxy does not, with better words than `sweep` has."""
        if self.has(field):
            self._used.add(field)
            self.log.error(self.place_of(field), self.join(field), problem or _NOT_SUPPORTED, fix)

    def warn(self, problem: str, fix: str = "", *, field: str | None = None) -> None:
        """Tell something that does not stop the load."""
        self.log.warning(self.place_of(field), self.join(field), problem, fix)

    def place_of(self, field: str | None) -> Place:
        """The place of a field, or the nearest thing around it that the text has."""
        return self.place if field is None else self.place.child(field)

    def join(self, field: str | None) -> str:
        """The path of a field."""
        if field is None:
            return self.path
        return f"{self.path}.{field}" if self.path else field

    def sweep(self) -> None:
        """Report every set field, here and below, that was not read."""
        for field, _ in self.message.ListFields():
            name = field.name
            if name in self._used:
                if field.GetOptions().deprecated:
                    self.warn("the field is deprecated in Envoy's API", field=name)
            elif (why := why_harmless(self.type_name, name)) is not None:
                self.warn(f"has no effect: {why}", field=name)
            else:
                self.log.error(
                    self.place_of(name),
                    self.join(name),
                    _NOT_SUPPORTED,
                    "Remove the field, if you can do without it",
                )
        for view in self._children.values():
            view.sweep()

    # Inside.

    def _field(self, name: str) -> FieldDescriptor:
        field: FieldDescriptor = self.message.DESCRIPTOR.fields_by_name[name]
        return field

    def _take(self, name: str) -> Any:
        self._used.add(name)
        return getattr(self.message, name)

    def _child(self, name: str, key: str | int | None, message: Any) -> "View":
        self._used.add(name)
        known = self._children.get((name, key))
        if known is not None:
            return known
        place, path = self.place_of(name), self.join(name)
        if key is not None:
            place = place.child(key)
            path += f"[{key}]" if isinstance(key, int) else f"[{quote(key)}]"
        view = self._children[name, key] = View(message, place, path, self.log)
        return view

    def _enum_name(self, name: str, number: int) -> str:
        enum = self._field(name).enum_type
        assert enum is not None
        entry = enum.values_by_number.get(number)
        if entry is None:
            # protobuf keeps numbers of other versions; what they mean nobody here knows.
            self.error(
                f"{number} is none of its values",
                f"Use {' or '.join(value.name for value in enum.values)}",
                field=name,
            )
            entry = enum.values[0]
        return str(entry.name)


def _plain_struct(struct: Any) -> dict[str, object]:
    return {str(key): _plain_value(struct.fields[key]) for key in sorted(struct.fields)}


def _plain_value(value: Any) -> object:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _plain_struct(value.struct_value)
    if kind == "list_value":
        return [_plain_value(item) for item in value.list_value.values]
    if kind is None or kind == "null_value":
        return None
    plain: object = getattr(value, kind)
    return int(plain) if isinstance(plain, float) and plain.is_integer() else plain
