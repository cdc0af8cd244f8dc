"""Clusters, listeners and routes of files become part of the configuration, or are refused with their line."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from fastproxy.config import (
    ConfigError,
    LoadedConfig,
    LoadOptions,
    ResourceKind,
    config_dump,
    load_config,
    locate,
    schema,
    settings_from_bootstrap,
    update_config,
)
from fastproxy.config.decode import Decoder
from fastproxy.config.dynamic.resources import Resources, ShownResource
from fastproxy.config.problems import ProblemLog
from fastproxy.config.settings import NodeSettings
from fastproxy.config.yaml_text import parse_yaml
from fastproxy.router.settings import ForwardAction

API = "type.googleapis.com/envoy."
HCM = f"{API}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": f"{API}extensions.filters.http.router.v3.Router"},
}
Config = dict[str, Any]


def typed(kind: str, **resource: Any) -> Config:
    return {"@type": f"{API}config.{kind}", **resource}


def a_cluster(name: str, **more: Any) -> Config:
    return typed("cluster.v3.Cluster", name=name, **more)


def table(name: str, to: str, **more: Any) -> Config:
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": to}}]
    hosts = [{"name": "all", "domains": ["*"], "routes": routes}]
    return typed("route.v3.RouteConfiguration", name=name, virtual_hosts=hosts, **more)


class Files:
    """A configuration with all its files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "main.yaml"
        self.main: Config = {
            "node": {"id": "node-1", "cluster": "fleet"},
            "dynamic_resources": {"cds_config": self.source("cds"), "lds_config": self.source("lds")},
        }
        self.put("cds", a_cluster("one"))
        self.put("lds", self.listener("main"))
        self.put("rds", table("t", "one"))

    def source(self, name: str) -> Config:
        return {"path_config_source": {"path": str(self.file(name))}}

    def file(self, name: str) -> Path:
        return self.directory / f"{name}.yaml"

    def put(self, name: str, *resources: Config, version: str = "1") -> None:
        self.file(name).write_text(yaml.safe_dump({"version_info": version, "resources": list(resources)}))

    def listener(self, name: str, port: int = 1000, routes: Config | None = None) -> Config:
        manager = {
            "@type": HCM,
            "stat_prefix": "in",
            "http_filters": [ROUTER],
            **(routes or {"rds": {"route_config_name": "t", "config_source": self.source("rds")}}),
        }
        return typed(
            "listener.v3.Listener",
            name=name,
            address={"socket_address": {"address": "127.0.0.1", "port_value": port}},
            filter_chains=[{"filters": [{"name": "hcm", "typed_config": manager}]}],
        )

    def load(self, **options: Any) -> LoadedConfig:
        self.path.write_text(yaml.safe_dump(self.main))
        return load_config(self.path, options=LoadOptions(**options))

    def problems(self, **options: Any) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.load(**options)
        return [str(problem) for problem in caught.value.problems]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def target(loaded: LoadedConfig) -> str:
    (manager,) = loaded.settings.listeners[0].http_managers()
    action = manager.route_config.virtual_hosts[0].routes[0].action
    assert isinstance(action, ForwardAction)
    return action.cluster


def test_everything_comes_together_and_a_worker_builds_the_same(files: Files) -> None:
    """Workers read no such file: what they hold now may differ from what the other workers use."""
    files.main["static_resources"] = {"clusters": [{"name": "static"}]}
    loaded = files.load()
    assert [one.name for one in loaded.settings.clusters] == ["static", "one"]
    assert target(loaded) == "one"
    for name in ("cds", "lds", "rds"):
        files.file(name).unlink()
    assert settings_from_bootstrap(loaded.bootstrap) == loaded.settings
    assert loaded.resources.cluster_names() == {"one"}
    assert [(one.kind, one.stat_prefix) for one in loaded.resources.sources] == [
        (ResourceKind.CLUSTERS, "cluster_manager.cds."),
        (ResourceKind.LISTENERS, "listener_manager.lds."),
        (ResourceKind.ROUTES, "http.in.rds.t."),
    ]


