"""Virtual hosts, route matches and actions."""

from typing import Any

import pytest

from fastproxy.format.settings import BodyFormatSettings, HeaderRuleSettings, HeaderValueSettings
from fastproxy.match.settings import (
    AnyMatch,
    Fraction,
    HeaderMatch,
    ListMatch,
    NullMatch,
    NumberMatch,
    PathKind,
    PathMatch,
    PresentMatch,
    QueryMatch,
    RegexSubstitution,
    RequestConditions,
    StringKind,
    StringMatch,
    ValueMatch,
)
from fastproxy.router.settings import (
    CookieHash,
    DirectResponseAction,
    ForwardAction,
    HashPolicy,
    HeaderHash,
    MirrorPolicy,
    QueryHash,
    RedirectAction,
    RouteActionSettings,
    RouteConfigurationSettings,
    SourceAddressHash,
    TlsRequirement,
    VirtualClusterSettings,
    WeightedCluster,
    WeightedClusters,
)
from tests.config.support import load, minimal, problem, problems, warnings

FORWARD = "route: {cluster: backend}"


def table(text: str) -> RouteConfigurationSettings:
    return load(text).settings.listeners[0].http.route_config


def action(text: str) -> RouteActionSettings:
    return table(minimal(routes=f"- match: {{prefix: /}}\n  {text}")).virtual_hosts[0].routes[0].action


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("{prefix: /a}", PathMatch(PathKind.PREFIX, "/a")),
        ('{prefix: ""}', PathMatch(PathKind.PREFIX, "")),
        ("{path: /a, case_sensitive: false}", PathMatch(PathKind.EXACT, "/a", case_sensitive=False)),
        ("{path_separated_prefix: /a}", PathMatch(PathKind.SEPARATED_PREFIX, "/a")),
        ("{safe_regex: {regex: '/r[0-9]+'}}", PathMatch(PathKind.REGEX, "/r[0-9]+")),
        ("{safe_regex: {google_re2: {}, regex: /r}}", PathMatch(PathKind.REGEX, "/r")),
    ],
)
def test_path_conditions(match: str, expected: PathMatch) -> None:
    """All four forms, and the old spelling of a regex."""
    assert (
        table(minimal(routes=f"- match: {match}\n  {FORWARD}")).virtual_hosts[0].routes[0].match == expected
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("route: {cluster: backend}", ForwardAction("backend")),
        (
            (
                "route: {cluster: backend, timeout: 0s, host_rewrite_literal: a, prefix_rewrite: /b,"
                " cluster_not_found_response_code: NOT_FOUND}"
            ),
            ForwardAction(
                "backend",
                0.0,
                "a",
                auto_host_rewrite=False,
                prefix_rewrite="/b",
                cluster_not_found_status=404,
            ),
        ),
        (
            "route: {cluster: backend, auto_host_rewrite: true}",
            ForwardAction("backend", auto_host_rewrite=True),
        ),
        ("redirect: {}", RedirectAction()),
        (
            (
                "redirect: {https_redirect: true, host_redirect: h, port_redirect: 8, path_redirect: /p,"
                " response_code: FOUND, strip_query: true}"
            ),
            RedirectAction(
                302,
                https_redirect=True,
                host_redirect="h",
                port_redirect=8,
                path_redirect="/p",
                strip_query=True,
            ),
        ),
        (
            "redirect: {scheme_redirect: https, prefix_rewrite: /p}",
            RedirectAction(scheme_redirect="https", prefix_rewrite="/p"),
        ),
        ("direct_response: {status: 200, body: {inline_string: hi}}", DirectResponseAction(200, b"hi")),
        ("direct_response: {status: 204}", DirectResponseAction(204)),
    ],
)
def test_actions(text: str, expected: RouteActionSettings) -> None:
    """Every attribute from its field."""
    assert action(text) == expected


def test_domains_are_compared_in_lower_case() -> None:
    """Host names have no case (RFC 9110 section 4.2.3)."""
    found = table(minimal().replace('domains: "*"', "domains: [A.Example, '*.B', 'c.*']"))

    assert found.virtual_hosts[0].domains == ("a.example", "*.b", "c.*")


