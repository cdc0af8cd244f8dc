"""`jwt_authn`: who gets in, what the refused are told, and what the upstream sees, as through Envoy."""

from tests.e2e.support.cases import Case, Pair, parametrize_cases
from tests.e2e.support.differences import (
    B64,
    CRIT,
    EARLY_REPLY,
    KEY_USE,
    KEYS_UNAVAILABLE,
    LENIENT_BASE64,
    LENIENT_JSON,
    LENIENT_SEGMENTS,
    MISSING_EXP,
    PIPELINED_AFTER_DENIAL,
    PREFIX_ANYWHERE,
    QUERY_REBUILT,
    REALM_ORIGINAL_PATH,
    REALM_REDACTED,
    SMALL_RSA_KEY,
    TWO_TOKENS,
    ZERO_EXP,
    Difference,
)
from tests.e2e.support.wire import encode_request as req


def bearer(
    name: str,
    status: int = 200,
    *,
    path: str = "/rs/x",
    differs: Difference | None = None,
    instead: int = 401,
    listener: str = "plain",
) -> Case:
    """A request with the token `name` in its authorization header."""
    id_ = f"{name}{path.replace('/', '-')}" + ("" if listener == "plain" else f"-{listener}")
    request = req("GET", path, ("Authorization", f"Bearer <<{name}>>"))
    return Case(
        id_,
        (request,),
        (status,),
        listener=listener,
        differs=differs,
        fastproxy_statuses=() if differs is None else (instead,),
        reaches_upstream=status == 200,
    )


def case(
    id_: str,
    *headers: tuple[str, str],
    status: int = 200,
    path: str = "/rs/x",
    method: str = "GET",
    listener: str = "plain",
    host: str = "h.test",
    differs: Difference | None = None,
    instead: int = 401,
    reaches_upstream: bool | None = None,
) -> Case:
    """A request with these headers."""
    return Case(
        id_,
        (req(method, path, *headers, host=host),),
        (status,),
        listener=listener,
        differs=differs,
        fastproxy_statuses=() if differs is None else (instead,),
        reaches_upstream=reaches_upstream,
    )


_GOOD = ("Authorization", "Bearer <<good>>")

ALGORITHMS = [
    bearer("good"),
    bearer("good-no-kid"),
    bearer("tampered", 401),
    bearer("es256"),
    bearer("es256", path="/es/x"),
    bearer("es256-tampered", 401, path="/es/x"),
    bearer("hs256", path="/hs/x"),
    bearer("hs256-wrong", 401, path="/hs/x"),
    bearer("hs384", path="/hs384/x"),
    bearer("hs512", path="/hs512/x"),
    bearer("es384", path="/es384/x"),
    bearer("es512", path="/es512/x"),
    bearer("rs384", path="/rs384/x"),
    bearer("rs512", path="/rs512/x"),
    bearer("ps256", path="/ps256/x"),
    bearer("good", 401, path="/es/x"),
    bearer("good", 401, path="/hs/x"),
    bearer("rs384", 401),
    bearer("ps256", 401),
    bearer("hs256", 401),
    bearer("good", path="/no-alg/x"),
    bearer("es256", path="/no-alg/x"),
    bearer("rs384", path="/no-alg/x"),
    bearer("good", path="/no-kid/x"),
    bearer("good", path="/any-issuer/x"),
    bearer("good", path="/no-audience/x"),
    bearer("good", path="/remote/x"),
    bearer("es256", path="/remote/x"),
    bearer("tampered", 401, path="/remote/x"),
    bearer("foreign-key", 401),
    bearer("foreign-key", 401, path="/remote/x"),
    bearer("small-key", path="/weak/x", differs=SMALL_RSA_KEY),
    bearer("encryption-key", path="/weak/x", differs=KEY_USE),
    bearer("good", path="/weak/x"),
    bearer("es-key-under-rs", 401),
    bearer("es384-under-es256", 401, path="/es/x"),
    bearer("kid-unknown", 401),
    bearer("kid-path", 401),
    bearer("kid-unknown", 401, path="/remote/x"),
]

