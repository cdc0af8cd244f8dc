"""`lb_subset_config`, and the `Subset` policy, which has the same fields."""

from fastproxy.config.view import View
from fastproxy.upstream.balancer.settings import Fallback, SubsetSelector, SubsetSettings


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
