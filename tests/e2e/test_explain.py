"""`fastproxy explain` beside a running proxy: the same answers, the same bytes upstream, the keys in force."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fastproxy.clock import unix_time
from fastproxy.config import load_config
from fastproxy.config.settings import ProxySettings
from fastproxy.explain.cli import explain_command
from fastproxy.explain.session import Wishes, explain
from tests.e2e.conftest import StartFastProxy
from tests.e2e.support.jwt_setup import json_answer
from tests.e2e.support.proxies import Config, Ports, RunningProxy, running_fastproxy
from tests.e2e.support.templates import EVERYTHING_TO_ECHO, bootstrap, cluster, jwt_authn, listener, rule
from tests.e2e.support.upstream import Answer, ScriptedUpstream
from tests.e2e.support.wire import Downstream
from tests.explain.world import SITUATIONS, Situation, Template, remote, token
from tests.jwt.support import ISSUER, public_jwk

REMOTE_KEYS = json.dumps({"keys": [public_jwk("ES256", "r", kid="r1")]}).encode()
_HTML = Answer((b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n<html></html>",))
#: What is made anew for each request.
_OF_THE_MOMENT = {b"x-request-id"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningProxy, ScriptedUpstream, Path]]:
    """The configuration of all situations, in a running proxy."""
    directory = tmp_path_factory.mktemp("explain")
    with ExitStack() as stack:
        upstream = stack.enter_context(ScriptedUpstream())
        keys = stack.enter_context(
            ScriptedUpstream(paths={"/certs": json_answer(REMOTE_KEYS), "/html": _HTML})
        )
        template = Template(upstream.port, keys.port)
        proxy = stack.enter_context(running_fastproxy(template, ("plain", "closed"), directory))
        yield proxy, upstream, directory / "fastproxy.yaml"


@pytest.mark.parametrize("source", ["admin", "fetch"])
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda one: one.name)
async def test_explanation_is_what_the_proxy_does(
    situation: Situation, source: str, served: tuple[RunningProxy, ScriptedUpstream, Path]
) -> None:
    """Status, body, challenge; and to the byte what the upstream gets. Whoever the keys come from."""
    proxy, upstream, config = served
    settings = load_config(config).settings
    if source == "fetch":
        settings = _without_admin(settings)
    report = await explain(settings, situation.asked, Wishes(at=unix_time()))
    upstream.take_requests()
    with Downstream(proxy.ports["plain"]) as downstream:
        downstream.send(situation.asked.encode(b""))
        response = downstream.read_response(situation.asked.method)
    seen = upstream.take_requests()

    if report.upstream is None:
        assert (report.status, report.body.encode()) == (response.status, response.body)
        if "(not shown" not in report.www_authenticate:
            assert report.www_authenticate.encode() == (response.value(b"www-authenticate") or b"")
        assert seen == []
    else:
        (got,) = seen
        assert report.upstream["request_line"] == got.request_line.decode()
        told = {name.encode(): value for name, value in report.upstream["headers"]}
        assert set(told) == {name for name, _ in got.headers}
        for name, value in got.headers:
            if name not in _OF_THE_MOMENT and "(not shown" not in told[name]:
                assert told[name] == value.decode()


def _without_admin(settings: ProxySettings) -> ProxySettings:
    from dataclasses import replace

    return replace(settings, admin=None)


def test_removed_key_is_named_with_its_time(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """The token's kid left the set: the running proxy remembers it, and `explain` asks it."""
    upstream.paths["/certs"] = json_answer(
        json.dumps({"keys": [public_jwk("ES256", "a", kid="old")]}).encode()
    )
    provider: Config = {"issuer": ISSUER, "audiences": ["api"], **remote("echo")}
    configs: list[Config] = []

    def template(ports: Ports) -> Config:
        filters = [jwt_authn({"p": provider}, [rule({"prefix": "/"}, "p")])]
        listeners = [listener("plain", ports["plain"], EVERYTHING_TO_ECHO, filters=filters)]
        configs.append(bootstrap(ports["admin"], listeners, [cluster("echo", upstream.port)]))
        return configs[-1]

    proxy = start_fastproxy(template)
    old, new = token("ES256", name="a", kid="old"), token("ES256", name="b", kid="new")
    assert _status(proxy, old) == 200
    upstream.paths["/certs"] = json_answer(
        json.dumps({"keys": [public_jwk("ES256", "b", kid="new")]}).encode()
    )
    # A kid that it does not know makes the proxy fetch, and the old key is gone.
    assert _status(proxy, new) == 200
    assert _status(proxy, old) == 401
    config = tmp_path / "config.json"
    config.write_text(json.dumps(configs[-1]))

    result = explained(config, old)

    assert result.exit_code == 1, result.output
    assert "The token's kid was removed from the set" in result.output
    assert f"those in force in the proxy at 127.0.0.1:{proxy.ports['admin']}" in result.output
    assert 'kid "new": EC for ES256' in result.output
    assert explained(config, new).exit_code == 0
    page = json.loads(proxy.admin("/jwks")[1])["providers"][0]
    assert [key["kid"] for key in page["removed"]] == ["old"]
    assert "jwks" not in page


def explained(config: Path, token: bytes) -> Result:
    return CliRunner().invoke(explain_command, ["-c", str(config), "--token", "-"], input=token)


def _status(proxy: RunningProxy, token: bytes) -> int:
    with Downstream(proxy.ports["plain"]) as downstream:
        downstream.send(b"GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer " + token + b"\r\n\r\n")
        return downstream.read_response().status
