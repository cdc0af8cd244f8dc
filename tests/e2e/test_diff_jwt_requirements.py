"""`jwt_authn`'s requirements, claims, places, matches and routes, as through Envoy (spec/jwt_authn.md 5 to 12)."""

from collections.abc import Iterator
from itertools import product

import pytest

from tests.conftest import require_peer
from tests.e2e.support.cases import Case, Pair, parametrize_cases
from tests.e2e.support.differences import (
    ALL_CHILDREN_TRIED,
    CLAIM_DROPPED,
    CLAIM_ENCODED,
    COOKIE_REMOVED,
    EXACT_NUMBERS,
    HEAD_LOCAL_REPLY,
    MISSING_EXP,
    MISSING_MEANS_MISSING,
    ONE_TOKEN_TWICE,
    SKIPPED_STILL_CLEANS,
    TWO_TOKENS,
    UNACCEPTED_TOKENS,
    VERIFIED_HEADERS_KEPT,
    Difference,
)
from tests.e2e.support.jwt_algebra import CLAIM_NAMES, REQUIREMENTS, STATES, algebra_pair
from tests.e2e.support.proxies import Config
from tests.e2e.support.wire import encode_request as req


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both proxies over the configuration of `jwt_algebra`."""
    require_peer("envoy")
    with algebra_pair(tmp_path_factory.mktemp("algebra")) as both:
        yield both


def case(
    id_: str,
    path: str,
    *headers: tuple[str, str],
    status: int = 200,
    listener: str = "fields",
    method: str = "GET",
    host: str = "h.test",
    differs: Difference | None = None,
    instead: int | None = None,
) -> Case:
    """One request; `instead` is FastProxy's status where it differs."""
    return Case(
        id_,
        (req(method, path, *headers, host=host),),
        (status,),
        listener=listener,
        differs=differs,
        fastproxy_statuses=() if instead is None else (instead,),
    )


# -- requirements ------------------------------------------------------------------------------------------

#: Tokens by place: x-a is read by provider a, x-b by b, authorization by c and d.
Tokens = dict[str, str]


def envoy_verdict(requirement: Config, tokens: Tokens) -> tuple[int, set[str]]:
    """Envoy's status number (0: passed) and the tokens it verified, by spec/jwt_authn.md section 7.2."""
    (kind,) = requirement or {"nothing": {}}
    if kind == "nothing":
        return 0, set()
    if kind == "provider_name":
        return _judge(requirement[kind], tokens)
    if kind == "provider_and_audiences":
        return _judge(requirement[kind]["provider_name"], tokens, requirement[kind].get("audiences"))
    if kind in ("allow_missing", "allow_missing_or_failed"):
        verdicts = [_judge(name, tokens) for name in ("a", "b") if name in tokens]
        # The last that is evaluated decides, and it goes from the last name to the first.
        number = verdicts[0][0] if verdicts and kind == "allow_missing" else 0
        return number, set().union(*(accepted for _, accepted in verdicts))
    children = requirement[kind]["requirements"]
    return _all(children, tokens) if kind == "requires_all" else _any(children, tokens)


def _judge(name: str, tokens: Tokens, audiences: list[str] | None = None) -> tuple[int, set[str]]:
    state = tokens.get(name)
    if state is None:
        return 1, set()
    number = STATES[state]
    if audiences:
        # The audience is looked at before the signature.
        number = {0: 25, 26: 25, 25: 0}.get(number, number)
    return number, set() if number else {name}


def _all(children: list[Config], tokens: Tokens) -> tuple[int, set[str]]:
    accepted: set[str] = set()
    for child in children:
        number, more = envoy_verdict(child, tokens)
        if number:
            return number, accepted
        accepted |= more
        # `forward: false`: what one child verified is gone for the next.
        tokens = {name: state for name, state in tokens.items() if name not in more}
    return 0, accepted


