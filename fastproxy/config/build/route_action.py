"""`RouteAction` and `RedirectAction`: what a route does with a request (envoy.config.route.v3)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fastproxy.config.build.cluster_reference import check_cluster
from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.fraction import build_fraction
from fastproxy.config.build.hash_policy import build_hash_policies
from fastproxy.config.build.header_rules import HeaderLevels, build_header_mutations
from fastproxy.config.build.lb_subset import build_subset_match
from fastproxy.config.build.per_filter import FilterViews
from fastproxy.config.build.rate_limits import accept_rate_limits
from fastproxy.config.build.request_line import take_host, take_path, take_scheme
from fastproxy.config.build.retry_policy import build_retry_policy
from fastproxy.config.build.substitution import build_regex_substitution
from fastproxy.config.build.upgrades import build_route_upgrades
from fastproxy.config.build.uri_template import build_template_rewrite, check_prefix_rewrite
from fastproxy.config.build.weighted_clusters import build_weighted_clusters
from fastproxy.config.view import View
from fastproxy.format.compile import compile_path
from fastproxy.http.paths import has_dot_segments
from fastproxy.match.settings import RegexSubstitution
from fastproxy.router.settings import (
    ForwardAction,
    MirrorPolicy,
    RedirectAction,
    RetrySettings,
    WeightedClusters,
)

_DEFAULT_TIMEOUT_S = 15.0
_PATH_REWRITES = ("prefix_rewrite", "regex_rewrite", "path_rewrite_policy", "path_rewrite")
_REDIRECT_STATUS = {
    "MOVED_PERMANENTLY": 301,
    "FOUND": 302,
    "SEE_OTHER": 303,
    "TEMPORARY_REDIRECT": 307,
    "PERMANENT_REDIRECT": 308,
}
_NOT_FOUND_STATUS = {"SERVICE_UNAVAILABLE": 503, "NOT_FOUND": 404, "INTERNAL_SERVER_ERROR": 500}


@dataclass(frozen=True, slots=True)
class RetryScope:
    """What a virtual host says about retries, with what a route of it says besides its action."""

    policy: RetrySettings | None = None
    tells_upstream: bool = False
    """`include_request_attempt_count`."""
    tells_downstream: bool = False
    """`include_attempt_count_in_response`."""
    limit_bytes: int | None = None
    """`request_body_buffer_limit`, or `per_request_buffer_limit_bytes`, its old name."""

    @classmethod
    def of_host(cls, host: View) -> "RetryScope":
        """What a virtual host says."""
        host.unsupported("include_is_timeout_retry_header")
        return cls(
            build_retry_policy(host),
            host.flag("include_request_attempt_count"),
            host.flag("include_attempt_count_in_response"),
            _build_body_limit(host, None),
        )

    def below(self, route: View) -> "RetryScope":
        """The same for one route, which may have a limit of its own."""
        return replace(self, limit_bytes=_build_body_limit(route, self.limit_bytes))


def _build_body_limit(view: View, default: int | None) -> int | None:
    old = view.integer_or("per_request_buffer_limit_bytes", -1)
    limit = view.integer_or("request_body_buffer_limit", old)
    if old >= 0 and view.has("request_body_buffer_limit"):
        view.error("is the old name of request_body_buffer_limit", field="per_request_buffer_limit_bytes")
    return default if limit < 0 else limit


@dataclass(frozen=True, slots=True)
class ActionScope:
    """What an action takes over from the levels above it."""

    context: BuildContext
    filters: FilterViews
    checks_clusters: bool
    """`validate_clusters`: a cluster that does not exist is an error."""
    filter_configs: Mapping[str, object]
    """The route's, those of the levels above it included."""
    headers: HeaderLevels
    """As above."""
    mirrors: tuple[MirrorPolicy, ...] = ()
    """Those of the virtual host, or else of the route table."""
    retries: RetryScope = field(default_factory=RetryScope)
    matches_connect: bool = False
    """The route has a `connect_matcher`."""

    def check_cluster(self, view: View, field: str, name: str) -> None:
        """Report a cluster that does not exist, if that is to be checked."""
        if self.checks_clusters:
            check_cluster(view, field, name, self.context)


