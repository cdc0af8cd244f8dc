"""Where keys come from: retries, background fetch, watched files, discovery, and settings per provider."""

import json
from pathlib import Path
from typing import Any

import pytest

from fastproxy.config import ConfigError, LoadedConfig, config_dump, settings_from_bootstrap
from fastproxy.filters.jwt_authn.settings import (
    DiscoveryJwksSettings,
    FetchHeaderSettings,
    FetchRetrySettings,
    LocalJwksSettings,
    ProviderSettings,
    RemoteJwksSettings,
)
from tests.config.support import jwt_filter, load, minimal, problem, problems, warnings
from tests.control.support import jwk, jwks

HTTP_URI = "http_uri: {uri: 'https://i.example/certs', cluster: backend, timeout: 2s}"
ISSUER = "https://i.example/realms/a"
DISCOVERY = f"p: {{issuer: '{ISSUER}'}}"


def text(providers: str, keys: str = "") -> str:
    top = f"layered_runtime: {{layers: [{{name: base, static_layer: {keys}}}]}}" if keys else ""
    return minimal(filters=jwt_filter(providers), top=top)


def provider_of(loaded: LoadedConfig) -> ProviderSettings:
    return loaded.settings.listeners[0].http.jwt_authn[0].providers["p"]


def source(providers: str, keys: str = "") -> Any:
    return provider_of(load(text(providers, keys))).jwks


def remote(fields: str) -> RemoteJwksSettings:
    found = source(f"p: {{remote_jwks: {{{HTTP_URI}, {fields}}}}}")
    assert isinstance(found, RemoteJwksSettings)
    return found


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("{}", FetchRetrySettings(1, 1.0, 10.0)),
        ("{num_retries: 3}", FetchRetrySettings(3, 1.0, 10.0)),
        ("{num_retries: 0}", FetchRetrySettings(0, 1.0, 10.0)),
        ("{retry_back_off: {base_interval: 0.2s}}", FetchRetrySettings(1, 0.2, 2.0)),
        ("{retry_back_off: {base_interval: 2s, max_interval: 3s}}", FetchRetrySettings(1, 2.0, 3.0)),
    ],
)
def test_retry_policy_with_envoys_defaults(policy: str, expected: FetchRetrySettings) -> None:
    """One retry, one second, ten times that."""
    assert remote(f"retry_policy: {policy}").retry == expected


def test_keys_are_not_fetched_from_a_cluster_with_a_proxy_header() -> None:
    """The header names a client, and there is none."""
    types = "type.googleapis.com/envoy.extensions.transport_sockets"
    below = f"{{name: raw, typed_config: {{'@type': {types}.raw_buffer.v3.RawBuffer}}}}"
    clusters = (
        "- {name: backend, type: STATIC, transport_socket: {name: p, typed_config: "
        f"{{'@type': {types}.proxy_protocol.v3.ProxyProtocolUpstreamTransport, transport_socket: {below}}}}}}}"
    )
    filters = jwt_filter(f"p: {{remote_jwks: {{{HTTP_URI}}}}}")
    assert "keys are fetched for no client" in problem(minimal(clusters=clusters, filters=filters)).problem


def test_retry_interval_that_shrinks_is_refused() -> None:
    """As in Envoy, at load."""
    policy = "retry_policy: {retry_back_off: {base_interval: 2s, max_interval: 1s}}"
    found = problem(text(f"p: {{remote_jwks: {{{HTTP_URI}, {policy}}}}}"))

    assert found.path.endswith("retry_policy.retry_back_off.max_interval")
    assert "must not be less than base_interval" in found.problem


def test_retry_on_is_a_warning_and_other_retry_settings_are_refused() -> None:
    """Envoy repeats a fixed set of failures whatever it says; plugins would change where the retry goes."""
    told = text(f"p: {{remote_jwks: {{{HTTP_URI}, retry_policy: {{retry_on: 5xx}}}}}}")
    assert any("retry_on: has no effect" in entry for entry in warnings(told))
    host = text(f"p: {{remote_jwks: {{{HTTP_URI}, retry_policy: {{host_selection_retry_max_attempts: 3}}}}}}")
    assert "not supported" in problem(host).problem


