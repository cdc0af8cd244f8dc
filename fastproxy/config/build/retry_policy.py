"""`RetryPolicy` of routes and virtual hosts (envoy.config.route.v3)."""

from fastproxy.config.build.lb_subset import build_subset_match
from fastproxy.config.build.matchers import build_header_matches
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.router.settings import (
    GRPC_RETRY_ON_WORDS,
    RETRY_ON_WORDS,
    ResetHeader,
    RetryOn,
    RetrySettings,
    parse_retry_on,
)
from fastproxy.upstream.balancer.settings import SubsetMatch

_HOST = "envoy.extensions.retry.host."
_PREVIOUS_HOSTS = _HOST + "previous_hosts.v3.PreviousHostsPredicate"
_OMIT_CANARIES = _HOST + "omit_canary_hosts.v3.OmitCanaryHostsPredicate"
_OMIT_METADATA = _HOST + "omit_host_metadata.v3.OmitHostMetadataConfig"
_PREVIOUS_PRIORITIES = "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
_DEFAULT_RESET_S = 300.0
#: Envoy: a shorter base interval is this.
_MIN_BASE_S = 0.001


def build_retry_policy(owner: View) -> RetrySettings | None:
    """The `retry_policy` of a route action or a virtual host; None if it has none."""
    owner.unsupported("retry_policy_typed_config", fix="Write it as retry_policy")
    owner.unsupported(
        "hedge_policy",
        "requests are not hedged: two tries at the same time are two effects",
        "Use retry_policy with per_try_timeout",
    )
    policy = owner.child("retry_policy")
    if policy is None:
        return None
    policy.unsupported("retry_options_predicates")
    base_s, max_s = _build_back_off(policy)
    reset_headers, max_reset_s = _build_rate_limited(policy)
    previous, canaries, metadata = _build_predicates(policy)
    return RetrySettings(
        conditions=_build_conditions(policy),
        max_retries=policy.integer_or("num_retries", 1),
        per_try_timeout_s=policy.duration_s("per_try_timeout", 0.0),
        per_try_idle_timeout_s=policy.duration_s("per_try_idle_timeout", 0.0),
        base_interval_s=base_s,
        max_interval_s=max_s,
        reset_headers=reset_headers,
        max_reset_s=max_reset_s,
        status_codes=frozenset(policy.integers("retriable_status_codes")),
        response_headers=build_header_matches(policy, "retriable_headers"),
        request_headers=build_header_matches(policy, "retriable_request_headers"),
        avoids_previous=previous,
        avoids_canaries=canaries,
        avoided_metadata=metadata,
        max_selections=policy.integer("host_selection_retry_max_attempts") or 1,
        priority_update_frequency=_build_priority(policy),
    )


def _build_conditions(policy: View) -> RetryOn:
    text = policy.text("retry_on")
    known = {*RETRY_ON_WORDS, *GRPC_RETRY_ON_WORDS}
    for word in (word.strip() for word in text.split(",")):
        if word and word not in known:
            policy.warn(
                f"{quote(word)} is not known, and has no effect",
                f"Known are {', '.join(sorted(known))}",
                field="retry_on",
            )
    return parse_retry_on(text, RETRY_ON_WORDS) | parse_retry_on(text, GRPC_RETRY_ON_WORDS)


def _build_back_off(policy: View) -> tuple[float, float]:
    back_off = policy.child("retry_back_off")
    default = RetrySettings()
    if back_off is None:
        return default.base_interval_s, default.max_interval_s
    base_s = max(_MIN_BASE_S, back_off.duration_s("base_interval", default.base_interval_s))
    max_s = max(_MIN_BASE_S, back_off.duration_s("max_interval", base_s * 10))
    if max_s < base_s:
        back_off.error("must not be smaller than base_interval", field="max_interval")
    return base_s, max_s


def _build_rate_limited(policy: View) -> tuple[tuple[ResetHeader, ...], float]:
    back_off = policy.child("rate_limited_retry_back_off")
    if back_off is None:
        return (), _DEFAULT_RESET_S
    headers = tuple(
        ResetHeader(header.text("name").lower(), header.choice("format") == "UNIX_TIMESTAMP")
        for header in back_off.children("reset_headers")
    )
    return headers, back_off.duration_s("max_interval", _DEFAULT_RESET_S)


def _build_predicates(policy: View) -> tuple[bool, bool, SubsetMatch | None]:
    previous = canaries = False
    metadata: SubsetMatch | None = None
    for predicate in policy.children("retry_host_predicate"):
        predicate.accept("name")
        config = _typed(predicate, (_PREVIOUS_HOSTS, _OMIT_CANARIES, _OMIT_METADATA))
        if config is None:
            continue
        if config.type_name == _PREVIOUS_HOSTS:
            previous = True
        elif config.type_name == _OMIT_CANARIES:
            canaries = True
        else:
            metadata = build_subset_match(config)
    return previous, canaries, metadata


def _build_priority(policy: View) -> int:
    priority = policy.child("retry_priority")
    if priority is None:
        return 0
    priority.accept("name")
    config = _typed(priority, (_PREVIOUS_PRIORITIES,))
    return 0 if config is None else config.integer("update_frequency")


def _typed(extension: View, known: tuple[str, ...]) -> View | None:
    """The configuration of an extension, if it is one of those that are known (otherwise reported)."""
    if not extension.has("typed_config"):
        extension.error("has no typed_config", f"FastProxy has {', '.join(known)}")
        return None
    config = extension.typed("typed_config")
    if config is not None and config.type_name not in known:
        extension.error(
            f"{config.type_name} is not supported",
            f"FastProxy has {', '.join(known)}",
            field="typed_config",
        )
        return None
    return config