def test_places_lead_into_the_files(files: Files) -> None:
    """Lint and error messages must name the line where something stands."""
    loaded = files.load()
    path = (
        "static_resources.listeners[0].filter_chains[0].filters[0].typed_config"
        ".route_config.virtual_hosts[0].routes[0].route.cluster"
    )
    place = locate(loaded.places, path)
    lines = files.file("rds").read_text().splitlines()
    assert place.file == str(files.file("rds"))
    assert place.line is not None
    assert "cluster: one" in lines[place.line - 1]
    assert set(loaded.texts) == {str(files.path), *(str(files.file(name)) for name in ("cds", "lds", "rds"))}


def test_problems_of_all_files_come_at_once_with_file_line_and_field(files: Files) -> None:
    """One round of repairs, wherever the mistakes are."""
    files.main["dynamic_resources"]["cds_config"]["path_config_source"]["paht"] = 1
    files.put("cds", a_cluster("one", lb_policy="NONSENSE"), a_cluster("one", connect_timeout="0s"))
    files.put("rds", table("t", "one", vhosts=[]))
    found = files.problems()
    assert any(one.startswith(f"{files.path}:") and "paht" in one for one in found)
    for name, where, words in (
        ("cds", "resources[0].lb_policy", "NONSENSE"),
        ("cds", "resources[1].connect_timeout", "greater"),
        ("cds", "resources[1].name", "duplicate cluster"),
        ("rds", "resources[0].vhosts", "unknown field"),
    ):
        assert any(
            one.startswith(f"{files.file(name)}:") and f": {where}: " in one and words in one for one in found
        ), (where, found)


@pytest.mark.parametrize(
    ("name", "resource", "words"),
    [
        ("cds", typed("listener.v3.Listener", name="a"), "expected envoy.config.cluster.v3.Cluster, found"),
        ("lds", a_cluster("x"), "expected envoy.config.listener.v3.Listener, found"),
        ("rds", a_cluster("t"), "expected envoy.config.route.v3.RouteConfiguration, found"),
        ("rds", table("other", "one"), 'there is no route table "t". It has "other"'),
        ("cds", {"name": "x"}, 'found ""'),
    ],
)
def test_a_file_must_hold_what_it_is_asked_for(files: Files, name: str, resource: Config, words: str) -> None:
    """Otherwise it is the wrong file."""
    files.put(name, resource)
    found = files.problems()
    assert any(one.startswith(f"{files.file(name)}:") and words in one for one in found), found


def test_names_must_be_unique_over_all_files(files: Files) -> None:
    """Which of two would be meant?"""
    files.put("lds", files.listener("main", 1000), files.listener("main", 1001))
    files.main["static_resources"] = {"clusters": [{"name": "one"}]}
    found = "\n".join(files.problems())
    assert 'duplicate listener "main"' in found
    assert 'duplicate cluster "one"' in found
    files.main.pop("static_resources")
    files.put("lds", files.listener("main"))
    files.put("rds", table("t", "one"), table("t", "one"))
    assert any('there are two route tables "t"' in one for one in files.problems())


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"ads": {}}, "resources can come from files only, not from an aggregated stream"),
        (
            {
                "api_config_source": {
                    "api_type": "GRPC",
                    "grpc_services": [{"envoy_grpc": {"cluster_name": "x"}}],
                }
            },
            "resources can come from files only, not from a management server",
        ),
        ({"path_config_source": {"path": "/nowhere/cds.yaml"}}, "cannot be read: No such file or directory"),
        ({"path_config_source": {"path": "/dev/zero"}}, "cannot be read: not a regular file"),
    ],
)
def test_a_source_of_no_use_is_an_error_at_its_line(files: Files, source: Config, words: str) -> None:
    """A proxy that starts without its clusters looks healthy, and is not."""
    for field in ("cds_config", "lds_config"):
        files.main["dynamic_resources"] = {field: source}
        found = files.problems()
        assert any(one.startswith(f"{files.path}:") and words in one for one in found), found