STRUCTURE = [
    bearer("empty-signature", 401),
    bearer("two-parts", 401),
    bearer("four-parts", 401),
    bearer("five-parts", 401),
    bearer("one-part", 401),
    bearer("only-dots", 401),
    bearer("leading-dot", differs=LENIENT_SEGMENTS),
    bearer("trailing-dot", differs=LENIENT_SEGMENTS),
    bearer("double-dot", differs=LENIENT_SEGMENTS),
    bearer("payload-bad-base64", 401),
    bearer("signature-bad-base64", 401),
    bearer("signature-plus", 401),
    bearer("signature-padded", differs=LENIENT_BASE64),
    bearer("signature-loose-bits", differs=LENIENT_BASE64),
    bearer("payload-padded", differs=LENIENT_BASE64),
    bearer("signature-one-more", 401),
    bearer("header-length-4n1", 401),
    *[
        bearer(name, 401)
        for name in (
            "alg-none", "alg-none-upper", "alg-empty", "alg-lower", "alg-missing", "alg-number", "alg-unknown",
            "alg-hs256-over-rsa", "kid-number", "kid-null", "header-not-json", "header-list", "header-duplicate",
            "payload-not-json", "payload-list", "payload-string", "payload-duplicate", "payload-duplicate-escaped",
            "payload-invalid-utf8", "payload-nan", "payload-deep", "payload-surrogate",
        )
    ],
    bearer("kid-empty"),
    bearer("typ-other"),
    bearer("extra-members"),
    bearer("crit", differs=CRIT),
    bearer("b64-false", differs=B64),
    bearer("header-single-quotes", differs=LENIENT_JSON),
    bearer("header-trailing-comma", differs=LENIENT_JSON),
    bearer("payload-trailing-comma", differs=LENIENT_JSON),
    bearer("payload-control", differs=LENIENT_JSON),
    bearer("payload-null", 401, differs=LENIENT_JSON),
]  # fmt: skip

CLAIMS = [
    bearer("expired", 401),
    bearer("expired-long-ago", 401),
    bearer("expired-within-skew"),
    bearer("expired-10s"),
    bearer("expired-10s", 401, path="/skew/x"),
    bearer("not-yet", 401),
    bearer("not-yet-within-skew"),
    bearer("not-yet-within-skew", 401, path="/skew/x"),
    bearer("no-exp", differs=MISSING_EXP),
    bearer("exp-zero", differs=ZERO_EXP),
    *[
        bearer(name, 401)
        for name in (
            "exp-text", "exp-bool", "exp-list", "exp-negative", "exp-too-huge", "nbf-text", "nbf-negative",
            "iat-text", "iat-negative", "iss-other", "iss-slash", "iss-case", "iss-missing", "iss-number", "iss-list",
            "sub-number", "jti-number", "aud-number", "aud-list-of-numbers", "expired-and-foreign",
            "expired-and-wrong-audience",
        )
    ],
    *[bearer(name, 403) for name in ("aud-other", "aud-missing", "aud-empty-list", "aud-case", "aud-prefix")],
    *[
        bearer(name)
        for name in (
            "exp-float", "exp-huge", "iat-future", "sub-missing", "aud-list", "aud-slash", "aud-https", "big-payload",
            "unicode",
        )
    ],
    bearer("iss-other", path="/any-issuer/x"),
    bearer("iss-missing", path="/any-issuer/x"),
    bearer("aud-other", path="/no-audience/x"),
    bearer("aud-missing", path="/no-audience/x"),
    bearer("good", path="/audience-url/x"),
    bearer("expired", 401, path="/remote/x"),
    bearer("aud-other", 403, path="/remote/x"),
]  # fmt: skip

