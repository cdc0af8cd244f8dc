"""The jwt_authn filter and FastProxy's own runtime keys."""

import json
import subprocess
from base64 import b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from fastproxy.filters.jwt_authn.provider import Provider
from fastproxy.filters.jwt_authn.settings import (
    HeaderLocation,
    JwtAuthnSettings,
    LocalJwksSettings,
    ProviderSettings,
    RemoteJwksSettings,
    RequiresProvider,
)
from fastproxy.match.settings import PathKind
from tests.config.support import jwt_filter, load, minimal, problem, problems, warnings
from tests.conftest import require_peer

REMOTE = "remote_jwks: {http_uri: {uri: 'https://i.example/certs', cluster: backend, timeout: 2s}}"


def encode(number: int) -> str:
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return b64encode(data, b"-_").rstrip(b"=").decode()


@pytest.fixture(scope="module")
def jwks() -> str:
    """A key set with one RSA key."""
    numbers = rsa.generate_private_key(65537, 2048).public_key().public_numbers()
    return json.dumps({"keys": [{"kty": "RSA", "kid": "a", "n": encode(numbers.n), "e": encode(numbers.e)}]})


def settings(providers: str, rules: str = "[]", top: str = "") -> JwtAuthnSettings:
    text = minimal(filters=jwt_filter(providers, rules), top=top)
    return load(text).settings.listeners[0].http.jwt_authn[0]


def provider(fields: str, top: str = "") -> ProviderSettings:
    return settings(f"p: {{issuer: i, {REMOTE}, {fields}}}", top=top).providers["p"]


def layer(keys: str) -> str:
    return f"layered_runtime: {{layers: [{{name: base, static_layer: {keys}}}]}}"


def test_defaults() -> None:
    """Strict where Envoy is lax: tokens must expire (S20)."""
    found = settings(f"p: {{{REMOTE}}}").providers["p"]

    assert found == ProviderSettings(
        "p", "", (), RemoteJwksSettings("https://i.example/certs", "backend", 2.0, 600.0)
    )
    assert found.require_expiration is True


def test_every_provider_setting_arrives() -> None:
    """Each field of the provider in its attribute."""
    found = provider(
        "audiences: [a, b], forward: true, forward_payload_header: X-Payload, pad_forward_payload_header: true, "
        "from_headers: [{name: X-Token, value_prefix: 'T '}], from_params: [t], clock_skew_seconds: 5, "
        "jwt_cache_config: {jwt_cache_size: 7, jwt_max_token_size: 8}"
    )

    assert (found.issuer, found.audiences, found.forward) == ("i", ("a", "b"), True)
    assert (found.forward_payload_header, found.pad_forward_payload_header) == ("x-payload", True)
    assert (found.from_headers, found.from_params) == ((HeaderLocation("x-token", "T "),), ("t",))
    assert (found.clock_skew_s, found.cache_size, found.cache_max_token_bytes) == (5, 7, 8)


def test_any_explicit_place_switches_the_defaults_off() -> None:
    """Spec section 6: a token in `Authorization` then no longer counts."""
    found = provider("from_params: [t]")

    assert (found.from_headers, found.from_params) == ((), ("t",))


@pytest.mark.parametrize("form", ["filename", "inline_string", "inline_bytes", "environment_variable"])
def test_local_keys_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jwks: str, form: str
) -> None:
    """All forms of DataSource."""
    path = tmp_path / "keys.json"
    path.write_text(jwks)
    monkeypatch.setenv("TEST_JWKS", jwks)
    value = {
        "filename": str(path),
        "inline_string": f"'{jwks}'",
        "inline_bytes": b64encode(jwks.encode()).decode(),
        "environment_variable": "TEST_JWKS",
    }[form]

    found = settings(f"p: {{local_jwks: {{{form}: {value}}}}}").providers["p"].jwks

    assert isinstance(found, LocalJwksSettings)
    assert found.jwks == jwks.encode()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "inline_string: nonsense",
            "Provider 'p' in jwt_authn config has invalid local jwks: Jwks is an invalid JSON",
        ),
        ("inline_string: '{\"keys\": []}'", "has invalid local jwks"),
        ("filename: /does/not/exist", "Invalid path: /does/not/exist"),
        ("filename: /dev/zero", "not a regular file"),
        ("environment_variable: NO_SUCH_VARIABLE_", "Environment variable doesn't exist: NO_SUCH_VARIABLE_"),
    ],
)
def test_local_keys_that_cannot_be_used_are_refused_in_envoy_s_words(source: str, words: str) -> None:
    """Operators search for these texts."""
    assert words in problem(minimal(filters=jwt_filter(f"p: {{local_jwks: {{{source}}}}}"))).problem


