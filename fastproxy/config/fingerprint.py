"""Tells whether two loads of a configuration mean the same by a message, contents of the files it names included."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastproxy.config import schema
from fastproxy.config.rules import unpack

_ANY = "google.protobuf.Any"
_DATA_SOURCE = "envoy.config.core.v3.DataSource"


def fingerprint(message: Any) -> str:
    """Return a digest that differs when the message does, or a file or environment variable that it names.

    What cannot be read counts as empty: whoever builds the settings reports it. The digest covers private keys at
    times; it never leaves the process.
    """
    digest = hashlib.sha256(message.SerializeToString(deterministic=True))
    for source in _data_sources(message):
        content = _content(source)
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()


def _data_sources(message: Any) -> Iterator[Any]:
    name = message.DESCRIPTOR.full_name
    if name == _DATA_SOURCE:
        yield message
        return
    if name == _ANY:
        inner = unpack(message)
        if inner is not None:
            yield from _data_sources(inner)
        return
    for field, value in message.ListFields():
        if not schema.is_message(field):
            continue
        if not field.is_repeated:
            yield from _data_sources(value)
        elif not schema.is_map(field):
            for entry in value:
                yield from _data_sources(entry)
        elif schema.is_message(field.message_type.fields_by_name["value"]):
            for key in sorted(value):
                yield from _data_sources(value[key])


def _content(source: Any) -> bytes:
    if source.HasField("filename"):
        path = Path(source.filename)
        try:
            return path.read_bytes() if path.is_file() else b""
        except (OSError, ValueError):
            return b""
    if source.HasField("environment_variable"):
        return os.fsencode(os.environ.get(source.environment_variable, ""))
    return b""
