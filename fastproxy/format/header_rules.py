"""Headers that are added, replaced and removed by the configuration (spec/http.md section 10), compiled.

Theory: rules come in levels, such as route, virtual host and route table, which are applied one after the other. Within
a level names are removed first; then all values are formatted, then headers are replaced, then added. So no value of a
level sees what another value of it did.
"""

from collections.abc import Sequence

from fastproxy import clock
from fastproxy.format.compile import HeaderFormat, compile_header_value
from fastproxy.format.context import FormatContext
from fastproxy.format.settings import AppendAction, HeaderRuleSettings, HeaderValueSettings
from fastproxy.http.headers import (
    FRAMING_NAMES,
    SINGLE_SLOT_REQUEST_NAMES,
    SINGLE_SLOT_RESPONSE_NAMES,
    HeaderMap,
    add_repeated,
)
from fastproxy.http.messages import Request
from fastproxy.match.string import build_string_matcher

_NO_NAMES = frozenset[bytes]()


class _Addition:
    __slots__ = ("action", "format", "keep_empty", "name", "value")

    def __init__(self, settings: HeaderValueSettings) -> None:
        self.name = settings.name.encode()
        self.action = settings.action
        self.keep_empty = settings.keep_empty
        self.value = b""
        self.format: HeaderFormat | None = None
        compiled = compile_header_value(settings.value)
        if isinstance(compiled, bytes):
            self.value = compiled
        else:
            self.format = compiled


class _Level:
    __slots__ = ("added", "removed", "removed_matching")

    def __init__(self, settings: HeaderRuleSettings) -> None:
        self.removed = tuple(name.encode() for name in settings.remove)
        self.removed_matching = tuple(build_string_matcher(one) for one in settings.remove_matching)
        self.added = tuple(_Addition(one) for one in settings.add)

    def apply(self, headers: HeaderMap, context: FormatContext, single_slot: frozenset[bytes]) -> None:
        """Change the headers of one message."""
        for name in self.removed:
            headers.pop(name, None)
        for matches in self.removed_matching:
            for name in [one for one in headers if one not in FRAMING_NAMES and matches(one)]:
                del headers[name]
        appended: list[tuple[bytes, bytes]] = []
        replaced: list[tuple[bytes, bytes]] = []
        for one in self.added:
            value: bytes | None = one.value
            if one.format is not None:
                value = one.format(context)
            if value is None or not (value or one.keep_empty):
                continue
            action = one.action
            if action is AppendAction.APPEND:
                appended.append((one.name, value))
            elif action is AppendAction.OVERWRITE:
                replaced.append((one.name, value))
            elif action is AppendAction.ADD_IF_ABSENT:
                if one.name not in headers:
                    appended.append((one.name, value))
            elif one.name in headers:
                replaced.append((one.name, value))
        headers.update(replaced)
        for name, text in appended:
            if name in headers:
                add_repeated(headers, name, text, single_slot)
            else:
                headers[name] = text


class HeaderRules:
    """All levels that apply to one message, in the order in which they are applied.

    Raises:
        ValueError: a value is no format.
    """

    __slots__ = ("_levels",)

    def __init__(self, levels: Sequence[HeaderRuleSettings]) -> None:
        self._levels = tuple(_Level(one) for one in levels)

    def apply_to_request(self, request: Request) -> None:
        """Change the request's headers."""
        context = FormatContext(request, clock.monotonic())
        for level in self._levels:
            level.apply(request.headers, context, SINGLE_SLOT_REQUEST_NAMES)

    def apply_to_trailers(self, request: Request, trailers: HeaderMap) -> None:
        """Change trailers of the request or of its response; every line stays a line of its own."""
        context = FormatContext(request, clock.monotonic())
        for level in self._levels:
            level.apply(trailers, context, _NO_NAMES)

    def apply_to_response(self, request: Request, headers: HeaderMap) -> None:
        """Change the headers of a response to `request`; `%RESP()%` sees them as they are before a level."""
        request.response_headers = headers
        context = FormatContext(request, clock.monotonic())
        for level in self._levels:
            level.apply(headers, context, SINGLE_SLOT_RESPONSE_NAMES)


def build_header_rules(levels: Sequence[HeaderRuleSettings]) -> HeaderRules | None:
    """Compile levels; None if none of them does anything.

    Raises:
        ValueError: a value is no format, or a regular expression is invalid.
    """
    found = [one for one in levels if one.add or one.remove or one.remove_matching]
    return HeaderRules(found) if found else None
