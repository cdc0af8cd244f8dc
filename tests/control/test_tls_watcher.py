"""Certificates that change while the proxy runs: the control plane's side, and the page that shows them."""

import json
import logging
from base64 import b64decode
from pathlib import Path
from typing import Any, cast

import pytest

from fastproxy.config import LoadedConfig
from fastproxy.control.admin.certs_page import certs_json
from fastproxy.control.admin.view import AdminView
from fastproxy.control.tls_watcher import TlsWatcher
from fastproxy.ipc.messages import TlsFilesUpdate
from fastproxy.stats import StatsSink
from tests.config.support import cluster, load, minimal
from tests.config.test_downstream_tls import CA, OWN, tls_text


class Watched:
    """A watcher over one pair of files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.chain, self.key = OWN.write(directory, "own")
        trust = directory / "ca.pem"
        trust.write_bytes(CA.pem)
        self.loaded: LoadedConfig = load(
            tls_text(
                f"tls_certificates: [{{certificate_chain: {{filename: {self.chain}}}, "
                f"private_key: {{filename: {self.key}}}}}]\n"
                f"validation_context: {{trusted_ca: {{filename: {trust}}}}}"
            )
        )
        self.sent: list[TlsFilesUpdate] = []
        self.watcher = TlsWatcher(self.loaded.bootstrap, self.loaded.settings.tls_files, self.sent.append)

    def page(self) -> dict[str, Any]:
        class View:
            settings = self.loaded.settings
            tls = staticmethod(self.watcher.state)

        return certs_json(cast("AdminView", View()))


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_nothing_is_sent_while_nothing_changes(watched: Watched) -> None:
    """A poll is not a rotation."""
    watched.watcher.check()
    assert watched.sent == []


def test_a_new_pair_is_sent_to_all_workers(watched: Watched) -> None:
    """Whole: a key without its certificate is of no use."""
    renewed = CA.issue("new.test")
    renewed.write(watched.directory, "own")
    watched.watcher.check()
    (message,) = watched.sent
    assert message.epoch == 2
    assert b64decode(message.files[str(watched.chain)]) == renewed.chain
    assert b64decode(message.files[str(watched.key)]) == renewed.private_key
    assert watched.watcher.snapshot() == [message]
    assert "PRIVATE" not in repr(message)
    assert b64decode(message.files[str(watched.key)]).decode()[30:60] not in repr(message)


def test_half_a_change_is_waited_for(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """A certificate is written before its key, or after it."""
    renewed = CA.issue("new.test")
    watched.chain.write_bytes(renewed.chain)
    watched.watcher.check()
    assert watched.sent == []
    assert caplog.records == []
    watched.key.write_bytes(renewed.private_key)
    watched.watcher.check()
    assert len(watched.sent) == 1


def test_what_stays_broken_is_an_error_once_and_changes_nothing(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """The workers go on with what they have."""
    watched.key.write_bytes(b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
    for _ in range(4):
        watched.watcher.check()
    assert watched.sent == []
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "c2VjcmV0" not in caplog.text
    assert "cannot be used" in watched.page()["last_error"]
    OWN.write(watched.directory, "own")
    watched.watcher.check()
    assert watched.page()["last_error"] is None


def test_a_file_that_is_gone_is_broken(watched: Watched) -> None:
    """It may come back."""
    watched.chain.unlink()
    for _ in range(3):
        watched.watcher.check()
    sink = StatsSink()
    watched.watcher.write_stats(sink)
    assert sink.counters == {"tls_files.reload_success": 0, "tls_files.reload_failed": 1}
    assert sink.gauges == {"tls_files.epoch": 1}


async def test_the_files_are_read_again_and_again(tmp_path: Path) -> None:
    """The task, with a pause that the test rules."""
    import asyncio

    made = Watched(tmp_path)
    turns: asyncio.Queue[None] = asyncio.Queue()
    told = asyncio.Event()

    def broadcast(message: TlsFilesUpdate) -> None:
        made.sent.append(message)
        told.set()

    watcher = TlsWatcher(made.loaded.bootstrap, made.loaded.settings.tls_files, broadcast, pause=turns.get)
    watcher.start()
    CA.issue("new.test").write(tmp_path, "own")
    turns.put_nowait(None)
    await asyncio.wait_for(told.wait(), 10)
    await watcher.stop()
    assert len(made.sent) == 1


def test_certificates_of_clusters_are_listed_too(watched: Watched) -> None:
    """An authority of upstreams that is about to expire ends their service as surely as a certificate of our own."""
    tls = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    pair = f"{{certificate_chain: {{filename: {watched.chain}}}, private_key: {{filename: {watched.key}}}}}"
    trust = f"{{trusted_ca: {{filename: {watched.directory / 'ca.pem'}}}}}"
    common = f"{{tls_certificates: [{pair}], validation_context: {trust}}}"
    loaded = load(
        minimal(
            clusters=cluster(
                f"transport_socket: {{name: tls, typed_config: {{'@type': {tls}, common_tls_context: {common}}}}}"
            )
        )
    )
    watcher = TlsWatcher(loaded.bootstrap, loaded.settings.tls_files, watched.sent.append)

    class View:
        settings = loaded.settings
        tls = staticmethod(watcher.state)

    (entry,) = certs_json(cast("AdminView", View()))["certificates"]
    assert entry["cluster"] == "backend"
    (own,), (authority,) = entry["cert_chain"], entry["ca_cert"]
    assert own["path"] == f"file {watched.chain}"
    assert own["subject_alt_names"]
    assert "test-ca" in authority["subject"]
    assert "PRIVATE" not in repr(entry)
    assert "PRIVATE" not in repr(loaded.settings.clusters[0].tls)


def test_without_files_there_is_nothing_to_watch_or_to_tell() -> None:
    """Inline certificates never change."""
    loaded = load(tls_text())
    watcher = TlsWatcher(loaded.bootstrap, loaded.settings.tls_files, lambda _message: None)
    assert watcher.snapshot() == []
    sink = StatsSink()
    watcher.write_stats(sink)
    assert sink.counters == {}


def test_the_page_lists_certificates_and_no_key(watched: Watched) -> None:
    """Subject, names, days left, serial."""
    page = watched.page()
    (entry,) = page["certificates"]
    (certificate,) = entry["cert_chain"]
    assert certificate["path"] == f"file {watched.chain}"
    assert certificate["subject_alt_names"] == [{"dns": "a.test"}]
    assert certificate["days_until_expiration"] == "0"
    assert certificate["serial_number"] == f"{OWN.certificate.serial_number:x}"
    assert entry["ca_cert"][0]["subject"] == "CN=test-ca"
    assert entry["client_certificates"] == "optional"
    assert "PRIVATE" not in json.dumps(page)
