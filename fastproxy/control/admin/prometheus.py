"""Statistics in Prometheus' text format, with Envoy's family names and labels (spec/http.md section 16).

prometheus_client writes the text. It follows OpenMetrics, where a counter's name ends in `_total`; Envoy has counters
whose names do not. Those are handed over as untyped: the sample names, which queries and dashboards use, stay Envoy's.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from fastproxy.control.admin.quantiles import QUANTILES, estimate_quantiles
from fastproxy.control.totals import MergedStats
from fastproxy.stats import BUCKETS

#: Envoy gives none; the names are documented with Envoy.
_HELP: Final = ""
_BOUNDS: Final = (*(f"{bound:g}" if bound < 1e6 else str(int(bound)) for bound in BUCKETS), "+Inf")

_Labels = tuple[tuple[str, str], ...]

_UNSAFE: Final = re.compile(r"[^a-zA-Z0-9_]")
_LISTENER: Final = re.compile(r"^listener\.(\[[0-9a-fA-F_.]*\]_\d+|[\d.]+_\d+)\.")
_WORKER: Final = re.compile(r"^((?:listener|listener_manager|server)\.)worker_(\d+)\.")
_CODE: Final = re.compile(r"_rq_(\d{3})$")
_CODE_CLASS: Final = re.compile(r"_rq_(\d)xx$")
_TLS: Final = re.compile(r"\.(ciphers|versions|curves|sigalgs)\.(.+)$")
_RDS: Final = re.compile(r"^http\.rds\.(.+)\.(\w+)$")
_TLS_LABELS: Final = {
    "ciphers": "envoy_ssl_cipher",
    "versions": "envoy_ssl_version",
    "curves": "envoy_ssl_curve",
    "sigalgs": "envoy_ssl_sigalg",
}


@dataclass(frozen=True, slots=True)
class ScopeNames:
    """The names of the configuration that appear inside statistic names.

    Envoy cuts such a name at its first dot, so that a cluster `a.b` becomes cluster `a` with odd families.
    These are known here, so they are cut where they end.
    """

    clusters: tuple[str, ...] = ()
    stat_prefixes: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    listeners: tuple[str, ...] = ()
    """As `ListenerSettings.stat_address` has them."""
    virtual_hosts: tuple[str, ...] = ()
    virtual_clusters: tuple[str, ...] = ("other",)
    routes: tuple[str, ...] = ()
    """`stat_prefix` of routes."""
    tcp_prefixes: tuple[str, ...] = ()
    """`stat_prefix` of TCP proxies."""


def split_stat_name(name: str, names: ScopeNames) -> tuple[str, _Labels]:
    """Split a statistic's name into family and labels, in Envoy's label order."""
    labels: list[tuple[str, str]] = []
    for pattern, label, rest in (
        (_CODE, "envoy_response_code", "_rq"),
        (_CODE_CLASS, "envoy_response_code_class", "_rq_xx"),
    ):
        if match := pattern.search(name):
            labels.append((label, match[1]))
            name = name[: match.start()] + rest
    if match := _TLS.search(name):
        labels.append((_TLS_LABELS[match[1]], match[2]))
        name = f"{name[: match.start()]}.{match[1]}"
    if match := _LISTENER.match(name):
        labels.append(("envoy_listener_address", match[1]))
        name = "listener." + name[match.end() :]
    elif name.startswith("listener."):
        # A path or a `stat_prefix`, which Envoy leaves in the family, or cuts at a dot.
        scope = max(
            (one for one in names.listeners if name.startswith(f"listener.{one}.")), key=len, default=""
        )
        if scope:
            labels.append(("envoy_listener_address", scope))
            name = "listener." + name[len("listener.") + len(scope) + 1 :]
    if match := _WORKER.match(name):
        labels.append(("envoy_worker_id", match[2]))
        # As Envoy cuts it, which keeps these apart from the sum over all workers.
        name = f"{match[1]}worker_{name[match.end() :]}"
    if name.startswith("vhost."):
        return _split_vhost(name, names, labels)
    for prefix, known, label in (
        ("http.", (*names.stat_prefixes, "admin"), "envoy_http_conn_manager_prefix"),
        ("listener.http.", (*names.stat_prefixes, "admin"), "envoy_http_conn_manager_prefix"),
        ("listener.admin.http.", ("admin",), "envoy_http_conn_manager_prefix"),
        ("cluster.", names.clusters, "envoy_cluster_name"),
        ("tcp.", names.tcp_prefixes, "envoy_tcp_prefix"),
        ("jwks.", names.providers, "fastproxy_jwt_provider"),
    ):
        if name.startswith(prefix):
            scope, rest = _split_scope(name.removeprefix(prefix), known)
            if rest:
                labels.append((label, scope))
                name = prefix + rest
    if match := _RDS.match(name):
        labels.append(("envoy_rds_route_config", match[1]))
        name = f"http.rds.{match[2]}"
    return "envoy_" + _UNSAFE.sub("_", name), tuple(labels)


def encode_prometheus(stats: MergedStats, names: ScopeNames, *, summaries: bool = False) -> str:
    """Write all statistics; counters, then gauges, text readouts, and histograms, each sorted by family.

    Args:
        stats: what to write.
        names: of the configuration, which become labels.
        summaries: histograms are written as quantiles (`?histogram_buckets=summary`).
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_StatsCollector(stats, names, summaries=summaries))
    return generate_latest(registry).decode()


