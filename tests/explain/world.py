"""One configuration with everything in it, requests to it, and what the explanation of each must say."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from fastproxy.clock import unix_time
from fastproxy.explain.asked import AskedRequest
from tests.e2e.support.proxies import Config, Ports
from tests.e2e.support.templates import (
    address,
    bootstrap,
    cluster,
    direct,
    forward,
    jwt_authn,
    listener,
    redirect,
    rule,
    virtual_host,
)
from tests.jwt.support import ISSUER, claims, public_jwk, sign, sign_raw

OTHER = "https://other.example/tenant"
FILTER = "envoy.filters.http.jwt_authn"
_TYPES = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig"
NOW = int(unix_time())

MAIN_KEYS = json.dumps(
    {
        "keys": [
            public_jwk("RS256"),
            public_jwk("ES256", kid="e1"),
            public_jwk("ES256", "enc", kid="enc", use="enc"),
            public_jwk("RS256", "caps", kid="Rotated-2026"),
        ]
    }
)
OTHER_KEYS = json.dumps({"keys": [public_jwk("ES256", "other", kid="o1")]})


def inline(keys: str) -> Config:
    return {"local_jwks": {"inline_string": keys}}


def remote(cluster_name: str, path: str = "/certs") -> Config:
    return {
        "remote_jwks": {
            "http_uri": {"uri": f"http://keys.test{path}", "cluster": cluster_name, "timeout": "2s"},
            "cache_duration": "300s",
        }
    }


def providers() -> Config:
    own: Config = {"issuer": ISSUER, "audiences": ["api"]}
    return {
        "main": {
            **own,
            **inline(MAIN_KEYS),
            "forward_payload_header": "x-jwt-payload",
            "claim_to_headers": [{"header_name": "x-sub", "claim_name": "sub"}],
        },
        "other": {"issuer": OTHER, "audiences": ["other"], **inline(OTHER_KEYS)},
        "strict": {
            **own,
            **inline(MAIN_KEYS),
            "subjects": {"prefix": "svc-"},
            "max_lifetime": "7200s",
            "clock_skew_seconds": 5,
            "from_headers": [{"name": "x-strict"}],
        },
        "cookie": {**own, **inline(MAIN_KEYS), "from_cookies": ["session"], "forward": True},
        "remote": {**own, **remote("keys")},
        "dead": {**own, **remote("dead")},
        "html": {**own, **remote("keys", "/html")},
    }


def rules() -> list[Config]:
    either = {"requires_any": {"requirements": [{"provider_name": "main"}, {"provider_name": "other"}]}}
    both = {"requires_all": {"requirements": [{"provider_name": "main"}, {"provider_name": "strict"}]}}
    with_query = {"prefix": "/query", "query_parameters": [{"name": "a", "present_match": True}]}
    return [
        rule({"prefix": "/open"}),
        rule({"prefix": "/Admin"}, "main"),
        rule({"prefix": "/api"}, "main"),
        rule({"prefix": "/api/other"}, "other"),
        rule({"prefix": "/strict"}, "strict"),
        rule({"prefix": "/remote"}, "remote"),
        rule({"prefix": "/dead"}, "dead"),
        {"match": {"prefix": "/any"}, "requires": either},
        rule({"prefix": "/cookie"}, "cookie"),
        {"match": {"prefix": "/maybe"}, "requires": {"allow_missing": {}}},
        rule({"path": "/exact"}, "main"),
        rule(with_query, "main"),
        {"match": {"prefix": "/both"}, "requires": both},
        rule({"prefix": "/html"}, "html"),
        {
            "match": {"prefix": "/aud"},
            "requires": {"provider_and_audiences": {"provider_name": "main", "audiences": ["special"]}},
        },
    ]


def routes() -> list[Config]:
    def per_route(path: str, config: Config) -> Config:
        return {**forward({"prefix": path}), "typed_per_filter_config": {FILTER: {"@type": _TYPES, **config}}}

    return [
        per_route("/api/health", {"disabled": True}),
        per_route("/named", {"requirement_name": "needs-main"}),
        redirect({"prefix": "/old"}, path_redirect="/new"),
        direct({"prefix": "/direct"}, 200, "hello"),
        direct({"prefix": "/gone"}, 410, "gone"),
        forward({"prefix": "/rewritten"}, prefix_rewrite="/inside", host_rewrite_literal="inner.test"),
        forward({"prefix": "/"}),
    ]


@dataclass(frozen=True)
class Template:
    """The configuration over an upstream and a key server."""

    upstream: int
    keys: int

    def __call__(self, ports: Ports) -> Config:
        jwt = jwt_authn(providers(), rules())
        jwt["typed_config"]["requirement_map"] = {"needs-main": {"provider_name": "main"}}
        jwt["typed_config"]["bypass_cors_preflight"] = True
        hosts = [
            virtual_host("small", ["small.test"], [forward({"prefix": "/api"})]),
            virtual_host("all", ["*"], routes()),
        ]
        clusters = [
            cluster("echo", self.upstream),
            cluster("keys", self.keys),
            cluster("dead", ports["closed"]),
        ]
        made = bootstrap(ports["admin"], [listener("plain", ports["plain"], hosts, filters=[jwt])], clusters)
        made["admin"] = {"address": address(ports["admin"])}
        return made


def token(alg: str = "RS256", /, *, name: str = "", kid: str | None = "k1", **changes: Any) -> bytes:
    """A good token of ISSUER as of now, unless told otherwise."""
    payload = claims(**({"iat": NOW - 10, "exp": NOW + 7000} | changes))
    return sign(alg, payload, name=name, kid=kid)


def with_header(**members: Any) -> bytes:
    """A good token but for its JOSE header."""
    return sign("RS256", claims(iat=NOW, exp=NOW + 7000), **members)


def segment(value: bytes) -> bytes:
    return base64.urlsafe_b64encode(value).rstrip(b"=")


def ask(path: str = "/api", *headers: tuple[str, bytes], **more: Any) -> AskedRequest:
    lines = tuple((name.encode(), value) for name, value in headers)
    return AskedRequest(
        more.get("method", b"GET"),
        path.encode("utf-8", "surrogateescape"),
        more.get("host", b"api.test"),
        lines,
        more.get("body", b""),
    )


def bearing(value: bytes, path: str = "/api", **more: Any) -> AskedRequest:
    return ask(path, ("authorization", b"Bearer " + value), **more)


@dataclass(frozen=True)
class Situation:
    """A request and what must be said about it. `says` are pieces of cause, fix, details and notes."""

    name: str
    asked: AskedRequest
    status: int
    """0: it goes to the upstream."""
    says: tuple[str, ...]
    rule: int | None = None
    provider: str = ""
    fails: str = ""
    """The check that fails first."""
    also: tuple[str, ...] = field(default=())
    """Checks that would fail behind it."""


GOOD = token()
_HEADER, _PAYLOAD, _SIGNATURE = GOOD.split(b".")
_PADDED = b".".join(part + b"=" * (-len(part) % 4 or 0) for part in GOOD.split(b"."))
_PLAIN_ALPHABET = b"eyJ" + GOOD[3:].replace(b"-", b"+").replace(b"_", b"/")


def _bearer(name: str, value: bytes, status: int, *says: str, **more: Any) -> Situation:
    path = more.pop("path", "/api")
    defaults: dict[str, Any] = {"rule": 3, "provider": "main"}
    return Situation(name, bearing(value, path), status, says, **(defaults | more))


SITUATIONS: tuple[Situation, ...] = (
    # -- allowed
    _bearer("good token", GOOD, 0, 'by key "k1"'),
    _bearer("good token by an EC key", token("ES256", kid="e1"), 0, 'by key "e1"'),
    Situation("open rule", ask("/open/x"), 0, ("Rule 1 requires no token",), rule=1),
    Situation("no rule", ask("/nothing"), 0, ("no rule matches",)),
    Situation("route switches the filter off", ask("/api/health"), 0, ("switches the filter off",)),
    Situation(
        "preflight",
        ask("/api", ("origin", b"https://a.test"), ("access-control-request-method", b"GET"), method=b"OPTIONS"),
        0,
        ("bypass_cors_preflight",),
    ),
    Situation("allow_missing without a token", ask("/maybe"), 0, ("without a token",), rule=10),
    Situation("cookie", ask("/cookie", ("cookie", b"a=b; session=" + GOOD)), 0, (), rule=9, provider="cookie"),
    _bearer("any, by the second provider", token("ES256", name="other", kid="o1", iss=OTHER, aud="other"), 0,
            "provider 'other'", rule=8, provider="other", path="/any"),
    _bearer("remote keys", token("ES256", name="r", kid="r1"), 0, 'by key "r1"', rule=6, provider="remote",
            path="/remote"),
    Situation("rewritten", ask("/rewritten/x"), 0, ("no rule matches",)),
    # -- no token, or not where it is looked for
    Situation("nothing", ask(), 401, ("brings no token", "authorization: Bearer TOKEN"), rule=3),
    Situation("no Bearer", ask("/api", ("authorization", GOOD)), 401, ("holds a token without",), rule=3),
    Situation("bearer in lower case", ask("/api", ("authorization", b"bearer " + GOOD)), 401,
              ("upper and lower case included", "Write `authorization: Bearer TOKEN`"), rule=3),
    Situation("Bearer and a tab", ask("/api", ("authorization", b"Bearer\t" + GOOD)), 401,
              ("one space included",), rule=3),
    Situation("Basic", ask("/api", ("authorization", b"Basic dXNlcjpwYXNzd29yZA==")), 401, ('holds "Basic"',), rule=3),
    Situation("Bearer in the middle", ask("/api", ("authorization", b"Basic abc, Bearer " + GOOD)), 401,
              ("in the middle",), rule=3),
    Situation("in another header", ask("/api", ("x-token", GOOD)), 401,
              ("There is a token in header x-token, where nobody looks", "from_headers"), rule=3),
    Situation("in a cookie nobody reads", ask("/api", ("cookie", b"jwt=" + GOOD)), 401,
              ("in cookie jwt", "from_cookies"), rule=3),
    Situation("in a parameter nobody reads", ask("/api?token=" + GOOD.decode()), 401,
              ("in query parameter token", "from_params"), rule=3),
    Situation("in the body", ask("/api", method=b"POST", body=b"access_token=" + GOOD), 401,
              ("request's body, which is never read",), rule=3),
    Situation("in the payload header", ask("/api", ("x-jwt-payload", GOOD)), 401,
              ("removes from every request",), rule=3),
    Situation("no token for the named requirement", ask("/named"), 401,
              ("brings no token", "The route names the requirement itself")),
    # -- two tokens
    Situation("two tokens", bearing(GOOD, "/api?access_token=" + GOOD.decode()), 401,
              ("more than one token", "header authorization, query parameter access_token"), rule=3),
    Situation("empty parameter beside the header", bearing(GOOD, "/api?access_token="), 401,
              ("more than one token",), rule=3),
    # -- form
    _bearer("cut before the signature", GOOD.rpartition(b".")[0], 401, "The token is cut", fails="form"),
    _bearer("cut in the signature", GOOD[:-6], 401, "was cut", fails="signature"),
    _bearer("cut to an odd length", GOOD[:-1], 401, "was cut", fails="signature encoding"),
    _bearer("cut in the payload", _HEADER + b"." + _PAYLOAD[:9] + b"." + _SIGNATURE, 401, "Get the token again",
            fails="payload"),
    _bearer("padded", _PADDED, 401, "base64 padding (=)", fails="header"),
    _bearer("plain base64", GOOD.rpartition(b".")[0] + b"." + b"ab+/" * 20, 401, "plain base64",
            fails="signature encoding"),
    _bearer("white space inside", GOOD[:40] + b" " + GOOD[40:], 401, "white space inside", fails="header"),
    _bearer("quoted", b'"' + GOOD + b'"', 401, "quotation marks", fails="header"),
    _bearer("Bearer twice", b"Bearer " + GOOD, 401, "twice", fails="header"),
    _bearer("encrypted", GOOD + b".abc.def", 401, "encrypted (JWE)", fails="form"),
    _bearer("opaque", b"4/0AeaYSHA-opaque-access-token", 401, "no JWT", fails="form"),
    Situation("nothing behind Bearer", bearing(b""), 401, ("with nothing behind it",), rule=3),
    Situation("empty header", ask("/strict", ("x-strict", b"")), 401, ("there and empty",), rule=5,
              provider="strict", fails="form"),
    _bearer("empty signature", _HEADER + b"." + _PAYLOAD + b".", 401, "part of the token is empty", fails="form"),
    _bearer("too long", b"eyJ" + b"a" * 20000 + b".b.c", 401, "longer than 16384 bytes", fails="form"),
    # -- header
    _bearer("alg none", with_header(alg="none"), 401, "never accepted", fails="header"),
    _bearer("crit", with_header(crit=["x"]), 401, "[crit] is not supported", fails="header"),
    _bearer("logout token", with_header(typ="logout+jwt"), 401, "it is no access token", fails="header"),
    # -- claims
    _bearer("wrong claim type", token(exp="soon"), 401, "[exp] field is not an integer", fails="payload"),
    _bearer("duplicate member", sign_raw("RS256", b'{"alg":"RS256","kid":"k1"}', b'{"sub":"a","sub":"b"}'), 401,
            "duplicate member", fails="payload"),
    _bearer("issuer with a slash", token(iss=ISSUER + "/"), 401, "iss differs only by a trailing slash",
            f'Set `issuer` of provider \'main\' to "{ISSUER}/"', fails="issuer"),
    _bearer("issuer in capitals", token(iss=ISSUER.upper()), 401, "only by upper and lower case", fails="issuer"),
    _bearer("issuer over http", token(iss=ISSUER.replace("https", "http")), 401, "only by http:// or https://",
            fails="issuer"),
    _bearer("issuer of another realm", token(iss=ISSUER + "/realms/test"), 401, "another tenant or realm",
            fails="issuer"),
    _bearer("no issuer", token(iss=None), 401, "The token has no iss", fails="issuer"),
    _bearer("token of another provider", token("ES256", name="other", kid="o1", iss=OTHER, aud="other"), 401,
            'it is a token of provider "other"', fails="issuer", also=("audience", "key")),
    _bearer("unknown issuer", token(iss="https://evil.example"), 401, "wanted is", fails="issuer"),
    _bearer("expired", token(exp=NOW - 4000), 401, "expired 1 h ago", "Get a new token.", "signature included",
            fails="expiry"),
    _bearer("just expired", token(exp=NOW - 200), 401, "the clocks differ", "clock_skew_seconds", fails="expiry"),
    _bearer("a duration for a date", token(exp=3600), 401, "a duration, not a date", fails="expiry"),
    _bearer("expired and for somebody else", token(exp=NOW - 4000, aud="web"), 401,
            "That alone is not enough: it would then fail at: audience", fails="expiry", also=("audience",)),
    _bearer("expired and forged", token(name="forger", exp=NOW - 4000), 401, "fail at: signature",
            fails="expiry", also=("signature",)),
    _bearer("not yet valid", token(nbf=NOW + 890), 401, "not valid for another", "clock is ahead",
            fails="not before"),
    _bearer("nbf in milliseconds", token(nbf=NOW * 1000), 401, "nbf is in milliseconds", fails="not before"),
    _bearer("audience in capitals", token(aud="API"), 403, "aud differs only by upper and lower case",
            'Add "API" to `audiences` of provider', fails="audience"),
    _bearer("audience with two slashes", token(aud="api//"), 403, "only by a trailing slash", fails="audience"),
    _bearer("ID token", token(aud="my-client", nonce="n"), 403, "It is an ID token", "Send the access token",
            fails="audience"),
    _bearer("audience is the client id", token(aud="my-client", azp="my-client"), 403, "client's own id",
            fails="audience"),
    _bearer("no audience", token(aud=None), 403, "The token has no aud", fails="audience"),
    _bearer("another audience", token(aud=["web", "mobile"]), 403, 'aud is ["web", "mobile"]', fails="audience"),
    _bearer("audience of the rule", GOOD, 403, 'one of ["special"]', fails="audience", rule=15, path="/aud"),
    _bearer("no exp", token(exp=None), 401, "never expire", "fastproxy.jwt.allow_missing_exp", fails="lifetime"),
    Situation("subject", ask("/strict", ("x-strict", token())), 401, ('sub is "demo"', "`subjects` of provider"),
              rule=5, provider="strict", fails="subject"),
    Situation("lifetime", ask("/strict", ("x-strict", token(sub="svc-a", exp=NOW + 86400))), 401,
              ("at most 7200 s ahead", "`max_lifetime` of provider"), rule=5, provider="strict", fails="lifetime"),
    Situation("exp in milliseconds", ask("/strict", ("x-strict", token(sub="svc-a", exp=NOW * 1000))), 401,
              ("exp is in milliseconds",), rule=5, provider="strict", fails="lifetime"),
    Situation("header without a prefix takes it all", ask("/strict", ("x-strict", b"Bearer " + GOOD)), 401,
              ("Bearer is there twice",), rule=5, provider="strict"),
    # -- keys
    _bearer("unknown kid", token(kid="gone"), 401, "has no such kid", 'kid "k1": RSA for RS256', fails="key"),
    _bearer("kid in other case", token(kid="K1"), 401, "differs only by upper and lower case", fails="key"),
    _bearer("kid of another provider", token("ES256", name="other", kid="o1"), 401,
            'a key of provider "other"', fails="key"),
    _bearer("unusable key", token("ES256", name="enc", kid="enc"), 401, "in the set and not used", fails="key"),
    _bearer("alg of another key type", token("ES256", kid="k1"), 401, "is for RS256 and does not fit ES256",
            fails="key"),
    _bearer("shared secret", token("HS256", kid="k1"), 401, "does not fit HS256", "sign with its private key",
            fails="key"),
    _bearer("no kid and no fitting key", token("EdDSA", kid=None), 401, "names no kid", fails="key"),
    _bearer("no kid and a fitting key", token(kid=None), 0, 'by key "k1"'),
    _bearer("forged", token(name="forger"), 401, "The key fits, the signature does not", fails="signature"),
    _bearer("short signature", b".".join((token("ES256", kid="e1").rpartition(b".")[0], b"AAAA")), 401,
            "The signature has 3 bytes, one by this key has 64", fails="signature"),
    _bearer("remote set without this kid", token(kid="gone"), 401, "has no such kid", 'kid "r1"', rule=6,
            provider="remote", path="/remote", fails="key"),
    _bearer("keys unreachable", GOOD, 503, "could not be had", "Connection refused", "was not judged", rule=7,
            provider="dead", path="/dead", fails="key"),
    _bearer("key server answers HTML", GOOD, 503, "HTML", rule=14, provider="html", path="/html", fails="key"),
    _bearer("expired before unreachable keys", token(exp=NOW - 4000), 401, "expired 1 h ago", rule=7,
            provider="dead", path="/dead", fails="expiry", also=("key",)),
    # -- requirements
    _bearer("any, nobody's issuer", token(iss=ISSUER + "/"), 401, "only by a trailing slash", rule=8, path="/any",
            fails="issuer"),
    _bearer("any, expired of the first", token(exp=NOW - 4000), 401, "expired 1 h ago", rule=8, path="/any",
            fails="expiry"),
    _bearer("all, the second is missing", GOOD, 401, "x-strict", rule=13, path="/both"),
    _bearer("allow_missing with a bad one", token(exp=NOW - 4000), 401, "expired 1 h ago", rule=10, path="/maybe",
            fails="expiry"),
    # -- rules
    Situation("case of the path", ask("/admin/x"), 0, ("Rule 2", "upper and lower case only")),
    Situation("an earlier rule catches it", bearing(token("ES256", name="other", kid="o1", iss=OTHER, aud="other"),
              "/api/other"), 401, ("Rule 4", "but rule 3 comes first"), rule=3, provider="main", fails="issuer",
              also=("audience", "key")),
    Situation("slash behind an exact path", ask("/exact/"), 0, ("Rule 11", "trailing slash only")),
    Situation("query missing", ask("/query"), 0, ("Rule 12", "what else it asks for does not hold")),
    Situation("doubled slash", ask("//api/x"), 0, ("Rule 3", "doubled slashes")),
    # -- not about tokens
    Situation("redirect", ask("/old"), 301, ("no rule matches",)),
    Situation("direct response", ask("/direct"), 200, ("no rule matches",)),
    Situation("direct refusal", ask("/gone"), 410, ("The route answers the request itself",)),
    Situation("no route", ask("/x", host=b"small.test"), 404, ("No route matches host",)),
    Situation("bad host", ask("/api", host=b"a b"), 400, ("cannot read this",)),
    Situation("control character", ask("/api", ("x-a", b"a\x00b")), 400, ("cannot read this",)),
    Situation("head too large", ask("/api", ("x-a", b"a" * 70000)), 431, ("larger than 61440 bytes",)),
    Situation("upgrade", ask("/api", ("connection", b"upgrade"), ("upgrade", b"websocket")), 403,
              ("asks for another protocol",)),
    Situation("HEAD", ask("/api", method=b"HEAD"), 401, ("brings no token",), rule=3),
    Situation("gRPC", ask("/api", ("content-type", b"application/grpc"), method=b"POST"), 200,
              ("brings no token",), rule=3),
)  # fmt: skip
