"""What a peer did wrong on the wire. Anything else that escapes the parsers is our bug."""

from typing import ClassVar

from fastproxy.errors import ProxyError, Side
from fastproxy.http.messages import Request


class ProtocolError(ProxyError):
    """A message that HTTP/1 does not allow, or that two parsers could read differently.

    The request is answered with `status` and the connection closed: what follows on it cannot be trusted.
    """

    side: ClassVar[Side] = Side.DOWNSTREAM

    def __init__(self, code: str, *, status: int = 400, body: bytes | None = None, flag: str = "DPE") -> None:
        super().__init__(code)
        self.reply_code = code
        self.reply_status = status
        self.reply_body = body
        self.reply_flag = flag
        self.request: Request | None = None
        """The request that it is about, if its head could be read."""


def protocol_error_of(error: Exception) -> ProtocolError:
    """What Envoy answers to what llhttp found."""
    text = str(error)
    if "can't be present" in text:
        return ProtocolError("http1.content_length_and_chunked_not_allowed")
    if "nvalid `Transfer-Encoding`" in text:
        return ProtocolError("http1.invalid_transfer_encoding", status=501)
    if "Invalid header value char" in text:
        return ProtocolError("http1.invalid_characters")
    return ProtocolError("http1.codec_error")
