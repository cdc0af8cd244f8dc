"""Memory of remembered tokens: how much 100,000 verdicts take, and how that compares with what is counted.

Run: `python bench/cache_memory.py` (or `make bench-memory`). Each case is a process of its own, so that none finds
memory which another one left. What is measured is the growth of the resident set while a provider of the jwt_authn
filter verifies distinct RS256 tokens of about 850 bytes, as Keycloak issues them.

Signing 100,000 tokens takes a minute and changes no byte of what is kept, so each carries a random signature, and the
key's check is replaced by one that accepts it. Everything else is the way of a real token.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import orjson
from cryptography.hazmat.primitives.asymmetric import rsa

from fastproxy import build_info, clock
from fastproxy.filters.jwt_authn.provider import Provider
from fastproxy.filters.jwt_authn.settings import ClaimHeaderSettings, LocalJwksSettings, ProviderSettings
from fastproxy.jwt.encoding import encode_base64url

ISSUER = "http://localhost:8080/auth/realms/funnel"
KID = "YnQ9SE7pGFIXAq6Nu4kWqJNJjMFG1Rr3lGUV7BZ3zHk"
HEADER = encode_base64url(orjson.dumps({"alg": "RS256", "typ": "JWT", "kid": KID}))
#: What follows from a token decides what is kept of it.
CASES: dict[str, dict[str, object]] = {
    "nothing forwarded": {},
    "forward_payload_header": {"forward_payload_header": "x-jwt-payload"},
    "two claims as headers": {
        "claim_headers": (
            ClaimHeaderSettings("x-sub", ("sub",)),
            ClaimHeaderSettings("x-user", ("preferred_username",)),
        )
    },
    "payload_in_metadata": {"payload_in_metadata": "payload"},
}


def make_token(number: int, expires_at: int) -> bytes:
    """A token that no other number gives."""
    claims = {
        "exp": expires_at,
        "iat": expires_at - 300,
        "jti": f"cc7dafc4-8c7f-4c0d-9c7b-{number:012x}",
        "iss": ISSUER,
        "aud": "account",
        "sub": f"f51a06ae-8f1c-4b0e-a1d5-{number:012x}",
        "realm_access": {"roles": ["offline_access", "uma_authorization"]},
        "scope": "email",
        "preferred_username": f"user-{number}",
    }
    payload = encode_base64url(orjson.dumps(claims))
    return b".".join((HEADER, payload, encode_base64url(os.urandom(256))))


def make_provider(settings: dict[str, object], entries: int) -> Provider:
    """A provider whose one key accepts every signature of the right length."""
    numbers = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key().public_numbers()
    n = encode_base64url(numbers.n.to_bytes(256, "big")).decode()
    jwks = json.dumps({"keys": [{"kty": "RSA", "alg": "RS256", "kid": KID, "n": n, "e": "AQAB"}]}).encode()
    provider = Provider(
        ProviderSettings(
            "p",
            ISSUER,
            ("account",),
            LocalJwksSettings(jwks, "bench"),
            cache_size=entries,
            cache_max_bytes=2**40,
            **settings,  # type: ignore[arg-type]  # the cases above name fields of it
        ),
        ask=lambda _source: None,
    )
    assert provider.verifier.keys is not None
    (key,) = provider.verifier.keys.keys
    key._checks["RS256"] = lambda signature, _text: len(signature) == 256  # noqa: SLF001 - see above
    return provider


def resident_bytes() -> int:
    """Resident set size of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(case: str, entries: int) -> None:
    """Fill a cache and print a line about it."""
    verifier = make_provider(CASES[case], entries).verifier
    now = clock.unix_time()
    expires_at = int(now) + 3600
    # The first ones bring what is there once only.
    for number in range(100):
        verifier.verify(make_token(entries + number, expires_at), now)
    gc.collect()
    before, counted_before = resident_bytes(), verifier.cached_bytes
    for number in range(entries - 100):
        verifier.verify(make_token(number, expires_at), now)
    gc.collect()
    grown, counted = resident_bytes() - before, verifier.cached_bytes - counted_before
    assert verifier.cached_tokens == entries
    made = entries - 100
    print(
        f"{case:24} {grown / made:8.0f} bytes each  {counted / made:8.0f} counted  "
        f"{grown / made * entries / 2**20:8.0f} MiB for {entries:,} tokens of {len(make_token(0, expires_at))} bytes"
    )


def main() -> None:
    """Measure every case, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tokens", type=int, default=100_000, help="verdicts to keep")
    parser.add_argument("--case", choices=CASES, help="one case, in this process")
    options = parser.parse_args()
    if options.case:
        measure(options.case, options.tokens)
        return
    print(f"fastproxy ({build_info.form()}), Python {sys.version.split()[0]}", flush=True)
    for case in CASES:
        command = [sys.executable, "-P", __file__, "--tokens", str(options.tokens), "--case", case]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
