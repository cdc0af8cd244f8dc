"""Where a provider's tokens are in a request (spec/jwt_authn.md section 6), and how they are taken out.

Stricter than Envoy in one thing: a `value_prefix` must be at the start of the header value, not anywhere in it.
"""

from fastproxy.filters.jwt_authn.settings import ProviderSettings
from fastproxy.http.cookies import cookie_values, remove_cookie
from fastproxy.http.headers import values
from fastproxy.http.messages import Request
from fastproxy.http.query import query_values, remove_parameter

_REDACTED = b"redacted"

#: Header, parameter and cookie name; one of them is not None.
Place = tuple[bytes | None, bytes | None, bytes | None]


class FoundToken:
    """A token as it lay in the request: unverified bytes, and where they came from.

    Of `header`, `parameter` and `cookie`, all of them names, just one is not None.
    """

    # Made once per request: a plain class costs half a microsecond less than a tuple. bench/data_path.py
    __slots__ = ("cookie", "header", "parameter", "token")

    def __init__(
        self, token: bytes, header: bytes | None, parameter: bytes | None, cookie: bytes | None = None
    ) -> None:
        self.token = token
        self.header = header
        self.parameter = parameter
        self.cookie = cookie

    def __eq__(self, other: object) -> bool:
        """The same token in the same place, whichever provider looked."""
        if not isinstance(other, FoundToken):
            return NotImplemented
        return self.token == other.token and self.place == other.place

    def __hash__(self) -> int:
        return hash((self.token, self.place))

    @property
    def place(self) -> Place:
        """Where it came from."""
        return self.header, self.parameter, self.cookie

    def remove_from(self, request: Request) -> None:
        """Take it out of the request: the whole header, every occurrence of the parameter or of the cookie."""
        remove_token(request, self)


class TokenLocations:
    """The places of one provider, compiled."""

    __slots__ = ("_cookies", "_headers", "_parameters", "usual")

    def __init__(self, settings: ProviderSettings) -> None:
        self._headers = tuple(
            (location.name.lower().encode(), location.value_prefix.encode())
            for location in settings.from_headers
        )
        self._parameters = tuple(name.encode() for name in settings.from_params)
        self._cookies = tuple(name.encode() for name in settings.from_cookies)
        self.usual: tuple[bytes, bytes] | None = None
        """Name and prefix if there is just one header location with a prefix: the usual case has a fast path."""
        if len(self._headers) == 1 and self._headers[0][1] and not self._cookies:
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
        if self._cookies and b"cookie" in headers:
            for cookie in self._cookies:
                found += [FoundToken(value, None, None, cookie) for value in cookie_values(headers, cookie)]
        return found


def redact_query(request: Request, parameters: tuple[bytes, ...]) -> None:
    """Keep tokens of the query out of the access log and of challenges, whatever becomes of the request (S53)."""
    target = request.target
    for parameter in parameters:
        if (parameter in request.query or b"%" in request.query) and query_values(request.query, parameter):
            target = remove_parameter(target, parameter)
            target += (b"&" if b"?" in target else b"?") + parameter + b"=" + _REDACTED
    if target is not request.target:
        request.log_target = target


def remove_token(request: Request, found: FoundToken) -> None:
    """Take a verified token out of the request (`forward: false`). Envoy leaves cookies where they are."""
    if found.header is not None:
        request.headers.pop(found.header, None)
    elif found.parameter is not None:
        request.set_target(remove_parameter(request.target, found.parameter))
    elif found.cookie is not None:
        remove_cookie(request.headers, found.cookie)
