"""Rules, routes, filters and the upstream see one and the same path, however it is spelled (S49).

Each of them is a witness here: the rule asks for a token, the route and a filter leave a header, and the upstream shows
the request line. What the upstream gets says what the other three must have seen.
"""

from typing import Any

import pytest

from tests.e2e.conftest import StartFastProxy
from tests.e2e.support.proxies import Config, Ports, RunningProxy
from tests.e2e.support.templates import bootstrap, cluster, forward, jwt_authn, listener, rule, virtual_host
from tests.e2e.support.tokens import ISSUER, EcKey, jwks, standard_claims
from tests.e2e.support.upstream import ScriptedUpstream
from tests.e2e.support.wire import Downstream, encode_request

OPTIONS: dict[str, Config] = {
    "plain": {},
    "normal": {"normalize_path": True, "merge_slashes": True},
    "strict": {
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD",
    },
}
TARGETS = [
    "/guarded/x",
    "/guarded/x?y=/open/",
    "/open/x?y=/guarded/",
    "//guarded/x",
    "/guarded//x",
    "/./guarded/x",
    "/open/../guarded/x",
    "/guarded/../open/x",
    "/open/%2e%2e/guarded/x",
    "/open/%2E./guarded/x",
    "/open/.%2e/.%2e/guarded/x",
    "/open/%252e%252e/guarded/x",
    "/%67uarded/x",
    "/guarded%2Fx",
    "/open%2f..%2fguarded/x",
    "/open%5c..%5cguarded/x",
    "/open/..%2fguarded/x",
    "/open/..%252fguarded/x",
    "/open\\..\\guarded/x",
    "\\guarded\\x",
    "/guarded;a=b/x",
    "/open;/../guarded/x",
    "/open/..;/guarded/x",
    "/guarded/x#/../../open",
    "/guarded/%00",
    "/guarded/.",
    "/guarded/..",
    "/open/../guarded/.",
    "/GUARDED/x",
    "http://one.test/guarded/x",
    "http://one.test/open/../guarded/x",
    "http://one.test",
    "*",
]


class World:
    """The proxy, its upstream, and a token that opens what is guarded."""

    def __init__(self, proxy: RunningProxy, upstream: ScriptedUpstream, token: str) -> None:
        self._proxy = proxy
        self._upstream = upstream
        self._token = token

    def ask(self, options: str, target: str, *, with_token: bool) -> tuple[int, str, str, str]:
        """Status; path, route and path by the filter, as the upstream has them (empty if it was not asked)."""
        self._upstream.take_requests()
        headers = [("authorization", f"Bearer {self._token}")] if with_token else []
        with Downstream(self._proxy.ports[options]) as downstream:
            downstream.send(encode_request("GET", target, *headers, host="one.test"))
            (response,) = downstream.read_responses([b"GET"])
        seen = self._upstream.take_requests()
        if not seen:
            return response.status, "", "", ""
        (one,) = seen
        found = dict(one.headers)
        path = one.request_line.split(b" ")[1].partition(b"?")[0]
        return response.status, path.decode(), found[b"x-route"].decode(), found[b"x-filter"].decode()


@pytest.fixture
def world(start_fastproxy: StartFastProxy, upstream: ScriptedUpstream) -> World:
    """A listener for each set of options."""
    key = EcKey("es")

    def template(ports: Ports) -> Config:
        filters = [_guard(jwks(key.jwk())), _witness()]
        hosts = [virtual_host("one", ["*"], [_route("/guarded"), _route("/")])]
        listeners = [
            listener(name, ports[name], hosts, filters=filters, options=options)
            for name, options in OPTIONS.items()
        ]
        return bootstrap(ports["admin"], listeners, [cluster("echo", upstream.port)])

    proxy = start_fastproxy(template, listeners=tuple(OPTIONS))
    return World(proxy, upstream, key.issue(standard_claims()))


def _guard(key_set: str) -> Config:
    provider: dict[str, Any] = {"issuer": ISSUER, "local_jwks": {"inline_string": key_set}}
    return jwt_authn({"p": provider}, [rule({"prefix": "/guarded"}, "p")])


def _witness() -> Config:
    typed = "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
    path = {"append": {"header": {"key": "x-filter", "value": "%REQ(:path)%"}}}
    return {
        "name": "witness",
        "typed_config": {"@type": typed, "mutations": {"request_mutations": [path]}},
    }


def _route(prefix: str) -> Config:
    header = {"header": {"key": "x-route", "value": prefix}}
    return {**forward({"prefix": prefix}), "request_headers_to_add": [header]}


def test_s49_rule_route_filter_and_upstream_see_one_path(world: World) -> None:
    """A path that is guarded for the upstream is guarded for the rule, in every spelling."""
    forwarded = 0
    for options in OPTIONS:
        for target in TARGETS:
            status, path, route, by_filter = world.ask(options, target, with_token=True)
            if status != 200:
                assert (status, path) in ((400, ""), (404, "")), (options, target, status)
                continue
            forwarded += 1
            is_guarded = path.startswith("/guarded")
            assert route == ("/guarded" if is_guarded else "/"), (options, target, path)
            assert by_filter.partition("?")[0] == path, (options, target, path)
            # Without a token only what the upstream takes for something else may come through.
            status, again, _, _ = world.ask(options, target, with_token=False)
            assert (status, again) == ((401, "") if is_guarded else (200, path)), (options, target, path)
    assert forwarded > len(TARGETS)


SPELLINGS = {
    "/open/%2e%2e/guarded/x": "/guarded/x",
    "//guarded//x": "/guarded/x",
    "/open%2f..%2fguarded/x": "/guarded/x",
    "/open%5c..%5cguarded/x": "/guarded/x",
    "http://one.test/open/../guarded/x": "/guarded/x",
    "/open/%252e%252e/guarded/x": "/open/%252e%252e/guarded/x",
}


def test_s49_every_spelling_is_made_one_first(world: World) -> None:
    """With the options that `docs/headers.md` advises."""
    found = {target: world.ask("strict", target, with_token=True)[:2] for target in SPELLINGS}
    assert found == {target: (200, path) for target, path in SPELLINGS.items()}
