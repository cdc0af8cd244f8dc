"""Readers of responses that keep trailers (Envoy `enable_trailers` of a cluster).

Classes of their own, so that other clusters pay nothing for it.
"""

from fastproxy.http.name_case import KeptCaseSettings
from fastproxy.upstream.kept_names import NameKeepingReader
from fastproxy.upstream.response_reader import ResponseReader


class TrailerKeepingReader(ResponseReader):
    """Has the trailers of a complete response in `trailers`."""

    __slots__ = ()

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        was_done = self.done
        super().on_headers_complete()
        if not was_done:
            self._begin_trailers()

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._take_trailers()
        super().on_message_complete()


class NameAndTrailerKeepingReader(NameKeepingReader):
    """Keeps the spelling of header names, too; trailers are in lower case all the same (Envoy)."""

    __slots__ = ()

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        was_done = self.done
        super().on_headers_complete()
        if not was_done:
            self._begin_trailers()

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._take_trailers()
        super().on_message_complete()


def build_reader(
    max_head_bytes: int, max_headers: int, kept_case: KeptCaseSettings | None, *, keeps_trailers: bool
) -> ResponseReader:
    """The reader of a new connection.

    Args:
        max_head_bytes: of a response; 0: no limit of its own.
        max_headers: of a response, and of its trailers.
        kept_case: None: names are not kept.
        keeps_trailers: whether trailers are.
    """
    if kept_case is not None:
        kind = NameAndTrailerKeepingReader if keeps_trailers else NameKeepingReader
        return kind(kept_case, max_head_bytes=max_head_bytes, max_headers=max_headers)
    if keeps_trailers:
        return TrailerKeepingReader(max_head_bytes=max_head_bytes, max_headers=max_headers)
    return ResponseReader(max_head_bytes=max_head_bytes, max_headers=max_headers)
