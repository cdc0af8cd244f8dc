"""Who can reach what."""

import pytest

from tests.config.support import minimal
from tests.lint.rules.test_keys import KEYS, REMOTE
from tests.lint.support import CLEAN_PROVIDERS, DISABLED, line, names, only, text


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("0.0.0.0", ["open-admin"]),
        ("10.0.0.1", ["open-admin"]),
        ('"::"', ["open-admin"]),
        ("127.0.0.1", []),
        ('"::1"', []),
    ],
)
def test_admin_interface(host: str, found: list[str]) -> None:
    """It has no password."""
    source = minimal(top=f"admin: {{address: {{socket_address: {{address: {host}, port_value: 0}}}}}}")

    assert names(source) == found


HEADERS = (
    "  forward_payload_header: X-Jwt-Payload\n",
    "  claim_to_headers: [{header_name: x-user, claim_name: sub}]\n",
)


def two_listeners(provider: str, second: str, *, first_host: str = "127.0.0.1") -> str:
    """The listener with the filter, and another one from `second`, with one list of clusters."""
    first = text(providers=provider).replace("127.0.0.1, port_value: 0", f"{first_host}, port_value: 0", 1)
    start, end = "  listeners:\n", "  clusters:\n"
    inside = second.split(start, 1)[1].split(end, 1)[0]
    head, tail = first.split(end, 1)
    return head + inside + end + tail


@pytest.mark.parametrize("header", HEADERS)
def test_identity_header_past_the_filter(header: str) -> None:
    """A listener without the filter leads to the same upstream."""
    source = two_listeners(CLEAN_PROVIDERS + header, minimal())
    found = only(source, "identity-header-open")

    assert line(source, found) in header
    assert '"backend"' in found.what


@pytest.mark.parametrize("header", HEADERS)
def test_identity_header_that_the_other_listener_removes(header: str) -> None:
    """It has the filter, too, and be it switched off for its routes (S46)."""
    routes = (
        "- match: {prefix: /}\n  route: {cluster: backend}\n- match: {path: /}\n  route: {cluster: backend}"
    )
    provider = CLEAN_PROVIDERS + header

    assert names(two_listeners(provider, text(providers=provider))) == []
    assert "identity-header-open" not in names(
        two_listeners(provider, text(providers=provider, routes=routes, virtual_host=DISABLED))
    )


def test_identity_header_and_an_upstream_of_its_own() -> None:
    """The other listener leads elsewhere, or is for this machine only."""
    provider = CLEAN_PROVIDERS + HEADERS[0]
    elsewhere = minimal(routes="- match: {prefix: /}\n  direct_response: {status: 200}")

    assert names(two_listeners(provider, elsewhere)) == []
    found = names(two_listeners(provider, minimal(), first_host="0.0.0.0"))
    assert [one for one in found if one != "cleartext-listener"] == []


def test_identity_header_on_an_exempt_route_is_removed_all_the_same() -> None:
    """No false alarm about a path that is open: the filter still runs there (S46)."""
    source = text(
        "- match: {path: /health}\n- match: {prefix: /}\n  requires: {provider_name: idp}",
        providers=CLEAN_PROVIDERS + HEADERS[0],
    )

    assert names(source) == []


@pytest.mark.parametrize(
    ("value", "words"), [("%REQ(x-login)%", "what the client sent"), ("nobody", "request_headers_to_add")]
)
def test_route_that_writes_an_identity_header(value: str, words: str) -> None:
    """In whatever spelling: many upstreams read `_` as `-`."""
    routes = f"""
- match: {{prefix: /}}
  route: {{cluster: backend}}
  request_headers_to_add: [{{header: {{key: X_User, value: "{value}"}}}}]
"""

    assert (
        words in only(text(providers=CLEAN_PROVIDERS + HEADERS[1], routes=routes), "identity-header-set").what
    )
    assert names(text(providers=CLEAN_PROVIDERS, routes=routes)) == []


def test_keys_and_clients_use_one_cluster() -> None:
    """Clients reach the issuer where only the proxy should."""
    routes = "- match: {prefix: /}\n  route: {cluster: keys}"
    source = text(providers=REMOTE, clusters=KEYS, routes=routes)

    assert line(source, only(source, "shared-jwks-cluster")) == "remote_jwks:"
    assert names(text(providers=REMOTE, clusters=KEYS)) == []
