"""HS256 with a secret of 32 bytes: the example in `configs/`, and openssl as the signing peer."""

import json
import subprocess
from pathlib import Path

import pytest

from fastproxy.config import load_config
from fastproxy.filters.jwt_authn.filter import JwtAuthnFilter
from fastproxy.jwt.encoding import encode_base64url
from tests.conftest import require_peer
from tests.filters.jwt_authn.support import bearer, denial, request
from tests.listener.support import NOW

EXAMPLE = Path(__file__).resolve().parents[3] / "configs" / "jwt-shared-secret.yaml"
SECRET = b"change-me: a secret of 32 bytes!"

pytestmark = pytest.mark.peer("openssl")


@pytest.fixture(scope="module")
def example() -> JwtAuthnFilter:
    """The filter of the example file."""
    (listener,) = load_config(EXAMPLE).settings.listeners
    (jwt_authn,) = listener.http.jwt_authn
    return JwtAuthnFilter(jwt_authn, ask=lambda _source: None)


def openssl_hmac(secret: bytes, text: bytes) -> bytes:
    """What `openssl dgst` makes of it, as an operator would call it."""
    command = [
        str(require_peer("openssl")),
        "dgst",
        "-sha256",
        "-mac",
        "HMAC",
        "-macopt",
        f"hexkey:{secret.hex()}",
    ]
    done = subprocess.run([*command, "-binary"], input=text, capture_output=True, timeout=30, check=True)
    assert len(done.stdout) == 32
    return done.stdout


def signing_input() -> bytes:
    """Header and payload as the example's comment makes them."""
    payload = {"iss": "https://issuer.example", "aud": "api", "exp": NOW + 300}
    return (
        encode_base64url(b'{"alg":"HS256","typ":"JWT"}')
        + b"."
        + encode_base64url(json.dumps(payload).encode())
    )


def is_accepted(example: JwtAuthnFilter, token: bytes) -> bool:
    outcome = example.on_request(request(b"/", bearer(token)))
    if outcome is None:
        return True
    status, _ = denial(outcome)
    assert status == 401
    return False


def test_signature_that_openssl_makes_is_accepted(example: JwtAuthnFilter) -> None:
    """The proof that both mean the same by HS256: no code of ours has a part in the signature."""
    text = signing_input()

    assert is_accepted(example, text + b"." + encode_base64url(openssl_hmac(SECRET, text)))


def test_signature_with_any_one_bit_changed_is_refused(example: JwtAuthnFilter) -> None:
    """Exactly one of 2^256 signatures is right; its 256 neighbours are not, nor are its prefixes."""
    text = signing_input()
    good = openssl_hmac(SECRET, text)

    for bit in range(256):
        changed = bytearray(good)
        changed[bit // 8] ^= 1 << bit % 8
        assert not is_accepted(example, text + b"." + encode_base64url(bytes(changed)))
    for other in (good[:-1], good + b"\x00", good[:16], good * 2):
        assert not is_accepted(example, text + b"." + encode_base64url(other))
    assert is_accepted(example, text + b"." + encode_base64url(good))


def test_signature_by_a_secret_with_any_one_bit_changed_is_refused(example: JwtAuthnFilter) -> None:
    """Every bit of the secret counts, the last byte's as well; and so does its length."""
    text = signing_input()

    for position in (0, 7, 128, 248, 255):
        other = bytearray(SECRET)
        other[position // 8] ^= 1 << position % 8
        assert not is_accepted(example, text + b"." + encode_base64url(openssl_hmac(bytes(other), text)))
    for secret in (SECRET[:-1], SECRET + b"\n", encode_base64url(SECRET)):
        assert not is_accepted(example, text + b"." + encode_base64url(openssl_hmac(secret, text)))


def test_token_whose_text_was_changed_is_refused(example: JwtAuthnFilter) -> None:
    """The signature covers header and payload."""
    text = signing_input()
    signature = encode_base64url(openssl_hmac(SECRET, text))
    payload = {"iss": "https://issuer.example", "aud": "api", "exp": NOW + 301}
    header = text.partition(b".")[0]

    forged = header + b"." + encode_base64url(json.dumps(payload).encode())
    assert not is_accepted(example, forged + b"." + signature)
    assert is_accepted(example, text + b"." + signature)
