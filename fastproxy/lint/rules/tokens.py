"""Which tokens are accepted: whose, for whom, for how long, and from where."""

from collections.abc import Iterator

from fastproxy.config.problems import quote
from fastproxy.filters.jwt_authn.settings import (
    JwksSettings,
    JwtAuthnSettings,
    LocalJwksSettings,
    ProviderSettings,
    RemoteJwksSettings,
)
from fastproxy.lint.requirements import accepted, roots
from fastproxy.lint.rule import Finding, Rule, Severity
from fastproxy.lint.survey import Survey

#: Envoy's default is 60 s; clocks that are synchronised at all differ by less than a second.
MAX_CLOCK_SKEW_S = 120


def _check_audience(survey: Survey) -> Iterator[Finding]:
    for _, jwt, provider in survey.providers():
        if not provider.audiences and _is_used_without_audience(jwt, provider.name):
            yield Finding(
                provider.config_path, f"the provider {quote(provider.name)} accepts tokens for any audience"
            )


def _is_used_without_audience(jwt: JwtAuthnSettings, name: str) -> bool:
    return any(
        use.provider_name == name and not use.audiences
        for _, requirement in roots(jwt)
        for use in accepted(requirement, jwt)
    )


def _check_issuer(survey: Survey) -> Iterator[Finding]:
    for _, _, provider in survey.providers():
        if not provider.issuer:
            yield Finding(
                provider.config_path, f"the provider {quote(provider.name)} accepts tokens of any issuer"
            )


def _check_expiration(survey: Survey) -> Iterator[Finding]:
    for _, _, provider in survey.providers():
        if not provider.require_expiration and provider.max_lifetime_s is None:
            yield Finding(
                provider.config_path, f"the provider {quote(provider.name)} accepts tokens that never expire"
            )


def _check_skew(survey: Survey) -> Iterator[Finding]:
    for _, _, provider in survey.providers():
        if provider.clock_skew_s > MAX_CLOCK_SKEW_S:
            yield Finding(
                f"{provider.config_path}.clock_skew_seconds",
                f"tokens are accepted until {provider.clock_skew_s} s after they expired",
            )


def _check_same_issuer(survey: Survey) -> Iterator[Finding]:
    for _, jwt in survey.filters():
        first: dict[str, ProviderSettings] = {}
        for provider in jwt.providers.values():
            other = first.setdefault(provider.issuer, provider)
            if provider.issuer and other is not provider and _source(other.jwks) != _source(provider.jwks):
                yield Finding(
                    f"{provider.config_path}.issuer",
                    f"the providers {quote(other.name)} and {quote(provider.name)} have one issuer and different keys",
                )


def _check_shared_keys(survey: Survey) -> Iterator[Finding]:
    for _, jwt in survey.filters():
        first: dict[object, ProviderSettings] = {}
        for provider in jwt.providers.values():
            other = first.setdefault(_source(provider.jwks), provider)
            if other is not provider and other.issuer != provider.issuer:
                yield Finding(
                    provider.config_path,
                    f"the providers {quote(other.name)} and {quote(provider.name)} trust the same keys for different"
                    " issuers",
                )


def _source(jwks: JwksSettings) -> object:
    if isinstance(jwks, RemoteJwksSettings):
        return jwks.uri
    if isinstance(jwks, LocalJwksSettings):
        return jwks.filename or jwks.jwks
    return "discovery", jwks.issuer


def _check_query(survey: Survey) -> Iterator[Finding]:
    for _, _, provider in survey.providers():
        path = f"{provider.config_path}.from_params"
        if provider.from_params and survey.is_written(path):
            names = ", ".join(quote(name) for name in provider.from_params)
            yield Finding(path, f"tokens are read from the query parameter {names}")


