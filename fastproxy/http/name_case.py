"""Header names as some old peers want them: `Content-Type` (Envoy `header_key_format.proper_case_words`).

Names are case-insensitive (RFC 9110 section 5.1); inside the proxy they are lower case.
"""

import re

from fastproxy.http.headers import HeaderMap

# A letter at the beginning, or behind something that is neither letter nor digit.
_WORD_START = re.compile(rb"(?:^|(?<=[^a-z0-9]))[a-z]")
#: Names are remembered up to this number, so that an upstream cannot grow the table.
_MAX_KNOWN_NAMES = 4096


class ProperCase:
    """Writes names with capitals, and remembers those it has written."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}

    def convert(self, headers: HeaderMap) -> HeaderMap:
        """The same headers under names with capitals."""
        return {self._name(name): value for name, value in headers.items()}

    def _name(self, name: bytes) -> bytes:
        known = self._known.get(name)
        if known is None:
            if len(self._known) >= _MAX_KNOWN_NAMES:
                self._known.clear()
            known = self._known[name] = _WORD_START.sub(lambda found: found.group(0).upper(), name)
        return known