def test_the_deprecated_path_works_with_a_warning(files: Files) -> None:
    """Older files have it."""
    files.main["dynamic_resources"]["cds_config"] = {"path": str(files.file("cds"))}
    assert any("deprecated" in str(one) for one in files.load().warnings)


def test_a_node_with_id_and_cluster_is_needed(files: Files) -> None:
    """As in Envoy; options can give it."""
    files.main["node"] = {"id": "node-1"}
    assert any("node 'id' and 'cluster' are required" in one for one in files.problems())
    assert files.load(node=NodeSettings("", "fleet")).settings.node == NodeSettings("node-1", "fleet")
    assert files.load(requires_node=False).settings.listeners


def test_routes_may_name_clusters_to_come_and_inline_routes_may_not(files: Files) -> None:
    """`validate_clusters` is off for routes from a file, and on for those of a listener, as in Envoy."""
    files.put("rds", table("t", "later"))
    assert target(files.load()) == "later"
    files.put("rds", table("t", "later", validate_clusters=True))
    assert any("unknown cluster 'later'" in one for one in files.problems())
    files.put("lds", files.listener("main", routes={"route_config": {**table("t", "later")}}))
    listener = files.listener("main")
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    del manager["rds"]
    manager["route_config"] = {key: value for key, value in table("t", "later").items() if key != "@type"}
    files.put("lds", listener)
    assert any("unknown cluster 'later'" in one for one in files.problems())


def test_a_listener_in_force_is_not_judged_again_when_a_cluster_goes(files: Files) -> None:
    """As in Envoy: its requests get 503. A listener that changes is judged as it is now."""
    listener = files.listener("main")
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    del manager["rds"]
    manager["route_config"] = {key: value for key, value in table("t", "one").items() if key != "@type"}
    files.put("lds", listener)
    loaded = files.load()
    files.put("cds")
    gone = update_config(loaded, {str(files.file("cds")): files.file("cds").read_bytes()})
    assert gone.settings.clusters == ()
    assert settings_from_bootstrap(gone.bootstrap) == gone.settings
    listener["per_connection_buffer_limit_bytes"] = 5000
    files.put("lds", listener)
    with pytest.raises(ConfigError, match="unknown cluster 'one'"):
        update_config(gone, {str(files.file("lds")): files.file("lds").read_bytes()})


def test_a_reload_of_the_same_file_is_not_refused_because_a_cluster_has_gone(files: Files) -> None:
    """Whoever sends SIGHUP, as log rotation does, has made no mistake; one who has changed the file may have."""
    listener = files.listener("main")
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    del manager["rds"]
    manager["route_config"] = {key: value for key, value in table("t", "one").items() if key != "@type"}
    files.put("lds")
    del listener["@type"]
    files.main["static_resources"] = {"listeners": [listener]}
    loaded = files.load()
    files.put("cds")
    gone = update_config(loaded, {str(files.file("cds")): files.file("cds").read_bytes()})
    again = load_config(files.path, in_force=gone)
    assert again.settings == gone.settings
    for one in (gone, again):
        assert ["the cluster 'one' is gone: its requests get 503" in str(it) for it in one.warnings] == [True]
    with pytest.raises(ConfigError, match="unknown cluster 'one'"):
        load_config(files.path)
    files.main["node"]["cluster"] = "another"
    files.path.write_text(yaml.safe_dump(files.main))
    with pytest.raises(ConfigError, match="unknown cluster 'one'"):
        load_config(files.path, in_force=gone)


