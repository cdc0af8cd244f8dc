"""Prometheus text with Envoy's names and labels; prometheus_client's parser is the oracle."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fastproxy.control.admin.prometheus import ScopeNames, encode_prometheus, split_stat_name
from fastproxy.control.admin.quantiles import QUANTILES, estimate_quantiles
from fastproxy.control.totals import MergedStats
from fastproxy.stats import BUCKETS, Histogram

NAMES = ScopeNames(
    ("c", "c.a", 'odd"name'),
    ("ingress.http", "ingress"),
    ("p",),
    ("/run/a.sock", "@abstract", "edge", "edge.two"),
)


@pytest.mark.parametrize(
    ("name", "family", "labels"),
    [
        ("server.live", "envoy_server_live", {}),
        ("cluster.c.upstream_rq_200", "envoy_cluster_upstream_rq",
         {"envoy_response_code": "200", "envoy_cluster_name": "c"}),
        ("cluster.c.upstream_rq_2xx", "envoy_cluster_upstream_rq_xx",
         {"envoy_response_code_class": "2", "envoy_cluster_name": "c"}),
        ("cluster.c.a.upstream_cx_total", "envoy_cluster_upstream_cx_total", {"envoy_cluster_name": "c.a"}),
        ("cluster.unknown.upstream_cx_total", "envoy_cluster_upstream_cx_total", {"envoy_cluster_name":
        "unknown"}), ("http.ingress.downstream_rq_4xx", "envoy_http_downstream_rq_xx",
         {"envoy_response_code_class": "4", "envoy_http_conn_manager_prefix": "ingress"}),
        ("http.ingress.http.no_route", "envoy_http_no_route", {"envoy_http_conn_manager_prefix":
        "ingress.http"}), ("http.ingress.jwt_authn.allowed", "envoy_http_jwt_authn_allowed",
         {"envoy_http_conn_manager_prefix": "ingress"}),
        ("http.admin.downstream_rq_total", "envoy_http_downstream_rq_total",
         {"envoy_http_conn_manager_prefix": "admin"}),
        ("listener.127.0.0.1_8080.downstream_cx_total", "envoy_listener_downstream_cx_total",
         {"envoy_listener_address": "127.0.0.1_8080"}),
        ("listener.[__1]_8080.downstream_cx_total", "envoy_listener_downstream_cx_total",
         {"envoy_listener_address": "[__1]_8080"}),
        ("listener./run/a.sock.downstream_cx_total", "envoy_listener_downstream_cx_total",
         {"envoy_listener_address": "/run/a.sock"}),
        ("listener.@abstract.http.ingress.downstream_rq_2xx", "envoy_listener_http_downstream_rq_xx",
         {"envoy_response_code_class": "2", "envoy_listener_address": "@abstract",
          "envoy_http_conn_manager_prefix": "ingress"}),
        ("listener.edge.two.downstream_cx_total", "envoy_listener_downstream_cx_total",
         {"envoy_listener_address": "edge.two"}),
        ("listener.127.0.0.1_8080.worker_0.downstream_cx_active", "envoy_listener_worker_downstream_cx_active",
         {"envoy_listener_address": "127.0.0.1_8080", "envoy_worker_id": "0"}),
        ("listener.127.0.0.1_8080.http.ingress.downstream_rq_2xx", "envoy_listener_http_downstream_rq_xx",
         {"envoy_response_code_class": "2", "envoy_listener_address": "127.0.0.1_8080",
          "envoy_http_conn_manager_prefix": "ingress"}),
        ("listener.127.0.0.1_8080.ssl.ciphers.TLS_AES_128_GCM_SHA256", "envoy_listener_ssl_ciphers",
         {"envoy_ssl_cipher": "TLS_AES_128_GCM_SHA256", "envoy_listener_address": "127.0.0.1_8080"}),
        ("listener_manager.total_listeners_active", "envoy_listener_manager_total_listeners_active", {}),
        ("jwks.p.fetch_failed", "envoy_jwks_fetch_failed", {"fastproxy_jwt_provider": "p"}),
    ],
)  # fmt: skip
def test_names_become_families_and_labels_as_in_envoy(name: str, family: str, labels: dict[str, str]) -> None:
    """Dashboards made for Envoy must show FastProxy."""
    found_family, found_labels = split_stat_name(name, NAMES)

    assert (found_family, dict(found_labels)) == (family, labels)


def test_output_is_what_prometheus_reads() -> None:
    """Types, escaping, buckets and sums must survive a real parser."""
    histogram = Histogram()
    for value in (0.2, 3.0, 70.0, 1e9):
        histogram.record(value)
    stats = MergedStats(
        counters={"cluster.c.upstream_rq_200": 3, "cluster.c.upstream_rq_503": 1,
                  "cluster.c.upstream_rq_total": 4, 'cluster.odd"name.upstream_rq_total': 9},
        gauges={"server.live": 1},
        histograms={"http.ingress.downstream_rq_time": histogram.encode()},
    )  # fmt: skip
    text = encode_prometheus(stats, NAMES)
    families = {family.name: family for family in text_string_to_metric_families(text)}

    assert "# TYPE envoy_cluster_upstream_rq untyped\n" in text
    assert text.count("# TYPE envoy_cluster_upstream_rq_total counter\n") == 1
    assert 'envoy_cluster_upstream_rq{envoy_cluster_name="c",envoy_response_code="503"} 1.0\n' in text
    assert "envoy_server_live 1.0\n" in text
    (odd,) = (
        s for f in families.values() for s in f.samples if s.labels.get("envoy_cluster_name", "c") != "c"
    )
    assert odd.labels["envoy_cluster_name"] == 'odd"name'
    samples = families["envoy_http_downstream_rq_time"].samples
    buckets = {s.labels["le"]: s.value for s in samples if s.name.endswith("_bucket")}
    assert (buckets["0.5"], buckets["5"], buckets["100"], buckets["3600000"], buckets["+Inf"]) == (
        1,
        2,
        3,
        3,
        4,
    )
    assert len(buckets) == len(BUCKETS) + 1
    assert next(s.value for s in samples if s.name.endswith("_sum")) == pytest.approx(1000000073.2)
    assert next(s.value for s in samples if s.name.endswith("_count")) == 4


def test_quantiles_lie_in_the_bucket_of_their_value() -> None:
    """They are estimates; but a median of 3 ms must not read 25."""
    histogram = Histogram()
    for _ in range(100):
        histogram.record(3.0)
    quantiles = estimate_quantiles(histogram.encode())

    assert quantiles is not None
    assert all(1 <= value <= 5 for value in quantiles)
    assert quantiles == sorted(quantiles)
    assert len(quantiles) == len(QUANTILES)


def test_quantiles_of_nothing_and_of_the_overflow_bucket() -> None:
    """No number may be invented, and none may be infinite."""
    histogram = Histogram()
    assert estimate_quantiles(histogram.encode()) is None
    histogram.record(1e12)

    assert estimate_quantiles(histogram.encode()) == [BUCKETS[-1]] * len(QUANTILES)