@pytest.mark.parametrize(
    ("domains", "words"),
    [
        ('["*", "*"]', "Only a single wildcard domain"),
        ("[a.example, A.example]", "Only unique values for domains"),
        ('["a*b"]', "no meaning"),
        ('["*a*"]', "no meaning"),
        ('[""]', "must not be empty"),
    ],
)
def test_ambiguous_domains_are_refused(domains: str, words: str) -> None:
    """Which virtual host answers must not depend on their order."""
    assert words in problem(minimal().replace('domains: "*"', f"domains: {domains}")).problem


def test_an_unknown_cluster_is_refused_with_its_nearest_neighbour() -> None:
    """Otherwise every request answers 503 at run time."""
    found = problem(minimal(routes="- match: {prefix: /}\n  route: {cluster: bakend}"))

    assert found.problem == "unknown cluster 'bakend'"
    assert found.fix == 'Did you mean "backend"?'


def test_the_check_of_clusters_can_be_switched_off() -> None:
    """`validate_clusters: false`, as in Envoy."""
    text = minimal(routes="- match: {prefix: /}\n  route: {cluster: later}")

    assert table(
        text.replace("name: local", "name: local\n            validate_clusters: false")
    ).virtual_hosts


@pytest.mark.parametrize("pattern", ["(?=a)", "(a)\\1", "a(", "*"])
def test_only_re2_syntax_is_taken(pattern: str) -> None:
    """Backtracking engines can be made to hang by a path."""
    found = problem(minimal(routes=f"- match: {{safe_regex: {{regex: '{pattern}'}}}}\n  {FORWARD}"))

    assert found.problem.startswith("invalid regex")


def test_direct_response_bodies_are_bounded() -> None:
    """Envoy's limit, and the field that raises it."""
    text = minimal(
        routes=f"- match: {{prefix: /}}\n  direct_response: {{status: 200, body: {{inline_string: {'a' * 4097}}}}}"
    )

    assert "4097 bytes; maximum is 4096" in problem(text).problem
    raised = "name: local\n            max_direct_response_body_size_bytes: 5000"
    assert table(text.replace("name: local", raised)).virtual_hosts


@pytest.mark.parametrize(
    "route",
    [
        "- match: {prefix: /, filter_state: [{key: a, string_match: {exact: b}}]}\n  route: {cluster: backend}",
        "- match: {prefix: /}\n  route: {cluster: backend, hash_policy: [{filter_state: {key: a}}]}",
    ],
)
def test_what_routes_cannot_do_yet_is_refused(route: str) -> None:
    """A dropped condition sends requests where they must not go."""
    assert "not supported" in problem(minimal(routes=route)).problem


def test_a_prefix_with_a_query_warns_that_it_never_matches() -> None:
    """Paths are compared without their query."""
    assert any(
        "never matches" in entry
        for entry in warnings(minimal(routes=f"- match: {{prefix: '/a?b'}}\n  {FORWARD}"))
    )


@pytest.mark.parametrize("value", list(TlsRequirement))
def test_virtual_hosts_can_demand_tls(value: TlsRequirement) -> None:
    """`require_tls`."""
    assert table(minimal(virtual_host=f"require_tls: {value.value}")).virtual_hosts[0].require_tls is value


def conditions(match: str, top: str = "") -> RequestConditions:
    text = minimal(routes=f"- match: {{prefix: /, {match}}}\n  {FORWARD}", top=top)
    return table(text).virtual_hosts[0].routes[0].conditions


def metadata(value: str) -> ValueMatch:
    match = f"{{filter: jwt, path: [{{key: p}}, {{key: tenant}}], value: {value}}}"
    (found,) = conditions(f"dynamic_metadata: [{match}]").metadata
    assert (found.namespace, found.path, found.invert) == ("jwt", ("p", "tenant"), False)
    return found.value


