"""No access log shows a token, whatever its format prints and wherever the configuration reads tokens from (S53)."""

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import StartFastProxy
from tests.e2e.support.proxies import Config, Ports
from tests.e2e.support.templates import EVERYTHING_TO_ECHO, bootstrap, cluster, jwt_authn, listener, rule
from tests.e2e.support.tokens import (
    ISSUER,
    encode_segment,
    hmac_jwk,
    issue_hmac,
    jwks,
    standard_claims,
    tampered,
)
from tests.e2e.support.upstream import ScriptedUpstream
from tests.e2e.support.wire import Downstream, encode_request

_FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
#: Everything that a format can say about the request.
PRINTED = (
    "%REQ(AUTHORIZATION)%", "%REQ(X-OWN)%", "%REQ(X-RAW)%", "%REQ(X-NONE?X-OWN)%", "%REQ(X-NONE?X-RAW)%",
    "%REQ(COOKIE)%", "%REQ(:PATH)%", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "%REQ(X-OWN):40%", "%PATH(WQ)%",
    "%QUERY_PARAM(t)%", "%QUERY_PARAM(access_token)%", "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn)%",
    "%RESPONSE_CODE_DETAILS%",
)  # fmt: skip
#: Where tokens are read: the defaults, and places of one's own.
PLACES: dict[str, Config] = {
    "default": {},
    "own": {
        "from_headers": [{"name": "X-Own", "value_prefix": "Token "}, {"name": "x-raw"}],
        "from_params": ["t"],
        "from_cookies": ["session"],
    },
}
#: Nothing of a token beyond its header, which is the same in all of them, may be there.
SHORTEST_PART = 12


def logs(directory: Path) -> list[Config]:
    """One log in text and one in JSON, with all of it."""
    text = {"text_format_source": {"inline_string": " ".join(PRINTED) + "\n"}}
    members = {f"m{n}": operator for n, operator in enumerate(PRINTED)}
    return [
        {
            "name": name,
            "typed_config": {"@type": _FILE_LOG, "path": str(directory / name), "log_format": log_format},
        }
        for name, log_format in (("text", text), ("json", {"json_format": members}))
    ]


def unusual(token: str) -> str:
    """The same token with white space in its JSON header: it does not begin as others do."""
    header = encode_segment(b'  { "alg" : "HS256" , "kid" : "hs" }')
    return f"{header}.{token.split('.')[1]}.{encode_segment(bytes(32))}"


def heads(places: str, token: str) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """Target and headers of requests that carry the token: in one place each, and in all."""
    if places == "default":
        header, parameter = ("authorization", f"Bearer {token}"), f"/x?a=1&access_token={token}&b=2"
        return [("/x", (header,)), (parameter, ()), (parameter, (header,))]
    found = (("x-own", f"Token {token}"), ("x-raw", token), ("cookie", f"a=b; session={token}"))
    single: list[tuple[str, tuple[tuple[str, str], ...]]] = [("/x", (one,)) for one in found]
    return [*single, (f"/x?t={token}", ()), (f"/x?t={token}&a=%41", found)]


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize("places", PLACES)
def test_s53_no_custom_log_format_prints_a_token(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream, tmp_path: Path, places: str, forward: bool
) -> None:
    """Accepted and forwarded, accepted and removed, refused, expired, malformed, given twice: none is written."""
    provider = {
        "issuer": ISSUER,
        "forward": forward,
        "payload_in_metadata": "payload",
        "local_jwks": {"inline_string": jwks(hmac_jwk())},
        **PLACES[places],
    }

    def template(ports: Ports) -> Config:
        filters = [jwt_authn({"p": provider}, [rule({"prefix": "/"}, "p")])]
        options = {"access_log": logs(tmp_path)}
        listeners = [listener("plain", ports["plain"], EVERYTHING_TO_ECHO, filters=filters, options=options)]
        return bootstrap(ports["admin"], listeners, [cluster("echo", upstream.port)])

    good = issue_hmac()
    tokens = [
        good,
        tampered(good),
        issue_hmac(standard_claims(exp=1)),
        unusual(good),
        good.rpartition(".")[0],
    ]
    proxy = start_fastproxy(template)
    statuses = []
    for token in tokens:
        for target, headers in heads(places, token):
            with Downstream(proxy.ports["plain"]) as downstream:
                downstream.send(encode_request("GET", target, *headers))
                statuses.append(downstream.read_response().status)
    assert proxy.stop() == 0

    assert 200 in statuses
    assert statuses.count(401) >= 4 * len(heads(places, good))
    for name in ("text", "json"):
        written = (tmp_path / name).read_text()
        assert len(written.splitlines()) == len(statuses)
        for token in tokens:
            for part in token.split(".")[1:]:
                assert part[:SHORTEST_PART] not in written
                assert part[-SHORTEST_PART:] not in written
            assert unusual(good).split(".")[0][:SHORTEST_PART] not in written
        assert "redacted" in written
    members = [json.loads(line) for line in (tmp_path / "json").read_text().splitlines()]
    assert {line["m0"] for line in members} <= {"[redacted]", None}