class _StatsCollector(Collector):
    """Turns merged statistics into the library's families, once."""

    def __init__(self, stats: MergedStats, names: ScopeNames, *, summaries: bool) -> None:
        self._summaries = summaries
        self._stats = stats
        self._names = names

    def describe(self) -> Iterable[Metric]:
        """Nothing is known before the statistics are collected."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Counters, gauges, text readouts, histograms."""
        yield from self._collect_values(self._stats.counters, "counter")
        yield from self._collect_values(self._stats.gauges, "gauge")
        yield from self._collect_texts()
        yield from self._collect_summaries() if self._summaries else self._collect_histograms()

    def _collect_values(self, values: Mapping[str, int], kind: str) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for name, value in sorted(values.items()):
            family, labels = split_stat_name(name, self._names)
            if family not in families:
                families[family] = _new_metric(family, kind)
            families[family].add_sample(family, dict(labels), value)
        for family in sorted(families):
            yield families[family]

    def _collect_texts(self) -> Iterator[Metric]:
        """Text readouts as gauges of 0 with a label (`?text_readouts`)."""
        families: dict[str, Metric] = {}
        for name, text in sorted(self._stats.texts.items()):
            family, labels = split_stat_name(name, self._names)
            if family not in families:
                families[family] = _new_metric(family, "gauge")
            families[family].add_sample(family, {**dict(labels), "text_value": text}, 0)
        for family in sorted(families):
            yield families[family]

    def _collect_summaries(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for name, encoded in sorted(self._stats.histograms.items()):
            family, labels = split_stat_name(name, self._names)
            known = dict(labels)
            metric = families.setdefault(family, Metric(family, _HELP, "summary"))
            values = estimate_quantiles(encoded) or [math.nan] * len(QUANTILES)
            for percent, value in zip(QUANTILES, values, strict=True):
                metric.add_sample(family, {**known, "quantile": f"{percent / 100:g}"}, value)
            metric.add_sample(f"{family}_sum", known, encoded[-2])
            metric.add_sample(f"{family}_count", known, encoded[-1])
        for family in sorted(families):
            yield families[family]

    def _collect_histograms(self) -> Iterator[Metric]:
        families: dict[str, HistogramMetricFamily] = {}
        for name, encoded in sorted(self._stats.histograms.items()):
            family, labels = split_stat_name(name, self._names)
            if family not in families:
                families[family] = HistogramMetricFamily(family, _HELP, labels=[label for label, _ in labels])
            buckets = list(zip(_BOUNDS, encoded, strict=False))
            families[family].add_metric([value for _, value in labels], buckets, sum_value=encoded[-2])
        for family in sorted(families):
            yield families[family]


def _new_metric(family: str, kind: str) -> Metric:
    if kind == "counter":
        if family.endswith("_total"):
            # The library adds the suffix again when it writes the type.
            return Metric(family.removesuffix("_total"), _HELP, "counter")
        kind = "unknown"
    return Metric(family, _HELP, kind)


def _split_vhost(name: str, names: ScopeNames, labels: list[tuple[str, str]]) -> tuple[str, _Labels]:
    """A statistic of a virtual cluster or a route."""
    host, rest = _split_scope(name.removeprefix("vhost."), names.virtual_hosts)
    for kind, known, label in (
        ("vcluster.", names.virtual_clusters, "envoy_virtual_cluster"),
        ("route.", names.routes, "envoy_route"),
    ):
        if rest.startswith(kind):
            one, rest = _split_scope(rest.removeprefix(kind), known)
            labels += [(label, one), ("envoy_virtual_host", host)]
            rest = kind + rest
    return "envoy_" + _UNSAFE.sub("_", f"vhost.{rest}"), tuple(labels)


def _split_scope(rest: str, known: Iterable[str]) -> tuple[str, str]:
    """Cut the scope off: a known name if one fits (the longest), the part before the first dot otherwise."""
    fitting = [name for name in known if rest.startswith(name + ".")]
    if fitting:
        scope = max(fitting, key=len)
        return scope, rest[len(scope) + 1 :]
    scope, _, remainder = rest.partition(".")
    return scope, remainder