ACME = StringMatch(StringKind.EXACT, "acme")


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("grpc: {}", RequestConditions(grpc=True)),
        ("tls_context: {presented: true}", RequestConditions(has_client_certificate=True)),
        ("tls_context: {presented: true, validated: true}", RequestConditions(has_client_certificate=True)),
        ("tls_context: {validated: false}", RequestConditions(has_client_certificate=False)),
        ("tls_context: {}", RequestConditions()),
        ("headers: [{name: A}]", RequestConditions(headers=(HeaderMatch("a"),))),
        ("query_parameters: [{name: A}]", RequestConditions(query_parameters=(QueryMatch("A"),))),
        ("runtime_fraction: {default_value: {numerator: 5}}", RequestConditions(fraction=Fraction(5, 100))),
        (
            "runtime_fraction: {default_value: {numerator: 5, denominator: MILLION}}",
            RequestConditions(fraction=Fraction(5, 1_000_000)),
        ),
    ],
)
def test_conditions_besides_the_path(match: str, expected: RequestConditions) -> None:
    """Every attribute from its field."""
    assert conditions(match) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{string_match: {exact: acme}}", ACME),
        ("{null_match: {}}", NullMatch()),
        ("{bool_match: false}", False),
        ("{double_match: {exact: 3}}", NumberMatch(3.0)),
        ("{double_match: {range: {start: 1, end: 2.5}}}", NumberMatch(1.0, 2.5)),
        ("{present_match: true}", PresentMatch()),
        ("{list_match: {one_of: {string_match: {exact: acme}}}}", ListMatch(ACME)),
        (
            "{or_match: {value_matchers: [{string_match: {exact: acme}}, {bool_match: true}]}}",
            AnyMatch((ACME, True)),
        ),
    ],
)
def test_conditions_on_metadata(value: str, expected: ValueMatch) -> None:
    """Every form of a ValueMatcher."""
    assert metadata(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("30", Fraction(30, 100)),
        ("{numerator: 7, denominator: TEN_THOUSAND}", Fraction(7, 10_000)),
        ("{numerator: 7}", Fraction(7, 100)),
    ],
)
def test_shares_follow_the_runtime(value: str, expected: Fraction) -> None:
    """A static layer of `layered_runtime` overrides the default; a later layer overrides an earlier one."""
    layers = (
        f"[{{name: a, static_layer: {{my.key: 1}}}}, {{name: b, static_layer: {{my: {{key: {value}}}}}}}]"
    )
    top = f"layered_runtime: {{layers: {layers}}}"
    match = "runtime_fraction: {default_value: {numerator: 5}, runtime_key: my.key}"
    assert conditions(match, top).fraction == expected
    text = minimal(routes=f"- match: {{prefix: /, {match}}}\n  {FORWARD}", top=top)
    assert not [entry for entry in warnings(text) if "does not read" in entry]


def test_certificates_are_never_half_trusted() -> None:
    """Given but not verified: there is no such connection here."""
    match = "tls_context: {presented: true, validated: false}"
    found = problem(minimal(routes=f"- match: {{prefix: /, {match}}}\n  {FORWARD}"))
    assert "never matches" in found.problem


def test_a_runtime_value_that_is_no_share_is_refused() -> None:
    """It would send requests elsewhere than it says."""
    top = "layered_runtime: {layers: [{name: a, static_layer: {my.key: soon}}]}"
    match = "runtime_fraction: {default_value: {numerator: 5}, runtime_key: my.key}"
    found = problem(minimal(routes=f"- match: {{prefix: /, {match}}}\n  {FORWARD}", top=top))
    assert "no share of requests" in found.problem


def test_runtime_keys_that_nothing_names_are_warned_about() -> None:
    """Whoever wrote them expects something of them."""
    top = "layered_runtime: {layers: [{name: a, static_layer: {my.key: 1}}]}"
    assert any('does not read "my.key"' in entry for entry in warnings(minimal(top=top)))


def test_weighted_clusters() -> None:
    """With the runtime's weights, and each entry's own host."""
    top = "layered_runtime: {layers: [{name: a, static_layer: {w.backend: 7}}]}"
    text = minimal(
        routes="""
        - match: {prefix: /}
          route:
            weighted_clusters:
              runtime_key_prefix: w
              header_name: X-Pick
              clusters:
              - {name: backend, weight: 1, host_rewrite_literal: h}
              - {cluster_header: X-Cluster, weight: 2}
        """,
        top=top,
    )
    found = table(text).virtual_hosts[0].routes[0].action
    assert isinstance(found, ForwardAction)
    assert found.weighted_clusters == WeightedClusters(
        (WeightedCluster("backend", 7, "", "h"), WeightedCluster("", 2, "x-cluster")), "x-pick"
    )


@pytest.mark.parametrize(
    ("weighted", "words"),
    [
        ("clusters: [{name: backend, weight: 0}]", "must be greater than 0"),
        ("clusters: [{name: bakend, weight: 1}]", "unknown cluster"),
        ("clusters: [{weight: 1}]", "one of name and cluster_header"),
        ("clusters: [{name: backend, cluster_header: a, weight: 1}]", "one of name and cluster_header"),
    ],
)
def test_weights_that_cannot_be_meant(weighted: str, words: str) -> None:
    """As in Envoy."""
    text = minimal(routes=f"- match: {{prefix: /}}\n  route: {{weighted_clusters: {{{weighted}}}}}")
    assert words in problem(text).problem


