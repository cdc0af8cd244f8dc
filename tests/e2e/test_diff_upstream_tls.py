"""TLS towards upstreams: the same certificates accepted, the same refused, by both proxies; and renewed under way."""

import http.client
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fastproxy.tls.certificates import spki_hash
from tests.conftest import require_peer
from tests.e2e.conftest import StartFastProxy
from tests.e2e.support.proxies import (
    Config,
    ConfigTemplate,
    Ports,
    RunningProxy,
    running_envoy,
    running_fastproxy,
)
from tests.e2e.support.templates import bootstrap, cluster, forward, listener, virtual_host
from tests.e2e.support.tls_upstream import TlsUpstream
from tests.tls.pki import Authority

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"

_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


class World:
    """Authorities, certificates, and what is asked of them: cluster name -> upstream, TLS context, status."""

    def __init__(self, folder: Path) -> None:
        self.ca, self.other = Authority("ca"), Authority("other")
        self.folder = folder
        self.good = self.ca.issue("up.test", "*.wild.test", uri=("spiffe://test/up",), ip=("192.0.2.1",))
        self.expired = self.ca.issue("up.test", days=-1)
        self.client = self.ca.issue("client.test", subject=(("CN", "billing"),))
        (folder / "ca.pem").write_bytes(self.ca.pem)
        (folder / "other.pem").write_bytes(self.other.pem)
        (folder / "crl.pem").write_bytes(self.ca.revoke(self.good))
        self.client.write(folder, "client")

    def trust(self, name: str = "ca", **more: Any) -> Config:
        return {"trusted_ca": {"filename": str(self.folder / f"{name}.pem")}, **more}

    def own(self) -> Config:
        return {
            "certificate_chain": {"filename": str(self.folder / "client.pem")},
            "private_key": {"filename": str(self.folder / "client.key")},
        }

    def cases(self) -> dict[str, tuple[str, Config, int]]:
        """Name -> upstream, `UpstreamTlsContext`, the status that both answer."""

        def san(kind: str, **matcher: str) -> Config:
            return self.trust(match_typed_subject_alt_names=[{"san_type": kind, "matcher": matcher}])

        def context(validation: Config, sni: str = "up.test", **common: Any) -> Config:
            return {"sni": sni, "common_tls_context": {"validation_context": validation, **common}}

        spki = spki_hash(self.good.der)
        return {
            "trusted": ("good", context(self.trust()), 200),
            "foreign": ("good", context(self.trust("other")), 503),
            "expired": ("expired", context(self.trust()), 503),
            "expired-allowed": ("expired", context(self.trust(allow_expired_certificate=True)), 200),
            "untrusted-allowed": (
                "expired",
                context(self.trust("other", trust_chain_verification="ACCEPT_UNTRUSTED")),
                200,
            ),
            "dns": ("good", context(san("DNS", exact="up.test")), 200),
            "dns-wildcard": ("good", context(san("DNS", exact="a.wild.test")), 200),
            "dns-wrong": ("good", context(san("DNS", exact="down.test")), 503),
            "dns-suffix": ("good", context(san("DNS", suffix=".test")), 200),
            "uri": ("good", context(san("URI", prefix="spiffe://test/")), 200),
            "uri-wrong": ("good", context(san("URI", exact="spiffe://test/down")), 503),
            "ip": ("good", context(san("IP_ADDRESS", exact="192.0.2.1")), 200),
            "email-missing": ("good", context(san("EMAIL", exact="a@test")), 503),
            "hash": ("good", context(self.trust(verify_certificate_hash=[self.good.sha256])), 200),
            "hash-wrong": ("good", context(self.trust(verify_certificate_hash=["ab" * 32])), 503),
            "spki-alone": ("good", context({"verify_certificate_spki": [spki]}), 200),
            "spki-alone-wrong": ("expired", context({"verify_certificate_spki": [spki]}), 503),
            "revoked": ("good", context(self.trust(crl={"filename": str(self.folder / "crl.pem")})), 503),
            "client": ("asks", context(self.trust(), tls_certificates=[self.own()]), 200),
            "client-missing": ("asks", context(self.trust()), 503),
            "secret": (
                "asks",
                {
                    "sni": "up.test",
                    "common_tls_context": {
                        "tls_certificate_sds_secret_configs": [{"name": "own"}],
                        "validation_context_sds_secret_config": {"name": "trust"},
                    },
                },
                200,
            ),
            "own-san": ("good", {**context(self.trust()), "auto_sni_san_validation": True}, 200),
            "own-san-wrong": (
                "good",
                {**context(self.trust(), sni="down.test"), "auto_sni_san_validation": True},
                503,
            ),
        }

    def named(self) -> dict[str, tuple[str, Config, Config, int]]:
        """Name -> host of the request, `UpstreamTlsContext`, `upstream_http_protocol_options`, status."""
        context = {"common_tls_context": {"validation_context": self.trust()}}
        fixed = {**context, "sni": "fixed.test"}
        verified = {"auto_sni": True, "auto_san_validation": True}
        return {
            "auto": ("up.test:80", fixed, {"auto_sni": True}, 200),
            "auto-other": ("Other.Test", fixed, {"auto_sni": True}, 200),
            "auto-verified": ("a.wild.test", context, verified, 200),
            "auto-refused": ("down.test", context, verified, 503),
            "auto-header": (
                "up.test",
                context,
                {"auto_sni": True, "override_auto_sni_header": "x-name"},
                200,
            ),
        }

    def template(self, ports_of: dict[str, int]) -> ConfigTemplate:
        cases = self.cases()

        def template(ports: Ports) -> Config:
            clusters = []
            for name, (upstream, context, _) in cases.items():
                made = cluster(name, ports_of[upstream])
                made["transport_socket"] = {"name": "tls", "typed_config": {"@type": _TLS, **context}}
                clusters.append(made)
            for name, (_, context, options, _) in self.named().items():
                made = cluster(name, ports_of["good"])
                made["transport_socket"] = {"name": "tls", "typed_config": {"@type": _TLS, **context}}
                made["typed_extension_protocol_options"] = {
                    _HTTP: {
                        "@type": f"type.googleapis.com/{_HTTP}",
                        "upstream_http_protocol_options": options,
                        "explicit_http_config": {"http_protocol_options": {}},
                    }
                }
                clusters.append(made)
            routes = [forward({"path": f"/{name}"}, name) for name in (*cases, *self.named())]
            config = bootstrap(
                ports["admin"],
                [listener("plain", ports["plain"], [virtual_host("all", ["*"], routes)])],
                clusters,
            )
            config["static_resources"]["secrets"] = [
                {"name": "own", "tls_certificate": self.own()},
                {"name": "trust", "validation_context": self.trust()},
            ]
            return config

        return template


