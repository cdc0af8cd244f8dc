"""Which headers only the filter may set (S46)."""

from fastproxy.filters.jwt_authn.identity import identity_headers
from fastproxy.filters.jwt_authn.settings import ClaimHeaderSettings
from tests.filters.jwt_authn.support import provider


def test_s46_every_header_of_every_provider_in_every_spelling() -> None:
    """Payload and claim headers; servers behind us may read `_` as `-`."""
    found = identity_headers(
        [
            provider("a", forward_payload_header="X-A_B"),
            provider("b", forward_payload_header="", claim_headers=(ClaimHeaderSettings("x-sub", ("sub",)),)),
        ]
    )
    assert found == {b"x-a-b", b"x-a_b", b"x_a-b", b"x_a_b", b"x-sub", b"x_sub"}


def test_without_such_headers_there_is_nothing_to_remove() -> None:
    """The usual case of a provider that only verifies."""
    assert identity_headers([provider(forward_payload_header="")]) == frozenset()