def public_pem() -> str:
    """An RSA key as `openssl pkey -pubout` writes it, fit for a YAML text in quotes."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize("form", ["filename", "inline_string", "inline_bytes", "environment_variable"])
def test_local_keys_may_be_pem(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What most key tools write; every source has it."""
    text = public_pem()
    (tmp_path / "key.pem").write_text(text)
    monkeypatch.setenv("TEST_PEM", text)
    value = {
        "filename": str(tmp_path / "key.pem"),
        "inline_string": json.dumps(text),
        "inline_bytes": b64encode(text.encode()).decode(),
        "environment_variable": "TEST_PEM",
    }[form]

    found = settings(f"p: {{local_jwks: {{{form}: {value}}}}}").providers["p"]

    (key,) = Provider(found, ask=lambda _source: None).verifier.keys.keys  # type: ignore[union-attr]  # it has keys
    assert key.algorithms == ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")


def test_private_key_in_local_keys_is_refused_and_not_repeated(tmp_path: Path) -> None:
    """The message says what to do; the file's content is nowhere in it."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    text = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    (tmp_path / "key.pem").write_text(text)

    found = problem(minimal(filters=jwt_filter(f"p: {{local_jwks: {{filename: {tmp_path / 'key.pem'}}}}}")))

    assert "Provider 'p' in jwt_authn config has invalid local jwks" in found.problem
    assert "openssl pkey -in FILE -pubout" in found.problem
    assert not any(line in str(found) for line in text.splitlines()[1:-1])


@pytest.mark.peer("envoy")
def test_pem_is_what_envoy_refuses(tmp_path: Path) -> None:
    """So such a file does not load there; docs/differences-from-envoy.md says so."""
    (tmp_path / "key.pem").write_text(public_pem())
    config = tmp_path / "envoy.yaml"
    config.write_text(minimal(filters=jwt_filter(f"p: {{local_jwks: {{filename: {tmp_path / 'key.pem'}}}}}")))

    command = [str(require_peer("envoy")), "--mode", "validate", "-c", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert "has invalid local jwks: Jwks is an invalid JSON" in done.stderr


def test_rules_in_order() -> None:
    """The first match decides, and one without requirement lets pass."""
    found = settings(
        f"p: {{{REMOTE}}}",
        "- match: {path: /open}\n- match: {safe_regex: {regex: /x.*}}\n  requires: {provider_name: p}",
    )

    assert [(rule.match.kind, rule.requires) for rule in found.rules] == [
        (PathKind.EXACT, None),
        (PathKind.REGEX, RequiresProvider("p")),
    ]


def test_an_unknown_provider_is_refused_with_its_nearest_neighbour() -> None:
    """A rule that names nobody would protect nothing."""
    text = minimal(
        filters=jwt_filter(f"main: {{{REMOTE}}}", "- match: {prefix: /}\n  requires: {provider_name: mian}")
    )

    assert problem(text).problem == "Required provider ['mian'] is not configured"
    assert problem(text).fix == 'Did you mean "main"?'


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("clock_skew_seconds: 100000", "long expired"),
        ("forward_payload_header: 'a b'", "no header name"),
        ("forward_payload_header: ':path'", "no header name"),
        ("forward_payload_header: Host", "must not be replaced"),
        ("forward_payload_header: authorization", "tokens are read from"),
        ("from_headers: [{name: 'a b'}]", "no header name"),
    ],
)
def test_provider_settings_that_cannot_be_honoured_are_refused(fields: str, words: str) -> None:
    """A claim check that is ignored lets strangers in; a bad header breaks every request."""
    assert any(
        words in entry.problem
        for entry in problems(minimal(filters=jwt_filter(f"p: {{{REMOTE}, {fields}}}")))
    )


@pytest.mark.parametrize(
    "uri", ["/certs", "ftp://a/", "https://", "https://a:b/", "https://a b/", "file:///etc/passwd"]
)
def test_s37_only_absolute_http_urls_are_fetched(uri: str) -> None:
    """Envoy's words for the first of them."""
    text = minimal(filters=jwt_filter(f"p: {{{REMOTE.replace('https://i.example/certs', uri)}}}"))

    assert f"Provider 'p' has an invalid URI: '{uri}'" in problem(text).problem