@dataclass(frozen=True, slots=True)
class TlsPair:
    """Both proxies, and the upstreams behind them."""

    upstreams: dict[str, TlsUpstream]
    envoy: RunningProxy
    fastproxy: RunningProxy


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def pair(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsPair]:
    """Both proxies over the cases of the world."""
    require_peer("envoy")
    directory = tmp_path_factory.mktemp("upstream-tls")
    with ExitStack() as stack:
        upstreams = {
            "good": stack.enter_context(TlsUpstream(world.good)),
            "expired": stack.enter_context(TlsUpstream(world.expired)),
            "asks": stack.enter_context(TlsUpstream(world.good, ask=world.ca)),
        }
        template = world.template({name: one.port for name, one in upstreams.items()})
        yield TlsPair(
            upstreams,
            stack.enter_context(running_envoy(template, ("plain",), directory)),
            stack.enter_context(running_fastproxy(template, ("plain",), directory)),
        )


def ask(proxy: RunningProxy, path: str, host: str = "h") -> tuple[int, bytes]:
    """Status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.ports["plain"], timeout=20)
    try:
        connection.request("GET", path, headers={"host": host})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_the_same_certificates_are_accepted(pair: TlsPair, world: World) -> None:
    """And what is refused gets no byte of a request from FastProxy."""
    for name, (upstream, _, status) in world.cases().items():
        before = pair.upstreams[upstream].requests
        envoy, fastproxy = ask(pair.envoy, f"/{name}"), ask(pair.fastproxy, f"/{name}")
        assert (envoy[0], fastproxy[0]) == (status, status), name
        if status == 200:
            assert envoy[1] == fastproxy[1], name
        else:
            assert pair.upstreams[upstream].requests == before, name


def test_the_host_of_a_request_is_the_name_that_is_sent(pair: TlsPair, world: World) -> None:
    """`auto_sni` and its neighbours; connections with one name are not used for another."""
    for name, (host, _, _, status) in world.named().items():
        envoy, fastproxy = ask(pair.envoy, f"/{name}", host), ask(pair.fastproxy, f"/{name}", host)
        assert (envoy[0], fastproxy[0]) == (status, status), name
        if status == 200:
            assert envoy[1].lower() == fastproxy[1], name
    for host in ("one.test", "two.test", "one.test"):
        assert ask(pair.fastproxy, "/auto", host)[1] == f"sni={host} peer=".encode()
    shown = pair.fastproxy.admin("/stats?filter=cluster.auto.upstream_cx_total")[1]
    assert shown.split() == ["cluster.auto.upstream_cx_total:", "3"]


def test_handshakes_are_counted_by_their_end(pair: TlsPair, world: World) -> None:
    """By Envoy's names."""
    for name in ("dns-wrong", "hash-wrong", "expired", "trusted"):
        ask(pair.fastproxy, f"/{name}")
    stats = dict(
        line.rsplit(": ", 1)
        for line in pair.fastproxy.admin("/stats?filter=ssl")[1].splitlines()
        if ": " in line
    )
    assert int(stats["cluster.dns-wrong.ssl.fail_verify_san"]) > 0
    assert int(stats["cluster.hash-wrong.ssl.fail_verify_cert_hash"]) > 0
    assert int(stats["cluster.expired.ssl.fail_verify_error"]) > 0
    assert int(stats["cluster.trusted.ssl.handshake"]) > 0