def build_forward(view: View, match: View, scope: ActionScope) -> ForwardAction | None:
    """Build a `RouteAction`; None when it says in no supported way where to send requests (reported).

    `match`: the condition of its route; what it does to the path depends on that.
    """
    destination = _build_destination(view, scope)
    if destination is None:
        return None
    host_regex, regex_rewrite = view.child("host_rewrite_path_regex"), view.child("regex_rewrite")
    rewrites = [one for one in _PATH_REWRITES if view.has(one)]
    if len(rewrites) > 1:
        view.error(f"only one of {' and '.join(rewrites)} may be given", field=rewrites[-1])
    check_prefix_rewrite(view, match)
    _refuse_unsupported(view)
    accept_rate_limits(view)
    duration = view.child("max_stream_duration")
    if duration is not None:
        for field in ("timeout", "max_grpc_timeout", "grpc_timeout_offset"):
            view.without_effect(field, "Envoy ignores it beside max_stream_duration")
    return ForwardAction(
        cluster=destination.cluster,
        timeout_s=view.duration_s("timeout", _DEFAULT_TIMEOUT_S) if duration is None else 0.0,
        host_rewrite_literal=take_host(view, "host_rewrite_literal")
        if view.has("host_rewrite_literal")
        else "",
        auto_host_rewrite=view.flag_or("auto_host_rewrite", default=False),
        prefix_rewrite=take_path(view, "prefix_rewrite"),
        cluster_not_found_status=_NOT_FOUND_STATUS.get(view.choice("cluster_not_found_response_code"), 503),
        cluster_header=destination.cluster_header,
        weighted_clusters=destination.weighted,
        host_rewrite_header=view.text("host_rewrite_header").lower(),
        host_rewrite_path_regex=_substitution(host_regex),
        append_x_forwarded_host=view.flag("append_x_forwarded_host"),
        regex_rewrite=_substitution(regex_rewrite) or build_template_rewrite(view, match),
        path_rewrite=_path_format(view),
        hash_policy=build_hash_policies(view),
        subset=build_subset_match(view),
        upgrades=build_route_upgrades(view, matches_connect=scope.matches_connect),
        mirrors=build_mirrors(view, scope.context, checks_clusters=scope.checks_clusters) or scope.mirrors,
        retry=build_retry_policy(view) or scope.retries.policy,
        is_high_priority=view.only("priority", ("DEFAULT", "HIGH")) == "HIGH",
        replay_limit_bytes=scope.retries.limit_bytes,
        tells_upstream_attempts=scope.retries.tells_upstream,
        tells_downstream_attempts=scope.retries.tells_downstream,
        idle_timeout_s=_optional_duration(view, "idle_timeout"),
        max_stream_duration_s=_optional_duration(duration, "max_stream_duration"),
        grpc_timeout_max_s=_optional_duration(duration, "grpc_timeout_header_max"),
        grpc_timeout_offset_s=_optional_duration(duration, "grpc_timeout_header_offset") or 0.0,
        **_old_grpc_timeout(view),
    )


@dataclass(frozen=True, slots=True)
class _Destination:
    """One of the three ways to name a cluster."""

    cluster: str = ""
    cluster_header: str = ""
    weighted: WeightedClusters | None = None


def _build_destination(view: View, scope: ActionScope) -> _Destination | None:
    """The `cluster_specifier`; None when it is none that is supported (reported)."""
    kind = view.selected("cluster_specifier")
    if kind == "cluster":
        cluster = view.text(kind)
        scope.check_cluster(view, kind, cluster)
        return _Destination(cluster=cluster)
    if kind == "cluster_header":
        return _Destination(cluster_header=view.text(kind).lower())
    if kind == "weighted_clusters":
        weighted = build_weighted_clusters(view.child_or_empty(kind), scope)
        return None if weighted is None else _Destination(weighted=weighted)
    _refuse_unsupported(view)
    return None


