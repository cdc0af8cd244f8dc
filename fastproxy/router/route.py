"""One compiled route: when it applies, and what it does (Envoy `config.route.v3.Route`)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

from fastproxy import clock
from fastproxy.format.body import BodyFormat
from fastproxy.format.header_rules import build_header_rules
from fastproxy.http.messages import LocalReply, Request, ResponseHook
from fastproxy.match.path import PathMatcher, build_path_matcher
from fastproxy.match.request import RequestMatcher, build_request_matcher
from fastproxy.match.settings import PathMatch
from fastproxy.router.counting import RouteCounting
from fastproxy.router.hash_policy import RequestHash
from fastproxy.router.limits import (
    GrpcTimeout,
    StreamLimits,
    build_grpc_timeout,
    build_limits,
)
from fastproxy.router.redirect import build_redirect, own_location
from fastproxy.router.retry import RetryPolicy
from fastproxy.router.rewrite import Edit, build_edits, build_host_edit
from fastproxy.router.settings import (
    DirectResponseAction,
    ForwardAction,
    RedirectAction,
    RouteSettings,
    WeightedCluster,
    WeightedClusters,
)
from fastproxy.router.weighted import ClusterChoice
from fastproxy.upstream.balancer.settings import SubsetMatch
from fastproxy.upstream.cluster import Cluster
from fastproxy.upstream.endpoint import Endpoint


class Route:
    """One compiled route. `forward` is None if the route answers by itself through `reply`."""

    __slots__ = (
        "append_forwarded_host",
        "auto_host_rewrite",
        "choose",
        "cluster",
        "conditions",
        "connects_tcp",
        "counting",
        "edits",
        "envoy_headers",
        "expected_timeout_ms",
        "filter_configs",
        "forward",
        "grpc_timeout",
        "hash_policy",
        "is_choosy",
        "is_retrying",
        "is_simple",
        "limits",
        "marks_requests",
        "match",
        "matches",
        "metadata",
        "name",
        "priority",
        "replay_limit_bytes",
        "reply",
        "request_rules",
        "response_rules",
        "retry",
        "shares",
        "subset",
        "tells_downstream_attempts",
        "tells_upstream_attempts",
        "timeout_s",
        "upgrades",
    )

    conditions: RequestMatcher | None
    """What has to hold besides the path; None if nothing has."""
    choose: "Callable[[Request], Route] | None"
    """Chooses one of several routes that stand for this one (`weighted_clusters`)."""
    edits: tuple[Edit, ...] | None
    """Changes to the request before it is forwarded."""
    hash_policy: RequestHash | None
    """Computes the hash for a cluster that chooses endpoints by one."""
    grpc_timeout: GrpcTimeout | None
    """What it makes of `grpc-timeout`; None if it does not look at it."""
    limits: StreamLimits | None
    """How long its streams may take; None if it says nothing about that."""
    subset: SubsetMatch | None
    """Which endpoints of the cluster requests may go to."""
    is_choosy: bool
    """Has one of these two: then `select_endpoint` must choose the endpoint, not the cluster alone."""
    retry: RetryPolicy | None
    """When requests are tried again; None if it says nothing about that."""
    is_retrying: bool
    """Its requests need a `RetryingExchange`."""
    priority: int
    """Which circuit breakers of the cluster apply: 0 is DEFAULT, 1 is HIGH."""
    upgrades: Mapping[bytes, bool]
    """What it says about protocols that requests may switch to, by their types in lower case."""
    connects_tcp: bool
    """CONNECT ends here, and the cluster gets the tunnel's bytes alone."""
    counting: RouteCounting | None
    """What counts its requests besides its cluster; None if nothing does."""
    shares: "tuple[Route, ...]"
    """Those that stand for it."""
    is_simple: bool
    """Its requests go to its cluster as they came, once: there is nothing else to look at."""

    def __init__(self, settings: RouteSettings, *, envoy_headers: bool = True) -> None:
        """Compile a route; `envoy_headers`: tell both sides with `x-envoy-*` headers what was done.

        Raises:
            ValueError: a regular expression is invalid (the configuration has checked this before).
        """
        self.envoy_headers = envoy_headers
        self.name = settings.name
        self.filter_configs = settings.filter_configs or None
        self.metadata: Mapping[str, object] | None = (
            json.loads(settings.metadata) if settings.metadata else None
        )
        """What the configuration says about it for formats; None if nothing."""
        self.match: PathMatch = settings.match
        self.request_rules = build_header_rules(settings.request_headers)
        response_rules = build_header_rules(settings.response_headers)
        self.response_rules: ResponseHook | None = (
            None if response_rules is None else response_rules.apply_to_response
        )
        self.matches: PathMatcher = _build_matcher(settings)
        self.conditions = build_request_matcher(settings.conditions)
        self.choose = None
        self.forward: ForwardAction | None = None
        self.reply: Callable[[Request], LocalReply] | None = None
        self.edits = None
        self.hash_policy = None
        self.grpc_timeout = None
        self.limits = None
        self.subset = None
        self.is_choosy = False
        self.retry = None
        self.is_retrying = False
        self.replay_limit_bytes: int | None = None
        self.tells_upstream_attempts = False
        self.tells_downstream_attempts = False
        self.priority = 0
        self.upgrades = {}
        self.connects_tcp = False
        self.cluster = ""
        self.auto_host_rewrite = False
        self.append_forwarded_host = False
        self.timeout_s = 0.0
        self.expected_timeout_ms = b""
        self.counting = None
        self.shares = ()
        self.is_simple = False
        action = settings.action
        if isinstance(action, ForwardAction):
            self._set_forward(action)
            if action.weighted_clusters is not None:
                self.choose = _build_choice(settings, action, action.weighted_clusters, self)
        elif isinstance(action, RedirectAction):
            self.reply = build_redirect(action, settings.match)
        else:
            self.reply = _build_direct_response(action)
        self.marks_requests = bool(
            self.choose or self.filter_configs or self.response_rules or self.metadata is not None
        )
        """Another route stands for it, or something of it has to be known while filters run."""

    def change_first(self, edit: Edit) -> None:
        """Put a change to requests before all others."""
        self.edits = (edit, *(self.edits or ()))
        self.is_simple = False

    def count_by(self, counting: RouteCounting) -> None:
        """Count its requests, and those of its shares."""
        for route in (self, *self.shares):
            route.counting = counting
            route.is_simple = False

    def _set_forward(self, action: ForwardAction) -> None:
        self.forward = action
        self.cluster = action.cluster
        self.auto_host_rewrite = action.auto_host_rewrite
        self.append_forwarded_host = action.append_x_forwarded_host
        self.timeout_s = action.timeout_s
        self.retry = None if action.retry is None else RetryPolicy(action.retry)
        self.is_retrying = action.retry is not None or action.tells_downstream_attempts
        self.replay_limit_bytes = action.replay_limit_bytes
        self.tells_upstream_attempts = action.tells_upstream_attempts
        self.tells_downstream_attempts = action.tells_downstream_attempts
        self.priority = int(action.is_high_priority)
        self.expected_timeout_ms = encode_expected_timeout(
            action.timeout_s, 0.0 if action.retry is None else action.retry.per_try_timeout_s
        )
        self.edits = build_edits(action, self.match, envoy_headers=self.envoy_headers) or None
        self.limits = build_limits(action)
        self.grpc_timeout = build_grpc_timeout(action)
        if action.hash_policy:
            self.hash_policy = RequestHash(action.hash_policy)
        self.upgrades = {one.type.encode(): one.enabled for one in action.upgrades}
        self.connects_tcp = any(one.connects_tcp for one in action.upgrades)
        self.subset = action.subset
        self.is_choosy = bool(action.hash_policy) or action.subset is not None
        self.is_simple = bool(self.cluster) and not (
            self.is_retrying
            or self.tells_upstream_attempts
            or self.request_rules
            or self.edits
            or self.grpc_timeout
            or action.mirrors
        )

    def hash_of(self, cluster: Cluster, request: Request) -> int | None:
        """The hash by which the cluster chooses an endpoint; to be asked once, for it may make a cookie."""
        if self.hash_policy is not None and cluster.uses_hash:
            return self.hash_policy.compute(request)
        return None

    def select_endpoint(self, cluster: Cluster, request: Request) -> Endpoint | None:
        """Choose the endpoint by what the route asks for: `hash_policy`, `metadata_match`."""
        return cluster.select_endpoint(self.hash_of(cluster, request), self.subset)

    def applies_to(self, request: Request) -> bool:
        """Whether path and conditions hold."""
        return self.matches(request.path) and (self.conditions is None or self.conditions(request))


