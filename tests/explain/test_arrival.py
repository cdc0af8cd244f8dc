"""Which listener and which filter chain a request comes in by, and which filters an upgrade passes."""

from dataclasses import replace

import pytest

from fastproxy.config.settings import ProxySettings
from fastproxy.explain.arrival import choose_arrival
from fastproxy.explain.asked import BadQuestion, build_request
from fastproxy.explain.keybook import KeyBook
from fastproxy.explain.rehearsal import rehearse
from fastproxy.explain.report import ALLOWED, REFUSED, Report
from fastproxy.explain.session import Wishes, explain
from fastproxy.listener.settings import HttpConnectionManagerSettings
from fastproxy.listener.tls.settings import DownstreamTlsSettings
from tests.config.support import HCM, JWT, ROUTER, load, minimal
from tests.lint.support import LOCAL

_TCP = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_INSPECTOR = "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
_INSPECTS = f'    listener_filters: [{{name: i, typed_config: {{"@type": {_INSPECTOR}}}}}]\n'


def manager(status: int) -> str:
    """A connection manager whose requests are answered with a status."""
    route = f"{{match: {{prefix: /}}, direct_response: {{status: {status}}}}}"
    return (
        f'{{name: hcm, typed_config: {{"@type": {HCM}, stat_prefix: s{status}, http_filters: [{{name: router,'
        f' typed_config: {{"@type": {ROUTER}}}}}], route_config: {{virtual_hosts: [{{name: v, domains: "*",'
        f" require_tls: ALL, routes: [{route}]}}]}}}}}}"
    )


def chains(*, inspects: bool = True, default: bool = False) -> ProxySettings:
    """A listener with a chain for each of three names."""
    last = f"    default_filter_chain: {{filters: [{manager(299)}]}}\n" if default else ""
    text = f"""\
static_resources:
  listeners:
  - name: tls
    address: {{socket_address: {{address: 127.0.0.1, port_value: 8443}}}}
{_INSPECTS if inspects else ""}{last}\
    filter_chains:
    - filter_chain_match: {{server_names: [a.test]}}
      filters: [{manager(201)}]
    - filter_chain_match: {{server_names: ["*.b.test"]}}
      filters: [{manager(202)}]
    - filter_chain_match: {{server_names: [raw.test]}}
      filters: [{{name: t, typed_config: {{"@type": {_TCP}, stat_prefix: t, cluster: backend}}}}]
  clusters: [{{name: backend, type: STATIC, load_assignment: {{cluster_name: backend}}}}]
"""
    return load(text).settings


@pytest.mark.parametrize(
    ("name", "prefix"), [("a.test", "s201"), ("A.Test", "s201"), ("x.b.test", "s202"), ("", "s201")]
)
def test_server_name_says_which_chain_serves_the_connection(name: str, prefix: str) -> None:
    """Exact and wildcard names; without one it is the first that serves HTTP."""
    assert choose_arrival(chains(), "", None, name).http.stat_prefix == prefix


def test_default_chain_serves_the_other_names() -> None:
    """As it does on the wire; and so it does where nobody reads the name."""
    assert choose_arrival(chains(default=True), "", None, "c.test").http.stat_prefix == "s299"
    blind = chains(inspects=False, default=True)
    assert choose_arrival(blind, "", None, "a.test").http.stat_prefix == "s299"


@pytest.mark.parametrize(
    ("name", "inspects", "words"),
    [
        ("c.test", True, "its names are '*.b.test', 'a.test', 'raw.test'"),
        ("a.test", False, "without the listener filter tls_inspector nobody reads the name"),
        ("raw.test", True, "passed on as they are (tcp_proxy)"),
    ],
)
def test_name_that_leads_to_no_request_is_said(name: str, inspects: bool, words: str) -> None:
    """The connection would be cut, or its bytes never read."""
    with pytest.raises(BadQuestion) as caught:
        choose_arrival(chains(inspects=inspects), "", None, name)
    assert words in str(caught.value)


async def test_name_is_the_host_if_no_other_is_said() -> None:
    """A client asks for what it connects to."""
    asked = build_request(token=None, method="GET", path="/", host="", headers=[])
    report = await explain(chains(), asked, Wishes(at=0.0, offline=True, server_name="x.b.test"))
    assert "(host x.b.test)" in report.request
    assert "filter chain 2 of 3" in report.listener


async def test_connection_to_a_chain_that_ends_tls_is_one_over_tls() -> None:
    """Or routes that want TLS would redirect what came by it."""
    plain = choose_arrival(chains(), "", None, "a.test")
    secure = replace(plain, chain=replace(plain.chain, tls=DownstreamTlsSettings(())))
    book = KeyBook(chains(), {}, offline=True)
    raw = b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n"
    assert (await rehearse(plain, raw, book, 0.0)).response.startswith(b"HTTP/1.1 301 ")
    assert (await rehearse(secure, raw, book, 0.0)).response.startswith(b"HTTP/1.1 201 ")


UPGRADES = f"""
upgrade_configs:
- upgrade_type: websocket
  filters:
  - name: open
    typed_config: {{"@type": {JWT}, providers: {{}}, rules: []}}
  - name: router
    typed_config: {{"@type": {ROUTER}}}
- upgrade_type: other
"""
CLOSED = f"""
- name: jwt
  typed_config:
    "@type": {JWT}
    providers:
      idp: {{issuer: https://idp.example, {LOCAL}}}
    rules: [{{match: {{prefix: /}}, requires: {{provider_name: idp}}}}]
"""


async def asked_for(upgrade: str) -> Report:
    """What is said about a request, an upgrade unless `upgrade` is empty."""
    settings = load(minimal(manager=UPGRADES, filters=CLOSED)).settings
    headers = ["connection: upgrade", f"upgrade: {upgrade}"] if upgrade else []
    asked = build_request(token=None, method="GET", path="/", host="", headers=headers)
    return await explain(settings, asked, Wishes(at=0.0, offline=True))


async def test_upgrade_passes_the_filters_that_its_type_has() -> None:
    """And no others: here they want no token."""
    report = await asked_for("WebSocket")
    assert (report.verdict, [one.name for one in report.filters]) == (ALLOWED, ["open"])
    assert report.notes[-1] == 'The filters are those that "websocket" has in upgrade_configs.'


@pytest.mark.parametrize("upgrade", ["", "other"])
async def test_request_without_filters_of_its_own_passes_the_usual_ones(upgrade: str) -> None:
    """Plain requests, and upgrades whose type says nothing about filters."""
    report = await asked_for(upgrade)
    assert (report.verdict, report.status) == (REFUSED, 401)
    assert [one.name for one in report.filters] == ["jwt"]
    assert report.notes == []


async def test_upgrade_that_is_not_allowed_reaches_no_filter() -> None:
    """The usual ones are named, and were not reached."""
    report = await asked_for("unknown")
    assert (report.verdict, report.status) == (REFUSED, 403)
    assert [one.result for one in report.filters] == ["not reached"]


def test_first_chain_that_serves_http_is_found_behind_others() -> None:
    """A listener may begin with a TCP proxy."""
    settings = chains()
    (listener,) = settings.listeners
    assert isinstance(choose_arrival(settings, "tls", None, "").http, HttpConnectionManagerSettings)
    with pytest.raises(BadQuestion, match="there are: 'tls'"):
        choose_arrival(settings, "none", None, "")
    assert choose_arrival(settings, "", listener.port, "").listener is listener
