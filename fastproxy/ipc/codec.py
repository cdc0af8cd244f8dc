"""Messages to bytes and back: one JSON object with the class name under `type`.

Decoding is strict (unknown type, unknown or missing field, wrong JSON type: `ChannelError`), because a
message that is half understood would leave a worker with half a policy. The decoders are built once, from the
annotations.
"""

import dataclasses
import types
import typing
from collections.abc import Callable
from typing import Any, Final, Union, get_args, get_origin

import orjson

from fastproxy.errors import FastProxyError
from fastproxy.ipc import messages
from fastproxy.ipc.messages import Message

_Decoder = Callable[[Any, str], Any]


class ChannelError(FastProxyError):
    """The peer of a channel said something that is not a message, or stopped reading.

    There is no way to go on: both ends are of one version, so the channel is closed and the worker replaced.
    """


def encode_message(message: Message) -> bytes:
    """Turn a message into the JSON that `decode_message` understands.

    Raises:
        ChannelError: a field holds what JSON cannot (a lone surrogate, an integer above 64 bits).
    """
    fields = {field.name: getattr(message, field.name) for field in dataclasses.fields(message)}
    try:
        # orjson writes nested dataclasses, with or without slots, by itself.
        return orjson.dumps({"type": type(message).__name__, **fields})
    except orjson.JSONEncodeError as error:
        raise ChannelError(f"{type(message).__name__} cannot be encoded: {error}") from error


def decode_message(frame: bytes) -> Message:
    """Turn bytes back into the message they came from.

    Raises:
        ChannelError: not JSON, no such type, or a field that does not fit. The text names the field, never
            its value, for values are keys and secrets at times.
    """
    try:
        fields = orjson.loads(frame)
    except orjson.JSONDecodeError:
        raise ChannelError("a frame is not JSON") from None
    if not isinstance(fields, dict):
        raise ChannelError("a frame is not a JSON object")
    name = fields.pop("type", None)
    decoder = _MESSAGES.get(name) if isinstance(name, str) else None
    if decoder is None:
        raise ChannelError("a frame has an unknown message type")
    decoded: Message = decoder(fields, str(name))
    return decoded


def _build_decoder(annotation: Any) -> _Decoder:
    """Make the function that checks and converts one JSON value; runs at import only."""
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return _dataclass_decoder(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is list:
        item = _build_decoder(arguments[0])
        return lambda value, path: [item(entry, f"{path}[]") for entry in _require(value, list, path)]
    if origin is tuple:
        # Of any length, for messages that must be hashable.
        part = _build_decoder(arguments[0])
        return lambda value, path: tuple(part(entry, f"{path}[]") for entry in _require(value, list, path))
    if origin is dict:
        member = _build_decoder(arguments[1])
        return lambda value, path: {
            k: member(v, f"{path}{{}}") for k, v in _require(value, dict, path).items()
        }
    if origin in (Union, types.UnionType):
        (inner,) = (_build_decoder(argument) for argument in arguments if argument is not type(None))
        return lambda value, path: None if value is None else inner(value, path)
    if annotation is float:
        return lambda value, path: float(_require(value, (int, float), path))
    if annotation in (int, str, bool):
        return lambda value, path: _require(value, annotation, path)
    raise TypeError(f"messages cannot hold {annotation!r}")


def _dataclass_decoder(cls: type) -> _Decoder:
    hints = typing.get_type_hints(cls)
    decoders = {field.name: _build_decoder(hints[field.name]) for field in dataclasses.fields(cls)}
    required = {
        field.name
        for field in dataclasses.fields(cls)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }

    def decode(value: Any, path: str) -> Any:
        fields = _require(value, dict, path)
        if fields.keys() - decoders.keys():
            raise ChannelError(f"{path} has a field that {cls.__name__} does not know")
        if missing := required - fields.keys():
            raise ChannelError(f"{path} lacks {', '.join(sorted(missing))}")
        return cls(**{name: decoders[name](entry, f"{path}.{name}") for name, entry in fields.items()})

    return decode


def _require(value: Any, kind: type | tuple[type, ...], path: str) -> Any:
    # bool is an int in Python, but a JSON `true` is no number.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ChannelError(f"{path} has the wrong type")
    return value


_MESSAGES: Final[dict[str, _Decoder]] = {
    cls.__name__: _dataclass_decoder(cls)
    for cls in (*get_args(messages.ToWorker), *get_args(messages.ToMain))
}
