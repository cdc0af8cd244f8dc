"""`event_log_path`: what health checks decided, one JSON object a line, in Envoy's form (`HealthCheckEvent`)."""

from collections.abc import Callable
from typing import Any, Final

from fastproxy import clock
from fastproxy.control.health.event_file import EventFile, encode_moment
from fastproxy.control.health.state import CheckResult
from fastproxy.ipc.messages import EndpointAddress
from fastproxy.upstream.health.settings import HealthCheckSettings
from fastproxy.upstream.settings import Address, HealthFlag

#: The members of a `HealthCheckEvent` by the numbers of their fields.
_ORDER: Final = (
    "health_checker_type", "host", "cluster_name", "eject_unhealthy_event", "add_healthy_event", "timestamp",
    "health_check_failure_event", "degraded_healthy_host", "no_longer_degraded_host", "locality",
    "successful_health_check_event",
)  # fmt: skip


class EventLog:
    """Writes the events of one health check of one cluster."""

    def __init__(
        self, cluster: str, settings: HealthCheckSettings, unix_time: Callable[[], float] = clock.unix_time
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._unix_time = unix_time
        self._file = EventFile(settings.event_log_paths, "health checks")

    def on_result(
        self,
        endpoint: EndpointAddress,
        result: CheckResult,
        before: HealthFlag,
        after: HealthFlag,
        *,
        first: bool,
    ) -> None:
        """Write what is to be known of one result.

        Args:
            endpoint: which was checked.
            result: what was found.
            before: the flags of the check before the result.
            after: and after it.
            first: it is the first result for this endpoint.
        """
        if not self._settings.event_log_paths:
            return
        failed, was_failed = HealthFlag.FAILED_ACTIVE_HC in after, HealthFlag.FAILED_ACTIVE_HC in before
        if result.failure is not None:
            kind = result.failure.value
            if failed and not was_failed:
                facts = {"failure_type": kind, "http_status_code": result.status}
                self._write(endpoint, "eject_unhealthy_event", facts)
            if first or self._settings.always_log_failures:
                facts = {"failure_type": kind, "first_check": first, "http_status_code": result.status}
                self._write(endpoint, "health_check_failure_event", facts)
            return
        if was_failed and not failed:
            self._write(endpoint, "add_healthy_event", {"first_check": first})
        elif self._settings.always_log_successes:
            self._write(endpoint, "successful_health_check_event", {})
        degraded = HealthFlag.DEGRADED_ACTIVE_HC
        if (before ^ after) & degraded:
            name = "degraded_healthy_host" if after & degraded else "no_longer_degraded_host"
            self._write(endpoint, name, {})

    def _write(self, endpoint: EndpointAddress, name: str, facts: dict[str, Any]) -> None:
        event: dict[str, Any] = {
            "health_checker_type": self._settings.kind.value,
            "host": _host(endpoint),
            "cluster_name": self._cluster,
            "timestamp": encode_moment(self._unix_time()),
            "locality": {"region": endpoint.region, "zone": endpoint.zone, "sub_zone": endpoint.sub_zone},
            name: facts,
        }
        self._file.write({key: event[key] for key in _ORDER if key in event})


def _host(endpoint: EndpointAddress) -> dict[str, Any]:
    address = Address(endpoint.host, endpoint.port)
    if address.is_pipe:
        return {"pipe": {"path": endpoint.host, "mode": 0}}
    return {
        "socket_address": {
            "protocol": "TCP",
            "address": endpoint.host,
            "port_value": endpoint.port,
            "resolver_name": "",
            "ipv4_compat": False,
            "network_namespace_filepath": "",
        }
    }
