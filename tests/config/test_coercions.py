"""What a value may look like in the file, field by field: the table of spec/http.md section 2.2."""

import pytest

from fastproxy.upstream.settings import DiscoveryType
from tests.config.support import cluster, load, load_file, minimal, problem, warnings


def first_cluster(extra: str) -> object:
    return load(minimal(clusters=cluster(extra))).settings.clusters[0]


def test_a_single_value_stands_for_a_list_of_one() -> None:
    """`domains: "*"` is how the seed article writes it."""
    settings = load(minimal()).settings

    assert settings.listeners[0].http.route_config.virtual_hosts[0].domains == ("*",)


def test_a_single_mapping_stands_for_a_list_of_one() -> None:
    """Envoy takes `clusters: {name: a}`."""
    settings = load("static_resources: {clusters: {name: a}}").settings

    assert [entry.name for entry in settings.clusters] == ["a"]


@pytest.mark.parametrize(
    "value", ['"8192"', "8192", "0x2000", '"0x2000"', "8192.0", '"8192.0"', "8.192e3", "{value: 8192}"]
)
def test_numbers_may_be_written_as_text_or_as_whole_floats(value: str) -> None:
    """Environment substitution leaves quotes around numbers."""
    text = minimal(clusters=cluster(f"per_connection_buffer_limit_bytes: {value}"))

    assert load(text).settings.clusters[0].buffer_limit_bytes == 8192


@pytest.mark.parametrize("value", ["true", '"true"', '"True"', '"yes"', "on", '"1"', "{value: true}"])
def test_booleans_may_be_written_as_text(value: str) -> None:
    """As Envoy takes them."""
    assert (
        load(minimal(manager=f"use_remote_address: {value}")).settings.listeners[0].http.use_remote_address
        is True
    )


@pytest.mark.parametrize("value", ["STATIC", "static", "Static", "0", '"0"'])
def test_enums_may_be_any_case_or_a_number(value: str) -> None:
    """`type: static` is common."""
    assert load(f"static_resources: {{clusters: [{{name: a, type: {value}}}]}}").settings.clusters[
        0
    ].discovery is (DiscoveryType.STATIC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ('"1.5s"', 1.5),
        ("2s", 2.0),
        ("0.000000001s", 1e-9),
        ("{seconds: 3}", 3.0),
        ('{seconds: "1", nanos: 500000000}', 1.5),
    ],
)
def test_durations_are_text_or_objects(value: str, seconds: float) -> None:
    """The seed article writes `cache_duration: {seconds: 300}`."""
    assert (
        load(minimal(clusters=cluster(f"connect_timeout: {value}"))).settings.clusters[0].connect_timeout_s
        == seconds
    )


@pytest.mark.parametrize(
    "value",
    [
        "5",
        "500ms",
        "1m",
        "-1s",
        "{seconds: -1}",
        "1.5",
        ".5s",
        '"1s "',
        "0.1234567891s",
        "[1s]",
        "true",
        "{minutes: 1}",
    ],
)
def test_other_durations_are_refused_with_their_line(value: str) -> None:
    """`500ms` read as 500 s would be an outage."""
    found = problem(f"static_resources:\n  clusters:\n  - name: a\n    connect_timeout: {value}\n")

    assert (found.line, found.path) == (4, "static_resources.clusters[0].connect_timeout")


def test_unquoted_version_numbers_are_text() -> None:
    """`1.1` must not become 1.1 the float, which a text field refuses."""
    assert load("node: {id: 1.1, cluster: 2020-01-01}").settings.node.id == "1.1"


@pytest.mark.parametrize("value", ["1", "true", "!!str 5", "[a]", "{a: b}"])
def test_numbers_and_booleans_are_no_text(value: str) -> None:
    """Envoy refuses `stat_prefix: 123`; the fix is a pair of quotes, and the message says so."""
    found = problem(f"node:\n  id: {value}\n")

    assert (found.line, found.path) == (2, "node.id")
    assert "expected text" in found.problem


def test_a_number_beyond_32_bits_is_text_where_text_is_wanted() -> None:
    """Envoy hands such numbers on as text, so files with them load."""
    assert load("node: {id: 5000000000}").settings.node.id == "5000000000"


