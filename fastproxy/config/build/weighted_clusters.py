"""`WeightedCluster`: several clusters, each with its share of the requests."""

from typing import TYPE_CHECKING

from fastproxy.config.build.lb_subset import build_subset_match
from fastproxy.config.build.per_filter import build_filter_configs
from fastproxy.config.build.request_line import take_host
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.router.settings import WeightedCluster, WeightedClusters

if TYPE_CHECKING:
    from fastproxy.config.build.route_action import ActionScope


def build_weighted_clusters(view: View, scope: "ActionScope") -> WeightedClusters | None:
    """Build all entries; None when there is nothing to choose from (reported)."""
    prefix = view.text("runtime_key_prefix")
    clusters = tuple(_build_entry(entry, scope, prefix) for entry in view.children("clusters"))
    total = sum(entry.weight for entry in clusters)
    wanted = view.integer_or("total_weight", total)
    if total == 0:
        view.error(
            "Sum of weights in the weighted_cluster must be greater than 0.",
            "Give a weight to the clusters that are to get requests",
            field="clusters",
        )
        return None
    if wanted != total:
        # Envoy has stopped comparing them, and divides by the sum; so is it here.
        view.warn(
            f"has no effect: the weights add up to {total}, not to {wanted}, and the sum counts",
            field="total_weight",
        )
    if total > 0xFFFFFFFF:
        view.error("the weights add up to more than 4294967295", field="clusters")
    return WeightedClusters(
        clusters, view.text("header_name").lower(), view.flag_or("use_hash_policy", default=False)
    )


def _build_entry(view: View, scope: "ActionScope", prefix: str) -> WeightedCluster:
    name, header = view.text("name"), view.text("cluster_header").lower()
    if bool(name) == bool(header):
        view.error("one of name and cluster_header has to say which cluster this is")
    elif name:
        scope.check_cluster(view, "name", name)
    weight = view.integer_or("weight", 0)
    headers = scope.headers.below(view)
    if prefix:
        weight = _runtime_weight(view, scope, f"{prefix}.{name}", weight)
    return WeightedCluster(
        cluster=name,
        weight=weight,
        cluster_header=header,
        host_rewrite_literal=take_host(view, "host_rewrite_literal"),
        filter_configs=build_filter_configs(view, scope.filters, scope.context, scope.filter_configs),
        request_headers=headers.request,
        response_headers=headers.response,
        subset=build_subset_match(view),
    )


def _runtime_weight(view: View, scope: "ActionScope", key: str, default: int) -> int:
    value = scope.context.runtime.read(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 0xFFFFFFFF:
        view.error(f"the runtime key {quote(key)} has a value that is no weight", field="weight")
        return default
    return value
