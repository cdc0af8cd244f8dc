"""The operators by name (spec/http.md section 10)."""

import os
from collections.abc import Callable
from difflib import get_close_matches

from fastproxy.format.byte_counts import BYTE_OPERATORS
from fastproxy.format.coalesce import build_coalesce
from fastproxy.format.connection import (
    CONNECTION_OPERATORS,
    build_valid_from,
    build_valid_until,
    direct_remote_address,
)
from fastproxy.format.context import FormatContext, Operator
from fastproxy.format.exchange import EXCHANGE_OPERATORS, address_text, build_common_duration, port_of
from fastproxy.format.grpc import build_grpc_status, grpc_status_number
from fastproxy.format.message import (
    build_path,
    build_query_parameter,
    build_query_parameters,
    build_request_header,
    build_response_header,
    build_trailer,
)
from fastproxy.format.metadata import (
    build_cluster_metadata,
    build_dynamic_metadata,
    build_metadata,
    build_upstream_metadata,
)
from fastproxy.format.times import build_emit_time, build_start_time
from fastproxy.http.headers import first
from fastproxy.http.request_id import new_request_id

_HOSTNAME = os.uname().nodename


#: Envoy's long names (spec/http.md section 14).
_LONG_FLAGS = {
    "UH": "NoHealthyUpstream",
    "UF": "UpstreamConnectionFailure",
    "UO": "UpstreamOverflow",
    "NR": "NoRouteFound",
    "URX": "UpstreamRetryLimitExceeded",
    "NC": "NoClusterFound",
    "DT": "DurationTimeout",
    "DC": "DownstreamConnectionTermination",
    "LH": "FailedLocalHealthCheck",
    "UT": "UpstreamRequestTimeout",
    "LR": "LocalReset",
    "UR": "UpstreamRemoteReset",
    "UC": "UpstreamConnectionTermination",
    "RL": "RateLimited",
    "UAEX": "UnauthorizedExternalService",
    "RLSE": "RateLimitServiceError",
    "SI": "StreamIdleTimeout",
    "DPE": "DownstreamProtocolError",
    "UPE": "UpstreamProtocolError",
    "UMSDR": "UpstreamMaxStreamDurationReached",
    "OM": "OverloadManagerTerminated",
    "DF": "DnsResolutionFailed",
}


def _long_flags(context: FormatContext) -> str:
    flags = context.request.flags
    return ",".join(_LONG_FLAGS.get(flag, flag) for flag in flags.split(",")) if flags else "-"


def _milliseconds(context: FormatContext) -> int:
    return int((context.now - context.request.start_monotonic) * 1000)


#: Operators without argument.
_SIMPLE: dict[str, Operator] = {
    "PROTOCOL": lambda c: f"HTTP/{c.request.version}" if c.request.version else None,
    "RESPONSE_CODE": lambda c: c.request.response_status,
    "RESPONSE_CODE_DETAILS": lambda c: c.request.details or None,
    "RESPONSE_FLAGS_LONG": _long_flags,
    "GRPC_STATUS_NUMBER": grpc_status_number,
    "UNIQUE_ID": lambda _c: new_request_id(),
    "RESPONSE_FLAGS": lambda c: c.request.flags or "-",
    "BYTES_RECEIVED": lambda c: c.request.bytes_received,
    "BYTES_SENT": lambda c: c.request.bytes_sent,
    "DURATION": _milliseconds,
    "UPSTREAM_HOST": lambda c: c.request.upstream_host or None,
    "UPSTREAM_CLUSTER": lambda c: c.request.upstream_cluster or None,
    "UPSTREAM_REQUEST_ATTEMPT_COUNT": lambda c: c.request.retries + 1 if c.request.upstream_cluster else 0,
    "VIRTUAL_CLUSTER_NAME": lambda c: (
        None if (one := c.request.counting) is None else one.virtual_cluster or None
    ),
    "ROUTE_NAME": lambda c: c.request.route_name or None,
    "DOWNSTREAM_REMOTE_ADDRESS": lambda c: address_text(c.request.remote_address),
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": lambda c: c.request.remote_address[0] or None,
    "DOWNSTREAM_REMOTE_PORT": lambda c: port_of(c.request.remote_address),
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": lambda c: address_text(direct_remote_address(c)),
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": lambda c: direct_remote_address(c)[0] or None,
    "DOWNSTREAM_DIRECT_REMOTE_PORT": lambda c: port_of(direct_remote_address(c)),
    "DOWNSTREAM_LOCAL_ADDRESS": lambda c: address_text(c.request.downstream_local_address),
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": lambda c: c.request.downstream_local_address[0] or None,
    "DOWNSTREAM_LOCAL_PORT": lambda c: port_of(c.request.downstream_local_address),
    "CONNECTION_ID": lambda c: c.request.connection.number,
    "FILTER_CHAIN_NAME": lambda c: c.request.connection.filter_chain_name or None,
    **CONNECTION_OPERATORS,
    "ACCESS_LOG_TYPE": lambda c: c.log_type or None,
    **EXCHANGE_OPERATORS,
    **BYTE_OPERATORS,
    "HOSTNAME": lambda _c: _HOSTNAME,
    "STREAM_ID": lambda c: first(c.request.headers, b"x-request-id"),
    # Nothing that ends a connection in the middle has words for it here.
    "CONNECTION_TERMINATION_DETAILS": lambda _c: None,
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON": lambda c: (
        c.request.connection.transport_failure.replace(" ", "_") or None
    ),
    # Nothing is traced, and no filter sets flags of its own.
    "TRACE_ID": lambda _c: None,
    "SPAN_ID": lambda _c: None,
    "CUSTOM_FLAGS": lambda _c: "",
    "LOCAL_REPLY_BODY": lambda c: c.local_reply_body,
}

