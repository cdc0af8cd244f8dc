"""Signatures that are wrong in the ways in which implementations have been wrong.

The kinds of cases are those of the Wycheproof collection (ECDSA in the R||S form, RSASSA-PKCS1-v1_5, RSASSA-PSS,
Ed25519, HMAC), made here by construction: with the private key at hand a signature can be given any form. All of them
belong to S9. A case that must be refused stands beside one that must not.
"""

import hashlib
from collections.abc import Iterator
from functools import cache

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from fastproxy.jwt.encoding import encode_base64url
from fastproxy.jwt.jwk import Jwk, JwkRejected, parse_jwk
from tests.jwt.support import Json, integer, make_key, public_jwk
from tests.jwt.test_security_twins import ORDERS

TEXT = b"eyJhbGciOiJYIn0.eyJpc3MiOiJhIn0"
CURVES = list(ORDERS)
DIGESTS = {"ES256": hashes.SHA256(), "ES384": hashes.SHA384(), "ES512": hashes.SHA512()}


def key_of(alg: str) -> Jwk:
    return parse_jwk(public_jwk(alg), allow_symmetric=True)


def is_good(alg: str, signature: bytes, text: bytes = TEXT) -> bool:
    return key_of(alg).check_signature(alg, signature, text)


# ---- ECDSA ----------------------------------------------------------------------------------------------------------


def ec_key(alg: str) -> ec.EllipticCurvePrivateKey:
    private = make_key(alg, "")
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return private


def ec_signatures(alg: str, text: bytes = TEXT) -> Iterator[tuple[int, int]]:
    while True:
        yield decode_dss_signature(ec_key(alg).sign(text, ec.ECDSA(DIGESTS[alg])))


def joined(alg: str, r: int, s: int) -> bytes:
    size = ORDERS[alg][1]
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def hash_number(alg: str, text: bytes = TEXT) -> int:
    """The hash as the number that ECDSA works with; no hash here is longer than its curve's order."""
    return int.from_bytes(hashlib.new(DIGESTS[alg].name, text).digest(), "big")


@pytest.mark.parametrize("alg", CURVES)
def test_s09_ecdsa_special_values_of_r_and_s_are_refused(alg: str) -> None:
    """Zero, one, the order and its neighbours, all bits set: alone, and beside a good other half."""
    order, size = ORDERS[alg]
    r, s = next(ec_signatures(alg))
    top = 256**size - 1
    special = [0, 1, 2, order - 1, order, order + 1, min(2 * order, top), 2 ** (order.bit_length() - 1), top]

    assert is_good(alg, joined(alg, r, s))
    for value in special:
        for a, b in [(value, s), (r, value), *((value, other) for other in special)]:
            assert not is_good(alg, joined(alg, a, b)), (a, b)


