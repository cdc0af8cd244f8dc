"""Parameters of the query that are added, replaced and removed (Envoy `query_parameter_mutations`).

Names are compared after decoding, so that `%61dmin` cannot stand for `admin` unseen. What is not spoken of keeps its
place and every byte: Envoy decodes, sorts and rebuilds the whole query, and sends decoded blanks into the request line.
"""

from collections.abc import Sequence
from urllib.parse import quote_from_bytes, unquote_to_bytes

from fastproxy import clock
from fastproxy.filters.header_mutation.settings import QueryMutation
from fastproxy.format.compile import HeaderFormat, compile_header_value
from fastproxy.format.context import FormatContext
from fastproxy.format.settings import AppendAction
from fastproxy.http.messages import Request


class _Change:
    __slots__ = ("action", "encoded", "format", "name", "value")

    def __init__(self, settings: QueryMutation) -> None:
        self.name = settings.name.encode()
        self.encoded = _encode(self.name)
        self.action = settings.action
        """None removes it."""
        self.value = b""
        self.format: HeaderFormat | None = None
        compiled = compile_header_value(settings.value)
        if isinstance(compiled, bytes):
            self.value = _encode(compiled)
        else:
            self.format = compiled

    def apply(self, pairs: list[bytes], request: Request) -> list[bytes]:
        """The pairs of the query with the change made."""
        places = [index for index, pair in enumerate(pairs) if _name(pair) == self.name]
        action = self.action
        if action is None:
            return [pair for index, pair in enumerate(pairs) if index not in places]
        if (action is AppendAction.ADD_IF_ABSENT and places) or (
            action is AppendAction.OVERWRITE_IF_EXISTS and not places
        ):
            return pairs
        value = self.value
        if self.format is not None:
            # A value that may not be sent is left out, and so is an absent one (S47).
            value = _encode(self.format(FormatContext(request, clock.monotonic())) or b"")
        pair = self.encoded + b"=" + value
        if action is AppendAction.APPEND or not places:
            return [*pairs, pair]
        kept = [one for index, one in enumerate(pairs) if index not in places[1:]]
        kept[places[0]] = pair
        return kept


class QueryRules:
    """All changes of one level, one after the other."""

    __slots__ = ("_changes",)

    def __init__(self, mutations: Sequence[QueryMutation]) -> None:
        """Compile them.

        Raises:
            ValueError: a value is no format (the configuration has checked this before).
        """
        self._changes = tuple(_Change(one) for one in mutations)

    def apply(self, request: Request) -> None:
        """Change the query of a request; its path stays, and so does its route."""
        path, _, query = request.target.partition(b"?")
        before = query.split(b"&") if query else []
        pairs = before
        for change in self._changes:
            pairs = change.apply(pairs, request)
        if pairs != before:
            request.set_target(path + b"?" + b"&".join(pairs) if pairs else path)


def _name(pair: bytes) -> bytes:
    return unquote_to_bytes(pair.partition(b"=")[0])


def _encode(value: bytes) -> bytes:
    return quote_from_bytes(value, safe="").encode()
