"""jwt_authn's rules, requirements and further provider fields, and what routes say about the filter."""

import pytest

from fastproxy.filters.jwt_authn.settings import (
    AllowsMissing,
    AllowsMissingOrFailed,
    ClaimHeaderSettings,
    JwtAuthnSettings,
    PerRouteSettings,
    ProviderSettings,
    RequirementSettings,
    RequiresAll,
    RequiresAny,
    RequiresNothing,
    RequiresProvider,
    RuleSettings,
)
from fastproxy.match.settings import (
    HeaderMatch,
    PathKind,
    PathMatch,
    QueryMatch,
    RangeMatch,
    RequestConditions,
    StringKind,
    StringMatch,
)
from tests.config.support import jwt_filter, load, minimal, problem, problems, warnings

REMOTE = "remote_jwks: {http_uri: {uri: 'https://i.example/certs', cluster: backend, timeout: 2s}}"
PROVIDERS = f"a: {{issuer: a, {REMOTE}}}\nb: {{issuer: b, {REMOTE}}}"
PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig"
FILTER_CONFIG = "type.googleapis.com/envoy.config.route.v3.FilterConfig"


def text(rules: str = "[]", more: str = "", providers: str = PROVIDERS) -> str:
    filters = jwt_filter(providers, rules)
    return minimal(
        filters=filters.replace("    providers:", f"    {more}\n    providers:") if more else filters
    )


def settings(rules: str = "[]", more: str = "", providers: str = PROVIDERS) -> JwtAuthnSettings:
    return load(text(rules, more, providers)).settings.listeners[0].http.jwt_authn[0]


def rule(match: str, requires: str = "requires: {provider_name: a}") -> str:
    return f"- match: {match}\n  {requires}"


def built(match: str) -> RuleSettings:
    (found,) = settings(rule(match)).rules
    return found


def provider(fields: str) -> ProviderSettings:
    return settings(providers=f"p: {{issuer: i, {REMOTE}, {fields}}}").providers["p"]


# -- requirements ------------------------------------------------------------------------------------------

A, B = RequiresProvider("a"), RequiresProvider("b")


@pytest.mark.parametrize(
    ("requires", "expected"),
    [
        ("{provider_name: a}", A),
        (
            "{provider_and_audiences: {provider_name: a, audiences: [x, z]}}",
            RequiresProvider("a", ("x", "z")),
        ),
        ("{provider_and_audiences: {provider_name: a}}", A),
        ("{requires_any: {requirements: [{provider_name: a}, {provider_name: b}]}}", RequiresAny((A, B))),
        ("{requires_all: {requirements: [{provider_name: a}, {provider_name: b}]}}", RequiresAll((A, B))),
        (
            "{requires_any: {requirements: [{provider_name: a}, {allow_missing: {}}]}}",
            RequiresAny((A, AllowsMissing())),
        ),
        (
            (
                "{requires_all: {requirements: [{requires_any: {requirements: "
                "[{provider_name: a}, {provider_name: b}]}}, {provider_name: b}]}}"
            ),
            RequiresAll((RequiresAny((A, B)), B)),
        ),
        ("{allow_missing: {}}", AllowsMissing()),
        ("{allow_missing_or_failed: {}}", AllowsMissingOrFailed()),
        ("{}", RequiresNothing()),
    ],
)
def test_every_form_of_a_requirement(requires: str, expected: RequirementSettings) -> None:
    """spec/jwt_authn.md 1.4."""
    assert settings(rule("{prefix: /}", f"requires: {requires}")).rules[0].requires == expected


def test_an_empty_requirement_is_a_warning() -> None:
    """It protects nothing, and looks as if it did."""
    found = warnings(text(rule("{prefix: /}", "requires: {}")))
    assert any("lets every request through" in entry for entry in found)


@pytest.mark.parametrize(
    "requires",
    [
        "{provider_name: c}",
        "{provider_and_audiences: {provider_name: c, audiences: [x]}}",
        "{requires_any: {requirements: [{provider_name: a}, {provider_name: c}]}}",
        (
            "{requires_all: {requirements: [{provider_name: a}, {requires_any: {requirements: "
            "[{provider_name: b}, {provider_name: c}]}}]}}"
        ),
    ],
)
def test_an_unknown_provider_is_refused_at_any_depth(requires: str) -> None:
    """A requirement that names nobody would protect nothing."""
    found = problem(text(rule("{prefix: /}", f"requires: {requires}")))
    assert found.problem == "Required provider ['c'] is not configured"