def test_a_total_weight_that_is_no_sum_is_a_warning() -> None:
    """Envoy has stopped comparing, and files with the old `total_weight: 100` load."""
    text = minimal(
        routes="""
- match: {prefix: /}
  route: {weighted_clusters: {clusters: [{name: backend, weight: 1}], total_weight: 100}}
"""
    )

    assert any("add up to 1, not to 100, and the sum counts" in entry for entry in warnings(text))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("host_rewrite_header: X-Host", {"host_rewrite_header": "x-host"}),
        ("append_x_forwarded_host: true", {"append_x_forwarded_host": True}),
        (
            "regex_rewrite: {pattern: {regex: /a/(.*)}, substitution: '/\\1'}",
            {"regex_rewrite": RegexSubstitution("/a/(.*)", "/\\1")},
        ),
        (
            "host_rewrite_path_regex: {pattern: {regex: ^/(.*)$}, substitution: '\\1'}",
            {"host_rewrite_path_regex": RegexSubstitution("^/(.*)$", "\\1")},
        ),
        (
            (
                "hash_policy: [{header: {header_name: X-User}, terminal: true},"
                " {connection_properties: {source_ip: true}}]"
            ),
            {
                "hash_policy": (
                    HashPolicy(HeaderHash("x-user"), terminal=True),
                    HashPolicy(SourceAddressHash()),
                )
            },
        ),
        (
            (
                "hash_policy: [{cookie: {name: s, ttl: 60s, path: /p, attributes: [{name: Secure}]}}, "
                "{query_parameter: {name: U}}]"
            ),
            {
                "hash_policy": (
                    HashPolicy(CookieHash("s", 60.0, "/p", (("Secure", ""),))),
                    HashPolicy(QueryHash("U")),
                )
            },
        ),
    ],
)
def test_more_of_route_actions(fields: str, expected: dict[str, Any]) -> None:
    """Every attribute from its field."""
    assert action(f"route: {{cluster: backend, {fields}}}") == ForwardAction("backend", **expected)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("idle_timeout: 0s", {"idle_timeout_s": 0.0}),
        (
            "max_stream_duration: {max_stream_duration: 9s}",
            {"max_stream_duration_s": 9.0, "timeout_s": 0.0},
        ),
        (
            "max_stream_duration: {grpc_timeout_header_max: 0s, grpc_timeout_header_offset: 0.5s}",
            {"grpc_timeout_max_s": 0.0, "grpc_timeout_offset_s": 0.5, "timeout_s": 0.0},
        ),
        (
            (
                "request_mirror_policies: [{cluster: backend, runtime_fraction: {default_value: {numerator: 5}}},"
                " {cluster_header: X-To, disable_shadow_host_suffix_append: true, host_rewrite_literal: h}]"
            ),
            {
                "mirrors": (
                    MirrorPolicy("backend", fraction=Fraction(5, 100)),
                    MirrorPolicy(cluster_header="x-to", keeps_host=True, host_rewrite_literal="h"),
                )
            },
        ),
    ],
)
def test_limits_and_mirrors(fields: str, expected: dict[str, Any]) -> None:
    """With `max_stream_duration` the 15 seconds of `timeout` do not apply, as in Envoy."""
    assert action(f"route: {{cluster: backend, {fields}}}") == ForwardAction("backend", **expected)


def test_a_timeout_beside_max_stream_duration_is_warned_about() -> None:
    """Envoy drops it silently."""
    fields = "timeout: 5s, max_stream_duration: {max_stream_duration: 9s}"
    text = minimal(routes=f"- match: {{prefix: /}}\n  route: {{cluster: backend, {fields}}}")
    assert any("ignores it beside max_stream_duration" in entry for entry in warnings(text))


