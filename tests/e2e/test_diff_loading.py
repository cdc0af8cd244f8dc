"""The same text for `envoy --mode validate` and for FastProxy: what one takes, the other takes."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from fastproxy.config import load_config
from fastproxy.config.schema import Bootstrap
from tests.e2e.support.verdicts import envoy_dump, envoy_takes, fastproxy_takes

_RAW = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_STRUCT = "type.googleapis.com/xds.type.v3.TypedStruct"
_DNS = (
    "load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: "
    "[{endpoint: {address: {socket_address: {address: localhost, port_value: 1}}}}]}]}"
)


def _cluster(field: str) -> str:
    return f"static_resources:\n  clusters:\n  - name: a\n    {field}\n"


def _scalar(place: str, value: str) -> str:
    if place == "text":
        return f"node:\n  cluster: c\n  id: {value}\n"
    if place == "percent":
        return _cluster(f"common_lb_config: {{healthy_panic_threshold: {{value: {value}}}}}")
    if place == "enum":
        dns = f"\n    {_DNS}" if "ogical" in value else ""
        return _cluster(f"type: {value}{dns}")
    names = {
        "bool": "ignore_health_on_host_removal",
        "integer": "per_connection_buffer_limit_bytes",
        "duration": "connect_timeout",
    }
    return _cluster(f"{names[place]}: {value}")


#: Kind of field -> values in it that load, and values that do not.
_SCALARS: dict[str, tuple[list[str], list[str]]] = {
    "text": (
        ["tRUE", "089", "1.1", ".5", "1e3", "NaN", "1_000", "2020-01-01", "12:30:45", "null", "~", "", "Null", "NULL",
         "nULL", '"5"', "'5'", "!foo bar", "! 5", "5000000000", "0o17", "0b1", "2147483648",
         "|\n    5", "-1.5",
         "+.inf", ".nan", "<<", "=", "0x", "0xg", "99999999999999999999",
         "9223372036854775807", "-9223372036854775808"],
        ["true", "True", "TRUE", "yes", "Yes", "no", "on", "off", "y", "n", "Y", "N", "1", "0x10", "0123", "!!str 5",
         "!!int '5'", "!!bool 'true'", "!foo 5", "-5", "+5", "-0", "00", "0", "+0x10", "2147483647", "[a]", "{a: b}"],
    ),
    "bool": (
        ["true", '"true"', '"True"', '"tRuE"', '"1"', '"0"', '"yes"', '"t"', '"f"', '"no"', "null", "y", "off"],
        ["1", "0", '"on"', '"off"', "2", "1.0", '""', "[true]"],
    ),
    "integer": (
        ["8192", '"8192"', '"0x2000"', "8192.0", '"8192.0"', "8.192e3", "{value: 8192}", "4294967295", "0x10", "010",
         '"010"', '"1e3"', '"5.0e0"', '"+5"', "+5", "-0"],
        ['" 8192"', '"8192 "', '""', "-1", "1.5", "true", "4294967296", '"1_000"', "[5]", "NaN", "Infinity"],
    ),
    "percent": (
        ["50", "0.5", '"0.5"', "1e1", ".5", "5.", "-0.0", "0x10", "010", "+5"],
        ["101", "true", "inf", "nan", "1e400", "-1", "{value: 5}"],
    ),
    "enum": (
        ["STATIC", "static", "Static", "0", '"0"', "1", '"1"', "Strict_dns", "logical_dns", "null"],
        ["99", "strict-dns", "strictDns", "strictdns", "off", "true", "1.0", '"1.0"', '" STATIC"'],
    ),
    "duration": (
        ['"1.5s"', "2s", "0.000000001s", "{seconds: 3}", '{seconds: "1", nanos: 500000000}', "01s", "null", "1.500s",
         "{nanos: 1}", "{seconds: 1.0}", "9223372035s", "{seconds: 9223372035}"],
        ["5", "500ms", "1m", "-1s", "{seconds: -1}", "1.5", ".5s", '"1s "', "0.1234567891s", "[1s]", "true", "1e3s",
         "{minutes: 1}", "0s", "{}", "{nanos: -1}", "{nanos: 1000000000}", "9223372036s", "{seconds: 9223372036}",
         "+1s", "1S", '"s"', '""', "0x1s"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("place", "value", "loads"),
    [
        (place, value, loads)
        for place, (good, bad) in _SCALARS.items()
        for loads, values in ((True, good), (False, bad))
        for value in values
    ],
)
def test_scalars_are_taken_and_refused_as_by_envoy(
    tmp_path: Path, place: str, value: str, *, loads: bool
) -> None:
    """A value that one of the two reads in another way is a limit that is not the one in the file."""
    path = tmp_path / "config.yaml"
    path.write_text(_scalar(place, value))

    assert (envoy_takes(path), fastproxy_takes(path)) == (loads, loads)


def _socket(text: str) -> str:
    return _cluster(f"transport_socket: {text}")


def _filter(text: str) -> str:
    manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    return (
        "static_resources:\n  listeners:\n"
        "  - address: {socket_address: {address: 127.0.0.1, port_value: 0}}\n"
        f'    filter_chains: [{{filters: [{{name: any, typed_config: {{"@type": {manager}, stat_prefix: x, '
        f"route_config: {{}}, http_filters: [{text}]}}}}]}}]\n"
    )


def _struct(url: str, value: str = "{suppress_envoy_headers: true}") -> str:
    return _filter(f'{{name: r, typed_config: {{"@type": {_STRUCT}, type_url: {url}, value: {value}}}}}')


_YAML_GOOD = {
    "an empty mapping": "{}",
    "json": '{"node": {"id": "a", "cluster": "c"}}',
    "a byte order mark": "\ufeffnode: {id: a, cluster: c}\n",
    "windows lines": "node:\r\n  id: a\r\n  cluster: c\r\n",
    "a directive": "%YAML 1.1\n---\nnode: {id: a, cluster: c}\n",
    "end of document": "---\nnode: {id: a, cluster: c}\n...\n",
    "a second document": "node: {id: a, cluster: c}\n---\nnode: 5\n",
    "anchors": "static_resources:\n  clusters:\n  - name: a\n    connect_timeout: &t 1s\n"
    "  - {name: b, connect_timeout: *t}\n",
    "a key twice": "node: {id: a, cluster: c}\nnode: {id: b, cluster: d}\n",
    "both spellings": "staticResources: {clusters: [{name: a, connectTimeout: 1s, alt_stat_name: b}]}\n",
    "a list of one": "static_resources: {clusters: {name: a}}\n",
    "no list": "static_resources: {clusters: null}\n",
    "no message": "static_resources:\n",
    "free values": "node: {id: a, cluster: c, metadata: {a: 1, b: 1.5, c: yes, d: ~, e: [1, x], f: {g: h}}}\n",
    "a packed message": _socket(f'{{name: any, typed_config: {{"@type": {_RAW}}}}}'),
    "another host in the type": _socket(
        '{name: any, typed_config: {"@type": a.example/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}'
    ),
    "a type at the end": _filter(
        f'{{name: any, typed_config: {{suppress_envoy_headers: true, "@type": {_ROUTER}}}}}'
    ),
    "a typed struct": _struct(_ROUTER),
}
_YAML_BAD = {
    "nothing": "",
    "a comment": "# x\n",
    "an empty document": "---\n---\nnode: {id: a, cluster: c}\n",
    "null": "null\n",
    "a list": "- node: {id: a, cluster: c}\n",
    "text": "hello\n",
    "a tab": "node:\n\tid: a\n",
    "a merge key": "static_resources:\n  clusters:\n  - &c {name: a, connect_timeout: 1s}\n  - {<<: *c, name: b}\n",
    "capitals": "StaticResources: {clusters: [{name: a}]}\n",
    "a list with nothing": "static_resources: {clusters: [null]}\n",
    "an empty message": "static_resources: {clusters: [{}]}\n",
    "a message in a list": "static_resources: [{clusters: [{name: a}]}]\n",
    "text for a message": "static_resources: hello\n",
    "a field's number": "2: {}\n",
    "an unknown field": _cluster("foo: 1"),
    "a list as key": "? [a]\n: b\n",
    "a number for a mapping": "node: {id: a, cluster: c, metadata: 5}\n",
    "two members of a oneof": _cluster("type: STATIC\n    cluster_type: {name: x}"),
    "a type without host": _socket(
        '{name: any, typed_config: {"@type": envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}'
    ),
    "an unknown type": _socket('{name: any, typed_config: {"@type": type.googleapis.com/envoy.foo.Bar}}'),
    "a type that is no transport socket": _socket(
        '{name: any, typed_config: {"@type": type.googleapis.com/envoy.config.core.v3.Address}}'
    ),
    "a type of the second version": _socket(
        '{name: any, typed_config: {"@type": type.googleapis.com/envoy.api.v2.auth.UpstreamTlsContext}}'
    ),
    "no type": _socket("{name: any, typed_config: {}}"),
    "a number as type": _socket('{name: any, typed_config: {"@type": 5}}'),
    "text for a packed message": _socket("{name: any, typed_config: hello}"),
    "the old config": _socket("{name: envoy.transport_sockets.raw_buffer, config: {}}"),
    "an unknown field in a packed message": _socket(
        f'{{name: any, typed_config: {{"@type": {_RAW}, foo: 1}}}}'
    ),
    "a filter by its name": _filter("{name: envoy.filters.http.router}"),
    "an optional unknown filter": _filter(
        '{name: u, is_optional: true, typed_config: {"@type": type.googleapis.com/foo.Bar}}, '
        f'{{name: r, typed_config: {{"@type": {_ROUTER}}}}}'
    ),
    "a typed struct of an unknown type": _struct("type.googleapis.com/foo.Bar"),
    "a typed struct with an unknown field": _struct(_ROUTER, "{foo: true}"),
    "a layer twice": "layered_runtime: {layers: [{name: l, static_layer: {}}, {name: l, static_layer: {}}]}\n",
    "two admin layers": "layered_runtime: {layers: [{name: a, admin_layer: {}}, {name: b, admin_layer: {}}]}\n",
    "a layer without a name": "layered_runtime: {layers: [{static_layer: {}}]}\n",
}


@pytest.mark.parametrize(
    ("text", "loads"),
    [(text, loads) for loads, texts in ((True, _YAML_GOOD), (False, _YAML_BAD)) for text in texts.values()],
    ids=[*_YAML_GOOD, *_YAML_BAD],
)
def test_files_are_taken_and_refused_as_by_envoy(tmp_path: Path, text: str, *, loads: bool) -> None:
    """The forms that a file may have, from the first byte to packed messages."""
    path = tmp_path / "config.yaml"
    path.write_bytes(text.encode())

    assert (envoy_takes(path), fastproxy_takes(path)) == (loads, loads)


_JSON_GOOD = [
    '{"node":{"id":"a","cluster":"c"}}', '{"static_resources":{"clusters":{"name":"a","type":"static"}}}',
    '{"static_resources":{"clusters":[{"name":"a"},]},}',
    '{"static_resources":{"clusters":[{"name":"a","per_connection_buffer_limit_bytes":5e2}]}}',
    '{"node":{"id":"a"},"node":{"id":"b"}}', '{"node":null}', '{"node":{"id":"\\ud83d\\ude00"}}',
    '{"static_resources":{"clusters":[{"name":"a","connect_timeout":{"seconds":1}}]}}',
]  # fmt: skip
_JSON_BAD = [
    '{"node":{"id":5}}', '{"node":{"id":1.5}}', '{"node":{"id":"a"} /* x */}', "", "null", "5",
    "[]", "{} x", "{} {}", '{"node":{"id":"\\ud800"}}', '{"node":{"id":"\\q"}}', "node: {id: a}\n",
    '{"static_resources":{"clusters":[{"name":"a","per_connection_buffer_limit_bytes":4294967296}]}}',
    '{"static_resources":{"clusters":[{"name":"a","per_connection_buffer_limit_bytes":01}]}}',
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "loads"), [(text, text in _JSON_GOOD) for text in [*_JSON_GOOD, *_JSON_BAD]]
)
@pytest.mark.parametrize("suffix", [".json", ".conf"])
def test_any_other_suffix_is_json(tmp_path: Path, suffix: str, text: str, *, loads: bool) -> None:
    """`.conf` files are JSON to Envoy, however much they look like YAML."""
    path = tmp_path / f"config{suffix}"
    path.write_text(text)

    assert (envoy_takes(path), fastproxy_takes(path)) == (loads, loads)


@pytest.mark.parametrize(
    ("merged", "loads"),
    [
        ("static_resources: {clusters: [{name: b}]}", True),
        ("static_resources: {clusters: [{name: a}]}", False),
        ("node: {id: b}", True),
        ("{}", True),
        ("# nothing", False),
        ("null", False),
        ("[]", False),
        ("node: {foo: 1}", False),
        ("{node: {id: b}", False),
        ("layered_runtime: {layers: [{name: l, static_layer: {}}]}", False),
    ],
)
def test_text_on_the_command_line_is_merged_or_refused_as_by_envoy(
    tmp_path: Path, merged: str, *, loads: bool
) -> None:
    """Lists grow: a second cluster of the same name, or a layer, is one too many."""
    path = tmp_path / "config.yaml"
    path.write_text(
        "static_resources: {clusters: [{name: a}]}\nlayered_runtime: {layers: [{name: l, static_layer: {}}]}\n"
    )

    assert (envoy_takes(path, "--config-yaml", merged), fastproxy_takes(path, merged)) == (loads, loads)


_VALUES = [
    "true", "False", "yes", "NO", "on", "off", "y", "N", "tRUE", "10", "-10", "+10", "0x10", "0X1f", "0123", "-0123",
    "0", "089", "null", "~", "", "1.1", ".5", "1e3", "NaN", "1_000", "2020-01-01", "12:30:45", '"5"', "'true'",
    '"null"', "!!str 5", "!!int '5'", "! 5", "5000000000", "0xffffffffff", "9223372036854775808",
    "|\n      lines\n      of text", ">-\n      a\n      b",
    "[1, two, ~]", "{a: {b: c}}", '"\\u00fc\\t"',
]  # fmt: skip


def test_yaml_values_mean_what_they_mean_to_envoy(tmp_path: Path) -> None:
    """`0123` is 83 and `1.1` is text: Envoy's own dump of free-form values says how it has read them."""
    text = "".join(f"    k{index}: {value}\n" for index, value in enumerate(_VALUES))
    path = tmp_path / "values.yaml"
    path.write_text(f"node:\n  id: one\n  cluster: c\n  metadata:\n{text}")

    read = envoy_dump(path)["node"]["metadata"]

    assert _ours(path)["node"]["metadata"] == read
    assert read["k14"] == 83


