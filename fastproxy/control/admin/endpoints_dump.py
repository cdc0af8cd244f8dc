"""The endpoints of all clusters as `/config_dump?include_eds` shows them: `envoy.admin.v3.EndpointsConfigDump`."""

from typing import Any

import orjson

from fastproxy.control.admin.pages import SHOWN_STATUS
from fastproxy.control.admin.view import AdminView
from fastproxy.ipc.messages import EndpointAddress
from fastproxy.upstream.settings import Address, ClusterSettings

_TYPE = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"


def endpoints_dump(view: AdminView) -> dict[str, Any]:
    """Build the dump: clusters of a file are dynamic, those of the configuration itself static."""
    dynamic = view.dynamic_clusters()
    found: dict[str, list[dict[str, Any]]] = {"static_endpoint_configs": [], "dynamic_endpoint_configs": []}
    for cluster in view.settings.clusters:
        kind = "dynamic_endpoint_configs" if cluster.name in dynamic else "static_endpoint_configs"
        found[kind].append({"endpoint_config": _assignment(view, cluster)})
    return {
        "@type": "type.googleapis.com/envoy.admin.v3.EndpointsConfigDump",
        **{name: entries for name, entries in found.items() if entries},
    }


def _assignment(view: AdminView, cluster: ClusterSettings) -> dict[str, Any]:
    factor = view.overprovisioning_factor(cluster.name) or cluster.load_balancing.overprovisioning_factor
    groups: dict[tuple[int, str, str, str, int], list[EndpointAddress]] = {}
    for one in view.endpoints(cluster.name):
        key = (one.priority, one.region, one.zone, one.sub_zone, one.locality_weight)
        groups.setdefault(key, []).append(one)
    shown = []
    for (priority, region, zone, sub_zone, weight), members in groups.items():
        place = {"region": region, "zone": zone, "sub_zone": sub_zone}
        group: dict[str, Any] = {
            "locality": {name: value for name, value in place.items() if value},
            "lb_endpoints": [_endpoint(one) for one in members],
            "load_balancing_weight": weight,
        }
        if priority:
            group["priority"] = priority
        shown.append(group)
    return {
        "@type": _TYPE,
        "cluster_name": cluster.name if cluster.eds is None else cluster.eds.service_name,
        **({"endpoints": shown} if shown else {}),
        "policy": {"overprovisioning_factor": factor},
    }


def _endpoint(one: EndpointAddress) -> dict[str, Any]:
    address: dict[str, Any] = {"socket_address": {"address": one.host, "port_value": one.port}}
    if Address(one.host, one.port).is_pipe:
        address = {"pipe": {"path": one.host}}
    check: dict[str, Any] = {"port_value": one.check_port} if one.check_port else {}
    if one.check_hostname:
        check["hostname"] = one.check_hostname
    endpoint: dict[str, Any] = {"address": address, "health_check_config": check}
    if one.hostname:
        endpoint["hostname"] = one.hostname
    shown: dict[str, Any] = {
        "endpoint": endpoint,
        "health_status": SHOWN_STATUS.get(one.health, one.health),
        "load_balancing_weight": one.weight,
    }
    if one.metadata:
        shown["metadata"] = {"filter_metadata": orjson.loads(one.metadata)}
    return shown
