"""The filter: strip forged identity headers, find the rule, require its token (spec/jwt_authn.md section 3.1)."""

from collections.abc import Awaitable, Callable, Mapping

from fastproxy.filters.base import Outcome
from fastproxy.filters.jwt_authn.build import RequirementBuilder
from fastproxy.filters.jwt_authn.denial import deny
from fastproxy.filters.jwt_authn.extract import redact_query
from fastproxy.filters.jwt_authn.identity import identity_headers
from fastproxy.filters.jwt_authn.observed import (
    Observer,
    observe_check,
    observe_conditions,
    observe_path,
)
from fastproxy.filters.jwt_authn.provider import Provider
from fastproxy.filters.jwt_authn.settings import JwtAuthnSettings, PerRouteSettings, RuleSettings
from fastproxy.filters.jwt_authn.verdict import Conclusion, Refusal
from fastproxy.http.headers import first
from fastproxy.http.messages import LocalReply, Request
from fastproxy.match.path import PathMatcher, build_path_matcher
from fastproxy.match.request import build_request_matcher
from fastproxy.stats import StatsSink

#: What a rule or a route asks for; None: no token.
_Check = Callable[[Request], Conclusion]
#: A rule: its path, what it asks for beside it, and what it then requires.
_Rule = tuple[PathMatcher, Callable[[Request], bool] | None, _Check | None]


class JwtAuthnFilter:
    """Compiled `JwtAuthentication`. The first rule that matches decides; without one the request passes."""

    def __init__(
        self, settings: JwtAuthnSettings, *, ask: Callable[[str], None], observer: Observer | None = None
    ) -> None:
        """Build the filter.

        Args:
            settings: the checked configuration.
            ask: tells the control plane that a request needs fresher keys of a source.
            observer: is told what the filter does; None in the proxy.

        Raises:
            fastproxy.jwt.JwksError: local keys are unusable (the configuration has checked this before).
            ValueError: a regular expression is invalid (the configuration has checked this before).
        """
        builder = RequirementBuilder(settings, ask=ask, observer=observer)
        self._rules = tuple(
            _build_rule(builder, index, rule, observer) for index, rule in enumerate(settings.rules)
        )
        self._named: dict[str, _Check] = {}
        for name, requirement in settings.requirement_map.items():
            check: _Check = builder.build(requirement).check
            self._named[name] = check if observer is None else observe_check(observer, name, check)
        #: All verifiers of the filter; those of one source get the same keys.
        self.providers: Mapping[str, Provider] = builder.providers
        self._name = settings.name
        self._is_off = settings.is_off_by_default
        self._bypass_preflight = settings.bypass_cors_preflight
        self._strip = settings.strip_failure_response
        self._stat_prefix = f"jwt_authn.{settings.stat_prefix}." if settings.stat_prefix else "jwt_authn."
        self.identity_headers = identity_headers(settings.providers.values())
        """Names that this filter alone may set (S46); a downstream's are removed."""
        self.token_headers = frozenset(
            location.name.lower().encode()
            for provider in settings.providers.values()
            for location in provider.from_headers
        )
        """Where tokens may be; no log may show what is there (S53)."""
        self._token_parameters = tuple(
            {name.encode(): None for provider in settings.providers.values() for name in provider.from_params}
        )
        self._allowed = 0
        self._denied = 0
        self._preflights = 0
        self._denied_by_reason: dict[str, int] = {}

    def on_request(self, request: Request) -> Outcome:
        """Allow or deny one request. Hot path: once per request."""
        headers = request.headers
        # Before anything else: whatever path the request takes from here, a forged identity must not survive (S46).
        if not self.identity_headers.isdisjoint(headers):
            for name in self.identity_headers.intersection(headers):
                del headers[name]
        if request.query:
            redact_query(request, self._token_parameters)
        if request.filter_configs is not None or self._is_off:
            return self._on_special_route(request)
        return self._on_usual_route(request)

    def _on_usual_route(self, request: Request) -> Outcome:
        if self._bypass_preflight and request.method == b"OPTIONS" and _is_preflight(request):
            self._preflights += 1
            self._allowed += 1
            return None
        path = request.path
        for matches, conditions, check in self._rules:
            if matches(path) and (conditions is None or conditions(request)):
                if check is None:
                    break
                outcome = check(request)
                if outcome is None:
                    break
                return self._refuse_or_wait(request, outcome)
        self._allowed += 1
        return None

    def _on_special_route(self, request: Request) -> Outcome:
        """Serve a route that speaks of filters, of this one perhaps (`PerRouteConfig`)."""
        configs = request.filter_configs
        config = None if configs is None else configs.get(self._name)
        if config is None:
            return None if self._is_off else self._on_usual_route(request)
        assert isinstance(config, PerRouteSettings)
        if config.is_skipped:
            return None
        if self._bypass_preflight and request.method == b"OPTIONS" and _is_preflight(request):
            # It comes before what the route says (spec section 3.1).
            self._preflights += 1
        elif config.requirement_name:
            outcome = self._named[config.requirement_name](request)
            if outcome is not None:
                return self._refuse_or_wait(request, outcome)
        elif not config.disabled:
            return self._on_usual_route(request)
        self._allowed += 1
        return None

    def _refuse_or_wait(self, request: Request, outcome: Refusal | Awaitable[Refusal | None]) -> Outcome:
        if isinstance(outcome, Refusal):
            return self._deny(request, outcome)
        return self._wait(request, outcome)

    async def _wait(self, request: Request, outcome: Awaitable[Refusal | None]) -> LocalReply | None:
        refusal = await outcome
        if refusal is not None:
            return self._deny(request, refusal)
        self._allowed += 1
        return None

    def _deny(self, request: Request, refusal: Refusal) -> LocalReply:
        self._denied += 1
        self._denied_by_reason[refusal.reason] = self._denied_by_reason.get(refusal.reason, 0) + 1
        return deny(request, refusal, strip=self._strip)

    def write_stats(self, sink: StatsSink, prefix: str) -> None:
        """Add the filter's counters (spec/jwt_authn.md section 13), and one for each reason that occurred."""
        prefix += self._stat_prefix
        sink.counter(prefix + "allowed", self._allowed)
        sink.counter(prefix + "denied", self._denied)
        sink.counter(prefix + "cors_preflight_bypassed", self._preflights)
        for reason, count in self._denied_by_reason.items():
            sink.counter(f"{prefix}denied_{reason}", count)
        for provider in self.providers.values():
            sink.counter(prefix + "jwt_cache_hit", provider.verifier.cache_hits)
            sink.counter(prefix + "jwt_cache_miss", provider.verifier.cache_misses)


def _build_rule(
    builder: RequirementBuilder, index: int, rule: RuleSettings, observer: Observer | None
) -> _Rule:
    matches = build_path_matcher(rule.match)
    conditions = build_request_matcher(rule.conditions)
    check: _Check | None = None if rule.requires is None else builder.build(rule.requires).check
    if observer is not None:
        matches = observe_path(observer, index, matches)
        conditions = None if conditions is None else observe_conditions(observer, index, conditions)
        check = None if check is None else observe_check(observer, f"rule {index + 1}", check)
    return matches, conditions, check


def _is_preflight(request: Request) -> bool:
    """A CORS preflight, method aside: both headers are there and not empty (S50)."""
    headers = request.headers
    return bool(first(headers, b"origin")) and bool(first(headers, b"access-control-request-method"))
