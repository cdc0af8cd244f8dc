"""One provider at run time: finds its token in a request, verifies it, and applies what follows from it."""

from collections.abc import Callable

from fastproxy import clock
from fastproxy.filters.jwt_authn.effects import EffectsBuilder, TokenEffects, add_failure_metadata
from fastproxy.filters.jwt_authn.extract import FoundToken, TokenLocations, remove_token
from fastproxy.filters.jwt_authn.keys import ProviderKeys
from fastproxy.filters.jwt_authn.settings import LocalJwksSettings, ProviderSettings
from fastproxy.filters.jwt_authn.verdict import (
    MISSING,
    MULTIPLE,
    Acceptance,
    Conclusion,
    Passed,
    Refusal,
    Requirement,
    Verdict,
    Waiting,
    refuse,
    unavailable,
)
from fastproxy.http.messages import Request
from fastproxy.jwt import (
    JwkSet,
    JwtError,
    KeysUnavailable,
    UnknownKey,
    VerifiedToken,
    Verifier,
    VerifierSettings,
)
from fastproxy.match.string import build_string_matcher

#: How long a request may wait for keys beyond the fetch's own timeout: the way to the control plane and back.
_WAIT_MARGIN_S = 0.5
#: Envoy: a `timeout` of 0 is no limit; a request does not wait for ever all the same.
_DEFAULT_WAIT_S = 10.0


