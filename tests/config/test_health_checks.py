"""`health_checks` and what belongs to them, from the file."""

import ssl

import pytest

from fastproxy.upstream.health.settings import (
    CheckIntervals,
    CheckTarget,
    GrpcCheckSettings,
    HealthCheckSettings,
    HealthSettings,
    HttpCheckSettings,
    StatusRange,
    TcpCheckSettings,
)
from tests.config.support import TLS, cluster, load, minimal, problem, warnings

BASE = "timeout: 1s, interval: 5s, unhealthy_threshold: 3, healthy_threshold: 2"


def build(check: str, more: str = "") -> HealthSettings:
    text = minimal(clusters=cluster(f"health_checks:\n- {{{BASE}, {check}}}\n{more}"))
    return load(text).settings.clusters[0].health


def wrong(check: str, more: str = "") -> str:
    found = problem(minimal(clusters=cluster(f"health_checks:\n- {{{BASE}, {check}}}\n{more}")))
    return f"{found.path.partition('health_checks[0]')[2]}: {found.problem}"


def test_defaults_are_envoys() -> None:
    """What the shortest HTTP check means."""
    (check,) = build("http_health_check: {path: /hc}").checks
    assert check == HealthCheckSettings(
        HttpCheckSettings("/hc"),
        timeout_s=1.0,
        intervals=CheckIntervals(5.0, 5.0, 5.0, 5.0, 60.0, 60.0),
        unhealthy_threshold=3,
        healthy_threshold=2,
    )
    assert HttpCheckSettings("/hc").expected == (StatusRange(200, 201),)


def test_everything_that_can_be_said_is_taken() -> None:
    """All intervals, logs and request fields at once."""
    (check,) = build(
        "unhealthy_interval: 6s, healthy_edge_interval: 7s, unhealthy_edge_interval: 8s, no_traffic_interval: 9s, "
        "no_traffic_healthy_interval: 10s, initial_jitter: 1s, interval_jitter: 2s, interval_jitter_percent: 3, "
        "reuse_connection: false, alt_port: 81, always_log_health_check_failures: true, "
        "always_log_health_check_success: true, event_logger: [{name: file, typed_config: {"
        '"@type": type.googleapis.com/envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink, '
        "event_log_path: /tmp/hc.log}}], "
        "http_health_check: {path: /, host: h, method: POST, send: {text: '6869'}, receive: [{text: '6F6B'}], "
        "response_buffer_size: 10, request_headers_to_add: [{header: {key: X-A, value: 100%%}}], "
        "request_headers_to_remove: [User-Agent], expected_statuses: [{start: 200, end: 300}], "
        "retriable_statuses: [{start: 500, end: 504}]}"
    ).checks
    assert check.intervals == CheckIntervals(5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 1.0, 2.0, 3)
    assert (check.reuse_connection, check.alt_port, check.event_log_paths) == (False, 81, ("/tmp/hc.log",))
    assert check.always_log_failures
    assert check.always_log_successes
    assert check.checker == HttpCheckSettings(
        "/",
        "h",
        "POST",
        b"hi",
        (b"ok",),
        10,
        (("x-a", "100%"),),
        ("user-agent",),
        (StatusRange(200, 300),),
        (StatusRange(500, 504),),
    )


def test_intervals_default_to_each_other() -> None:
    """`unhealthy_edge_interval` is `unhealthy_interval` is `interval`; the healthy one without traffic likewise."""
    check = "unhealthy_interval: 6s, no_traffic_interval: 9s, tcp_health_check: {}"
    assert build(check).checks[0].intervals == CheckIntervals(5.0, 6.0, 5.0, 6.0, 9.0, 9.0)


def test_tcp_and_grpc_checks() -> None:
    """Payloads in hexadecimal or base64."""
    (tcp,) = build("tcp_health_check: {send: {binary: aGk=}, receive: [{text: '01ff'}]}").checks
    assert tcp.checker == TcpCheckSettings(b"hi", (b"\x01\xff",))
    (grpc,) = build(
        "grpc_health_check: {service_name: s, authority: a, initial_metadata: [{header: {key: x, value: v}}]}"
    ).checks
    assert grpc.checker == GrpcCheckSettings("s", "a", (("x", "v"),))


def test_what_the_cluster_says() -> None:
    """About endpoints that go, and about those that fail."""
    found = build(
        "tcp_health_check: {}",
        "ignore_health_on_host_removal: true\nclose_connections_on_host_health_failure: true\n"
        "common_lb_config: {ignore_new_hosts_until_first_hc: true}\n",
    )
    assert (found.ignore_on_removal, found.close_connections_on_failure, found.exclude_unchecked) == (
        True,
        True,
        True,
    )


