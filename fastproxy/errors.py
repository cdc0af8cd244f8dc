"""What can go wrong with a request, and what the downstream then sees.

Type, side and retry are separate questions: the class says what happened, `side` says whose fault it was, and
`router` decides alone whether to try again.
"""

from enum import Enum
from typing import ClassVar


class Side(Enum):
    """Which peer failed; LOCAL is the proxy itself."""

    DOWNSTREAM = "downstream"
    UPSTREAM = "upstream"
    LOCAL = "local"


class FastProxyError(Exception):
    """Root of every error that FastProxy raises on purpose, outside `fastproxy.jwt`."""


class ProxyError(FastProxyError):
    """A request that could not be completed.

    `side`: which peer failed. `status`: what the downstream gets if no response has started. `flag`: the
    access log's response flag. `code`: stable words for the access log (`%RESPONSE_CODE_DETAILS%`).
    Messages may change; codes do not.
    """

    side: ClassVar[Side] = Side.LOCAL
    status: ClassVar[int] = 500
    flag: ClassVar[str] = ""
    code: ClassVar[str] = "internal_error"
