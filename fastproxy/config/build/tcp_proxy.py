"""`TcpProxy` to settings (envoy.extensions.filters.network.tcp_proxy.v3)."""

from fastproxy.config.build.access_log import build_access_log
from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.lb_subset import build_subset_match
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.listener.settings import TcpBackoff, TcpCluster, TcpProxySettings
from fastproxy.upstream.balancer.settings import SubsetMatch

TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_DEFAULT_IDLE_S = 3600.0
#: Envoy: the longest pause is ten times the first.
_MAX_INTERVAL_FACTOR = 10
_HTTP_ONLY = "connections are passed on as they are, not in an HTTP tunnel"


def build_tcp_proxy(view: View, context: BuildContext) -> TcpProxySettings | None:
    """Build a TCP proxy; None when it has no cluster to go to (reported)."""
    view.unsupported("tunneling_config", _HTTP_ONLY, "Remove it, or use Envoy in front of this upstream")
    view.unsupported("on_demand", "clusters are not discovered on demand", "Define the cluster in this file")
    logs = [build_access_log(entry, context) for entry in view.children("access_log")]
    clusters = _build_clusters(view, context)
    interval_s, logs_connected = _build_log_options(view)
    jitter = view.child("max_downstream_connection_duration_jitter_percentage")
    settings = TcpProxySettings(
        stat_prefix=view.text("stat_prefix"),
        clusters=clusters,
        idle_timeout_s=view.duration_s("idle_timeout", _DEFAULT_IDLE_S),
        max_connect_attempts=view.integer_or("max_connect_attempts", 1),
        backoff=_build_backoff(view),
        max_connection_duration_s=view.duration_s("max_downstream_connection_duration", 0.0),
        max_connection_duration_jitter=0.0 if jitter is None else jitter.number("value") / 100,
        hashes_source_ip=_build_hash(view),
        access_logs=tuple(log for log in logs if log is not None),
        access_log_interval_s=interval_s,
        logs_connected=logs_connected,
        config_path=view.path,
    )
    return settings if clusters else None


def _build_clusters(view: View, context: BuildContext) -> tuple[TcpCluster, ...]:
    subset = build_subset_match(view)
    if view.selected("cluster_specifier") == "cluster":
        name = view.text("cluster")
        _check_name(view, "cluster", name, context)
        return (TcpCluster(name, 1, subset),)
    weighted = view.child("weighted_clusters")
    if weighted is None:
        return ()
    return tuple(_build_weighted(entry, subset, context) for entry in weighted.children("clusters"))


def _build_weighted(view: View, subset: SubsetMatch | None, context: BuildContext) -> TcpCluster:
    name = view.text("name")
    _check_name(view, "name", name, context)
    own = build_subset_match(view)
    if own is not None and subset is not None:
        own = subset.overridden_by(own)
    return TcpCluster(name, view.integer("weight"), own or subset)


def _check_name(view: View, field: str, name: str, context: BuildContext) -> None:
    """Envoy loads the file and cuts every connection; a mistake that nobody is told of."""
    if context.clusters_complete and name not in context.cluster_names:
        view.warn(
            f"there is no cluster {quote(name)}: connections that are to go there are cut",
            "Define it below static_resources.clusters",
            field=field,
        )


def _build_backoff(view: View) -> TcpBackoff | None:
    backoff = view.child("backoff_options")
    if backoff is None:
        return None
    base_s = backoff.duration_s("base_interval", 0.0)
    max_s = backoff.duration_s("max_interval", base_s * _MAX_INTERVAL_FACTOR)
    if max_s < base_s:
        backoff.error("max_interval is below base_interval", field="max_interval")
    return TcpBackoff(base_s, max_s)


def _build_hash(view: View) -> bool:
    found = False
    for policy in view.children("hash_policy"):
        if policy.selected("policy_specifier") == "source_ip":
            policy.accept("source_ip")
            found = True
        else:
            policy.unsupported("filter_state", "only source_ip can be hashed", "Use source_ip: {}")
    return found


def _build_log_options(view: View) -> tuple[float, bool]:
    """The interval and whether a line comes at the connect; the new place counts where both are given (as in Envoy)."""
    interval_s = view.duration_s("access_log_flush_interval", 0.0)
    logs_connected = view.flag("flush_access_log_on_connected")
    options = view.child("access_log_options")
    if options is not None:
        if interval_s or logs_connected:
            view.error(
                "access_log_options and the deprecated fields for the same are both set",
                "Use access_log_options alone",
                field="access_log_options",
            )
        interval_s = options.duration_s("access_log_flush_interval", 0.0)
        logs_connected = options.flag("flush_access_log_on_connected")
    return interval_s, logs_connected
