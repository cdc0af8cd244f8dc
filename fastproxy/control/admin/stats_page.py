"""/stats as text and JSON, in Envoy's order and format (spec/http.md section 15)."""

from typing import Any, Final

import orjson
from aiohttp import web

from fastproxy.control.admin.prometheus import ScopeNames, encode_prometheus
from fastproxy.control.admin.quantiles import QUANTILES, estimate_quantiles
from fastproxy.control.admin.replies import JSON, BadAdminRequest, compile_filter, text_reply
from fastproxy.control.totals import MergedStats

_TYPES: Final = ("All", "Counters", "Gauges", "Histograms", "TextReadouts")
#: Envoy prints a second value for the last flush interval, which does not exist here.
_NO_INTERVAL: Final = "nan"
_NOTHING_RECORDED: Final = (None,) * len(QUANTILES)


def stats_page(request: web.Request, stats: MergedStats, names: ScopeNames) -> web.Response:
    """Answer /stats with `?filter`, `?usedonly`, `?type` and `?format`.

    Raises:
        BadAdminRequest: a parameter has no meaning here.
    """
    chosen = select_stats(request, stats)
    form = request.query.get("format", "text")
    if form == "prometheus":
        return prometheus_reply(chosen, names)
    if form == "json":
        return _json_page(chosen)
    if form != "text":
        raise BadAdminRequest("usage: /stats?format=(text|json|prometheus)\n")
    return text_reply(_text_page(chosen))


def prometheus_reply(stats: MergedStats, names: ScopeNames) -> web.Response:
    """Answer in Prometheus' text format."""
    return text_reply(encode_prometheus(stats, names))


def select_stats(request: web.Request, stats: MergedStats) -> MergedStats:
    """Apply `?filter` (searched in the name), `?usedonly` and `?type`.

    Raises:
        BadAdminRequest: a bad pattern or type.
    """
    pattern = compile_filter(request)
    used_only = "usedonly" in request.query
    kind = request.query.get("type", "All")
    if kind not in _TYPES:
        raise BadAdminRequest(f"usage: /stats?type=({'|'.join(_TYPES)})\n")

    def keep(name: str, *, used: bool) -> bool:
        return (used or not used_only) and (pattern is None or pattern.search(name) is not None)

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


def _text_page(stats: MergedStats) -> str:
    # Envoy shows text readouts first.
    lines = [f'{name}: "{_escaped(value)}"' for name, value in sorted(stats.texts.items())]
    lines += [f"{name}: {value}" for name, value in sorted((stats.counters | stats.gauges).items())]
    lines += [f"{name}: {_text_histogram(values)}" for name, values in sorted(stats.histograms.items())]
    return "".join(line + "\n" for line in lines)


def _escaped(text: str) -> str:
    """Text that comes from a file: one line, whatever it holds."""
    return text.encode("unicode_escape").decode("ascii").replace('"', '\\"')


def _text_histogram(encoded: list[float]) -> str:
    quantiles = estimate_quantiles(encoded)
    if quantiles is None:
        return "No recorded values"
    pairs = zip(QUANTILES, quantiles, strict=True)
    return " ".join(f"P{percent:g}({_NO_INTERVAL},{value:g})" for percent, value in pairs)


def _json_page(stats: MergedStats) -> web.Response:
    entries: list[dict[str, Any]] = [
        {"name": name, "value": text} for name, text in sorted(stats.texts.items())
    ]
    entries += [
        {"name": name, "value": value} for name, value in sorted((stats.counters | stats.gauges).items())
    ]
    if stats.histograms:
        computed = [
            {
                "name": name,
                "values": [
                    {"cumulative": value, "interval": None}
                    for value in estimate_quantiles(encoded) or _NOTHING_RECORDED
                ],
            }
            for name, encoded in sorted(stats.histograms.items())
        ]
        entries.append(
            {"histograms": {"supported_quantiles": list(QUANTILES), "computed_quantiles": computed}}
        )
    return web.Response(body=orjson.dumps({"stats": entries}), headers={"content-type": JSON})
