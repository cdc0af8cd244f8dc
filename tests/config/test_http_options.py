"""Options of the connection manager for hosts, paths and headers, from a file."""

import pytest

from fastproxy.format.settings import HeaderRuleSettings, HeaderValueSettings
from fastproxy.http.name_case import KeptCaseSettings
from fastproxy.listener.settings import (
    ClientHeaderSettings,
    EscapedSlashes,
    HttpConnectionManagerSettings,
    ServerHeader,
    StripPort,
    Underscores,
    XffDetectionSettings,
)
from tests.config.support import load, minimal, problem, warnings

CUSTOM = "type.googleapis.com/envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig"
XFF = "type.googleapis.com/envoy.extensions.http.original_ip_detection.xff.v3.XffConfig"
EARLY = "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"


def manager(text: str) -> HttpConnectionManagerSettings:
    return load(minimal(manager=text)).settings.listeners[0].http


TYPED = "{name: x, typed_config: {'@type': %s}}"


def early(kind: str, fields: str = "") -> str:
    return f"early_header_mutation_extensions: [{TYPED % (kind + fields)}]"


def xff(fields: str) -> str:
    return f"original_ip_detection_extensions: [{{name: x, typed_config: {{'@type': {XFF}, {fields}}}}}]"


def test_every_option_arrives() -> None:
    """A field that is read into the wrong attribute protects nothing."""
    http = manager("""
append_x_forwarded_port: true
internal_address_config:
  cidr_ranges: [{address_prefix: 10.1.0.0, prefix_len: 8}, {address_prefix: "::1", prefix_len: 128}]
via: 1.1 edge
always_set_request_id_in_response: true
server_header_transformation: PASS_THROUGH
http_protocol_options: {header_key_format: {proper_case_words: {}}, allow_absolute_url: false}
common_http_protocol_options:
  headers_with_underscores_action: DROP_HEADER
  max_requests_per_connection: 5
  max_connection_duration: 60s
  max_stream_duration: 2.5s
path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT
strip_matching_host_port: true
strip_trailing_host_dot: true
""")

    assert (http.append_x_forwarded_port, http.via) == (True, "1.1 edge")
    assert http.internal_networks == ("10.0.0.0/8", "::1/128")
    assert (http.always_set_request_id_in_response, http.proper_case_words) == (True, True)
    assert (http.server_header, http.underscores) == (ServerHeader.PASS_THROUGH, Underscores.DROP)
    assert http.escaped_slashes is EscapedSlashes.REDIRECT
    assert (http.strip_port, http.strip_trailing_host_dot) == (StripPort.MATCHING, True)
    assert not http.allow_absolute_url
    assert (http.max_requests_per_connection, http.max_connection_duration_s) == (5, 60.0)
    assert http.max_stream_duration_s == 2.5


def test_extensions_for_the_original_address() -> None:
    """By hops, or by networks."""
    assert manager(xff("xff_num_trusted_hops: 2, skip_xff_append: false")).xff_detection == (
        XffDetectionSettings(2, (), skip_append=False)
    )
    networks = "xff_trusted_cidrs: {cidrs: [{address_prefix: 10.0.0.0, prefix_len: 8}]}"
    assert manager(xff(networks)).xff_detection == XffDetectionSettings(0, ("10.0.0.0/8",))


ONE_EXTENSION = "original_ip_detection_extensions: [{name: x, typed_config: {%s}}]"


def client(fields: str) -> str:
    return f"{{name: c, typed_config: {{'@type': {CUSTOM}{fields}}}}}"


def test_headers_that_name_the_client_are_asked_in_order() -> None:
    """Those before `x-forwarded-for`, and those behind it."""
    own = client(", header_name: CF-Connecting-IP, allow_extension_to_set_address_as_trusted: true")
    plain = f"{{name: x, typed_config: {{'@type': {XFF}}}}}"
    http = manager(f"original_ip_detection_extensions: [{own}, {plain}]")
    asked = ClientHeaderSettings("cf-connecting-ip", is_trusted=True)
    assert (http.client_headers, http.xff_detection) == ((asked, None), XffDetectionSettings())
    assert manager(f"original_ip_detection_extensions: [{plain}]").client_headers == ()


@pytest.mark.parametrize(
    ("code", "status"), [("Unauthorized", 401), ("OK", 403), ("Found", 403), ("BadGateway", 502)]
)
def test_a_refusal_is_an_error(code: str, status: int) -> None:
    """As in Envoy, which takes 403 for whatever is none."""
    own = client(f", header_name: x-c, reject_with_status: {{code: {code}}}")
    found = manager(f"original_ip_detection_extensions: [{own}]").client_headers
    assert found == (ClientHeaderSettings("x-c", reject_status=status),)


