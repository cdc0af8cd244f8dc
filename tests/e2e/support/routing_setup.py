"""The configuration behind the differential tests of route matching and route actions."""

import re
from typing import Any

from tests.e2e.support.proxies import Config, ConfigTemplate, Ports
from tests.e2e.support.templates import bootstrap, cluster, direct, forward, listener, redirect, virtual_host
from tests.e2e.support.tokens import ISSUER, EcKey, jwks, standard_claims, tampered

ROUTING_LISTENERS = ("plain", "edge", "closed")

_JWT_METADATA = "envoy.filters.http.jwt_authn"
_PLACEHOLDER = re.compile(rb"<<([a-z0-9-]+)>>")


class TenantTokens:
    """Tokens by what is special about their claims; `<<name>>` in a case stands for one."""

    def __init__(self) -> None:
        self._key = EcKey("es")
        claims: dict[str, dict[str, Any]] = {
            "alice": {"sub": "alice"},
            "bob": {"sub": "bob"},
            "admin": {"sub": "bob", "roles": ["reader", "admin"]},
            "roles-text": {"sub": "bob", "roles": "admin"},
            "level-3": {"sub": "bob", "level": 3},
            "level-5": {"sub": "bob", "level": 5},
            "level-4-5": {"sub": "bob", "level": 4.5},
            "level-7": {"sub": "bob", "level": 7},
            "level-text": {"sub": "bob", "level": "7"},
            "staff": {"sub": "bob", "staff": True},
            "staff-1": {"sub": "bob", "staff": 1},
            "deep": {"sub": "bob", "org": {"unit": "u1"}},
            "deep-text": {"sub": "bob", "org": "unit"},
            "red": {"sub": "bob", "color": "red"},
            "blue": {"sub": "bob", "color": "blue"},
            "green": {"sub": "bob", "color": "green"},
            "present": {"sub": "bob", "present": ""},
            "carol": {"sub": "carol"},
        }
        self._tokens = {name: self._key.issue(standard_claims(**one)) for name, one in claims.items()}
        # PyJWT leaves out what is None, so this one says it in another way.
        self._tokens["null"] = self._key.issue({**standard_claims(sub="bob"), "nothing": None})
        self._tokens["null-present"] = self._key.issue({**standard_claims(sub="bob"), "present": None})
        self._tokens["forged"] = tampered(self._tokens["alice"])

    @property
    def names(self) -> list[str]:
        """Every token."""
        return list(self._tokens)

    @property
    def key_set(self) -> str:
        """What verifies them."""
        return jwks(self._key.jwk())

    def fill(self, wire: bytes) -> bytes:
        """Put the tokens into the bytes of a request."""
        return _PLACEHOLDER.sub(lambda match: self._tokens[match[1].decode()].encode(), wire)