def test_mirrors_of_the_most_specific_level_apply() -> None:
    """Route, else virtual host, else route table; whole, not merged."""
    text = minimal(
        routes="""
        - match: {prefix: /own}
          route: {cluster: backend, request_mirror_policies: [{cluster_header: x-route}]}
        - match: {prefix: /}
          route: {cluster: backend}
        """,
        virtual_host="request_mirror_policies: [{cluster_header: x-host}]",
    )
    found = [one.action for one in table(text).virtual_hosts[0].routes]
    assert [one.mirrors for one in found if isinstance(one, ForwardAction)] == [
        (MirrorPolicy(cluster_header="x-route"),),
        (MirrorPolicy(cluster_header="x-host"),),
    ]


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("{cluster: bakend}", "unknown cluster"),
        ("{}", "one of cluster and cluster_header"),
        ("{cluster: backend, request_headers_mutations: [{remove: Host}]}", "part of the request line"),
    ],
)
def test_mirrors_that_cannot_work(policy: str, words: str) -> None:
    """Found when the file is loaded."""
    fields = f"request_mirror_policies: [{policy}]"
    text = minimal(routes=f"- match: {{prefix: /}}\n  route: {{cluster: backend, {fields}}}")
    assert words in problem(text).problem


def test_copies_can_have_header_rules_of_their_own() -> None:
    """Each mutation is a level of its own, in the order of the file."""
    mutations = "[{append: {header: {key: X-Copy, value: '1'}}}, {remove: Cookie}]"
    policy = f"{{cluster: backend, trace_sampled: false, request_headers_mutations: {mutations}}}"
    found = action(f"route: {{cluster: backend, request_mirror_policies: [{policy}]}}")
    added = HeaderRuleSettings((HeaderValueSettings("x-copy", "1"),))
    assert isinstance(found, ForwardAction)
    assert found.mirrors == (
        MirrorPolicy("backend", request_headers=(added, HeaderRuleSettings(remove=("cookie",)))),
    )


def test_a_cluster_can_be_named_by_a_header() -> None:
    """`cluster_header`."""
    assert action("route: {cluster_header: X-Cluster}") == ForwardAction(cluster_header="x-cluster")


def test_redirects_can_rewrite_by_regex() -> None:
    """`regex_rewrite` of a redirect."""
    found = action("redirect: {regex_rewrite: {pattern: {regex: a}, substitution: b}}")
    assert found == RedirectAction(regex_rewrite=RegexSubstitution("a", "b"))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("regex_rewrite: {pattern: {regex: a}, substitution: '\\1'}", "has 0 groups"),
        ("regex_rewrite: {pattern: {regex: a}, substitution: '\\n'}", "backslash"),
        ("regex_rewrite: {pattern: {regex: a}, substitution: 'a b'}", "blank"),
        ("regex_rewrite: {pattern: {regex: '('}, substitution: a}", "invalid regex"),
        ("prefix_rewrite: /a, regex_rewrite: {pattern: {regex: a}, substitution: b}", "only one of"),
        ("hash_policy: [{cookie: {name: 'a=b'}}]", "no name for a cookie"),
        ("hash_policy: [{cookie: {name: a, ttl: 1s, path: '/;x'}}]", "without a semicolon"),
    ],
)
def test_rewrites_and_hashes_that_cannot_work(fields: str, words: str) -> None:
    """Found when the file is loaded, not when the first request comes."""
    text = minimal(routes=f"- match: {{prefix: /}}\n  route: {{cluster: backend, {fields}}}")
    assert words in problem(text).problem


def test_connect_routes_are_for_connect_alone() -> None:
    """`connect_matcher`."""
    text = minimal(routes=f"- match: {{connect_matcher: {{}}}}\n  {FORWARD}")
    assert table(text).virtual_hosts[0].routes[0].conditions == RequestConditions(connect_only=True)


def test_direct_responses_can_be_formatted() -> None:
    """`body_format` of a direct response."""
    form = "{text_format_source: {inline_string: 'a%%'}, content_type: text/html, omit_empty_values: true}"
    assert action(f"direct_response: {{status: 403, body: {{inline_string: b}}, body_format: {form}}}") == (
        DirectResponseAction(403, b"b", BodyFormatSettings("a%%", None, "text/html", omit_empty=True))
    )


def test_a_format_of_a_direct_response_is_checked() -> None:
    """With its place."""
    form = "{text_format_source: {inline_string: '%NOPE%'}}"
    text = minimal(routes=f"- match: {{prefix: /}}\n  direct_response: {{status: 403, body_format: {form}}}")
    assert "NOPE" in problem(text).problem


