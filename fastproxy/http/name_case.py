"""Header names as some old peers want them (Envoy `header_key_format`).

Names are case-insensitive (RFC 9110 section 5.1); inside the proxy they are lower case. On the wire they can be written
like `Content-Type` (`proper_case_words`), or as the peer wrote them that the message is from (`preserve_case`).
"""

import re
from dataclasses import dataclass
from typing import Protocol

from fastproxy.http.headers import HeaderMap

# A letter at the beginning, or behind something that is neither letter nor digit.
_WORD_START = re.compile(rb"(?:^|(?<=[^a-z0-9]))[a-z]")
#: Names are remembered up to this number, and up to this length, so that no peer can grow the table: 4096 names as long
#: as a whole head would be half a gigabyte.
_MAX_KNOWN_NAMES = 4096
_MAX_KNOWN_BYTES = 64


class NameCase(Protocol):
    """Knows how header names are to be written."""

    def convert(self, headers: HeaderMap) -> HeaderMap:
        """The same headers under the names as they are to be written."""

    def name(self, name: bytes) -> bytes:
        """How one name, in lower case, is to be written."""


@dataclass(frozen=True, slots=True)
class KeptCaseSettings:
    """`PreserveCaseFormatterConfig`."""

    proper_case: bool = False
    """`formatter_type_on_envoy_headers: PROPER_CASE`: names that the peer did not send are written with capitals."""
    reason_phrase: bool = False
    """`forward_reason_phrase`: the upstream's words behind its status are passed on, too."""


class ProperCase:
    """Writes names with capitals, and remembers those it has written."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}

    def convert(self, headers: HeaderMap) -> HeaderMap:
        """The same headers under names with capitals."""
        return {self.name(name): value for name, value in headers.items()}

    def name(self, name: bytes) -> bytes:
        """One name with capitals."""
        known = self._known.get(name)
        if known is None:
            known = _WORD_START.sub(lambda found: found.group(0).upper(), name)
            if len(name) <= _MAX_KNOWN_BYTES:
                if len(self._known) >= _MAX_KNOWN_NAMES:
                    self._known.clear()
                self._known[name] = known
        return known


#: For all names that nobody has sent.
_PROPER_CASE = ProperCase()


class KeptCase:
    """Writes the names of one message as its sender wrote them; of a repeated one the first spelling counts."""

    __slots__ = ("_names", "_others", "reason")

    def __init__(self, settings: KeptCaseSettings) -> None:
        self._names: dict[bytes, bytes] = {}
        self._others = _PROPER_CASE if settings.proper_case else None
        self.reason = b""
        """The reason phrase of a response; empty: that of its status."""

    def keep(self, name: bytes) -> None:
        """Remember one name of the message; a head bounds their number."""
        self._names.setdefault(name.lower(), name)

    def convert(self, headers: HeaderMap) -> HeaderMap:
        """The same headers under the names of the sender."""
        return {self.name(name): value for name, value in headers.items()}

    def name(self, name: bytes) -> bytes:
        """One name as the sender wrote it."""
        known = self._names.get(name)
        if known is not None:
            return known
        return name if self._others is None else self._others.name(name)


class MessageNames:
    """How the names of a request and of its response are written, where that was kept."""

    __slots__ = ("request", "response")

    def __init__(self, request: KeptCase | None = None) -> None:
        self.request = request
        self.response: KeptCase | None = None
        """Set when the response of an upstream is passed on; the proxy's own answers have nobody's case."""
