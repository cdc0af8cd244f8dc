"""The filter: strip forged identity headers, find the rule, require its token (spec/jwt_authn.md section 3.1)."""

from collections.abc import Callable, Mapping
from itertools import product

from fastproxy.filters.base import Outcome
from fastproxy.filters.jwt_authn.provider import Provider
from fastproxy.filters.jwt_authn.settings import JwtAuthnSettings
from fastproxy.http.messages import LocalReply, Request
from fastproxy.match.path import build_path_matcher
from fastproxy.stats import StatsSink

#: Names with more separators than this are matched in their two plain spellings only.
_MAX_VARIANT_SEPARATORS = 6


class JwtAuthnFilter:
    """Compiled `JwtAuthentication`. The first rule whose path matches decides; without one the request passes."""

    def __init__(self, settings: JwtAuthnSettings, *, ask: Callable[[str], None]) -> None:
        """Build the filter.

        Args:
            settings: the checked configuration.
            ask: tells the control plane that a request needs fresher keys of a source.

        Raises:
            fastproxy.jwt.JwksError: local keys are unusable (the configuration has checked this before).
            ValueError: a rule's regular expression is invalid (the configuration has checked this before).
        """
        self.providers: Mapping[str, Provider] = {
            name: Provider(provider, ask=ask) for name, provider in settings.providers.items()
        }
        self._rules = tuple(
            (
                build_path_matcher(rule.match),
                None if rule.provider_name is None else self.providers[rule.provider_name].check,
            )
            for rule in settings.rules
        )
        self._identity_headers = frozenset(
            variant
            for provider in settings.providers.values()
            if provider.forward_payload_header
            for variant in _spellings(provider.forward_payload_header.lower())
        )
        self._allowed = 0
        self._denied = 0

    def on_request(self, request: Request) -> Outcome:
        """Allow or deny one request. Hot path: once per request."""
        headers = request.headers
        # Before anything else: whatever path the request takes from here, a forged identity must not survive (S46).
        if not self._identity_headers.isdisjoint(headers):
            for name in self._identity_headers.intersection(headers):
                del headers[name]
        path = request.path
        for matches, check in self._rules:
            if matches(path):
                if check is None:
                    break
                outcome = check(request)
                if outcome is None:
                    break
                if isinstance(outcome, LocalReply):
                    self._denied += 1
                    return outcome
                return self._count(outcome)
        self._allowed += 1
        return None

    async def _count(self, outcome: object) -> LocalReply | None:
        reply: LocalReply | None = await outcome  # type: ignore[misc]  # an awaitable, as the caller has checked
        if reply is None:
            self._allowed += 1
        else:
            self._denied += 1
        return reply

    def write_stats(self, sink: StatsSink, prefix: str) -> None:
        """Add the filter's counters (spec/jwt_authn.md section 13)."""
        prefix += "jwt_authn."
        sink.counter(prefix + "allowed", self._allowed)
        sink.counter(prefix + "denied", self._denied)
        for provider in self.providers.values():
            sink.counter(prefix + "jwt_cache_hit", provider.verifier.cache_hits)
            sink.counter(prefix + "jwt_cache_miss", provider.verifier.cache_misses)


def _spellings(name: str) -> set[bytes]:
    """A header name with `-` and `_` exchanged in every way: many servers read both as one name."""
    parts = name.replace("_", "-").split("-")
    if len(parts) - 1 > _MAX_VARIANT_SEPARATORS:
        return {"-".join(parts).encode(), "_".join(parts).encode(), name.encode()}
    found = set()
    for separators in product("-_", repeat=len(parts) - 1):
        text = parts[0]
        for separator, part in zip(separators, parts[1:], strict=True):
            text += separator + part
        found.add(text.encode())
    return found
