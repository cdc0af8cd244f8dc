"""The configuration of `world`, written out, with a key server that lives as long as the tests."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastproxy.config import load_config
from fastproxy.config.settings import ProxySettings
from tests.e2e.support.jwt_setup import json_answer
from tests.e2e.support.proxies import free_ports, write_config
from tests.e2e.support.upstream import Answer, ScriptedUpstream
from tests.explain.world import Template
from tests.jwt.support import public_jwk

REMOTE_KEYS = json.dumps({"keys": [public_jwk("ES256", "r", kid="r1")]}).encode()
_HTML = Answer((b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 13\r\n\r\n<html></html>",))


@pytest.fixture(scope="session")
def key_server() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(paths={"/certs": json_answer(REMOTE_KEYS), "/html": _HTML}) as server:
        yield server


@pytest.fixture(scope="session")
def config_file(key_server: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Path:
    ports = free_ports("plain", "admin", "closed")
    template = Template(upstream=ports["closed"], keys=key_server.port)
    return write_config(template(ports), tmp_path_factory.mktemp("explain") / "config.yaml")


@pytest.fixture(scope="session")
def settings(config_file: Path) -> ProxySettings:
    return load_config(config_file).settings