def routing_template(upstream_port: int, mirror_port: int, tokens: TenantTokens) -> ConfigTemplate:
    """Virtual hosts by what they test: `match.test`, `query.test`, `rewrite.test`..."""

    def template(ports: Ports) -> Config:
        hosts = [
            virtual_host("headers", ["headers.test"], _header_routes()),
            virtual_host("query", ["query.test"], _query_routes()),
            virtual_host("kinds", ["kinds.test"], _kind_routes()),
            virtual_host("large", ["large.test"], _many_routes()),
            virtual_host("rewrite", ["rewrite.test", "rewrite.test:81"], _rewrites()),
            virtual_host("redirect", ["redirect.test", "redirect.test:80"], _redirects()),
            virtual_host("weighted", ["weighted.test"], _weighted()),
            virtual_host("named", ["named.test"], _named_clusters()),
            virtual_host("direct", ["direct.test"], _direct_responses()),
            virtual_host("mirror", ["mirror.test", "mirror.test:81"], _mirrors()),
            virtual_host("timeouts", ["timeouts.test"], _timeouts()),
            {
                **virtual_host("secure", ["secure.test", "secure.test:8080"], [forward({"prefix": "/"})]),
                "require_tls": "ALL",
            },
            {
                **virtual_host("external", ["external.test"], [forward({"prefix": "/"})]),
                "require_tls": "EXTERNAL_ONLY",
            },
            virtual_host("tenants", ["tenants.test"], _tenants()),
            {
                **virtual_host("levels", ["levels.test"], _levels()),
                "typed_per_filter_config": _needs("never"),
            },
            virtual_host("hashed", ["hashed.test"], _hashed()),
            virtual_host("templates", ["templates.test"], _templates()),
        ]
        filters = [_jwt(tokens)]
        edge = {"use_remote_address": True}
        listeners = [
            listener("plain", ports["plain"], hosts, filters=filters),
            listener("edge", ports["edge"], hosts, filters=filters, options=edge),
        ]
        clusters = [
            cluster("echo", upstream_port),
            cluster("other", upstream_port),
            cluster("copies", mirror_port),
            cluster("ring", upstream_port, lb_policy="RING_HASH"),
            cluster("refused", ports["closed"]),
        ]
        config = bootstrap(ports["admin"], listeners, clusters)
        layer = {"on.key": 100, "off.key": {"numerator": 0}, "weights": {"echo": 0, "other": 10}}
        config["layered_runtime"] = {"layers": [{"name": "static", "static_layer": layer}]}
        return config

    return template


def _header(name: str, **condition: Any) -> Config:
    return {"prefix": "/", "headers": [{"name": name, **condition}]}


def _named(match: Config, name: str) -> Config:
    return direct(match, 200, name)


def _header_routes() -> list[Config]:
    conditions: dict[str, Config] = {
        "exact": {"string_match": {"exact": "One"}},
        "exact-folded": {"string_match": {"exact": "one", "ignore_case": True}},
        "prefix": {"string_match": {"prefix": "pre-"}},
        "suffix": {"string_match": {"suffix": "-suf"}},
        "contains": {"string_match": {"contains": "mid"}},
        "contains-folded": {"string_match": {"contains": "MiD", "ignore_case": True}},
        "regex": {"string_match": {"safe_regex": {"regex": "r[0-9]+"}}},
        "range": {"range_match": {"start": -5, "end": 5}},
        "present": {"present_match": True},
        "absent": {"present_match": False},
        "any": {},
        "not-exact": {"string_match": {"exact": "no"}, "invert_match": True},
        "not-exact-or-missing": {
            "string_match": {"exact": "no"},
            "invert_match": True,
            "treat_missing_header_as_empty": True,
        },
        "legacy-exact": {"exact_match": "old"},
        "legacy-prefix": {"prefix_match": "old"},
        "legacy-suffix": {"suffix_match": "old"},
        "legacy-contains": {"contains_match": "old"},
        "legacy-regex": {"safe_regex_match": {"regex": "old[0-9]"}},
    }
    routes = [
        _named({"prefix": f"/{name}", "headers": [{"name": "X-Value", **condition}]}, name)
        for name, condition in conditions.items()
    ]
    both = [
        {"name": "x-value", "string_match": {"exact": "1"}},
        {"name": "x-other", "string_match": {"exact": "2"}},
    ]
    routes += [
        _named({"prefix": "/both", "headers": both}, "both"),
        _named({"prefix": "/", "headers": [{"name": ":method", "string_match": {"exact": "PUT"}}]}, "put"),
        _named({"prefix": "/", "headers": [{"name": ":path", "string_match": {"suffix": "?deep"}}]}, "deep"),
        _named(
            {
                "prefix": "/authority",
                "headers": [{"name": ":authority", "string_match": {"prefix": "headers."}}],
            },
            "authority",
        ),
        _named(
            {"prefix": "/scheme", "headers": [{"name": ":scheme", "string_match": {"exact": "http"}}]}, "http"
        ),
        _named(
            {"prefix": "/inline", "headers": [{"name": "accept", "string_match": {"exact": "a,b"}}]}, "inline"
        ),
        _named({"prefix": "/"}, "rest"),
    ]
    return routes


