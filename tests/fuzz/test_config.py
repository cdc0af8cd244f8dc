# Invariant: any text gives a LoadedConfig or a ConfigError, and nothing else, in bounded time.
"""Fuzzing of the configuration loader, with plain noise, with YAML-like noise and with damaged real files."""

import asyncio
import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastproxy.config import ConfigError, LoadedConfig, config_dump, load_config, settings_from_bootstrap
from fastproxy.config.json_text import parse_json
from fastproxy.config.nodes import SyntaxProblem
from fastproxy.config.yaml_text import parse_yaml
from fastproxy.runtime import AccessLogFiles, Runtime

ROOT = Path(__file__).resolve().parents[2]
ARTICLE = (ROOT / "configs" / "envoy-jwt.yaml").read_text(encoding="utf-8")
LINES = ARTICLE.splitlines()

# Damaged files name files at random; none of them may be read, and none exists.
quiet = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])

words = st.sampled_from(
    [
        "static_resources", "clusters", "listeners", "name", "type", "connect_timeout", "node", "id", "admin",
        "layered_runtime", "layers", "static_layer", "fastproxy", "typed_config", '"@type"', "null", "true", "5", "1s",
        "{}", "[]", "&a", "*a", "<<", ": ", "- ", "\n", "\n  ", "\n    ", "{", "}", "[", "]", ",", '"', "'", "|", ">",
        "type.googleapis.com/google.protobuf.Struct", "type.googleapis.com/google.protobuf.Any", "a", "\t", "#",
        "---\n", "!!str ",
        "type.googleapis.com/envoy.config.cluster.v3.Cluster", "0x10", "-", "\u2028", "\x00", "\ud800",
    ]
)  # fmt: skip

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["1s", "STATIC", "::1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def describe(error: ConfigError) -> None:
    """An error without words helps nobody."""
    assert error.problems
    assert str(error)


def check(text: str) -> None:
    try:
        loaded = load_config(None, config_yaml=text)
    except ConfigError as exc:
        describe(exc)
        return
    assert isinstance(loaded, LoadedConfig)
    settings_from_bootstrap(loaded.bootstrap)
    config_dump(loaded.bootstrap)


@quiet
@given(st.text())
def test_any_text_loads_or_is_a_config_error(text: str) -> None:
    """Noise."""
    check(text)


@quiet
@given(st.lists(words, max_size=40).map("".join))
def test_any_mixture_of_configuration_words_loads_or_is_a_config_error(text: str) -> None:
    """Noise that gets past the YAML parser."""
    check(text)


@quiet
@given(st.data())
def test_a_damaged_file_loads_or_is_a_config_error(data: st.DataObject) -> None:
    """One value or line of a real file replaced: the damage reaches deep into the builders."""
    lines = list(LINES)
    for _ in range(data.draw(st.integers(1, 3))):
        index = data.draw(st.integers(0, len(lines) - 1))
        head, colon, _ = lines[index].partition(":")
        replacement = data.draw(
            st.sampled_from(
                ["", " {}", " []", " null", " 5", " -1", " a", ' "*"', " [a, b]", " {a: b}", " true"]
            )
        )
        lines[index] = head + colon + replacement if data.draw(st.booleans()) else ""
    check("\n".join(lines))


CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
#: What people write where something else belongs, and the ends of every range.
ODD_VALUES: tuple[Any, ...] = (
    None, True, 0, 1, -1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**64 - 1, 10**30, "", "x", "-1", "nan", "inf", "1e308",
    "0s", "0.000000001s", "315576000000s", "9223372036854775807s", "-1s", "\x00", "é☃", "a\r\nb", "%", "%REQ(x)%", "(",
    "*", "\\1", "/dev/null", "a" * 70_000, [], {}, ["a", "a"], {"a": 1}, {"numerator": 5},
)  # fmt: skip


def _nodes(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    members = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in members:
        yield (*path, key)
        yield from _nodes(value, (*path, key))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_changed_node_of_any_example_is_served_or_says_where_it_is_wrong(
    path: Path, data: st.DataObject, started_in: Path
) -> None:
    """One node of a good file deleted, doubled, or replaced by what does not belong there."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    *way, last = data.draw(st.sampled_from(list(_nodes(document))))
    parent = document
    for key in way:
        parent = parent[key]
    change = data.draw(st.sampled_from(["delete", "double", *ODD_VALUES]))
    if change == "delete":
        del parent[last]
    elif change == "double" and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[last]))
    else:
        parent[last] = copy.deepcopy(change)
    with contextlib.chdir(started_in):
        try:
            loaded = load_config(None, config_yaml=yaml.safe_dump(document))
        except ConfigError as error:
            describe(error)
            return
        asyncio.run(_build(loaded))


async def _build(loaded: LoadedConfig) -> None:
    """What a worker does with the file before it listens: nothing that loads may fail there."""
    log_files = AccessLogFiles(asyncio.get_running_loop())
    Runtime(1, settings_from_bootstrap(loaded.bootstrap), log_files=log_files, ask=lambda _source: None)
    log_files.retain(())


@quiet
@given(
    st.dictionaries(
        st.sampled_from(["node", "admin", "static_resources", "layered_runtime", "stats_config"]), values
    )
)
def test_any_value_for_a_known_field_loads_or_is_a_config_error(document: dict[str, object]) -> None:
    """The right names with anything behind them, as JSON, which is YAML, too."""
    import json

    check(json.dumps(document))


@quiet
@given(st.binary(max_size=200), st.sampled_from([".yaml", ".json", ".yml", ""]))
def test_any_bytes_in_a_file_load_or_are_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    """What stands on a disk need not be text."""
    path = tmp_path_factory.mktemp("fuzz") / f"config{suffix}"
    path.write_bytes(content)
    try:
        load_config(path)
    except ConfigError as exc:
        describe(exc)


@quiet
@given(
    st.text(
        alphabet=st.characters(codec="utf-8") | st.sampled_from('{}[]:,"\\ \n0123456789eE+-.truefalsn'),
        max_size=60,
    )
)
def test_both_parsers_give_nodes_or_a_syntax_problem(text: str) -> None:
    """The parsers on their own."""
    for parse in (parse_yaml, parse_json):
        try:
            parse(text)
        except SyntaxProblem:
            continue
