"""Endpoints from a file: all of it, or nothing with every reason."""

import json
from pathlib import Path

import pytest

from fastproxy.config import ConfigError, LoadOptions, load_config, read_assignments
from fastproxy.upstream.settings import HealthStatus, Locality

TYPE = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"


def address(host: str, port: int = 80) -> dict[str, object]:
    return {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}


def assignment(name: str, *endpoints: dict[str, object], **more: object) -> dict[str, object]:
    return {"@type": TYPE, "cluster_name": name, "endpoints": [{"lb_endpoints": list(endpoints)}], **more}


def content(*resources: object) -> bytes:
    return json.dumps({"version_info": "v", "resources": list(resources)}).encode()


def test_each_cluster_finds_its_own_in_a_file_of_many() -> None:
    """One file may serve many clusters; Envoy wants a file for each."""
    found = read_assignments(
        "eds.json", content(assignment("a", address("10.0.0.1")), assignment("b", address("::1", 81)))
    )
    assert found.problems == ()
    assert {name: [(e.host, e.port) for e in one] for name, one in found.by_name.items()} == {
        "a": [("10.0.0.1", 80)],
        "b": [("::1", 81)],
    }


def test_everything_that_is_said_about_an_endpoint_is_kept() -> None:
    """Weight, priority, locality, health and host name, as in a configuration."""
    entry = {
        "endpoint": {**address("10.0.0.1")["endpoint"], "hostname": "h"},  # type: ignore[dict-item]  # an object
        "load_balancing_weight": 3,
        "health_status": "DRAINING",
        "metadata": {"filter_metadata": {"envoy.lb": {"stage": "x"}}},
    }
    locality = {
        "locality": {"region": "r", "zone": "z"},
        "priority": 1,
        "load_balancing_weight": 9,
        "lb_endpoints": [entry],
    }
    found = read_assignments(
        "eds.json", content({"@type": TYPE, "cluster_name": "a", "endpoints": [locality]})
    )
    (one,) = found.by_name["a"]
    assert one.hostname == "h"
    assert (one.traits.weight, one.traits.priority, one.traits.locality_weight) == (3, 1, 9)
    assert one.traits.locality == Locality("r", "z")
    assert one.traits.health is HealthStatus.DRAINING
    assert json.loads(one.traits.metadata) == {"envoy.lb": {"stage": "x"}}


@pytest.mark.parametrize(
    ("resource", "words"),
    [
        (assignment("b", address("localhost")), "malformed IP address"),
        (assignment("b", address("10.0.0.1", 0)), "must not be 0"),
        (assignment("a"), 'there are two assignments for "a"'),
        (assignment(""), "must not be empty"),
        (assignment("b", nonsense=1), 'unknown field "nonsense"'),
        (assignment("b", policy={"drop_overloads": [{"category": "x"}]}), "not supported by FastProxy"),
        (
            {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "x"},
            "expected envoy.config.end",
        ),
        ({"cluster_name": "b"}, "expected envoy.config.endpoint.v3.ClusterLoadAssignment"),
    ],
)
def test_one_mistake_makes_the_whole_file_unusable(resource: dict[str, object], words: str) -> None:
    """Half of an update would be a state that nobody asked for."""
    found = read_assignments("eds.json", content(assignment("a", address("10.0.0.1")), resource))
    assert found.by_name == {}
    assert any(words in problem.problem for problem in found.problems), found.problems
    assert all(problem.path.startswith("resources[1]") for problem in found.problems)


def test_a_file_that_is_no_response_is_an_error_of_its_own() -> None:
    """Envoy counts it apart: update_failure, not update_rejected."""
    with pytest.raises(ConfigError):
        read_assignments("eds.yaml", b"{")
    assert read_assignments("eds.yaml", b"resources: []").is_empty


def test_whoever_looks_at_a_configuration_looks_at_its_endpoints_too(tmp_path: Path) -> None:
    """`--mode validate`, lint and explain; what may still come is a warning, what is wrong is not."""
    path, main = tmp_path / "eds.json", tmp_path / "main.yaml"
    source = f"{{path_config_source: {{path: {path}}}}}"
    main.write_text(
        "static_resources:\n  clusters:\n  - name: a\n    type: EDS\n"
        f"    eds_cluster_config: {{eds_config: {source}}}\n"
    )
    looks = LoadOptions(requires_node=False, checks_endpoints=True)
    (missing,) = load_config(main, options=looks).warnings
    assert (missing.file, missing.line) == (str(main), 5)
    assert "cannot be read" in missing.problem
    path.write_bytes(content(assignment("b", address("10.0.0.1"))))
    (other,) = load_config(main, options=looks).warnings
    assert 'has no assignment for "a"' in other.problem
    path.write_bytes(content(assignment("a", address("name.example"))))
    with pytest.raises(ConfigError, match="malformed IP address") as caught:
        load_config(main, options=looks)
    assert caught.value.problems[0].file == str(path)
    assert load_config(main, options=LoadOptions(requires_node=False)).warnings == ()
    path.write_bytes(content(assignment("a", address("10.0.0.1"))))
    assert load_config(main, options=looks).warnings == ()
