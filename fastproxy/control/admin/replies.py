"""Answers of the admin interface: Envoy's content types, and errors as exceptions."""

from typing import Any

import orjson
import re2
from aiohttp import web

JSON = "application/json"
TEXT = "text/plain; charset=UTF-8"
HTML = "text/html; charset=UTF-8"


class BadAdminRequest(Exception):
    """The query cannot be answered; the text becomes the body of a 400."""


def text_reply(body: str, status: int = 200, content_type: str = TEXT) -> web.Response:
    """Make an answer from text."""
    return web.Response(body=body.encode(), status=status, headers={"content-type": content_type})


def json_reply(value: Any) -> web.Response:
    """Make an answer from a JSON value, indented for people as Envoy's is."""
    return web.Response(
        body=orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n", headers={"content-type": JSON}
    )


def compile_filter(request: web.Request) -> Any:
    """Compile `?filter=` (RE2: linear time, whatever the pattern); None without one.

    Raises:
        BadAdminRequest: the pattern is not valid.
    """
    return compile_pattern(request.query.get("filter", ""))


def compile_pattern(pattern: str, name: str = "") -> Any:
    """Compile a regular expression of a query; None for an empty one. `name`: of its parameter, for the message.

    Raises:
        BadAdminRequest: it is not valid.
    """
    if not pattern:
        return None
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        detail = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        if name:
            raise BadAdminRequest(f"Error while parsing {name} from {pattern}: {detail}") from None
        raise BadAdminRequest(f"Invalid re2 regex: {detail}") from None
