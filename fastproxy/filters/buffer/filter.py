"""The filter: wait for the whole request body, within a limit (spec/filters.md section 7).

The upstream then gets a `content-length`, whatever the downstream sent, and is never kept waiting by a slow one.
"""

from fastproxy.filters.base import Outcome
from fastproxy.filters.buffer.settings import BufferRouteSettings, BufferSettings
from fastproxy.http.messages import LocalReply, Request
from fastproxy.stats import StatsSink

TOO_LARGE = LocalReply(413, b"Payload Too Large", details="request_payload_too_large", close=True)
_OFF = -1


class BufferFilter:
    """Compiled `Buffer`."""

    __slots__ = ("_limit_bytes", "_name", "_own_limit_bytes", "_too_large")

    def __init__(self, name: str, settings: BufferSettings) -> None:
        """Build the filter; `name` is its name in `http_filters`, by which routes speak of it."""
        self._name = name
        self._own_limit_bytes = settings.max_request_bytes
        self._limit_bytes = _OFF if settings.is_off_by_default else settings.max_request_bytes
        self._too_large = 0

    def on_request(self, request: Request) -> Outcome:
        """Let a request without a body pass, and any other when its body is complete. Hot path: once per request."""
        if not request.has_body:
            return None
        limit = self._limit_of(request)
        if limit == _OFF:
            return None
        length = request.content_length
        if length is not None and length > limit:
            return self._refuse()
        if request.body_complete:
            return self._settle(request, limit)
        return self._wait(request, limit)

    def write_stats(self, sink: StatsSink, prefix: str) -> None:
        """Add the requests that were too large."""
        sink.counter(prefix + "downstream_rq_too_large", self._too_large)

    def _limit_of(self, request: Request) -> int:
        configs = request.filter_configs
        config = None if configs is None else configs.get(self._name)
        if config is None:
            return self._limit_bytes
        assert isinstance(config, BufferRouteSettings)
        if config.is_off:
            return _OFF
        return self._own_limit_bytes if config.max_request_bytes is None else config.max_request_bytes

    async def _wait(self, request: Request, limit: int) -> LocalReply | None:
        source = request.body_source
        # Only a connection makes requests whose bodies are still to come.
        assert source is not None
        await source.collect_body(limit)
        return self._settle(request, limit)

    def _settle(self, request: Request, limit: int) -> LocalReply | None:
        if request.bytes_received > limit:
            return self._refuse()
        if request.content_length is None:
            request.content_length = request.bytes_received
            request.headers[b"content-length"] = b"%d" % request.bytes_received
        return None

    def _refuse(self) -> LocalReply:
        self._too_large += 1
        return TOO_LARGE
