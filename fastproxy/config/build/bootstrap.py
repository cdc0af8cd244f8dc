"""`Bootstrap` to `ProxySettings`: where building starts."""

from collections.abc import Collection

from fastproxy.config.build.access_log import build_access_log
from fastproxy.config.build.clusters import build_cluster
from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.dns import build_resolver
from fastproxy.config.build.key_sources import check_provider_keys
from fastproxy.config.build.listen_address import build_listen_address, build_socket_options
from fastproxy.config.build.listeners import build_listener
from fastproxy.config.build.matchers import build_string_match
from fastproxy.config.build.outlier_detection import build_outlier_log
from fastproxy.config.build.overload import build_connection_limit
from fastproxy.config.build.runtime_keys import build_runtime_keys
from fastproxy.config.build.secrets import Secrets
from fastproxy.config.build.tls_files import TlsFiles
from fastproxy.config.build.tls_parts import TlsSources
from fastproxy.config.digest import digest_listener
from fastproxy.config.problems import quote
from fastproxy.config.settings import AdminSettings, NodeSettings, ProxySettings
from fastproxy.config.view import View
from fastproxy.listener.settings import AccessLogSettings, ListenerSettings
from fastproxy.upstream.settings import ClusterSettings


def build_settings(
    bootstrap: View, *, in_worker: bool = False, known_listeners: Collection[bytes] = ()
) -> ProxySettings:
    """Build everything, then report every field that nobody read.

    Args:
        bootstrap: the whole configuration, with all that came from files.
        in_worker: leaves watched files (`local_jwks`, certificates of listeners) unread, for a worker gets their
            content by message; and clusters that somebody names are not looked for, for that has been done.
        known_listeners: digests of listeners that are in force as they are. A cluster that they name may have gone
            since (CDS); their requests get 503 then, as in Envoy.
    """
    read_key_files = not in_worker
    context = BuildContext(runtime=build_runtime_keys(bootstrap), read_key_files=read_key_files)
    context.clusters_complete = not in_worker
    static = bootstrap.child_or_empty("static_resources")
    files = TlsFiles(given=None if read_key_files else {})
    context.tls = TlsSources(files, Secrets(static, files))
    context.service_cluster = bootstrap.child_or_empty("node").text("cluster")
    context.service_node = bootstrap.child_or_empty("node").text("id")
    context.dns_resolver = build_resolver(bootstrap)
    context.outlier_log = build_outlier_log(bootstrap)
    clusters = _build_clusters(static, context)
    context.cluster_names = frozenset(cluster.name for cluster in clusters)
    context.proxy_protocol_clusters = frozenset(
        cluster.name for cluster in clusters if cluster.proxy_protocol is not None
    )
    admin = _build_admin(bootstrap, context)
    listeners = _build_listeners(static, context, known_listeners)
    check_provider_keys(context)
    context.runtime.warn_about_unread()
    node = bootstrap.child_or_empty("node")
    locality = node.child_or_empty("locality")
    # Labels, as the zone is: there is no zone-aware routing.
    locality.accept("region", "sub_zone")
    settings = ProxySettings(
        listeners=listeners,
        clusters=clusters,
        admin=admin,
        node=NodeSettings(node.text("id"), node.text("cluster"), locality.text("zone")),
        max_downstream_connections=build_connection_limit(bootstrap, context.runtime),
        jwks_snapshot_dir=context.runtime.snapshot_dir,
        tls_files=files.contents,
    )
    context.tls.secrets.sweep()
    bootstrap.sweep()
    return settings


def _build_clusters(static: View, context: BuildContext) -> tuple[ClusterSettings, ...]:
    built: dict[str, ClusterSettings] = {}
    for view in static.children("clusters"):
        cluster = build_cluster(view, context)
        if cluster.name in built:
            view.error(
                f"duplicate cluster {quote(cluster.name)}", "Rename or remove one of them", field="name"
            )
        built[cluster.name] = cluster
        if not cluster.name:
            context.clusters_complete = False
    if not built and static.log.tainted(static.path):
        context.clusters_complete = False
    return tuple(built.values())


def _build_listeners(
    static: View, context: BuildContext, known: Collection[bytes]
) -> tuple[ListenerSettings, ...]:
    built = []
    taken: set[tuple[str, int]] = set()
    for view in static.children("listeners"):
        context.clusters_may_be_gone = bool(known) and digest_listener(view.message) in known
        listener = build_listener(view, context)
        context.clusters_may_be_gone = False
        if listener is None:
            continue
        # Nobody listens on the address of one that does not bind.
        for address in listener.addresses() if listener.binds else ():
            place = (address.host, address.port)
            # Port 0 lets the system choose, and it never chooses the same twice.
            if (address.port or address.is_pipe) and place in taken:
                view.error(
                    f"another listener has the address {address}, or this one has it twice", field="address"
                )
            taken.add(place)
        built.append(listener)
    return tuple(built)


def _build_admin(bootstrap: View, context: BuildContext) -> AdminSettings | None:
    admin = bootstrap.child("admin")
    if admin is None:
        return None
    address = build_listen_address(admin, build_socket_options(admin))
    found = [build_string_match(one) for one in admin.children("allow_paths")]
    logs = [build_access_log(entry, context) for entry in admin.children("access_log")]
    path = admin.text("access_log_path")
    if path:
        logs.append(AccessLogSettings(path))
    # It is so, whatever the file says: who could not ask any more would not know why.
    admin.flag("ignore_global_conn_limit")
    if address is None:
        return None
    if address.ipv4_compat:
        admin.child_or_empty("address").warn(
            "has no effect: the admin interface listens on one address family"
        )
    allowed = tuple(one for one in found if one is not None)
    return AdminSettings(
        address.host,
        address.port,
        address.mode,
        address.options,
        allowed,
        tuple(log for log in logs if log is not None),
    )