def test_what_the_endpoint_says() -> None:
    """`health_check_config`."""
    text = minimal(
        clusters="""
- name: backend
  load_assignment:
    cluster_name: backend
    endpoints:
    - lb_endpoints:
      - endpoint:
          address: {socket_address: {address: 127.0.0.1, port_value: 8000}}
          health_check_config:
            port_value: 81
            hostname: hc.test
            address: {socket_address: {address: 127.0.0.2, port_value: 1}}
      - endpoint:
          address: {pipe: {path: /run/a.sock}}
          health_check_config: {disable_active_health_check: true}
"""
    )
    first, second = load(text).settings.clusters[0].endpoints
    assert first.check_target == CheckTarget("127.0.0.2", 81, "hc.test")
    assert second.check_target == CheckTarget(disabled=True)


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ("http_health_check: {path: hc}", '.http_health_check.path: "hc" does not begin with a slash'),
        (
            "http_health_check: {path: /, expected_statuses: [{start: 300, end: 200}]}",
            ".http_health_check.expected_statuses[0]: [300, 200) is no range of HTTP statuses",
        ),
        (
            "http_health_check: {path: /, codec_client_type: HTTP2}",
            ".http_health_check.codec_client_type: HTTP2 is not supported by FastProxy",
        ),
        (
            "http_health_check: {path: /, send: {text: '00'}}",
            ".http_health_check.send: a request with the method GET has no body",
        ),
        (
            "http_health_check: {path: /, service_name_matcher: {prefix: a}}",
            ".http_health_check.service_name_matcher: not supported by FastProxy",
        ),
        (
            "http_health_check: {path: /, response_buffer_size: 9999999}",
            ".http_health_check.response_buffer_size: must not be above 1048576",
        ),
        (
            "http_health_check: {path: /, request_headers_to_add: [{header: {key: a, value: '%START_TIME%'}}]}",
            ".http_health_check.request_headers_to_add[0].header.value: health checks have no request",
        ),
        ("tcp_health_check: {send: {text: zz}}", '.tcp_health_check.send.text: "zz" is not hexadecimal'),
        ("custom_health_check: {name: redis}", ".custom_health_check: not supported by FastProxy"),
        (
            "tcp_health_check: {}, transport_socket_match_criteria: {a: b}",
            ".transport_socket_match_criteria: not supported by FastProxy",
        ),
        (
            "http_health_check: {path: /}, tls_options: {alpn_protocols: [h2]}",
            ".tls_options.alpn_protocols: health checks speak HTTP/1.1",
        ),
        (
            "grpc_health_check: {}, tls_options: {alpn_protocols: [http/1.1]}",
            ".tls_options.alpn_protocols: gRPC needs HTTP/2",
        ),
        (
            "tcp_health_check: {}, tls_options: {alpn_protocols: ['']}",
            ".tls_options.alpn_protocols: a protocol name must have 1 to 255 ASCII characters",
        ),
    ],
)
def test_what_cannot_be_done_is_an_error_at_its_place(check: str, message: str) -> None:
    """A health check that checks something else is worse than none."""
    assert wrong(check) == message


@pytest.mark.parametrize("typed", [True, False])
def test_checks_offer_what_they_speak(*, typed: bool) -> None:
    """`tls_options`; what requests offer stays as it is. A bare transport socket means TLS, too."""
    more = f', typed_config: {{"@type": {TLS}}}' if typed else ""
    tls = f"transport_socket: {{name: envoy.transport_sockets.tls{more}}}\n"
    checks = (
        "grpc_health_check: {}",
        "grpc_health_check: {}, tls_options: {alpn_protocols: [h2, x]}",
        "tcp_health_check: {}, tls_options: {alpn_protocols: [z]}",
        "tcp_health_check: {}",
    )
    entries = "".join(f"- {{{BASE}, {check}}}\n" for check in checks)
    (found,) = load(minimal(clusters=cluster(f"health_checks:\n{entries}{tls}"))).settings.clusters
    offered = [check.alpn for check in found.health.checks]
    assert offered == [("h2",), ("h2", "x"), ("z",), ()]
    assert found.tls is not None
    contexts = [found.tls.context_for(alpn) for alpn in offered]
    assert len(set(contexts)) == 4
    assert contexts[3] is found.tls.context
    assert all(one.verify_mode is ssl.CERT_REQUIRED and one.check_hostname for one in contexts)


def test_old_log_path_is_taken_with_a_warning() -> None:
    """`event_log_path` is deprecated, and in most published files."""
    check = f"health_checks:\n- {{{BASE}, tcp_health_check: {{}}, event_log_path: /tmp/x}}\n"
    text = minimal(clusters=cluster(check))
    assert load(text).settings.clusters[0].health.checks[0].event_log_paths == ("/tmp/x",)
    assert any("deprecated" in one for one in warnings(text))
