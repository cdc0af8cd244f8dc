"""Access log formats: `%OPERATOR(argument):length%`, compiled into functions (spec/http.md sections 10 and 14)."""

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from time import gmtime, strftime
from typing import Any

import orjson

from fastproxy.http.headers import HeaderMap, first
from fastproxy.http.messages import Request

DEFAULT_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "
    '"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n'
)

_OPERATOR = re.compile(r"%%|%([A-Z0-9_]+)(?:\(([^)%]*(?:%[^)]*)?)\))?(?::(\d+))?%|(%)")

#: Never written to a log, whatever the format asks for (S53).
_SECRET_HEADERS = frozenset((b"authorization", b"proxy-authorization", b"cookie", b"set-cookie"))
_REDACTED = "[redacted]"


class LogContext:
    """What an operator may look at: a finished request, and the time it finished."""

    __slots__ = ("client_address", "now", "request")

    def __init__(self, request: Request, now: float, client_address: Callable[[Request], str]) -> None:
        self.request = request
        self.now = now
        self.client_address = client_address


#: A value for the log: None if missing (`-` in text, null in JSON).
Operator = Callable[[LogContext], object]


def compile_text(text: str) -> Callable[[LogContext], str]:
    """Compile a text format; no line end is added.

    Raises:
        ValueError: an unknown operator or a lone `%`.
    """
    parts = _parse(text)

    def line(context: LogContext) -> str:
        out = []
        for part in parts:
            if isinstance(part, str):
                out.append(part)
            else:
                value = part(context)
                out.append("-" if value is None else _as_text(value))
        return "".join(out)

    return line


def compile_json(template: dict[str, Any]) -> Callable[[LogContext], str]:
    """Compile a JSON format: one object per line, keys sorted; a lone operator keeps its type.

    Raises:
        ValueError: an unknown operator or a lone `%`.
    """
    build = _json_value(template)

    def line(context: LogContext) -> str:
        return orjson.dumps(build(context), option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE).decode()

    return line


def _json_value(template: Any) -> Callable[[LogContext], Any]:
    if isinstance(template, dict):
        members = {key: _json_value(value) for key, value in template.items()}
        return lambda context: {key: build(context) for key, build in members.items()}
    if isinstance(template, list):
        items = [_json_value(value) for value in template]
        return lambda context: [build(context) for build in items]
    if not isinstance(template, str):
        return lambda _context: template
    parts = _parse(template)
    if len(parts) == 1 and not isinstance(parts[0], str):
        return parts[0]
    return compile_text(template)


def _parse(text: str) -> list[str | Operator]:
    parts: list[str | Operator] = []
    end = 0
    for found in _OPERATOR.finditer(text):
        if found.start() > end:
            parts.append(text[end : found.start()])
        end = found.end()
        if found.group(0) == "%%":
            parts.append("%")
        elif found.group(4):
            raise ValueError(f"lone % at position {found.start()}; write %% for a percent sign")
        else:
            parts.append(_operator(found.group(1), found.group(2), found.group(3)))
    if end < len(text):
        parts.append(text[end:])
    return parts


def _operator(name: str, argument: str | None, length: str | None) -> Operator:
    if name in ("REQ", "RESP"):
        if not argument:
            raise ValueError(f"%{name}% needs a header name in brackets")
        return _cut(_header_operator(name, argument), length)
    if name == "START_TIME":
        return _start_time(argument)
    if name == "ENVIRONMENT" and argument:
        value = os.environ.get(argument)
        return _cut(lambda _context: value, length)
    if name == "DYNAMIC_METADATA" and argument:
        return _cut(_metadata(argument.split(":")), length)
    found = _SIMPLE.get(name)
    if found is None:
        raise ValueError(f"unknown operator %{name}%; known are {', '.join(sorted(KNOWN_OPERATORS))}")
    if argument is not None:
        raise ValueError(f"%{name}% takes no argument")
    return _cut(found, length)


def _cut(operator: Operator, length: str | None) -> Operator:
    if length is None:
        return operator
    size = int(length)

    def shortened(context: LogContext) -> object:
        value = operator(context)
        return value[:size] if isinstance(value, str) else value

    return shortened


def _header_operator(kind: str, argument: str) -> Operator:
    names = [name.strip().lower().encode() for name in argument.split("?")]

    def value(context: LogContext) -> str | None:
        request = context.request
        for name in names:
            text = (
                _request_header(request, name) if kind == "REQ" else _header(request.response_headers, name)
            )
            if text is not None:
                return text
        return None

    return value


