"""Certificates that are renewed under a running proxy with several workers."""

import json
import os
import signal
import socket
from pathlib import Path

from tests.e2e.conftest import StartFastProxy
from tests.e2e.support.proxies import Config, ConfigTemplate, Ports, RunningProxy, workers_of
from tests.e2e.support.templates import EVERYTHING_TO_ECHO, bootstrap, cluster, listener
from tests.e2e.support.tls_setup import Attempt, Pki
from tests.e2e.support.upstream import ScriptedUpstream

GET = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"


def _certs(proxy: RunningProxy) -> dict[str, object]:
    found: dict[str, object] = json.loads(proxy.admin("/certs")[1])
    return found


def _wait_for(proxy: RunningProxy, name: str, wanted: object) -> None:
    """The page is the proxy's own word for what is in force."""
    if wanted is None:
        proxy.wait_until(lambda: _certs(proxy)[name] is not None)
    else:
        proxy.wait_until(lambda: _certs(proxy)[name] == wanted)


def _template(pki: Pki, upstream: ScriptedUpstream) -> ConfigTemplate:
    """One listener with the certificate `first`."""

    def template(ports: Ports) -> Config:
        made = listener("plain", ports["plain"], EVERYTHING_TO_ECHO)
        made["filter_chains"][0]["transport_socket"] = pki.socket("first")
        return bootstrap(ports["admin"], [made], [cluster("echo", upstream.port)])

    return template


def test_renewed_certificates_serve_without_a_dropped_connection(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """All workers, at once; a pair that does not fit changes nothing, and the page says why."""
    pki = Pki(tmp_path)
    proxy = start_fastproxy(_template(pki, upstream), "--concurrency", "2")
    port = proxy.ports["plain"]
    with (
        socket.create_connection(("127.0.0.1", port)) as bare,
        pki.ca.client_context().wrap_socket(bare) as kept,
    ):
        kept.sendall(GET)
        assert kept.recv(65536).startswith(b"HTTP/1.1 200 OK")

        renewed = pki.ca.issue("first.test")
        renewed.write(tmp_path, "first")
        _wait_for(proxy, "epoch", 2)
        shown = {Attempt().run(pki, port, upstream).certificate for _ in range(12)}
        assert shown == {renewed.sha256}

        (tmp_path / "first.key").write_bytes(pki.second.private_key)
        _wait_for(proxy, "last_error", None)
        assert {Attempt().run(pki, port, upstream).certificate for _ in range(6)} == {renewed.sha256}
        kept.sendall(GET)
        assert kept.recv(65536).startswith(b"HTTP/1.1 200 OK")
    assert "PRIVATE KEY" not in proxy.log() + json.dumps(_certs(proxy)) + proxy.admin("/config_dump")[1]


def test_a_worker_that_replaces_another_serves_tls(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """It is given the certificates in force, whatever the files hold by then."""
    pki = Pki(tmp_path)
    proxy = start_fastproxy(_template(pki, upstream))
    (tmp_path / "first.key").unlink()
    (worker,) = workers_of(proxy)
    os.kill(worker, signal.SIGKILL)
    # The kernel holds the connection until the successor accepts.
    assert Attempt().run(pki, proxy.ports["plain"], upstream).certificate == pki.first.sha256
