"""A jwt_authn filter with one or more providers, and requests for it."""

import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from fastproxy.filters.base import Outcome
from fastproxy.filters.jwt_authn.filter import JwtAuthnFilter
from fastproxy.filters.jwt_authn.settings import (
    JwtAuthnSettings,
    LocalJwksSettings,
    ProviderSettings,
    RemoteJwksSettings,
    RequiresProvider,
    RuleSettings,
)
from fastproxy.http.headers import HeaderMap, append
from fastproxy.http.messages import LocalReply, Request
from fastproxy.match.settings import PathKind, PathMatch
from tests.jwt.support import ISSUER, claims, public_jwk, sign
from tests.listener.support import NOW

JWKS = json.dumps({"keys": [public_jwk("ES256")]}).encode()
OTHER_JWKS = json.dumps({"keys": [public_jwk("ES256"), public_jwk("HS256", kid="late")]}).encode()
PAYLOAD_HEADER = "x-jwt-payload"


def token(name: str = "", /, *, kid: str = "k1", **more: Any) -> bytes:
    """A good token unless told otherwise."""
    return sign("ES256", claims(**({"iat": NOW, "exp": NOW + 300} | more)), name=name, kid=kid)


def provider(name: str = "p", *, remote: bool = False, **settings: Any) -> ProviderSettings:
    jwks = (
        RemoteJwksSettings("https://issuer/certs", "issuer", 1.0) if remote else LocalJwksSettings(JWKS, "x")
    )
    defaults: dict[str, Any] = {
        "issuer": ISSUER,
        "audiences": ("api",),
        "jwks": jwks,
        "forward_payload_header": PAYLOAD_HEADER,
    }
    return ProviderSettings(name, **(defaults | settings))


def rule(prefix: str, provider_name: str | None, kind: PathKind = PathKind.PREFIX) -> RuleSettings:
    return RuleSettings(
        PathMatch(kind, prefix), None if provider_name is None else RequiresProvider(provider_name)
    )


def jwt_filter(
    *rules: RuleSettings,
    providers: tuple[ProviderSettings, ...] = (),
    ask: Callable[[str], None] = lambda _source: None,
    **settings: Any,
) -> JwtAuthnFilter:
    """One provider `p` that everything needs, unless told otherwise; `settings` are the provider's or the filter's."""
    names = (
        {one.name for one in fields(JwtAuthnSettings)}
        - {"name"}
        - {one.name for one in fields(ProviderSettings)}
    )
    of_filter = {name: value for name, value in settings.items() if name in names}
    of_provider = {name: value for name, value in settings.items() if name not in names}
    made = providers or (provider(**of_provider),)
    return JwtAuthnFilter(
        JwtAuthnSettings(
            {one.name: one for one in made}, rules or (rule("/", "p"),), name="jwt", **of_filter
        ),
        ask=ask,
    )


def request(target: bytes = b"/", *headers: tuple[bytes, bytes], method: bytes = b"GET") -> Request:
    """A request as it is after preparation."""
    made: HeaderMap = {}
    for name, value in headers:
        append(made, name, value)
    prepared = Request(method, target, made)
    prepared.set_target(target)
    prepared.authority = b"h.test"
    return prepared


def bearer(value: bytes) -> tuple[bytes, bytes]:
    return (b"authorization", b"Bearer " + value)


def denial(outcome: Outcome) -> tuple[int, str]:
    """Status and body of a refusal."""
    assert isinstance(outcome, LocalReply), outcome
    return outcome.status, outcome.body.decode()
