"""Micro-benchmarks of the verification core, beside PyJWT and joserfc doing the same whole verification.

Run: `pytest bench/test_jwt_core.py -p benchmark` (the project's own pytest options switch the benchmark
plugin off). Aims on the reference machine: a token found in the cache at most 1.5 us, a
new RS256 token at most 40 us.

The token is shaped like one that Keycloak issues: RS256 with a 2048-bit key, about 850 bytes.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jwk as joserfc_jwk
from joserfc import jwt as joserfc_jwt
from jwt.types import Options
from pytest_benchmark.fixture import BenchmarkFixture

from fastproxy.jwt import JwkSet, Verifier, VerifierSettings

NOW = 1_700_000_000
ISSUER = "http://localhost:8080/auth/realms/funnel"
SETTINGS = VerifierSettings(issuer=ISSUER, audiences=("account",))
CLAIMS = {
    "exp": NOW + 300,
    "iat": NOW,
    "jti": "cc7dafc4-8c7f-4c0d-9c7b-1d0a6f6a3b55",
    "iss": ISSUER,
    "aud": "account",
    "sub": "f51a06ae-8f1c-4b0e-a1d5-5c1a6a2f9d3e",
    "typ": "Bearer",
    "azp": "angular-client",
    "session_state": "5d1b8a0e-1c1c-4a39-9b8e-0a6e2e1f7b11",
    "realm_access": {"roles": ["offline_access", "uma_authorization"]},
    "scope": "profile email",
    "preferred_username": "demo",
}
DISTINCT = 64


class Tokens:
    """Keys and tokens for one algorithm; `new()` walks over tokens that differ."""

    def __init__(self, alg: str) -> None:
        key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
        if alg.startswith("RS"):
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            jwk = json.loads(pyjwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
        else:
            key = ec.generate_private_key(ec.SECP256R1())
            jwk = json.loads(pyjwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
        jwk |= {"kid": "YnQ9SE7pGFIXAq6Nu4kWqJNJjMFG1Rr3lGUV7BZ3zHk", "use": "sig", "alg": alg}
        self.alg = alg
        self.public_key = key.public_key()
        self.jwk = {name: value for name, value in jwk.items() if name != "key_ops"}
        self.keys = JwkSet.parse(json.dumps({"keys": [self.jwk]}).encode())
        self.tokens = [
            pyjwt.encode(CLAIMS | {"nonce": f"{n:04}"}, key, alg, {"kid": self.jwk["kid"]}).encode()
            for n in range(DISTINCT)
        ]

    def new(self) -> Callable[[], bytes]:
        """Give a function that hands out the next token."""
        tokens: Iterator[bytes] = cycle(self.tokens)
        return lambda: next(tokens)


@pytest.fixture(scope="module")
def rs256() -> Tokens:
    return Tokens("RS256")


@pytest.fixture(scope="module")
def es256() -> Tokens:
    return Tokens("ES256")


@pytest.mark.benchmark(group="hit")
def test_fastproxy_cache_hit(benchmark: BenchmarkFixture, rs256: Tokens) -> None:
    verifier = Verifier(SETTINGS, rs256.keys)
    verifier.verify(rs256.tokens[0], NOW)
    # A request brings its own bytes object, whose hash Python has not computed yet.
    copies = iter([bytes(bytearray(rs256.tokens[0])) for _ in range(200_000)])

    result = benchmark.pedantic(  # type: ignore[no-untyped-call]  # the plugin has no types for it
        verifier.verify,
        setup=lambda: ((next(copies), NOW), {}),
        rounds=100_000,
        iterations=1,
        warmup_rounds=1000,
    )

    assert result.claims["aud"] == "account"
    assert verifier.cache_misses == 1


@pytest.mark.benchmark(group="hit")
def test_fastproxy_cache_hit_hash_known(benchmark: BenchmarkFixture, rs256: Tokens) -> None:
    verifier = Verifier(SETTINGS, rs256.keys)
    token = rs256.tokens[0]
    verifier.verify(token, NOW)

    benchmark(verifier.verify, token, NOW)


def _cold(benchmark: BenchmarkFixture, tokens: Tokens) -> None:
    verifier = Verifier(replace(SETTINGS, cache_size=0), tokens.keys)
    take = tokens.new()

    result = benchmark(lambda: verifier.verify(take(), NOW))

    assert result.claims["iss"] == ISSUER
    assert verifier.cache_hits == 0


@pytest.mark.benchmark(group="new RS256")
def test_fastproxy_new_rs256(benchmark: BenchmarkFixture, rs256: Tokens) -> None:
    _cold(benchmark, rs256)


@pytest.mark.benchmark(group="new ES256")
def test_fastproxy_new_es256(benchmark: BenchmarkFixture, es256: Tokens) -> None:
    _cold(benchmark, es256)


@pytest.mark.benchmark(group="new RS256")
def test_fastproxy_new_rs256_and_new_header(benchmark: BenchmarkFixture, rs256: Tokens) -> None:
    take = rs256.new()

    def fresh() -> tuple[tuple[Verifier, bytes], dict[str, object]]:
        return (Verifier(replace(SETTINGS, cache_size=0), rs256.keys), take()), {}

    benchmark.pedantic(  # type: ignore[no-untyped-call]  # the plugin has no types for it
        lambda verifier, token: verifier.verify(token, NOW),
        setup=fresh,
        rounds=5000,
        iterations=1,
        warmup_rounds=100,
    )


def _pyjwt(benchmark: BenchmarkFixture, tokens: Tokens) -> None:
    key = pyjwt.PyJWK(tokens.jwk)
    take = tokens.new()
    # The token's clock stands still, and PyJWT reads the real one.
    options: Options = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}

    benchmark(
        lambda: pyjwt.decode(
            take(), key, algorithms=[tokens.alg], audience="account", issuer=ISSUER, options=options
        )
    )


@pytest.mark.benchmark(group="new RS256")
def test_pyjwt_new_rs256(benchmark: BenchmarkFixture, rs256: Tokens) -> None:
    _pyjwt(benchmark, rs256)


@pytest.mark.benchmark(group="new ES256")
def test_pyjwt_new_es256(benchmark: BenchmarkFixture, es256: Tokens) -> None:
    _pyjwt(benchmark, es256)


def _joserfc(benchmark: BenchmarkFixture, tokens: Tokens) -> None:
    key = joserfc_jwk.import_key(tokens.jwk)
    rules = joserfc_jwt.JWTClaimsRegistry(
        now=NOW, iss={"essential": True, "value": ISSUER}, aud={"essential": True, "value": "account"}
    )
    take = tokens.new()

    benchmark(lambda: rules.validate(joserfc_jwt.decode(take(), key, algorithms=[tokens.alg]).claims))


@pytest.mark.benchmark(group="new RS256")
def test_joserfc_new_rs256(benchmark: BenchmarkFixture, rs256: Tokens) -> None:
    _joserfc(benchmark, rs256)


@pytest.mark.benchmark(group="new ES256")
def test_joserfc_new_es256(benchmark: BenchmarkFixture, es256: Tokens) -> None:
    _joserfc(benchmark, es256)
