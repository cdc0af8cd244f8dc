"""The promise that no set field is silently ignored, tried on every field of every message that is read.

A field is set to something that is not its default, in a configuration that is otherwise fine. Then either the
settings change, or there is an error or a warning at that field. Fields that are labels by nature are listed.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from fastproxy.config import schema
from fastproxy.config.build.bootstrap import build_settings
from fastproxy.config.harmless import harmless_fields
from fastproxy.config.problems import Place, ProblemLog
from fastproxy.config.rules import unpack
from fastproxy.config.schema import Bootstrap
from fastproxy.config.settings import ProxySettings
from fastproxy.config.view import View
from fastproxy.upstream.settings import UpstreamTlsSettings
from tests.config.support import TLS, cluster, jwt_filter, load, minimal

#: Read, and rightly without any consequence.
LABELS = {
    ("envoy.config.core.v3.Node", "locality"),
    ("envoy.config.listener.v3.FilterChain", "name"),
    ("envoy.config.listener.v3.Filter", "name"),
    ("envoy.config.core.v3.TransportSocket", "name"),
    ("envoy.config.core.v3.TypedExtensionConfig", "name"),
    ("envoy.config.accesslog.v3.AccessLog", "name"),
    ("envoy.config.endpoint.v3.ClusterLoadAssignment", "cluster_name"),
    ("envoy.config.bootstrap.v3.RuntimeLayer", "name"),
    ("envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter", "is_optional"),
    ("envoy.type.matcher.v3.RegexMatcher", "google_re2"),
    # The admin interface is never counted.
    ("envoy.config.bootstrap.v3.Admin", "ignore_global_conn_limit"),
    # Refreshing in the background is what always happens.
    ("envoy.extensions.filters.http.jwt_authn.v3.RemoteJwks", "async_fetch"),
    # With one endpoint there is nothing to weigh; test_clusters.py has two.
    ("envoy.config.endpoint.v3.LbEndpoint", "load_balancing_weight"),
    # With this the token must have exp, and it must anyway; test_jwt_authn.py has the other case.
    ("envoy.extensions.filters.http.jwt_authn.v3.JwtProvider", "require_expiration"),
    # Limits on what else the file may say.
    ("envoy.config.route.v3.RouteConfiguration", "max_direct_response_body_size_bytes"),
    ("envoy.config.route.v3.RouteConfiguration", "validate_clusters"),
}
#: Fields whose effect is inside an SSL context, where it cannot be compared; test_upstream_tls.py has them.
IN_THE_CONTEXT = {
    ("envoy.extensions.transport_sockets.tls.v3.CommonTlsContext", "alpn_protocols"),
    ("envoy.config.core.v3.UpstreamHttpProtocolOptions", "auto_san_validation"),
    ("envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext", "system_root_certs"),
    ("envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext", "watched_directory"),
    ("envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext", "allow_expired_certificate"),
    ("envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext", "only_verify_leaf_cert_crl"),
    ("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "auto_sni_san_validation"),
    ("envoy.extensions.transport_sockets.tls.v3.TlsParameters", "tls_minimum_protocol_version"),
    ("envoy.extensions.transport_sockets.tls.v3.TlsParameters", "tls_maximum_protocol_version"),
}

RICH = minimal(
    top="""
node: {id: one}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
layered_runtime: {layers: [{name: base, static_layer: {}}]}
""",
    listener="name: front\nlistener_filters: []\n",
    manager="""
common_http_protocol_options: {idle_timeout: 5s}
http_protocol_options: {accept_http_10: true}
internal_address_config: {}
access_log:
- name: file
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
    path: /dev/stdout
    log_format: {text_format_source: {inline_string: "%PROTOCOL%"}}
""",
    routes="""
- match: {safe_regex: {regex: a.*}}
  redirect: {host_redirect: a}
- match: {path: /hi}
  direct_response: {status: 200, body: {inline_string: hi}}
- match: {prefix: /}
  route:
    cluster: backend
    retry_policy:
      retry_on: 5xx
      retry_back_off: {base_interval: 1s}
      rate_limited_retry_back_off: {reset_headers: [{name: retry-after}]}
      retriable_headers: [{name: x-again, string_match: {exact: "1"}}]
  request_headers_to_add: [{header: {key: x-a, value: b}, append_action: ADD_IF_ABSENT}]
""",
    virtual_host="request_headers_to_add: [{header: {key: x-a, value: c}}]",
    filters=jwt_filter(
        """
p:
  issuer: me
  from_headers: [{name: x-token}]
  jwt_cache_config: {jwt_cache_size: 5}
  remote_jwks: {http_uri: {uri: "https://i.example/certs", cluster: backend, timeout: 1s}, async_fetch: {}}
""",
        "- match: {prefix: /}\n  requires: {provider_name: p}",
    ),
    clusters=cluster(
        """
common_lb_config: {}
circuit_breakers: {thresholds: [{max_requests: 5}], per_host_thresholds: [{}]}
load_balancing_policy:
  policies:
  - typed_extension_config:
      name: rr
      typed_config: {"@type": type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin}
common_http_protocol_options: {idle_timeout: 5s}
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    common_http_protocol_options: {idle_timeout: 6s}
    upstream_http_protocol_options: {}
    explicit_http_config: {http_protocol_options: {}}
transport_socket:
  name: tls
  typed_config:
    "@type": TLS
    sni: a.example
    common_tls_context: {tls_params: {}, validation_context: {trust_chain_verification: ACCEPT_UNTRUSTED}}
