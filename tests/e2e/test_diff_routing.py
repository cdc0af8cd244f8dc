"""Virtual hosts, routes, rewrites, redirects and direct responses: the same table selects the same."""

from tests.e2e.support.cases import Case, Pair, parametrize_cases
from tests.e2e.support.differences import EARLY_REPLY, HEAD_LOCAL_REPLY
from tests.e2e.support.wire import encode_request as req


def case(id_: str, target: str, status: int = 200, *, host: str = "h.test", listener: str = "plain") -> Case:
    """GET one target."""
    return Case(id_, (req("GET", target, host=host),), (status,), listener=listener)


HOSTS = [
    case(f"host-{number}-{host}", "/", 200, host=host)
    for number, host in enumerate(
        [
            "one.test", "ONE.Test", "one.test:80", "one.test.", "two.one.test", "a.wild.test", "wild.test",
            ".wild.test", "a.b.wild.test", "a.wild.test:80", "a.deep.wild.test", "deep.wild.test", ".deep.wild.test",
            "a-x.wild.test",
            "-x.wild.test", "pre.test", "pre.", "PRE.a.b", "pre.test:81", "pre", "ported.test:8443", "ported.test",
            "ported.test:80", "a.several.test", "b.several.test", "B.SEVERAL.TEST", "203.0.113.1", "203.0.113.1:80",
            "[2001:db8::1]", "[2001:db8::1]:80", "unknown", "xn--bcher-kva.test",
        ]
    )
]  # fmt: skip

PATHS = [
    case("exact", "/exact"),
    case("exact-query", "/exact?x=1"),
    case("exact-slash", "/exact/"),
    case("exact-longer", "/exactly"),
    case("exact-case", "/EXACT"),
    case("exact-encoded", "/e%78act"),
    case("exact-semicolon", "/exact;a"),
    case("folded", "/fOLDED"),
    case("folded-not", "/fOLDEDx"),
    case("folded-prefix", "/fold/x"),
    case("regex", "/item/42"),
    case("regex-query", "/item/42?q"),
    case("regex-group", "/item/42/abc"),
    case("regex-not-full", "/item/42/abc/d"),
    case("regex-case", "/ITEM/42"),
    case("regex-not-number", "/item/x"),
    case("separated", "/sep/v1"),
    case("separated-slash", "/sep/v1/"),
    case("separated-below", "/sep/v1/x"),
    case("separated-query", "/sep/v1?x"),
    case("separated-not", "/sep/v12"),
    case("no-route-404", "/other", 404, host="sparse.test"),
    case("no-route-404-query", "/only2?x", 404, host="sparse.test"),
    case("only-route", "/only", host="sparse.test"),
    case("direct-empty", "/direct/empty"),
    case("direct-418", "/direct/418", 418),
    case("direct-204", "/direct/204", 204),
    case("direct-503", "/direct/503", 503),
    case("first-match-wins", "/direct/418/503", 418),
    Case("options-star", (req("OPTIONS", "*"),), (404,)),
    Case("connect", (req("CONNECT", "h.test:443"),), (404,)),
    Case("head-direct", (req("HEAD", "/direct/418"),), (418,)),
    Case("head-direct-empty", (req("HEAD", "/direct/empty"),), (200,), differs=HEAD_LOCAL_REPLY),
    Case("head-404", (req("HEAD", "/x", host="sparse.test"),), (404,), differs=HEAD_LOCAL_REPLY),
    Case("head-redirect", (req("HEAD", "/host/x", host="redirect.test"),), (301,), differs=HEAD_LOCAL_REPLY),
]

REWRITES = [
    case("prefix-rewrite", "/rewrite/a/b?c=d"),
    case("prefix-rewrite-to-root", "/rewrite/"),
    case("prefix-rewrite-query-only", "/rewrite/?x=1"),
    case("prefix-rewrite-slashless", "/slashless/x"),
    case("prefix-rewrite-slashless-root", "/slashless"),
    case("prefix-rewrite-slashless-joined", "/slasheless-no"),
    case("path-rewrite", "/one-path"),
    case("path-rewrite-query", "/one-path?a=b"),
    case("regex-rewrite-whole-path", "/re/x/y?z=1"),
    case("host-rewrite", "/host/x", host="Original.Test:81"),
    case("host-and-prefix-rewrite", "/both/x?y", host="original.test"),
    case("auto-host-rewrite-without-name", "/auto/x", host="original.test"),
    case("normalize-dots", "/a/../b/./c", listener="tolerant"),
    case("normalize-encoded-dots", "/a/%2e%2e/b", listener="tolerant"),
    case("normalize-above-root", "/../../x", listener="tolerant"),
    case("normalize-unreserved", "/%41%7e%2d", listener="tolerant"),
    case("normalize-keeps-escapes", "/a%2fb%5cc%20d%zz", listener="tolerant"),
    case("normalize-backslash", "/a\\b", listener="tolerant"),
    case("merge-slashes", "//a///b//", listener="tolerant"),
    case("merge-slashes-not-in-query", "/a//b?c//d/../e", listener="tolerant"),
    case("normalize-then-match", "/x/../exact", listener="tolerant"),
    case("normalize-both", "/u/../u//x/%2e%2e/%41%7e/./y", listener="tolerant"),
    case("normalize-nul", "/a%00b", 400, listener="tolerant"),
    case("normalize-trailing-dots", "/a/b/..", listener="tolerant"),
    case("normalize-single-dot-end", "/a/b/.", listener="tolerant"),
]

_SAID_TO_BE_HTTPS = req("GET", "/host/a", ("x-forwarded-proto", "https"), host="redirect.test")
_REDIRECT_HOSTS = ("redirect.test", "redirect.test:80", "redirect.test:8080")
_REDIRECT_STATUS = {"302": 302, "303": 303, "307": 307, "308": 308}
REDIRECTS = [
    case(f"redirect-{name}-{number}", f"/{name}/a/b?c=d", _REDIRECT_STATUS.get(name, 301), host=host)
    for name in (
        "https", "host", "port", "hostport", "path-keep", "path-own", "prefix", "strip", "scheme", "302", "303", "307",
        "308", "all",
    )
    for number, host in enumerate(_REDIRECT_HOSTS)
] + [
    case("redirect-secure-443", "/x", 301, host="secure.test:443"),
    case("redirect-no-query", "/host/a", 301, host="redirect.test"),
    case("redirect-no-match", "/nothing", 404, host="redirect.test"),
    Case("redirect-forwarded-proto", (_SAID_TO_BE_HTTPS,), (301,)),
    Case("redirect-edge-proto", (_SAID_TO_BE_HTTPS,), (301,), listener="edge"),
    Case("redirect-post", (req("POST", "/307/a", host="redirect.test", body=b"abc"),), (307,), differs=EARLY_REPLY),
]  # fmt: skip


@parametrize_cases(HOSTS)
def test_virtual_hosts(http_pair: Pair, case: Case) -> None:
    """The wrong virtual host is the wrong policy."""
    http_pair.check(case)


@parametrize_cases(PATHS)
def test_paths(http_pair: Pair, case: Case) -> None:
    """Route order and path forms decide which cluster, and which protection, a request gets."""
    http_pair.check(case)


@parametrize_cases(REWRITES)
def test_rewrites(http_pair: Pair, case: Case) -> None:
    """The upstream sees the rewritten path and host, and the original ones beside them."""
    http_pair.check(case)


@parametrize_cases(REDIRECTS)
def test_redirects(http_pair: Pair, case: Case) -> None:
    """`location` follows Envoy's rules for scheme, host, port, path and query."""
    http_pair.check(case)
