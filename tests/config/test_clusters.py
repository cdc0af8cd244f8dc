"""Clusters: discovery, endpoints, load balancing and protocol options."""

import pytest

from fastproxy.upstream.settings import (
    ClusterSettings,
    ConnectionSettings,
    DiscoveryType,
    EndpointSettings,
    EndpointTraits,
    HappyEyeballsSettings,
    HealthStatus,
    Locality,
    PreconnectSettings,
    TcpKeepaliveSettings,
)
from tests.config.support import cluster, load, minimal, problem, problems, warnings

OPTIONS = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
DOWNSTREAM = "{'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext}"


def endpoint(host: str, port: int = 80, more: str = "") -> str:
    return f"{{endpoint: {{address: {{socket_address: {{address: '{host}', port_value: {port}}}}}}}{more}}}"


def with_more(host: str, *more: str) -> str:
    """An endpoint with `additional_addresses`, whole or only their hosts."""
    entries = (
        one
        if one.startswith("{")
        else f"{{address: {{socket_address: {{address: '{one}', port_value: 80}}}}}}"
        for one in more
    )
    return (
        f"{{endpoint: {{address: {{socket_address: {{address: '{host}', port_value: 80}}}}, "
        f"additional_addresses: [{', '.join(entries)}]}}}}"
    )


def pipe(path: str) -> str:
    return f"{{endpoint: {{address: {{pipe: {{path: '{path}'}}}}}}}}"


def build(kind: str, *endpoints: str) -> str:
    entries = ", ".join(endpoints)
    return (
        f"static_resources: {{clusters: [{{name: a, type: {kind}, "
        f"load_assignment: {{cluster_name: a, endpoints: [{{lb_endpoints: [{entries}]}}]}}}}]}}"
    )


def first(text: str) -> ClusterSettings:
    return load(text).settings.clusters[0]


def test_endpoints_of_each_kind() -> None:
    """Literals for STATIC, names and literals for DNS."""
    assert first(build("STATIC", endpoint("127.0.0.1"), endpoint("::1"))).endpoints == (
        EndpointSettings("127.0.0.1", 80),
        EndpointSettings("::1", 80),
    )
    found = first(build("STRICT_DNS", endpoint("a.example"), endpoint("my_service"), endpoint("10.0.0.1")))
    assert (found.discovery, len(found.endpoints)) == (DiscoveryType.STRICT_DNS, 3)


def test_type_defaults_to_static_and_may_have_no_endpoints() -> None:
    """Both legal in Envoy; the cluster then answers 503."""
    found = first("static_resources: {clusters: [{name: a}]}")

    assert (found.discovery, found.endpoints, found.connect_timeout_s) == (DiscoveryType.STATIC, (), 5.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (build("STATIC", with_more("127.0.0.1", "a.example")), "malformed IP address"),
        (build("STATIC", with_more("127.0.0.1", "{}")), "the address is missing"),
        (build("STATIC", endpoint("a.example")), "malformed IP address"),
        (build("STRICT_DNS", endpoint("a b")), "no host name"),
        (build("LOGICAL_DNS", endpoint("a.example"), endpoint("b.example")), "single lb_endpoint"),
        (build("LOGICAL_DNS"), "single lb_endpoint"),
        (build("STATIC", pipe("app.sock")), "not an absolute path"),
        (build("STRICT_DNS", pipe("/run/app.sock")), "host names and ports"),
        (
            build("STATIC", *[endpoint("127.0.0.1", more=", load_balancing_weight: 4294967295")] * 2),
            "the sum of the endpoints' load_balancing_weight",
        ),
        (build("EDS"), "a cluster of type EDS gets its endpoints from eds_config"),
        (
            "static_resources: {clusters: [{name: a, type: EDS}]}",
            "cannot create an EDS cluster without an EDS config",
        ),
        (
            "static_resources: {clusters: [{name: a, type: EDS, eds_cluster_config: {eds_config: {ads: {}}}}]}",
            "resources can come from files only, not from an aggregated stream from a management server",
        ),
        (build("ORIGINAL_DST"), "ORIGINAL_DST is not supported"),
        (build("STATIC", endpoint("127.0.0.1", 0)), "must not be 0"),
        ("static_resources: {clusters: [{name: a}, {name: a}]}", "duplicate cluster"),
        ("static_resources: {clusters: [{name: a, http2_protocol_options: {}}]}", "HTTP/2"),
        (
            "static_resources: {clusters: [{name: a, upstream_bind_config: {freebind: true}}]}",
            "not supported",
        ),
        ("static_resources: {clusters: [{name: a, transport_socket: {name: x}}]}", "no typed_config"),
        (
            f"static_resources: {{clusters: [{{name: a, transport_socket: {{name: x, typed_config: {DOWNSTREAM}}}}}]}}",
            "is not supported",
        ),
    ],
)
def test_clusters_that_would_misroute_are_refused(text: str, words: str) -> None:
    """Traffic must go where the file says, in the way it says."""
    assert any(words in entry.problem for entry in problems(text))