def _query_routes() -> list[Config]:
    conditions: dict[str, Config] = {
        "any": {},
        "present": {"present_match": True},
        "absent": {"present_match": False},
        "exact": {"string_match": {"exact": "1"}},
        "raw": {"string_match": {"exact": "%41"}},
        "folded": {"string_match": {"exact": "a", "ignore_case": True}},
        "regex": {"string_match": {"safe_regex": {"regex": "[0-9]+"}}},
    }
    routes = [
        _named({"prefix": f"/{name}", "query_parameters": [{"name": "q", **condition}]}, name)
        for name, condition in conditions.items()
    ]
    return [*routes, _named({"prefix": "/"}, "rest")]


def _kind_routes() -> list[Config]:
    return [
        _named({"prefix": "/grpc", "grpc": {}}, "grpc"),
        _named(
            {
                "prefix": "/on",
                "runtime_fraction": {"default_value": {"numerator": 0}, "runtime_key": "on.key"},
            },
            "on",
        ),
        _named(
            {
                "prefix": "/off",
                "runtime_fraction": {"default_value": {"numerator": 100}, "runtime_key": "off.key"},
            },
            "off",
        ),
        _named({"prefix": "/all", "runtime_fraction": {"default_value": {"numerator": 100}}}, "all"),
        _named({"prefix": "/none", "runtime_fraction": {"default_value": {"numerator": 0}}}, "none"),
        _named({"connect_matcher": {}}, "connect"),
        _named({"prefix": "/"}, "rest"),
    ]


def _many_routes() -> list[Config]:
    """Enough of them that FastProxy keeps them in an index, in an order that a wrong index gets wrong."""
    canary = [{"name": "x-canary"}]
    return [
        _named({"prefix": "/a/b", "headers": canary}, "canary"),
        _named({"path": "/a/b/c"}, "exact"),
        _named({"safe_regex": {"regex": "/a/[a-z]+/[0-9]+"}}, "regex"),
        _named({"prefix": "/A/B", "case_sensitive": False}, "folded"),
        _named({"path_separated_prefix": "/sep"}, "separated"),
        _named({"prefix": "/a"}, "a"),
        _named({"path": "/a/never"}, "never"),
        *(_named({"prefix": f"/service-{number}/"}, f"service {number}") for number in range(20)),
        _named({"path": "/Last", "case_sensitive": False}, "last"),
        _named({"prefix": "/"}, "rest"),
    ]


def _regex(pattern: str, substitution: str) -> Config:
    return {"pattern": {"regex": pattern}, "substitution": substitution}


def _rewrites() -> list[Config]:
    return [
        forward({"prefix": "/all-a"}, regex_rewrite=_regex("a", "b")),
        forward({"prefix": "/swap"}, regex_rewrite=_regex("^/swap/([^/]+)/([^/]+)$", "/\\2/\\1")),
        forward({"prefix": "/empty-matches"}, regex_rewrite=_regex("x*", "-")),
        forward({"prefix": "/slash-empty"}, regex_rewrite=_regex("x*y?", "/")),
        forward({"prefix": "/whole"}, regex_rewrite=_regex(".*", "/new")),
        forward({"prefix": "/backslash"}, regex_rewrite=_regex("b", "\\\\")),
        forward({"prefix": "/header"}, host_rewrite_header="x-new-host"),
        forward(
            {"prefix": "/from-path/"}, host_rewrite_path_regex=_regex("^/from-path/([^/]+)/.*$", "\\1.test")
        ),
        forward({"prefix": "/append"}, host_rewrite_literal="new.test", append_x_forwarded_host=True),
        forward({"prefix": "/same"}, host_rewrite_literal="rewrite.test", append_x_forwarded_host=True),
        forward({"path_separated_prefix": "/sep"}, prefix_rewrite="/new"),
        forward({"prefix": "/Folded", "case_sensitive": False}, prefix_rewrite="/x"),
        forward({"prefix": "/"}),
    ]