def _any(children: list[Config], tokens: Tokens) -> tuple[int, set[str]]:
    flags = {kind for child in children for kind in child if kind.startswith("allow_")}
    others = [child for child in children if not flags.intersection(child)]
    if not others:
        return envoy_verdict({max(flags): {}}, tokens)
    found = 1
    for child in others:
        number, accepted = envoy_verdict(child, tokens)
        if number == 0:
            return 0, accepted
        if number not in (1, 24) or (number == 24 and found == 1):
            found = number
    passes = "allow_missing_or_failed" in flags or ("allow_missing" in flags and found == 1)
    return (0 if passes else found), set()


#: Where FastProxy refuses although Envoy lets pass: a bad token beside `allow_missing`.
_S28 = {"missing", "only-missing", "nested-missing", "group-missing", "all-with-missing"}
#: Requirements that leave no token behind that they did not accept, once they accepted one.
_ALTERNATIVES = {
    "any", "any-missing", "missing-any", "any-two-missing", "any-failed", "any-both-flags", "any-with-group",
    "nested-missing", "any-audiences", "any-empty", "named-any",
}  # fmt: skip


def _difference(name: str, requirement: Config, tokens: Tokens) -> tuple[Difference | None, int | None]:
    number, accepted = envoy_verdict(requirement, tokens)
    if number:
        return None, None
    bad = [one for one, state in tokens.items() if STATES[state]]
    if name in _S28 and (bad or (name == "group-missing" and len(tokens) == 1)):
        good_beside_bad = name == "nested-missing" and tokens.get("b") == "good"
        if not good_beside_bad and (bad != ["b"] or name != "nested-missing" or tokens.get("a") != "good"):
            first_bad = tokens.get("a") if "a" in bad else tokens.get("b")
            return MISSING_MEANS_MISSING, 403 if first_bad == "aud" and name != "group-missing" else 401
    if name in {"all-with-missing", "all-with-failed"}:
        return VERIFIED_HEADERS_KEPT, 200
    if name == "empty-any" and tokens.get("a") == "good":
        return ALL_CHILDREN_TRIED, 200
    if name in _ALTERNATIVES and accepted and (set(tokens) & _mentioned(requirement)) - accepted:
        return UNACCEPTED_TOKENS, 200
    return None, None


def _mentioned(requirement: Config) -> set[str]:
    return {name for name in ("a", "b") if f"'provider_name': '{name}'" in str(requirement)}


def algebra_cases() -> Iterator[Case]:
    """Every requirement with every pair of token states."""
    named = {"named": REQUIREMENTS["one"], "named-any": REQUIREMENTS["any"]}
    for name, requirement in (REQUIREMENTS | named).items():
        if name in {"any-shared", "all-same"}:
            continue
        for a, b in product((None, *STATES), (None, *STATES)):
            tokens = {place: state for place, state in (("a", a), ("b", b)) if state is not None}
            number, _ = envoy_verdict(requirement, tokens)
            differs, instead = _difference(name, requirement, tokens)
            yield case(
                f"{name}-{a or 'none'}-{b or 'none'}",
                f"/{name}/x",
                *((f"x-{place}", f"<<{place}-{state}>>") for place, state in tokens.items()),
                status={0: 200, 25: 403}.get(number, 401),
                listener="algebra",
                differs=differs,
                instead=instead,
            )


def bearer(token: str) -> tuple[str, str]:
    return "authorization", f"Bearer <<{token}>>"


