"""`cluster_manager.outlier_detection.event_log_path`: who was ejected, and when that ended, in Envoy's form.

The form is `envoy.data.cluster.v3.OutlierDetectionEvent`, its members in the order of their numbers.
"""

from collections.abc import Callable
from typing import Any, Final

from fastproxy import clock
from fastproxy.control.health.event_file import EventFile, encode_moment
from fastproxy.control.health.outlier import OutlierEvent
from fastproxy.upstream.health.settings import OutlierKind

_TYPES: Final = {
    OutlierKind.CONSECUTIVE_5XX: "CONSECUTIVE_5XX",
    OutlierKind.CONSECUTIVE_GATEWAY_FAILURE: "CONSECUTIVE_GATEWAY_FAILURE",
    OutlierKind.CONSECUTIVE_LOCAL_ORIGIN_FAILURE: "CONSECUTIVE_LOCAL_ORIGIN_FAILURE",
    OutlierKind.SUCCESS_RATE: "SUCCESS_RATE",
    OutlierKind.LOCAL_ORIGIN_SUCCESS_RATE: "SUCCESS_RATE_LOCAL_ORIGIN",
    OutlierKind.FAILURE_PERCENTAGE: "FAILURE_PERCENTAGE",
    OutlierKind.LOCAL_ORIGIN_FAILURE_PERCENTAGE: "FAILURE_PERCENTAGE_LOCAL_ORIGIN",
}
_SUCCESS_RATES: Final = (OutlierKind.SUCCESS_RATE, OutlierKind.LOCAL_ORIGIN_SUCCESS_RATE)
_PERCENTAGES: Final = (OutlierKind.FAILURE_PERCENTAGE, OutlierKind.LOCAL_ORIGIN_FAILURE_PERCENTAGE)


class OutlierLog:
    """Writes the ejections of one cluster.

    Args:
        cluster: its name.
        path: of the file.
        unix_time: for tests.
    """

    def __init__(self, cluster: str, path: str, unix_time: Callable[[], float] = clock.unix_time) -> None:
        self._cluster = cluster
        self._file = EventFile((path,), "outlier detection")
        self._unix_time = unix_time

    def write(self, event: OutlierEvent, address: str) -> None:
        """Write one event of the endpoint at `address`."""
        kind = event.kind
        # An ejection that ends is of no type; protobuf's JSON form has the first one then.
        line: dict[str, Any] = {"type": _TYPES[kind or OutlierKind.CONSECUTIVE_5XX]}
        line["timestamp"] = encode_moment(self._unix_time())
        if event.since_last_s is not None:
            line["secs_since_last_action"] = str(int(event.since_last_s))
        line |= {
            "cluster_name": self._cluster,
            "upstream_url": address,
            "action": "UNEJECT" if kind is None else "EJECT",
            "num_ejections": event.one.ejections,
            "enforced": event.enforced,
        }
        if kind in _SUCCESS_RATES:
            line["eject_success_rate_event"] = {
                "host_success_rate": int(event.rate),
                "cluster_average_success_rate": int(event.summary.average),
                "cluster_success_rate_ejection_threshold": int(event.summary.threshold),
            }
        elif kind in _PERCENTAGES:
            line["eject_failure_percentage_event"] = {"host_success_rate": int(event.rate)}
        elif kind is not None:
            line["eject_consecutive_event"] = {}
        self._file.write(line)
