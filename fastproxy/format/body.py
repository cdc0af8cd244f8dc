"""The bodies of answers that the proxy gives itself, written by a format (Envoy `SubstitutionFormatString`)."""

from collections.abc import Callable

from fastproxy.format.compile import compile_body, compile_json
from fastproxy.format.context import FormatContext
from fastproxy.format.settings import BodyFormatSettings
from fastproxy.http.local_reply import is_grpc
from fastproxy.http.messages import Request


class BodyFormat:
    """One format, compiled."""

    __slots__ = ("_write", "content_type")

    def __init__(self, settings: BodyFormatSettings) -> None:
        """Compile it.

        Raises:
            ValueError: it is no format (the configuration has checked this before).
        """
        self._write: Callable[[FormatContext], str]
        if settings.json is not None:
            self._write = compile_json(settings.json, omit_empty=settings.omit_empty)
            content_type = settings.content_type or "application/json"
        else:
            self._write = compile_body(settings.text, omit_empty=settings.omit_empty)
            content_type = settings.content_type or "text/plain"
        self.content_type = content_type.encode()
        """What the body is."""

    def write(self, request: Request, now: float, body: bytes) -> bytes:
        """The new body; `body` is what `%LOCAL_REPLY_BODY%` stands for, `now` monotonic seconds."""
        text = self._write(FormatContext(request, now, body))
        if self.content_type == b"application/json" and is_grpc(request):
            # The line end has no place in `grpc-message`.
            text = text.removesuffix("\n")
        return text.encode("utf-8", "backslashreplace")
