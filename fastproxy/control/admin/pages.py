"""/clusters, /listeners, /server_info and /jwks (spec/http.md section 15, spec/clusters.md section 9)."""

import datetime as dt
from collections.abc import Iterable
from itertools import repeat
from typing import Any, Final

import orjson

import fastproxy
from fastproxy import build_info, clock
from fastproxy.addresses import format_address, is_pipe
from fastproxy.control.admin.view import AdminView, JwksStatus, OutlierStatus
from fastproxy.control.key_history import RemovedKey
from fastproxy.control.reload_status import ReloadStatus
from fastproxy.control.resources import ResourceStatus
from fastproxy.control.totals import MergedStats
from fastproxy.ipc.messages import EndpointAddress
from fastproxy.upstream.settings import (
    Address,
    ClusterSettings,
    HealthFlag,
    HealthStatus,
    describe_health,
    eds_flags,
)

#: Per host, in Envoy's order; what the workers do not count is 0.
_HOST_STATS: Final = (
    "cx_active", "cx_connect_fail", "cx_total", "rq_active", "rq_error", "rq_pending_active", "rq_success",
    "rq_timeout", "rq_total",
)  # fmt: skip
_LIMITS: Final = ("max_connections", "max_pending_requests", "max_requests", "max_retries")

#: Envoy's names in the JSON form.
_SHOWN_FLAGS: Final = (
    ("failed_active_health_check", HealthFlag.FAILED_ACTIVE_HC),
    ("failed_outlier_check", HealthFlag.FAILED_OUTLIER_CHECK),
    ("failed_active_degraded_check", HealthFlag.DEGRADED_ACTIVE_HC),
    ("pending_dynamic_removal", HealthFlag.PENDING_DYNAMIC_REMOVAL),
    ("pending_active_hc", HealthFlag.PENDING_ACTIVE_HC),
    ("excluded_via_immediate_hc_fail", HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL),
    ("active_hc_timeout", HealthFlag.ACTIVE_HC_TIMEOUT),
)
#: Envoy keeps what follows from a status, not every word for it.
SHOWN_STATUS: Final = {"UNKNOWN": "HEALTHY", "TIMEOUT": "UNHEALTHY"}


def clusters_text(view: AdminView, stats: MergedStats, pattern: Any = None) -> str:
    """Write /clusters as `cluster::key::value` and `cluster::ip:port::key::value` lines; `pattern`: of names."""
    lines: list[str] = []
    dynamic = view.dynamic_clusters()
    for cluster in _chosen_clusters(view, pattern):
        name = cluster.name
        lines.append(f"{name}::observability_name::{cluster.stat_name or name}")
        outliers = view.outliers(name)
        if outliers is not None:
            lines += _outlier_lines(name, outliers)
        rates = {} if outliers is None else outliers.rates
        for priority, limits in zip(("default", "high"), cluster.thresholds, strict=True):
            lines += [f"{name}::{priority}_priority::{limit}::{getattr(limits, limit)}" for limit in _LIMITS]
        lines.append(f"{name}::added_via_api::{str(name in dynamic).lower()}")
        if cluster.eds is not None and cluster.eds.service_name != name:
            lines.append(f"{name}::eds_service_name::{cluster.eds.service_name}")
        for endpoint in view.endpoints(name):
            address = str(Address(endpoint.host, endpoint.port))
            numbers = stats.hosts.get(name, {}).get(address, {})
            success_rate, local_rate = rates.get(address, (-1.0, -1.0))
            facts = [f"{key}::{numbers.get(key, 0)}" for key in _HOST_STATS]
            facts += [
                f"hostname::{endpoint.hostname}",
                f"health_flags::{describe_health(health_flags(endpoint))}",
                f"weight::{endpoint.weight}",
                f"region::{endpoint.region}",
                f"zone::{endpoint.zone}",
                f"sub_zone::{endpoint.sub_zone}",
                f"canary::{'true' if _is_canary(endpoint) else 'false'}",
                f"priority::{endpoint.priority}",
                f"success_rate::{success_rate:g}",
                f"local_origin_success_rate::{local_rate:g}",
            ]
            lines += [f"{name}::{address}::{fact}" for fact in facts]
    return "".join(line + "\n" for line in lines)


def _chosen_clusters(view: AdminView, pattern: Any) -> list[ClusterSettings]:
    return [one for one in view.settings.clusters if pattern is None or pattern.search(one.name)]


