"""Extra request headers of a key fetch, whose secret part is read from a file at every fetch.

A rotated token file therefore needs no restart. Values never get into a message or log.
"""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fastproxy.control.jwks_http import FetchFailed
from fastproxy.filters.jwt_authn.settings import FetchHeaderSettings

#: A bearer token has a few KiB; whatever is larger was named by mistake.
_MAX_FILE_BYTES: Final = 64 * 1024
#: RFC 9110 section 5.5, without obs-text: a line break here would be a second header.
_VALUE: Final = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


async def read_headers(settings: Sequence[FetchHeaderSettings]) -> dict[str, str]:
    """Make the headers of one request.

    Raises:
        FetchFailed: a file cannot be read, or its content cannot be a header's value.
    """
    if not settings:
        return {}
    # The file may lie on a network, and the loop must not wait for that.
    return await asyncio.to_thread(lambda: {header.name: _read(header) for header in settings})


def _read(header: FetchHeaderSettings) -> str:
    if not header.filename:
        return header.prefix
    try:
        with Path(header.filename).open("rb") as stream:
            content = stream.read(_MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise FetchFailed(f"the header {header.name}: {header.filename} cannot be read: {reason}") from None
    secret = content.strip(b" \t\r\n")
    if len(content) > _MAX_FILE_BYTES or not _VALUE.fullmatch(secret):
        raise FetchFailed(f"the header {header.name}: the content of {header.filename} is no header value")
    return header.prefix + secret.decode("ascii") + header.suffix