@pytest.mark.parametrize("alg", CURVES)
def test_s09_ecdsa_point_at_infinity_is_refused(alg: str) -> None:
    """`r = -e/d` makes both halves of the sum cancel out; a verifier that reads 0 as its x accepts it with r = 0."""
    order = ORDERS[alg][0]
    secret = ec_key(alg).private_numbers().private_value
    r = -hash_number(alg) * pow(secret, -1, order) % order

    for s in (1, 2, order - 1, order // 2, r):
        assert not is_good(alg, joined(alg, r, s))
        assert not is_good(alg, joined(alg, 0, s))


@pytest.mark.parametrize("alg", CURVES)
def test_s09_ecdsa_forgery_from_the_public_key_alone_is_refused(alg: str) -> None:
    """Signatures of hashes that nobody has a text for: good for their hash, and for no text."""
    order = ORDERS[alg][0]
    private = ec_key(alg)
    # R = G + Q, so s = r signs e = r; any other hash must fail.
    curve_point = ec.derive_private_key(
        (1 + private.private_numbers().private_value) % order, private.curve
    ).public_key()
    r = curve_point.public_numbers().x % order

    assert not is_good(alg, joined(alg, r, r))
    assert not is_good(alg, joined(alg, r, order - r))


@pytest.mark.parametrize("alg", CURVES)
def test_s09_ecdsa_leading_zeros_belong_to_the_signature(alg: str) -> None:
    """A half that begins with zeros is good as long as it has its length, and only then."""
    size = ORDERS[alg][1]
    # ES512: the first byte of 66 has one bit. Its zero is a leading zero already; take two.
    limit = 256 ** (size - (2 if alg == "ES512" else 1))
    r, s = next(pair for pair in ec_signatures(alg) if min(pair) < limit)
    good = joined(alg, r, s)

    assert is_good(alg, good)
    shortest = [value.to_bytes((value.bit_length() + 7) // 8, "big") for value in (r, s)]
    for bad in (
        b"".join(shortest),
        good.lstrip(b"\x00") if good[0] == 0 else good[:size] + good[size:].lstrip(b"\x00"),
        b"\x00\x00" + good,
        good + b"\x00\x00",
        b"\x00" + good[:size] + b"\x00" + good[size:],
    ):
        if bad != good:
            assert not is_good(alg, bad)


@pytest.mark.parametrize("alg", CURVES)
def test_s09_ecdsa_other_encodings_and_lengths_are_refused(alg: str) -> None:
    """DER, DER padded to the right length, halves exchanged, reversed, cut at every place, empty."""
    size = ORDERS[alg][1]
    r, s = next(ec_signatures(alg))
    good = joined(alg, r, s)
    der = encode_dss_signature(r, s)

    for bad in (
        der,
        der.ljust(2 * size, b"\x00")[: 2 * size],
        der[-2 * size :],
        good[::-1],
        joined(alg, s, r),
    ):
        assert not is_good(alg, bad)
    for cut in range(2 * size):
        assert not is_good(alg, good[:cut])
    assert not is_good(alg, good, TEXT + b" ")
    assert not is_good(alg, good, b"")


@pytest.mark.parametrize("alg", CURVES)
def test_s09_ecdsa_over_another_hash_is_refused(alg: str) -> None:
    """The hash belongs to the algorithm, though any would do for the curve."""
    for digest in (hashes.SHA224(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()):
        signature = decode_dss_signature(ec_key(alg).sign(TEXT, ec.ECDSA(digest)))
        assert is_good(alg, joined(alg, *signature)) is (digest.name == DIGESTS[alg].name)


# ---- RSASSA-PKCS1-v1_5 ----------------------------------------------------------------------------------------------

#: DigestInfo of RFC 8017 section 9.2 note 1, up to the hash.
SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
SHA384_INFO = bytes.fromhex("3041300d060960864801650304020205000430")
SHA1_INFO = bytes.fromhex("3021300906052b0e03021a05000414")


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    private = make_key("RS256", "")
    assert isinstance(private, rsa.RSAPrivateKey)
    return private


def rsa_raw(encoded: bytes) -> bytes:
    """The signature whose padding is exactly `encoded`, whatever that is."""
    numbers = rsa_key().private_numbers()
    modulus = numbers.public_numbers.n
    return pow(int.from_bytes(encoded, "big"), numbers.d, modulus).to_bytes(256, "big")


def pkcs1(info: bytes, *, head: bytes = b"\x00\x01", fill: bytes = b"\xff", end: bytes = b"\x00") -> bytes:
    """EMSA-PKCS1-v1_5 around `info`, filled up to 256 bytes."""
    space = 256 - len(head) - len(end) - len(info)
    return head + fill * space + end + info


HASH = hashlib.sha256(TEXT).digest()
GOOD_INFO = SHA256_INFO + HASH
#: The same with a length in long form, which BER allows and DER does not.
LONG_FORM = bytes.fromhex("30813130 0d0609608648016503040201 0500 0420".replace(" ", "")) + HASH
WRONG_PADDINGS = {
    "a byte after the hash": pkcs1(GOOD_INFO + b"\x00"),
    "garbage after the hash": b"\x00\x01" + b"\xff" * 8 + b"\x00" + GOOD_INFO + b"\xaa" * (245 - len(GOOD_INFO)),
    "zeros after the hash": b"\x00\x01" + b"\xff" * 8 + b"\x00" + GOOD_INFO + bytes(245 - len(GOOD_INFO)),
    "NULL is missing": pkcs1(bytes.fromhex("302f300b06096086480165030402010420") + HASH),
    "NULL has a content": pkcs1(bytes.fromhex("3032300e06096086480165030402010501000420") + HASH),
    "parameters other than NULL": pkcs1(bytes.fromhex("3033300f060960864801650304020102020000") + b"\x04\x20" + HASH),
    "length in long form": pkcs1(LONG_FORM),
    "indefinite length": pkcs1(b"\x30\x80" + SHA256_INFO[2:] + HASH + b"\0\0"),
    "no DigestInfo": pkcs1(HASH),
    "OID of SHA-384": pkcs1(SHA384_INFO + HASH),
    "OID of SHA-1": pkcs1(SHA1_INFO + HASH[:20]),
    "SHA-384 throughout": pkcs1(SHA384_INFO + hashlib.sha384(TEXT).digest()),
    "SHA-1 throughout": pkcs1(SHA1_INFO + hashlib.sha1(TEXT).digest()),
    "short hash": pkcs1(SHA256_INFO[:-1] + b"\x1f" + HASH[:31]),
    "empty hash": pkcs1(SHA256_INFO[:-1] + b"\x00"),
    "hash of another text": pkcs1(SHA256_INFO + hashlib.sha256(b"x").digest()),
    "another byte in the padding": pkcs1(GOOD_INFO)[:100] + b"\xfe" + pkcs1(GOOD_INFO)[101:],
    "zeros as padding": pkcs1(GOOD_INFO, fill=b"\x00"),
    "block type 0": pkcs1(GOOD_INFO, head=b"\x00\x00", fill=b"\x00"),
    "block type 2": pkcs1(GOOD_INFO, head=b"\x00\x02", fill=b"\xaa"),
    "first byte not zero": pkcs1(GOOD_INFO, head=b"\x01\x01"),
    "no zero before the DigestInfo": pkcs1(GOOD_INFO, end=b""),
    "two zeros before the DigestInfo": pkcs1(GOOD_INFO, end=b"\x00\x00"),
    "nothing at all": bytes(256),
}  # fmt: skip


def test_rsa_construction_of_the_tests_is_right() -> None:
    """The good form, made by the same hands, is accepted: so the bad ones fail for what is bad in them."""
    assert is_good("RS256", rsa_raw(pkcs1(GOOD_INFO)))
    assert rsa_raw(pkcs1(GOOD_INFO)) == rsa_key().sign(TEXT, padding.PKCS1v15(), hashes.SHA256())


@pytest.mark.parametrize("name", WRONG_PADDINGS)
def test_s09_rsa_padding_is_compared_whole(name: str) -> None:
    """CVE-2006-4339 and its successors parse the padding, and leave room for what an attacker can compute."""
    assert len(WRONG_PADDINGS[name]) == 256
    assert not is_good("RS256", rsa_raw(WRONG_PADDINGS[name]))


def test_s09_rsa_signature_number_is_below_the_modulus_and_has_its_length() -> None:
    """`s + n` is the same signature to careless mathematics."""
    modulus = rsa_key().private_numbers().public_numbers.n
    good = rsa_raw(pkcs1(GOOD_INFO))
    number = int.from_bytes(good, "big")
    for bad in (
        (number + modulus).to_bytes(257, "big"),
        (modulus - number).to_bytes(256, "big"),
        modulus.to_bytes(256, "big"),
        (modulus - 1).to_bytes(256, "big"),
        (1).to_bytes(256, "big"),
        bytes(256),
        b"\xff" * 256,
        b"\x00" + good,
        good + b"\x00",
        good[:-1],
        good[1:],
        good[::-1],
        b"",
    ):
        assert not is_good("RS256", bad)


def cube_root_above(number: int) -> int:
    low, high = 0, 1 << (number.bit_length() // 3 + 2)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if middle**3 < number else (low, middle)
    return low


def test_s09_forgery_with_exponent_three_is_refused() -> None:
    """Bleichenbacher 2006: a cube whose beginning looks like a padded hash; needs no private key."""
    private = rsa.generate_private_key(public_exponent=3, key_size=3072)
    numbers = private.public_key().public_numbers()
    jwk: Json = {"kty": "RSA", "alg": "RS256", "n": integer(numbers.n), "e": integer(3)}
    key = parse_jwk(jwk, allow_symmetric=False)
    prefix = b"\x00\x01" + b"\xff" * 8 + b"\x00" + GOOD_INFO
    forged = cube_root_above(int.from_bytes(prefix + bytes(384 - len(prefix)), "big"))
    assert (forged**3).to_bytes(384, "big").startswith(prefix), "the forgery is of the right shape"

    assert key.check_signature("RS256", private.sign(TEXT, padding.PKCS1v15(), hashes.SHA256()), TEXT)
    assert not key.check_signature("RS256", forged.to_bytes(384, "big"), TEXT)


# ---- RSASSA-PSS -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mgf", "salt_bytes", "digest"),
    [
        (hashes.SHA1(), 32, hashes.SHA256()),
        (hashes.SHA384(), 32, hashes.SHA256()),
        (hashes.SHA256(), 0, hashes.SHA256()),
        (hashes.SHA256(), 31, hashes.SHA256()),
        (hashes.SHA256(), 33, hashes.SHA256()),
        (hashes.SHA256(), 222, hashes.SHA256()),
        (hashes.SHA256(), 32, hashes.SHA384()),
        (hashes.SHA1(), 20, hashes.SHA1()),
    ],
)
def test_s09_pss_parameters_are_those_of_the_algorithm(
    mgf: hashes.HashAlgorithm, salt_bytes: int, digest: hashes.HashAlgorithm
) -> None:
    """RFC 7518 section 3.5: one hash for text and mask, and a salt of its length."""
    scheme = padding.PSS(mgf=padding.MGF1(mgf), salt_length=salt_bytes)
    good = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)

    assert is_good("PS256", rsa_key().sign(TEXT, good, hashes.SHA256()))
    assert not is_good("PS256", rsa_key().sign(TEXT, scheme, digest))


def test_s09_pss_encoding_is_checked_whole() -> None:
    """Another trailer, a set bit at the top, the padding of PKCS #1 v1.5, and a signature for the other scheme."""
    modulus, public_e = rsa_key().private_numbers().public_numbers.n, 65537
    scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    signature = rsa_key().sign(TEXT, scheme, hashes.SHA256())
    encoded = pow(int.from_bytes(signature, "big"), public_e, modulus).to_bytes(256, "big")
    assert encoded[-1] == 0xBC
    assert is_good("PS256", rsa_raw(encoded))

    for bad in (
        encoded[:-1] + b"\xcc",
        encoded[:-1] + b"\xbd",
        bytes((encoded[0] ^ 0x40,)) + encoded[1:],
        encoded[:100] + bytes((encoded[100] ^ 1,)) + encoded[101:],
        pkcs1(GOOD_INFO),
    ):
        assert not is_good("PS256", rsa_raw(bad))
    assert not is_good("RS256", signature)


# ---- Ed25519 --------------------------------------------------------------------------------------------------------

ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493
SMALL_ORDER = [
    "00" * 32,
    "01" + "00" * 31,
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ec" + "ff" * 30 + "7f",
    "ed" + "ff" * 30 + "7f",
    "ee" + "ff" * 30 + "7f",
]


def ed25519_signature() -> bytes:
    private = make_key("EdDSA", "")
    assert isinstance(private, ed25519.Ed25519PrivateKey)
    return private.sign(TEXT)


def test_s09_ed25519_scalar_is_below_the_order() -> None:
    """RFC 8032 section 5.1.7: `S + L` is the same point and another signature."""
    good = ed25519_signature()
    scalar = int.from_bytes(good[32:], "little")
    assert is_good("EdDSA", good)

    multiples = [scalar + n * ED25519_ORDER for n in range(1, 16)]
    values = [
        *multiples,
        ED25519_ORDER - scalar,
        0,
        1,
        ED25519_ORDER,
        ED25519_ORDER - 1,
        2**256 - 1,
        scalar | 1 << 255,
    ]
    for value in values:
        if value < 2**256:
            assert not is_good("EdDSA", good[:32] + value.to_bytes(32, "little"))


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_s09_ed25519_signature_with_a_point_of_small_order_is_refused(point: str) -> None:
    """As R, with every scalar that could make it fit."""
    good = ed25519_signature()
    for scalar in (good[32:], bytes(32), (1).to_bytes(32, "little")):
        assert not is_good("EdDSA", bytes.fromhex(point) + scalar)


@pytest.mark.parametrize("sign_bit", [0, 0x80])
@pytest.mark.parametrize("point", SMALL_ORDER)
def test_s15_ed25519_key_of_small_order_is_not_used(point: str, sign_bit: int) -> None:
    """OpenSSL takes it, and then one signature is good for every text."""
    encoded = bytearray.fromhex(point)
    encoded[-1] |= sign_bit

    with pytest.raises(JwkRejected, match="small order"):
        parse_jwk(public_jwk("EdDSA", x=encode_base64url(bytes(encoded)).decode()), allow_symmetric=False)


def test_s09_ed25519_other_lengths_and_orders_are_refused() -> None:
    """Cut at every place, lengthened, halves exchanged, empty."""
    good = ed25519_signature()
    for cut in range(64):
        assert not is_good("EdDSA", good[:cut])
    for bad in (good + b"\x00", b"\x00" + good, good[32:] + good[:32], good[::-1], bytes(64), b"\xff" * 64):
        assert not is_good("EdDSA", bad)
    assert not is_good("EdDSA", good, TEXT + b"x")


# ---- HMAC -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_s09_mac_is_compared_whole(alg: str) -> None:
    """A truncated MAC is a shorter secret; and that of another hash is another algorithm's."""
    import hmac

    secret = {"HS256": b"k" * 32, "HS384": b"l" * 48, "HS512": b"m" * 64}[alg]
    good = hmac.digest(secret, TEXT, f"sha{alg[2:]}")
    assert is_good(alg, good)

    for cut in range(len(good)):
        assert not is_good(alg, good[:cut])
    for bad in (good + b"\x00", bytes(len(good)), good[::-1], hmac.digest(secret, TEXT, "sha1")):
        assert not is_good(alg, bad)
    for other in ("sha256", "sha384", "sha512"):
        assert is_good(alg, hmac.digest(secret, TEXT, other)) is (other == f"sha{alg[2:]}")
    assert not is_good(alg, good, TEXT + b"\x00")
