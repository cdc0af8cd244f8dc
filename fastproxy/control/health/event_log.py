"""`event_log_path`: what health checks decided, one JSON object a line, in Envoy's form (`HealthCheckEvent`)."""

import datetime as dt
import logging
import os
from collections.abc import Callable
from typing import Any

import orjson

from fastproxy import clock
from fastproxy.control.health.state import CheckResult
from fastproxy.ipc.messages import EndpointAddress
from fastproxy.upstream.health.settings import HealthCheckSettings
from fastproxy.upstream.settings import Address, HealthFlag

_log = logging.getLogger("fastproxy.control.health")


class EventLog:
    """Writes the events of one health check of one cluster.

    The files are opened for each event: there are few of them, and whoever rotates the file need not say so.
    """

    def __init__(
        self, cluster: str, settings: HealthCheckSettings, unix_time: Callable[[], float] = clock.unix_time
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._unix_time = unix_time
        self._complained = False

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
                self._write(endpoint, "eject_unhealthy_event", {"failure_type": kind})
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
        moment = dt.datetime.fromtimestamp(self._unix_time(), tz=dt.UTC)
        event = {
            "health_checker_type": self._settings.kind.value,
            "host": _host(endpoint),
            "cluster_name": self._cluster,
            "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            name: facts,
            "locality": {
                "region": endpoint.region,
                "zone": endpoint.zone,
                "sub_zone": endpoint.sub_zone,
            },
        }
        line = orjson.dumps(event) + b"\n"
        for path in self._settings.event_log_paths:
            try:
                # Must not wait for somebody who reads a pipe.
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
                file = os.open(path, flags, 0o640)
                try:
                    os.write(file, line)
                finally:
                    os.close(file)
            except OSError as error:
                if not self._complained:
                    _log.error("events of health checks cannot be written to %s: %s", path, error.strerror)
                self._complained = True


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
