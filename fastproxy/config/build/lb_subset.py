"""`lb_subset_config`, and the `Subset` policy, which has the same fields."""

from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.upstream.balancer.settings import (
    Fallback,
    SubsetMatch,
    SubsetSelector,
    SubsetSettings,
    subset_match,
)

_LB_METADATA = "envoy.lb"


def build_subsets(config: View) -> SubsetSettings:
    """How the endpoints of a cluster are divided by metadata."""
    for field in ("locality_weight_aware", "scale_locality_weight"):
        config.unsupported(field, "localities are not weighed within subsets")
    if config.choice("metadata_fallback_policy") != "METADATA_NO_FALLBACK":
        config.unsupported("metadata_fallback_policy")
    fallback = config.choice("fallback_policy")
    return SubsetSettings(
        selectors=tuple(_build_selector(selector) for selector in config.children("subset_selectors")),
        fallback=Fallback(fallback) if fallback in Fallback.__members__ else Fallback.NO_FALLBACK,
        default_subset=config.struct("default_subset"),
        list_as_any=config.flag("list_as_any"),
        panic_mode_any=config.flag("panic_mode_any"),
    )


def build_subset_match(owner: View) -> SubsetMatch | None:
    """`metadata_match` of a route or weighted cluster; None if it asks for nothing.

    Only what stands below `envoy.lb` counts; Envoy looks at nothing else either, and does not say so.
    """
    metadata = owner.child("metadata_match")
    if metadata is None:
        return None
    metadata.without_effect("typed_filter_metadata", "only filter_metadata is looked at")
    values: dict[str, object] = {}
    for name, struct in metadata.entries("filter_metadata").items():
        plain = struct.plain_struct()
        if name == _LB_METADATA:
            values = plain
        else:
            metadata.warn(
                f"{quote(name)} has no effect: load balancing looks at {_LB_METADATA}",
                field="filter_metadata",
            )
    return subset_match(values) if values else None


def _build_selector(selector: View) -> SubsetSelector:
    keys = set(selector.texts("keys"))
    fallback = selector.choice("fallback_policy")
    fewer = set(selector.texts("fallback_keys_subset"))
    if not keys:
        selector.error("a selector needs keys", field="keys")
    if fallback != "KEYS_SUBSET" and fewer:
        selector.error("only the fallback_policy KEYS_SUBSET has them", field="fallback_keys_subset")
    if fallback == "KEYS_SUBSET" and not (fewer and fewer < keys):
        selector.error("must name some of the selector's keys, and not all", field="fallback_keys_subset")
    return SubsetSelector(
        tuple(sorted(keys)),
        Fallback(fallback) if fallback in Fallback.__members__ else None,
        tuple(sorted(fewer)),
        selector.flag("single_host_per_subset"),
    )
