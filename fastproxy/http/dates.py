"""The `date` header (RFC 9110 section 6.6.1): one text per second."""

from email.utils import formatdate


class HttpDate:
    """Formats Unix time for the `date` header and remembers the second it last formatted."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._text = b""

    def at(self, unix_time: float) -> bytes:
        """IMF-fixdate for `unix_time`. Hot path: once per response without `date`."""
        second = int(unix_time)
        if second != self._second:
            self._second = second
            self._text = formatdate(second, usegmt=True).encode()
        return self._text
