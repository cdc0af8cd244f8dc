"""The application log: one line per event in Envoy's layout, safe against text that peers chose (S53, S54).

`[2026-01-31 12:00:00.123][4711][info][control.dns] [dns.py:88] message`

Levels are Envoy's: trace, debug, info, warning, error, critical, off. A *component* is a logger below
`fastproxy`, named without that prefix; `main` is the logger `fastproxy` itself.
"""

import logging
import sys
from pathlib import Path
from typing import Final

from fastproxy.log_format import compile_format

TRACE: Final = 5
OFF: Final = logging.CRITICAL + 10

#: Envoy's level names, in order of gravity. `warn` is accepted as another spelling of `warning`.
LEVELS: Final[dict[str, int]] = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "off": OFF,
}
_NAMES: Final = {number: name for name, number in LEVELS.items()}
_ROOT: Final = "fastproxy"
#: Everything a terminal or a line-based log reader could take for a command or a line end.
_CONTROL: Final = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in (
        *range(0x20),
        *range(0x7F, 0xA0),
        0x2028,
        0x2029,
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
    )
}


def printable(text: str | bytes, limit: int = 100) -> str:
    """Make text from an untrusted peer fit for a log line: control characters escaped, the rest cut.

    Args:
        text: what the peer sent; bytes are read as Latin-1, so that each byte shows.
        limit: characters kept of it. What was cut is counted, not shown.
    """
    shown = text.decode("latin-1") if isinstance(text, bytes) else text
    cut = f"... ({len(shown) - limit} more)" if len(shown) > limit else ""
    return shown[:limit].translate(_CONTROL) + cut


def level_number(name: str) -> int:
    """Turn Envoy's level name into the number that `logging` uses.

    Raises:
        ValueError: no such level.
    """
    lowered = name.lower()
    try:
        return LEVELS["warning" if lowered == "warn" else lowered]
    except KeyError:
        raise ValueError(f"unknown log level {printable(name, 20)!r}: one of {', '.join(LEVELS)}") from None


class EnvoyFormatter(logging.Formatter):
    """Formats a record as Envoy does by `--log-format`.

    A traceback is part of the line only when the logger is at debug or below; otherwise the line ends with
    what was raised and where, which is what an operator can use.
    """

    def __init__(self, pattern: str = "") -> None:
        """Compile the layout; empty means Envoy's default.

        Raises:
            ValueError: it has a flag that does not exist.
        """
        super().__init__()
        self._write = compile_format(pattern)

    def format(self, record: logging.LogRecord) -> str:
        """Build the line; control characters in the message are escaped, so a message is always one line."""
        level = _NAMES.get(record.levelno, record.levelname.lower())
        line = self._write(record, level, _component(record.name), record.getMessage().translate(_CONTROL))
        if record.exc_info and record.exc_info[1] is not None:
            if logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
                return f"{line}\n{self.formatException(record.exc_info)}"
            return line + _where(record.exc_info[1])
        return line


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
    return f" [{type(error).__name__}{place}; log level debug shows the traceback]"


def _component(logger_name: str) -> str:
    if logger_name == _ROOT:
        return "main"
    return logger_name.removeprefix(_ROOT + ".")


def check_format(pattern: str) -> None:
    """Check a `--log-format`.

    Raises:
        ValueError: it has a flag that does not exist.
    """
    compile_format(pattern)


def configure(
    level: str,
    *,
    path: str | None = None,
    component_levels: dict[str, str] | None = None,
    pattern: str = "",
) -> None:
    """Set up logging for this process; replaces what was set up before.

    Args:
        level: Envoy's level name for everything of ours. Libraries log from `warning` up, or from `level` if
            that is graver.
        path: file to append to; None is stderr.
        component_levels: levels of single components (`--component-log-level`), which win over `level`.
        pattern: layout of the lines (`--log-format`); empty means Envoy's default.

    Raises:
        ValueError: a level does not exist, or a flag of the pattern.
        OSError: the file cannot be opened.
    """
    number = level_number(level)
    for component_level in (component_levels or {}).values():
        level_number(component_level)
    handler = (
        logging.StreamHandler(sys.stderr) if path is None else logging.FileHandler(path, encoding="utf-8")
    )
    handler.setFormatter(EnvoyFormatter(pattern))
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old.formatter, EnvoyFormatter):
            root.removeHandler(old)
            old.close()
    root.addHandler(handler)
    root.setLevel(max(logging.WARNING, number))
    logging.addLevelName(TRACE, "TRACE")
    # asyncio and aiohttp put reprs of transports, requests and URLs into debug lines; those may hold tokens
    # (S53).
    logging.captureWarnings(capture=True)
    set_level(level)
    for component, component_level in (component_levels or {}).items():
        set_level(component_level, component)


def set_level(level: str, component: str = "") -> None:
    """Change the level while running (admin `/logging`).

    Args:
        level: Envoy's level name.
        component: one component (and what lies below it); empty means all, and forgets levels of single
            components.

    Raises:
        ValueError: no such level.
    """
    number = level_number(level)
    if component and component != "main":
        logging.getLogger(f"{_ROOT}.{component}").setLevel(number)
        return
    logging.getLogger(_ROOT).setLevel(number)
    if not component:
        for name in _known_loggers():
            logging.getLogger(f"{_ROOT}.{name}").setLevel(logging.NOTSET)


def levels() -> dict[str, str]:
    """Every component with its level in force, sorted by name: what admin `/logging` lists."""
    found = {"main": logging.getLogger(_ROOT)} | {
        n: logging.getLogger(f"{_ROOT}.{n}") for n in _known_loggers()
    }
    return {name: _level_name(logger.getEffectiveLevel()) for name, logger in sorted(found.items())}


def _known_loggers() -> list[str]:
    prefix = _ROOT + "."
    return [
        name.removeprefix(prefix) for name in logging.Logger.manager.loggerDict if name.startswith(prefix)
    ]


def _level_name(number: int) -> str:
    return next((name for name, value in LEVELS.items() if number <= value), "off")
