"""`Address`: where to listen and where to connect (envoy.config.core.v3)."""

from fastproxy.config.formats import is_ip
from fastproxy.config.problems import quote
from fastproxy.config.view import View


def build_address(owner: View, field: str = "address") -> tuple[str, int, View] | None:
    """Host, port and the socket address they come from; None when there is none (reported).

    The host is whatever was written; see `check_ip` for places where only a literal will do. Where a Unix domain
    socket is possible, the caller looks for `pipe` first.
    """
    address = owner.child(field)
    if address is None:
        return None
    address.unsupported("pipe", "a Unix domain socket is not possible here", "Use socket_address")
    address.unsupported("envoy_internal_address")
    socket = address.child("socket_address")
    if socket is None:
        return None
    socket.only("protocol", ("TCP",), "Only TCP is served")
    socket.unsupported("named_port", fix="Use port_value with the number")
    return socket.text("address"), socket.integer("port_value"), socket


def check_ip(socket: View, host: str) -> bool:
    """Report a host that is no IP literal."""
    if is_ip(host):
        return True
    socket.error(f"malformed IP address: {quote(host)}", "Use an IPv4 or IPv6 literal", field="address")
    return False
