"""How keys are kept and how long they are believed."""

import json
from collections.abc import Iterator

from fastproxy.config.problems import quote
from fastproxy.filters.jwt_authn.settings import LocalJwksSettings, ProviderSettings
from fastproxy.jwt.encoding import decode_base64url
from fastproxy.lint.rule import Finding, Rule, Severity
from fastproxy.lint.survey import Survey

_DAY_S = 86400.0
#: 32 random bytes have 30 different ones on average, and 32 random hexadecimal digits 14.
_MIN_DISTINCT_BYTES = 10
_WORDS = (b"secret", b"password", b"passwd", b"changeme", b"change-me", b"change_me", b"example", b"default")
#: Header names that carry something to keep.
_SECRET_HEADERS = ("authorization", "token", "key", "secret", "password", "credential")


def _check_cache(survey: Survey) -> Iterator[Finding]:
    for _, _, provider in survey.providers():
        if isinstance(provider.jwks, LocalJwksSettings) or provider.jwks.cache_duration_s <= _DAY_S:
            continue
        yield Finding(
            f"{provider.config_path}.remote_jwks.cache_duration",
            f"keys of {quote(provider.name)} are kept for {_span(provider.jwks.cache_duration_s)}",
        )


def _check_stale(survey: Survey) -> Iterator[Finding]:
    for _, _, provider in survey.providers():
        if not isinstance(provider.jwks, LocalJwksSettings) and provider.max_stale_s > _DAY_S:
            yield Finding(
                "layered_runtime",
                f"keys that cannot be refreshed are believed for {_span(provider.max_stale_s)} more",
            )
            # One setting for all providers.
            return


def _span(seconds: float) -> str:
    days = seconds / _DAY_S
    return f"{days:.3g} days"


def _check_inline_secret(survey: Survey) -> Iterator[Finding]:
    for _, _, provider in survey.providers():
        jwks = provider.jwks
        if not isinstance(jwks, LocalJwksSettings):
            for header in jwks.request_headers:
                if not header.filename and any(word in header.name for word in _SECRET_HEADERS):
                    yield Finding(
                        "layered_runtime",
                        f"the header {quote(header.name)} of key fetches of {quote(provider.name)} stands in the file",
                        'Write "{file:/run/secrets/token}" in its place',
                    )
        elif jwks.origin.startswith("inline_") and any(_secrets(provider)):
            yield Finding(
                f"{provider.config_path}.local_jwks",
                f"a secret of the provider {quote(provider.name)} stands in the file",
            )


def _check_guessable(survey: Survey) -> Iterator[Finding]:
    for _, _, provider in survey.providers():
        for index, secret in _secrets(provider):
            words = [word for word in _WORDS if word in secret.lower()]
            if words or len(set(secret)) < _MIN_DISTINCT_BYTES:
                # Nothing of the secret is repeated but a word that everybody tries.
                yield Finding(
                    f"{provider.config_path}.local_jwks",
                    f"the secret of key {index} of {quote(provider.name)} is "
                    + ("made of words" if words else f"made of {len(set(secret))} different bytes"),
                )


def _secrets(provider: ProviderSettings) -> Iterator[tuple[int, bytes]]:
    """The HMAC secrets of a local key set, with their positions; what cannot be read is not used either."""
    if not isinstance(provider.jwks, LocalJwksSettings):
        return
    try:
        document = json.loads(provider.jwks.jwks)
    except (ValueError, RecursionError):
        return
    keys = document.get("keys") if isinstance(document, dict) else None
    for index, key in enumerate(keys if isinstance(keys, list) else ()):
        secret = key.get("k") if isinstance(key, dict) and key.get("kty") == "oct" else None
        if isinstance(secret, str):
            try:
                yield index, decode_base64url(secret.rstrip("=").encode("ascii"))
            except ValueError:
                continue


RULES = (
    Rule(
        name="long-key-cache",
        severity=Severity.MEDIUM,
        summary="cache_duration above a day",
        why="A key that the issuer withdrew, because it was stolen, is believed until then",
        fix="Use 600s or so; keys are refreshed in the background, and an outage does not need a long cache",
        details="How long keys serve through an outage is `fastproxy.jwks.max_stale_s`, on top of"
        " `cache_duration`. A short `max-age` in the issuer's answer shortens the cache, if the"
        " issuer sends one.",
        example="remote_jwks:\n  cache_duration: 604800s",
        check=_check_cache,
    ),
    Rule(
        name="long-stale-keys",
        severity=Severity.MEDIUM,
        summary="fastproxy.jwks.max_stale_s above a day",
        why="Whoever holds a stolen key and can keep the issuer from being reached has that much time",
        fix="Use an hour or a few",
        details="The keys are those that could not be refreshed: cutting the proxy off from the issuer"
        " is enough to keep a withdrawn key alive.",
        example="layered_runtime:\n"
        "  layers:\n"
        "  - name: static\n"
        "    static_layer: {fastproxy.jwks.max_stale_s: 604800}",
        check=_check_stale,
    ),
    Rule(
        name="inline-secret",
        severity=Severity.LOW,
        summary="a shared secret or a credential in the configuration file",
        why="Whoever can read the file, its history or a copy can make tokens or ask in your name",
        fix="Use `filename` or `environment_variable`",
        details="Configuration files end up in version control, tickets and backups. A symmetric key"
        " both verifies and signs. Public keys may stand in the file.",
        example='local_jwks:\n  inline_string: \'{"keys": [{"kty": "oct", "alg": "HS256", "k": "..."}]}\'',
        check=_check_inline_secret,
    ),
    Rule(
        name="guessable-secret",
        severity=Severity.HIGH,
        summary="a shared secret that can be guessed",
        why="One token is enough to try millions of secrets a second on a laptop, and the right one"
        " signs any token",
        fix="Make a new one: openssl rand 32 | openssl base64 -A | tr '+/' '-_' | tr -d '='",
        details="RFC 7518 section 3.2 asks for as many bits as the hash has, and FastProxy refuses"
        " shorter secrets. Length alone does not help if it is a sentence: lists of such secrets"
        " are public.",
        example='# base64url of "my-very-secret-and-long-password"\n'
        "k: bXktdmVyeS1zZWNyZXQtYW5kLWxvbmctcGFzc3dvcmQ",
        check=_check_guessable,
    ),
)
