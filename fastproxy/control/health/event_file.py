"""Logs of events, of which there are few: one JSON object a line, in Envoy's form."""

import datetime as dt
import logging
import os
from typing import Any

import orjson

_log = logging.getLogger("fastproxy.control.health")


class EventFile:
    """Writes events into files.

    They are opened for each event: there are few of them, and whoever rotates the files need not say so.

    Args:
        paths: each gets every event.
        subject: of the events, for the message that they cannot be written.
    """

    def __init__(self, paths: tuple[str, ...], subject: str) -> None:
        self.paths = paths
        self._subject = subject
        self._complained = False

    def write(self, event: dict[str, Any]) -> None:
        """Append a line to each file; that this fails is told once."""
        line = orjson.dumps(event) + b"\n"
        for path in self.paths:
            try:
                _append(path, line)
            except OSError as error:
                if not self._complained:
                    _log.error(
                        "events of %s cannot be written to %s: %s", self._subject, path, error.strerror
                    )
                self._complained = True


def encode_moment(unix_time: float) -> str:
    """A time as protobuf's JSON form of a `Timestamp` has it, in milliseconds."""
    moment = dt.datetime.fromtimestamp(unix_time, tz=dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _append(path: str, line: bytes) -> None:
    # Must not wait for somebody who reads a pipe.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.open(path, flags, 0o640)
    try:
        os.write(file, line)
    finally:
        os.close(file)