@pytest.mark.parametrize(
    ("fields", "waits", "refetch_s"),
    [
        ("cache_duration: 60s", False, 1.0),
        ("async_fetch: {}", True, 1.0),
        ("async_fetch: {fast_listener: true}", False, 1.0),
        ("async_fetch: {failed_refetch_duration: 7s}", True, 7.0),
    ],
)
def test_async_fetch(fields: str, waits: bool, refetch_s: float) -> None:
    """Without fast_listener nobody is let in before the first fetch has ended."""
    found = remote(fields)

    assert (found.wait_for_first_fetch, found.failed_refetch_s) == (waits, refetch_s)


def test_file_is_watched_with_and_without_watched_directory(tmp_path: Path) -> None:
    """Envoy accepts the field and ignores it; here the content is watched either way."""
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks(jwk("a")))
    for more in ("", f", watched_directory: {{path: '{tmp_path}'}}"):
        found = source(f"p: {{local_jwks: {{filename: '{file}'{more}}}}}")
        assert found == LocalJwksSettings(file.read_bytes(), f"file {file}", str(file))


def test_watched_directory_without_a_file_is_a_warning() -> None:
    """Inline keys cannot change."""
    inline = json.dumps(jwks(jwk("a")).decode())
    told = text(f"p: {{local_jwks: {{inline_string: {inline}, watched_directory: {{path: /x}}}}}}")

    assert any("only a filename can be watched" in entry for entry in warnings(told))


def test_s41_worker_starts_though_the_key_file_is_broken_now(tmp_path: Path) -> None:
    """It gets the keys that its peers use from the control plane; reading the file itself could only differ."""
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks(jwk("a")))
    loaded = load(text(f"p: {{local_jwks: {{filename: '{file}'}}}}"))
    for break_it in (lambda: file.write_text("broken"), file.unlink):
        break_it()
        worker = settings_from_bootstrap(loaded.bootstrap)
        (found,) = worker.providers()
        assert found.jwks == LocalJwksSettings(b"", f"file {file}", str(file))
        assert found.source_id == provider_of(loaded).source_id


def test_sources_of_one_provider_name_in_two_filters_are_told_apart(tmp_path: Path) -> None:
    """Messages name the source; keys of one listener must never get to another (S18)."""
    other = LocalJwksSettings(jwks(jwk("a")), "inline_string")
    ids = {
        ProviderSettings("p", "", (), found).source_id
        for found in (
            LocalJwksSettings(b"1", "inline_string"),
            other,
            LocalJwksSettings(b"", "file a", "a"),
            LocalJwksSettings(b"", "file b", str(tmp_path)),
            RemoteJwksSettings("https://a/", "c", 1.0),
            DiscoveryJwksSettings("https://a/"),
            DiscoveryJwksSettings("https://a/", "c"),
        )
    }

    assert len(ids) == 7


def test_issuer_alone_means_discovery() -> None:
    """Envoy refuses such a provider."""
    found = source(DISCOVERY)

    assert found == DiscoveryJwksSettings(ISSUER)
    assert load(text(DISCOVERY)).settings.remote_providers()[0].jwks == found


@pytest.mark.parametrize(
    "issuer",
    [
        "''",
        "accounts",
        "urn:x",
        "https://",
        "https://a.test/?x=1",
        "https://a.test/#f",
        "https://u:p@a.test/",
    ],
)
def test_s38_issuer_that_is_no_url_needs_a_key_source(issuer: str) -> None:
    """In Envoy's words, with the two ways out."""
    found = problem(text(f"p: {{issuer: {issuer}}}"))

    assert found.problem == "one of remote_jwks or local_jwks is required"
    assert "OpenID Connect Discovery" in found.fix


def test_discovery_in_clear_is_a_warning() -> None:
    """Whoever sits on the way could replace the keys."""
    assert any("fetched in clear" in entry for entry in warnings(text("p: {issuer: 'http://i.example'}")))


def test_discovery_settings_arrive() -> None:
    """A named cluster, and permission for private addresses."""
    keys = (
        "{fastproxy.jwks.discovery_cluster.p: backend, fastproxy.jwks.allow_private_networks: true,"
        " fastproxy.jwks.snapshot_dir: /var/lib/fastproxy}"
    )
    loaded = load(text(DISCOVERY, keys))

    assert provider_of(loaded).jwks == DiscoveryJwksSettings(ISSUER, "backend", allow_private_networks=True)
    assert loaded.settings.jwks_snapshot_dir == "/var/lib/fastproxy"