def _request_header(request: Request, name: bytes) -> str | None:
    if name == b":path":
        return _text(request.log_target or request.target)
    if name == b"x-envoy-original-path":
        return _text(request.log_target or request.original_path) if request.original_path else None
    if name == b":method":
        return _text(request.method)
    if name in (b":authority", b"host"):
        return _text(request.authority)
    if name == b":scheme":
        return _text(request.scheme)
    return _header(request.headers, name)


def _header(headers: HeaderMap | None, name: bytes) -> str | None:
    if headers is None:
        return None
    value = first(headers, name)
    if value is None:
        return None
    return _REDACTED if name in _SECRET_HEADERS else _text(value)


def _text(value: bytes) -> str | None:
    return value.decode("utf-8", "backslashreplace") or None


def _start_time(argument: str | None) -> Operator:
    if not argument:
        # Envoy's default: ISO 8601 in UTC with milliseconds. The seconds' text is reused by the requests of a second.
        known: tuple[int, str] = (-1, "")

        def default(context: LogContext) -> str:
            nonlocal known
            start = context.request.start_unix
            second = int(start)
            if second != known[0]:
                known = (second, strftime("%Y-%m-%dT%H:%M:%S", gmtime(second)))
            return f"{known[1]}.{int((start - second) * 1000):03d}Z"

        return default
    return lambda context: _strftime(argument, context.request.start_unix)


def _strftime(template: str, unix_time: float) -> str:
    moment = datetime.fromtimestamp(unix_time, UTC)
    fraction = f"{moment.microsecond:06d}000"
    for digits in ("3", "6", "9"):
        template = template.replace(f"%{digits}f", fraction[: int(digits)])
    return moment.strftime(template.replace("%s", str(int(unix_time))))


def _metadata(path: list[str]) -> Operator:
    def value(context: LogContext) -> object:
        # A JSON format takes it as it is, an object too.
        found: Any = context.request.dynamic_metadata
        for key in path:
            if not isinstance(found, dict):
                return None
            found = found.get(key)
        return found

    return value


def _as_text(value: object) -> str:
    """A value in a line of text; what is neither text nor a number is compact JSON, as in Envoy."""
    if isinstance(value, str):
        return value
    if value.__class__ is int:
        return str(value)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _address(address: tuple[str, int]) -> str:
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def _remote_address(context: LogContext) -> str:
    """The client address; the port is known only if it is the direct peer's."""
    client = context.client_address(context.request)
    direct = context.request.direct_remote_address
    return _address(direct) if client == direct[0] else _address((client, 0))


_SIMPLE: dict[str, Operator] = {
    "PROTOCOL": lambda c: f"HTTP/{c.request.version}" if c.request.method else None,
    "RESPONSE_CODE": lambda c: c.request.response_status,
    "RESPONSE_CODE_DETAILS": lambda c: c.request.details or None,
    "RESPONSE_FLAGS": lambda c: c.request.flags or None,
    "BYTES_RECEIVED": lambda c: c.request.bytes_received,
    "BYTES_SENT": lambda c: c.request.bytes_sent,
    "DURATION": lambda c: int((c.now - c.request.start_monotonic) * 1000),
    "UPSTREAM_HOST": lambda c: c.request.upstream_host or None,
    "UPSTREAM_CLUSTER": lambda c: c.request.upstream_cluster or None,
    "ROUTE_NAME": lambda c: c.request.route_name or None,
    "DOWNSTREAM_REMOTE_ADDRESS": _remote_address,
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": lambda c: c.client_address(c.request),
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": lambda c: _address(c.request.direct_remote_address),
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": lambda c: c.request.direct_remote_address[0],
    "DOWNSTREAM_LOCAL_ADDRESS": lambda c: _address(c.request.downstream_local_address),
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": lambda c: c.request.downstream_local_address[0],
    "DOWNSTREAM_LOCAL_PORT": lambda c: c.request.downstream_local_address[1],
    "REQUESTED_SERVER_NAME": lambda _c: None,
    "HOSTNAME": lambda _c: os.uname().nodename,
    "STREAM_ID": lambda c: _header(c.request.headers, b"x-request-id"),
}

#: Every operator name that a format may use.
KNOWN_OPERATORS = frozenset(_SIMPLE) | {"REQ", "RESP", "START_TIME", "ENVIRONMENT", "DYNAMIC_METADATA"}
