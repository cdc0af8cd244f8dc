"""Limits on connections: the one part of Envoy's overload manager that FastProxy has."""

from fastproxy.config.build.runtime_keys import RuntimeKeys
from fastproxy.config.view import View

_CONNECTIONS = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"


def build_connection_limit(bootstrap: View, runtime: RuntimeKeys) -> int | None:
    """How many connections all listeners together may have; None: no limit. The manager's goes before the runtime's."""
    manager = bootstrap.child("overload_manager")
    found = runtime.read_count("overload.global_downstream_max_connections")
    if manager is None:
        return found
    manager.accept("refresh_interval")
    for entry in manager.children("resource_monitors"):
        entry.accept("name")
        config = entry.typed("typed_config")
        if config is not None and config.type_name == _CONNECTIONS:
            found = config.integer("max_active_downstream_connections")
        elif config is not None:
            config.accept(*(field.name for field, _ in config.message.ListFields()))
            entry.warn(f"has no effect: {config.type_name} is not watched")
    if found is None:
        manager.warn("has no effect: no resource monitor in it limits connections")
    for field in ("actions", "loadshed_points", "buffer_factory_config"):
        manager.without_effect(field, "the overload manager only limits connections")
    return found