def _redirects() -> list[Config]:
    return [
        redirect({"prefix": "/regex"}, regex_rewrite=_regex("^/regex/(.*)$", "/new/\\1")),
        redirect({"prefix": "/regex-query"}, regex_rewrite=_regex("a", "b"), strip_query=True),
        redirect({"safe_regex": {"regex": "/whole/.*"}}, prefix_rewrite="/new"),
        redirect({"path": "/path"}, prefix_rewrite="/new"),
        redirect({"prefix": "/host-with-port"}, host_redirect="new.test:8443"),
        redirect({"prefix": "/port-80"}, port_redirect=80),
        redirect({"prefix": "/https-443"}, https_redirect=True, port_redirect=443),
        redirect({"prefix": "/scheme-http"}, scheme_redirect="http"),
        redirect({"prefix": "/scheme-HTTPS"}, scheme_redirect="HTTPS"),
        redirect({"prefix": "/path-strip"}, path_redirect="/moved?own", strip_query=True),
        redirect({"prefix": "/"}),
    ]


def _weights(clusters: list[Config], **more: Any) -> Config:
    return {"weighted_clusters": {"clusters": clusters, **more}}


def _weighted() -> list[Config]:
    shares = [
        {
            "name": "echo",
            "weight": 30,
            "host_rewrite_literal": "echo.test",
            "request_headers_to_add": [{"header": {"key": "x-share", "value": "echo"}}],
            "response_headers_to_add": [{"header": {"key": "x-share", "value": "echo"}}],
        },
        {
            "name": "other",
            "weight": 70,
            "request_headers_to_add": [{"header": {"key": "x-share", "value": "other"}}],
        },
    ]
    runtime = [
        {"name": "echo", "weight": 10},
        {"name": "refused", "weight": 0},
        {"name": "other", "weight": 0},
    ]
    named = [{"cluster_header": "x-cluster", "weight": 1}]
    return [
        {"match": {"prefix": "/by-header"}, "route": _weights(shares, header_name="x-pick")},
        {
            "match": {"prefix": "/literal"},
            "route": {**_weights(shares, header_name="x-pick"), "host_rewrite_literal": "route.test"},
        },
        {"match": {"prefix": "/runtime"}, "route": _weights(runtime, runtime_key_prefix="weights")},
        {"match": {"prefix": "/named"}, "route": _weights(named)},
        {
            "match": {"prefix": "/zero"},
            "route": _weights([{"name": "refused", "weight": 0}, {"name": "echo", "weight": 1}]),
        },
    ]


def _named_clusters() -> list[Config]:
    return [
        {
            "match": {"prefix": "/404"},
            "route": {"cluster_header": "x-cluster", "cluster_not_found_response_code": "NOT_FOUND"},
        },
        {
            "match": {"prefix": "/500"},
            "route": {
                "cluster_header": "x-cluster",
                "cluster_not_found_response_code": "INTERNAL_SERVER_ERROR",
            },
        },
        {"match": {"prefix": "/"}, "route": {"cluster_header": "X-Cluster"}},
    ]


