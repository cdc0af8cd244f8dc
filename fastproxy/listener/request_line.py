"""The protocol that a request line names (RFC 9112 section 3).

llhttp speaks two protocols beside HTTP: it takes `GET / RTSP/1.0` and `SOURCE / ICE/1.0`, and does not tell. What can
be read in two ways is refused (S51).
"""

import re
from collections.abc import Iterable

from fastproxy.http.messages import Request


def find_other_protocol(raw: bytes | bytearray, requests: Iterable[Request]) -> int:
    """The position of the first request whose line llhttp has taken and that is not HTTP's; -1 if there is none.

    Args:
        raw: what was read, with the request lines somewhere in it.
        requests: what llhttp made of it.
    """
    if b"RTSP/" in raw or b"ICE/" in raw:
        for position, request in enumerate(requests):
            # llhttp takes more than one space.
            line = re.escape(request.method) + b" +" + re.escape(request.target) + b" +(?:RTSP|ICE)/"
            if re.search(line, raw) is not None:
                return position
    return -1
