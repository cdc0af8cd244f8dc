"""`--log-format`: the layout of a line of the application log, in Envoy's (spdlog's) pattern language.

The default is `[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v`. What a line is about (`%v`) is one line in any layout: control
characters in it are escaped, so that text of peers cannot make lines of its own (S54).
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

#: Writes one part of a line: the record, its level as Envoy names it, its logger, its message.
_Part = Callable[[logging.LogRecord, str, str, str], str]

DEFAULT: Final = "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v"


def _at(pattern: str) -> _Part:
    return lambda record, _level, _logger, _message: time.strftime(pattern, time.localtime(record.created))


#: Parts of the moment, by `strftime` where it has the same letter for the same thing.
_MOMENTS: Final[Mapping[str, _Part]] = {
    letter: _at(pattern)
    for letter, pattern in {
        **{one: f"%{one}" for one in "aAbBcCYmdHIMSpzD"},
        "h": "%b",
        "x": "%D",
        "r": "%I:%M:%S %p",
        "R": "%H:%M",
        "T": "%H:%M:%S",
        "X": "%H:%M:%S",
    }.items()
}
_PARTS: Final[Mapping[str, _Part]] = {
    **_MOMENTS,
    "%": lambda _record, _level, _logger, _message: "%",
    "v": lambda _record, _level, _logger, message: message,
    "_": lambda _record, _level, _logger, message: message,
    "j": lambda _record, _level, _logger, message: message.replace("\\", "\\\\").replace('"', '\\"'),
    "t": lambda record, _level, _logger, _message: str(record.process),
    "P": lambda record, _level, _logger, _message: str(record.process),
    "n": lambda _record, _level, logger, _message: logger,
    "l": lambda _record, level, _logger, _message: level,
    "L": lambda _record, level, _logger, _message: level[:1].upper(),
    "e": lambda record, _level, _logger, _message: f"{int(record.msecs):03d}",
    "f": lambda record, _level, _logger, _message: f"{int(record.created % 1 * 1e6):06d}",
    "F": lambda record, _level, _logger, _message: f"{int(record.created % 1 * 1e9):09d}",
    "E": lambda record, _level, _logger, _message: str(int(record.created)),
    "g": lambda record, _level, _logger, _message: record.filename,
    "s": lambda record, _level, _logger, _message: record.filename,
    "@": lambda record, _level, _logger, _message: f"{record.filename}:{record.lineno}",
    "#": lambda record, _level, _logger, _message: str(record.lineno),
    "!": lambda record, _level, _logger, _message: record.funcName or "",
    # Colours, which a file has no use for.
    "^": lambda _record, _level, _logger, _message: "",
    "$": lambda _record, _level, _logger, _message: "",
}


def compile_format(pattern: str) -> _Part:
    """Compile a pattern; empty means the default.

    Raises:
        ValueError: it has a flag that does not exist.
    """
    parts: list[str | _Part] = []
    rest = pattern or DEFAULT
    while rest:
        text, percent, rest = rest.partition("%")
        parts.append(text)
        if not percent:
            break
        flag, rest = rest[:1], rest[1:]
        if flag not in _PARTS:
            raise ValueError(f"unknown flag %{flag} in the log format")
        parts.append(_PARTS[flag])

    def write(record: logging.LogRecord, level: str, logger: str, message: str) -> str:
        return "".join(
            part if isinstance(part, str) else part(record, level, logger, message) for part in parts
        )

    return write