def test_everything_that_is_said_about_an_endpoint_is_kept() -> None:
    """Locality, weights, health, host name and metadata."""
    text = """
static_resources:
  clusters:
  - name: a
    load_assignment:
      cluster_name: a
      endpoints:
      - locality: {region: eu, zone: eu-1, sub_zone: rack2}
        load_balancing_weight: 9
        lb_endpoints:
        - endpoint:
            address: {socket_address: {address: 127.0.0.1, port_value: 80}}
            hostname: one.example
          load_balancing_weight: 3
          health_status: DRAINING
          metadata: {filter_metadata: {envoy.lb: {stage: prod, shard: 2}}}
"""
    (found,) = first(text).endpoints
    metadata = '{"envoy.lb": {"shard": 2, "stage": "prod"}}'
    traits = EndpointTraits(3, 0, Locality("eu", "eu-1", "rack2"), 9, HealthStatus.DRAINING, metadata)
    assert found == EndpointSettings("127.0.0.1", 80, "one.example", traits)


def test_a_unix_domain_socket_is_an_endpoint() -> None:
    """For upstreams on the same machine."""
    found = first(build("STATIC", pipe("/run/app.sock"), pipe("@app")))

    assert [entry.host for entry in found.endpoints] == ["/run/app.sock", "@app"]


def test_an_endpoint_may_have_more_addresses() -> None:
    """`additional_addresses`: one host, not several."""
    found = first(build("STATIC", with_more("127.0.0.1", "::1", "127.0.0.2")))

    (only,) = found.endpoints
    assert (only.host, [one.host for one in only.additional]) == ("127.0.0.1", ["::1", "127.0.0.2"])


def test_addresses_beside_a_name_have_no_effect() -> None:
    """DNS says which addresses a name has."""
    loaded = load(build("STRICT_DNS", with_more("a.example", "::1")))

    assert loaded.settings.clusters[0].endpoints[0].additional == ()
    assert "additional_addresses: has no effect" in str(loaded.warnings[0])


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("{}", HappyEyeballsSettings()),
        (
            "{first_address_family_version: V6, first_address_family_count: 2}",
            HappyEyeballsSettings(begins_with_v6=True, first_count=2),
        ),
        ("{first_address_family_version: V4}", HappyEyeballsSettings(begins_with_v6=False)),
    ],
)
def test_the_family_that_is_tried_first_can_be_chosen(config: str, expected: HappyEyeballsSettings) -> None:
    """`happy_eyeballs_config`."""
    text = minimal(clusters=cluster(f"upstream_connection_options: {{happy_eyeballs_config: {config}}}"))
    assert first(text).connections.happy_eyeballs == expected


def test_what_keeps_connections_apart_and_what_ends_them() -> None:
    """`connection_pool_per_downstream_connection`, `close_connections_on_host_set_change`."""
    text = minimal(
        clusters=cluster(
            "connection_pool_per_downstream_connection: true\n"
            "common_lb_config: {close_connections_on_host_set_change: true}"
        )
    )
    found = first(text).connections
    assert (found.per_downstream, found.close_on_set_change) == (True, True)


def test_options_that_mean_nothing_for_upstreams_are_told() -> None:
    """Envoy ignores them without a word."""
    told = warnings(
        minimal(
            clusters=cluster(
                "protocol_selection: USE_DOWNSTREAM_PROTOCOL\n"
                "common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}"
            )
        )
    )
    assert any("protocol_selection: has no effect" in one for one in told)
    assert any("headers_with_underscores_action: has no effect" in one for one in told)


def test_connections_can_be_made_ahead_of_requests() -> None:
    """`preconnect_policy`; from 1, which is none, to 3."""
    ratios = "per_upstream_preconnect_ratio: 1.5, predictive_preconnect_ratio: 2"
    text = minimal(clusters=cluster(f"preconnect_policy: {{{ratios}}}"))
    assert first(text).preconnect == PreconnectSettings(1.5, 2.0)
    assert first(minimal()).preconnect == PreconnectSettings()
    refused = minimal(clusters=cluster("preconnect_policy: {predictive_preconnect_ratio: 3.5}"))
    assert "3" in problem(refused).problem


def http_options(text: str) -> str:
    return minimal(
        clusters=cluster(
            "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: "
            f"{{'@type': {OPTIONS}, {text}}}}}"
        )
    )


