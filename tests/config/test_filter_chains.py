"""Filter chains, listener filters and limits, from the file."""

import pytest

from fastproxy.listener.settings import (
    FilterChainMatchSettings,
    ForwardClientCert,
    ListenerSettings,
    ProxyProtocolSettings,
    SourceType,
    TlsInspectorSettings,
)
from tests.config.support import load, minimal, problem, problems, warnings

_MONITORS = "type.googleapis.com/envoy.extensions.resource_monitors"
_FILTERS = "type.googleapis.com/envoy.extensions.filters.listener"
INSPECTOR = (
    f"listener_filters: [{{name: i, typed_config: {{'@type': {_FILTERS}.tls_inspector.v3.TlsInspector}}}}]"
)


def chains(*matches: str, listener: str = INSPECTOR) -> str:
    """The chain of `minimal`, once for each match."""
    text = minimal(listener=listener)
    head, _, rest = text.partition("    - filters:\n")
    body, _, tail = rest.partition("  clusters:\n")
    made = "".join(f"    - filter_chain_match: {match}\n      filters:\n{body}" for match in matches)
    return f"{head}{made}  clusters:\n{tail}"


def listener_of(text: str) -> ListenerSettings:
    return load(text).settings.listeners[0]


def test_every_condition_arrives() -> None:
    """A condition that is lost opens a chain to everybody."""
    match = (
        "{destination_port: 443, prefix_ranges: [{address_prefix: 192.0.2.1, prefix_len: 24}], "
        "server_names: [A.test, '*.b.test'], transport_protocol: tls, application_protocols: [h2], "
        "direct_source_prefix_ranges: [{address_prefix: '2001:db8::', prefix_len: 32}], source_type: EXTERNAL, "
        "source_prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}], source_ports: [1, 2]}"
    )
    assert listener_of(chains(match)).filter_chains[0].match == FilterChainMatchSettings(
        destination_port=443,
        prefix_ranges=("192.0.2.0/24",),
        server_names=("a.test", "*.b.test"),
        transport_protocol="tls",
        application_protocols=("h2",),
        direct_source_prefix_ranges=("2001:db8::/32",),
        source_type=SourceType.EXTERNAL,
        source_prefix_ranges=("10.0.0.0/8",),
        source_ports=(1, 2),
    )


def test_several_chains_and_a_default_one_arrive() -> None:
    """In the order of the file, the default one last."""
    text = chains("{server_names: [a.test]}", "{server_names: [b.test]}")
    found = listener_of(text)
    assert [one.match.server_names for one in found.chains()] == [("a.test",), ("b.test",)]
    body = text.partition("      filters:\n")[2].partition("    - filter_chain_match")[0]
    default = f"    default_filter_chain:\n      name: rest\n      filters:\n{body}"
    with_default = listener_of(text.replace("    filter_chains:\n", default + "    filter_chains:\n"))
    assert [one.name for one in with_default.chains()] == ["", "", "rest"]
    assert with_default.default_filter_chain is with_default.chains()[2]


@pytest.mark.parametrize(
    ("matches", "words"),
    [
        (("{}", "{}"), "match the same connections"),
        (("{server_names: [a.test]}", "{server_names: [A.TEST, b.test]}"), "match the same connections"),
        (("{server_names: ['a.*']}",), "no server name"),
        (("{server_names: ['*']}",), "no server name"),
        (("{server_names: ['*a.test']}",), "no server name"),
        (("{prefix_ranges: [{address_prefix: x, prefix_len: 8}]}",), "no network"),
        (("{address_suffix: x}",), "not supported"),
    ],
)
def test_matches_that_make_no_sense_are_refused(matches: tuple[str, ...], words: str) -> None:
    """Which chain serves must never be an accident."""
    assert any(words in str(entry) for entry in problems(chains(*matches)))


def test_matches_that_nothing_can_fulfil_are_told() -> None:
    """Without the inspector nobody knows a name, as in Envoy; and there is no such transport."""
    assert any("never matches" in one for one in warnings(chains("{server_names: [a.test]}", listener="")))
    assert any("no connection is ever" in one for one in warnings(chains("{transport_protocol: quic}")))


