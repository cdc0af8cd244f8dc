"""A downstream connection that remembers how the downstream writes header names (Envoy `preserve_case` of a listener).

A class of its own, so that other listeners pay nothing for it.
"""

from typing import TYPE_CHECKING

from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.http.name_case import KeptCase, KeptCaseSettings, MessageNames
from fastproxy.listener.connection import DownstreamConnection

if TYPE_CHECKING:
    from fastproxy.listener.manager import HttpConnectionManager


class NameKeepingConnection(DownstreamConnection):
    """Tells each request how its names were written."""

    __slots__ = ("_kept", "_kept_case")

    def __init__(
        self, manager: "HttpConnectionManager", info: ConnectionInfo | None, kept_case: KeptCaseSettings
    ) -> None:
        super().__init__(manager, info)
        self._kept_case = kept_case
        self._kept = KeptCase(kept_case)

    # -- httptools -----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._kept = KeptCase(self._kept_case)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser; what comes behind the head are trailers."""
        if self.in_head:
            self._kept.keep(name)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        before = len(self._queue)
        super().on_headers_complete()
        if len(self._queue) > before:
            self._queue[-1].names = MessageNames(self._kept)