def test_early_header_mutations_are_levels_in_order() -> None:
    """Each sees what the one before it did."""
    http = manager(early(EARLY, ", mutations: [{append: {header: {key: x-a, value: b}}}, {remove: X-B}]"))

    assert http.early_rules == (
        HeaderRuleSettings((HeaderValueSettings("x-a", "b"),)),
        HeaderRuleSettings(remove=("x-b",)),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"use_remote_address: true\n{xff('')}", "cannot be mixed"),
        (f"xff_num_trusted_hops: 1\n{xff('')}", "cannot be mixed"),
        (
            xff(
                "xff_num_trusted_hops: 1, xff_trusted_cidrs: {cidrs: [{address_prefix: 1.0.0.0, prefix_len: 8}]}"
            ),
            "cannot set both",
        ),
        (
            "internal_address_config: {cidr_ranges: [{address_prefix: nowhere, prefix_len: 8}]}",
            "no range of IP",
        ),
        ("strip_any_host_port: true\nstrip_matching_host_port: true", "both set"),
        ("via: caf\u00e9", "printable ASCII"),
        (xff("") + "\nuse_remote_address: false", "cannot be mixed"),
        (
            "original_ip_detection_extensions: ["
            + f"{{name: x, typed_config: {{'@type': {XFF}}}}}, " * 2
            + "]",
            "read twice",
        ),
        (
            ONE_EXTENSION % f"'@type': {EARLY}, mutations: [{{remove: x}}]",
            "only extensions that",
        ),
        (early(EARLY, ", mutations: [{remove: ':path'}]"), "part of the request line"),
        (early(XFF), "only extension that is supported"),
        (
            f"http_protocol_options: {{header_key_format: {{stateful_formatter: {TYPED % XFF}}}}}",
            "the only formatter that is supported",
        ),
    ],
)
def test_options_that_cannot_be_are_errors(text: str, words: str) -> None:
    """When the file is loaded, not when a request comes."""
    assert words in problem(minimal(manager=text)).problem


def test_no_ranges_are_the_private_ones() -> None:
    """As in Envoy: with the field, and only with it, private networks are inside."""
    assert manager("").internal_networks == ()
    private = manager("internal_address_config: {}").internal_networks
    assert "10.0.0.0/8" in private
    assert manager("internal_address_config: {unix_sockets: true}").internal_networks == private
    own = "internal_address_config: {cidr_ranges: [{address_prefix: 192.0.2.0, prefix_len: 24}]}"
    assert manager(own).internal_networks == ("192.0.2.0/24",)


def test_unix_sockets_can_be_inside() -> None:
    """`internal_address_config.unix_sockets`."""
    assert manager("internal_address_config: {unix_sockets: true}").internal_pipes
    assert not manager("internal_address_config: {unix_sockets: false}").internal_pipes
    assert not manager("").internal_pipes


def test_a_number_that_no_value_of_an_enum_has_is_refused() -> None:
    """protobuf lets it through; nobody here knows what another version means by it."""
    found = problem(minimal(manager="path_with_escaped_slashes_action: 5"))
    assert found.problem == "5 is none of its values"
    assert "REJECT_REQUEST" in found.fix


PRESERVE = (
    "type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"
)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ("", KeptCaseSettings()),
        (", formatter_type_on_envoy_headers: DEFAULT", KeptCaseSettings()),
        (", formatter_type_on_envoy_headers: PROPER_CASE", KeptCaseSettings(proper_case=True)),
        (", forward_reason_phrase: true", KeptCaseSettings(reason_phrase=True)),
    ],
)
def test_the_spelling_of_the_downstream_can_be_kept(options: str, kept: KeptCaseSettings) -> None:
    """`preserve_case`, with everything that its message has."""
    formatter = f"{{name: any, typed_config: {{'@type': {PRESERVE}{options}}}}}"
    text = f"http_protocol_options: {{header_key_format: {{stateful_formatter: {formatter}}}}}"
    http = manager(text)
    assert (http.kept_case, http.proper_case_words) == (kept, False)


@pytest.mark.parametrize(
    ("operator", "counts"),
    [("%UPSTREAM_WIRE_BYTES_SENT%", True), ("%DOWNSTREAM_HEADER_BYTES_SENT%", True), ("%BYTES_SENT%", False)],
)
def test_bytes_are_counted_only_if_a_format_asks_for_them(operator: str, *, counts: bool) -> None:
    """Wherever it stands: here in the body of local replies."""
    text = f"local_reply_config: {{body_format: {{text_format_source: {{inline_string: '{operator}'}}}}}}"
    assert manager(text).counts_bytes is counts


def test_the_proxy_can_name_itself_if_it_has_a_name() -> None:
    """`add_user_agent`, which without `node.cluster` has nothing to tell."""
    node = "node: {cluster: front, id: front-1}\n"
    for option, names in (("add_user_agent: true", ("front", "front-1")), ("", ("", ""))):
        http = load(node + minimal(manager=option)).settings.listeners[0].http
        assert (http.service_cluster, http.service_node) == names
    assert any("without node.cluster" in one for one in warnings(minimal(manager="add_user_agent: true")))
