"""Every piece of YAML in the documentation is one that a reader pastes: it must load where it belongs."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fastproxy.config import load_config

ROOT = Path(__file__).resolve().parent.parent
_BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
_TYPE = "type.googleapis.com/envoy.extensions.filters"
#: Where the documentation keeps a key set; the test puts one there.
_KEYS = "/etc/fastproxy/keys.pem"
_JWT = "envoy.filters.http.jwt_authn"

Document = dict[str, Any]

#: Message in a file of resources -> the configuration that follows such a file.
_FOLLOWED: Document = {
    "Cluster": {
        "dynamic_resources": {"cds_config": {"path_config_source": {"path": "/etc/fastproxy/clusters.yaml"}}}
    },
    "ClusterLoadAssignment": {
        "clusters": [
            {
                "name": "api",
                "type": "EDS",
                "eds_cluster_config": {
                    "service_name": "api-blue",
                    "eds_config": {"path_config_source": {"path": "/etc/fastproxy/endpoints.yaml"}},
                },
            }
        ]
    },
}

_DISCOVERED: Document = {"issuer": "https://login.example.com/realms/main", "audiences": ["api"]}


def _blocks() -> list[Any]:
    """Each block with its page and line; those of docs/lint.md are what not to do, and tested with their rules."""
    found = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        if page.name == "lint.md":
            continue
        text = page.read_text(encoding="utf-8")
        for block in _BLOCK.finditer(text):
            line = text.count("\n", 0, block.start()) + 1
            found.append(pytest.param(block.group(1), id=f"{page.name}:{line}"))
    return found


def _cluster(name: str) -> Document:
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}}}}
    assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": name, "type": "STRICT_DNS", "load_assignment": assignment}


class _File:
    """A small file with a place for whatever the documentation speaks of."""

    def __init__(self) -> None:
        self.provider: Document = {
            "issuer": "https://i.example",
            "audiences": ["api"],
            "local_jwks": {"filename": _KEYS},
        }
        self.jwt: Document = {
            "@type": f"{_TYPE}.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"p": self.provider, "provider_funnel": self.provider, "corporate": _DISCOVERED},
            "requirement_map": {"staff_admin": {"provider_name": "p"}},
        }
        self.route: Document = {"match": {"prefix": "/"}, "route": {"cluster": "service"}}
        self.virtual_host: Document = {"name": "v", "domains": ["*"], "routes": [self.route]}
        self.http_filters: list[Document] = [
            {"name": "cors", "typed_config": {"@type": f"{_TYPE}.http.cors.v3.Cors"}},
            {"name": _JWT, "typed_config": self.jwt},
            {"name": "router", "typed_config": {"@type": f"{_TYPE}.http.router.v3.Router"}},
        ]
        self.manager: Document = {
            "@type": f"{_TYPE}.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "s",
            "route_config": {"name": "r", "virtual_hosts": [self.virtual_host]},
            "http_filters": self.http_filters,
        }
        self.clusters = {name: _cluster(name) for name in ("service", "files", "acme", "login", "database")}
        self.runtime: Document = {}
        self.top: Document = {"node": {"id": "proxy-1", "cluster": "edge"}}

    def paste(self, piece: Any) -> None:
        """Put a piece where its keys belong."""
        if isinstance(piece, list):
            for entry in piece:
                self._paste_entry(entry)
            return
        if "match" in piece:
            self.virtual_host["routes"].insert(0, piece)
            return
        for key, value in piece.items():
            if key.startswith("fastproxy."):
                self.runtime[key] = value
            elif key == "http_filters":
                self.paste(value)
            elif key == "clusters":
                for cluster in value:
                    self.clusters.setdefault(cluster["name"], {}).update(cluster)
            elif key == "providers":
                self.jwt["providers"].update(value)
            else:
                self._place_of(key)[key] = value

    def _paste_entry(self, entry: Document) -> None:
        if "match" in entry:
            self.virtual_host["routes"].insert(0, entry)
            return
        kept = [one for one in self.http_filters if one["name"] != entry["name"]]
        self.http_filters[:] = [entry, *kept]

    def _place_of(self, key: str) -> Document:
        places: dict[str, Document] = {
            "admin": self.top,
            "cluster_manager": self.top,
            "dynamic_resources": self.top,
            "layered_runtime": self.top,
            "node": self.top,
            "typed_dns_resolver_config": self.clusters["service"],
            "load_assignment": self.clusters["service"],
            "lb_subset_config": self.clusters["service"],
            "preconnect_policy": self.clusters["service"],
            "transport_socket": self.clusters["service"],
            "hash_policy": self.route["route"],
            "route": self.route,
            "routes": self.virtual_host,
            "virtual_clusters": self.virtual_host,
            "typed_per_filter_config": self.route,
            "response_headers_to_add": self.route,
            "response_headers_to_remove": self.route,
            "header_key_format": self.manager.setdefault("http_protocol_options", {}),
            "local_reply_config": self.manager,
            "upgrade_configs": self.manager,
            "access_log": self.manager,
            "route_config": self.manager,
            "rules": self.jwt,
            "local_jwks": self.provider,
        }
        assert key in places, f"say in this test where `{key}` belongs"
        return places[key]

    def write(self) -> str:
        """The file as YAML."""
        if self.runtime:
            self.top["layered_runtime"] = {"layers": [{"name": "l", "static_layer": self.runtime}]}
        address = {"socket_address": {"address": "127.0.0.1", "port_value": 1}}
        network = {"name": "hcm", "typed_config": self.manager}
        listener = {"name": "l", "address": address, "filter_chains": [{"filters": [network]}]}
        resources = {"listeners": [listener], "clusters": list(self.clusters.values())}
        # Without anchors: what stands in two places is written twice.
        return yaml.safe_dump(copy.deepcopy({**self.top, "static_resources": resources}))


@pytest.mark.parametrize("block", _blocks())
def test_a_block_of_yaml_loads_where_it_belongs(block: str, tmp_path: Path) -> None:
    """A snippet that is refused costs its reader more time than none."""
    keys = tmp_path / "keys.pem"
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    keys.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    token = tmp_path / "token"
    token.write_text("secret")
    resources = tmp_path / "resources.yaml"
    resources.write_text("resources: []")
    made = _File()
    piece = yaml.safe_load(block)

    if "resources" in piece:
        # A file of its own, named by the configuration.
        resources.write_text(block)
        piece = _FOLLOWED[piece["resources"][0]["@type"].rpartition(".")[2]]
    made.paste(piece)

    text = made.write().replace(_KEYS, str(keys)).replace("/var/run/secrets/keys/token", str(token))
    text = re.sub(r"/etc/fastproxy/(clusters|endpoints|listeners)\.yaml", str(resources), text)
    load_config(None, config_yaml=text.replace("/var/lib/fastproxy/keys", str(tmp_path)))


def test_there_are_blocks_to_test() -> None:
    """A change of the pages' style must not turn the test above into none."""
    assert len(_blocks()) > 20
