"""Operators that read the messages: `REQ`, `RESP`, `TRAILER`, `PATH`, `QUERY_PARAM` (spec/http.md section 10)."""

import re

from fastproxy.format.context import FormatContext, Operator
from fastproxy.format.redaction import REDACTED, SECRET_HEADERS, redacting
from fastproxy.http.headers import HeaderMap, first
from fastproxy.http.messages import Request
from fastproxy.http.query import query_values

_ENCODED = re.compile(rb"%([0-9A-Fa-f]{2})")


def build_request_header(argument: str, *, redact: bool) -> Operator:
    """`%REQ(NAME?OTHER)%`: a request header, or the other one if it is absent; `:path` and its like work, too."""
    names = _names(argument)

    def value(context: FormatContext) -> bytes | None:
        request = context.request
        for name in names:
            found = _request_header(request, name, redact=redact)
            if found is not None:
                return REDACTED if redact and name in context.secret_headers else found
        return None

    return redacting(value) if redact else value


def build_response_header(argument: str, *, redact: bool) -> Operator:
    """`%RESP(NAME?OTHER)%`: a response header, or the other one; nothing before there is a response."""
    names = _names(argument)

    def value(context: FormatContext) -> bytes | None:
        for name in names:
            if name == b":status":
                status = context.request.response_status
                found = b"%d" % status if status else None
            else:
                found = _header(context.request.response_headers, name, redact=redact)
            if found is not None:
                return found
        return None

    return redacting(value) if redact else value


def build_trailer(argument: str, *, redact: bool) -> Operator:  # every builder has this signature
    """`%TRAILER(NAME?OTHER)%`: a trailer of the response, or the other one; None where trailers are not kept."""
    names = _names(argument)

    def value(context: FormatContext) -> bytes | None:
        trailers = context.request.trailers
        if trailers is not None:
            for name in names:
                found = _header(trailers.response, name, redact=redact)
                if found is not None:
                    return found
        return None

    return redacting(value) if redact else value


def build_path(argument: str, *, redact: bool) -> Operator:
    """`%PATH(WQ|NQ:ORIG|PATH|ORIG_OR_PATH)%`: the path with or without query, before or after a rewrite.

    A CONNECT request has none.

    Raises:
        ValueError: another word.
    """
    query, _, which = argument.partition(":")
    which = which or "ORIG_OR_PATH"
    if query not in ("WQ", "NQ", "") or which not in ("ORIG", "PATH", "ORIG_OR_PATH"):
        raise ValueError("%PATH% takes WQ or NQ, and after a colon ORIG, PATH or ORIG_OR_PATH")
    with_query = query != "NQ"

    def value(context: FormatContext) -> bytes | None:
        request = context.request
        original = request.original_path
        if which == "PATH" or (which == "ORIG_OR_PATH" and not original):
            found = _target(request, redact=redact)
        elif original:
            found = (request.log_target or original) if redact else original
        else:
            return None
        return (found if with_query else found.partition(b"?")[0]) or None

    return redacting(value) if redact else value


def build_query_parameter(argument: str, *, redact: bool) -> Operator:
    """`%QUERY_PARAM(NAME)%`: the first value of a query parameter, percent-decoded; `+` is a plus."""
    name = argument.encode()
    if not name:
        raise ValueError("%QUERY_PARAM% needs a name in brackets")

    def value(context: FormatContext) -> str | None:
        found = query_values(_target(context.request, redact=redact).partition(b"?")[2], name)
        # Text, for what was decoded must not stand in a header as it is (S47).
        return found[0].decode("utf-8", "backslashreplace") if found else None

    return redacting(value) if redact else value


def build_query_parameters(argument: str, *, redact: bool) -> Operator:
    """`%QUERY_PARAMS(ORIG|DECODED)%`: the whole query as it came, or with visible characters decoded.

    Raises:
        ValueError: another word.
    """
    if argument not in ("", "ORIG", "DECODED"):
        raise ValueError("%QUERY_PARAMS% takes ORIG or DECODED")

    def value(context: FormatContext) -> bytes | None:
        query = _target(context.request, redact=redact).partition(b"?")[2]
        return (_ENCODED.sub(_decode_visible, query) if argument == "DECODED" else query) or None

    return redacting(value) if redact else value


def _decode_visible(found: re.Match[bytes]) -> bytes:
    code = int(found.group(1), 16)
    return bytes((code,)) if 0x21 <= code <= 0x7E else found.group(0)


def _names(argument: str) -> list[bytes]:
    names = [name.strip().lower().encode() for name in argument.split("?")]
    if not all(names) or len(names) > 2:
        raise ValueError(
            "an operator for headers needs a header name in brackets, and at most one other after a ?"
        )
    return names


def _target(request: Request, *, redact: bool) -> bytes:
    if request.method == b"CONNECT":
        # It has an authority and no path.
        return b""
    return (request.log_target or request.target) if redact else request.target


def _request_header(request: Request, name: bytes, *, redact: bool) -> bytes | None:
    if name == b":path":
        return _target(request, redact=redact) or None
    if name == b"x-envoy-original-path" and redact:
        return (request.log_target or request.original_path) if request.original_path else None
    if name == b":method":
        return request.method or None
    if name in (b":authority", b"host"):
        return request.authority or None
    if name == b":scheme":
        # Of what could not be read there is no scheme.
        return request.scheme if request.method else None
    return _header(request.headers, name, redact=redact)


def _header(headers: HeaderMap | None, name: bytes, *, redact: bool) -> bytes | None:
    if headers is None or name == b"transfer-encoding":
        # Each connection has its own framing; what stands in the map is that of the next one.
        return None
    value = first(headers, name)
    if not value:
        return None
    return REDACTED if redact and name in SECRET_HEADERS else value
