"""TLS built again from a running configuration, and by a worker that reads no files."""

from pathlib import Path

import pytest

from fastproxy.config import ConfigError, rebuild_tls, settings_from_bootstrap
from fastproxy.config.tls_update import read_certificates
from tests.config.support import load
from tests.config.test_downstream_tls import CA, OWN, tls_text


def test_a_worker_waits_for_what_the_files_hold(tmp_path: Path) -> None:
    """It reads none itself: what they hold now may be half of a change."""
    chain, key = OWN.write(tmp_path, "own")
    loaded = load(tls_text(f"tls_certificates: [{{certificate_chain: {{filename: {chain}}}, "
                           f"private_key: {{filename: {key}}}}}]"))  # fmt: skip
    key.unlink()

    blind = settings_from_bootstrap(loaded.bootstrap).listeners[0].chains()[0].tls
    assert blind is not None
    assert blind.certificates == ()
    told = rebuild_tls(loaded.bootstrap, loaded.settings.tls_files)
    assert told.chains[0, 0] == loaded.settings.listeners[0].chains()[0].tls
    assert set(told.files) == {str(chain), str(key)}


def test_a_change_on_disk_is_read_and_tried(tmp_path: Path) -> None:
    """A key that does not fit is an error, with no word of what it is."""
    chain, key = OWN.write(tmp_path, "own")
    text = tls_text(f"tls_certificates: [{{certificate_chain: {{filename: {chain}}}, "
                    f"private_key: {{filename: {key}}}}}]")  # fmt: skip
    loaded = load(text)
    renewed = CA.issue("new.test")
    renewed.write(tmp_path, "own")
    (certificate,) = rebuild_tls(loaded.bootstrap).chains[0, 0].certificates
    assert certificate.chain == renewed.chain
    facts = read_certificates(rebuild_tls(loaded.bootstrap).chains[0, 0])
    assert facts.own[0][1].names == ("new.test",)
    key.write_bytes(OWN.private_key)
    with pytest.raises(ConfigError) as caught:
        rebuild_tls(loaded.bootstrap)
    assert "cannot be used" in str(caught.value)
    assert "PRIVATE" not in str(caught.value)


def test_file_sds_is_followed_to_its_files(tmp_path: Path) -> None:
    """The document and everything it names."""
    chain, key = OWN.write(tmp_path, "own")
    document = tmp_path / "sds.yaml"
    document.write_text(
        "resources:\n"
        "- '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret\n"
        "  name: own\n"
        f"  tls_certificate: {{certificate_chain: {{filename: {chain}}}, private_key: {{filename: {key}}}}}\n"
    )
    source = f"{{path_config_source: {{path: {document}}}}}"
    sds = f"tls_certificate_sds_secret_configs: [{{name: own, sds_config: {source}}}]"
    loaded = load(tls_text(sds))
    assert set(loaded.settings.tls_files) == {str(chain), str(key), str(document)}
    renewed = CA.issue("new.test")
    other_chain, other_key = renewed.write(tmp_path, "renewed")
    document.write_text(
        document.read_text().replace(str(chain), str(other_chain)).replace(str(key), str(other_key))
    )
    update = rebuild_tls(loaded.bootstrap)
    assert update.chains[0, 0].certificates[0].chain == renewed.chain
    assert set(update.files) == {str(other_chain), str(other_key), str(document)}