def test_provider_names_may_have_dots() -> None:
    """Everything after the setting's own name is the provider's, but for the header's name."""
    nested = "{fastproxy: {jwks: {discovery_cluster: {a.b: backend}, request_headers: {a.b: {X-Key: v}}}}}"
    loaded = load(text(f"a.b: {{issuer: '{ISSUER}'}}", nested))
    (found,) = loaded.settings.providers()

    assert found.jwks == DiscoveryJwksSettings(
        ISSUER, "backend", request_headers=(FetchHeaderSettings("x-key", "v"),)
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("'Bearer {file:/run/token}'", FetchHeaderSettings("authorization", "Bearer ", "/run/token")),
        ("'{file:a b}'", FetchHeaderSettings("authorization", "", "a b")),
        ("'k=\"{file:/x}\"'", FetchHeaderSettings("authorization", 'k="', "/x", '"')),
        ("plain", FetchHeaderSettings("authorization", "plain")),
    ],
)
def test_request_headers(value: str, expected: FetchHeaderSettings) -> None:
    """Text around a file's content; the file is read at each fetch."""
    found = source(
        f"p: {{remote_jwks: {{{HTTP_URI}}}}}", f"{{fastproxy.jwks.request_headers.p.Authorization: {value}}}"
    )

    assert found.request_headers == (expected,)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("{fastproxy.jwks.snapshot_dir: 5}", "must be the name of a directory"),
        ("{fastproxy.jwks.snapshot_dir: ''}", "must be the name of a directory"),
        ("{fastproxy.jwks.allow_private_networks: 'yes'}", "must be true or false"),
        ("{fastproxy.jwks.discovery_cluster.p: nowhere}", "unknown cluster"),
        ("{fastproxy.jwks.discovery_cluster.q: backend}", "finds its keys by discovery"),
        ("{fastproxy.jwks.discovery_cluster.p: ''}", "must be text"),
        ("{fastproxy.jwks.request_headers.q.x: v}", "fetches its keys"),
        ("{fastproxy.jwks.request_headers.p: v}", "must end in a provider's name"),
        ("{fastproxy.jwks.request_headers.p.host: v}", "set by the fetch itself"),
        ("{fastproxy.jwks.request_headers.p.'a b': v}", "no header name"),
        ("{fastproxy.jwks.request_headers.p.x: 5}", "must be text"),
        ('{fastproxy.jwks.request_headers.p.x: "s3cret\\r\\n"}', "cannot have"),
        ("{fastproxy.jwks.request_headers.p.x: 's3cret {file:/x'}", "not closed"),
        ("{fastproxy.jwks.request_headers.p.x: '{file:/x}{file:/y}'}", "more than one"),
    ],
)
def test_mistakes_in_key_settings_are_refused_without_repeating_values(keys: str, words: str) -> None:
    """A setting for a provider that does not exist protects or opens nothing, so it is a typing error."""
    (found,) = problems(text(DISCOVERY, keys))

    assert words in found.problem
    assert "s3cret" not in str(found)


def test_discovery_cluster_of_a_provider_with_keys_of_its_own_is_refused() -> None:
    """It would have no effect."""
    keys = "{fastproxy.jwks.discovery_cluster.p: backend}"

    assert "finds its keys by discovery" in problem(text(f"p: {{remote_jwks: {{{HTTP_URI}}}}}", keys)).problem


def test_s53_header_values_are_not_in_the_dump_nor_in_warnings() -> None:
    """Whoever reads /config_dump should not get the token for the key server; the file's name is fine."""
    keys = (
        "{fastproxy.jwks.request_headers.p.x: s3cret, fastproxy: {jwks: {request_headers: {p: {y: s3cret,"
        " z: '{file:/run/token}'}}}}, fastproxy.jwks.max_stale_s: 60}"
    )
    loaded = load(text(DISCOVERY, keys))
    dump = json.dumps(config_dump(loaded.bootstrap))

    assert "s3cret" not in dump
    assert "{file:/run/token}" in dump
    assert "fastproxy.jwks.max_stale_s" in dump
    assert not any("s3cret" in str(entry) for entry in loaded.warnings)
    assert sum("stands in the configuration" in str(entry) for entry in loaded.warnings) == 2


def test_no_key_source_and_two_are_errors() -> None:
    """Envoy: exactly one of them."""
    with pytest.raises(ConfigError):
        load(text(f"p: {{issuer: i, remote_jwks: {{{HTTP_URI}}}, local_jwks: {{inline_string: '{{}}'}}}}"))