def _renewable(world: World, port: int) -> ConfigTemplate:
    def template(ports: Ports) -> Config:
        made = cluster("up", port)
        context = {
            "sni": "up.test",
            "common_tls_context": {"validation_context": world.trust(), "tls_certificates": [world.own()]},
        }
        made["transport_socket"] = {"name": "tls", "typed_config": {"@type": _TLS, **context}}
        made["health_checks"] = [
            {
                "timeout": "5s",
                "interval": "0.1s",
                "no_traffic_interval": "0.1s",
                "unhealthy_threshold": 1,
                "healthy_threshold": 1,
                "reuse_connection": False,
                "http_health_check": {"path": "/"},
            }
        ]
        routes = [forward({"prefix": "/"}, "up")]
        return bootstrap(
            ports["admin"], [listener("plain", ports["plain"], [virtual_host("all", ["*"], routes)])], [made]
        )

    return template


def _until(proxy: RunningProxy, wanted: tuple[int, bytes]) -> None:
    proxy.wait_until(lambda: ask(proxy, "/") == wanted)


def _until_flags(proxy: RunningProxy, wanted: str) -> None:
    """Health checks go by the same certificates."""
    proxy.wait_until(lambda: f"health_flags::{wanted}" in proxy.admin("/clusters")[1])


def test_renewed_client_certificates_and_authorities_are_followed(
    start_fastproxy: StartFastProxy, tmp_path: Path
) -> None:
    """An upstream whose authority changes, and a client certificate that is renewed: no restart, no reload."""
    world = World(tmp_path)
    with TlsUpstream(world.good, ask=world.ca, closes=True) as upstream:
        proxy = start_fastproxy(_renewable(world, upstream.port))
        assert ask(proxy, "/") == (200, b"sni=up.test peer=billing")

        world.ca.issue("client.test", subject=(("CN", "renewed"),)).write(tmp_path, "client")
        _until(proxy, (200, b"sni=up.test peer=renewed"))

        upstream.show(world.other.issue("up.test"))
        assert ask(proxy, "/")[0] == 503
        _until_flags(proxy, "/failed_active_hc")
        (tmp_path / "ca.pem").write_bytes(world.other.pem)
        _until(proxy, (200, b"sni=up.test peer=renewed"))
        _until_flags(proxy, "healthy")
    assert "PRIVATE KEY" not in proxy.log() + proxy.admin("/config_dump")[1]


def test_an_endpoint_whose_certificate_expires_is_counted_and_avoided(
    start_fastproxy: StartFastProxy, tmp_path: Path
) -> None:
    """One of two: no request fails that may go to the other one."""
    world = World(tmp_path)
    with TlsUpstream(world.good, closes=True) as healthy, TlsUpstream(world.good, closes=True) as aging:

        def template(ports: Ports) -> Config:
            made = cluster("up", healthy.port, aging.port)
            context = {"sni": "up.test", "common_tls_context": {"validation_context": world.trust()}}
            made["transport_socket"] = {"name": "tls", "typed_config": {"@type": _TLS, **context}}
            retry: Config = {
                "retry_on": "connect-failure",
                "num_retries": 2,
                "host_selection_retry_max_attempts": 5,
            }
            retry["retry_host_predicate"] = [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3"
                        ".PreviousHostsPredicate"
                    },
                }
            ]
            routes = [forward({"prefix": "/"}, "up", retry_policy=retry)]
            hosts = [virtual_host("all", ["*"], routes)]
            return bootstrap(ports["admin"], [listener("plain", ports["plain"], hosts)], [made])

        proxy = start_fastproxy(template)
        assert {ask(proxy, "/")[0] for _ in range(8)} == {200}
        assert aging.requests
        aging.show(world.expired)
        served = aging.requests
        assert {ask(proxy, "/")[0] for _ in range(20)} == {200}
        assert aging.requests == served
        stats = proxy.admin("/stats?filter=fail_verify_error")[1]
    assert int(stats.rsplit(": ", 1)[1]) > 0