LOCATIONS = [
    case("no-token", status=401),
    case("empty-authorization", ("Authorization", ""), status=401),
    case("bearer-alone", ("Authorization", "Bearer"), status=401),
    case("bearer-space", ("Authorization", "Bearer "), status=401),
    case("bearer-lower-case", ("Authorization", "bearer <<good>>"), status=401),
    case("bearer-upper-case", ("Authorization", "BEARER <<good>>"), status=401),
    case("bearer-tab", ("Authorization", "Bearer\t<<good>>"), status=401),
    case("bearer-glued", ("Authorization", "Bearer<<good>>"), status=401),
    case("token-without-bearer", ("Authorization", "<<good>>"), status=401),
    case("basic", ("Authorization", "Basic YTpi"), status=401),
    case(
        "bearer-trailing-words", ("Authorization", "Bearer <<good>> more"), status=401, differs=LENIENT_BASE64
    ),
    case("bearer-comma", ("Authorization", "Bearer <<good>>,x=1"), status=401),
    case("bearer-quoted", ("Authorization", 'Bearer "<<good>>"'), status=401, differs=PREFIX_ANYWHERE),
    case("bearer-bearer", ("Authorization", "Bearer Bearer <<good>>"), status=401),
    case("bearer-two-spaces", ("Authorization", "Bearer  <<good>>")),
    case("bearer-not-first", ("Authorization", "Basic x, Bearer <<good>>"), differs=PREFIX_ANYWHERE),
    case("bearer-inside-word", ("Authorization", "xxBearer <<good>>"), differs=PREFIX_ANYWHERE),
    case("bearer-then-junk", ("Authorization", "Bearer !!<<good>>"), differs=PREFIX_ANYWHERE),
    case("two-authorization-same", _GOOD, _GOOD, status=401),
    case("two-authorization-basic-first", ("Authorization", "Basic x"), _GOOD, differs=TWO_TOKENS),
    case("header-and-query", _GOOD, path="/rs/x?access_token=<<good>>", differs=TWO_TOKENS),
    case("header-and-bad-query", _GOOD, path="/rs/x?access_token=x", status=401, differs=TWO_TOKENS),
    case("query", path="/rs/x?access_token=<<good>>"),
    case("query-first", path="/rs/x?access_token=<<good>>&b=1"),
    case("query-last", path="/rs/x?b=1&access_token=<<good>>"),
    case("query-unsorted", path="/rs/x?z=1&access_token=<<good>>&a=2", differs=QUERY_REBUILT, instead=200),
    case(
        "query-encoded-neighbour",
        path="/rs/x?a=%26b%3D1&access_token=<<good>>",
        differs=QUERY_REBUILT,
        instead=200,
    ),
    case("query-empty", path="/rs/x?access_token=", status=401, differs=REALM_REDACTED),
    case("query-other-name", path="/rs/x?Access_Token=<<good>>", status=401),
    case("query-tampered", path="/rs/x?access_token=<<tampered>>", status=401, differs=REALM_REDACTED),
    case("custom-header", ("x-token", "<<good>>"), path="/header/x"),
    case("custom-header-case", ("X-TOKEN", "<<good>>"), path="/header/x"),
    case("custom-header-not-authorization", _GOOD, path="/header/x", status=401),
    case("custom-header-empty", ("x-token", ""), path="/header/x", status=401),
    case("custom-header-bearer", ("x-token", "Bearer <<good>>"), path="/header/x", status=401),
    case(
        "custom-header-not-query", path="/header/x?access_token=<<good>>", status=401, differs=REALM_REDACTED
    ),
    case("prefixed-header", ("x-auth", "Token <<good>>"), path="/prefixed/x"),
    case("prefixed-header-without", ("x-auth", "<<good>>"), path="/prefixed/x", status=401),
    case("prefixed-header-kept", ("x-auth", "Token <<good>>"), path="/prefixed-keep/x"),
    case("two-headers-first", ("x-one", "<<good>>"), path="/two-headers/x"),
    case("two-headers-second", ("x-two", "<<good>>"), path="/two-headers/x"),
    case(
        "two-headers-one-bad",
        ("x-one", "<<good>>"),
        ("x-two", "<<tampered>>"),
        path="/two-headers/x",
        status=401,
        differs=TWO_TOKENS,
    ),
    case(
        "two-headers-both",
        ("x-one", "<<good>>"),
        ("x-two", "<<good-other>>"),
        path="/two-headers/x",
        differs=TWO_TOKENS,
    ),
    case("param", path="/param/x?tok=<<good>>"),
    case("param-with-others", path="/param/x?a=1&b=2&tok=<<good>>"),
    case("param-kept", path="/param-keep/x?b=2&tok=<<good>>&a=%20"),
    case("param-not-authorization", _GOOD, path="/param/x", status=401),
    case("param-not-default", path="/param/x?access_token=<<good>>", status=401, differs=REALM_REDACTED),
    case("header-or-param-header", ("x-token", "<<good>>"), path="/header-and-param/x?a=1"),
    case("header-or-param-param", path="/header-and-param/x?tok=<<good>>"),
    case("cookie-is-not-read", ("cookie", "access_token=<<good>>"), status=401),
]

