"""The access log: one line per request at its end (spec/http.md section 14).

A format is compiled once into functions; lines are collected and written in one go, at most `_FLUSH_S` later. Each
worker appends to the file by itself: a write of whole lines to a file opened for appending is not torn apart.
"""

import asyncio
import logging
import os

from fastproxy.format.compile import DEFAULT_FORMAT, compile_json, compile_text
from fastproxy.format.context import REQUEST_END, FormatContext
from fastproxy.http.messages import Request
from fastproxy.listener.log_filter import build_log_filter
from fastproxy.listener.settings import AccessLogSettings

_log = logging.getLogger("fastproxy.access_log")

# Envoy: 10 s or 64 KiB. One second costs nothing and lets an operator watch. The command line may say otherwise.
_FLUSH_S = 1.0
_FLUSH_BYTES = 64 * 1024


class AccessLogFile:
    """A file that several logs of one worker share; reopened after rotation."""

    def __init__(
        self,
        path: str,
        loop: asyncio.AbstractEventLoop,
        flush_s: float = _FLUSH_S,
        flush_bytes: int = _FLUSH_BYTES,
    ) -> None:
        """Open the file; lines wait at most `flush_s`, and until there are `flush_bytes` of them.

        Raises:
            OSError: it cannot be opened.
        """
        self._path = path
        self._flush_s = flush_s
        self._flush_bytes = flush_bytes
        self._loop = loop
        self._lines: list[str] = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._lost = 0
        """Lines since the file last took one."""
        self._fd = self._open()

    def _open(self) -> int:
        # /dev/stdout cannot be opened again where it is a socket; the descriptor itself always works.
        if self._path == "/dev/stdout":
            return os.dup(1)
        if self._path == "/dev/stderr":
            return os.dup(2)
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def append(self, line: str) -> None:
        """Queue a line, its line end included; one that comes after the end is lost.

        A connection outlives the configuration that it was accepted under, and the next one may log elsewhere.
        """
        if self._fd < 0:
            return
        self._lines.append(line)
        self._size += len(line)
        if self._size >= self._flush_bytes:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(self._flush_s, self.flush)

    def flush(self) -> None:
        """Write what is queued. A full disk must not stop the proxy: the lines are dropped, and that is said once."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        data = "".join(self._lines).encode("utf-8", "backslashreplace")
        lines = len(self._lines)
        if not lines:
            return
        self._lines.clear()
        self._size = 0
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            if not self._lost:
                _log.error("access log %s: %s; lines are lost", self._path, error.strerror)
            self._lost += lines
            return
        if self._lost:
            _log.warning("access log %s is written again; %d lines or more were lost", self._path, self._lost)
            self._lost = 0

    def reopen(self) -> None:
        """Flush, then open the path again: after a rotation it names a new file."""
        self.flush()
        try:
            fd = self._open()
        except OSError as error:
            _log.error(
                "access log %s cannot be reopened: %s; writing to the old file", self._path, error.strerror
            )
            return
        os.close(self._fd)
        self._fd = fd

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        os.close(self._fd)
        self._fd = -1


class AccessLog:
    """One `access_log` entry: a format and the file it goes to."""

    __slots__ = ("_file", "_filter", "_format", "_secret_headers")

    def __init__(
        self,
        settings: AccessLogSettings,
        file: AccessLogFile,
        *,
        secret_headers: frozenset[bytes] = frozenset(),
    ) -> None:
        """Compile the format.

        Args:
            settings: the format.
            file: where lines go.
            secret_headers: names of request headers whose values are never written: places of tokens (S53).
        """
        self._file = file
        self._secret_headers = secret_headers
        if settings.json_format is not None:
            self._format = compile_json(settings.json_format, omit_empty=settings.omit_empty)
        else:
            self._format = compile_text(
                DEFAULT_FORMAT if settings.text_format is None else settings.text_format,
                omit_empty=settings.omit_empty,
            )
        self._filter = None if settings.filter is None else build_log_filter(settings.filter)

    def write(self, request: Request, now: float, log_type: str = REQUEST_END) -> None:
        """Format and queue the line of a finished request, or of a TCP connection. Hot path if configured.

        Args:
            request: the request, or what stands for a connection.
            now: monotonic seconds.
            log_type: `%ACCESS_LOG_TYPE%`.
        """
        context = FormatContext(request, now, b"", self._secret_headers, log_type)
        if self._filter is None or self._filter(context):
            self._file.append(self._format(context))
