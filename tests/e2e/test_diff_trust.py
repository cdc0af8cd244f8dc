"""Who a request is from, and what it may say of itself: the whole matrix of spec/http.md sections 6.1, 7.1 and 7.2."""

# ruff: noqa: E501 - tables, one case a line

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.support.cases import Case, Pair, parametrize_cases
from tests.e2e.support.differences import (
    DOT_PARAMETERS,
    EMPTY_PROTO,
    ONLY_SLASHES,
    TRACE_BITS,
    ZONE_IDS,
    Difference,
)
from tests.e2e.support.exchange import differences_between
from tests.e2e.support.pairs import running_pair
from tests.e2e.support.proxies import Config, Ports
from tests.e2e.support.templates import bootstrap, cluster, forward, listener, virtual_host
from tests.e2e.support.wire import encode_request as req

pytestmark = pytest.mark.peer("envoy")

_PROXY_PROTOCOL = {"name": "proxy", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"}}  # fmt: skip
_INSIDE = {
    "internal_address_config": {
        "cidr_ranges": [
            {"address_prefix": "10.0.0.0", "prefix_len": 8},
            {"address_prefix": "2001:db8:1::", "prefix_len": 48},
        ]
    }
}
_EDGE = {"use_remote_address": True}
_HOP = {"xff_num_trusted_hops": 1}
MANAGERS: dict[str, Config] = {
    "plain": {},
    "plain-inside": _INSIDE,
    "private": {"internal_address_config": {}},
    "edge-private": {**_EDGE, "internal_address_config": {"unix_sockets": False}},
    "plain-hop-inside": {**_INSIDE, **_HOP},
    "plain-hops": {"xff_num_trusted_hops": 2},
    "edge": _EDGE,
    "edge-inside": {**_EDGE, **_INSIDE},
    "edge-hop-inside": {**_EDGE, **_INSIDE, **_HOP},
    "edge-hops": {**_EDGE, "xff_num_trusted_hops": 2},
    "edge-unsaid": {**_EDGE, "skip_xff_append": True},
    "edge-kept": {**_EDGE, "preserve_external_request_id": True},
    "edge-no-id": {**_EDGE, **_INSIDE, "generate_request_id": False},
    "normal": {"normalize_path": True},
    "merged": {"merge_slashes": True},
    "both": {"normalize_path": True, "merge_slashes": True},
    "guarded": {"normalize_path": True, "path_with_escaped_slashes_action": "REJECT_REQUEST"},
}  # fmt: skip

_SEEN = ("REMOTE_ADDRESS", "REMOTE_PORT", "REMOTE_ADDRESS_WITHOUT_PORT", "DIRECT_REMOTE_ADDRESS_WITHOUT_PORT")
_HOSTS = [
    virtual_host(
        "all",
        ["*"],
        [
            {
                **forward({"prefix": "/"}),
                "request_headers_to_add": [
                    {"header": {"key": f"x-{name.lower()}", "value": f"%DOWNSTREAM_{name}%"}}
                    for name in _SEEN
                ],
            }
        ],
    )
]

#: Who the connection is from, as a PROXY header says it.
PEERS = {
    "stranger": b"PROXY TCP4 203.0.113.77 198.51.100.1 5000 80\r\n",
    "neighbour": b"PROXY TCP4 10.1.2.3 198.51.100.1 5000 80\r\n",
    "stranger-6": b"PROXY TCP6 2001:db8::77 2001:db8::1 5000 80\r\n",
    "neighbour-6": b"PROXY TCP6 2001:db8:1::77 2001:db8::1 5000 80\r\n",
    "mapped": b"PROXY TCP6 ::ffff:10.1.2.3 2001:db8::1 5000 80\r\n",
    "loopback": b"PROXY TCP4 127.0.0.1 198.51.100.1 5000 80\r\n",
}

#: Lines of `x-forwarded-for`.
FORWARDED: dict[str, tuple[str, ...]] = {
    "none": (), "empty": ("",), "one": ("203.0.113.5",), "inside": ("10.9.9.9",), "the-peer": ("203.0.113.77",),
    "two": ("203.0.113.5, 198.51.100.7",), "two-inside": ("10.0.0.1,10.0.0.2",), "four": ("203.0.113.1, 203.0.113.2,10.0.0.3 , 203.0.113.4",),
    "v6": ("2001:db8::1",), "v6-inside": ("2001:DB8:1:0::9",), "v6-brackets": ("[2001:db8:1::1]",), "v6-port": ("[2001:db8::1]:80",), "v6-mapped": ("::ffff:10.1.2.3",),
    "port": ("10.9.9.9:80",), "range": ("10.9.9.9/8",), "garbage": ("unknown",), "comma": (",",), "comma-last": ("203.0.113.5,",), "comma-first": (",203.0.113.5",),
    "garbage-first": ("a, 203.0.113.5",), "garbage-last": ("203.0.113.5, a",), "gap": ("203.0.113.5,,198.51.100.7",),
    "two-lines": ("203.0.113.5", "198.51.100.7"), "three-lines": ("203.0.113.5", "198.51.100.7, 198.51.100.8", "10.0.0.9"), "line-empty": ("203.0.113.5", ""), "line-empty-first": ("", "10.9.9.9"),
    "zeros": ("010.0.0.1",), "short": ("10.1",), "hex": ("0x0a.0.0.1",), "semicolon": ("10.0.0.1;x",), "blank": ("203.0.113.5 10.0.0.1",), "tabs": ("203.0.113.5,\t198.51.100.7\t,10.0.0.1",),
    "path": ("/run/a.sock",), "quoted": ('"10.0.0.1"',), "many": ("203.0.113.5," * 300 + "10.0.0.9",), "latin-1": ("10.9.9.\xe9",),
}  # fmt: skip

_CLAIMS = (
    ("x-envoy-internal", "true"),
    ("x-envoy-external-address", "198.51.100.99"),
    ("x-request-id", "mine"),
    ("x-envoy-max-retries", "3"),
    ("x-envoy-original-path", "/forged"),
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both proxies; every connection begins with a PROXY header."""

    def template(ports: Ports) -> Config:
        options = {"listener_filters": [_PROXY_PROTOCOL]}
        listeners = [
            listener(name, ports[name], _HOSTS, options=dict(manager), listener_options=options)
            for name, manager in MANAGERS.items()
        ]
        return bootstrap(ports["admin"], listeners, [cluster("echo", ports["upstream"])])

    with running_pair(template, tuple(MANAGERS), tmp_path_factory.mktemp("trust")) as running:
        yield running


def case(
    manager: str,
    id_: str,
    *headers: tuple[str, str],
    peer: str = "stranger",
    target: str = "/",
    status: int = 200,
    differs: Difference | None = None,
    instead: int = 0,
) -> Case:
    """One request over a connection of `peer`."""
    return Case(
        f"{manager}-{id_}",
        (PEERS[peer] + req("GET", target, *headers),),
        (status,),
        listener=manager,
        differs=differs,
        fastproxy_statuses=(instead,) if instead else (),
        any_order=True,
    )


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("manager", [name for name in MANAGERS if name.startswith(("plain", "edge"))])
def test_the_client_and_what_it_may_say(pair: Pair, manager: str, peer: str) -> None:
    """Every form of `x-forwarded-for` from every kind of peer, beside control headers that not everybody may send."""
    for name, lines in FORWARDED.items():
        forwarded = (("x-forwarded-for", line) for line in lines)
        pair.check(case(manager, f"{peer}-{name}", *forwarded, *_CLAIMS, peer=peer))


#: Addresses at the edges of networks that are private, or look like it.
_ADDRESSES = "10.0.0.1 10.255.255.255 11.0.0.1 172.15.0.1 172.16.0.1 172.31.255.255 172.32.0.1 192.168.0.1 192.169.0.1 127.0.0.1 127.0.0.2 169.254.1.1 100.64.0.1 192.0.2.1 fc00::1 fcff::1 fd00::1 fdff::1 fe80::1 fec0::1 ::1 ::2 ::ffff:10.0.0.1"


@pytest.mark.parametrize("address", _ADDRESSES.split())
def test_private_networks_are_inside_where_no_others_are_named(pair: Pair, address: str) -> None:
    """`internal_address_config` without ranges."""
    pair.check(case("private", address, ("x-forwarded-for", address), *_CLAIMS))
    family = b"TCP6" if ":" in address else b"TCP4"
    other = b"2001:db8::1" if ":" in address else b"198.51.100.1"
    head = b"PROXY %s %s %s 5000 80\r\n" % (family, address.encode(), other)
    if address != "::1":
        # For a peer on loopback Envoy tells another address.
        pair.check(
            Case(
                address, (head + req("GET", "/", *_CLAIMS),), (200,), listener="edge-private", any_order=True
            )
        )


#: Headers of section 7.2 and their neighbours; each is sent once, twice and empty.
CONTROL = {
    "x-envoy-upstream-rq-timeout-ms": "12345", "x-envoy-upstream-rq-per-try-timeout-ms": "9876", "x-envoy-upstream-rq-timeout-alt-response": "1", "x-envoy-max-retries": "9",
    "x-envoy-retry-on": "5xx", "x-envoy-retry-grpc-on": "cancelled", "x-envoy-retriable-status-codes": "503", "x-envoy-retriable-header-names": "a", "x-envoy-hedge-on-per-try-timeout": "true",
    "x-envoy-expected-rq-timeout-ms": "1", "x-envoy-force-trace": "1", "x-envoy-ip-tags": "a", "x-envoy-upstream-alt-stat-name": "a", "x-envoy-original-url": "/a",
    "x-envoy-decorator-operation": "o", "x-envoy-downstream-service-cluster": "c", "x-envoy-downstream-service-node": "n", "x-envoy-original-path": "/p", "x-envoy-original-host": "h",
    "x-envoy-external-address": "198.51.100.9", "x-envoy-internal": "true", "x-forwarded-client-cert": "By=x", "x-envoy-attempt-count": "7", "x-envoy-upstream-stream-duration-ms": "3",
    "x-envoy-is-timeout-retry": "1", "x-envoy-unknown": "1", "x-forwarded-host": "a", "x-forwarded-port": "444", "x-client-trace-id": "t", "x-request-id": "mine",
    "x-real-ip": "10.0.0.1", "forwarded": "for=10.0.0.1", "x-envoy-upstream-canary": "1", "x-envoy-overloaded": "1", "x-envoy-upstream-service-time": "9", "server": "x", "date": "x",
}  # fmt: skip


def _id_asked(manager: str, name: str, peer: str) -> bool:
    """Envoy answers who is inside and asks for a trace with the id, which is a random one."""
    return name == "x-envoy-force-trace" and peer == "neighbour" and manager.endswith("inside")


@pytest.mark.parametrize("peer", ["stranger", "neighbour"])
@pytest.mark.parametrize(
    "manager", ["plain", "plain-inside", "edge", "edge-inside", "edge-hop-inside", "edge-kept", "edge-no-id"]
)
def test_control_headers(pair: Pair, manager: str, peer: str) -> None:
    """Every header of the table from outside, from inside and at the edge."""
    inside = (("x-forwarded-for", "10.0.0.7"),) if manager == "plain-inside" and peer == "neighbour" else ()
    for name, value in CONTROL.items():
        extra = (("x-request-id", "mine"),) if _id_asked(manager, name, peer) else ()
        for id_, lines in {
            "once": ((name, value),),
            "twice": ((name, value), ("x-between", "1"), (name.upper(), value)),
            "empty": ((name, ""),),
        }.items():
            pair.check(case(manager, f"{peer}-{name}-{id_}", *inside, *lines, *extra, peer=peer))


def test_a_trace_is_answered_with_the_id(pair: Pair) -> None:
    """`x-envoy-force-trace` of somebody inside: how the id that was made becomes known."""
    forced = case("edge-inside", "forced", ("x-envoy-force-trace", "1"), peer="neighbour")
    for proxy in (pair.envoy, pair.contender):
        (response,) = pair.observe(proxy, forced).responses
        headers = response["headers"]
        assert isinstance(headers, list)
        assert b"x-request-id" in dict(headers)


_NIBBLE = "7b0dd2a0-0b7b-9d5c-9d8b-2a3b4c5d6e7f"
REFERERS = (
    "http://a.test/x?y", "http://a.test", "http://a.test/x#f", "http://a:b@c/", "http://a@c/", "https://c/@", "http://a/?b@c", "//a.test/x", "a/b:c", "a:b/c", "/x:y", "", "about:blank",
    "javascript:x", "http:///x", "http://a.test:99999/", "http://a.test:65535", "http://[::1]:80/x", "http://a b/", "http://a.test/b c", "http://a,b/", "http://a_b/", "/x#y", "http://a/caf\xe9",
)  # fmt: skip
SPOKEN = [
    *(case("plain", f"referer-{value}", ("referer", value)) for value in REFERERS),
    case("plain", "referer-twice", ("referer", "http://a/"), ("referer", "http://b/")),
    *(
        case(manager, f"proto-{value}", ("x-forwarded-proto", value))
        for manager in ("plain", "edge", "plain-hops")
        for value in ("http", "https", "HTTPS", "ftp", "https,http", "https, http")
    ),
    case("plain", "proto-empty", ("x-forwarded-proto", ""), status=404, differs=EMPTY_PROTO, instead=200),
    case("edge", "proto-empty", ("x-forwarded-proto", "")),
    case("edge-hops", "proto-https", ("x-forwarded-proto", "https")),
    case("edge-hops", "proto-empty", ("x-forwarded-proto", ""), status=404, differs=EMPTY_PROTO, instead=200),
    case("edge-kept", "id-trace", ("x-request-id", _NIBBLE), differs=TRACE_BITS),
    case("plain", "id-trace", ("x-request-id", _NIBBLE)),
    case("edge", "id-trace", ("x-request-id", _NIBBLE)),
    case("edge-kept", "id-long", ("x-request-id", "i" * 300)),
    case("plain", "zone", ("x-forwarded-for", "fe80::1%lo"), differs=ZONE_IDS),
    case("plain", "zone-unknown", ("x-forwarded-for", "fe80::1%none-such")),
]


@parametrize_cases(SPOKEN)
def test_what_is_said_of_the_way_here(pair: Pair, case: Case) -> None:
    """`referer`, `x-forwarded-proto`, `x-request-id` and addresses with zones."""
    pair.check(case)


_TARGETS = (
    "/u/../u//x/%2e%2e/%41%7e/./y", "/", "/.", "/..", "/./", "/../", "/a/..", "/a/.", "/a//..", "/a//../b", "/..//a", "/%2e", "/%2E%2e", "/%2e%2e/a", "/.%2e/a", "/a%00b", "/a%2500", "/a%zz", "/a%", "/a%2",
    "/a\\..\\b", "/a/\\", "/a?x=../y//z%2e", "/a//b?//", "/a;p=1/../b", "/a;/b", "/a/..;/b", "/a/.;/b", "/a/..;x=1;y/b", "/a/..;x", "/a/..%3b/b", "/a/x..;/b", "/..;/..;/secret", "/a/..;?x/../y",
    "/%41%5A%61%7a%30%2d%2e%5f%7e", "/%21%40%3a", "/a%20b", "/a%0ab", "/a%7f", "/a%ff", "/a%3fb", "/a%23b", "/a%252e", "/%2%65", "/%%32e", "/%25%32e", "/%%41%42", "/%%30%30", "/%%%41", "/%2%2e", "/%2%46",
    "/.../a", "/a/.b", "/a/b..", "//a/..", "///../a", "/a/b//", "/a\"b", "/a<b>", "/a{b}", "/a|b", "/a^b", "/a`b", "/a'b", "/a[b]", "/a%c0%ae%c0%ae/b", "http://other.test/a/../b", "http://other.test//a", "http://other.test",
)  # fmt: skip
PATHS = [
    *(case(manager, f"path-{target}", target=target, status=0) for manager in ("normal", "merged", "both") for target in _TARGETS),
    *(case("normal", f"differs-{target}", target=target, differs=DOT_PARAMETERS) for target in ("/a/%2e.;/b", "/a/.%2E;x/b", "/a/..;c\\b", "/a/%2e;/b")),
    *(case(manager, f"slashes-{target}", target=target, differs=ONLY_SLASHES) for manager, target in (("merged", "//"), ("merged", "////?a"), ("both", "///."), ("both", "/\\"), ("both", "//a/.."))),
    *(case("guarded", f"path-{target}", target=target, status=status) for target, status in (("/a%2fb", 400), ("/a%5Cb", 400), ("/a%2%46b", 200), ("/a%%32Fb", 200), ("/a%252fb", 200), ("/a?%2f", 200))),
]  # fmt: skip
PATHS = [one for one in PATHS if one.id != "both-path-//a/.."]


@parametrize_cases(PATHS)
def test_s49_paths_are_settled_as_in_envoy(pair: Pair, case: Case) -> None:
    """`normalize_path`, `merge_slashes` and escaped slashes, spelled in all the ways that somebody has thought of."""
    pair.check(case)


def test_a_socket_for_both_families_has_ipv4_peers(tmp_path: Path) -> None:
    """`ipv4_compat`: ranges of IPv4 addresses hold for them, and upstreams read an IPv4 address."""

    def template(ports: Ports) -> Config:
        loopback = {"address_prefix": "127.0.0.0", "prefix_len": 8}
        options = {**_EDGE, "internal_address_config": {"cidr_ranges": [loopback]}}
        both = listener("both", ports["both"], _HOSTS, options=options)
        both["address"] = {
            "socket_address": {"address": "::", "port_value": ports["both"], "ipv4_compat": True}
        }
        return bootstrap(ports["admin"], [both], [cluster("echo", ports["upstream"])])

    with running_pair(template, ("both",), tmp_path) as pair:
        one = Case("both", (req("GET", "/", *_CLAIMS),), (200,), listener="both", any_order=True)
        (seen,) = pair.observe(pair.contender, one).upstream
        headers = dict(seen["headers"])  # type: ignore[call-overload]  # what an exchange holds is plain data
        assert headers[b"x-direct_remote_address_without_port"] == b"127.0.0.1"
        assert headers[b"x-envoy-internal"] == b"true"
        expected, found = (pair.observe(proxy, one).without_order() for proxy in (pair.envoy, pair.contender))
        ports_differ = (b"x-remote_port", b"x-remote_address")
        for one_side in (expected, found):
            listed = one_side.upstream[0]["headers"]
            assert isinstance(listed, list)
            listed[:] = [field for field in listed if field[0] not in ports_differ]
        assert not differences_between(expected, found)