def test_path_rewrite_is_a_format() -> None:
    """Of the whole path; only one way to rewrite it may be given."""
    found = action("route: {cluster: backend, path_rewrite: /t/%REQ(x-t)%}")
    assert isinstance(found, ForwardAction)
    assert found.path_rewrite == "/t/%REQ(x-t)%"


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("path_rewrite: /%NONSENSE%", "unknown operator"),
        ("path_rewrite: '/x?y'", "a path has neither query nor fragment"),
        ("path_rewrite: '/x#y'", "a path has neither query nor fragment"),
        ("path_rewrite: /a/../b", "is never sent upstream"),
        ("path_rewrite: /x, prefix_rewrite: /y", "only one of prefix_rewrite and path_rewrite"),
        ("cluster_specifier_plugin: x", "no plugins that choose clusters"),
        ("internal_redirect_policy: {}", "never followed here"),
        ("max_internal_redirects: 2", "never followed here"),
    ],
)
def test_route_action_that_cannot_be_done(field: str, words: str) -> None:
    """With the reason, and what to do instead."""
    cluster = "" if "plugin" in field else "cluster: backend, "
    found = problem(minimal(routes=f"- match: {{prefix: /}}\n  route: {{{cluster}{field}}}\n"))
    assert words in found.problem


def test_header_may_choose_the_virtual_host() -> None:
    """`vhost_header`; header names have no case."""
    text = minimal().replace("name: local", "name: local\n            vhost_header: X-Tenant")
    assert table(text).vhost_header == "x-tenant"


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("ignore_path_parameters_in_path_matching: true", "a rule for one path could be walked around"),
        ("vhds: {config_source: {ads: {}}}", "virtual hosts come from this file only"),
        ("cluster_specifier_plugins: [{extension: {name: x}}]", "no plugins that choose clusters"),
    ],
)
def test_route_table_that_cannot_be_done(field: str, words: str) -> None:
    """Each would change where requests go."""
    found = problems(minimal().replace("name: local", f"name: local\n            {field}"))
    assert any(words in one.problem for one in found)


def test_virtual_clusters_and_routes_that_are_counted() -> None:
    """By headers, all of which must hold."""
    one = '{name: a, headers: [{name: ":path", string_match: {prefix: /a}}, {name: x}]}'
    clusters = f"virtual_clusters: [{one}, {{name: b}}]\n"
    routes = "- match: {prefix: /}\n  stat_prefix: all\n  route: {cluster: backend}\n"
    (host,) = table(minimal(virtual_host=clusters, routes=routes)).virtual_hosts
    assert host.virtual_clusters == (
        VirtualClusterSettings(
            "a", (HeaderMatch(":path", StringMatch(StringKind.PREFIX, "/a")), HeaderMatch("x"))
        ),
        VirtualClusterSettings("b"),
    )
    assert host.routes[0].stat_prefix == "all"


@pytest.mark.parametrize("field", ["filter_action", "non_forwarding_action"])
def test_route_without_an_answer_is_refused(field: str) -> None:
    """Envoy answers such requests with 503."""
    found = problem(minimal(routes=f"- match: {{prefix: /}}\n  {field}: {{}}\n"))
    assert found.path.endswith(field)
    assert "Use route, redirect or direct_response" in found.fix


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("max_grpc_timeout: 2s", (2.0, 0.0)),
        ("max_grpc_timeout: 0s, grpc_timeout_offset: 0.1s", (0.0, 0.1)),
        ("grpc_timeout_offset: 0.1s", (None, 0.0)),
        ("max_grpc_timeout: 2s, max_stream_duration: {}", (None, 0.0)),
    ],
)
def test_deprecated_grpc_timeouts(fields: str, expected: tuple[float | None, float]) -> None:
    """The offset needs the maximum; beside `max_stream_duration` neither counts (Envoy)."""
    found = action(f"route: {{cluster: backend, {fields}}}")
    assert isinstance(found, ForwardAction)
    assert (found.grpc_route_timeout_max_s, found.grpc_route_timeout_offset_s) == expected


@pytest.mark.parametrize(
    "field",
    [
        "flush_timeout: 1s",
        'early_data_policy: {name: x, typed_config: {"@type": type.googleapis.com/google.protobuf.Struct}}',
    ],
)
def test_tuning_that_has_no_effect_is_a_warning(field: str) -> None:
    """Nothing is weaker without it."""
    routes = f"- match: {{prefix: /}}\n  route: {{cluster: backend, {field}}}\n"
    assert any("has no effect" in one for one in warnings(minimal(routes=routes)))