def _old_grpc_timeout(view: View) -> dict[str, float]:
    """The deprecated fields; `max_grpc_timeout` decides whether they count."""
    if view.has("max_stream_duration"):
        return {}
    if not view.has("max_grpc_timeout"):
        view.without_effect("grpc_timeout_offset", "there is no max_grpc_timeout beside it")
        return {}
    return {
        "grpc_route_timeout_max_s": view.duration_s("max_grpc_timeout", 0.0),
        "grpc_route_timeout_offset_s": view.duration_s("grpc_timeout_offset", 0.0),
    }


def _path_format(view: View) -> str:
    """The `path_rewrite`; one that cannot be compiled, or that no request could have, is reported."""
    text = view.text("path_rewrite")
    try:
        compiled = compile_path(text)
    except ValueError as error:
        view.error(str(error), field="path_rewrite")
        return ""
    if isinstance(compiled, bytes):
        if "?" in text or "#" in text:
            view.error(
                "a path has neither query nor fragment; the request's query is kept as it is",
                "Write %3F or %23 for the character",
                field="path_rewrite",
            )
        if has_dot_segments(compiled):
            view.error("a path with `.` or `..` in it is never sent upstream", field="path_rewrite")
    return text


def _refuse_unsupported(view: View) -> None:
    """Fields that would change where requests go or what they carry."""
    for name in ("cluster_specifier_plugin", "inline_cluster_specifier_plugin"):
        view.unsupported(
            name,
            "there are no plugins that choose clusters",
            "Use cluster, cluster_header or weighted_clusters",
        )
    for name in ("internal_redirect_policy", "internal_redirect_action", "max_internal_redirects"):
        view.unsupported(
            name,
            "redirects of upstreams are passed on to the client, never followed here",
            "Remove it, if clients may see them",
        )


def build_mirrors(view: View, context: BuildContext, *, checks_clusters: bool) -> tuple[MirrorPolicy, ...]:
    """The `request_mirror_policies` of a route action, a virtual host or a route table."""
    return tuple(
        _build_mirror(one, context, checks_clusters=checks_clusters)
        for one in view.children("request_mirror_policies")
    )


def _build_mirror(view: View, context: BuildContext, *, checks_clusters: bool) -> MirrorPolicy:
    cluster, header = view.text("cluster"), view.text("cluster_header").lower()
    if bool(cluster) == bool(header):
        view.error("one of cluster and cluster_header has to say where the copy goes")
    elif cluster and checks_clusters:
        check_cluster(view, "cluster", cluster, context)
    fraction = view.child("runtime_fraction")
    return MirrorPolicy(
        cluster=cluster,
        cluster_header=header,
        fraction=None if fraction is None else build_fraction(fraction, context),
        keeps_host=view.flag("disable_shadow_host_suffix_append"),
        host_rewrite_literal=take_host(view, "host_rewrite_literal"),
        request_headers=tuple(build_header_mutations(view, "request_headers_mutations")),
    )


def build_redirect(view: View, match: View) -> RedirectAction:
    """Build a `RedirectAction`; `match`: the condition of its route."""
    check_prefix_rewrite(view, match)
    regex_rewrite = view.child("regex_rewrite")
    return RedirectAction(
        status=_REDIRECT_STATUS.get(view.choice("response_code"), 301),
        https_redirect=view.flag("https_redirect"),
        scheme_redirect=take_scheme(view, "scheme_redirect"),
        host_redirect=take_host(view, "host_redirect"),
        port_redirect=view.integer("port_redirect"),
        path_redirect=take_path(view, "path_redirect", may_have_fragment=True),
        prefix_rewrite=take_path(view, "prefix_rewrite"),
        strip_query=view.flag("strip_query"),
        regex_rewrite=_substitution(regex_rewrite),
    )


def _substitution(view: View | None) -> RegexSubstitution | None:
    return None if view is None else build_regex_substitution(view)


def _optional_duration(view: View | None, field: str) -> float | None:
    return view.duration_s(field, 0.0) if view is not None and view.has(field) else None