""".replace("TLS", TLS)
    ),
)


def _comparable(tls: UpstreamTlsSettings) -> tuple[object, ...]:
    return (
        tls.sni,
        tls.verifies_name,
        tls.verifies_peer,
        tls.host_sni,
        tls.auto_sni,
        tls.auto_sni_header,
    )


def without_contexts(settings: ProxySettings) -> ProxySettings:
    """SSL contexts are equal only to themselves."""
    clusters = [
        entry if entry.tls is None else replace(entry, tls=_comparable(entry.tls))  # type: ignore[arg-type]
        for entry in settings.clusters
    ]
    return replace(settings, clusters=tuple(clusters))


def build(message: Any) -> tuple[ProxySettings, ProblemLog]:
    log = ProblemLog()
    settings = build_settings(View(message, Place("f", 1), "", log))
    return without_contexts(settings), log


def said(log: ProblemLog) -> set[str]:
    """Paths with an error or warning."""
    from fastproxy.config import ConfigError

    found = {entry.path for entry in log.warnings}
    try:
        log.raise_if_failed()
    except ConfigError as exc:
        found |= {entry.path for entry in exc.problems}
    return found


def variants(message: Any) -> Iterator[tuple[str, str]]:
    """Change one unset field at a time, anywhere in the tree; yields (message name, field name) while it is set."""
    for field in message.DESCRIPTOR.fields:
        if field.full_name.startswith("google.protobuf."):
            continue
        is_set = (
            len(getattr(message, field.name))
            if field.is_repeated
            else (
                message.HasField(field.name)
                if field.has_presence
                else getattr(message, field.name) != field.default_value
            )
        )
        if is_set:
            for inner in _inner(field, message):
                yield from inner
            continue
        oneof = field.containing_oneof
        if oneof is not None and message.WhichOneof(oneof.name) is not None:
            continue
        before = message.SerializeToString()
        for choice in range(choices(field)):
            fill(message, field, choice)
            yield message.DESCRIPTOR.full_name, field.name
            message.ParseFromString(before)


def choices(field: Any) -> int:
    """How many values there are to try: the first ones of an enum, and both of a wrapped bool."""
    if field.enum_type is not None:
        return len([number for number in field.enum_type.values_by_number if number])
    return (
        2 if schema.is_message(field) and field.message_type.full_name == "google.protobuf.BoolValue" else 1
    )


def _inner(field: Any, message: Any) -> Iterator[Iterator[tuple[str, str]]]:
    if not schema.is_message(field):
        return
    value = getattr(message, field.name)
    items = (
        [value[key] for key in value]
        if schema.is_map(field)
        else list(value)
        if field.is_repeated
        else [value]
    )
    for item in items:
        if item.DESCRIPTOR.full_name == schema.ANY:
            yield _inside_any(item)
        elif not item.DESCRIPTOR.full_name.startswith("google.protobuf."):
            yield variants(item)


def _inside_any(holder: Any) -> Iterator[tuple[str, str]]:
    inner = unpack(holder)
    before = holder.SerializeToString()
    for name in variants(inner):
        holder.Pack(inner)
        yield name
        holder.ParseFromString(before)


def fill(message: Any, field: Any, choice: int = 0, depth: int = 0) -> None:
    """Set a field to something that is not its default."""
    if schema.is_map(field):
        values = getattr(message, field.name)
        if schema.is_message(field.message_type.fields_by_name["value"]):
            values["x"].SetInParent()
        else:
            values["x"] = "x"
        return
    if schema.is_message(field):
        target = getattr(message, field.name).add() if field.is_repeated else getattr(message, field.name)
        target.SetInParent()
        if target.DESCRIPTOR.fields and depth < 3:
            fill(target, target.DESCRIPTOR.fields[0], choice, depth + 1)
        return
    value: object = "x"
    if field.type == field.TYPE_BYTES:
        value = b"x"
    elif field.enum_type is not None:
        value = [number for number in field.enum_type.values_by_number if number][choice]
    elif field.cpp_type == field.CPPTYPE_BOOL:
        value = choice == 0
    elif field.cpp_type != field.CPPTYPE_STRING:
        value = 7
    if field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


def test_every_field_has_an_effect_a_warning_or_an_error() -> None:
    """A field that is read past is a policy that is not enforced."""
    loaded = load(RICH)
    message = Bootstrap()
    message.ParseFromString(loaded.bootstrap)
    base, log = build(message)
    base_said = said(log)
    tried = 0
    silent: set[tuple[str, str]] = set()
    heard: set[tuple[str, str]] = set()
    for name in variants(message):
        tried += 1
        settings, log = build(message)
        (silent if settings == base and not (said(log) - base_said) else heard).add(name)

    assert sorted(silent - heard - LABELS - IN_THE_CONTEXT) == []
    # Enough to know that the walk went into every corner.
    assert tried > 300


def test_rich_configuration_is_fine_as_it_is() -> None:
    """Otherwise the test above proves nothing."""
    assert load(RICH).settings.clusters[0].idle_timeout_s == 6.0


@pytest.mark.parametrize(("message", "field"), harmless_fields())
def test_harmless_fields_exist_in_the_schema(message: str, field: str) -> None:
    """A misspelt entry in the table would turn a warning into an error."""
    found = schema.find_message(message)

    assert found is not None
    assert field in found.DESCRIPTOR.fields_by_name