def test_an_update_reads_nothing_but_what_it_is_given(files: Files) -> None:
    """A file that is being written must not come in with the change of another."""
    loaded = files.load()
    files.put("cds", a_cluster("half written"))
    files.main["dynamic_resources"] = {}
    files.path.write_text("not: [yaml")
    files.put("rds", table("t", "two"), version="2")
    updated = update_config(loaded, {str(files.file("rds")): files.file("rds").read_bytes()})
    assert [one.name for one in updated.settings.clusters] == ["one"]
    assert target(updated) == "two"
    assert target(loaded) == "one", "the configuration in force is as it was"
    assert updated.resources.files[str(files.file("rds"))].version == "2"


def test_s58_routes_from_a_file_cannot_name_other_files(files: Files) -> None:
    """Whoever may write routes may not therefore have any file of the proxy sent as an answer."""
    routes = table("t", "one")
    body = {"filename": "/etc/passwd"}
    routes["virtual_hosts"][0]["routes"] = [
        {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": body}}
    ]
    files.put("rds", routes)
    found = files.problems()
    assert any(
        "resources[0].virtual_hosts[0].routes[0].direct_response.body.filename" in one for one in found
    )
    assert any("must not name other files" in one for one in found)
    body.clear()
    body["inline_string"] = "hello"
    files.put("rds", routes)
    assert files.load().settings.listeners


def test_unknown_fields_of_resources_can_be_let_pass(files: Files) -> None:
    """`--ignore-unknown-dynamic-fields`; the configuration itself stays strict."""
    files.put("cds", a_cluster("one", newer_than_this=1))
    assert any("newer_than_this" in one for one in files.problems(allow_unknown_fields=True))
    loaded = files.load(allow_unknown_resource_fields=True)
    assert any("newer_than_this" in str(one) for one in loaded.warnings)


def test_a_table_that_nobody_names_is_a_warning_and_an_empty_file_means_404(files: Files) -> None:
    """Both are legal, and rarely meant."""
    files.put("rds", table("t", "one"), table("unused", "one"))
    assert any('nothing names the route table "unused"' in str(one) for one in files.load().warnings)
    files.put("rds")
    loaded = files.load()
    (manager,) = loaded.settings.listeners[0].http_managers()
    assert manager.route_config.virtual_hosts == ()
    assert any("requests get 404" in str(one) for one in loaded.warnings)


def test_the_dump_shows_what_was_written_where(files: Files) -> None:
    """The configuration without the resources, and those with their versions; secrets are hidden in both."""
    body: Config = {
        "@type": f"{API}extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": "a.example",
    }
    body["common_tls_context"] = {"tls_certificates": [{"private_key": {"inline_string": "SECRET"}}]}
    files.put("cds", a_cluster("one"), version="7")
    loaded = files.load()
    dump = {
        one["@type"].rpartition(".")[2]: one
        for one in config_dump(loaded.bootstrap, loaded.resources)["configs"]
    }
    assert "dynamic_resources" in dump["BootstrapConfigDump"]["bootstrap"]
    assert "static_resources" not in dump["BootstrapConfigDump"]["bootstrap"]
    (entry,) = dump["ClustersConfigDump"]["dynamic_active_clusters"]
    assert (entry["version_info"], entry["cluster"]["name"]) == ("7", "one")
    assert dump["ClustersConfigDump"]["version_info"] == "7"
    assert dump["RoutesConfigDump"]["dynamic_route_configs"][0]["route_config"]["name"] == "t"

    socket = {"name": "tls", "typed_config": body}
    cluster = schema.find_message("envoy.config.cluster.v3.Cluster")
    assert cluster is not None
    hidden = Decoder(ProblemLog(), "x")
    message = cluster()
    hidden.message(parse_yaml(yaml.safe_dump({"name": "one", "transport_socket": socket})), message)
    shown = ShownResource(ResourceKind.CLUSTERS, "one", message.SerializeToString(), "1")
    text = str(config_dump(b"", Resources(loaded.resources.sources, loaded.resources.files, (shown,), b"")))
    assert "a.example" in text
    assert "SECRET" not in text