def test_an_unknown_key_cluster_is_refused() -> None:
    """Envoy finds out when the first token arrives."""
    text = minimal(filters=jwt_filter(f"p: {{{REMOTE.replace('backend', 'nowhere')}}}"))

    assert problem(text).problem == "unknown cluster 'nowhere'"


def test_runtime_keys_reach_every_provider() -> None:
    """Both spellings: dotted and nested."""
    found = provider(
        "jwt_cache_config: {}",
        top=layer(
            "{fastproxy.jwks.max_stale_s: 60, fastproxy.jwt.token_cache_bytes: 70000,"
            " fastproxy: {jwt: {allow_missing_exp: true, token_cache_size: 5}}}"
        ),
    )

    assert (found.max_stale_s, found.require_expiration, found.cache_size) == (60.0, False, 5)
    settings = Provider(found, ask=lambda _source: None).verifier.settings
    assert (settings.cache_size, settings.cache_max_bytes) == (5, 70000)


def test_s26_strict_access_tokens_are_a_setting_that_reaches_the_verifier() -> None:
    """Off as in Envoy; with it an ID token is refused wherever it is found."""
    for keys, expected in (("{}", False), ("{fastproxy.jwt.require_at_jwt: true}", True)):
        found = provider("forward: true", top=layer(keys))
        assert found.require_at_jwt is expected
        assert Provider(found, ask=lambda _source: None).verifier.settings.require_at_jwt is expected


def test_a_provider_may_insist_on_expiration() -> None:
    """`require_expiration: true` is stronger than the runtime key."""
    assert provider(
        "require_expiration: true", top=layer("{fastproxy.jwt.allow_missing_exp: true}")
    ).require_expiration


def test_fractions_are_numbers_though_yaml_has_them_as_text() -> None:
    """Envoy's scalar rules make text of 0.5."""
    assert provider("forward: true", top=layer("{fastproxy.jwks.max_stale_s: 0.5}")).max_stale_s == 0.5


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("{fastproxy.jwt.allow_missing_expp: true}", "unknown setting"),
        ("{fastproxy: {jwt: {}}}", "unknown setting"),
        ("{fastproxy.jwt.allow_missing_exp: 1}", "must be true or false"),
        ("{fastproxy.jwt.allow_missing_exp: 'yes'}", "must be true or false"),
        ("{fastproxy.jwt.require_at_jwt: 1}", "must be true or false"),
        ("{fastproxy.jwks.max_stale_s: -1}", "must be a number"),
        ("{fastproxy.jwks.max_stale_s: inf}", "must be a number"),
        ("{fastproxy.jwks.max_stale_s: true}", "must be a number"),
        ("{fastproxy.jwt.token_cache_size: 1.5}", "must be an integer"),
        ("{fastproxy.jwt.token_cache_size: many}", "must be an integer"),
        ("{fastproxy.jwt.token_cache_bytes: -1}", "must be an integer"),
        ("{fastproxy.jwt.token_cache_bytes: 64M}", "must be an integer"),
        ("{fastproxy.jwt.token_cache_bytes: 1e13}", "must be an integer"),
    ],
)
def test_own_settings_are_checked_strictly(keys: str, words: str) -> None:
    """Envoy would take anything here; a typing error in a security setting must not pass."""
    assert words in problem(layer(keys)).problem


def test_envoy_s_runtime_keys_are_a_warning() -> None:
    """They tune what FastProxy does not have."""
    assert any(
        "envoy.reloadable" in entry for entry in warnings(layer("{envoy.reloadable_features.x: true}"))
    )


def test_other_runtime_layers_are_refused() -> None:
    """They could hold settings of ours that nobody reads."""
    assert (
        "not supported"
        in problem("layered_runtime: {layers: [{name: a, disk_layer: {symlink_root: /x}}]}").problem
    )
