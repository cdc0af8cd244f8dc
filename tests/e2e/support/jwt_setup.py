"""The configuration, the keys and the tokens behind the differential tests of `jwt_authn`."""

import json
import re
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec

from fastproxy.clock import unix_time
from tests.e2e.support.proxies import Config, ConfigTemplate, Ports
from tests.e2e.support.templates import (
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
from tests.e2e.support.tokens import (
    AUDIENCE,
    ISSUER,
    Claims,
    EcKey,
    RsaKey,
    encode_segment,
    hmac_jwk,
    issue_hmac,
    jwks,
    standard_claims,
    tampered,
)
from tests.e2e.support.upstream import After, Answer, ScriptedUpstream

JWT_LISTENERS = ("plain", "edge", "closed")

_PLACEHOLDER = re.compile(rb"<<([a-z0-9-]+)>>")


class TokenBook:
    """Every key of the issuer, and every token under the name that the case tables use in `<<name>>`."""

    def __init__(self) -> None:
        self.rsa = RsaKey("rs")
        self.rsa_other = RsaKey("rs")
        """Another issuer's key under the same key id."""
        self.rsa_small = RsaKey("small", bits=1024)
        self.rsa_encryption = RsaKey("enc")
        self.ec256 = EcKey("es")
        self.ec384 = EcKey("es384", ec.SECP384R1(), "ES384")
        self.ec521 = EcKey("es512", ec.SECP521R1(), "ES512")
        self._tokens: dict[str, str] = {
            **self._sound(),
            **self._by_claims(),
            **self._by_header(),
            **self._by_encoding(),
            **self._by_key(),
        }

    def __getitem__(self, name: str) -> str:
        """A token by name."""
        return self._tokens[name]

    def fill(self, wire: bytes) -> bytes:
        """Put the tokens into the bytes of a request."""
        return _PLACEHOLDER.sub(lambda match: self._tokens[match[1].decode()].encode(), wire)

    def _sound(self) -> dict[str, str]:
        good = self.rsa.issue()
        return {
            "good": good,
            "good-other": self.rsa.issue(standard_claims(sub="bob")),
            "good-no-kid": self.rsa.issue(kid=None),
            "tampered": tampered(good),
            "es256": self.ec256.issue(),
            "es256-tampered": tampered(self.ec256.issue()),
            "es384": self.ec384.issue(),
            "es512": self.ec521.issue(),
            "hs256": issue_hmac(),
            "hs256-wrong": issue_hmac(secret=bytes(64)),
            "hs384": issue_hmac(algorithm="HS384"),
            "hs512": issue_hmac(algorithm="HS512"),
            "rs384": self.rsa.issue(algorithm="RS384"),
            "rs512": self.rsa.issue(algorithm="RS512"),
            "ps256": self.rsa.issue(algorithm="PS256"),
        }

    def _by_claims(self) -> dict[str, str]:
        now = int(unix_time())
        changes: dict[str, Claims] = {
            "expired": {"exp": now - 70},
            "expired-within-skew": {"exp": now - 45},
            "expired-10s": {"exp": now - 10},
            "expired-long-ago": {"exp": 1000},
            "not-yet": {"nbf": now + 90},
            "not-yet-within-skew": {"nbf": now + 30},
            "no-exp": {"exp": None},
            "exp-zero": {"exp": 0},
            "exp-text": {"exp": str(now + 3600)},
            "exp-bool": {"exp": True},
            "exp-list": {"exp": [now + 3600]},
            "exp-negative": {"exp": -1},
            "exp-float": {"exp": now + 3600.7},
            "exp-huge": {"exp": 10**19},
            "exp-too-huge": {"exp": 2 * 10**19},
            "nbf-text": {"nbf": "soon"},
            "nbf-negative": {"nbf": -5},
            "iat-text": {"iat": "now"},
            "iat-negative": {"iat": -5},
            "iat-future": {"iat": now + 9000},
            "iss-other": {"iss": "https://other.test"},
            "iss-slash": {"iss": ISSUER + "/"},
            "iss-case": {"iss": ISSUER.upper()},
            "iss-missing": {"iss": None},
            "iss-number": {"iss": 5},
            "iss-list": {"iss": [ISSUER]},
            "sub-number": {"sub": 7},
            "sub-missing": {"sub": None},
            "jti-number": {"jti": 7},
            "aud-other": {"aud": "elsewhere"},
            "aud-missing": {"aud": None},
            "aud-empty-list": {"aud": []},
            "aud-list": {"aud": ["x", AUDIENCE]},
            "aud-slash": {"aud": AUDIENCE + "/"},
            "aud-https": {"aud": "https://" + AUDIENCE},
            "aud-case": {"aud": AUDIENCE.upper()},
            "aud-number": {"aud": 3},
            "aud-list-of-numbers": {"aud": [3]},
            "aud-prefix": {"aud": AUDIENCE + "-2"},
            "big-payload": {"roles": [f"role-{number}" for number in range(300)]},
            "unicode": {"name": "J\u00fcrgen \u6771\u4eac"},
            "expired-and-foreign": {"exp": now - 100, "iss": "https://other.test"},
            "expired-and-wrong-audience": {"exp": now - 100, "aud": "elsewhere"},
        }
        header = json.dumps({"alg": "RS256", "kid": "rs", "typ": "JWT"}).encode()
        return {
            name: self.rsa.sign(header, json.dumps(standard_claims(**change)).encode())
            for name, change in changes.items()
        }

    def _by_header(self) -> dict[str, str]:
        payload = json.dumps(standard_claims()).encode()
        headers: dict[str, bytes] = {
            "alg-none": b'{"alg":"none","kid":"rs"}',
            "alg-none-upper": b'{"alg":"NONE","kid":"rs"}',
            "alg-empty": b'{"alg":"","kid":"rs"}',
            "alg-lower": b'{"alg":"rs256","kid":"rs"}',
            "alg-missing": b'{"kid":"rs"}',
            "alg-number": b'{"alg":5,"kid":"rs"}',
            "alg-unknown": b'{"alg":"ES256K","kid":"rs"}',
            "alg-hs256-over-rsa": b'{"alg":"HS256","kid":"rs"}',
            "kid-number": b'{"alg":"RS256","kid":5}',
            "kid-null": b'{"alg":"RS256","kid":null}',
            "kid-empty": b'{"alg":"RS256","kid":""}',
            "kid-unknown": b'{"alg":"RS256","kid":"nobody"}',
            "kid-path": b'{"alg":"RS256","kid":"../../etc/passwd"}',
            "typ-other": b'{"alg":"RS256","kid":"rs","typ":"at+jwt"}',
            "extra-members": b'{"alg":"RS256","kid":"rs","x":{"y":[1]},"jku":"http://evil.test/"}',
            "crit": b'{"alg":"RS256","kid":"rs","crit":["exp"],"exp":1}',
            "b64-false": b'{"alg":"RS256","kid":"rs","b64":false}',
            "header-not-json": b"not json",
            "header-list": b'["alg"]',
            "header-duplicate": b'{"alg":"RS256","kid":"rs","kid":"rs"}',
            "header-single-quotes": b"{'alg':'RS256','kid':'rs'}",
            "header-trailing-comma": b'{"alg":"RS256","kid":"rs",}',
        }
        payloads: dict[str, bytes] = {
            "payload-not-json": b"not json",
            "payload-list": b"[1]",
            "payload-string": b'"x"',
            "payload-null": b"null",
            "payload-duplicate": payload[:-1] + b',"sub":"eve"}',
            "payload-duplicate-escaped": payload[:-1] + b',"\\u0073ub":"eve"}',
            "payload-trailing-comma": payload[:-1] + b",}",
            "payload-invalid-utf8": payload[:-1] + b',"n":"\xff"}',
            "payload-nan": payload[:-1] + b',"n":NaN}',
            "payload-control": payload[:-1] + b',"n":"a\tb"}',
            "payload-deep": payload[:-1] + b',"n":' + b"[" * 200 + b"]" * 200 + b"}",
            "payload-surrogate": payload[:-1] + b',"n":"\\ud800"}',
        }
        usual = b'{"alg":"RS256","kid":"rs"}'
        return {name: self.rsa.sign(header, payload) for name, header in headers.items()} | {
            name: self.rsa.sign(usual, text) for name, text in payloads.items()
        }

    def _by_encoding(self) -> dict[str, str]:
        good = self.rsa.issue()
        head, payload, signature = good.split(".")
        return {
            "empty-signature": f"{head}.{payload}.",
            "two-parts": f"{head}.{payload}",
            "four-parts": f"{good}.x",
            "five-parts": f"{good}.x.y",
            "one-part": "abcdef",
            "only-dots": "..",
            "leading-dot": f".{good}",
            "trailing-dot": f"{good}.",
            "double-dot": f"{head}..{payload}.{signature}",
            "header-bad-base64": f"!{head}.{payload}.{signature}",
            "payload-bad-base64": f"{head}.!{payload}.{signature}",
            "signature-bad-base64": f"{head}.{payload}.!{signature}",
            "signature-plus": f"{head}.{payload}.{'+' * len(signature)}",
            "signature-padded": f"{good}==",
            "signature-loose-bits": good[:-1] + chr(ord(good[-1]) + 1),
            "signature-one-more": f"{good}A",
            "header-length-4n1": self.rsa.sign("eyJhb", payload),
            "payload-padded": self.rsa.sign(head, _padded(standard_claims())),
        }

    def _by_key(self) -> dict[str, str]:
        return {
            "foreign-key": self.rsa_other.issue(),
            "small-key": self.rsa_small.sign(
                b'{"alg":"RS256","kid":"small"}', json.dumps(standard_claims()).encode()
            ),
            "encryption-key": self.rsa_encryption.issue(),
            "es-key-under-rs": self.ec256.issue(kid="rs"),
            "es384-under-es256": self.ec384.issue(kid="es"),
        }


def _padded(claims: Claims) -> str:
    """A payload segment that needs padding, and has it."""
    texts = (json.dumps({**claims, "pad": "x" * length}).encode() for length in range(3))
    text = next(text for text in texts if len(text) % 3)
    return encode_segment(text) + "=" * (3 - len(text) % 3)


#: Path prefix (without slash) -> what this provider adds to issuer, audience and the key set `main`.
_PROVIDERS: Final[dict[str, Config]] = {
    "rs": {"forward_payload_header": "x-jwt-payload"},
    "keep": {"forward": True, "forward_payload_header": "x-jwt-payload"},
    "mixed-case": {"forward_payload_header": "X-Mixed-Payload"},
    "pad": {"forward_payload_header": "x-padded", "pad_forward_payload_header": True},
    "no-payload": {},
    "any-issuer": {"issuer": "", "forward_payload_header": "x-jwt-payload"},
    "no-audience": {"audiences": [], "forward_payload_header": "x-jwt-payload"},
    "audience-url": {"audiences": ["https://" + AUDIENCE + "/"]},
    "skew": {"clock_skew_seconds": 5},
    "header": {"from_headers": [{"name": "X-Token"}]},
    "prefixed": {"from_headers": [{"name": "x-auth", "value_prefix": "Token "}]},
    "prefixed-keep": {"forward": True, "from_headers": [{"name": "x-auth", "value_prefix": "Token "}]},
    "two-headers": {"from_headers": [{"name": "x-one"}, {"name": "x-two"}]},
    "param": {"from_params": ["tok"]},
    "param-keep": {"forward": True, "from_params": ["tok"]},
    "header-and-param": {"from_headers": [{"name": "x-token"}], "from_params": ["tok"]},
    "cached": {"jwt_cache_config": {"jwt_cache_size": 50}},
}


def jwt_template(upstream_port: int, key_port: int, book: TokenBook) -> ConfigTemplate:
    """The file: one provider per path prefix, so that each case tells by its path which settings it tests."""
    main = jwks(book.rsa.jwk(), book.ec256.jwk())
    other_keys = {
        "es": jwks(book.ec256.jwk()),
        "hs": jwks(hmac_jwk()),
        "hs384": jwks(hmac_jwk(algorithm="HS384")),
        "hs512": jwks(hmac_jwk(algorithm="HS512")),
        "es384": jwks(book.ec384.jwk()),
        "es512": jwks(book.ec521.jwk()),
        "rs384": jwks(book.rsa.jwk(alg="RS384")),
        "rs512": jwks(book.rsa.jwk(alg="RS512")),
        "ps256": jwks(book.rsa.jwk(alg="PS256")),
        "no-alg": jwks(_without(book.rsa.jwk(), "alg"), _without(book.ec256.jwk(), "alg")),
        "no-kid": jwks(_without(book.rsa.jwk(), "kid")),
        "weak": jwks(book.rsa_small.jwk(), book.rsa_encryption.jwk(use="enc"), book.rsa.jwk()),
    }
    providers = {
        name: _provider({"local_jwks": {"inline_string": main}}, extra) for name, extra in _PROVIDERS.items()
    }
    for name, keys in other_keys.items():
        providers[name] = _provider({"local_jwks": {"inline_string": keys}}, {})
    providers["remote"] = _provider(_remote("/certs", "keys"), {"forward_payload_header": "x-jwt-payload"})
    for name in ("broken", "hanging", "html", "missing"):
        providers[name] = _provider(_remote(f"/{name}", "keys"), {})
    providers["down"] = _provider(_remote("/certs", "closed"), {})

    def template(ports: Ports) -> Config:
        routes = [
            direct({"prefix": "/rs/direct"}, 200, "direct"),
            redirect({"prefix": "/rs/redirect"}, host_redirect="new.test"),
            forward({"prefix": "/rs/rewrite/"}, prefix_rewrite="/new/"),
            forward({"prefix": "/"}),
        ]
        hosts = [
            virtual_host("sparse", ["sparse.test"], [direct({"path": "/only"}, 200, "only")]),
            virtual_host("any", ["*"], routes),
        ]
        filters = [jwt_authn(providers, _rules(providers))]
        listeners = [
            listener("plain", ports["plain"], hosts, filters=filters),
            listener("edge", ports["edge"], hosts, filters=filters, options={"use_remote_address": True}),
        ]
        clusters = [
            cluster("echo", upstream_port),
            cluster("keys", key_port),
            cluster("closed", ports["closed"]),
        ]
        return bootstrap(ports["admin"], listeners, clusters)

    return template


def start_key_servers(book: TokenBook) -> ScriptedUpstream:
    """The issuer: its keys under `/certs`, and every way in which it can fail under other paths."""
    document = jwks(book.rsa.jwk(), book.ec256.jwk()).encode()
    return ScriptedUpstream(
        paths={
            "/certs": json_answer(document),
            "/broken": json_answer(b'{"keys": "none"}'),
            "/html": json_answer(b"<html>sign in</html>"),
            "/missing": Answer((b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",)),
            "/hanging": Answer((), After.HANG),
        }
    )


def json_answer(document: bytes) -> Answer:
    """200 with a document."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(document)
    return Answer((head + document,))


def _provider(keys: Config, extra: Config) -> Config:
    provider = {"issuer": ISSUER, "audiences": [AUDIENCE], **keys, **extra}
    return {name: value for name, value in provider.items() if value not in ("", [])}


def _remote(path: str, cluster_name: str) -> Config:
    uri = f"http://issuer.test{path}"
    return {
        "remote_jwks": {
            "http_uri": {"uri": uri, "cluster": cluster_name, "timeout": "0.5s"},
            "cache_duration": {"seconds": 300},
        }
    }


def _rules(providers: Config) -> list[Config]:
    return [
        rule({"path": "/rs/open"}),
        rule({"safe_regex": {"regex": "/rs/free[0-9]+"}}),
        rule({"path": "/rs-exact"}, "rs"),
        rule({"path_separated_prefix": "/rs-separated"}, "rs"),
        rule({"safe_regex": {"regex": "/rs-[0-9]+"}}, "rs"),
        *[rule({"prefix": f"/{name}/"}, name) for name in providers],
        rule({"path": "/only"}, "rs"),
        rule({"prefix": "/nothing"}, "rs"),
        rule({"prefix": "/open"}),
    ]


def _without(jwk: dict[str, Any], *members: str) -> dict[str, Any]:
    return {name: value for name, value in jwk.items() if name not in members}
