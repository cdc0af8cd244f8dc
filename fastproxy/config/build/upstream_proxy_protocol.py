"""`ProxyProtocolUpstreamTransport`: the PROXY header in front of a cluster's connections."""

from fastproxy.config.view import View
from fastproxy.upstream.proxy_header import fits_in_header
from fastproxy.upstream.settings import UpstreamProxyProtocolSettings

PROXY_PROTOCOL = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"


def unwrap_proxy_protocol(cluster: View) -> tuple[UpstreamProxyProtocolSettings | None, View]:
    """Take the PROXY header off a cluster's transport socket.

    Returns:
        The header's settings, None without one, and the message whose `transport_socket` is what lies below it.
    """
    socket = cluster.child("transport_socket")
    if socket is None or not socket.has("typed_config"):
        return None, cluster
    outer = socket.typed("typed_config")
    if outer is None or outer.type_name != PROXY_PROTOCOL:
        return None, cluster
    socket.accept("name")
    if not outer.has("transport_socket"):
        outer.error(
            "the transport socket below the PROXY header is missing",
            "Add transport_socket: {name: envoy.transport_sockets.raw_buffer}",
        )
    outer.without_effect("allow_unspecified_address", "an address that is not known is never sent")
    outer.without_effect("tlv_as_pool_key", "TLVs are the same for all connections of a cluster")
    return _build_header(outer), outer


def _build_header(outer: View) -> UpstreamProxyProtocolSettings:
    config = outer.child_or_empty("config")
    version = 2 if config.choice("version") == "V2" else 1
    config.unsupported(
        "pass_through_tlvs", "TLVs of the downstream's PROXY header are not passed on", "Use added_tlvs"
    )
    tlvs = tuple(_build_tlv(entry) for entry in config.children("added_tlvs"))
    if tlvs and version == 1:
        config.error("version 1 of the PROXY protocol has no TLVs", "Use version: V2", field="added_tlvs")
    elif not fits_in_header(tlvs):
        config.error("the TLVs do not fit into one header", field="added_tlvs")
    return UpstreamProxyProtocolSettings(version, tlvs)


def _build_tlv(view: View) -> tuple[int, bytes]:
    view.unsupported("format_string", "only fixed values can be sent", "Use value")
    kind = view.integer("type")
    if not 0 <= kind <= 0xFF:
        view.error("a type is a number from 0 to 255", field="type")
    return kind, view.blob("value")
