"""Loading as a whole: files, merging, many problems at once, bounds, and the trip to a worker."""

from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from fastproxy.config import ConfigError, LoadOptions, load_config, settings_from_bootstrap
from fastproxy.config.settings import ProxySettings
from fastproxy.filters.jwt_authn.settings import RemoteJwksSettings, RequiresProvider
from fastproxy.router.settings import ForwardAction
from fastproxy.upstream.settings import DiscoveryType, DnsLookupFamily
from tests.config.support import HCM, load, load_file, minimal, problem, problems, warnings

ROOT = Path(__file__).resolve().parents[2]


def comparable(settings: ProxySettings) -> ProxySettings:
    """SSL contexts are equal only to themselves."""
    clusters = [
        entry if entry.tls is None else replace(entry, tls=(entry.tls.sni, entry.tls.verifies_name))  # type: ignore[arg-type]
        for entry in settings.clusters
    ]
    return replace(settings, clusters=tuple(clusters))


def test_the_seed_article_s_file_loads_unmodified() -> None:
    """It is what the product is measured by, bare TLS transport socket and all."""
    loaded = load_config(ROOT / "configs" / "envoy-jwt.yaml")
    (listener,) = loaded.settings.listeners
    keys, site = loaded.settings.clusters
    (jwt,) = listener.http.jwt_authn
    provider = jwt.providers["provider_funnel"]

    assert loaded.warnings == ()
    assert (listener.host, listener.port) == ("0.0.0.0", 8080)
    assert jwt.name == "envoy.filters.http.JwtAuthentication"
    assert provider.issuer == "https://auth.funnel-labs.io/auth/realms/funnel"
    assert provider.jwks == RemoteJwksSettings(
        uri="https://auth.funnel-labs.io/auth/realms/funnel/protocol/openid-connect/certs",
        cluster="funnel_auth_cluster",
        timeout_s=1.0,
        cache_duration_s=300.0,
    )
    assert provider.forward_payload_header == "x-jwt-payload"
    assert [(rule.match.value, rule.requires) for rule in jwt.rules] == [
        ("/docs", None),
        ("/", RequiresProvider("provider_funnel")),
    ]
    action = listener.http.route_config.virtual_hosts[0].routes[0].action
    assert action == ForwardAction("service_envoyproxy_io", host_rewrite_literal="www.envoyproxy.io")
    assert (keys.discovery, site.discovery) == (DiscoveryType.STRICT_DNS, DiscoveryType.LOGICAL_DNS)
    assert site.dns_lookup_family is DnsLookupFamily.V4_ONLY
    assert keys.connect_timeout_s == 500.0
    assert keys.tls is not None
    assert (keys.tls.sni, keys.tls.verifies_name, keys.tls.context.check_hostname) == ("", True, True)
    assert site.tls is not None
    assert (site.tls.sni, site.tls.verifies_name) == ("www.envoyproxy.io", True)


def test_a_worker_builds_the_same_settings() -> None:
    """Workers get the message, not the settings; both must mean the same."""
    loaded = load_config(ROOT / "configs" / "envoy-jwt.yaml")

    assert comparable(settings_from_bootstrap(loaded.bootstrap)) == comparable(loaded.settings)


def test_yaml_in_a_file_of_another_name_is_told_what_decides(tmp_path: Path) -> None:
    """The file is fine to look at; that `.conf` makes it JSON is nowhere to be seen."""
    path = tmp_path / "proxy.conf"
    path.write_text("node: {id: a}\n")

    with pytest.raises(ConfigError) as caught:
        load_config(path)

    assert "ends in .yaml or .yml" in caught.value.problems[0].fix


def test_damaged_bytes_are_a_config_error() -> None:
    """A worker reports them; it must not die of something else."""
    with pytest.raises(ConfigError):
        settings_from_bootstrap(b"\xff\xff\xff")


def test_every_problem_is_reported_at_once_with_its_line() -> None:
    """Fixing a file one error per start is what people hate most."""
    text = dedent(f"""\
        node: {{cluser: x}}
        static_resources:
          listeners:
          - address: {{socket_address: {{address: localhost, port_value: 80}}}}
            filter_chains:
            - filters:
              - name: hcm
                typed_config:
                  "@type": {HCM}
                  stat_prefix: 5
                  route_config:
                    virtual_hosts:
                    - name: a
                      domains: ["*"]
                      routes:
                      - match: {{prefix: /}}
                        route: {{cluster: nowhere, internal_redirect_policy: {{}}}}
          clusters:
          - name: somewhere
            connect_timeout: 5
            lb_policy: CLUSTER_PROVIDED
        """)

    found = problems(text)

    assert [(entry.line, entry.path.rpartition(".")[2]) for entry in found] == [
        (1, "cluser"),
        (4, "address"),
        (8, "http_filters"),
        (10, "stat_prefix"),
        (17, "cluster"),
        (17, "internal_redirect_policy"),
        (20, "connect_timeout"),
        (21, "lb_policy"),
    ]