RULES = (
    Rule(
        name="no-audience",
        severity=Severity.MEDIUM,
        summary="a provider without audiences",
        why="A token that the issuer made for any other service is good here, too",
        fix="List in `audiences` what stands in the `aud` of tokens for this service, or use"
        " provider_and_audiences",
        details="One issuer serves many applications. Without an audience, whoever gets a token for the"
        " least of them can use it everywhere (RFC 8725 section 3.9). Silent if every"
        " requirement that names the provider brings audiences of its own. Silence it if the"
        " issuer puts no `aud` into its tokens.",
        example="providers:\n"
        "  idp:\n"
        "    issuer: https://idp.example\n"
        "    remote_jwks: {...}       # and no audiences",
        check=_check_audience,
    ),
    Rule(
        name="no-issuer",
        severity=Severity.MEDIUM,
        summary="a provider without issuer",
        why="The `iss` of a token is not looked at: keys that several issuers or tenants share make"
        " their tokens equal",
        fix="Set `issuer` to the `iss` of the tokens, to the letter",
        details="Multi-tenant identity providers sign for all tenants with the same keys; `iss` is what"
        " tells them apart (RFC 8725 section 3.8).",
        example="providers:\n  idp:\n    audiences: [api]\n    remote_jwks: {...}       # and no issuer",
        check=_check_issuer,
    ),
    Rule(
        name="no-expiration",
        severity=Severity.HIGH,
        summary="tokens without exp are accepted",
        why="A token that leaks once is good for ever",
        fix="Set require_expiration: true, or remove fastproxy.jwt.allow_missing_exp",
        details="FastProxy demands `exp` unless `fastproxy.jwt.allow_missing_exp` says otherwise; Envoy"
        " demands it only with `require_expiration`, which both understand. `max_lifetime`"
        " demands it, too.",
        example="layered_runtime:\n"
        "  layers:\n"
        "  - name: static\n"
        "    static_layer: {fastproxy.jwt.allow_missing_exp: true}",
        check=_check_expiration,
    ),
    Rule(
        name="large-clock-skew",
        severity=Severity.LOW,
        summary=f"clock_skew_seconds above {MAX_CLOCK_SKEW_S}",
        why="Every token lives that much longer than its issuer said",
        fix="Synchronise the clocks, and use 60 or less",
        details="The skew is added to `exp` on every check. It is for clocks that differ, not for"
        " clients that are late.",
        example="providers:\n  idp:\n    clock_skew_seconds: 240",
        check=_check_skew,
    ),
    Rule(
        name="same-issuer",
        severity=Severity.MEDIUM,
        summary="two providers with one issuer and different keys",
        why="Either set of keys makes tokens in the name of the same issuer, and which provider"
        " judges a token under allow_missing is not specified",
        fix="Use one provider, and provider_and_audiences where audiences differ",
        details="Often the old and the new address of an identity provider, both kept. Two providers"
        " that share issuer and key source, for other audiences or other headers, are fine.",
        example="providers:\n"
        "  idp: {issuer: https://idp.example, remote_jwks: {...}}\n"
        "  old: {issuer: https://idp.example, local_jwks: {...}}",
        check=_check_same_issuer,
    ),
    Rule(
        name="shared-keys",
        severity=Severity.MEDIUM,
        summary="two issuers trusted with the same keys",
        why="Whoever signs for one issuer can sign for the other",
        fix="Give each issuer the address of its own keys",
        details="A token's issuer is believed because its key belongs to that issuer. With one key set"
        " for two, `iss` is only what the token says about itself (the same mistake in other"
        " systems: keys cached per key id instead of per issuer).",
        example="providers:\n"
        "  staff: {issuer: https://staff.example, local_jwks: {filename: keys.json}}\n"
        "  guests: {issuer: https://guests.example, local_jwks: {filename: keys.json}}",
        check=_check_shared_keys,
    ),
    Rule(
        name="query-token",
        severity=Severity.LOW,
        summary="tokens are read from query parameters",
        why="Addresses are kept in browser histories, Referer headers and the logs of everything on the way",
        fix="Use from_headers or from_cookies",
        details="RFC 9700 section 4.3.2 forbids it. FastProxy hides such parameters from its own log"
        " and from upstreams; what came before it on the way does not. The `access_token`"
        " parameter that Envoy's defaults include is not reported; naming `from_headers`"
        " switches it off.",
        example="providers:\n  idp:\n    from_params: [token]",
        check=_check_query,
    ),
)