FORWARDING = [
    bearer("good", path="/keep/x"),
    bearer("good", path="/mixed-case/x"),
    bearer("good", path="/pad/x"),
    bearer("good", path="/no-payload/x"),
    bearer("good", path="/rs/x?keep=1"),
    bearer("good", path="/rs/rewrite/a"),
    bearer("good", path="/rs/edge", listener="edge"),
    Case("cached-twice", (req("GET", "/cached/x", _GOOD),) * 3, (200, 200, 200)),
    Case("same-token-again", (req("GET", "/rs/x", _GOOD), req("GET", "/rs/y", _GOOD)), (200, 200)),
    Case("same-token-other-provider", (req("GET", "/rs/x", _GOOD), req("GET", "/es/x", _GOOD)), (200, 401)),
    Case("post-with-token", (req("POST", "/rs/x", _GOOD, body=b"abc"),), (200,)),
    Case("chunked-with-token", (req("POST", "/rs/x", _GOOD, chunks=(b"abc", b"d")),), (200,)),
    Case(
        "pipelined-mixed",
        (req("GET", "/rs/1", _GOOD), req("GET", "/rs/2"), req("GET", "/open/3")),
        (200, 401),
        pipelined=True,
        differs=PIPELINED_AFTER_DENIAL,
        fastproxy_statuses=(200, 401, 200),
    ),
    Case("keep-alive-after-401", (req("GET", "/rs/1"), req("GET", "/rs/2", _GOOD)), (401, 200)),
    Case(
        "post-without-token",
        (req("POST", "/rs/x", body=b"abc"),),
        (401,),
        reaches_upstream=False,
        differs=EARLY_REPLY,
    ),
    Case("head-without-token", (req("HEAD", "/rs/x"),), (401,)),
    Case("options-without-token", (req("OPTIONS", "/rs/x"),), (401,)),
    Case(
        "expect-without-token",
        (req("POST", "/rs/x", ("Expect", "100-continue"), body=b"abc"),),
        (401,),
        reaches_upstream=False,
        differs=EARLY_REPLY,
    ),
]  # fmt: skip

FORGED = [
    case(f"forged-{where}-{name}", (header, "eyJzdWIiOiJldmUifQ"), *auth, path=path, reaches_upstream=True)
    for where, path, auth in [
        ("unmatched", "/free", ()),
        ("open-rule", "/open/x", ()),
        ("with-token", "/rs/x", (_GOOD,)),
        ("other-provider", "/no-payload/x", (_GOOD,)),
    ]
    for name, header in [
        ("payload", "x-jwt-payload"),
        ("upper-case", "X-JWT-Payload"),
        ("other-provider", "X-Padded"),
        ("mixed", "x-mixed-payload"),
    ]
] + [
    case("forged-twice", ("x-jwt-payload", "a"), ("x-jwt-payload", "b"), _GOOD, reaches_upstream=True),
    case(
        "forged-and-nominated",
        ("connection", "x-jwt-payload"),
        ("x-jwt-payload", "a"),
        _GOOD,
        reaches_upstream=True,
    ),
    case("nominated", ("connection", "x-jwt-payload"), _GOOD, reaches_upstream=True),
    case("authorization-nominated", ("connection", "authorization"), _GOOD, status=401),
]

RULES = [
    case("rule-open", path="/open"),
    case("rule-open-before-protected", path="/rs/open"),
    case("rule-open-query", path="/rs/open?x"),
    case("rule-open-not-longer", path="/rs/opened", status=401),
    case("rule-regex-open", path="/rs/free12"),
    case("rule-regex-not-full", path="/rs/free12x", status=401),
    case("rule-exact", path="/rs-exact", status=401),
    case("rule-exact-query", path="/rs-exact?x=1", status=401),
    case("rule-exact-slash", path="/rs-exact/"),
    case("rule-exact-with-token", _GOOD, path="/rs-exact"),
    case("rule-separated", path="/rs-separated/x", status=401),
    case("rule-separated-not", path="/rs-separatedx"),
    case("rule-regex", path="/rs-42?x", status=401),
    case("rule-regex-not", path="/rs-42x"),
    case("rule-case", path="/RS/x"),
    case("rule-unmatched", path="/free"),
    case("rule-unmatched-with-token", _GOOD, path="/free"),
    case("rule-unmatched-with-bad-token", ("Authorization", "Bearer x"), path="/free"),
    case("open-rule-keeps-token", _GOOD, path="/open/x"),
    case("protected-direct-response", path="/rs/direct", status=401),
    case("protected-direct-response-with-token", _GOOD, path="/rs/direct"),
    case("protected-redirect", path="/rs/redirect", status=401),
    case("protected-redirect-with-token", _GOOD, path="/rs/redirect", status=301),
    case("protected-no-route", path="/nothing", status=401, host="sparse.test"),
    case("protected-no-route-with-token", _GOOD, path="/nothing", status=404, host="sparse.test"),
    case("unprotected-no-route", path="/elsewhere", status=404, host="sparse.test"),
]

