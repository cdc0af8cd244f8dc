"""/stats as text and JSON, in Envoy's order and format (spec/http.md section 15)."""

import html
from typing import Any, Final

import orjson
from aiohttp import web

from fastproxy.control.admin.histograms import BucketMode, json_histograms, text_histogram
from fastproxy.control.admin.prometheus import ScopeNames, encode_prometheus
from fastproxy.control.admin.replies import HTML, JSON, BadAdminRequest, compile_filter, text_reply
from fastproxy.control.totals import MergedStats

_TYPES: Final = ("All", "Counters", "Gauges", "Histograms", "TextReadouts")
_MODES: Final = {one.value: one for one in BucketMode} | {"none": BucketMode.SUMMARY}


def stats_page(request: web.Request, stats: MergedStats, names: ScopeNames) -> web.Response:
    """Answer /stats with the parameters that `/help` lists.

    Raises:
        BadAdminRequest: a parameter has no meaning here.
    """
    form = request.query.get("format", "text")
    if form == "prometheus":
        return prometheus_page(request, stats, names)
    chosen = select_stats(request, stats)
    mode = _bucket_mode(request, BucketMode.SUMMARY)
    if form == "json":
        return _json_page(chosen, mode, pretty="pretty" in request.query)
    if form in ("html", "active-html"):
        page = f"<!DOCTYPE html><title>FastProxy statistics</title><pre>{html.escape(_text_page(chosen, mode))}</pre>\n"
        return text_reply(page, content_type=HTML)
    if form != "text":
        raise BadAdminRequest("usage: /stats?format=(html|active-html|json|prometheus|text)\n\n")
    return text_reply(_text_page(chosen, mode))


def prometheus_page(request: web.Request, stats: MergedStats, names: ScopeNames) -> web.Response:
    """Answer /stats/prometheus in Prometheus' text format, with the parameters that `/help` lists.

    Raises:
        BadAdminRequest: a parameter has no meaning here.
    """
    mode = _bucket_mode(request, BucketMode.CUMULATIVE)
    if mode not in (BucketMode.CUMULATIVE, BucketMode.SUMMARY):
        raise BadAdminRequest("unsupported prometheus histogram bucket mode")
    chosen = select_stats(request, stats)
    if "text_readouts" not in request.query:
        chosen.texts = {}
    return text_reply(encode_prometheus(chosen, names, summaries=mode is BucketMode.SUMMARY))


def _bucket_mode(request: web.Request, default: BucketMode) -> BucketMode:
    name = request.query.get("histogram_buckets")
    if name is None:
        return default
    if name not in _MODES:
        raise BadAdminRequest("usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary)\n\n")
    return _MODES[name]


def select_stats(request: web.Request, stats: MergedStats) -> MergedStats:
    """Apply `?filter` (searched in the name), `?invert_filter`, `?usedonly`, `?type` and `?hidden`.

    Raises:
        BadAdminRequest: a bad pattern or type.
    """
    pattern = compile_filter(request)
    inverts = "invert_filter" in request.query
    used_only = "usedonly" in request.query
    kind = request.query.get("type", "All")
    hidden = request.query.get("hidden", "exclude")
    if kind not in _TYPES:
        raise BadAdminRequest(f"invalid &type= param\nusage: /stats?type=({'|'.join(_TYPES)})\n")
    if hidden not in ("include", "only", "exclude"):
        raise BadAdminRequest("usage: /stats?hidden=(include|only|exclude)\n\n")
    if hidden == "only":
        # There are none here, nor in Envoy without a filter that hides some.
        return MergedStats()

    def keep(name: str, *, used: bool) -> bool:
        if used_only and not used:
            return False
        return pattern is None or (pattern.search(name) is not None) is not inverts

    return MergedStats(
        {n: v for n, v in stats.counters.items() if keep(n, used=v != 0)}
        if kind in ("All", "Counters")
        else {},
        {n: v for n, v in stats.gauges.items() if keep(n, used=v != 0)} if kind in ("All", "Gauges") else {},
        {n: v for n, v in stats.histograms.items() if keep(n, used=v[-1] != 0)}
        if kind in ("All", "Histograms")
        else {},
        texts={n: v for n, v in stats.texts.items() if keep(n, used=bool(v))}
        if kind in ("All", "TextReadouts")
        else {},
    )


def _text_page(stats: MergedStats, mode: BucketMode) -> str:
    # Envoy shows text readouts first.
    lines = [f'{name}: "{_escaped(value)}"' for name, value in sorted(stats.texts.items())]
    lines += [f"{name}: {value}" for name, value in sorted((stats.counters | stats.gauges).items())]
    lines += [f"{name}:{text_histogram(values, mode)}" for name, values in sorted(stats.histograms.items())]
    return "".join(line + "\n" for line in lines)


def _escaped(text: str) -> str:
    """Text that comes from a file: one line, whatever it holds."""
    return text.encode("unicode_escape").decode("ascii").replace('"', '\\"')


def _json_page(stats: MergedStats, mode: BucketMode, *, pretty: bool) -> web.Response:
    entries: list[dict[str, Any]] = [
        {"name": name, "value": text} for name, text in sorted(stats.texts.items())
    ]
    entries += [
        {"name": name, "value": value} for name, value in sorted((stats.counters | stats.gauges).items())
    ]
    if stats.histograms:
        entries.append({"histograms": json_histograms(stats.histograms, mode)})
    body = orjson.dumps({"stats": entries}, option=orjson.OPT_INDENT_2 if pretty else None)
    return web.Response(body=body, headers={"content-type": JSON})
