"""What a connection manager does with hosts, paths and headers besides the usual (spec/http.md sections 6 and 7)."""

from dataclasses import replace
from ipaddress import ip_network

from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.header_rules import build_header_mutations
from fastproxy.config.build.name_case import build_name_case
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.format.settings import HeaderRuleSettings
from fastproxy.listener.settings import (
    ClientHeaderSettings,
    EscapedSlashes,
    HttpConnectionManagerSettings,
    ServerHeader,
    StripPort,
    Underscores,
    XffDetectionSettings,
)

_XFF = "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig"
_CLIENT_HEADER = "envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig"
_FORBIDDEN, _FIRST_ERROR, _LAST_ERROR = 403, 400, 511
_EARLY = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
#: What `internal_address_config` means without ranges of its own; without the field nothing is internal (Envoy).
_PRIVATE_NETWORKS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.1/32", "fd00::/8", "::1/128")


def add_http_options(
    settings: HttpConnectionManagerSettings, manager: View, context: BuildContext
) -> HttpConnectionManagerSettings:
    """The same settings with the options of this module."""
    common = manager.child_or_empty("common_http_protocol_options")
    http1 = manager.child_or_empty("http_protocol_options")
    names = build_name_case(http1)
    slashes = manager.choice("path_with_escaped_slashes_action")
    if slashes == "IMPLEMENTATION_SPECIFIC_DEFAULT":
        slashes = EscapedSlashes.KEEP.value
    detection, client_headers = _build_detection(manager)
    tells = manager.flag_or("add_user_agent", default=False)
    if tells and not context.service_cluster:
        manager.warn("has no effect without node.cluster (--service-cluster)", field="add_user_agent")
        tells = False
    return replace(
        settings,
        service_cluster=context.service_cluster if tells else "",
        service_node=context.service_node if tells else "",
        append_x_forwarded_port=manager.flag("append_x_forwarded_port"),
        internal_networks=_build_internal_networks(manager),
        internal_pipes=manager.child_or_empty("internal_address_config").flag("unix_sockets"),
        xff_detection=detection,
        client_headers=client_headers,
        early_rules=_build_early_rules(manager),
        via=_build_via(manager),
        always_set_request_id_in_response=manager.flag("always_set_request_id_in_response"),
        server_header=ServerHeader(manager.choice("server_header_transformation")),
        allow_chunked_length=http1.flag("allow_chunked_length"),
        enable_trailers=http1.flag("enable_trailers"),
        allow_custom_methods=http1.flag("allow_custom_methods"),
        proxy_100_continue=manager.flag("proxy_100_continue"),
        proper_case_words=names.proper_case_words,
        kept_case=names.kept,
        counts_bytes=_asks_for_bytes(manager),
        underscores=Underscores(common.choice("headers_with_underscores_action")),
        escaped_slashes=EscapedSlashes(slashes),
        strip_port=_build_strip_port(manager),
        strip_trailing_host_dot=manager.flag("strip_trailing_host_dot"),
        max_requests_per_connection=common.integer_or("max_requests_per_connection", 0),
        max_connection_duration_s=common.duration_s("max_connection_duration", 0.0),
        max_stream_duration_s=common.duration_s("max_stream_duration", 0.0),
        announces_connections=manager.flag_or("add_proxy_protocol_connection_state", default=True),
        allow_absolute_url=http1.flag_or("allow_absolute_url", default=True),
    )


def _asks_for_bytes(manager: View) -> bool:
    """Whether an operator for bytes on the wire stands anywhere below: in logs, header rules, bodies or routes."""
    text: bytes = manager.message.SerializeToString()
    return b"_WIRE_BYTES_" in text or b"_HEADER_BYTES_" in text


def build_cidr_ranges(view: View, field: str) -> tuple[str, ...]:
    """A repeated `CidrRange`; those that are none are reported."""
    found = []
    for one in view.children(field):
        text = f"{one.text('address_prefix')}/{one.integer_or('prefix_len', 0)}"
        try:
            found.append(str(ip_network(text, strict=False)))
        except ValueError:
            one.error(f"{quote(text)} is no range of IP addresses")
    return tuple(found)