def test_text_on_the_command_line_gives_the_configuration_that_it_gives_envoy(tmp_path: Path) -> None:
    """Messages merge, lists grow, and everything else is replaced, packed messages whole."""
    path = tmp_path / "base.yaml"
    path.write_text(
        "node: {id: a, cluster: c, metadata: {kept: 1, replaced: 1}, locality: {zone: z}}\n"
        "static_resources:\n  clusters:\n  - {name: a, connect_timeout: 1s}\n"
        "layered_runtime: {layers: [{name: one, static_layer: {a: 1}}]}\n"
    )
    merged = (
        "node: {id: b, metadata: {replaced: 2, new: [1]}, locality: {region: r}}\n"
        "static_resources: {clusters: [{name: b}]}\n"
        "layered_runtime: {layers: {name: two, static_layer: {a: 2}}}\n"
    )

    read = envoy_dump(path, "--config-yaml", merged)
    ours = _ours(path, merged)

    for field in ("id", "cluster", "metadata", "locality"):
        assert ours["node"][field] == read["node"][field]
    assert ours["static_resources"] == read["static_resources"]
    assert ours["layered_runtime"] == read["layered_runtime"]


def _ours(path: Path, config_yaml: str | None = None) -> Any:
    message = Bootstrap()
    message.ParseFromString(load_config(path, config_yaml=config_yaml).bootstrap)
    return MessageToDict(message, preserving_proto_field_name=True)
