"""The access log files of one worker, which outlive the configurations that write to them."""

import asyncio
from collections.abc import Collection

from fastproxy.listener.access_log import AccessLogFile


class AccessLogFiles:
    """The access log files of a worker, one object for each path, whatever the number of runtimes."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, flush_s: float = 1.0, flush_bytes: int = 64 * 1024
    ) -> None:
        """Make none yet; lines wait at most `flush_s`, and until there are `flush_bytes` of them."""
        self._loop = loop
        self._flush_s = flush_s
        self._flush_bytes = flush_bytes
        self._files: dict[str, AccessLogFile] = {}

    def open(self, path: str) -> AccessLogFile:
        """Return the file of a path.

        Raises:
            OSError: it cannot be opened.
        """
        if path not in self._files:
            self._files[path] = AccessLogFile(path, self._loop, self._flush_s, self._flush_bytes)
        return self._files[path]

    def reopen(self) -> None:
        """After a rotation the paths name new files."""
        for file in self._files.values():
            file.reopen()

    def retain(self, paths: Collection[str]) -> None:
        """Close the files that no runtime writes to any more."""
        for path in self._files.keys() - set(paths):
            self._files.pop(path).close()
