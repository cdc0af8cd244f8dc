"""Files whose parts do not fit together: Envoy refuses them, and so does FastProxy, with the place and the way out."""

from pathlib import Path

import pytest

from fastproxy.config import ConfigError, LoadOptions, load_config
from tests.config.support import DEFAULT_CLUSTER, cluster, minimal
from tests.e2e.support.verdicts import envoy_takes, fastproxy_takes

_TYPE = "type.googleapis.com/envoy.extensions"
_UPSTREAM_TLS = f"{_TYPE}.transport_sockets.tls.v3.UpstreamTlsContext"
_DOWNSTREAM_TLS = f"{_TYPE}.transport_sockets.tls.v3.DownstreamTlsContext"
_LOG = f"{_TYPE}.access_loggers.file.v3.FileAccessLog"
_TCP_PROXY = f"{_TYPE}.filters.network.tcp_proxy.v3.TcpProxy"
_TCP = f'{{name: t, typed_config: {{"@type": {_TCP_PROXY}, stat_prefix: t, cluster: a}}}}'
_ADDRESS = "{endpoint: {address: {socket_address: {address: a.test, port_value: 1}}}}"
_NAME = "            name: local\n"
_LAST = "          http_filters:"


def _route(action: str, match: str = "{prefix: /}") -> str:
    return minimal(routes=f"- match: {match}\n  {action}")


def _body(size: int) -> str:
    return _route(f"direct_response: {{status: 200, body: {{inline_string: '{'a' * size}'}}}}")


def _with_table(text: str, field: str) -> str:
    return text.replace(_NAME, f"{_NAME}            {field}\n")


def _with_host(domains: str, name: str = "second") -> str:
    return minimal().replace(
        _LAST, f"            - {{name: {name}, domains: {domains}, routes: []}}\n{_LAST}"
    )


def _value(text: str) -> str:
    return minimal(virtual_host=f"request_headers_to_add: [{{header: {{key: x, value: '{text}'}}}}]")


def _log(text: str) -> str:
    log_format = f"{{text_format_source: {{inline_string: '{text}'}}}}"
    return minimal(
        manager=f'access_log: {{name: l, typed_config: {{"@type": {_LOG}, path: /dev/null, log_format: {log_format}}}}}'
    )


def _tls(context: str) -> str:
    return minimal(
        clusters=cluster(
            f'transport_socket: {{name: t, typed_config: {{"@type": {_UPSTREAM_TLS}, common_tls_context: {context}}}}}'
        )
    )


def _listeners(*entries: tuple[str, int]) -> str:
    parts = [
        f"  - {{{name}address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}, "
        f"filter_chains: [{{filters: [{_TCP}]}}]}}\n"
        for name, port in entries
    ]
    return f"static_resources:\n  listeners:\n{''.join(parts)}  clusters: [{{name: a}}]\n"


def _dns(endpoints: str) -> str:
    return minimal(
        clusters=f"- {{name: backend, type: LOGICAL_DNS, load_assignment: {{cluster_name: b, endpoints: {endpoints}}}}}"
    )


def _no_certificate() -> str:
    chain = "    filter_chains:\n    - "
    socket = f'transport_socket: {{name: t, typed_config: {{"@type": {_DOWNSTREAM_TLS}}}}}'
    return minimal().replace(chain, f"{chain}{socket}\n      ")