def _outlier_lines(name: str, outliers: OutlierStatus) -> list[str]:
    facts = {
        "success_rate_average": outliers.average,
        "success_rate_ejection_threshold": outliers.threshold,
        "local_origin_success_rate_average": outliers.local_average,
        "local_origin_success_rate_ejection_threshold": outliers.local_threshold,
    }
    return [f"{name}::outlier::{key}::{value:g}" for key, value in facts.items()]


def clusters_json(view: AdminView, stats: MergedStats, pattern: Any = None) -> dict[str, Any]:
    """Build /clusters?format=json: zero values left out, counters as strings."""
    return {
        "cluster_statuses": [
            _cluster_status(view, stats, cluster) for cluster in _chosen_clusters(view, pattern)
        ]
    }


def _cluster_status(view: AdminView, stats: MergedStats, cluster: ClusterSettings) -> dict[str, Any]:
    """One `ClusterStatus`, its members in the order of their numbers."""
    name, outliers = cluster.name, view.outliers(cluster.name)
    rates = {} if outliers is None else outliers.rates
    numbers = stats.hosts.get(name, {})
    hosts = []
    for endpoint in view.endpoints(name):
        address = str(Address(endpoint.host, endpoint.port))
        hosts.append(_host_status(endpoint, numbers.get(address, {}), rates.get(address, (-1.0, -1.0))))
    status: dict[str, Any] = {"name": name}
    if name in view.dynamic_clusters():
        status["added_via_api"] = True
    if outliers is not None and outliers.threshold > 0:
        status["success_rate_ejection_threshold"] = _percent(outliers.threshold)
    if hosts:
        status["host_statuses"] = hosts
    if outliers is not None and outliers.local_threshold > 0:
        status["local_origin_success_rate_ejection_threshold"] = _percent(outliers.local_threshold)
    default, high = ({limit: getattr(one, limit) for limit in _LIMITS} for one in cluster.thresholds)
    status["circuit_breakers"] = {"thresholds": [default, {"priority": "HIGH", **high}]}
    status["observability_name"] = cluster.stat_name or name
    if cluster.eds is not None and cluster.eds.service_name != name:
        status["eds_service_name"] = cluster.eds.service_name
    return status


def _host_status(
    endpoint: EndpointAddress, numbers: dict[str, int], rates: tuple[float, float]
) -> dict[str, Any]:
    entries = []
    for key in sorted(_HOST_STATS, key=lambda key: (key.endswith("_active"), key)):
        entry: dict[str, str] = {"type": "GAUGE"} if key.endswith("_active") else {}
        if value := numbers.get(key, 0):
            entry["value"] = str(value)
        entries.append({**entry, "name": key})
    status: dict[str, Any] = {
        "address": _address(endpoint.host, endpoint.port),
        "stats": entries,
        "health_status": _health_status(endpoint),
    }
    success_rate, local_rate = rates
    if success_rate >= 0:
        status["success_rate"] = _percent(success_rate)
    status["weight"] = endpoint.weight
    if endpoint.hostname:
        status["hostname"] = endpoint.hostname
    if endpoint.priority:
        status["priority"] = endpoint.priority
    if local_rate >= 0:
        status["local_origin_success_rate"] = _percent(local_rate)
    place = (("region", endpoint.region), ("zone", endpoint.zone), ("sub_zone", endpoint.sub_zone))
    status["locality"] = {name: value for name, value in place if value}
    return status


def _is_canary(endpoint: EndpointAddress) -> bool:
    if not endpoint.metadata:
        return False
    found = orjson.loads(endpoint.metadata).get("envoy.lb")
    return isinstance(found, dict) and found.get("canary") is True


def _percent(value: float) -> dict[str, float]:
    """A `type.v3.Percent`: zero is left out of it."""
    return {"value": int(value) if value.is_integer() else value} if value else {}


def health_flags(endpoint: EndpointAddress) -> HealthFlag:
    """Every flag of an endpoint, whoever set it."""
    return HealthFlag(endpoint.flags) | eds_flags(HealthStatus(endpoint.health))


def _health_status(endpoint: EndpointAddress) -> dict[str, Any]:
    flags = HealthFlag(endpoint.flags)
    shown = {name: True for name, flag in _SHOWN_FLAGS if flag in flags}
    return {**shown, "eds_health_status": SHOWN_STATUS.get(endpoint.health, endpoint.health)}


def listeners_text(view: AdminView) -> str:
    """Write /listeners as `name::addr:port` lines."""
    return "".join(
        f"{listener.name}::{format_address(*address)}\n"
        for listener in view.listeners()
        for address in listener.addresses
    )