class Provider(Requirement):
    """A compiled `providers` entry; as a requirement it is `provider_name`."""

    __slots__ = (
        "_effects",
        "_failure_key",
        "_is_remote",
        "_locations",
        "_remove_token",
        "_usual",
        "keys",
        "settings",
        "verifier",
    )

    def __init__(self, settings: ProviderSettings, *, ask: Callable[[str], None]) -> None:
        """Compile one provider.

        Args:
            settings: the checked configuration.
            ask: tells the control plane that a request needs fresher keys of a source.

        Raises:
            fastproxy.jwt.JwksError: local keys are unusable (the configuration has checked this before).
            ValueError: a regular expression is invalid (the configuration has checked this before).
        """
        self.settings = settings
        self._locations = TokenLocations(settings)
        self._usual = self._locations.usual
        self._effects = EffectsBuilder(settings)
        self._failure_key = settings.failed_status_in_metadata
        self._remove_token = not settings.forward
        keys = None
        wait_s = _DEFAULT_WAIT_S
        if isinstance(settings.jwks, LocalJwksSettings):
            # The keys of a watched file come from the control plane, before the first request.
            if settings.jwks.jwks:
                keys = JwkSet.parse(settings.jwks.jwks, allow_symmetric=True)
        elif settings.jwks.timeout_s:
            wait_s = settings.jwks.timeout_s + _WAIT_MARGIN_S
        self.verifier = Verifier(_verifier_settings(settings), keys, prepare=self._effects.build)
        self._is_remote = not isinstance(settings.jwks, LocalJwksSettings)
        self.keys = ProviderKeys(
            self.verifier, settings.source_id, ask=ask, wait_s=wait_s, is_local=not self._is_remote
        )

    def inherit(self, previous: "Provider") -> None:
        """Take over keys and verdicts from a provider with equal settings and the same key source."""
        assert previous.settings == self.settings
        self.verifier.inherit(previous.verifier)
        self.keys.inherit(previous.keys)

    def providers(self) -> "tuple[Provider, ...]":
        """Itself."""
        return (self,)

    def check(self, request: Request) -> Conclusion:
        """Require this provider's token. Hot path: once per request."""
        if self._usual is not None and not request.query:
            # One `authorization` header and no query: there is just one place to look at.
            name, prefix = self._usual
            value = request.headers.get(name)
            if type(value) is bytes and value.startswith(prefix):
                found = FoundToken(value[len(prefix) :].strip(b" "), name, None)
                try:
                    verified = self.verifier.verify(found.token, clock.unix_time())
                except JwtError as error:
                    outcome = self._on_refused(request, found, error)
                    return outcome if isinstance(outcome, Refusal) else self.finish(request, outcome)
                self.apply(request, found, verified)
                return None
        return Requirement.check(self, request)

    def evaluate(self, request: Request) -> Verdict:
        """Judge the one token in this provider's places; none and several are refused (S48)."""
        found = self._locations.find(request)
        if not found:
            return self._refuse(request, MISSING)
        if len(found) > 1:
            return self._refuse(request, MULTIPLE)
        return self.judge(request, found[0])

    def find(self, request: Request) -> list[FoundToken]:
        """Every token in this provider's places."""
        return self._locations.find(request)

    def verify(self, found: FoundToken) -> VerifiedToken:
        """Verify one token as of now; JwtError refuses it."""
        return self.verifier.verify(found.token, clock.unix_time())

    def judge(self, request: Request, found: FoundToken) -> Verdict:
        """Judge one token; the request stays as it is but for metadata about a refusal."""
        try:
            verified = self.verify(found)
        except JwtError as error:
            return self._on_refused(request, found, error)
        return Passed((Acceptance(self, found, verified),))

    async def judge_after_update(self, request: Request, found: FoundToken) -> Passed | Refusal:
        """Judge again with the keys that a fetch brought, or without them."""
        fetched = await self.keys.wait_for_update()
        try:
            verified = self.verify(found)
        except KeysUnavailable:
            return self._refuse(request, unavailable(self.settings.name))
        except JwtError as error:
            if fetched and isinstance(error, UnknownKey) and error.kid_unknown:
                self.keys.on_missing(found.token)
            return self._refuse(request, refuse(error.status, error.detail))
        return Passed((Acceptance(self, found, verified),))

    def apply(self, request: Request, found: FoundToken, verified: VerifiedToken) -> None:
        """Do to a request that passed what follows from its token. Hot path: once per request."""
        if self._remove_token:
            remove_token(request, found)
        effects = verified.prepared
        assert isinstance(effects, TokenEffects)
        effects.apply(request)

    def _on_refused(self, request: Request, found: FoundToken, error: JwtError) -> Refusal | Waiting:
        """Only a token that lacks nothing but a key is worth waiting for."""
        if self._is_remote and (
            isinstance(error, KeysUnavailable)
            or (isinstance(error, UnknownKey) and error.kid_unknown and not self.keys.is_missing(found.token))
        ):
            return _WaitingToken(self, request, found)
        return self._refuse(request, refuse(error.status, error.detail))

    def _refuse(self, request: Request, refusal: Refusal) -> Refusal:
        if self._failure_key:
            add_failure_metadata(request, self._failure_key, refusal)
        return refusal


class _WaitingToken(Waiting):
    """A token whose provider has no key for it yet."""

    __slots__ = ("_found", "_provider", "_request")

    def __init__(self, provider: Provider, request: Request, found: FoundToken) -> None:
        self._provider = provider
        self._request = request
        self._found = found

    async def wait(self) -> Passed | Refusal:
        return await self._provider.judge_after_update(self._request, self._found)


def _verifier_settings(settings: ProviderSettings) -> VerifierSettings:
    matches = None if settings.subjects is None else build_string_matcher(settings.subjects)
    return VerifierSettings(
        issuer=settings.issuer,
        audiences=settings.audiences,
        clock_skew_s=settings.clock_skew_s,
        require_expiration=settings.require_expiration,
        max_lifetime_s=settings.max_lifetime_s,
        require_at_jwt=settings.require_at_jwt,
        subject_matches=None if matches is None else lambda subject: matches(subject.encode()),
        cache_size=settings.cache_size,
        cache_max_bytes=settings.cache_max_bytes,
        cache_max_token_bytes=settings.cache_max_token_bytes,
        # What follows from a token is prepared once; the claims themselves are needed again in metadata only.
        keep_claims=bool(settings.payload_in_metadata),
    )