SHARED = [
    case("shared-first", "/any-shared/x", bearer("c-good"), listener="algebra"),
    case("shared-second", "/any-shared/x", bearer("d-good"), listener="algebra"),
    case("shared-foreign", "/any-shared/x", bearer("c-foreign"), listener="algebra", status=401),
    case("shared-first-expired", "/any-shared/x", bearer("c-expired"), listener="algebra", status=401),
    case("shared-second-expired", "/any-shared/x", bearer("d-expired"), listener="algebra", status=401),
    case("shared-second-audience", "/any-shared/x", bearer("d-aud"), listener="algebra", status=403),
    case("shared-none", "/any-shared/x", listener="algebra", status=401),
    case("same-twice", "/all-same/x", bearer("c-good"), listener="algebra",
         status=401, differs=ONE_TOKEN_TWICE, instead=200),
    case("same-twice-bad", "/all-same/x", bearer("c-tampered"), listener="algebra", status=401),
    case("missing-by-issuer-c", "/missing/x", bearer("c-good"), listener="algebra"),
    case("missing-by-issuer-d", "/missing/x", bearer("d-good"), listener="algebra"),
    case("missing-by-issuer-bad", "/missing/x", bearer("d-tampered"), listener="algebra", status=401),
    case("missing-by-issuer-foreign", "/missing/x", bearer("d-foreign"), listener="algebra", status=401),
    case("missing-no-token-at-all", "/missing/x", ("authorization", "Bearer x.y"), listener="algebra", status=401),
    case("missing-other-scheme", "/missing/x", ("authorization", "Basic YTpi"), listener="algebra"),
    case("missing-wrong-place", "/missing/x", ("x-a", "<<b-good>>"), listener="algebra", status=401),
    case("failed-by-issuer-c", "/failed/x", bearer("c-good"), listener="algebra"),
    case("failed-by-issuer-bad", "/failed/x", bearer("d-tampered"), listener="algebra"),
    case("failed-no-token-at-all", "/failed/x", ("authorization", "Bearer x.y"), listener="algebra"),
    case("failed-wrong-place", "/failed/x", ("x-a", "<<b-good>>"), listener="algebra"),
    case("group-b-c", "/any-with-group/x", ("x-b", "<<b-good>>"), bearer("c-good"), listener="algebra"),
    case("group-b-c-bad", "/any-with-group/x", ("x-b", "<<b-good>>"), bearer("c-tampered"), listener="algebra",
         status=401),
    case("group-c", "/any-with-group/x", bearer("c-good"), listener="algebra", status=401),
    case("unmatched-keeps-tokens", "/nowhere/x", ("x-a", "<<a-tampered>>"), listener="algebra"),
]  # fmt: skip

# -- fields ------------------------------------------------------------------------------------------------


def alice(id_: str, path: str, token: str = "alice", **more: object) -> Case:
    return case(id_, f"/{path}/x", bearer(token), **more)  # type: ignore[arg-type]  # passed through


SUBJECTS = [
    alice(f"{path}-{token}", path, token, status=200 if token in passing else 401)
    for path, passing in {
        "sub-exact": {"alice"},
        "sub-exact-case": {"alice", "alice-upper"},
        "sub-prefix": {"alice"},
        "sub-suffix": {"alice"},
        "sub-suffix-case": {"alice", "alice-upper"},
        "sub-contains": {"alice"},
        "sub-regex": {"alice"},
        "sub-regex-part": set(),
        "sub-regex-empty": {"no-sub"},
    }.items()
    for token in ("alice", "bob", "alice-upper", "no-sub")
]
LIFETIMES = [
    alice("lifetime-too-long", "lifetime", status=401),
    alice("lifetime-fits", "lifetime-long"),
    alice("lifetime-far-too-long", "lifetime-long", "long-lived", status=401),
    alice("lifetime-no-exp", "lifetime-long", "no-exp", status=401),
    alice("lifetime-expired", "lifetime", "expired", status=401),
    alice("lifetime-within-skew", "lifetime", "expired-within-skew"),
    alice("must-expire", "must-expire"),
    alice("must-expire-no-exp", "must-expire", "no-exp", status=401),
    alice("may-live-for-ever", "claim", "no-exp", differs=MISSING_EXP, instead=401),
]
_ENCODED = {"unicode", "emoji", "leading-space", "trailing-space", "looks-encoded"}
_DROPPED = {"crlf": 503, "lf": 503, "nul": 503, "tab": 200}
_EXACT = {"big", "beyond-double", "negative", "negative-big"}


def _claim_difference(name: str) -> Difference | None:
    if name in _ENCODED:
        return CLAIM_ENCODED
    if name in _DROPPED:
        return CLAIM_DROPPED
    return EXACT_NUMBERS if name in _EXACT else None