@pytest.mark.parametrize("kind", ["requires_any", "requires_all"])
def test_a_group_of_one_is_refused(kind: str) -> None:
    """Envoy's rule: two or more."""
    assert problems(
        text(rule("{prefix: /}", f"requires: {{{kind}: {{requirements: [{{provider_name: a}}]}}}}"))
    )


def test_a_requirement_that_the_schema_does_not_know_is_refused() -> None:
    """`extract_only_without_validation` forwards what nobody verified; it is newer than the schema."""
    requires = "requires: {extract_only_without_validation: {}}"
    assert "unknown field" in problems(text(rule("{prefix: /}", requires)))[0].problem


def test_named_requirements() -> None:
    """`requirement_map` and `requirement_name`."""
    found = settings(
        rule("{prefix: /}", "requirement_name: one"),
        "requirement_map: {one: {provider_name: a}, two: {allow_missing: {}}}",
    )
    assert found.requirement_map == {"one": A, "two": AllowsMissing()}
    assert found.rules[0].requires == A


def test_an_unknown_requirement_name_is_refused_in_envoys_words() -> None:
    """With the known ones, sorted."""
    found = problem(
        text(
            rule("{prefix: /}", "requirement_name: onne"),
            "requirement_map: {two: {}, one: {provider_name: a}}",
        )
    )
    assert found.problem == "Wrong requirement_name: onne. It should be one of [one,two]"
    assert found.fix == 'Did you mean "one"?'


# -- matches -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "path", "conditions"),
    [
        ("{path: /a}", PathMatch(PathKind.EXACT, "/a"), RequestConditions()),
        (
            "{path_separated_prefix: /a, case_sensitive: false}",
            PathMatch(PathKind.SEPARATED_PREFIX, "/a", case_sensitive=False),
            RequestConditions(),
        ),
        ("{connect_matcher: {}}", PathMatch(PathKind.PREFIX, ""), RequestConditions(connect_only=True)),
    ],
)
def test_path_forms_of_a_rule(match: str, path: PathMatch, conditions: RequestConditions) -> None:
    """spec/jwt_authn.md 5.1."""
    assert (built(match).match, built(match).conditions) == (path, conditions)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("name: X-A", HeaderMatch("x-a")),
        ("name: a, present_match: false", HeaderMatch("a", value=False)),
        (
            "name: a, string_match: {exact: v, ignore_case: true}",
            HeaderMatch("a", StringMatch(StringKind.EXACT, "v", True)),
        ),
        (
            "name: a, string_match: {safe_regex: {regex: v+}}",
            HeaderMatch("a", StringMatch(StringKind.REGEX, "v+")),
        ),
        ("name: a, exact_match: v", HeaderMatch("a", StringMatch(StringKind.EXACT, "v"))),
        ("name: a, prefix_match: v", HeaderMatch("a", StringMatch(StringKind.PREFIX, "v"))),
        ("name: a, suffix_match: v", HeaderMatch("a", StringMatch(StringKind.SUFFIX, "v"))),
        ("name: a, contains_match: v", HeaderMatch("a", StringMatch(StringKind.CONTAINS, "v"))),
        ("name: a, safe_regex_match: {regex: v}", HeaderMatch("a", StringMatch(StringKind.REGEX, "v"))),
        ("name: a, range_match: {start: -1, end: 5}", HeaderMatch("a", RangeMatch(-1, 5))),
        (
            "name: a, exact_match: v, invert_match: true, treat_missing_header_as_empty: true",
            HeaderMatch("a", StringMatch(StringKind.EXACT, "v"), invert=True, missing_as_empty=True),
        ),
    ],
)
def test_header_conditions_of_a_rule(header: str, expected: HeaderMatch) -> None:
    """Every form that Envoy has, the old ones included."""
    assert built(f"{{prefix: /, headers: [{{{header}}}]}}").conditions.headers == (expected,)


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("name: a", QueryMatch("a")),
        ("name: a, present_match: true", QueryMatch("a")),
        ("name: a, string_match: {prefix: v}", QueryMatch("a", StringMatch(StringKind.PREFIX, "v"))),
    ],
)
def test_query_conditions_of_a_rule(parameter: str, expected: QueryMatch) -> None:
    """Both forms."""
    assert built(f"{{prefix: /, query_parameters: [{{{parameter}}}]}}").conditions.query_parameters == (
        expected,
    )


