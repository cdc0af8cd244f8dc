"""One policy compiled: which origins it allows, and the headers that say so (Fetch standard, CORS protocol).

The origin that is allowed is repeated, never `*`: with credentials browsers take nothing else. Headers are those of
Envoy, in its order.
"""

from fastproxy.filters.cors.settings import CorsPolicy
from fastproxy.http.headers import first
from fastproxy.http.messages import Request
from fastproxy.match.fraction import build_chance
from fastproxy.match.settings import Fraction, StringKind
from fastproxy.match.string import StringMatcher, build_string_matcher

_ALLOW_ORIGIN = b"access-control-allow-origin"
_NOBODY = Fraction(0, 100)
_EVERYBODY = Fraction(100, 100)

#: Header lines of a response.
Lines = tuple[tuple[bytes, bytes], ...]


class Policy:
    """A compiled `CorsPolicy`.

    `is_enforced` and `is_shadowed` draw once for each call, independently of what routes draw.
    """

    __slots__ = (
        "_allow_headers",
        "_allow_methods",
        "_any_origin",
        "_credentials",
        "_expose_headers",
        "_matchers",
        "_max_age",
        "_private_network",
        "forwards_not_matching_preflights",
        "is_enforced",
        "is_shadowed",
    )

    def __init__(self, settings: CorsPolicy) -> None:
        """Compile a policy.

        Raises:
            ValueError: a regular expression is invalid (the configuration has checked this before).
        """
        self._any_origin = any(one.kind is StringKind.EXACT and one.value == "*" for one in settings.origins)
        self._matchers: tuple[StringMatcher, ...] = tuple(
            build_string_matcher(one) for one in settings.origins
        )
        self._allow_methods = settings.allow_methods.encode()
        self._allow_headers = settings.allow_headers.encode()
        self._expose_headers = settings.expose_headers.encode()
        self._max_age = settings.max_age.encode()
        self._credentials = bool(settings.allow_credentials)
        self._private_network = bool(settings.allow_private_network_access)
        self.forwards_not_matching_preflights = settings.forwards_not_matching_preflights is not False
        self.is_enforced = build_chance(_EVERYBODY if settings.enabled is None else settings.enabled)
        self.is_shadowed = build_chance(
            _NOBODY if settings.shadow_enabled is None else settings.shadow_enabled
        )

    def allows(self, origin: bytes) -> bool:
        """Whether pages of this origin may read responses."""
        return self._any_origin or any(matches(origin) for matches in self._matchers)

    def preflight_lines(self, request: Request, origin: bytes) -> Lines:
        """What the answer to a preflight of an allowed origin says."""
        lines = [(_ALLOW_ORIGIN, origin)]
        if self._credentials:
            lines.append((b"access-control-allow-credentials", b"true"))
        if self._allow_methods:
            methods = self._allow_methods
            if methods == b"*":
                methods = _asked(request, b"access-control-request-method")
            lines.append((b"access-control-allow-methods", methods))
        if self._allow_headers:
            headers = self._allow_headers
            if headers == b"*":
                headers = _asked(request, b"access-control-request-headers")
            lines.append((b"access-control-allow-headers", headers))
        if self._max_age:
            lines.append((b"access-control-max-age", self._max_age))
        if self._private_network and _asked(request, b"access-control-request-private-network") == b"true":
            lines.append((b"access-control-allow-private-network", b"true"))
        if self._expose_headers:
            lines.append((b"access-control-expose-headers", self._expose_headers))
        return tuple(lines)

    def response_lines(self, origin: bytes) -> Lines:
        """What a response for an allowed origin says."""
        lines = [(_ALLOW_ORIGIN, origin)]
        if self._credentials:
            lines.append((b"access-control-allow-credentials", b"true"))
        if self._expose_headers:
            lines.append((b"access-control-expose-headers", self._expose_headers))
        return tuple(lines)


def _asked(request: Request, name: bytes) -> bytes:
    return first(request.headers, name) or b""
