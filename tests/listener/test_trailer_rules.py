"""Which trailers of a request are kept."""

import pytest

from fastproxy.http.errors import ProtocolError
from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import Request
from fastproxy.listener.trailer_rules import TrailerRules


def keep(fields: HeaderMap, repeated: int = 0, rules: TrailerRules | None = None) -> HeaderMap | None:
    """What a request has of these fields."""
    request = Request(b"POST", b"/", {})
    (rules or TrailerRules(frozenset((b"x-user",)), None)).keep(
        request, fields, repeated, max_bytes=20, max_count=3
    )
    return None if request.trailers is None else request.trailers.request


def test_no_fields_are_no_trailers() -> None:
    """And those that were all dropped still are: filters may add to them (Envoy)."""
    assert keep({}) is None
    assert keep({b"x-user": b"e", b"cookie": b"a"}) == {}


@pytest.mark.parametrize(
    ("fields", "repeated", "code"),
    [
        ({b"a": b"1", b"b": b"2", b"c": b"3", b"d": b"4"}, 0, "http1.too_many_headers"),
        ({b"a": [b"1", b"2", b"3"]}, 3, "http1.too_many_headers"),
        ({b"a": b"v" * 18}, 0, "http1.headers_too_large"),
    ],
)
def test_s51_the_limits_are_those_of_a_head(fields: HeaderMap, repeated: int, code: str) -> None:
    """Lines count, and not names."""
    with pytest.raises(ProtocolError) as caught:
        keep(fields, repeated)
    assert (caught.value.reply_code, caught.value.reply_status) == (code, 431)
    assert keep({b"a": [b"1", b"2", b"3"]}, 2) == {b"a": [b"1", b"2", b"3"]}
    assert keep({b"a": b"v" * 17}) == {b"a": b"v" * 17}


def test_the_check_of_underscores_is_the_listeners() -> None:
    """It may drop fields, or refuse the request."""

    def drop(fields: HeaderMap) -> None:
        del fields[b"a_b"]

    assert keep({b"a_b": b"1", b"c": b"2"}, rules=TrailerRules(frozenset(), drop)) == {b"c": b"2"}