#: Operators about the request's target, which may do without their argument.
_TARGETS: dict[str, Callable[..., Operator]] = {
    "PATH": build_path,
    "QUERY_PARAMS": build_query_parameters,
}
#: Operators whose argument is required.
_WITH_ARGUMENT: dict[str, Callable[..., Operator]] = {
    "REQ": build_request_header,
    "RESP": build_response_header,
    "TRAILER": build_trailer,
    "QUERY_PARAM": build_query_parameter,
    "DYNAMIC_METADATA": build_dynamic_metadata,
    "METADATA": build_metadata,
    "CLUSTER_METADATA": build_cluster_metadata,
    "UPSTREAM_METADATA": build_upstream_metadata,
}
#: Operators with another form for each argument.
_FORMS: dict[str, Callable[[str | None], Operator]] = {
    "GRPC_STATUS": build_grpc_status,
    "START_TIME": build_start_time,
    "EMIT_TIME": build_emit_time,
    "COMMON_DURATION": build_common_duration,
    "DOWNSTREAM_PEER_CERT_V_START": build_valid_from,
    "DOWNSTREAM_PEER_CERT_V_END": build_valid_until,
}

#: Every operator name that a format may use.
KNOWN_OPERATORS = frozenset((*_SIMPLE, *_TARGETS, *_WITH_ARGUMENT, *_FORMS, "ENVIRONMENT", "COALESCE"))
#: Those whose value may be cut (`%NAME(argument):LENGTH%`), as in Envoy.
_WITH_LENGTH = frozenset(
    (
        *_TARGETS,
        "REQ",
        "RESP",
        "TRAILER",
        "QUERY_PARAM",
        "DYNAMIC_METADATA",
        "METADATA",
        "ENVIRONMENT",
        "COALESCE",
    )
)
#: Operators that Envoy has, and what they would need.
_MISSING = {
    "CEL": "there are no CEL expressions",
    "FILTER_STATE": "filters leave metadata, no filter state; use %DYNAMIC_METADATA%",
    "UPSTREAM_FILTER_STATE": "there is no filter state",
    "TLS_JA3_FINGERPRINT": "no fingerprints of ClientHellos are taken",
    "TLS_JA4_FINGERPRINT": "no fingerprints of ClientHellos are taken",
}


def build_operator(name: str, argument: str | None, length: str | None, *, redact: bool) -> Operator:
    """Compile one operator; `length` cuts what it gives.

    Raises:
        ValueError: unknown, or its argument makes no sense.
    """
    operator = _build(name, argument, redact=redact)
    if length is None:
        return operator
    if name not in _WITH_LENGTH:
        raise ValueError(f"%{name}% takes no length")
    return _cut(operator, int(length))


def _build(name: str, argument: str | None, *, redact: bool) -> Operator:
    if name == "COALESCE":
        return build_coalesce(
            argument, lambda inner, of, length: build_operator(inner, of, length, redact=redact)
        )
    build = _WITH_ARGUMENT.get(name)
    if build is not None:
        if not argument:
            raise ValueError(f"%{name}% needs an argument in brackets")
        return build(argument, redact=redact)
    if name in _TARGETS:
        return _TARGETS[name](argument or "", redact=redact)
    if name in _FORMS:
        return _FORMS[name](argument)
    if name == "ENVIRONMENT":
        if not argument:
            raise ValueError("%ENVIRONMENT% needs the name of a variable in brackets")
        value = os.environ.get(argument, "-")
        return lambda _context: value
    found = _SIMPLE.get(name)
    if found is None:
        if name in _MISSING:
            raise ValueError(f"%{name}% is not supported: {_MISSING[name]}")
        raise ValueError(f"unknown operator %{name}%; {_advice(name)}")
    if argument:
        raise ValueError(f"%{name}% takes no argument")
    return found


def _advice(name: str) -> str:
    near = get_close_matches(name, sorted(KNOWN_OPERATORS), n=3)
    return (
        f"did you mean {' or '.join(near)}?"
        if near
        else f"the page about formats lists the {len(KNOWN_OPERATORS)} known ones"
    )


def _cut(operator: Operator, size: int) -> Operator:
    def shortened(context: FormatContext) -> object:
        value = operator(context)
        if isinstance(value, str):
            return value[:size]
        return value[:size] if isinstance(value, bytes) else value

    return shortened
