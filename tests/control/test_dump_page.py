"""Parts of /config_dump, chosen as Envoy chooses them."""

from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from fastproxy.control.admin.dump_page import UnknownResource, choose_parts
from fastproxy.control.admin.process_pages import runtime_json
from fastproxy.control.admin.replies import BadAdminRequest

_LAYERS = [
    {"name": "base", "static_layer": {"a": {"b": 1.0, "c": True}, "d": "x"}},
    {"name": "over", "static_layer": {"a": {"b": 2.5}}},
]


def _dump() -> dict[str, Any]:
    return {
        "configs": [
            {
                "@type": "BootstrapConfigDump",
                "bootstrap": {"node": {"id": "i", "cluster": "c"}, "layered_runtime": {"layers": _LAYERS}},
            },
            {
                "@type": "ClustersConfigDump",
                "static_clusters": [
                    {"cluster": {"@type": "Cluster", "name": "one", "type": "STATIC"}},
                    {"cluster": {"@type": "Cluster", "name": "two"}},
                ],
            },
            {"@type": "ListenersConfigDump", "static_listeners": [{"listener": {"name": "l"}}]},
        ]
    }


def _choose(query: str) -> dict[str, Any]:
    return choose_parts(make_mocked_request("GET", f"/config_dump?{query}"), _dump())


@pytest.mark.parametrize("query", ["", "mask=", "resource="])
def test_without_a_choice_all_of_it_is_shown(query: str) -> None:
    """Also where a script leaves a parameter empty."""
    assert _choose(query) == _dump()


def test_a_resource_is_its_list_of_entries() -> None:
    """One list of one part; a list that is not there is empty, and a name that Envoy does not know is an error."""
    assert [one["cluster"]["name"] for one in _choose("resource=static_clusters")["configs"]] == [
        "one",
        "two",
    ]
    assert _choose("resource=dynamic_listeners") == {}
    with pytest.raises(UnknownResource, match="foo not found in config dump"):
        _choose("resource=foo")
    with pytest.raises(BadAdminRequest, match=r"bootstrap is not a repeated field. Use \?mask=bootstrap"):
        _choose("resource=bootstrap")


def test_a_mask_keeps_fields_and_types() -> None:
    """Over the parts, or over the entries of a resource."""
    assert _choose("mask=bootstrap.node.id,bootstrap.node.cluster") == {
        "configs": [{"@type": "BootstrapConfigDump", "bootstrap": {"node": {"id": "i", "cluster": "c"}}}]
    }
    assert _choose("resource=static_clusters&mask=cluster.name")["configs"] == [
        {"cluster": {"@type": "Cluster", "name": "one"}},
        {"cluster": {"@type": "Cluster", "name": "two"}},
    ]
    assert [one["@type"] for one in _choose("mask=static_listeners")["configs"]] == ["ListenersConfigDump"]


@pytest.mark.parametrize("mask", ["foo", "static_listeners.listener.name"])
def test_a_mask_that_fits_nothing_is_an_error(mask: str) -> None:
    """A list is not looked into, as in Envoy: choose it as a resource."""
    with pytest.raises(BadAdminRequest, match=f"FieldMask {mask} could not be successfully applied"):
        _choose(f"mask={mask}")


def test_names_are_searched_by_a_regular_expression() -> None:
    """In every list, or in that of a resource."""
    found = _choose("name_regex=^tw")["configs"]
    assert [one["cluster"]["name"] for one in found[1]["static_clusters"]] == ["two"]
    assert found[2]["static_listeners"] == []
    assert found[0]["bootstrap"]["node"]["id"] == "i"
    assert _choose("resource=static_clusters&name_regex=zz") == {}
    with pytest.raises(BadAdminRequest, match="Error while parsing name_regex"):
        _choose("name_regex=(")


def test_runtime_keys_are_flat_and_the_last_layer_that_has_one_counts() -> None:
    """As Envoy's /runtime shows them."""
    assert runtime_json(_dump()) == {
        "layers": ["base", "over"],
        "entries": {
            "a.b": {"layer_values": ["1", "2.5"], "final_value": "2.5"},
            "a.c": {"layer_values": ["true", ""], "final_value": "true"},
            "d": {"layer_values": ["x", ""], "final_value": "x"},
        },
    }