@pytest.mark.parametrize("value", ["null", "~", ""])
def test_null_leaves_a_field_unset(value: str) -> None:
    """Templates leave `connect_timeout:` empty."""
    assert (
        load(minimal(clusters=cluster(f"connect_timeout: {value}"))).settings.clusters[0].connect_timeout_s
        == 5.0
    )


def test_both_spellings_of_a_field_name_are_taken() -> None:
    """The API's documentation uses snake_case, exported configurations camelCase."""
    text = (
        "staticResources: {clusters: [{name: a, connectTimeout: 2s, per_connection_buffer_limit_bytes: 5}]}"
    )
    found = load(text).settings.clusters[0]

    assert (found.connect_timeout_s, found.buffer_limit_bytes) == (2.0, 5)


def test_the_last_of_duplicate_keys_counts_and_a_warning_says_so() -> None:
    """Envoy takes duplicates silently; a copied block then hides the original."""
    text = "node:\n  id: a\n  id: b\n"

    assert load(text).settings.node.id == "b"
    assert warnings(text) == [
        "--config-yaml:3: node.id: the field is given twice. The last one counts; remove the other"
    ]


def test_duplicate_lists_and_messages_replace_and_do_not_merge() -> None:
    """A duplicate that appended would keep a cluster that the operator thinks is gone."""
    settings = load("static_resources: {clusters: [{name: a}], clusters: [{name: b}]}").settings

    assert [entry.name for entry in settings.clusters] == ["b"]


def test_members_of_a_oneof_exclude_each_other() -> None:
    """Taking the last one would silently drop a path condition."""
    found = problem(minimal(routes="- match: {prefix: /a, path: /b}\n  route: {cluster: backend}"))

    assert found.problem == "path and prefix exclude each other"


@pytest.mark.parametrize("value", ["1.5", "true", '"x"', "-1", "4294967296", "1e400", "NaN", "null1"])
def test_what_is_no_integer_in_range_is_refused(value: str) -> None:
    """Wrapping or cutting would turn a large limit into none."""
    found = problem(
        f"static_resources: {{clusters: [{{name: a, per_connection_buffer_limit_bytes: {value}}}]}}"
    )

    assert found.path == "static_resources.clusters[0].per_connection_buffer_limit_bytes"


def test_an_unknown_enum_name_lists_the_known_ones() -> None:
    """And the nearest of them first."""
    found = problem("static_resources: {clusters: [{name: a, type: STRICT_DN}]}")

    assert "STATIC, STRICT_DNS" in found.problem
    assert found.fix == 'Did you mean "STRICT_DNS"?'


def test_an_empty_list_entry_is_refused() -> None:
    """A dash too many would otherwise be an empty cluster."""
    assert "list entry is empty" in problem("static_resources: {clusters: [null]}").problem


def test_merge_keys_are_unknown_fields_that_explain_themselves() -> None:
    """`<<` works in other YAML tools, not in Envoy."""
    found = problem("a: &x {id: b}\nnode: {<<: *x}\n".replace("a: &x {id: b}\n", "admin: &x {}\n"))

    assert "merge keys" in found.fix


def test_bytes_are_base64_in_either_alphabet(tmp_path: object) -> None:
    """protobuf's JSON form."""
    text = minimal(
        routes="- match: {prefix: /}\n  direct_response: {status: 200, body: {inline_bytes: aGk_}}"
    )
    action = load(text).settings.listeners[0].http.route_config.virtual_hosts[0].routes[0].action

    assert getattr(action, "body", None) == b"hi?"


def test_json_files_follow_the_same_rules(tmp_path: object) -> None:
    """The extension picks the parser, the schema is one."""
    from pathlib import Path

    loaded = load_file(
        Path(str(tmp_path)),
        '{"static_resources": {"clusters": {"name": "a", "connectTimeout": "2s", "type": "static"}}}',
        name="config.json",
    )

    assert loaded.settings.clusters[0].connect_timeout_s == 2.0


@pytest.mark.parametrize("text", ["hello", "- a", "5", "~"])
def test_a_file_that_is_no_mapping_is_refused(text: str) -> None:
    """Whatever it is, it is no configuration."""
    assert "expected a mapping" in problem(text).problem


def test_an_empty_mapping_is_a_configuration() -> None:
    """Envoy starts with it."""
    assert load("{}").settings.listeners == ()
