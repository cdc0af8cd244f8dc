"""Formats compiled into functions: a line of text, a JSON object, or a header value."""

import re
from collections.abc import Callable
from typing import Any

import orjson

from fastproxy.format.context import FormatContext, Operator
from fastproxy.format.operators import build_operator
from fastproxy.http.field_values import encode_text, may_be_sent

DEFAULT_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "
    '"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n'
)

_OPERATOR = re.compile(r"%%|%([A-Z0-9_]+)(?:\(([^)%]*(?:%[^)]*)?)\))?(?::(\d+))?%|(%)")
# What would end a line, or rewrite it on a terminal.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def compile_text(text: str, *, omit_empty: bool = False) -> Callable[[FormatContext], str]:
    """Compile a format for text that is logged or answered; no line end is added, credentials never come out (S53).

    A missing value is `-`, or with `omit_empty` nothing.

    Raises:
        ValueError: an unknown operator or a lone `%`.
    """
    return _compile_text(text, "" if omit_empty else "-", _as_line_text)


def compile_body(text: str, *, omit_empty: bool = False) -> Callable[[FormatContext], str]:
    """Compile a format like `compile_text`, for a body: that may hold line ends and other control characters.

    Raises:
        ValueError: an unknown operator or a lone `%`.
    """
    return _compile_text(text, "" if omit_empty else "-", _as_text)


def _compile_text(
    text: str, missing: str, as_text: Callable[[object], str]
) -> Callable[[FormatContext], str]:
    parts = _parse(text, redact=True)

    def write(context: FormatContext) -> str:
        out = []
        for part in parts:
            if isinstance(part, str):
                out.append(part)
            else:
                value = part(context)
                out.append(missing if value is None else as_text(value))
        return "".join(out)

    return write


def compile_json(template: dict[str, Any], *, omit_empty: bool = False) -> Callable[[FormatContext], str]:
    """Compile a JSON format: one object per line, keys sorted; a lone operator keeps its type.

    A missing value is null, or with `omit_empty` its member is left out.

    Raises:
        ValueError: an unknown operator or a lone `%`.
    """
    build = _json_value(template, omit_empty=omit_empty)

    def line(context: FormatContext) -> str:
        return orjson.dumps(build(context), option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE).decode()

    return line


#: The value of a header; None if it must not be sent (S47).
HeaderFormat = Callable[[FormatContext], bytes | None]


def compile_header_value(text: str) -> bytes | HeaderFormat:
    """Compile the value of a header: bytes if it never changes, else a function. A missing value is empty.

    Text that is not from a header, such as a claim, is encoded by `http.field_values`.

    Raises:
        ValueError: an unknown operator, a lone `%`, or a control character.
    """
    if not may_be_sent(text.encode()):
        raise ValueError("a header value must not hold control characters")
    parts = [part.encode() if isinstance(part, str) else part for part in _parse(text, redact=False)]
    literal: list[bytes] = [part for part in parts if isinstance(part, bytes)]
    if len(literal) == len(parts):
        return b"".join(literal)

    def value(context: FormatContext) -> bytes | None:
        out: list[bytes] = []
        for part in parts:
            if isinstance(part, bytes):
                out.append(part)
                continue
            found = part(context)
            if found is None or found == "":
                continue
            encoded = found if isinstance(found, bytes) else encode_text(_as_text(found))
            if encoded is None:
                return None
            out.append(encoded)
        whole = b"".join(out)
        return whole if may_be_sent(whole) else None

    return value


#: A path, without query; empty if nothing is there to make one of.
PathFormat = Callable[[FormatContext], bytes]

_NOT_OF_A_PATH = re.compile(rb"[^A-Za-z0-9\-._~!$&'()*+,;=:@/%]|%(?![0-9A-Fa-f]{2})")


def compile_path(text: str) -> bytes | PathFormat:
    """Compile a format for a path: bytes if it never changes, else a function. A missing value is empty.

    Whatever cannot stand in a path (RFC 3986 section 3.3) is percent-encoded, in values and in the format itself: `?`
    and `#` would begin another part of the target, a blank or a line end another part of the request. What is encoded
    already stays as it is.

    Raises:
        ValueError: an unknown operator or a lone `%`.
    """
    parts = [part.encode() if isinstance(part, str) else part for part in _parse(text, redact=False)]
    literal: list[bytes] = [part for part in parts if isinstance(part, bytes)]
    if len(literal) == len(parts):
        return _encode_path(b"".join(literal))

    def write(context: FormatContext) -> bytes:
        out: list[bytes] = []
        for part in parts:
            if isinstance(part, bytes):
                out.append(part)
                continue
            found = part(context)
            if found is not None:
                out.append(found if isinstance(found, bytes) else _as_text(found).encode())
        return _encode_path(b"".join(out))

    return write


def _encode_path(path: bytes) -> bytes:
    return _NOT_OF_A_PATH.sub(lambda found: b"%%%02X%b" % (found.group(0)[0], found.group(0)[1:]), path)


def _json_value(template: Any, *, omit_empty: bool) -> Callable[[FormatContext], Any]:
    if isinstance(template, dict):
        members = {key: _json_value(value, omit_empty=omit_empty) for key, value in template.items()}

        def build_object(context: FormatContext) -> dict[str, Any]:
            built = {key: build(context) for key, build in members.items()}
            return {key: value for key, value in built.items() if value is not None} if omit_empty else built

        return build_object
    if isinstance(template, list):
        items = [_json_value(value, omit_empty=omit_empty) for value in template]
        return lambda context: [build(context) for build in items]
    if not isinstance(template, str):
        return lambda _context: template
    parts = _parse(template, redact=True)
    if len(parts) == 1 and not isinstance(parts[0], str):
        operator = parts[0]
        return lambda context: _plain(operator(context))
    return compile_text(template, omit_empty=omit_empty)


def _parse(text: str, *, redact: bool) -> list[str | Operator]:
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
            parts.append(build_operator(found.group(1), found.group(2), found.group(3), redact=redact))
    if end < len(text):
        parts.append(text[end:])
    return parts


def _plain(value: object) -> object:
    """A value as JSON has it."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _as_line_text(value: object) -> str:
    """A value in a line of text; control characters, which a claim may hold, are escaped (S47, S54)."""
    text = _as_text(value)
    return text if value.__class__ is int or _CONTROL.search(text) is None else _CONTROL.sub(_escape, text)


def _as_text(value: object) -> str:
    """What is neither text nor a number is compact JSON, as in Envoy."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        return value
    if value.__class__ is int:
        return str(value)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _escape(found: re.Match[str]) -> str:
    return found.group(0).encode("unicode_escape").decode()