CLAIMS = [
    case(
        f"claim-{name}",
        "/claim/x",
        bearer(f"claim-{name}"),
        status=_DROPPED.get(name, 200),
        differs=_claim_difference(name),
        instead=None if _claim_difference(name) is None else 200,
    )
    for name in CLAIM_NAMES
] + [
    alice("claim-deep", "claim-deep", "deep"),
    alice("claim-deep-missing", "claim-deep"),
    alice("claim-deep-dotted-name", "claim-deep", "deep-dotted"),
    alice("claim-through-text", "claim-through-text"),
    alice("claim-through-list", "claim-through-list", "list-claim"),
    alice("claim-twice", "claim-twice"),
    alice("claim-and-payload", "claim-and-payload"),
    alice("claim-missing-strips-forged", "claim", "alice"),
    case("claim-forged", "/claim/x", bearer("alice"), ("x-claim", "eve")),
    case("claim-forged-other-path", "/nowhere/x", ("X-Claim", "eve")),
    case(
        "claim-forged-beside-real",
        "/claim-and-payload/x",
        bearer("alice"),
        ("x-claim", "eve"),
        ("x-payload", "e"),
    ),
    alice("metadata", "metadata"),
    alice("clear-route", "clear-route"),
]

_SESSION = ("cookie", "session=<<alice>>")
COOKIES = [
    case("cookie-kept", "/cookie-keep/x", _SESSION),
    case("cookie-quoted", "/cookie-keep/x", ("cookie", 'session="<<alice>>"')),
    case("cookie-among-others", "/cookie-keep/x", ("cookie", "a=1; session=<<alice>>; b=2")),
    case("cookie-no-spaces", "/cookie-keep/x", ("cookie", "a=1;session=<<alice>>;b=2")),
    case("cookie-second-header", "/cookie-keep/x", ("cookie", "a=1"), _SESSION),
    case("cookie-case", "/cookie-keep/x", ("cookie", "Session=<<alice>>"), status=401),
    case("cookie-prefix", "/cookie-keep/x", ("cookie", "xsession=<<alice>>"), status=401),
    case("cookie-bad", "/cookie-keep/x", ("cookie", "session=<<bad>>"), status=401),
    case("cookie-not-a-token", "/cookie-keep/x", ("cookie", "session=abc"), status=401),
    case("cookie-none", "/cookie-keep/x", status=401),
    case("cookie-not-authorization", "/cookie-keep/x", bearer("alice"), status=401),
    case("cookie-twice", "/cookie-keep/x", ("cookie", "session=<<alice>>; session=<<bad>>"),
         differs=TWO_TOKENS, instead=401),
    case("cookie-removed", "/cookie/x", ("cookie", "a=1; session=<<alice>>"), differs=COOKIE_REMOVED, instead=200),
    case("cookie-removed-alone", "/cookie/x", _SESSION, differs=COOKIE_REMOVED, instead=200),
    case("cookie-or-header", "/cookie-and-header/x", _SESSION),
    case("cookie-or-header-header", "/cookie-and-header/x", ("x-token", "<<alice>>"), ("cookie", "a=1")),
    case("cookie-and-header", "/cookie-and-header/x", ("x-token", "<<alice>>"), _SESSION,
         differs=TWO_TOKENS, instead=401),
]  # fmt: skip

# -- filter options ----------------------------------------------------------------------------------------

_ORIGIN = ("origin", "https://app.test")
_ASKS = ("access-control-request-method", "POST")
OPTIONS = [
    case("strip-missing", "/x", listener="strip", status=401),
    case("strip-bad", "/x", bearer("bad"), listener="strip", status=401),
    case("strip-good", "/x", bearer("alice"), listener="strip"),
    case("strip-head", "/x", listener="strip", status=401, method="HEAD", differs=HEAD_LOCAL_REPLY, instead=401),
    case("strip-grpc", "/x", ("content-type", "application/grpc"), listener="strip", method="POST"),
    case("preflight", "/x", _ORIGIN, _ASKS, listener="preflight", method="OPTIONS"),
    case("preflight-bad-token", "/x", _ORIGIN, _ASKS, bearer("bad"), listener="preflight", method="OPTIONS"),
    case("preflight-forged", "/x", _ORIGIN, _ASKS, ("x-payload", "e"), listener="preflight", method="OPTIONS"),
    case("preflight-no-origin", "/x", _ASKS, listener="preflight", method="OPTIONS", status=401),
    case("preflight-empty-origin", "/x", ("origin", ""), _ASKS, listener="preflight", method="OPTIONS", status=401),
    case("preflight-no-method", "/x", _ORIGIN, listener="preflight", method="OPTIONS", status=401),
    case("preflight-get", "/x", _ORIGIN, _ASKS, listener="preflight", status=401),
    case("preflight-not-bypassed", "/x", _ORIGIN, _ASKS, listener="strip", method="OPTIONS", status=401),
]  # fmt: skip

