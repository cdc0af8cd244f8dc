"""How keys are kept."""

import base64
import json
from pathlib import Path

import pytest

from tests.lint.support import CLEAN_PROVIDERS, LOCAL, line, names, only, remote_cluster, text

REMOTE = """
idp:
  issuer: https://idp.example
  audiences: [api]
  remote_jwks:
    http_uri: {uri: "https://idp.example/keys", cluster: keys, timeout: 5s}
"""
KEYS = remote_cluster("keys", tls="-")
GOOD = base64.urlsafe_b64encode(bytes(range(7, 39))).rstrip(b"=").decode()


def runtime(key: str, value: object) -> str:
    return f"layered_runtime: {{layers: [{{name: s, static_layer: {{{key}: {json.dumps(value)}}}}}]}}"


def secret(k: str) -> str:
    return json.dumps({"keys": [{"kty": "oct", "alg": "HS256", "k": k}]})


def with_keys(source: str) -> str:
    return CLEAN_PROVIDERS.replace(LOCAL, source)


@pytest.mark.parametrize(
    ("duration", "found"), [("600s", []), ("86400s", []), ("86401s", ["long-key-cache"])]
)
def test_key_cache(duration: str, found: list[str]) -> None:
    """A withdrawn key is believed that long."""
    assert names(text(providers=REMOTE + f"    cache_duration: {duration}\n", clusters=KEYS)) == found


@pytest.mark.parametrize(("seconds", "found"), [(0, []), (86400, []), (86401, ["long-stale-keys"])])
def test_stale_keys(seconds: int, found: list[str]) -> None:
    """Once for all providers, at the setting."""
    top = runtime("fastproxy.jwks.max_stale_s", seconds)

    assert names(text(providers=REMOTE, clusters=KEYS, top=top)) == found


def test_settings_for_fetching_do_not_matter_for_local_keys() -> None:
    """Nothing is fetched."""
    assert names(text(top=runtime("fastproxy.jwks.max_stale_s", 1_000_000))) == []


def test_secret_in_the_file() -> None:
    """Whoever reads the file can make tokens; the message does not repeat it."""
    source = text(providers=with_keys(f"local_jwks: {{inline_string: '{secret(GOOD)}'}}"))
    found = only(source, "inline-secret")

    assert line(source, found).startswith("local_jwks:")
    assert GOOD not in str(found)


def test_secret_in_a_file_of_its_own(tmp_path: Path) -> None:
    """As it should be."""
    path = tmp_path / "keys.json"
    path.write_text(secret(GOOD))

    assert names(text(providers=with_keys(f"local_jwks: {{filename: {path}}}"))) == []


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("authorization", "Bearer abc", ["inline-secret"]),
        ("x-api-key", "abc", ["inline-secret"]),
        ("x-tenant", "abc", []),
        ("authorization", "Bearer {file:/run/token}", []),
    ],
)
def test_credentials_of_the_key_fetch(name: str, value: str, found: list[str]) -> None:
    """The same, for the proxy's own credentials."""
    top = runtime(f"fastproxy.jwks.request_headers.idp.{name}", value)

    assert names(text(providers=REMOTE, clusters=KEYS, top=top)) == found


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b"my-very-secret-and-long-password", True),
        (b"a" * 32, True),
        (b"abcabcabc" * 4, True),
        (b"CHANGEME" + bytes(range(24)), True),
        (bytes(range(7, 39)), False),
        (b"0f1e2d3c4b5a69788796a5b4c3d2e1f0", False),
    ],
)
def test_secret_that_can_be_guessed(raw: bytes, found: bool, tmp_path: Path) -> None:
    """Length is not enough; and the message says nothing of it."""
    path = tmp_path / "keys.json"
    path.write_text(secret(base64.urlsafe_b64encode(raw).rstrip(b"=").decode()))
    source = text(providers=with_keys(f"local_jwks: {{filename: {path}}}"))

    assert names(source) == (["guessable-secret"] if found else [])


def test_public_keys_are_no_secrets() -> None:
    """They may stand in the file."""
    assert names(text()) == []
