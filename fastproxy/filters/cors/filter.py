"""The filter: answer preflights, and tell browsers which responses the pages of another origin may read.

What a request's origin may do is settled when the request passes; the response is changed accordingly, also if a later
filter answers it. Only routes to clusters have a policy: the configuration gives others none, as in Envoy.

A preflight is nothing but OPTIONS with an origin and `access-control-request-method` (S50): anything less passes on,
to whatever filter asks for a token.
"""

from fastproxy.filters.base import Outcome
from fastproxy.filters.cors.policy import Lines, Policy
from fastproxy.filters.cors.settings import CorsRouteSettings, CorsSettings
from fastproxy.http.headers import HeaderMap, first
from fastproxy.http.messages import LocalReply, Request
from fastproxy.stats import StatsSink

# The spec says 200, not 204, and so does Envoy.
_STATUS = 200
_DETAILS = "cors_response"
_NOT_ALLOWED = LocalReply(_STATUS, details=_DETAILS, is_whole=True)


class CorsFilter:
    """Compiled `Cors`."""

    __slots__ = ("_by_route", "_invalid", "_is_off", "_name", "_valid")

    def __init__(self, name: str, settings: CorsSettings) -> None:
        """Build the filter; `name` is its name in `http_filters`, by which routes speak of it."""
        self._name = name
        self._is_off = settings.is_off_by_default
        # A route's settings are one object for as long as the route lives, so its identity is the key; kept with it,
        # so that no other object gets that identity.
        self._by_route: dict[int, tuple[object, Policy | None]] = {}
        self._valid = 0
        self._invalid = 0

    def on_request(self, request: Request) -> Outcome:
        """Answer a preflight, or remember what the response is to say. Hot path: once per request."""
        configs = request.filter_configs
        config = None if configs is None else configs.get(self._name)
        if config is None:
            return None
        origin = first(request.headers, b"origin")
        if not origin:
            return None
        policy = self._policy_of(config)
        if policy is None:
            return None
        is_enforced = policy.is_enforced()
        if not is_enforced and not policy.is_shadowed():
            return None
        is_allowed = policy.allows(origin)
        if is_allowed:
            self._valid += 1
        else:
            self._invalid += 1
        if not is_enforced:
            return None
        is_preflight = request.method == b"OPTIONS" and bool(
            first(request.headers, b"access-control-request-method")
        )
        if not is_allowed:
            return None if not is_preflight or policy.forwards_not_matching_preflights else _NOT_ALLOWED
        if is_preflight:
            return LocalReply(
                _STATUS, details=_DETAILS, headers=policy.preflight_lines(request, origin), is_whole=True
            )
        self._remember(request, policy.response_lines(origin))
        return None

    def on_response(self, request: Request, headers: HeaderMap) -> None:
        """Say what the request's origin may do; an upstream's own word about it is replaced."""
        notes = request.filter_notes
        if notes is None:
            return
        lines = notes.get(self._name)
        if isinstance(lines, tuple):
            for name, value in lines:
                headers[name] = value

    def write_stats(self, sink: StatsSink, prefix: str) -> None:
        """Add the requests whose origin was allowed, and those whose was not."""
        sink.counter(prefix + "cors.origin_valid", self._valid)
        sink.counter(prefix + "cors.origin_invalid", self._invalid)

    def _remember(self, request: Request, lines: Lines) -> None:
        notes = request.filter_notes
        if notes is None:
            notes = request.filter_notes = {}
        notes[self._name] = lines

    def _policy_of(self, config: object) -> Policy | None:
        known = self._by_route.get(id(config))
        if known is None:
            assert isinstance(config, CorsRouteSettings)
            settings = config.effective
            is_off = self._is_off if config.is_off is None else config.is_off
            known = (config, None if is_off or settings is None else Policy(settings))
            self._by_route[id(config)] = known
        return known[1]