_FORGED = ("x-payload", "e")
ROUTES = [
    case(f"{listener}-{id_}", path, *headers, listener=listener, status=status, host=host)
    for listener in ("routes", "off")
    for id_, path, headers, status, host in [
        ("free", "/free/x", (), 200, "h.test"),
        ("free-bad-token", "/free/x", (bearer("bad"),), 200, "h.test"),
        ("free-forged", "/free/x", (_FORGED,), 200, "h.test"),
        ("strict", "/strict/x", (), 401, "h.test"),
        ("strict-good", "/strict/x", (bearer("alice"),), 200, "h.test"),
        ("strict-under-open-rule", "/strict/../open/x", (), 401, "h.test"),
        ("optional", "/optional/x", (), 200, "h.test"),
        ("optional-bad", "/optional/x", (bearer("bad"),), 401, "h.test"),
        ("optional-good", "/optional/x", (bearer("alice"),), 200, "h.test"),
        ("wrapped", "/wrapped/x", (), 200, "h.test"),
        ("wrapped-bad", "/wrapped/x", (bearer("bad"),), 401, "h.test"),
        ("wrapped-off", "/off/x", (bearer("bad"),), 200, "h.test"),
        ("direct", "/direct/x", (), 401, "h.test"),
        ("direct-good", "/direct/x", (bearer("alice"),), 200, "h.test"),
        ("host-free", "/x", (), 200, "free.test"),
        ("host-free-strict-route", "/strict/x", (), 401, "free.test"),
        ("host-optional", "/x", (), 200, "optional.test"),
        ("host-optional-bad", "/x", (bearer("bad"),), 401, "optional.test"),
        ("no-config", "/x", (), 401 if listener == "routes" else 200, "h.test"),
        ("no-config-good", "/x", (bearer("alice"),), 200, "h.test"),
    ]
] + [
    case("routes-skipped-forged", "/off/x", _FORGED, listener="routes", differs=SKIPPED_STILL_CLEANS, instead=200),
    case("off-by-default-forged", "/x", _FORGED, listener="off", differs=SKIPPED_STILL_CLEANS, instead=200),
]  # fmt: skip

# -- matches -----------------------------------------------------------------------------------------------


def match(id_: str, path: str, *headers: tuple[str, str], applies: bool, **more: object) -> Case:
    """A request without token: 401 where the rule applies."""
    return case(id_, path, *headers, listener="matches", status=401 if applies else 200, **more)  # type: ignore[arg-type]


