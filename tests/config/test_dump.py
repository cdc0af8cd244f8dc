"""/config_dump: Envoy's shapes, and no secret."""

import json
from pathlib import Path

import pytest

from fastproxy.config import config_dump, load_config
from tests.config.support import TLS, cluster, jwt_filter, load, minimal
from tests.config.test_upstream_tls import make_pair

ROOT = Path(__file__).resolve().parents[2]


def test_the_dump_has_envoy_s_sections() -> None:
    """Tools that read Envoy's dump must read this one."""
    configs = config_dump(load_config(ROOT / "configs" / "envoy-jwt.yaml").bootstrap)["configs"]

    assert [entry["@type"].rpartition(".")[2] for entry in configs] == [
        "BootstrapConfigDump",
        "ClustersConfigDump",
        "ListenersConfigDump",
        "ScopedRoutesConfigDump",
        "RoutesConfigDump",
        "SecretsConfigDump",
    ]
    assert configs[0]["bootstrap"]["static_resources"]["clusters"][0]["connect_timeout"] == "500s"
    assert configs[1]["static_clusters"][1]["cluster"]["name"] == "service_envoyproxy_io"
    assert configs[1]["static_clusters"][0]["cluster"]["@type"].endswith("envoy.config.cluster.v3.Cluster")
    assert configs[2]["static_listeners"][0]["listener"]["address"]["socket_address"]["port_value"] == 8080
    assert configs[4]["static_route_configs"][0]["route_config"]["name"] == "local_route"


def test_the_dump_is_json() -> None:
    """The admin interface sends it as it is."""
    assert json.dumps(config_dump(load(minimal()).bootstrap))


def test_s16_the_dump_shows_no_secret(tmp_path: Path) -> None:
    """Private keys, passwords, HMAC secrets and private JWK members; the admin interface has no login."""
    cert, key = make_pair(tmp_path, b"pass-word")
    key_text = key.read_text().replace("\n", "\\n")
    jwks = json.dumps(
        {
            "keys": [
                {
                    "kty": "oct",
                    "kid": "visible",
                    "alg": "HS256",
                    "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ",
                }
            ]
        }
    )
    text = minimal(
        filters=jwt_filter(f"p: {{local_jwks: {{inline_string: '{jwks}'}}}}"),
        clusters=cluster(
            f"""
transport_socket:
  name: tls
  typed_config:
    "@type": {TLS}
    common_tls_context:
      tls_certificates:
      - certificate_chain: {{filename: {cert}}}
        private_key: {{inline_string: "{key_text}"}}
        password: {{inline_string: pass-word}}
"""
        ),
    )

    dump = json.dumps(config_dump(load(text).bootstrap))

    assert "PRIVATE" not in dump
    assert "pass-word" not in dump
    assert "c2VjcmV0" not in dump
    assert "visible" in dump
    assert str(cert) in dump
    assert dump.count("[redacted]") >= 3


def test_damaged_bytes_are_a_value_error() -> None:
    """The admin interface answers 500 with words then."""
    with pytest.raises(ValueError, match="Bootstrap"):
        config_dump(b"\xff\xff")