def _build_matcher(settings: RouteSettings) -> PathMatcher:
    """The path condition; for the empty path of CONNECT is only `connect_matcher`, for the `*` of OPTIONS nothing."""
    matches = build_path_matcher(settings.match)
    if settings.conditions.connect_only or not (matches(b"") or matches(b"*")):
        return matches
    return lambda path: path[:1] == b"/" and matches(path)


def _build_choice(
    settings: RouteSettings,
    action: ForwardAction,
    weighted: WeightedClusters,
    route: Route,
) -> Callable[[Request], Route]:
    """A route for each cluster, which differs from the others in what the cluster's entry says."""
    routes = tuple(
        _build_share(settings, action, entry, envoy_headers=route.envoy_headers)
        for entry in weighted.clusters
    )
    weights = tuple(entry.weight for entry in weighted.clusters)
    hash_policy = route.hash_policy if weighted.uses_hash_policy else None
    choice = ClusterChoice(weights, weighted.header_name.encode(), hash_policy)
    route.shares = routes
    return lambda request: routes[choice.select(request)]


def _build_share(
    settings: RouteSettings, action: ForwardAction, entry: WeightedCluster, *, envoy_headers: bool
) -> Route:
    subset = action.subset
    if entry.subset is not None:
        subset = entry.subset if subset is None else subset.overridden_by(entry.subset)
    changed = replace(
        settings,
        action=replace(
            action,
            cluster=entry.cluster,
            cluster_header=entry.cluster_header,
            weighted_clusters=None,
            subset=subset,
        ),
        filter_configs=entry.filter_configs,
        request_headers=entry.request_headers,
        response_headers=entry.response_headers,
    )
    route = Route(changed, envoy_headers=envoy_headers)
    if entry.host_rewrite_literal:
        # Envoy: without a word about the old host, and before the rewrites of the route, which may change it again.
        route.change_first(build_host_edit(entry.host_rewrite_literal))
    return route


