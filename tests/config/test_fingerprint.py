"""What counts as unchanged when a configuration is loaded again."""

from pathlib import Path

import pytest

from fastproxy.config.settings import ProxySettings
from tests.config.support import TLS, cluster, load, minimal
from tests.config.test_upstream_tls import make_pair


def settings_with_ca(ca: str) -> ProxySettings:
    socket = (
        "transport_socket: {name: tls, typed_config: {'@type': " + TLS + ", sni: a.test, common_tls_context: "
        "{validation_context: {trusted_ca: " + ca + "}}}}"
    )
    return load(minimal(clusters=cluster(socket))).settings


def test_equal_tls_settings_are_equal_though_contexts_cannot_be_compared(tmp_path: Path) -> None:
    """A reload keeps the connections of clusters that are equal."""
    certificate, _ = make_pair(tmp_path)
    ca = f"{{filename: {certificate}}}"

    assert settings_with_ca(ca).clusters == settings_with_ca(ca).clusters


def test_another_content_of_the_same_file_is_a_change(tmp_path: Path) -> None:
    """The name says nothing: a CA that was replaced must count from the reload on."""
    certificate, _ = make_pair(tmp_path)
    ca = f"{{filename: {certificate}}}"
    before = settings_with_ca(ca).clusters
    make_pair(tmp_path)

    assert settings_with_ca(ca).clusters != before


def test_another_environment_variable_is_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with files."""
    certificate, _ = make_pair(tmp_path)
    monkeypatch.setenv("TEST_CA", certificate.read_text())
    before = settings_with_ca("{environment_variable: TEST_CA}").clusters
    assert settings_with_ca("{environment_variable: TEST_CA}").clusters == before
    make_pair(tmp_path)
    monkeypatch.setenv("TEST_CA", certificate.read_text())

    assert settings_with_ca("{environment_variable: TEST_CA}").clusters != before
