"""What the format operators tell of a TLS connection: the same words in both proxies."""

from contextlib import ExitStack
from pathlib import Path

from tests.conftest import require_peer
from tests.e2e.support.http_setup import SCRIPTS
from tests.e2e.support.proxies import Config, Ports, running_envoy, running_fastproxy
from tests.e2e.support.templates import bootstrap, cluster, forward, listener, virtual_host
from tests.e2e.support.tls_setup import INSPECTOR, Attempt, Pki
from tests.e2e.support.upstream import ScriptedUpstream

OPERATORS = {
    "x-tls-version": "%DOWNSTREAM_TLS_VERSION%",
    "x-tls-cipher": "%DOWNSTREAM_TLS_CIPHER%",
    "x-tls-name": "%REQUESTED_SERVER_NAME%",
    "x-tls-subject": "%DOWNSTREAM_PEER_SUBJECT%",
    "x-tls-issuer": "%DOWNSTREAM_PEER_ISSUER%",
    "x-tls-serial": "%DOWNSTREAM_PEER_SERIAL%",
    "x-tls-fingerprint": "%DOWNSTREAM_PEER_FINGERPRINT_256%",
    "x-tls-uri": "%DOWNSTREAM_PEER_URI_SAN%",
    "x-tls-dns": "%DOWNSTREAM_PEER_DNS_SAN%",
    "x-tls-start": "%DOWNSTREAM_PEER_CERT_V_START%",
    "x-tls-end": "%DOWNSTREAM_PEER_CERT_V_END%",
}
SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-CHACHA20-POLY1305",
)


def test_the_same_is_told_of_a_tls_connection(tmp_path: Path) -> None:
    """Versions and suites by the names that dashboards know; the client's certificate as it is, or not at all."""
    require_peer("envoy")
    pki = Pki(tmp_path)
    attempts = [Attempt(name="second.test"), Attempt(name="second.test", shown=pki.client)]
    attempts += [Attempt(name="second.test", twelve=True, ciphers=suite) for suite in SUITES]

    def template(ports: Ports) -> Config:
        made = listener("facts", ports["facts"], [virtual_host("all", ["*"], [forward({"prefix": "/"})])])
        chain = made["filter_chains"][0]
        chain["transport_socket"] = pki.socket("second", "second_rsa", validation={})
        made["listener_filters"] = [INSPECTOR]
        manager = chain["filters"][0]["typed_config"]
        manager["route_config"]["request_headers_to_add"] = [
            {"header": {"key": name, "value": text}} for name, text in OPERATORS.items()
        ]
        return bootstrap(ports["admin"], [made], [cluster("echo", upstream.port)])

    with ExitStack() as stack:
        upstream = stack.enter_context(ScriptedUpstream(SCRIPTS))
        envoy = stack.enter_context(running_envoy(template, ["facts"], tmp_path))
        fastproxy = stack.enter_context(running_fastproxy(template, ["facts"], tmp_path))
        for attempt in attempts:
            told = []
            for proxy in (envoy, fastproxy):
                seen = attempt.run(pki, proxy.ports["facts"], upstream)
                assert seen.outcome == "served"
                told.append({n: v for n, v in seen.upstream_headers if n.startswith(b"x-tls-")})
            assert told[1] == told[0], f"Envoy's are the right ones: {attempt}"
            if attempt.twelve:
                assert told[1][b"x-tls-cipher"] == attempt.ciphers.encode()
                assert told[1][b"x-tls-version"] == b"TLSv1.2"