REALMS = [
    case("realm-query", path="/rs/x?a=b&c=%20d", status=401),
    case("realm-host-case-and-port", host="API.Test:8080", status=401),
    case("realm-forwarded-proto", ("x-forwarded-proto", "https"), status=401),
    case("realm-forwarded-proto-edge", ("x-forwarded-proto", "https"), status=401, listener="edge"),
    case(
        "realm-original-path", ("x-envoy-original-path", "/forged"), status=401, differs=REALM_ORIGINAL_PATH
    ),
    case("realm-original-path-edge", ("x-envoy-original-path", "/forged"), status=401, listener="edge"),
    case("realm-long-path", path="/rs/" + "l" * 300 + "?q", status=401),
    case("realm-exactly-256", path="/rs/" + "l" * 252, status=401),
    case("realm-query-token", path="/rs/x?access_token=abc", status=401, differs=REALM_REDACTED),
    case("realm-absolute-form", path="http://abs.test/rs/x?y", status=401),
    case("realm-encoded-quote", path="/rs/%22x", status=401),
    case("grpc", ("content-type", "application/grpc"), method="POST", status=200),
    case(
        "grpc-expired",
        ("content-type", "application/grpc+proto"),
        ("Authorization", "Bearer <<expired>>"),
        status=200,
    ),
    case(
        "grpc-audience",
        ("content-type", "application/grpc"),
        ("Authorization", "Bearer <<aud-other>>"),
        status=200,
    ),
]

KEY_SERVER = [
    bearer("good", 401, path=f"/{name}/x", differs=KEYS_UNAVAILABLE, instead=503)
    for name in ("broken", "hanging", "html", "missing", "down")
] + [
    bearer("expired", 401, path="/down/x"),
    bearer("iss-other", 401, path="/down/x"),
    bearer("two-parts", 401, path="/down/x"),
    case("no-token-keys-down", path="/down/x", status=401),
]


@parametrize_cases(ALGORITHMS)
def test_signatures_and_keys(jwt_pair: Pair, case: Case) -> None:
    """Only a token signed by the right key, with the algorithm of that key, gets in."""
    jwt_pair.check(case)


@parametrize_cases(STRUCTURE)
def test_token_structure(jwt_pair: Pair, case: Case) -> None:
    """Each broken token is refused with Envoy's text; those that Envoy forgives are listed."""
    jwt_pair.check(case)


@parametrize_cases(CLAIMS)
def test_claims(jwt_pair: Pair, case: Case) -> None:
    """Time, issuer and audience decide, in Envoy's order and with Envoy's texts."""
    jwt_pair.check(case)


@parametrize_cases(LOCATIONS)
def test_token_locations(jwt_pair: Pair, case: Case) -> None:
    """Tokens are taken from where the provider says and from nowhere else, and removed when not forwarded."""
    jwt_pair.check(case)


@parametrize_cases([*FORWARDING, *FORGED])
def test_s46_what_the_upstream_learns(jwt_pair: Pair, case: Case) -> None:
    """The upstream trusts the payload header: it must come from the proxy or not at all."""
    jwt_pair.check(case)


@parametrize_cases(RULES)
def test_rules(jwt_pair: Pair, case: Case) -> None:
    """The first matching rule decides, before the route does."""
    jwt_pair.check(case)


@parametrize_cases(REALMS)
def test_denials(jwt_pair: Pair, case: Case) -> None:
    """`www-authenticate` and the gRPC form of a denial are what clients of Envoy parse."""
    jwt_pair.check(case)


@parametrize_cases(KEY_SERVER)
def test_keys_that_cannot_be_fetched(jwt_pair: Pair, case: Case) -> None:
    """Claims are judged without keys; only a token that needs them meets the outage."""
    jwt_pair.check(case)