def encode_expected_timeout(timeout_s: float, per_try_timeout_s: float) -> bytes:
    """How long an upstream has, for `x-envoy-expected-rq-timeout-ms`; empty if there is no limit.

    In milliseconds, its fraction cut off as in Envoy.

    Args:
        timeout_s: for all tries together; 0 is for ever.
        per_try_timeout_s: for this one; 0 is as long as for all.
    """
    if per_try_timeout_s and (not timeout_s or per_try_timeout_s < timeout_s):
        timeout_s = per_try_timeout_s
    # Not quite at the end of a millisecond: 0.29 * 1000 is less than 290.
    return b"%d" % int(timeout_s * 1000 + 1e-6) if timeout_s else b""


def _build_direct_response(action: DirectResponseAction) -> Callable[[Request], LocalReply]:
    if action.body_format is not None:
        return _build_formatted_response(action, BodyFormat(action.body_format))
    if _says_where(action):
        return lambda request: LocalReply(
            action.status,
            action.body,
            details="direct_response",
            headers=((b"location", own_location(request)),),
            is_of_route=True,
        )
    reply = LocalReply(action.status, action.body, details="direct_response", is_of_route=True)
    return lambda _request: reply


def _says_where(action: DirectResponseAction) -> bool:
    """Envoy: such an answer has a `location`, which is what was asked for; a header rule may say otherwise."""
    return action.status == 201 or 300 <= action.status <= 399


def _build_formatted_response(
    action: DirectResponseAction, body_format: BodyFormat
) -> Callable[[Request], LocalReply]:
    # Envoy: plain text gives way to a `content-type` that the route adds, nothing else does.
    content_type = b"" if body_format.content_type == b"text/plain" else body_format.content_type
    says_where = _says_where(action)

    def reply(request: Request) -> LocalReply:
        return LocalReply(
            action.status,
            body_format.write(request, clock.monotonic(), action.body),
            details="direct_response",
            headers=((b"location", own_location(request)),) if says_where else (),
            is_of_route=True,
            content_type=content_type,
        )

    return reply