def _build_internal_networks(manager: View) -> tuple[str, ...]:
    config = manager.child("internal_address_config")
    if config is None:
        return ()
    return build_cidr_ranges(config, "cidr_ranges") or _PRIVATE_NETWORKS


def _build_detection(
    manager: View,
) -> tuple[XffDetectionSettings | None, tuple[ClientHeaderSettings | None, ...]]:
    """How `x-forwarded-for` is read, if an extension does; and the headers that are asked, None in its place."""
    extensions = manager.children("original_ip_detection_extensions")
    if extensions and (manager.has("use_remote_address") or manager.has("xff_num_trusted_hops")):
        manager.error(
            "original_ip_detection_extensions cannot be mixed with use_remote_address or xff_num_trusted_hops",
            "Keep one of them",
            field="original_ip_detection_extensions",
        )
    detection: XffDetectionSettings | None = None
    headers: list[ClientHeaderSettings | None] = []
    for extension in extensions:
        extension.accept("name")
        config = extension.typed("typed_config")
        if config is not None and config.type_name == _CLIENT_HEADER:
            headers.append(_build_client_header(config))
        elif config is not None and config.type_name == _XFF:
            if detection is not None:
                extension.error("x-forwarded-for is read twice", "Keep one of them", field="typed_config")
            detection = _build_xff(config)
            headers.append(None)
        else:
            if config is not None:
                config.accept(*(one.name for one, _ in config.message.ListFields()))
            extension.error(
                f"the only extensions that are supported are {_XFF} and {_CLIENT_HEADER}",
                field="typed_config",
            )
    return detection, tuple(headers) if any(headers) else ()


def _build_xff(config: View) -> XffDetectionSettings:
    trusted = config.child("xff_trusted_cidrs")
    networks = () if trusted is None else build_cidr_ranges(trusted, "cidrs")
    if networks and config.integer("xff_num_trusted_hops"):
        config.error("cannot set both xff_num_trusted_hops and xff_trusted_cidrs", "Keep one of them")
    return XffDetectionSettings(
        config.integer("xff_num_trusted_hops"), networks, config.flag_or("skip_xff_append", default=True)
    )


def _build_client_header(config: View) -> ClientHeaderSettings:
    status = config.child("reject_with_status")
    code = 0 if status is None else status.integer("code")
    if status is not None and not _FIRST_ERROR <= code <= _LAST_ERROR:
        # Whoever is not to be let in would be told that all is well (Envoy).
        code = _FORBIDDEN
    return ClientHeaderSettings(
        config.text("header_name").lower(), config.flag("allow_extension_to_set_address_as_trusted"), code
    )


def _build_early_rules(manager: View) -> tuple[HeaderRuleSettings, ...]:
    rules: list[HeaderRuleSettings] = []
    for extension in manager.children("early_header_mutation_extensions"):
        extension.accept("name")
        config = extension.typed("typed_config")
        if config is not None and config.type_name == _EARLY:
            rules += build_header_mutations(config, "mutations")
            continue
        if config is not None:
            config.accept(*(one.name for one, _ in config.message.ListFields()))
        extension.error(f"the only extension that is supported is {_EARLY}", field="typed_config")
    return tuple(rules)


def _build_via(manager: View) -> str:
    via = manager.text("via")
    if not via.isascii() or (via and not via.isprintable()):
        manager.error("via must be printable ASCII", field="via")
    return via


def _build_strip_port(manager: View) -> StripPort:
    if manager.flag("strip_any_host_port"):
        if manager.flag("strip_matching_host_port"):
            manager.error("strip_any_host_port and strip_matching_host_port are both set", "Keep one of them")
        return StripPort.ANY
    return StripPort.MATCHING if manager.flag("strip_matching_host_port") else StripPort.NONE
