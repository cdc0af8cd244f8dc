"""The identity providers behind the tests, each started for one test: most tests change its keys or end it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require_peer
from tests.e2e.conftest import start_fastproxy, upstream
from tests.providers.support.demo_issuer import DemoIssuer
from tests.providers.support.identity_provider import IdentityProvider
from tests.providers.support.oidc_provider import OidcProvider
from tests.providers.support.private_ca import PrivateCa

__all__ = ["start_fastproxy", "upstream"]


@pytest.fixture
def authority(tmp_path: Path) -> PrivateCa:
    """The authority that signs the certificates of the providers."""
    return PrivateCa("company-ca", tmp_path)


@pytest.fixture
def oidc_provider(authority: PrivateCa, tmp_path: Path) -> Iterator[OidcProvider]:
    """The certified provider from npm."""
    node = require_peer("node")
    require_peer("oidc-provider")
    provider = OidcProvider(node, authority, tmp_path)
    yield provider
    provider.stop()


@pytest.fixture(params=["oidc-provider", "demo issuer"])
def provider(request: pytest.FixtureRequest, authority: PrivateCa) -> Iterator[IdentityProvider]:
    """Each provider in turn."""
    if request.param == "oidc-provider":
        yield request.getfixturevalue("oidc_provider")
        return
    issuer = DemoIssuer(authority)
    yield issuer
    issuer.stop()