_VALUES = ("one", "ONE", "two", "", "5", "-5", "10", "5x", "+5", "one,two")
_HEADER_FORMS = {
    "h-present": set(_VALUES),
    "h-absent": set(),
    "h-not-present": set(),
    "h-exact": {"one"},
    "h-case": {"one", "ONE"},
    "h-prefix": {"one", "one,two"},
    "h-suffix": {"one"},
    "h-contains": {"one", "one,two"},
    "h-regex": {"one"},
    "h-range": {"5", "-5", "+5"},
    "h-invert": set(_VALUES) - {"one"},
    "h-as-empty": {""},
}
MATCHES = [
    match(f"{form}-{value or 'empty'}", f"/{form}/x", ("x-h", value), applies=value in applying)
    for form, applying in _HEADER_FORMS.items()
    for value in _VALUES
]
MATCHES += [
    match(f"{form}-no-header", f"/{form}/x", applies=form in {"h-absent", "h-not-present", "h-as-empty"})
    for form in _HEADER_FORMS
]
MATCHES += [
    match(f"{form}-two-values", f"/{form}/x", ("x-h", "two"), ("x-h", "one"), applies=applies)
    for form, applies in [("h-exact", True), ("h-invert", False), ("h-prefix", True), ("h-absent", False)]
]
MATCHES += [
    match("h-method-get", "/h-method/x", applies=False),
    match("h-method-post", "/h-method/x", applies=True, method="POST"),
    match("h-path-query", "/h-path/x?q=1", applies=True),
    match("h-path-plain", "/h-path/x", applies=False),
    match("h-authority-other", "/h-authority/x", applies=False),
    match("h-authority-api", "/h-authority/x", applies=True, host="api.test"),
    match("h-scheme", "/h-scheme/x", applies=True),
    match("q-present", "/q-present/x?q=1", applies=True),
    match("q-present-empty", "/q-present/x?q=", applies=True),
    match("q-present-bare", "/q-present/x?a&q", applies=True),
    match("q-present-other", "/q-present/x?Q=1", applies=False),
    match("q-present-none", "/q-present/x", applies=False),
    match("q-present-true", "/q-present-true/x?q", applies=True),
    match("q-exact", "/q-exact/x?q=1", applies=True),
    match("q-exact-first-counts", "/q-exact/x?q=2&q=1", applies=False),
    match("q-exact-first-counts-hit", "/q-exact/x?q=1&q=2", applies=True),
    match("q-exact-escaped", "/q-exact/x?q=%31", applies=False),
    match("q-exact-escaped-name", "/q-exact/x?%71=1", applies=False),
    match("q-regex", "/q-regex/x?q=12", applies=True),
    match("q-regex-part", "/q-regex/x?q=12x", applies=False),
    match("q-raw", "/q-raw/x?q=a%20b", applies=True),
    match("both", "/both/x?q=1", ("x-h", "one"), applies=True),
    match("both-header-only", "/both/x", ("x-h", "one"), applies=False),
    match("both-query-only", "/both/x?q=1", applies=False),
    match("path-case", "/eXACT", applies=True),
    match("path-case-longer", "/exact/", applies=False),
    match("prefix-case", "/PREFIXED", applies=True),
    match("separated-case", "/API/x", applies=True),
    match("separated-case-glued", "/APIX", applies=False),
    match("separated", "/sep", applies=True),
    match("separated-below", "/sep/x?y", applies=True),
    match("separated-query", "/sep?x", applies=True),
    match("separated-glued", "/sepx", applies=False),
    match("separated-escaped", "/sep%2fx", applies=False),
    match("connect", "h.test:443", applies=True, method="CONNECT"),
    match("regex", "/r12?x", applies=True),
    match("regex-longer", "/r12x", applies=False),
]  # fmt: skip


@parametrize_cases([*algebra_cases(), *SHARED])
def test_requirements(pair: Pair, case: Case) -> None:
    """Which of several tokens decides, and with which text."""
    pair.check(case)


@parametrize_cases([*SUBJECTS, *LIFETIMES])
def test_subjects_and_lifetimes(pair: Pair, case: Case) -> None:
    """Claims that the operator restricts."""
    pair.check(case)


@parametrize_cases(CLAIMS)
def test_s47_claims_in_headers(pair: Pair, case: Case) -> None:
    """What the upstream reads is what the issuer wrote, or nothing."""
    pair.check(case)


@parametrize_cases(COOKIES)
def test_cookies(pair: Pair, case: Case) -> None:
    """Tokens in cookies."""
    pair.check(case)


@parametrize_cases(OPTIONS)
def test_filter_options(pair: Pair, case: Case) -> None:
    """Stripped denials and CORS preflights."""
    pair.check(case)


@parametrize_cases(ROUTES)
def test_routes(pair: Pair, case: Case) -> None:
    """What a route or a virtual host says comes before the rules."""
    pair.check(case)


@parametrize_cases(MATCHES)
def test_rule_matches(pair: Pair, case: Case) -> None:
    """A rule that matches less, or more, than in Envoy is a hole, or an outage."""
    pair.check(case)
