"""TLS on a listener: the same chain, the same certificate, the same client accepted, the same facts passed on."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.conftest import require_peer
from tests.e2e.support.differences import SNI_CASE
from tests.e2e.support.http_setup import SCRIPTS
from tests.e2e.support.proxies import RunningProxy, running_envoy, running_fastproxy
from tests.e2e.support.tls_setup import TLS_LISTENERS, Attempt, Pki, Seen, tls_template, v2_header
from tests.e2e.support.upstream import ScriptedUpstream

XFCC = b"x-forwarded-client-cert: "


@dataclass(frozen=True, slots=True)
class TlsPair:
    """Both proxies over one file."""

    pki: Pki
    upstream: ScriptedUpstream
    envoy: RunningProxy
    fastproxy: RunningProxy

    def run(self, attempt: Attempt, listener: str) -> Seen:
        """The same connection to both; what came of it, which must be the same."""
        seen = [
            attempt.run(self.pki, proxy.ports[listener], self.upstream)
            for proxy in (self.envoy, self.fastproxy)
        ]
        assert _comparable(seen[0]) == _comparable(seen[1]), "Envoy first, FastProxy second"
        return seen[1]


def _comparable(seen: Seen) -> tuple[object, ...]:
    names = (b"x-forwarded-client-cert", b"x-forwarded-proto", b"x-forwarded-for")
    return (
        seen.outcome,
        seen.body,
        seen.certificate,
        seen.alpn,
        [h for h in seen.upstream_headers if h[0] in names],
    )


def _value(seen: Seen, name: bytes) -> bytes | None:
    return dict(seen.upstream_headers).get(name)


@pytest.fixture(scope="module")
def tls_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsPair]:
    """Both proxies over the configuration of `tls_setup`."""
    require_peer("envoy")
    directory = tmp_path_factory.mktemp("tls")
    pki = Pki(directory)
    with ExitStack() as stack:
        upstream = stack.enter_context(ScriptedUpstream(SCRIPTS))
        template = tls_template(upstream.port, pki)
        yield TlsPair(
            pki,
            upstream,
            stack.enter_context(running_envoy(template, TLS_LISTENERS, directory)),
            stack.enter_context(running_fastproxy(template, TLS_LISTENERS, directory)),
        )


@pytest.mark.parametrize(
    ("attempt", "chain"),
    [
        (Attempt(name="first.test"), b"exact"),
        (Attempt(name="FIRST.test"), b"exact"),
        (Attempt(name="second.test"), b"exact"),
        (Attempt(name="a.first.test"), b"wild"),
        (Attempt(name="b.a.first.test"), b"wild"),
        (Attempt(name="x.deep.first.test"), b"deep"),
        (Attempt(name="deep.first.test"), b"wild"),
        (Attempt(name="alpn.test", alpn=("http/1.1",)), b"alpn"),
        (Attempt(name="alpn.test", alpn=("x", "acme")), b"alpn"),
        (Attempt(name="alpn.test", alpn=("x",)), b"no-alpn"),
        (Attempt(name="alpn.test"), b"no-alpn"),
        (Attempt(name="unknown.test"), b"other-tls"),
        (Attempt(), b"other-tls"),
        (Attempt(tls=False), b"plain"),
    ],
)
def test_the_same_filter_chain_serves(tls_pair: TlsPair, attempt: Attempt, chain: bytes) -> None:
    """Server name, ALPN and transport protocol, each as specific as it gets."""
    assert tls_pair.run(attempt, "chains").body == chain


@pytest.mark.parametrize(
    ("attempt", "certificate"),
    [
        (Attempt(name="first.test"), "first"),
        (Attempt(name="x.first.test"), "first"),
        (Attempt(name="second.test", twelve=True, ciphers="ECDHE-RSA-AES128-GCM-SHA256"), "second_rsa"),
        (Attempt(name="second.test", twelve=True, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256"), "second"),
        (Attempt(name="cn.test"), "named_by_cn"),
        (Attempt(name="unknown.test"), "first"),
        (Attempt(name="y.x.first.test"), "first"),
        (Attempt(), "first"),
    ],
)
def test_the_same_certificate_is_shown(tls_pair: TlsPair, attempt: Attempt, certificate: str) -> None:
    """By server name, and by the kind of key that the client can verify."""
    assert tls_pair.run(attempt, "certificates").certificate == getattr(tls_pair.pki, certificate).sha256


def test_capital_letters_select_the_same_certificate_here(tls_pair: TlsPair) -> None:
    """RFC 6066 section 3: names are compared without case. Envoy shows its default certificate."""
    attempt = Attempt(name="SECOND.test")
    shown = [
        attempt.run(tls_pair.pki, proxy.ports["certificates"], tls_pair.upstream).certificate
        for proxy in (tls_pair.envoy, tls_pair.fastproxy)
    ]
    assert SNI_CASE.id
    assert shown == [tls_pair.pki.first.sha256, tls_pair.pki.second.sha256]


@pytest.mark.parametrize("twelve", [True, False])
@pytest.mark.parametrize(
    ("listener", "shown", "outcome"),
    [
        ("required", "client", "served"),
        ("required", None, "cut"),
        ("required", "foreign_client", "cut"),
        ("required", "expired_client", "cut"),
        ("optional", "client", "served"),
        ("optional", None, "served"),
        ("optional", "foreign_client", "cut"),
        ("optional", "expired_client", "cut"),
        ("pinned", "client", "served"),
        ("pinned", "plain_client", "cut"),
        ("pinned", None, "cut"),
    ],
)
def test_the_same_clients_are_served(
    tls_pair: TlsPair, listener: str, shown: str | None, outcome: str, twelve: bool
) -> None:
    """Required, optional, pinned."""
    certificate = None if shown is None else getattr(tls_pair.pki, shown)
    seen = tls_pair.run(Attempt(name="first.test", shown=certificate, twelve=twelve), listener)
    assert seen.outcome == outcome
    if outcome == "served":
        assert _value(seen, b"x-forwarded-proto") == b"https"


@pytest.mark.parametrize("shown", [None, "client", "plain_client"])
@pytest.mark.parametrize(
    "headers",
    [b"", XFCC + b'Hash=abc;Subject="CN=x"\r\n', XFCC + b"By=a\r\n" + XFCC + b"By=b\r\n"],
    ids=["none", "one", "two"],
)
@pytest.mark.parametrize("listener", ["forward_only", "append", "set", "always", "sanitize"])
def test_the_same_is_told_of_the_client_certificate(
    tls_pair: TlsPair, listener: str, headers: bytes, shown: str | None
) -> None:
    """`x-forwarded-client-cert` in all five modes."""
    certificate = None if shown is None else getattr(tls_pair.pki, shown)
    seen = tls_pair.run(Attempt(name="first.test", shown=certificate, headers=headers), listener)
    assert seen.outcome == "served"
    if listener == "sanitize":
        assert _value(seen, b"x-forwarded-client-cert") is None


V1 = b"PROXY TCP4 203.0.113.9 198.51.100.1 4242 443\r\n"
V1_6 = b"PROXY TCP6 2001:db8::9 2001:db8::1 4242 443\r\n"
V2 = v2_header("203.0.113.9", "198.51.100.1", (4242, 443))


@pytest.mark.parametrize("listener", ["proxy", "proxy_optional"])
@pytest.mark.parametrize(
    ("before", "peer"),
    [
        (V1, b"203.0.113.9"),
        (V1_6, b"2001:db8::9"),
        (V2, b"203.0.113.9"),
        (v2_header("203.0.113.9", "198.51.100.1", (1, 2), tlv=b"\x04\x00\x03abc"), b"203.0.113.9"),
    ],
)
def test_the_same_peer_is_named(tls_pair: TlsPair, listener: str, before: bytes, peer: bytes) -> None:
    """PROXY headers of both versions."""
    seen = tls_pair.run(Attempt(tls=False, before=before), listener)
    assert _value(seen, b"x-forwarded-for") == peer


@pytest.mark.parametrize(
    "before",
    [
        b"PROXY TCP4 203.0.113.9 198.51.100.1 4242\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.1 4242 99999\r\n",
        b"PROXY TCP4 2001:db8::9 198.51.100.1 1 2\r\n",
        b"PROXY TCP9 203.0.113.9 198.51.100.1 1 2\r\n",
        b"PROXY " + b"x" * 120,
        V2[:12] + b"\x31" + V2[13:],
        V2[:12] + b"\x2f" + V2[13:],
        V2[:14] + b"\x00\x02ab",
    ],
)
@pytest.mark.parametrize("listener", ["proxy", "proxy_optional"])
def test_the_same_proxy_headers_are_refused(tls_pair: TlsPair, listener: str, before: bytes) -> None:
    """Malformed ones, also where none is needed."""
    assert tls_pair.run(Attempt(tls=False, before=before), listener).outcome == "cut"


def test_no_proxy_header_is_refused_only_where_one_is_needed(tls_pair: TlsPair) -> None:
    """`allow_requests_without_proxy_protocol`."""
    assert tls_pair.run(Attempt(tls=False), "proxy").outcome == "cut"
    for proxy in (tls_pair.envoy, tls_pair.fastproxy):
        seen = Attempt(tls=False).run(tls_pair.pki, proxy.ports["proxy_optional"], tls_pair.upstream)
        assert seen.outcome == "served"


@pytest.mark.parametrize(
    "before", [b"PROXY UNKNOWN\r\n", v2_header("1.2.3.4", "1.2.3.4", (1, 2), command=0x20)]
)
def test_a_header_without_addresses_keeps_those_of_the_connection(tls_pair: TlsPair, before: bytes) -> None:
    """UNKNOWN and LOCAL: health checks of the balancer itself."""
    for proxy in (tls_pair.envoy, tls_pair.fastproxy):
        seen = Attempt(tls=False, before=before).run(tls_pair.pki, proxy.ports["proxy"], tls_pair.upstream)
        assert seen.outcome == "served"
        assert _value(seen, b"x-forwarded-for") not in (b"1.2.3.4", None)


@pytest.mark.parametrize(
    ("source", "destination", "ports", "chain"),
    [
        ("10.9.0.1", "198.51.100.1", (1, 80), b"net-8"),
        ("10.1.0.1", "198.51.100.1", (1, 80), b"net-16"),
        ("10.2.0.1", "198.51.100.1", (4242, 80), b"port"),
        ("10.2.0.1", "198.51.100.1", (4243, 80), b""),
        ("203.0.113.1", "198.51.100.1", (1, 443), b"to-443"),
        ("10.1.0.1", "198.51.100.1", (1, 443), b"to-443-net"),
        ("10.9.0.1", "192.0.2.7", (1, 443), b"to-443"),
        ("10.1.0.1", "192.0.2.7", (1, 80), b"to-net"),
        ("203.0.113.1", "198.51.100.1", (1, 80), b""),
    ],
)
def test_addresses_select_the_same_filter_chain(
    tls_pair: TlsPair, source: str, destination: str, ports: tuple[int, int], chain: bytes
) -> None:
    """In Envoy's order of criteria, each narrowing, without a way back."""
    before = v2_header(source, destination, ports)
    assert tls_pair.run(Attempt(tls=False, before=before), "sources").body == chain


@pytest.mark.parametrize(
    ("source", "chain"),
    [
        ("203.0.113.1", b"external"),
        ("10.0.0.1", b"external"),
        ("198.51.100.1", b"local"),
        ("127.0.0.1", b"local"),
    ],
)
def test_the_kind_of_source_comes_before_its_network(tls_pair: TlsPair, source: str, chain: bytes) -> None:
    """`source_type` narrows first, so the chain for a network is never reached here."""
    before = v2_header(source, "198.51.100.1", (1, 80))
    assert tls_pair.run(Attempt(tls=False, before=before), "types").body == chain


def test_without_the_inspector_no_name_is_known(tls_pair: TlsPair) -> None:
    """No filter is inserted by itself."""
    assert tls_pair.run(Attempt(name="first.test"), "blind").body == b"rest"


def test_what_no_chain_matches_is_cut(tls_pair: TlsPair) -> None:
    """There is no default chain."""
    assert tls_pair.run(Attempt(name="first.test"), "limited").outcome == "cut"


def test_plain_http_to_tls_is_cut(tls_pair: TlsPair) -> None:
    """And the other way round there is nothing to understand, either."""
    assert tls_pair.run(Attempt(tls=False), "required").outcome == "cut"