@pytest.mark.parametrize(
    "condition",
    [
        "runtime_fraction: {default_value: {numerator: 5}}",
        "grpc: {}",
        "tls_context: {presented: true}",
        "dynamic_metadata: [{filter: x, path: [{key: a}], value: {present_match: true}}]",
        "filter_state: [{key: a, string_match: {exact: b}}]",
    ],
)
def test_conditions_that_envoy_ignores_in_rules_are_refused(condition: str) -> None:
    """Envoy applies such a rule regardless; nobody who writes one expects that."""
    assert "Envoy ignores it" in problem(text(rule(f"{{prefix: /, {condition}}}"))).problem


@pytest.mark.parametrize(
    "match",
    [
        (
            "{path_match_policy: {name: x, typed_config: "
            '{"@type": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, '
            "path_template: '/a/{x}'}}}"
        ),
        (
            "{prefix: /, headers: [{name: a, string_match: {custom: {name: x, typed_config: "
            '{"@type": type.googleapis.com/google.protobuf.StringValue, value: x}}}}]}'
        ),
    ],
)
def test_forms_that_are_missing_are_refused(match: str) -> None:
    """A rule that matched less than it says would be a hole."""
    assert any("not supported" in entry.problem for entry in problems(text(rule(match))))


def test_filter_state_rules_are_refused() -> None:
    """Nothing sets filter state here: they would open what they look like protecting."""
    found = problem(text(more="filter_state_rules: {name: x, requires: {y: {provider_name: a}}}"))
    assert "never apply" in found.problem


# -- provider fields ---------------------------------------------------------------------------------------


def test_fields_about_claims_and_places() -> None:
    """Each in its attribute."""
    found = provider(
        "subjects: {suffix: '@x.test'}, max_lifetime: 60s, from_cookies: [session], clear_route_cache: true, "
        "claim_to_headers: [{header_name: X-Sub, claim_name: sub}, {header_name: x-org, claim_name: a.b.c}], "
        "payload_in_metadata: payload, header_in_metadata: header, failed_status_in_metadata: failure, "
        "normalize_payload_in_metadata: {space_delimited_claims: [scope]}"
    )
    assert found.subjects == StringMatch(StringKind.SUFFIX, "@x.test")
    assert found.max_lifetime_s == 60.0
    assert (found.from_headers, found.from_params, found.from_cookies) == ((), (), ("session",))
    assert found.claim_headers == (
        ClaimHeaderSettings("x-sub", ("sub",)),
        ClaimHeaderSettings("x-org", ("a", "b", "c")),
    )
    assert (found.payload_in_metadata, found.header_in_metadata) == ("payload", "header")
    assert (found.failed_status_in_metadata, found.space_delimited_claims) == ("failure", ("scope",))
    assert found.clear_route_cache


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("claim_to_headers: [{header_name: x}]", "must not be empty"),
        ("claim_to_headers: [{header_name: 'a b', claim_name: x}]", "no header name"),
        ("claim_to_headers: [{header_name: ':path', claim_name: x}]", "no header name"),
        ("claim_to_headers: [{header_name: Host, claim_name: x}]", "must not be replaced"),
        ("claim_to_headers: [{header_name: Authorization, claim_name: x}]", "tokens are read from"),
        ("from_headers: [{name: x-token}], forward_payload_header: X_Token", "tokens are read from"),
        ("from_cookies: ['a b']", "no cookie name"),
        ("max_lifetime: -1s", ""),
        (("subjects: {custom: {name: x, typed_config: "
         '{"@type": type.googleapis.com/google.protobuf.StringValue, value: x}}}'), "not supported"),
        ("subjects: {safe_regex: {regex: '('}}", "invalid regex"),
    ],
)  # fmt: skip
def test_provider_settings_that_cannot_be_honoured_are_refused(fields: str, words: str) -> None:
    """A claim check that is ignored lets strangers in; a bad header breaks every request."""
    found = problems(text(providers=f"p: {{issuer: i, {REMOTE}, {fields}}}"))
    assert any(words in entry.problem for entry in found), found


def test_a_header_of_another_provider_is_no_place_for_claims() -> None:
    """Identity headers are removed from every request, so the other provider's tokens would never be found."""
    providers = (
        f"a: {{issuer: a, {REMOTE}, from_headers: [{{name: x-token}}]}}\n"
        f"b: {{issuer: b, {REMOTE}, forward_payload_header: x-token}}"
    )
    assert '(provider "a")' in problem(text(providers=providers)).problem


