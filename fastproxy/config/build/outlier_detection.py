"""`Cluster.outlier_detection` (envoy.config.cluster.v3), and the log of what it does (bootstrap.v3)."""

from fastproxy.config.view import View
from fastproxy.upstream.health.settings import OutlierSettings

_DEFAULTS = OutlierSettings()


def build_outlier_log(bootstrap: View) -> str:
    """`cluster_manager.outlier_detection`: the file for the events of all clusters; empty if there is none."""
    manager = bootstrap.child_or_empty("cluster_manager")
    manager.unsupported("upstream_bind_config", fix="Set upstream_bind_config in the clusters")
    detection = manager.child_or_empty("outlier_detection")
    detection.unsupported("event_service", "events go to a file", "Use event_log_path")
    return detection.text("event_log_path")


def build_outlier_detection(cluster: View, event_log_path: str) -> OutlierSettings | None:
    """What a cluster says about outliers; None if nothing. An empty message means Envoy's defaults.

    Args:
        cluster: the message.
        event_log_path: see `build_outlier_log`.
    """
    view = cluster.child("outlier_detection")
    if view is None:
        return None

    def number(name: str) -> int:
        default: int = getattr(_DEFAULTS, name)
        return view.integer_or(name, default)

    base_s = view.duration_s("base_ejection_time", _DEFAULTS.base_ejection_time_s)
    return OutlierSettings(
        consecutive_5xx=number("consecutive_5xx"),
        consecutive_gateway_failure=number("consecutive_gateway_failure"),
        consecutive_local_origin_failure=number("consecutive_local_origin_failure"),
        enforcing_consecutive_5xx=number("enforcing_consecutive_5xx"),
        enforcing_consecutive_gateway_failure=number("enforcing_consecutive_gateway_failure"),
        enforcing_consecutive_local_origin_failure=number("enforcing_consecutive_local_origin_failure"),
        interval_s=view.duration_s("interval", _DEFAULTS.interval_s),
        base_ejection_time_s=base_s,
        # The larger of the two, if only the base is given (Envoy).
        max_ejection_time_s=view.duration_s("max_ejection_time", max(base_s, _DEFAULTS.max_ejection_time_s)),
        max_ejection_time_jitter_s=view.duration_s("max_ejection_time_jitter", 0.0),
        max_ejection_percent=number("max_ejection_percent"),
        always_eject_one_host=view.flag_or("always_eject_one_host", default=False),
        success_rate_minimum_hosts=number("success_rate_minimum_hosts"),
        success_rate_request_volume=number("success_rate_request_volume"),
        success_rate_stdev_factor=number("success_rate_stdev_factor"),
        enforcing_success_rate=number("enforcing_success_rate"),
        enforcing_local_origin_success_rate=number("enforcing_local_origin_success_rate"),
        failure_percentage_threshold=number("failure_percentage_threshold"),
        failure_percentage_minimum_hosts=number("failure_percentage_minimum_hosts"),
        failure_percentage_request_volume=number("failure_percentage_request_volume"),
        enforcing_failure_percentage=number("enforcing_failure_percentage"),
        enforcing_failure_percentage_local_origin=number("enforcing_failure_percentage_local_origin"),
        split_local_origin=view.flag("split_external_local_origin_errors"),
        uneject_on_active_success=view.flag_or("successful_active_health_check_uneject_host", default=True),
        event_log_path=event_log_path,
    )