def test_idle_timeout_comes_from_either_place() -> None:
    """The protocol options are the new place, the cluster the old."""
    new = http_options(
        "explicit_http_config: {http_protocol_options: {}}, common_http_protocol_options: {idle_timeout: 7s}"
    )

    assert first(new).idle_timeout_s == 7.0
    assert (
        first(minimal(clusters=cluster("common_http_protocol_options: {idle_timeout: 8s}"))).idle_timeout_s
        == 8.0
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("explicit_http_config: {http2_protocol_options: {}}", "HTTP/2"),
        ("explicit_http_config: {http_protocol_options: {accept_http_10: true}}", "not supported"),
    ],
)
def test_protocols_that_are_missing_are_refused(text: str, words: str) -> None:
    """An HTTP/2 upstream would not understand a byte of HTTP/1."""
    assert words in problem(http_options(text)).problem


@pytest.mark.parametrize("text", ["explicit_http_config", "use_downstream_protocol_config", "auto_config"])
def test_trailers_are_passed_where_that_is_said(text: str) -> None:
    """In any place of `Http1ProtocolOptions`; the default is no."""
    one = http_options(f"{text}: {{http_protocol_options: {{enable_trailers: true}}}}")
    assert first(one).enable_trailers
    assert not first(http_options(f"{text}: {{http_protocol_options: {{}}}}")).enable_trailers
    assert first(minimal(clusters=cluster("http_protocol_options: {enable_trailers: true}"))).enable_trailers


def test_methods_of_requests_to_upstreams_are_nobodys_option() -> None:
    """They have come through a listener that allows them."""
    loaded = load(http_options("explicit_http_config: {http_protocol_options: {allow_custom_methods: true}}"))
    assert ["allow_custom_methods" in str(one) for one in loaded.warnings] == [True]


def test_options_of_connections_come_from_all_their_places() -> None:
    """The newest place wins; `upstream_connection_options` and `upstream_bind_config` belong to the cluster."""
    text = minimal(
        clusters=cluster(
            "max_requests_per_connection: 5\ncommon_http_protocol_options: {max_headers_count: 50}\n"
            "upstream_connection_options: {tcp_keepalive: {keepalive_probes: 3, keepalive_time: 60}}\n"
            "upstream_bind_config: {source_address: {address: 127.0.0.2, port_value: 0}, "
            "extra_source_addresses: [{address: {address: '::1', port_value: 0}}]}\n"
            "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: "
            f"{{'@type': {OPTIONS}, explicit_http_config: {{http_protocol_options: {{}}}}, "
            "common_http_protocol_options: {max_requests_per_connection: 7, max_connection_duration: 9s, "
            "max_response_headers_kb: 10}}}"
        )
    )
    assert first(text).connections == ConnectionSettings(
        max_requests=7,
        max_duration_s=9.0,
        max_response_headers=50,
        max_response_head_bytes=10240,
        keepalive=TcpKeepaliveSettings(probes=3, time_s=60),
        sources=(("127.0.0.2", 0), ("::1", 0)),
    )


def test_the_host_of_requests_can_be_the_name_that_tls_sends() -> None:
    """`auto_sni`, which means nothing without TLS."""
    names = (
        "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: "
        f"{{'@type': {OPTIONS}, explicit_http_config: {{http_protocol_options: {{}}}}, "
        "upstream_http_protocol_options: {auto_sni: true, auto_san_validation: true, "
        "override_auto_sni_header: X-Name}}}"
    )
    tls = first(minimal(clusters=cluster(f"transport_socket: {{name: tls}}\n{names}"))).tls
    assert tls is not None
    assert (tls.auto_sni, tls.auto_sni_header, tls.context.check_hostname) == (True, b"x-name", True)
    assert first(minimal(clusters=cluster(names))).tls is None


@pytest.mark.parametrize(
    "text",
    [
        "http_protocol_options: {header_key_format: {proper_case_words: {}}}",
        """\
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http_protocol_options: {header_key_format: {proper_case_words: {}}}}
""",
    ],
)
def test_names_of_headers_may_have_capitals(text: str) -> None:
    """Both ways of saying it."""
    assert first(minimal(clusters=cluster(text))).proper_case_words
    assert not first(minimal()).proper_case_words


def test_a_buffer_above_what_the_system_can_count_has_no_limit() -> None:
    """The event loop takes an `int`; a larger number would end each connection."""
    found = load(minimal(clusters=cluster("per_connection_buffer_limit_bytes: 4294967295")))

    assert found.settings.clusters[0].buffer_limit_bytes == 2**31 - 1


@pytest.mark.parametrize(
    ("field", "most"), [("keepalive_probes", 127), ("keepalive_time", 32767), ("keepalive_interval", 32767)]
)
def test_keepalive_that_the_system_does_not_take_is_refused(field: str, most: int) -> None:
    """Envoy loads it, and then no connection can be made."""

    def written(number: int) -> str:
        option = f"upstream_connection_options: {{tcp_keepalive: {{{field}: {number}}}}}"
        return minimal(clusters=cluster(option))

    load(written(most))
    found = problem(written(most + 1))

    assert found.path.endswith(f"tcp_keepalive.{field}")
    assert str(most) in found.fix
