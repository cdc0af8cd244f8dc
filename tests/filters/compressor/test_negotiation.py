"""Which encoding a client gets: the choices of Envoy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.filters.compressor.negotiation import Reason, choose_encoding

OFFERED = ((b"br", False), (b"gzip", False), (b"zstd", False))
GZIP_FIRST = ((b"br", False), (b"gzip", True), (b"zstd", False))


@pytest.mark.parametrize(
    ("accept", "encoding", "reason"),
    [
        (b"gzip", b"gzip", Reason.USED),
        (b"GZIP", b"identity", Reason.NOT_VALID),
        (b"gzip, br", b"gzip", Reason.USED),
        (b"br,gzip", b"br", Reason.USED),
        (b"br;q=0.8, gzip;q=0.9", b"gzip", Reason.USED),
        (b"zstd, br;q=0.5", b"zstd", Reason.USED),
        (b"*", b"br", Reason.WILDCARD),
        (b"*;q=0.5, br;q=0", b"gzip", Reason.WILDCARD),
        (b"gzip;q=0.5, *", b"br", Reason.WILDCARD),
        (b"*;q=0", b"identity", Reason.NOT_VALID),
        (b"gzip;q=0", b"identity", Reason.NOT_VALID),
        (b"identity", b"identity", Reason.IDENTITY),
        (b"identity;q=0.5, gzip;q=0.1", b"identity", Reason.IDENTITY),
        (b"gzip;q=0.5, identity;q=0.5", b"gzip", Reason.USED),
        (b"deflate", b"identity", Reason.NOT_VALID),
        (b"x-gzip", b"identity", Reason.NOT_VALID),
        (b"", b"identity", Reason.NOT_VALID),
        (b";;;", b"identity", Reason.NOT_VALID),
        (b"gzip;q=x", b"identity", Reason.NOT_VALID),
        (b"gzip;q=", b"identity", Reason.NOT_VALID),
        (b"gzip;q=-1", b"identity", Reason.NOT_VALID),
        (b"gzip;q=1.5", b"gzip", Reason.USED),
        (b"gzip ; Q = 0.3", b"gzip", Reason.USED),
        (b"gzip;level=1", b"gzip", Reason.USED),
    ],
)
def test_the_highest_weight_wins_and_the_first_of_equals(
    accept: bytes, encoding: bytes, reason: Reason
) -> None:
    """RFC 9110 section 12.5.3 leaves ties to the server; Envoy takes the order of the client."""
    assert choose_encoding(accept, OFFERED) == (encoding, reason)


def test_choose_first_breaks_ties_and_nothing_else() -> None:
    """`choose_first` of a compressor."""
    assert choose_encoding(b"br, gzip", GZIP_FIRST)[0] == b"gzip"
    assert choose_encoding(b"br, gzip;q=0.9", GZIP_FIRST)[0] == b"br"
    assert choose_encoding(b"*", GZIP_FIRST)[0] == b"br"


def test_nothing_to_offer_is_identity() -> None:
    """No filter is for this response."""
    assert choose_encoding(b"*", ()) == (b"identity", Reason.NOT_VALID)


@given(st.binary(max_size=60) | st.text("gzipbr*identy;q=., 0123456789-+einfax", max_size=60).map(str.encode))
def test_any_bytes_give_an_offered_encoding_or_none(accept: bytes) -> None:
    """The header is the client's: infinities, exponents and endless digits must not raise."""
    encoding, reason = choose_encoding(accept, OFFERED)
    assert encoding in (b"br", b"gzip", b"zstd", b"identity")
    assert (encoding == b"identity") == (reason in (Reason.IDENTITY, Reason.NOT_VALID))
