"""The configuration and the tokens behind the differential tests of requirements, claims, places and routes."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from fastproxy.clock import unix_time
from tests.e2e.support.cases import CONTENDER, Pair
from tests.e2e.support.http_setup import SCRIPTS
from tests.e2e.support.proxies import Config, ConfigTemplate, Ports, running_envoy, running_fastproxy
from tests.e2e.support.templates import (
    bootstrap,
    cluster,
    direct,
    forward,
    jwt_authn,
    listener,
    rule,
    virtual_host,
)
from tests.e2e.support.tokens import AUDIENCE, ISSUER, RsaKey, jwks, standard_claims, tampered
from tests.e2e.support.upstream import ScriptedUpstream

LISTENERS = ("algebra", "fields", "strip", "preflight", "routes", "off", "matches")

_PLACEHOLDER = re.compile(rb"<<([a-z0-9-]+)>>")
_PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig"
_FILTER_CONFIG = "type.googleapis.com/envoy.config.route.v3.FilterConfig"
_JWT_NAME = "envoy.filters.http.jwt_authn"

#: What becomes of a token in the algebra, with Envoy's status number; 0 is a pass.
STATES: Final = {"good": 0, "expired": 3, "tampered": 26, "foreign": 24, "aud": 25}
ISSUERS: Final = {name: f"https://{name}.test" for name in ("a", "b", "c", "d")}

A: Final[Config] = {"provider_name": "a"}
B: Final[Config] = {"provider_name": "b"}
C: Final[Config] = {"provider_name": "c"}
D: Final[Config] = {"provider_name": "d"}
MISSING: Final[Config] = {"allow_missing": {}}
FAILED: Final[Config] = {"allow_missing_or_failed": {}}


def any_of(*requirements: Config) -> Config:
    """`requires_any`."""
    return {"requires_any": {"requirements": list(requirements)}}


def all_of(*requirements: Config) -> Config:
    """`requires_all`."""
    return {"requires_all": {"requirements": list(requirements)}}


#: Path prefix -> requirement.
REQUIREMENTS: Final[dict[str, Config]] = {
    "one": A,
    "any": any_of(A, B),
    "all": all_of(A, B),
    "any-missing": any_of(A, MISSING),
    "missing-any": any_of(MISSING, A),
    "any-two-missing": any_of(A, B, MISSING),
    "any-failed": any_of(A, FAILED),
    "any-both-flags": any_of(A, MISSING, FAILED),
    "only-flags": any_of(MISSING, FAILED),
    "only-missing": any_of(MISSING, MISSING),
    "missing": MISSING,
    "failed": FAILED,
    "all-optional-first": all_of(any_of(A, MISSING), B),
    "all-optional-both": all_of(any_of(A, MISSING), any_of(B, MISSING)),
    "all-with-missing": all_of(A, MISSING),
    "all-with-failed": all_of(A, FAILED),
    "any-with-group": any_of(A, all_of(B, C)),
    "nested-missing": any_of(A, any_of(B, MISSING)),
    "group-missing": any_of(all_of(B, A), MISSING),
    "any-shared": any_of(C, D),
    "all-same": all_of(C, C),
    "any-empty": any_of(A, {}),
    "empty-any": any_of({}, A),
    "empty": {},
    "audiences": {"provider_and_audiences": {"provider_name": "a", "audiences": ["elsewhere"]}},
    "audiences-empty": {"provider_and_audiences": {"provider_name": "a"}},
    "any-audiences": any_of(
        A, {"provider_and_audiences": {"provider_name": "a", "audiences": ["elsewhere"]}}
    ),
}

_CLAIM_VALUES: Final[dict[str, Any]] = {
    "text": "plain text",
    "empty": "",
    "spaces-inside": "a  b",
    "percent": "100%",
    "comma": "a,b",
    "quote": 'a"b\\c',
    "unicode": "J\u00fcrgen",
    "emoji": "\U0001f511",
    "leading-space": " alice",
    "trailing-space": "alice ",
    "looks-encoded": "UTF-8''J%C3%BCrgen",
    "crlf": "a\r\nx-admin: 1",
    "lf": "a\nb",
    "nul": "a\0b",
    "tab": "a\tb",
    "int": 42,
    "zero": 0,
    "big": 12345678901234567891,
    "beyond-double": 9007199254740993,
    "negative": -3,
    "negative-big": -9007199254740993,
    "float": 1.5,
    "float-whole": 3.0,
    "float-small": 1e-9,
    "float-ten-digits": 1e10,
    "float-huge": 1e21,
    "float-negative": -2.5,
    "true": True,
    "false": False,
    "null": None,
    "list": ["p", "q"],
    "list-empty": [],
    "object": {"k": "v"},
    "object-empty": {},
    "list-mixed": ["a", 1, True, None, {"b": []}],
    "list-unicode": ["\u00fc"],
    "long": "x" * 5000,
}
CLAIM_NAMES: Final = tuple(_CLAIM_VALUES)

_SUBJECTS: Final[dict[str, Config]] = {
    "sub-exact": {"exact": "alice"},
    "sub-exact-case": {"exact": "ALICE", "ignore_case": True},
    "sub-prefix": {"prefix": "al"},
    "sub-suffix": {"suffix": "ce"},
    "sub-suffix-case": {"suffix": "CE", "ignore_case": True},
    "sub-contains": {"contains": "lic"},
    "sub-regex": {"safe_regex": {"regex": "a.*"}},
    "sub-regex-part": {"safe_regex": {"regex": "a"}},
    "sub-regex-empty": {"safe_regex": {"regex": "b?"}},
}
_FIELDS: Final[dict[str, Config]] = {
    **{name: {"subjects": subject} for name, subject in _SUBJECTS.items()},
    "lifetime": {"max_lifetime": "1800s"},
    "lifetime-long": {"max_lifetime": "7200s"},
    "must-expire": {"require_expiration": True},
    "cookie": {"from_cookies": ["session"]},
    "cookie-keep": {"from_cookies": ["session"], "forward": True},
    "cookie-and-header": {
        "from_cookies": ["session"],
        "from_headers": [{"name": "x-token"}],
        "forward": True,
    },
    "claim": {"claim_to_headers": [{"header_name": "X-Claim", "claim_name": "v"}]},
    "claim-deep": {"claim_to_headers": [{"header_name": "x-claim", "claim_name": "o.p.q"}]},
    "claim-through-text": {"claim_to_headers": [{"header_name": "x-claim", "claim_name": "sub.x"}]},
    "claim-through-list": {"claim_to_headers": [{"header_name": "x-claim", "claim_name": "l.0"}]},
    "claim-twice": {
        "claim_to_headers": [
            {"header_name": "x-claim", "claim_name": "sub"},
            {"header_name": "x-claim", "claim_name": "iss"},
        ]
    },
    "claim-and-payload": {
        "forward_payload_header": "x-payload",
        "claim_to_headers": [{"header_name": "x-claim", "claim_name": "sub"}],
    },
    "metadata": {"payload_in_metadata": "payload", "header_in_metadata": "header"},
    "clear-route": {
        "clear_route_cache": True,
        "claim_to_headers": [{"header_name": "x-claim", "claim_name": "sub"}],
    },
}
FIELD_PATHS: Final = tuple(_FIELDS)


class AlgebraBook:
    """The tokens that the tables name in `<<name>>`."""

    def __init__(self) -> None:
        self.rsa = RsaKey("rs")
        self._tokens = {**self._by_issuer(), **self._by_subject(), **self._by_claim()}

    def fill(self, wire: bytes) -> bytes:
        """Put the tokens into the bytes of a request."""
        return _PLACEHOLDER.sub(lambda match: self._tokens[match[1].decode()].encode(), wire)

    def _issue(self, **claims: Any) -> str:
        header = b'{"alg":"RS256","kid":"rs"}'
        return self.rsa.sign(header, json.dumps(standard_claims(**claims), ensure_ascii=False).encode())

    def _by_issuer(self) -> dict[str, str]:
        now = int(unix_time())
        tokens: dict[str, str] = {}
        for name, issuer in ISSUERS.items():
            good = self._issue(iss=issuer)
            tokens |= {
                f"{name}-good": good,
                f"{name}-expired": self._issue(iss=issuer, exp=now - 100),
                f"{name}-tampered": tampered(good),
                f"{name}-foreign": self._issue(iss="https://foreign.test"),
                f"{name}-aud": self._issue(iss=issuer, aud="elsewhere"),
            }
        return tokens

    def _by_subject(self) -> dict[str, str]:
        now = int(unix_time())
        return {
            "alice": self._issue(),
            "bob": self._issue(sub="bob"),
            "alice-upper": self._issue(sub="ALICE"),
            "no-sub": self._issue(sub=None),
            "expired": self._issue(exp=now - 100),
            "expired-within-skew": self._issue(exp=now - 30),
            "long-lived": self._issue(exp=now + 86400),
            "no-exp": self._issue(exp=None),
            "bad": tampered(self._issue()),
            "deep": self._issue(o={"p": {"q": "found"}}),
            "deep-dotted": self._issue(**{"o.p.q": "literal"}),
            "list-claim": self._issue(l=["zero"]),
        }

    def _by_claim(self) -> dict[str, str]:
        tokens: dict[str, str] = {}
        for name, value in _CLAIM_VALUES.items():
            claims = {**standard_claims(), "v": value}
            text = json.dumps(claims, ensure_ascii=False, separators=(",", ":")).encode()
            tokens[f"claim-{name}"] = self.rsa.sign(b'{"alg":"RS256","kid":"rs"}', text)
        return tokens


def _algebra_filter(keys: Config) -> Config:
    def provider(name: str, **more: Any) -> Config:
        return {
            "issuer": ISSUERS[name],
            "audiences": [AUDIENCE],
            "forward_payload_header": f"x-{name}-payload",
            **keys,
            **more,
        }

    providers = {
        "a": provider("a", from_headers=[{"name": "x-a"}]),
        "b": provider("b", from_headers=[{"name": "x-b"}]),
        "c": provider("c"),
        "d": provider("d"),
    }
    rules: list[Config] = [
        {"match": {"prefix": f"/{name}/"}, "requires": requirement}
        for name, requirement in REQUIREMENTS.items()
    ]
    rules.append({"match": {"prefix": "/named/"}, "requirement_name": "strict"})
    rules.append({"match": {"prefix": "/named-any/"}, "requirement_name": "either"})
    filter_ = jwt_authn(providers, rules)
    filter_["typed_config"]["requirement_map"] = {"strict": A, "either": any_of(A, B)}
    return filter_


def _plain_filter(keys: Config, rules: list[Config], fields: dict[str, Config], **options: Any) -> Config:
    providers = {
        name: {"issuer": ISSUER, "audiences": [AUDIENCE], **keys, **extra} for name, extra in fields.items()
    }
    filter_ = jwt_authn(providers, rules)
    filter_["typed_config"].update(options)
    return filter_


def _matches() -> list[Config]:
    """One rule per form, each under a prefix of its own."""
    headers: dict[str, Config] = {
        "h-present": {"name": "X-H"},
        "h-absent": {"name": "x-h", "present_match": False},
        "h-not-present": {"name": "x-h", "present_match": True, "invert_match": True},
        "h-exact": {"name": "x-h", "string_match": {"exact": "one"}},
        "h-case": {"name": "x-h", "string_match": {"exact": "ONE", "ignore_case": True}},
        "h-prefix": {"name": "x-h", "string_match": {"prefix": "on"}},
        "h-suffix": {"name": "x-h", "string_match": {"suffix": "ne"}},
        "h-contains": {"name": "x-h", "string_match": {"contains": "ne"}},
        "h-regex": {"name": "x-h", "string_match": {"safe_regex": {"regex": "o.e"}}},
        "h-range": {"name": "x-h", "range_match": {"start": -5, "end": 10}},
        "h-invert": {"name": "x-h", "string_match": {"exact": "one"}, "invert_match": True},
        "h-as-empty": {
            "name": "x-h",
            "string_match": {"exact": ""},
            "treat_missing_header_as_empty": True,
        },
        "h-method": {"name": ":method", "string_match": {"exact": "POST"}},
        "h-path": {"name": ":path", "string_match": {"contains": "?q"}},
        "h-authority": {"name": ":authority", "string_match": {"prefix": "api."}},
        "h-scheme": {"name": ":scheme", "string_match": {"exact": "http"}},
    }
    queries: dict[str, Config] = {
        "q-present": {"name": "q"},
        "q-present-true": {"name": "q", "present_match": True},
        "q-exact": {"name": "q", "string_match": {"exact": "1"}},
        "q-regex": {"name": "q", "string_match": {"safe_regex": {"regex": "[0-9]+"}}},
        "q-raw": {"name": "q", "string_match": {"exact": "a%20b"}},
    }
    rules = [rule({"prefix": f"/{name}/", "headers": [match]}, "p") for name, match in headers.items()]
    rules += [
        rule({"prefix": f"/{name}/", "query_parameters": [match]}, "p") for name, match in queries.items()
    ]
    both: Config = {"headers": [headers["h-exact"]], "query_parameters": [queries["q-exact"]]}
    return [
        *rules,
        rule({"prefix": "/both/", **both}, "p"),
        rule({"path": "/Exact", "case_sensitive": False}, "p"),
        rule({"prefix": "/Prefix", "case_sensitive": False}, "p"),
        rule({"path_separated_prefix": "/Api", "case_sensitive": False}, "p"),
        rule({"path_separated_prefix": "/sep"}, "p"),
        rule({"safe_regex": {"regex": "/r[0-9]+"}}, "p"),
        rule({"connect_matcher": {}}, "p"),
    ]


def per_route(**config: Any) -> Config:
    """`typed_per_filter_config` with a PerRouteConfig."""
    return {"typed_per_filter_config": {_JWT_NAME: {"@type": _PER_ROUTE, **config}}}


def wrapped(**config: Any) -> Config:
    """`typed_per_filter_config` with a FilterConfig."""
    return {"typed_per_filter_config": {_JWT_NAME: {"@type": _FILTER_CONFIG, **config}}}


def _route_hosts() -> list[Config]:
    routes = [
        {**forward({"prefix": "/free/"}), **per_route(disabled=True)},
        {**forward({"prefix": "/strict/"}), **per_route(requirement_name="strict")},
        {**forward({"prefix": "/optional/"}), **per_route(requirement_name="optional")},
        {**forward({"prefix": "/off/"}), **wrapped(disabled=True)},
        {
            **forward({"prefix": "/wrapped/"}),
            **wrapped(config={"@type": _PER_ROUTE, "requirement_name": "optional"}),
        },
        {**direct({"prefix": "/direct/"}, 200, "direct"), **per_route(requirement_name="strict")},
        forward({"prefix": "/"}),
    ]
    inherited = [
        {**forward({"prefix": "/strict/"}), **per_route(requirement_name="strict")},
        forward({"prefix": "/"}),
    ]
    return [
        {**virtual_host("free", ["free.test"], inherited), **per_route(disabled=True)},
        {**virtual_host("optional", ["optional.test"], inherited), **per_route(requirement_name="optional")},
        virtual_host("any", ["*"], routes),
    ]


def algebra_template(upstream_port: int, book: AlgebraBook) -> ConfigTemplate:
    """One listener for each set of filter options."""
    keys: Config = {"local_jwks": {"inline_string": jwks(book.rsa.jwk())}}
    one: dict[str, Config] = {"p": {"forward_payload_header": "x-payload"}}
    everything = [rule({"prefix": "/open/"}), rule({"prefix": "/"}, "p")]
    named = {"strict": {"provider_name": "p"}, "optional": any_of({"provider_name": "p"}, MISSING)}
    off = _plain_filter(keys, everything, one, requirement_map=named)
    off["disabled"] = True
    filters = {
        "algebra": _algebra_filter(keys),
        "fields": _plain_filter(keys, [rule({"prefix": f"/{name}/"}, name) for name in _FIELDS], _FIELDS),
        "strip": _plain_filter(keys, everything, one, strip_failure_response=True),
        "preflight": _plain_filter(keys, everything, one, bypass_cors_preflight=True),
        "routes": _plain_filter(keys, everything, one, requirement_map=named),
        "off": off,
        "matches": _plain_filter(keys, _matches(), one),
    }

    def template(ports: Ports) -> Config:
        anything = [virtual_host("any", ["*"], [forward({"prefix": "/"})])]
        hosts = {"routes": _route_hosts(), "off": _route_hosts()}
        listeners = [
            listener(name, ports[name], hosts.get(name, anything), filters=[filters[name]])
            for name in LISTENERS
        ]
        return bootstrap(ports["admin"], listeners, [cluster("echo", upstream_port)])

    return template


@contextmanager
def algebra_pair(directory: Path) -> Iterator[Pair]:
    """Both proxies over this configuration."""
    book = AlgebraBook()
    with ExitStack() as stack:
        upstream = stack.enter_context(ScriptedUpstream(SCRIPTS))
        template = algebra_template(upstream.port, book)
        envoy = stack.enter_context(running_envoy(template, LISTENERS, directory))
        if CONTENDER == "envoy":
            second = directory / "second"
            second.mkdir()
            contender = stack.enter_context(running_envoy(template, LISTENERS, second))
        else:
            contender = stack.enter_context(running_fastproxy(template, LISTENERS, directory))
        yield Pair(envoy, contender, upstream, book.fill)
