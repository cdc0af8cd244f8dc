"""Statistics in Prometheus' text format, with Envoy's family names and labels (spec/http.md section 16).

prometheus_client's own writer adds `_total` to every counter's name, as OpenMetrics wants. Envoy does not,
and with it `cluster.c.upstream_rq_200` would become a second `envoy_cluster_upstream_rq_total`. So the lines
are written here; that client's parser is the oracle of the tests, and its number format is used.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from prometheus_client.utils import floatToGoString

from fastproxy.control.totals import MergedStats
from fastproxy.stats import BUCKETS

_Labels = tuple[tuple[str, str], ...]

_UNSAFE: Final = re.compile(r"[^a-zA-Z0-9_]")
_LISTENER: Final = re.compile(r"^listener\.(admin|\[[0-9a-fA-F_.]*\]_\d+|[\d.]+_\d+)\.")
_WORKER: Final = re.compile(r"^(listener(?:_manager)?\.)worker_(\d+)\.")
_CODE: Final = re.compile(r"_rq_(\d{3})$")
_CODE_CLASS: Final = re.compile(r"_rq_(\d)xx$")
_TLS: Final = re.compile(r"\.(ciphers|versions|curves|sigalgs)\.(.+)$")
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
    if match := _WORKER.match(name):
        labels.append(("envoy_worker_id", match[2]))
        name = match[1] + name[match.end() :]
    for prefix, known, label in (
        ("http.", (*names.stat_prefixes, "admin"), "envoy_http_conn_manager_prefix"),
        ("listener.http.", (*names.stat_prefixes, "admin"), "envoy_http_conn_manager_prefix"),
        ("cluster.", names.clusters, "envoy_cluster_name"),
        ("jwks.", names.providers, "fastproxy_jwt_provider"),
    ):
        if name.startswith(prefix):
            scope, rest = _split_scope(name.removeprefix(prefix), known)
            if rest:
                labels.append((label, scope))
                name = prefix + rest
    return "envoy_" + _UNSAFE.sub("_", name), tuple(labels)


def encode_prometheus(stats: MergedStats, names: ScopeNames) -> str:
    """Write all statistics; counters first, then gauges, then histograms, each sorted by family."""
    lines: list[str] = []
    for kind, values in (("counter", stats.counters), ("gauge", stats.gauges)):
        families: dict[str, list[str]] = {}
        for name, value in sorted(values.items()):
            family, labels = split_stat_name(name, names)
            families.setdefault(family, []).append(f"{family}{_encode_labels(labels)} {value}\n")
        _write_families(lines, kind, families)
    families = {}
    for name, encoded in sorted(stats.histograms.items()):
        family, labels = split_stat_name(name, names)
        families.setdefault(family, []).extend(_encode_histogram(family, labels, encoded))
    _write_families(lines, "histogram", families)
    return "".join(lines)


def _split_scope(rest: str, known: Iterable[str]) -> tuple[str, str]:
    """Cut the scope off: a known name if one fits (the longest), the part before the first dot otherwise."""
    fitting = [name for name in known if rest.startswith(name + ".")]
    if fitting:
        scope = max(fitting, key=len)
        return scope, rest[len(scope) + 1 :]
    scope, _, remainder = rest.partition(".")
    return scope, remainder


def _write_families(lines: list[str], kind: str, families: dict[str, list[str]]) -> None:
    for family, samples in sorted(families.items()):
        lines.append(f"# TYPE {family} {kind}\n")
        lines.extend(samples)


def _encode_labels(labels: _Labels) -> str:
    # Untagged metrics carry empty braces in Envoy.
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels) + "}"


def _encode_histogram(family: str, labels: _Labels, encoded: list[float]) -> list[str]:
    bounds = [*(f"{bound:g}" if bound < 1e6 else str(int(bound)) for bound in BUCKETS), "+Inf"]
    lines = [
        f"{family}_bucket{_encode_labels((*labels, ('le', bound)))} {int(count)}\n"
        for bound, count in zip(bounds, encoded, strict=False)
    ]
    lines.append(f"{family}_sum{_encode_labels(labels)} {_encode_number(encoded[-2])}\n")
    lines.append(f"{family}_count{_encode_labels(labels)} {int(encoded[-1])}\n")
    return lines


def _encode_number(value: float) -> str:
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]  # prometheus_client has no annotations here


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
