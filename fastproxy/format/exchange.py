"""Operators about the exchange with the upstream: its connection, and how long each part took."""

from collections.abc import Callable

from fastproxy.addresses import format_address, is_pipe
from fastproxy.format.context import FormatContext, Operator
from fastproxy.http.connection_info import UpstreamLink


def address_text(address: tuple[str, int]) -> str | None:
    """An address as Envoy writes it; None for one that is not known."""
    if not address[0]:
        return None
    return format_address(*address)


def port_of(address: tuple[str, int]) -> int | str:
    """A port; an empty text for a Unix domain socket, which has none (as Envoy writes it)."""
    return "" if is_pipe(address[0]) else address[1]


def _link(read: Callable[[UpstreamLink], object]) -> Operator:
    def operator(context: FormatContext) -> object:
        link = context.request.upstream_link
        return None if link is None else read(link)

    return operator


def _connection_id(context: FormatContext) -> int:
    link = context.request.upstream_link
    return 0 if link is None else link.number


def _host_name(context: FormatContext) -> str | None:
    return context.request.upstream_host_name or context.request.upstream_host or None


def _host_name_without_port(context: FormatContext) -> str | None:
    name = context.request.upstream_host_name
    if name:
        return name
    host = context.request.upstream_host
    return host.rpartition(":")[0].strip("[]") or host or None


def _request_duration(context: FormatContext) -> int | None:
    """Until the last byte of the request was here."""
    request = context.request
    if not request.body_complete or request.upgrade:
        # What follows a request for another protocol belongs to it.
        return None
    end = request.complete_monotonic or request.start_monotonic
    return int((end - request.start_monotonic) * 1000)


def _request_tx_duration(context: FormatContext) -> int | None:
    """Until the last byte of the request was sent upstream."""
    request = context.request
    sent = request.sent_monotonic
    return int((sent - request.start_monotonic) * 1000) if sent else None


def _response_duration(context: FormatContext) -> int | None:
    """Until the first byte of the response was here."""
    request = context.request
    begun = request.response_monotonic
    return int((begun - request.start_monotonic) * 1000) if begun else None


def _response_tx_duration(context: FormatContext) -> int | None:
    """From there to the last byte that was sent downstream."""
    begun = context.request.response_monotonic
    return int((context.now - begun) * 1000) if begun and context.log_type else None


#: Operators without argument, by name (spec/http.md section 10).
EXCHANGE_OPERATORS: dict[str, Operator] = {
    "UPSTREAM_LOCAL_ADDRESS": _link(lambda link: address_text(link.local_address)),
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": _link(lambda link: link.local_address[0] or None),
    "UPSTREAM_LOCAL_PORT": _link(lambda link: port_of(link.local_address)),
    "UPSTREAM_REMOTE_ADDRESS": _link(lambda link: address_text(link.remote_address)),
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": _link(lambda link: link.remote_address[0] or None),
    "UPSTREAM_REMOTE_PORT": _link(lambda link: port_of(link.remote_address)),
    "UPSTREAM_PROTOCOL": _link(lambda _link: "HTTP/1.1"),
    "UPSTREAM_CONNECTION_ID": _connection_id,
    "UPSTREAM_HOST_NAME": _host_name,
    "UPSTREAM_HOST_NAME_WITHOUT_PORT": _host_name_without_port,
    "UPSTREAM_TRANSPORT_FAILURE_REASON": lambda c: c.request.transport_failure.replace(" ", "_") or None,
    "REQUEST_DURATION": _request_duration,
    "REQUEST_TX_DURATION": _request_tx_duration,
    "RESPONSE_DURATION": _response_duration,
    "RESPONSE_TX_DURATION": _response_tx_duration,
}
