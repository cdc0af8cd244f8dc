"""A reader of responses that remembers how the upstream writes (Envoy `preserve_case` of a cluster).

A class of its own, so that other clusters pay nothing for it.
"""

import re

from fastproxy.http.name_case import KeptCase, KeptCaseSettings
from fastproxy.upstream.response_reader import ResponseReader

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class NameKeepingReader(ResponseReader):
    """Keeps the spelling of header names in `names`, and the reason phrase if it is to be passed on."""

    __slots__ = ("_in_head", "_kept", "_settings")

    def __init__(self, settings: KeptCaseSettings, *, max_head_bytes: int, max_headers: int) -> None:
        super().__init__(max_head_bytes=max_head_bytes, max_headers=max_headers)
        self._settings = settings
        self._kept = KeptCase(settings)
        self._in_head = False

    # -- httptools -----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._kept = KeptCase(self._settings)
        self._in_head = True
        super().on_message_begin()

    def on_status(self, part: bytes) -> None:
        """Called by the parser, once per read that the reason phrase spans."""
        if self._settings.reason_phrase:
            self._kept.reason += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser; what comes behind the head are trailers."""
        if self._in_head:
            self._kept.keep(name)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._in_head = False
        if not self.done:
            self.names = self._kept
            # llhttp does not look at it (RFC 9112 section 4: text, blanks and tabs).
            self.fault |= _CONTROL.search(self._kept.reason) is not None
        super().on_headers_complete()
