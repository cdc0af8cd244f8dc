"""Where a provider's tokens are in a request (spec/jwt_authn.md section 6), and how they are taken out.

Stricter than Envoy in one thing: a `value_prefix` must be at the start of the header value, not anywhere in it.
"""

from typing import NamedTuple

from fastproxy.filters.jwt_authn.settings import ProviderSettings
from fastproxy.http.headers import values
from fastproxy.http.messages import Request
from fastproxy.http.query import query_values, remove_parameter

_REDACTED = b"redacted"


class FoundToken(NamedTuple):
    """A token as it lay in the request: unverified bytes, and where they came from."""

    token: bytes
    header: bytes | None
    """Header name, or None if it came from the query."""
    parameter: bytes | None


class TokenLocations:
    """The places of one provider, compiled."""

    __slots__ = ("_headers", "_parameters", "usual")

    def __init__(self, settings: ProviderSettings) -> None:
        self._headers = tuple(
            (location.name.lower().encode(), location.value_prefix.encode())
            for location in settings.from_headers
        )
        self._parameters = tuple(name.encode() for name in settings.from_params)
        self.usual: tuple[bytes, bytes] | None = None
        """Name and prefix if there is just one header location with a prefix: the usual case has a fast path."""
        if len(self._headers) == 1 and self._headers[0][1]:
            self.usual = self._headers[0]

    def find(self, request: Request) -> list[FoundToken]:
        """Every token in the provider's places; the caller refuses more than one. Hot path: once per request."""
        found = []
        headers = request.headers
        for name, prefix in self._headers:
            if name not in headers:
                continue
            for value in values(headers, name):
                if not prefix:
                    found.append(FoundToken(value.strip(), name, None))
                elif value.startswith(prefix):
                    found.append(FoundToken(value[len(prefix) :].strip(b" "), name, None))
        query = request.query
        if query:
            for parameter in self._parameters:
                # An escaped name is still that name: `%61ccess_token`.
                if parameter in query or b"%" in query:
                    found += [FoundToken(value, None, parameter) for value in query_values(query, parameter)]
        return found

    def redact(self, request: Request) -> None:
        """Keep tokens of the query out of the access log, whatever becomes of the request (S53)."""
        target = request.target
        for parameter in self._parameters:
            if query_values(request.query, parameter):
                target = remove_parameter(target, parameter)
                target += (b"&" if b"?" in target else b"?") + parameter + b"=" + _REDACTED
        if target is not request.target:
            request.log_target = target


def remove_token(request: Request, found: FoundToken) -> None:
    """Take a verified token out of the request (`forward: false`)."""
    if found.header is not None:
        request.headers.pop(found.header, None)
    elif found.parameter is not None:
        request.set_target(remove_parameter(request.target, found.parameter))
