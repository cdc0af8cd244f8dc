"""Security requirement S10: other spellings of one signature, and what the cache makes of them."""

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from fastproxy.jwt import JwtStatus, Verifier
from fastproxy.jwt.encoding import decode_base64url, encode_base64url
from tests.jwt.support import NOW, accepts, make_verifier, public_jwk, refusal, sign

#: Orders of the curves' groups (SEC 2 sections 2.4.2, 2.5.1, 2.6.1), and the size of a number below them in bytes.
ORDERS = {
    "ES256": (0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551, 32),
    "ES384": (
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
        48,
    ),
    "ES512": (
        int(
            "01" + "F" * 64 + "FA51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409",
            16,
        ),
        66,
    ),
}


def twin_of(alg: str, token: bytes) -> bytes:
    """The other signature `(r, n - s)` of the same text, which anybody can compute and ECDSA holds good."""
    order, size = ORDERS[alg]
    head, _, segment = token.rpartition(b".")
    signature = decode_base64url(segment)
    s = int.from_bytes(signature[size:], "big")
    return head + b"." + encode_base64url(signature[:size] + (order - s).to_bytes(size, "big"))


@pytest.mark.parametrize("alg", ORDERS)
def test_s10_twin_of_a_cached_token_gets_no_cached_verdict(alg: str) -> None:
    """It is judged by itself. RFC 7518 does not ask for a low `s`, and issuers use both, so neither can be refused."""
    verifier = make_verifier(public_jwk(alg))
    token = sign(alg)
    twin = twin_of(alg, token)
    assert twin != token
    assert twin_of(alg, twin) == token

    first = verifier.verify(token, NOW)
    second = verifier.verify(twin, NOW)

    assert (verifier.cache_hits, verifier.cache_misses) == (0, 2)
    assert second is not first
    assert second.claims == first.claims, "what a deny list would look at is the same"


def judge_both_ways(token: bytes, twin: bytes, verifier: Verifier) -> None:
    """The twin is refused whether or not the original is remembered, and takes no place."""
    assert not accepts(verifier, twin)
    assert accepts(verifier, token)
    assert not accepts(verifier, twin)
    assert (verifier.cache_hits, verifier.cached_tokens) == (0, 1)


@pytest.mark.parametrize("alg", ORDERS)
def test_s10_other_forms_of_an_ecdsa_signature_are_refused(alg: str) -> None:
    """DER, with and without its minus signs; halves that are longer; `s + n` where it fits."""
    order, size = ORDERS[alg]
    verifier = make_verifier(public_jwk(alg))
    token = sign(alg)
    head, _, segment = token.rpartition(b".")
    signature = decode_base64url(segment)
    r, s = (int.from_bytes(half, "big") for half in (signature[:size], signature[size:]))
    forms = [
        encode_dss_signature(r, s),
        r.to_bytes(size + 1, "big") + s.to_bytes(size + 1, "big"),
        r.to_bytes(size, "little") + s.to_bytes(size, "little"),
    ]
    forms += [
        a.to_bytes(size, "big") + b.to_bytes(size, "big")
        for a, b in ((r + order, s), (r, s + order), (order - r, s))
        if max(a, b) < 256**size
    ]

    for form in forms:
        twin = head + b"." + encode_base64url(form)
        assert refusal(make_verifier(public_jwk(alg)), twin) is JwtStatus.VERIFICATION_FAILED
    for form in forms:
        verifier = make_verifier(public_jwk(alg))
        judge_both_ways(token, head + b"." + encode_base64url(form), verifier)


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256", "EdDSA", "HS256"])
def test_s10_re_encoded_token_is_refused_beside_the_original(alg: str) -> None:
    """Every other spelling of the three segments: a token has one."""
    token = sign(alg)
    header, payload, signature = token.split(b".")
    twins = [
        b".".join((header, payload, signature + b"=" * (-len(signature) % 4 or 4))),
        b".".join((header + b"=" * (-len(header) % 4 or 4), payload, signature)),
        b".".join((header, payload + b" ", signature)),
        b" " + token,
        token + b"\n",
        b"." + token,
        token + b".",
    ]
    # Loose last bits, where the length leaves some.
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    if len(signature) % 4:
        last = alphabet.index(signature[-1:])
        twins.append(b".".join((header, payload, signature[:-1] + alphabet[last + 1 : last + 2])))

    for twin in twins:
        judge_both_ways(token, twin, make_verifier(public_jwk(alg)))
