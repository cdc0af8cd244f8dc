"""The log of requests to the admin interface (Envoy `Admin.access_log`): one line for each."""

import asyncio
from collections.abc import Iterable, Sequence

from fastproxy import clock
from fastproxy.addresses import is_pipe
from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.http.headers import HeaderMap, add_repeated
from fastproxy.http.messages import Request
from fastproxy.listener.access_log import AccessLog, AccessLogFile
from fastproxy.listener.settings import AccessLogSettings

_JOINED = frozenset((b"x-forwarded-for",))


class AdminLog:
    """The `access_log` entries of the admin interface.

    Args:
        settings: the entries.
        flush: how long, in seconds, and how many bytes of lines may wait to be written.
        loop: runs everything here.

    Raises (when it is made):
        OSError: a file cannot be opened.
    """

    __slots__ = ("_files", "_logs")

    def __init__(
        self,
        settings: Sequence[AccessLogSettings],
        flush: tuple[float, int],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._files: dict[str, AccessLogFile] = {}
        try:
            for one in settings:
                if one.path not in self._files:
                    self._files[one.path] = AccessLogFile(one.path, loop, *flush)
        except OSError:
            self.close()
            raise
        self._logs = tuple(AccessLog(one, self._files[one.path]) for one in settings)

    def begin(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[bytes, bytes]],
        ends: tuple[tuple[str, int], tuple[str, int]],
    ) -> Request:
        """Note a request; `ends` are the addresses of the peer and of the interface."""
        request = Request(method.encode(), b"", _map(headers), ConnectionInfo(*ends))
        request.set_target(target.encode("utf-8", "surrogateescape"))
        if not is_pipe(ends[0][0]):
            # As on a listener with `use_remote_address`: the default line says who asked.
            _add(request.headers, b"x-forwarded-for", ends[0][0].encode())
        host = request.headers.pop(b"host", b"")
        request.authority = host if isinstance(host, bytes) else host[0]
        request.start_monotonic, request.start_unix = clock.monotonic(), clock.unix_time()
        request.body_complete = True
        return request

    def end(
        self, request: Request, status: int, headers: Iterable[tuple[bytes, bytes]], body_bytes: int
    ) -> None:
        """Log a request that `begin` noted and that has its answer."""
        request.response_status = status
        request.response_headers = _map(headers)
        request.bytes_sent = body_bytes
        now = clock.monotonic()
        for log in self._logs:
            log.write(request, now)

    def reopen(self) -> None:
        """After a rotation the paths name new files."""
        for file in self._files.values():
            file.reopen()

    def close(self) -> None:
        """Write what waits, and close the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._logs = ()


def _map(headers: Iterable[tuple[bytes, bytes]]) -> HeaderMap:
    found: HeaderMap = {}
    for name, value in headers:
        _add(found, name.lower(), value)
    return found


def _add(headers: HeaderMap, name: bytes, value: bytes) -> None:
    if name in headers:
        add_repeated(headers, name, value, _JOINED)
    else:
        headers[name] = value