def _direct_responses() -> list[Config]:
    def formatted(prefix: str, body_format: Config, content_type: str = "", **more: Any) -> Config:
        typed = {"header": {"key": "content-type", "value": content_type}}
        return {
            "match": {"prefix": prefix},
            "direct_response": {"status": 200, "body_format": body_format, **more},
            "response_headers_to_add": [{**typed, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
        }

    def text(format_: str, **more: Any) -> Config:
        return {"text_format_source": {"inline_string": format_}, **more}

    everything = "%REQ(:path)% %RESPONSE_CODE% [%LOCAL_REPLY_BODY%] %REQ(nope)% %RESPONSE_FLAGS% %PROTOCOL%"
    json = {"code": "%RESPONSE_CODE%", "body": "%LOCAL_REPLY_BODY%", "missing": "%REQ(nope)%"}
    body = {"inline_string": "body"}
    return [
        formatted("/text", text(everything)),
        formatted("/around", text("<%LOCAL_REPLY_BODY%>"), body=body),
        formatted("/json", {"json_format": json}, body=body),
        formatted("/html", text("<p>", content_type="text/html"), "text/css"),
        formatted("/typed-by-the-route", text("p {}"), "text/css"),
        formatted("/nothing", text("%REQ(nope)%", omit_empty_values=True)),
        {
            "match": {"prefix": "/bytes"},
            "direct_response": {"status": 200, "body": {"inline_bytes": "AAEC/w=="}},
        },
        {"match": {"prefix": "/empty"}, "direct_response": {"status": 204}},
        {"match": {"prefix": "/599"}, "direct_response": {"status": 599, "body": {"inline_string": "odd"}}},
        {
            "match": {"prefix": "/file"},
            "direct_response": {"status": 200, "body": {"filename": "/etc/hostname"}},
        },
        {
            "match": {"prefix": "/environment"},
            "direct_response": {"status": 200, "body": {"environment_variable": "PATH"}},
        },
    ]


def _mirrors() -> list[Config]:
    def mirrored(prefix: str, **policy: Any) -> Config:
        policies = [{"cluster": "copies", **policy}] if "cluster_header" not in policy else [policy]
        return forward({"prefix": prefix}, request_mirror_policies=policies)

    never = {"default_value": {"numerator": 0}}
    changes = [
        {"append": {"header": {"key": "x-of", "value": "%REQ(:authority)%%REQ(:path)% %REQ(x-test)%"}}},
        {"remove": "x-drop"},
        {"append": {"header": {"key": "x-first", "value": "%REQ(x-second)%"}}},
        {"append": {"header": {"key": "x-second", "value": "%REQ(x-of)%"}}},
        {
            "append": {
                "header": {"key": "x-envoy-internal", "value": "no"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        },
    ]
    return [
        mirrored("/changed", request_headers_mutations=changes),
        mirrored("/keep-host", disable_shadow_host_suffix_append=True),
        mirrored("/never", runtime_fraction=never),
        mirrored("/by-header", cluster_header="x-copy-to"),
        mirrored("/other-host", host_rewrite_literal="copy.test"),
        {
            **forward(
                {"prefix": "/rewritten/"}, prefix_rewrite="/", request_mirror_policies=[{"cluster": "copies"}]
            ),
            "request_headers_to_add": [{"header": {"key": "x-added", "value": "yes"}}],
        },
        mirrored("/refused", cluster="refused"),
        mirrored("/"),
    ]


def _timeouts() -> list[Config]:
    return [
        forward({"prefix": "/idle"}, idle_timeout="0.3s"),
        forward({"prefix": "/duration"}, max_stream_duration={"max_stream_duration": "0.3s"}),
        forward({"prefix": "/grpc"}, max_stream_duration={"grpc_timeout_header_max": "0.3s"}),
        forward({"prefix": "/off"}, timeout="7s", max_stream_duration={"max_stream_duration": "0s"}),
        forward({"prefix": "/fraction"}, timeout="0.0015s"),
    ]


def _tenants() -> list[Config]:
    def tenant(name: str, *path: str, **more: Any) -> Config:
        segments = [{"key": key} for key in ("claims", *path)]
        matcher = {"filter": _JWT_METADATA, "path": segments, **more}
        return direct({"prefix": "/", "dynamic_metadata": [matcher]}, 200, name)

    return [
        tenant("alice", "sub", value={"string_match": {"exact": "alice"}}),
        tenant("admin", "roles", value={"list_match": {"one_of": {"string_match": {"exact": "admin"}}}}),
        tenant("level", "level", value={"double_match": {"range": {"start": 3, "end": 5}}}),
        tenant("level 7", "level", value={"double_match": {"exact": 7}}),
        tenant("staff", "staff", value={"bool_match": True}),
        tenant("nothing", "nothing", value={"null_match": {}}),
        tenant("deep", "org", "unit", value={"string_match": {"prefix": "u"}}),
        tenant(
            "either",
            "color",
            value={
                "or_match": {
                    "value_matchers": [
                        {"string_match": {"exact": "red"}},
                        {"string_match": {"exact": "blue"}},
                    ]
                }
            },
        ),
        tenant("present", "present", value={"present_match": True}),
        tenant("not bob", "sub", value={"string_match": {"exact": "bob"}}, invert=True),
        direct({"prefix": "/"}, 200, "rest"),
    ]


_TYPES = "type.googleapis.com/envoy."
_JWT_NAME = "envoy.filters.http.jwt_authn"


def _needs(requirement: str) -> Config:
    """Per-route settings of jwt_authn: a requirement by name."""
    typed = f"{_TYPES}extensions.filters.http.jwt_authn.v3.PerRouteConfig"
    return {_JWT_NAME: {"@type": typed, "requirement_name": requirement}}


def _levels() -> list[Config]:
    """What the most specific level says about jwt_authn counts; the virtual host asks for a token that nobody has."""
    off = {_JWT_NAME: {"@type": f"{_TYPES}config.route.v3.FilterConfig", "disabled": True}}
    shares = [
        {"name": "echo", "weight": 1, "typed_per_filter_config": _needs("anything")},
        {"name": "other", "weight": 1},
    ]
    return [
        {**forward({"prefix": "/route"}), "typed_per_filter_config": _needs("anything")},
        {**forward({"prefix": "/off"}), "typed_per_filter_config": off},
        {
            "match": {"prefix": "/share"},
            "route": _weights(shares, header_name="x-pick"),
            "typed_per_filter_config": _needs("token"),
        },
        {"match": {"prefix": "/host-share"}, "route": _weights(shares, header_name="x-pick")},
        forward({"prefix": "/"}),
    ]


def _hashed() -> list[Config]:
    def by_cookie(prefix: str, cluster_name: str = "ring", **cookie: Any) -> Config:
        policy = [{"cookie": {"name": "sid", **cookie}}]
        return forward({"prefix": prefix}, cluster_name, hash_policy=policy)

    return [
        by_cookie("/path", ttl="60s", path="/path"),
        by_cookie("/session", ttl="0s"),
        by_cookie("/none"),
        by_cookie("/unhashed", "echo", ttl="60s"),
        by_cookie("/", ttl="60s"),
    ]


def _templates() -> list[Config]:
    def template(text: str) -> Config:
        typed = f"{_TYPES}extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
        return {"path_match_policy": {"name": "t", "typed_config": {"@type": typed, "path_template": text}}}

    def rewritten(text: str, rewrite: str) -> Config:
        typed = f"{_TYPES}extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig"
        config = {"@type": typed, "path_template_rewrite": rewrite}
        return forward(template(text), path_rewrite_policy={"name": "t", "typed_config": config})

    matched = [
        "/one/{x}",
        "/lit/*/b",
        "/rest/**",
        "/ts/**.ts",
        "/dot/{x}.json",
        "/in/{x=a/*}/z",
        "/v/{x}/",
        "/p/v{x}",
    ]
    return [
        rewritten("/new/{x}", "/other/{x}"),
        rewritten("/swap/{x=*}/{y=**}", "/{y}/{x}"),
        forward(template("/regex/{x}"), regex_rewrite=_regex("e", "E")),
        *(direct(template(text), 200, text) for text in matched),
        direct({"prefix": "/"}, 404, "rest"),
    ]


def _jwt(tokens: TenantTokens) -> Config:
    provider = {
        "issuer": ISSUER,
        "local_jwks": {"inline_string": tokens.key_set},
        "payload_in_metadata": "claims",
        "clear_route_cache": True,
        "forward": True,
    }
    rules = [
        {
            "match": {"prefix": "/tenant"},
            "requires": {"requires_any": {"requirements": [{"provider_name": "p"}, {"allow_missing": {}}]}},
        }
    ]
    typed = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
    return {
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": typed,
            "providers": {"p": provider, "nobody": {**provider, "issuer": "https://nobody.test"}},
            "rules": rules,
            "requirement_map": {
                "token": {"provider_name": "p"},
                "never": {"provider_name": "nobody"},
                "anything": {"allow_missing": {}},
            },
        },
    }
