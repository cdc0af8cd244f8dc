"""Operators about the exchange with the upstream: its connection, and how long each part took."""

from collections.abc import Callable

from fastproxy.addresses import format_address, is_pipe
from fastproxy.format.context import REQUEST_END, FormatContext, Operator
from fastproxy.http.connection_info import UpstreamLink

#: Details of responses of an upstream that are complete.
_SENT = frozenset(("via_upstream", "websocket_handshake_unsuccessful"))


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
    """From there to the last byte that was sent downstream; none of a response that was cut."""
    begun = context.request.response_monotonic
    return int((context.now - begun) * 1000) if begun and _is_sent(context) else None


def _is_sent(context: FormatContext) -> bool:
    """Whether the last byte of an upstream's response has left."""
    return context.log_type == REQUEST_END and context.request.details in _SENT


def _response_sent(context: FormatContext) -> float:
    return context.now if _is_sent(context) else 0.0


def _request_received(context: FormatContext) -> float:
    request = context.request
    if not request.body_complete or request.upgrade:
        return 0.0
    return request.complete_monotonic or request.start_monotonic


#: Points in time by their names in `%COMMON_DURATION%`, monotonic seconds; 0: not reached.
_POINTS: dict[str, Callable[[FormatContext], float]] = {
    "DS_RX_BEG": lambda c: c.request.start_monotonic,
    "DS_RX_END": _request_received,
    "US_TX_END": lambda c: c.request.sent_monotonic,
    "US_RX_BEG": lambda c: c.request.response_monotonic,
    "DS_TX_END": _response_sent,
}
_UNITS = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def build_common_duration(argument: str | None) -> Operator:
    """`%COMMON_DURATION(BEGIN:END:UNIT)%`: the time between two points of a request's life; `ms`, `us` or `ns`.

    Raises:
        ValueError: another point, or another unit.
    """
    begin, _, rest = (argument or "").partition(":")
    end, _, unit = rest.partition(":")
    unit = unit or "ms"
    if begin not in _POINTS or end not in _POINTS or unit not in _UNITS:
        raise ValueError(
            f"%COMMON_DURATION% takes two of {', '.join(_POINTS)}, and after another colon ms, us or ns"
        )
    read_begin, read_end, factor = _POINTS[begin], _POINTS[end], _UNITS[unit]

    def value(context: FormatContext) -> int | None:
        first, last = read_begin(context), read_end(context)
        return int((last - first) * factor) if 0.0 < first <= last else None

    return value


#: Operators without argument, by name (spec/http.md section 10).
EXCHANGE_OPERATORS: dict[str, Operator] = {
    "UPSTREAM_LOCAL_ADDRESS": _link(lambda link: address_text(link.local_address)),
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": _link(lambda link: link.local_address[0] or None),
    "UPSTREAM_LOCAL_PORT": _link(lambda link: port_of(link.local_address)),
    "UPSTREAM_REMOTE_ADDRESS": _link(lambda link: address_text(link.remote_address)),
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": _link(lambda link: link.remote_address[0] or None),
    "UPSTREAM_REMOTE_PORT": _link(lambda link: port_of(link.remote_address)),
    # A connection that a TCP proxy passes on has no version.
    "UPSTREAM_PROTOCOL": lambda c: "HTTP/1.1" if c.request.upstream_link and c.request.version else None,
    "UPSTREAM_CONNECTION_ID": _connection_id,
    "UPSTREAM_HOST_NAME": _host_name,
    "UPSTREAM_HOST_NAME_WITHOUT_PORT": _host_name_without_port,
    "UPSTREAM_TRANSPORT_FAILURE_REASON": lambda c: c.request.transport_failure.replace(" ", "_") or None,
    "REQUEST_DURATION": _request_duration,
    "REQUEST_TX_DURATION": _request_tx_duration,
    "RESPONSE_DURATION": _response_duration,
    "RESPONSE_TX_DURATION": _response_tx_duration,
}