def test_filter_fields() -> None:
    """Those that are not about providers or rules."""
    found = settings(
        more="bypass_cors_preflight: true\n    strip_failure_response: true\n    stat_prefix: api"
    )
    assert (found.bypass_cors_preflight, found.strip_failure_response, found.stat_prefix) == (
        True,
        True,
        "api",
    )
    assert (found.name, found.is_off_by_default) == ("jwt", False)


# -- routes ------------------------------------------------------------------------------------------------

NAMED = "requirement_map: {am: {allow_missing: {}}, strict: {provider_name: a}}"


def with_routes(
    routes: str, virtual_host: str = "", manager: str = "", entry: str = "", more: str = NAMED
) -> str:
    filters = jwt_filter(PROVIDERS).replace("    providers:", f"    {more}\n    providers:")
    return minimal(
        routes=routes,
        virtual_host=virtual_host,
        filters=filters.replace("- name: jwt", f"- name: jwt\n  {entry}") if entry else filters,
        manager=manager,
    )


def per_route(config: str, key: str = "jwt", kind: str = PER_ROUTE) -> str:
    return f'typed_per_filter_config: {{{key}: {{"@type": {kind}, {config}}}}}'


def route(config: str = "", prefix: str = "/") -> str:
    return f"- match: {{prefix: {prefix}}}\n  route: {{cluster: backend}}\n  {config}\n"


def configs(whole: str) -> list[object]:
    (host,) = load(whole).settings.listeners[0].http.route_config.virtual_hosts
    return [one.filter_configs.get("jwt") for one in host.routes]


WRAPPED = f'config: {{"@type": {PER_ROUTE}, requirement_name: am}}'


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (per_route("disabled: true"), PerRouteSettings(disabled=True)),
        (per_route("requirement_name: strict"), PerRouteSettings("strict")),
        (per_route("disabled: true", kind=FILTER_CONFIG), PerRouteSettings(is_skipped=True)),
        (per_route(WRAPPED, kind=FILTER_CONFIG), PerRouteSettings("am")),
        (per_route("config: {}", kind=FILTER_CONFIG), PerRouteSettings()),
        (per_route("config: {}, disabled: true", kind=FILTER_CONFIG), PerRouteSettings(is_skipped=True)),
        (per_route(f"{WRAPPED}, disabled: true", kind=FILTER_CONFIG), PerRouteSettings(is_skipped=True)),
    ],
)
def test_what_a_route_says(config: str, expected: PerRouteSettings) -> None:
    """spec/http.md 9.4, with and without the wrapper."""
    assert configs(with_routes(route(config))) == [expected]


def test_the_most_specific_level_wins_whole() -> None:
    """Route over virtual host over route table."""
    found = configs(
        with_routes(
            route(per_route("requirement_name: strict"), "/a") + route(prefix="/b"),
            virtual_host=per_route("disabled: true"),
        )
    )
    assert found == [PerRouteSettings("strict"), PerRouteSettings(disabled=True)]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            per_route("requirement_name: nope"),
            "Wrong requirement_name: nope. It should be one of [am,strict]",
        ),
        (per_route("disabled: false"), ""),
        (per_route("is_optional: false", kind=FILTER_CONFIG), "no settings that can be read"),
        (per_route("config: {disabled: true}", kind=FILTER_CONFIG), 'no "@type"'),
        (per_route("config: []", kind=FILTER_CONFIG), ""),
        (per_route("requirement_name: ''"), ""),
        (per_route("disabled: true", key="jwtt"), 'no filter named "jwtt"'),
        (per_route("disabled: true", key="router"), "no settings for single routes"),
        (per_route("", kind="type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"), "takes a"),
    ],
)
def test_what_a_route_cannot_say(config: str, words: str) -> None:
    """Envoy finds the first of these when a request comes, and ignores a key that names no filter."""
    found = problems(with_routes(route(config)))
    assert any(words in entry.problem for entry in found), found


def test_optional_settings_for_a_missing_filter_are_a_warning() -> None:
    """`is_optional` says that it may be missing."""
    config = per_route(f"is_optional: true, {WRAPPED}", key="other", kind=FILTER_CONFIG)
    assert any("has no effect" in entry for entry in warnings(with_routes(route(config))))


def test_a_filter_that_routes_switch_on() -> None:
    """`disabled: true` in http_filters."""
    whole = with_routes(route(per_route("requirement_name: am")), entry="disabled: true")
    assert load(whole).settings.listeners[0].http.jwt_authn[0].is_off_by_default
    assert configs(whole) == [PerRouteSettings("am")]