#: What is wrong -> the file, the end of the field's path, and a word of the advice.
_REFUSED = {
    "an unknown cluster": (_route("route: {cluster: backnd}"), "route.cluster", '"backend"'),
    "an unknown weighted cluster": (
        _route("route: {weighted_clusters: {clusters: [{name: nope, weight: 1}]}}"),
        "clusters[0].name",
        "static_resources.clusters",
    ),
    "two virtual hosts for everything": (_with_host('["*"]'), "virtual_hosts[1].domains", "Remove"),
    "a domain twice": (minimal().replace('"*"', '[a.test, "A.test"]'), "virtual_hosts[0].domains", "Remove"),
    "the router before another filter": (
        minimal(filters=f'- {{name: r, typed_config: {{"@type": {_TYPE}.filters.http.router.v3.Router}}}}'),
        "http_filters[0]",
        "end of the list",
    ),
    "a lookahead": (_route("route: {cluster: backend}", "{safe_regex: {regex: '/(?=a)'}}"), "safe_regex.regex", "RE2"),
    "a backreference": (
        _route("route: {cluster: backend}", "{safe_regex: {regex: '/(a)\\1'}}"),
        "safe_regex.regex",
        "RE2",
    ),
    "weights of nothing": (
        _route("route: {weighted_clusters: {clusters: [{name: backend, weight: 0}]}}"),
        "weighted_clusters.clusters",
        "weight",
    ),
    "a pseudo header to add": (
        minimal(virtual_host="request_headers_to_add: [{header: {key: ':path', value: v}}]"),
        "header.key",
        "prefix_rewrite",
    ),
    "a host to add": (
        minimal(virtual_host="response_headers_to_add: [{header: {key: Host, value: v}}]"),
        "header.key",
        "host_rewrite_literal",
    ),
    "a host to remove": (
        minimal(virtual_host="request_headers_to_remove: [host]"),
        "request_headers_to_remove",
        "host_rewrite_literal",
    ),
    "an operator in a value": (_value("%REQQ(a)%"), "header.value", "REQ"),
    "a percent sign in a value": (_value("50%"), "header.value", "%%"),
    "an operator in a log": (_log("%RESPONSE_CODEX%"), "text_format_source", "RESPONSE_CODE"),
    "a percent sign in a log": (_log("50%"), "text_format_source", "%%"),
    "a cluster twice": (minimal(clusters=DEFAULT_CLUSTER + DEFAULT_CLUSTER), "clusters[1].name", "Rename"),
    "a name for a static cluster": (
        minimal(clusters=DEFAULT_CLUSTER.replace("127.0.0.1", "localhost")),
        "socket_address.address",
        "STRICT_DNS",
    ),
    "two endpoints for logical DNS": (_dns(f"[{{lb_endpoints: [{_ADDRESS}, {_ADDRESS}]}}]"), "endpoints", "STRICT_DNS"),
    "no endpoint for logical DNS": (_dns("[]"), "endpoints", "STRICT_DNS"),
    "EDS from nowhere": (minimal(clusters="- {name: backend, type: EDS}"), "clusters[0]", "eds_cluster_config"),
    "no filter chain": (
        "static_resources: {listeners: [{address: {socket_address: {address: 127.0.0.1, port_value: 0}}}]}",
        "listeners[0]",
        "filter_chains",
    ),
    "an address twice": (_listeners(("name: a, ", 18099), ("name: b, ", 18099)), "listeners[1].address", "18099"),
    "a body that is too long": (_body(4097), "direct_response.body", "max_direct_response_body_size_bytes"),
    "an unknown secret": (
        _tls("{validation_context_sds_secret_config: {name: nope}}"),
        "validation_context_sds_secret_config.name",
        "static_resources.secrets",
    ),
    "no certificate": (_no_certificate(), "common_tls_context", "tls_certificates"),
    "a name to verify without an authority": (
        minimal().replace(
            "    filter_chains:\n    - ",
            "    filter_chains:\n    - "
            f'transport_socket: {{name: t, typed_config: {{"@type": {_DOWNSTREAM_TLS}, common_tls_context: '
            "{validation_context: {match_typed_subject_alt_names: "
            "[{san_type: DNS, matcher: {exact: a}}]}}}}\n      ",
        ),
        "validation_context",
        "trusted_ca",
    ),
}  # fmt: skip
_TAKEN = {
    "an unknown cluster that is not looked for": _with_table(
        _route("route: {cluster: nope}"), "validate_clusters: false"
    ),
    "names of virtual hosts twice": _with_host("[b.test]", "all"),
    "names of listeners twice": _listeners(("name: a, ", 18098), ("name: a, ", 18099)),
    "listeners without names": _listeners(("", 18098), ("", 18099)),
    "port 0 twice": _listeners(("name: a, ", 0), ("name: b, ", 0)),
    "a body of the length allowed": _body(4096),
    "a longer body": _with_table(_body(4097), "max_direct_response_body_size_bytes: 4097"),
    "settings of another policy": minimal(
        clusters=cluster("lb_policy: ROUND_ROBIN\nring_hash_lb_config: {}")
    ),
    "no type of cluster": minimal(clusters=DEFAULT_CLUSTER.replace("  type: STATIC\n", "")),
    "percent signs": _value("100%%"),
}


@pytest.mark.parametrize(("text", "field", "advice"), _REFUSED.values(), ids=_REFUSED)
def test_what_does_not_fit_is_refused_with_its_line_and_advice(
    tmp_path: Path, text: str, field: str, advice: str
) -> None:
    """Who is called at night reads one line: where it is, what is wrong, and what to write instead."""
    path = tmp_path / "config.yaml"
    path.write_text(text)

    assert not envoy_takes(path)
    with pytest.raises(ConfigError) as refused:
        load_config(path, options=LoadOptions(requires_node=False))
    found = [problem for problem in refused.value.problems if problem.path.endswith(field)]
    assert found, refused.value.problems
    assert found[0].file == str(path)
    assert found[0].line is not None
    assert advice in f"{found[0].problem} {found[0].fix}"


@pytest.mark.parametrize("text", _TAKEN.values(), ids=_TAKEN)
def test_what_fits_after_all_is_taken(tmp_path: Path, text: str) -> None:
    """The exceptions of the rules above; some look like mistakes, and are in files that run."""
    path = tmp_path / "config.yaml"
    path.write_text(text)

    assert (envoy_takes(path), fastproxy_takes(path)) == (True, True)
