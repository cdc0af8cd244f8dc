"""Which route a request gets: the same table selects the same route in both proxies."""

from tests.e2e.support.cases import Case, Pair, parametrize_cases
from tests.e2e.support.routing_setup import TenantTokens
from tests.e2e.support.wire import encode_request as req

Header = tuple[str, str]


def case(id_: str, target: str, *headers: Header, host: str, status: int = 200, method: str = "GET") -> Case:
    """One request."""
    return Case(id_, (req(method, target, *headers, host=host),), (status,))


_VALUES = [
    (), ("One",), ("one",), ("ONE",), ("no",), ("no", "yes"), ("pre-x",), ("x-suf",), ("amidst",), ("aMiDst",),
    ("r42",), ("r42x",), ("xr42",), ("-5",), ("4",), ("5",), ("+3",), ("03",), ("3.0",), ("99999999999999999999",),
    ("old",), ("older",), ("very old",), ("old1",), ("2", "One"), ("One,2",), ("",),
]  # fmt: skip
_CONDITIONS = [
    "exact", "exact-folded", "prefix", "suffix", "contains", "contains-folded", "regex", "range", "present", "absent",
    "any", "not-exact", "not-exact-or-missing", "legacy-exact", "legacy-prefix", "legacy-suffix", "legacy-contains",
    "legacy-regex",
]  # fmt: skip

HEADERS = [
    case(
        f"header-{condition}-{number}-{'+'.join(values)}",
        f"/{condition}",
        *(("x-value", value) for value in values),
        host="headers.test",
    )
    for condition in _CONDITIONS
    for number, values in enumerate(_VALUES)
]
MORE_HEADERS = [
    case("headers-both", "/both", ("x-value", "1"), ("X-Other", "2"), host="headers.test"),
    case("headers-one-of-both", "/both", ("x-value", "1"), host="headers.test"),
    case("header-method", "/x", host="headers.test", method="PUT"),
    case("header-path", "/x?deep", host="headers.test"),
    case("header-authority", "/authority", host="Headers.test"),
    case("header-authority-lower", "/authority", host="headers.test"),
    case("header-scheme", "/scheme", host="headers.test"),
    case("header-scheme-forwarded", "/scheme", ("x-forwarded-proto", "https"), host="headers.test"),
    case("header-inline-joined", "/inline", ("accept", "a"), ("accept", "b"), host="headers.test"),
]
QUERIES = [
    case(f"query-{name}-{number}", f"/{name}{query}", host="query.test")
    for name in ("any", "present", "absent", "exact", "raw", "folded", "regex")
    for number, query in enumerate(
        ["", "?", "?q", "?q=", "?q=1", "?q=2&q=1", "?q=1&q=2", "?Q=1", "?q=%41", "?q=A", "?q=a", "?%71=1", "?x=q",
         "?q=12", "?q=1;q=2", "?&q=1", "?q=1#", "?a?q=1"]
    )
    if "#" not in query
]  # fmt: skip
KINDS = [
    case("grpc", "/grpc", ("content-type", "application/grpc"), host="kinds.test"),
    case("grpc-proto", "/grpc", ("content-type", "application/grpc+proto"), host="kinds.test"),
    case("grpc-web", "/grpc", ("content-type", "application/grpc-web"), host="kinds.test"),
    case("grpc-upper", "/grpc", ("content-type", "application/GRPC"), host="kinds.test"),
    case("grpc-not", "/grpc", ("content-type", "application/json"), host="kinds.test"),
    case("grpc-none", "/grpc", host="kinds.test"),
    case("fraction-by-runtime-on", "/on", host="kinds.test"),
    case("fraction-by-runtime-off", "/off", host="kinds.test"),
    case("fraction-all", "/all", host="kinds.test"),
    case("fraction-none", "/none", host="kinds.test"),
    case("connect-matcher-is-not-for-get", "/", host="kinds.test"),
]
LARGE = [
    case(f"large-{number}-{target}", target, *headers, host="large.test")
    for number, (target, headers) in enumerate(
        [
            (target, headers)
            for target in ["/", "/a", "/a/b", "/a/b/c", "/a/b/c/", "/a/x/1", "/a/x/1?y", "/a/B/x", "/A/b", "/A/B/c",
                           "/sep", "/sep/", "/sepx", "/sep?x", "/a/never", "/service-7/", "/service-7", "/service-19/x",
                           "/service-20/x", "/LAST", "/last/", "/a%2fb"]
            for headers in ((), (("x-canary", "1"),))
        ]
    )
]  # fmt: skip
TENANTS = [
    Case(
        f"tenant-{name}",
        (req("GET", "/tenant", ("authorization", f"Bearer <<{name}>>"), host="tenants.test"),),
        (401 if name == "forged" else 200,),
    )
    for name in TenantTokens().names
]
NO_CLAIMS = [
    case("tenant-without-token", "/tenant", host="tenants.test"),
    Case(
        "tenant-without-rule",
        (req("GET", "/other", ("authorization", "Bearer <<alice>>"), host="tenants.test"),),
        (200,),
    ),
]
LEVELS = [
    case("level-host", "/x", host="levels.test", status=401),
    case("level-route", "/route", host="levels.test"),
    case("level-route-off", "/off", host="levels.test"),
    case("level-share", "/share", ("x-pick", "0"), host="levels.test"),
    case("level-share-that-says-nothing", "/share", ("x-pick", "1"), host="levels.test", status=401),
    case("level-share-over-host", "/host-share", ("x-pick", "0"), host="levels.test"),
    case("level-share-falls-to-host", "/host-share", ("x-pick", "1"), host="levels.test", status=401),
    Case(
        "level-share-with-token",
        (req("GET", "/share", ("x-pick", "1"), ("authorization", "Bearer <<alice>>"), host="levels.test"),),
        (200,),
    ),
]


@parametrize_cases(HEADERS + MORE_HEADERS)
def test_headers(routing_pair: Pair, case: Case) -> None:
    """Every form of a HeaderMatcher, with one, several and no values."""
    routing_pair.check(case)


@parametrize_cases(QUERIES)
def test_query_parameters(routing_pair: Pair, case: Case) -> None:
    """First value, undecoded."""
    routing_pair.check(case)


@parametrize_cases(KINDS)
def test_grpc_shares_and_connect(routing_pair: Pair, case: Case) -> None:
    """The other conditions of a RouteMatch."""
    routing_pair.check(case)


@parametrize_cases(LARGE)
def test_a_table_that_is_indexed(routing_pair: Pair, case: Case) -> None:
    """First match, as without an index."""
    routing_pair.check(case)


@parametrize_cases(TENANTS + NO_CLAIMS)
def test_routing_on_verified_claims(routing_pair: Pair, case: Case) -> None:
    """`dynamic_metadata` after `clear_route_cache`: every form of a ValueMatcher."""
    routing_pair.check(case)


@parametrize_cases(LEVELS)
def test_what_levels_say_about_filters(routing_pair: Pair, case: Case) -> None:
    """`typed_per_filter_config`: weighted cluster, else route, else virtual host; whole, not merged."""
    routing_pair.check(case)