def listeners_json(view: AdminView) -> dict[str, Any]:
    """Build /listeners?format=json."""
    statuses = []
    for listener in view.listeners():
        first, *others = (_address(*address) for address in listener.addresses)
        status = {"name": listener.name, "local_address": first}
        statuses.append({**status, "additional_local_addresses": others} if others else status)
    return {"listener_statuses": statuses}


def _address(host: str, port: int) -> dict[str, Any]:
    if is_pipe(host):
        return {"pipe": {"path": host}}
    return {"socket_address": {"address": host, "port_value": port}}


def server_info(view: AdminView) -> dict[str, Any]:
    """Build /server_info."""
    uptime = f"{int(view.uptime_s())}s"
    node = view.settings.node
    return {
        "version": f"fastproxy/{fastproxy.__version__}/{build_info.form()}",
        "state": view.state.name,
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
        "hot_restart_version": "disabled",
        "command_line_options": view.command_line_options(),
        "node": {
            "id": node.id,
            "cluster": node.cluster,
            **({"locality": {"zone": node.zone}} if node.zone else {}),
            "user_agent_name": "fastproxy",
        },
    }


def jwks_json(view: AdminView, *, with_public_keys: bool = False) -> dict[str, Any]:
    """Build /jwks: for every provider the source of its keys, their names and age, and what went wrong.

    `with_public_keys` adds what an issuer publishes anyway: its key set, where it was fetched from it.
    """
    return {"providers": [_provider(status, with_public_keys=with_public_keys) for status in view.jwks()]}


def reload_json(status: ReloadStatus, resources: Iterable[ResourceStatus] = ()) -> dict[str, Any]:
    """Build /reload_status: the configuration in force, and what came of the last attempt to replace it.

    With the files that parts of it come from: what is in force of each, and why what it holds now is not, if so.
    """
    files = [
        {
            "kind": one.kind,
            **({"name": one.name} if one.name else {}),
            "path": one.path,
            "version_info": one.version,
            "updated_at": _timestamp(one.updated_at, 0) if one.updated_at else None,
            "problems": list(one.last_error),
        }
        for one in resources
    ]
    return {
        **({"resources": files} if files else {}),
        "generation": status.generation,
        "loaded_at": _timestamp(status.loaded_at, 0),
        "in_progress": status.in_progress,
        "reloads": {"succeeded": status.succeeded, "failed": status.failed},
        "last_attempt": None
        if status.last_attempt_at is None
        else {
            "at": _timestamp(status.last_attempt_at, 0),
            "trigger": status.last_trigger,
            "succeeded": None if status.in_progress else not status.last_error,
            "problems": list(status.last_error),
        },
    }


def _provider(status: JwksStatus, *, with_public_keys: bool) -> dict[str, Any]:
    state = "fresh"
    if not status.keys:
        state = "no keys"
    elif status.expires_in_s is not None and status.expires_in_s <= 0:
        state = "stale"
    facts: dict[str, Any] = {
        "provider": status.provider,
        "issuer": status.issuer,
        "kind": status.kind,
        "source": status.source,
        "state": state,
        "stale": state == "stale",
        "keys": _keys(status),
    }
    if status.kind == "configuration":
        return facts
    facts |= {
        "epoch": status.epoch,
        "fetched_at": _timestamp(status.fetched_at, 0),
        "last_error": status.last_error or None,
        "removed": [_removed(key) for key in status.removed],
    }
    if with_public_keys and status.public_keys:
        facts["jwks"] = orjson.loads(status.public_keys)
    if status.kind != "file":
        now = clock.unix_time()
        facts |= {
            "cluster": status.cluster or None,
            "from_snapshot": status.from_snapshot,
            "expires_at": _timestamp(now, status.expires_in_s),
            "withdrawn_at": _timestamp(now, status.withdrawn_in_s),
            "next_fetch_at": _timestamp(now, status.next_fetch_in_s),
            "failures_in_a_row": status.failures,
        }
    return facts


def _keys(status: JwksStatus) -> list[dict[str, str | None]]:
    if not status.keys_since:
        return [dict(key) for key in status.keys]
    times = map(_timestamp, status.keys_since, repeat(0))
    return [{**key, "since": since} for key, since in zip(status.keys, times, strict=True)]


def _removed(key: RemovedKey) -> dict[str, str | None]:
    names = {"kid": key.kid, "kty": key.kty, "alg": key.alg}
    return {
        **{name: value for name, value in names.items() if value},
        "removed_at": _timestamp(key.removed_at, 0),
    }


def _timestamp(base: float | None, offset_s: float | None) -> str | None:
    if base is None or offset_s is None:
        return None
    moment = dt.datetime.fromtimestamp(base + offset_s, tz=dt.UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
