"""JSON Web Token verification without I/O: bytes, keys and `now` in, a verified token or a JwtError out.

    keys = JwkSet.parse(document)
    verifier = Verifier(VerifierSettings(issuer="https://issuer.example", audiences=("api",)), keys)
    claims = verifier.verify(token, now).claims

Usable on its own: needs the standard library, cryptography, orjson and cachetools. See docs/jwt-library.md.
"""

from fastproxy.jwt.algorithms import SUPPORTED as SUPPORTED_ALGORITHMS
from fastproxy.jwt.errors import JwksError, JwtError, JwtStatus, KeysUnavailable, UnknownKey
from fastproxy.jwt.jwk import Jwk
from fastproxy.jwt.jwks import JwkSet
from fastproxy.jwt.token import UnverifiedToken, parse_token
from fastproxy.jwt.token_cache import VerifiedToken
from fastproxy.jwt.verifier import MAX_CLOCK_SKEW_S, Verifier, VerifierSettings

__all__ = [
    "MAX_CLOCK_SKEW_S",
    "SUPPORTED_ALGORITHMS",
    "Jwk",
    "JwkSet",
    "JwksError",
    "JwtError",
    "JwtStatus",
    "KeysUnavailable",
    "UnknownKey",
    "UnverifiedToken",
    "VerifiedToken",
    "Verifier",
    "VerifierSettings",
    "parse_token",
]
