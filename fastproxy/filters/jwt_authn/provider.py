"""One provider at run time: finds its token in a request, verifies it, and applies what follows from it."""

from collections.abc import Awaitable, Callable

from fastproxy import clock
from fastproxy.filters.jwt_authn.denial import deny, deny_multiple, keys_unavailable
from fastproxy.filters.jwt_authn.extract import FoundToken, TokenLocations, remove_token
from fastproxy.filters.jwt_authn.keys import ProviderKeys
from fastproxy.filters.jwt_authn.settings import LocalJwksSettings, ProviderSettings, RemoteJwksSettings
from fastproxy.http.headers import append
from fastproxy.http.messages import LocalReply, Request
from fastproxy.jwt import (
    JwkSet,
    JwtError,
    JwtStatus,
    KeysUnavailable,
    UnknownKey,
    VerifiedToken,
    Verifier,
    VerifierSettings,
)

#: How long a request may wait for keys beyond the fetch's own timeout: the way to the control plane and back.
_WAIT_MARGIN_S = 0.5
#: Envoy: a `timeout` of 0 is no limit; a request does not wait for ever all the same.
_DEFAULT_WAIT_S = 10.0


class Provider:
    """A compiled `providers` entry."""

    def __init__(self, settings: ProviderSettings, *, ask: Callable[[str], None]) -> None:
        self.settings = settings
        self._locations = TokenLocations(settings)
        self._usual = self._locations.usual
        self._payload_header = settings.forward_payload_header.lower().encode()
        self._remove_token = not settings.forward
        keys = None
        wait_s = _DEFAULT_WAIT_S
        if isinstance(settings.jwks, LocalJwksSettings):
            keys = JwkSet.parse(settings.jwks.jwks, allow_symmetric=True)
        elif settings.jwks.timeout_s:
            wait_s = settings.jwks.timeout_s + _WAIT_MARGIN_S
        self.verifier = Verifier(
            VerifierSettings(
                issuer=settings.issuer,
                audiences=settings.audiences,
                clock_skew_s=settings.clock_skew_s,
                require_expiration=settings.require_expiration,
                cache_size=settings.cache_size,
                cache_max_token_bytes=settings.cache_max_token_bytes,
            ),
            keys,
            prepare=self._prepare,
        )
        self.keys = ProviderKeys(self.verifier, settings.source_id, ask=ask, wait_s=wait_s)
        self._is_remote = isinstance(settings.jwks, RemoteJwksSettings)

    def check(self, request: Request) -> LocalReply | Awaitable[LocalReply | None] | None:
        """Require this provider's token. Hot path: once per request.

        Returns:
            None if a valid token was there, the denial if not, or an awaitable of the two while keys are fetched.
        """
        if self._usual is not None and not request.query:
            # One `authorization` header and no query: there is just one place to look at.
            name, prefix = self._usual
            value = request.headers.get(name)
            if type(value) is bytes and value.startswith(prefix):
                return self._verify(request, FoundToken(value[len(prefix) :].strip(b" "), name, None))
        found = self._locations.find(request)
        if not found:
            return deny(request, JwtStatus.MISSING)
        if request.query:
            self._locations.redact(request)
        if len(found) > 1:
            return deny_multiple(request)
        return self._verify(request, found[0])

    def _verify(
        self, request: Request, found: FoundToken
    ) -> LocalReply | Awaitable[LocalReply | None] | None:
        try:
            verified = self.verifier.verify(found.token, clock.unix_time())
        except (KeysUnavailable, UnknownKey) as error:
            if self._is_remote and (isinstance(error, KeysUnavailable) or error.kid_unknown):
                return self._check_after_update(request, found)
            return deny(request, error.status)
        except JwtError as error:
            return deny(request, error.status)
        self._apply(request, found, verified)
        return None

    async def _check_after_update(self, request: Request, found: FoundToken) -> LocalReply | None:
        """Judge again with the keys that a fetch brought, or without them."""
        await self.keys.wait_for_update()
        try:
            verified = self.verifier.verify(found.token, clock.unix_time())
        except KeysUnavailable:
            return keys_unavailable(self.settings.name)
        except JwtError as error:
            return deny(request, error.status)
        self._apply(request, found, verified)
        return None

    def _prepare(self, verified: VerifiedToken) -> bytes:
        """The payload header's value: what is forwarded for this token, made once (12.1)."""
        payload = verified.payload_segment
        if self.settings.pad_forward_payload_header:
            payload += b"=" * (-len(payload) % 4)
        return payload

    def _apply(self, request: Request, found: FoundToken, verified: VerifiedToken) -> None:
        if self._remove_token:
            remove_token(request, found)
        if self._payload_header:
            assert isinstance(verified.prepared, bytes)
            append(request.headers, self._payload_header, verified.prepared)