def test_a_problem_reads_like_a_compiler_s(tmp_path: Path) -> None:
    """Editors jump to `file:line`."""
    path = tmp_path / "proxy.yaml"
    path.write_text("node:\n  cluser: a\n")

    with pytest.raises(ConfigError) as caught:
        load_config(path)

    assert str(caught.value) == (
        f'{path}:2: node.cluser: unknown field "cluser" in envoy.config.core.v3.Node. Did you mean "cluster"?'
    )


def test_unknown_fields_may_be_turned_into_warnings() -> None:
    """For files written for a newer Envoy (--allow-unknown-fields)."""
    loaded = load_config(
        None, config_yaml="node: {id: a, from_the_future: 1}", options=LoadOptions(allow_unknown_fields=True)
    )

    assert loaded.settings.node.id == "a"
    assert "from_the_future" in str(loaded.warnings[0])


def test_an_unknown_field_without_a_neighbour_names_the_schema() -> None:
    """The schema package can lag behind Envoy; the reader must be able to see that."""
    assert "xds-protos" in problem("node: {qqqqqq: 1}").fix


def test_inline_yaml_is_merged_over_the_file(tmp_path: Path) -> None:
    """As Envoy's MergeFrom: messages merge, lists grow, scalars are replaced."""
    path = tmp_path / "a.yaml"
    path.write_text("node: {id: a, cluster: c}\nstatic_resources: {clusters: [{name: one}]}\n")

    loaded = load_config(path, config_yaml="node: {id: b}\nstatic_resources: {clusters: [{name: two}]}")

    assert (loaded.settings.node.id, loaded.settings.node.cluster) == ("b", "c")
    assert [cluster.name for cluster in loaded.settings.clusters] == ["one", "two"]
    assert loaded.source == f"{path} + --config-yaml"


def test_problems_after_merging_point_into_the_right_source(tmp_path: Path) -> None:
    """The second cluster of the merged list is the first of the overlay."""
    path = tmp_path / "a.yaml"
    path.write_text("static_resources:\n  clusters:\n  - name: one\n")

    with pytest.raises(ConfigError) as caught:
        load_config(
            path,
            config_yaml="\n\nstatic_resources:\n  clusters:\n  - {name: two, lb_policy: CLUSTER_PROVIDED}",
        )

    (found,) = caught.value.problems
    assert (found.file, found.line, found.path) == (
        "--config-yaml",
        5,
        "static_resources.clusters[1].lb_policy",
    )


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.yaml", b"", "empty"),
        ("a.json", b"", "empty"),
        ("a.json", b"node: {}", "JSON"),
        ("a.yaml", b"node: {id: \xff}", "UTF-8"),
        ("a.yaml", b"a: [", "YAML"),
        ("a.pb", b"", "not supported"),
    ],
)
def test_unusable_files_are_config_errors(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    """Nothing but ConfigError may reach the command line."""
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=words):
        load_config(path)


@pytest.mark.parametrize("name", ["missing.yaml", ".", "\0.yaml"])
def test_unreadable_paths_are_config_errors(tmp_path: Path, name: str) -> None:
    """A missing file is the commonest mistake of all."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / name)


def test_no_configuration_at_all_says_how_to_give_one() -> None:
    """Instead of starting a proxy that does nothing."""
    with pytest.raises(ConfigError, match="-c FILE"):
        load_config(None)


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    """Windows editors write it."""
    assert load_file(tmp_path, "\ufeffnode: {id: a}").settings.node.id == "a"


def test_huge_files_are_refused(tmp_path: Path) -> None:
    """Before they are parsed."""
    path = tmp_path / "a.yaml"
    with path.open("wb") as stream:
        stream.truncate(33 * 1024 * 1024)

    with pytest.raises(ConfigError, match="larger than"):
        load_config(path)


def test_a_text_never_shows_up_in_a_message_whole() -> None:
    """A key pasted into the wrong field would end up in a log."""
    secret = "s" * 5000
    found = problem(f"static_resources: {{clusters: [{{name: a, connect_timeout: {secret}}}]}}")

    assert len(str(found)) < 400


def test_control_characters_are_escaped_in_messages() -> None:
    """They would rewrite the operator's terminal."""
    assert "\x1b" not in str(problem('node: {"\\e[31m": 1}'))


def test_deprecated_fields_load_with_a_warning() -> None:
    """As in Envoy."""
    text = minimal(clusters="- {name: backend, dns_refresh_rate: 7s}")

    assert load(text).settings.clusters[0].dns_refresh_rate_s == 7.0
    assert any("deprecated" in entry for entry in warnings(text))


def test_tuning_without_effect_is_a_warning_with_its_line() -> None:
    """Observability and tuning must not keep a file from running."""
    text = "stats_flush_interval: 5s\nflags_path: /etc/flags\n"

    assert [str(entry).split(": ")[0] for entry in load(text).warnings] == [
        "--config-yaml:1",
        "--config-yaml:2",
    ]
    assert "has no effect" in warnings(text)[0]


@pytest.mark.parametrize(
    "text",
    [
        "dynamic_resources: {ads_config: {}}",
        "header_prefix: x-a",
        "hds_config: {}",
    ],
)
def test_what_changes_traffic_is_refused(text: str) -> None:
    """Ignoring it would run another configuration than the one written."""
    assert any("not supported" in entry.problem for entry in problems(text))