def test_listener_filters_arrive_in_order() -> None:
    """PROXY header first, then TLS."""
    text = minimal(
        listener=f"""
listener_filters_timeout: 3s
continue_on_listener_filters_timeout: true
listener_filters:
- name: p
  typed_config:
    "@type": {_FILTERS}.proxy_protocol.v3.ProxyProtocol
    allow_requests_without_proxy_protocol: true
    disallowed_versions: [V1]
- name: i
  typed_config:
    "@type": {_FILTERS}.tls_inspector.v3.TlsInspector
    close_connection_on_client_hello_parsing_errors: true
    max_client_hello_size: 4096
"""
    )
    found = listener_of(text)
    assert found.listener_filters == (
        ProxyProtocolSettings(optional=True, versions=frozenset((2,))),
        TlsInspectorSettings(4096, refuses_malformed=True),
    )
    assert (found.listener_filters_timeout_s, found.continues_on_listener_filters_timeout) == (3.0, True)


def test_fingerprints_and_no_version_at_all_are_refused() -> None:
    """Something would be expected that never comes."""
    for kind, field, words in (
        ("tls_inspector.v3.TlsInspector", "enable_ja3_fingerprinting: true", "fingerprints"),
        ("proxy_protocol.v3.ProxyProtocol", "disallowed_versions: [V1, V2]", "no version"),
    ):
        text = f"listener_filters: [{{name: i, typed_config: {{'@type': {_FILTERS}.{kind}, {field}}}}}]"
        assert words in problem(minimal(listener=text)).problem


LIMITS = """
layered_runtime:
  layers:
  - name: limits
    static_layer:
      overload.global_downstream_max_connections: 1000
      envoy: {resource_limits: {listener: {front: {connection_limit: 10}}}}
"""


def test_limits_of_the_runtime_arrive() -> None:
    """Envoy's own keys; one for a listener that does not exist is told."""
    settings = load(minimal(top=LIMITS, listener="name: front\nignore_global_conn_limit: true")).settings
    assert settings.max_downstream_connections == 1000
    assert (settings.listeners[0].max_connections, settings.listeners[0].counts_globally) == (10, False)
    assert any("front.connection_limit" in one for one in warnings(minimal(top=LIMITS)))
    wrong = LIMITS.replace("connection_limit: 10", "connection_limit: many")
    assert "whole number" in problem(minimal(top=wrong, listener="name: front")).problem


def test_the_overload_manager_limits_connections_and_nothing_else() -> None:
    """Its other monitors are warned about."""
    text = f"""
overload_manager:
  resource_monitors:
  - name: envoy.resource_monitors.global_downstream_max_connections
    typed_config:
      "@type": {_MONITORS}.downstream_connections.v3.DownstreamConnectionsConfig
      max_active_downstream_connections: 7
  - name: envoy.resource_monitors.fixed_heap
    typed_config:
      "@type": {_MONITORS}.fixed_heap.v3.FixedHeapConfig
      max_heap_size_bytes: 1
"""
    assert load(minimal(top=text)).settings.max_downstream_connections == 7
    assert any("FixedHeapConfig is not watched" in one for one in warnings(minimal(top=text)))
    heap_only = (
        text[: text.index("  - name: envoy.resource_monitors.global")]
        + text[text.index("  - name: envoy.resource_monitors.fixed") :]
    )
    assert any("limits connections" in one for one in warnings(minimal(top=heap_only)))


def test_what_is_told_of_client_certificates_arrives() -> None:
    """`forward_client_cert_details` and its details."""
    http = listener_of(
        minimal(
            manager="""
forward_client_cert_details: SANITIZE_SET
set_current_client_cert_details: {subject: true, cert: true, chain: true, dns: true, uri: true}
"""
        )
    ).http
    assert http.forward_client_cert is ForwardClientCert.SANITIZE_SET
    assert http.client_cert_details == {"subject", "cert", "chain", "dns", "uri"}


@pytest.mark.parametrize("ignores", ["true", "false"])
def test_the_admin_interface_is_in_no_limit(ignores: str) -> None:
    """`ignore_global_conn_limit`: nothing has to be said about it, for it is never counted."""
    address = "address: {pipe: {path: /run/admin.sock}}"
    text = minimal(top=f"admin: {{ignore_global_conn_limit: {ignores}, {address}}}")
    assert load(text).settings.admin is not None
    assert warnings(text) == warnings(minimal())
