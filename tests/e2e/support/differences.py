"""Every known difference between FastProxy and Envoy that a downstream or an upstream can see, with its reason.

A differential test whose case names a difference fails when the two proxies no longer differ there, so this list
cannot go stale; a difference that is not listed fails as well.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Difference:
    """One deliberate deviation."""

    id: str
    envoy: str
    fastproxy: str
    reason: str


#: Values that two proxies can never have in common; `exchange` replaces them by names before it compares.
ALWAYS: Final = MappingProxyType(
    {
        "server": "the product's name, unless `server_name` is configured; test_server_header has the real values",
        "date": "the time of the answer",
        "x-envoy-upstream-service-time": "a duration",
        "x-request-id": "a random UUID, when the proxy makes it; its form is compared",
        "x-forwarded-port": "the listener's port, when the proxy sets it",
        "x-forwarded-for": "for a loopback peer Envoy appends an address of its own machine, FastProxy the peer's; "
        "test_forwarded_for_names_the_real_peer has the real values",
    }
)

BARE_LF = Difference(
    "bare-lf",
    "takes LF alone as a line end",
    "400",
    "RFC 9112 section 2.2 allows it, but two parsers that disagree are a request smuggled (S51)",
)
OBS_FOLD = Difference(
    "obs-fold",
    "joins a folded header line with a space",
    "400",
    "RFC 9112 section 5.2 lets a server refuse it; no real client sends it, attackers do (S51)",
)
BARE_CR = Difference(
    "bare-cr", "drops a bare CR inside a value", "400", "RFC 9112 section 2.2: an invalid message (S51)"
)
TWO_HOSTS = Difference(
    "two-hosts",
    "joins two host headers with a comma and routes by the result",
    "400",
    "RFC 9112 section 3.2 demands 400 (S51)",
)
SNI_CASE = Difference(
    "sni-case",
    "shows its default certificate when the server name comes in capital letters",
    "shows the certificate of that name",
    "RFC 6066 section 3: host names are compared without regard to case",
)
HEAD_LOCAL_REPLY = Difference(
    "head-local-reply",
    "a HEAD request's local reply without body says `transfer-encoding: chunked`",
    "it says `content-length: 0`, as the GET would",
    "RFC 9110 section 9.3.2: HEAD has the header fields of GET",
)
HOST_WITH_USER_INFO = Difference(
    "host-with-user-info",
    "forwards `Host: user@name`",
    "400",
    "RFC 9110 section 7.2: host is a name and a port (S51)",
)
UNKNOWN_VERSION = Difference(
    "unknown-version",
    "426 for any HTTP/x.y that is not 1.1",
    "400 for a version that does not exist, 426 for 1.0",
    "426 would tell the peer to upgrade to what it already speaks",
)
STALE_CONNECTION = Difference(
    "stale-connection",
    "503, when the upstream closes a reused connection without answering a byte",
    "sends the request once more on a new connection, if the method is idempotent and the body was kept, "
    "or if nothing of it was written",
    "it was the upstream's idle timer, and the downstream need not know",
)
EARLY_REPLY = Difference(
    "early-reply",
    "closes the connection after a local reply to a request with a body, also when the whole body is there",
    "keeps it when the whole body came with the head, and closes it otherwise",
    "nothing of the request is left on the connection, so the next one cannot be misread",
)
HEADER_ORDER = Difference(
    "header-order",
    "keeps repeated headers apart, replaces a header in its place",
    "repeated headers stand together, a replaced header stands where the proxy adds its own",
    "RFC 9110 section 5.3: the order of headers with different names has no meaning; order within a name is kept",
)
LENGTH_WITH_204 = Difference(
    "length-with-204",
    "sends `content-length` with a 204 or 304 that `local_reply_config` has given a body, and no body",
    "sends neither",
    "RFC 9110 section 8.6",
)
HTTP2_SETTINGS = Difference(
    "http2-settings",
    "forwards HTTP2-Settings unless `connection` names it",
    "always removes it",
    "it belongs to an h2c upgrade of this hop and must not reach the next",
)
FORWARDED_PROTO_CHECKED = Difference(
    "forwarded-proto-checked",
    "keeps any x-forwarded-proto that a trusted hop sends",
    "replaces one that is neither http nor https",
    "redirects and realms are built from it",
)
REALM_REDACTED = Difference(
    "realm-redacted",
    "repeats a query token in the `www-authenticate` realm",
    "puts `redacted` in its place",
    "S53: a token must not appear in anything that is logged",
)
REALM_ORIGINAL_PATH = Difference(
    "realm-original-path",
    "builds the realm from x-envoy-original-path, which any downstream can send",
    "builds it from the path that was requested",
    "an answer should not repeat what the downstream made up",
)
PIPELINED_AFTER_DENIAL = Difference(
    "pipelined-after-denial",
    "drops pipelined requests behind one that jwt_authn denied, without `connection: close`",
    "answers them",
    "a request that was read is answered",
)
EXPECT_WITHOUT_BODY = Difference(
    "expect-without-body",
    "answers `expect: 100-continue` with 100 even when no body will come",
    "sends the final answer only",
    "RFC 9110 section 10.1.1: nothing is waited for",
)
PROXY_CONNECTION = Difference(
    "proxy-connection",
    "obeys `proxy-connection: close`",
    "removes the header and goes by `connection` alone",
    "RFC 9112 appendix C.2.2: the header is not part of HTTP",
)
MISSING_EXP = Difference(
    "missing-exp",
    "a token without `exp` never expires",
    "401, unless the runtime key fastproxy.jwt.allow_missing_exp is set",
    "S20: a credential without end is refused unless asked for",
)
ZERO_EXP = Difference(
    "zero-exp", "`exp` that truncates to 0 never expires", "401", "S20: 1970 lies in the past; fail closed"
)
CRIT = Difference(
    "crit",
    "ignores `crit` in the JOSE header",
    "401",
    "RFC 7515 section 4.1.11: what is not understood must be refused (S7)",
)
B64 = Difference(
    "b64", "ignores `b64: false`", "401", "RFC 7797: the payload would be read in another way (S8)"
)
LENIENT_BASE64 = Difference(
    "lenient-base64",
    "accepts padding, blanks and loose trailing bits in base64url",
    "401",
    "S11: one token has one spelling, or deny lists and caches can be walked around",
)
LENIENT_SEGMENTS = Difference(
    "lenient-segments", "drops empty segments: `.h.p.s` is a token", "401", "S11: exactly three segments"
)
LENIENT_JSON = Difference(
    "lenient-json",
    "accepts single quotes, bare names, trailing commas, control characters, `null` for an object",
    "401",
    "RFC 8259, and the upstream's parser may read it in another way (S21)",
)
KEY_USE = Difference(
    "key-use",
    "ignores `use` and `key_ops`",
    "401: a key that is not for signatures is not used",
    "RFC 7517 section 4.2 (S16)",
)
SMALL_RSA_KEY = Difference(
    "small-rsa-key",
    "accepts RSA keys of 1024 bits",
    "401: such a key is ignored",
    "RFC 7518 section 3.3: 2048 bits or more (S15)",
)
TWO_TOKENS = Difference(
    "two-tokens",
    "judges every token of a request and reports one of them",
    "refuses the request",
    "S48: the token that was verified must be the one that the upstream reads",
)
PREFIX_ANYWHERE = Difference(
    "prefix-anywhere",
    "finds `Bearer ` anywhere in the value and skips characters before the token",
    "the value must begin with the prefix",
    "RFC 6750 section 2.1; the upstream must read the same token (S48)",
)
QUERY_REBUILT = Difference(
    "query-rebuilt",
    "removes a query token by decoding, sorting and rebuilding the whole query",
    "cuts the parameter out of the query and leaves every other byte alone",
    "parameters must not change their meaning on the way (spec/jwt_authn.md section 12.4)",
)
UNACCEPTED_TOKENS = Difference(
    "unaccepted-tokens",
    "`requires_any` forwards the tokens of its other children, unchecked or refused",
    "removes them when one child has accepted a token",
    "the upstream must not read a token that nobody verified (S48)",
)
MISSING_MEANS_MISSING = Difference(
    "missing-means-missing",
    "`allow_missing` lets a bad token pass beside a good one, or beside a group that lacks another one",
    "refuses the request",
    "S28: missing means that there is no token",
)
ONE_TOKEN_TWICE = Difference(
    "one-token-twice",
    "with `forward: false` the first child of `requires_all` takes the token away from the next",
    "one token may satisfy several children",
    "the token is there; it is removed when the whole requirement is satisfied",
)
ALL_CHILDREN_TRIED = Difference(
    "all-children-tried",
    "an empty requirement in `requires_any` ends it, and a good token after it is neither verified nor removed",
    "verifies the token all the same",
    "what the upstream learns must not depend on the order of alternatives",
)
VERIFIED_HEADERS_KEPT = Difference(
    "verified-headers-kept",
    "`allow_missing*` in `requires_all` removes the payload and claim headers that a child before it has set",
    "keeps them",
    "the upstream would take an authenticated request for an anonymous one",
)
COOKIE_REMOVED = Difference(
    "cookie-removed",
    "`forward: false` leaves a cookie token in the request",
    "cuts the cookie out",
    "`forward: false` says that the upstream does not get the token (S53)",
)
EXACT_NUMBERS = Difference(
    "exact-numbers",
    "whole numbers in claim headers are rounded to a double, negative ones get six decimals",
    "they are written in full",
    "an account number must not become another one",
)
CLAIM_ENCODED = Difference(
    "claim-encoded",
    "puts non-ASCII text, and blanks at the ends, into claim headers as they are",
    "encodes them by RFC 8187: `UTF-8''J%C3%BCrgen`",
    "S47: parsers cut blanks off and disagree about bytes, so that two names become one",
)
CLAIM_DROPPED = Difference(
    "claim-dropped",
    "a control character in a claim header makes 503, or goes to the upstream",
    "the header is left out",
    "S47: never raw in a header, and the token itself is good",
)
SKIPPED_STILL_CLEANS = Difference(
    "skipped-still-cleans",
    "a filter that a route switches off with `FilterConfig.disabled` does not touch identity headers",
    "removes them all the same",
    "S46: they must come from the proxy or not at all, on every route",
)
KEYS_UNAVAILABLE = Difference(
    "keys-unavailable",
    "401 `Jwks remote fetch is failed` while the keys cannot be fetched",
    "503 with retry-after",
    "the token was not judged: the failure is ours, and trying again makes sense",
)
REWRITTEN_PATH_ROOTED = Difference(
    "rewritten-path-rooted",
    "sends whatever a rewrite leaves as the request target, an empty one included",
    "puts a slash before what does not begin with one",
    "RFC 9112 section 3.2.1: a target begins with a slash; an empty one is read in two ways",
)
QUERY_IN_PLACE = Difference(
    "query-in-place",
    "`query_parameter_mutations` have the whole query decoded, sorted and rebuilt; blanks end the request line",
    "parameters are changed where they stand, and every other byte stays",
    "parameters must not change their meaning on the way, nor the request its end (S51)",
)
REMOVE_ON_MATCH = Difference(
    "remove-on-match-kept",
    "`remove_on_match` takes `:status`, `:path` and `content-length`, too, and the request fails",
    "it takes neither the request line nor what frames a message",
    "without its length a body would be read as the next message (S51)",
)
HOST_HEADER_CHECKED = Difference(
    "host-header-checked",
    "`host_rewrite_header` and `host_rewrite_path_regex` make any text the host",
    "only what is a host, with or without a port; otherwise the host stays",
    "the downstream chooses that text, and gets the check that `host` itself gets",
)
FIRST_INTERIM = Difference(
    "first-interim",
    "with `proxy_100_continue`, passes on the first interim response, whatever it is, and no other one",
    "passes on the first 100, and no other interim response",
    "RFC 9110 section 10.1.1: 100 is what the client waits for, with or without hints before it",
)
CHUNKED_LENGTH_NUMBER = Difference(
    "chunked-length-number",
    "with `allow_chunked_length`, drops any content-length of a chunked request, also one that is no number",
    "400 for one that is no number",
    "RFC 9112 section 6.3: an invalid length is an invalid message, and nobody sends it by mistake (S51)",
)


def all_differences() -> list[Difference]:
    """Every listed difference, in the order of this module."""
    return [value for value in globals().values() if isinstance(value, Difference)]


HINTS_AND_RETRIES = Difference(
    "hints-and-retries",
    "an upstream that has sent 102 or 103 and then nothing gets no other try, and `per_try_timeout` ends nothing",
    "the try is given up and repeated as if there had been no hints",
    "no downstream has seen them; a request must not wait for ever",
)
UPGRADE_CONNECTION = Difference(
    "upgrade-connection",
    "forwards `connection` of an upgrade request as it came, and the headers that it names",
    "the headers that it names go; names other than `upgrade` and `keep-alive` go from `connection`",
    "the upstream obeys it, and would drop the headers that filters add (S46)",
)
UPGRADE_WITH_BODY = Difference(
    "upgrade-with-body",
    "takes the body of an upgrade request for bytes of the new protocol",
    "403",
    "where the body ends and the protocol begins is what two parsers can disagree on (S51)",
)
BARE_101 = Difference(
    "bare-101",
    "passes on a 101 that does not say what it switches to",
    "502",
    "RFC 9110 section 15.2.2 demands `upgrade`; two peers would speak different protocols on one connection (S51)",
)
UNASKED_101 = Difference(
    "unasked-101",
    "passes on a 101 to a request that asked for no upgrade, without its `upgrade`",
    "502",
    "RFC 9110 section 15.2.2; the client would wait for a final answer that never comes (S51)",
)
COMPRESSED_RANGE = Difference(
    "compressed-range",
    "compresses a part of a representation",
    "passes it as it is",
    "RFC 9110 section 14.4: `content-range` counts bytes of the encoded form; nobody could put the parts together",
)
REFUSED_PREFLIGHT = Difference(
    "refused-preflight",
    "answers a preflight that it neither allows nor forwards with every CORS header but the allowed origin",
    "answers it without CORS headers",
    "there is nothing that the origin may do",
)
REDIRECT_ELSEWHERE = Difference(
    "redirect-elsewhere",
    "answers `/%2Fevil.example` with `location: //evil.example`, which is another host",
    "the same path in a `location` with scheme and host",
    "a link to this host could send a browser to any other one",
)
TRAILER_FIELDS = Difference(
    "trailer-fields",
    "passes every trailer on, `authorization` and `x-forwarded-for` included",
    "drops what frames, routes, authenticates or conditions a message; 400 or 501 for `content-length` and a coding",
    "RFC 9110 section 6.5.1: whoever merges trailers into headers would believe them (S46)",
)
LONG_METHODS = Difference(
    "long-methods",
    "takes methods of any length where `allow_custom_methods` is set",
    "up to 64 bytes, then 400",
    "the longest registered one has 17; whatever is longer is kept in logs and compared for nobody",
)
QUERY_WITHOUT_TYPE = Difference(
    "query-without-type",
    "refuses QUERY without `content-type` with 400",
    "passes it on",
    "what a request must say about its content is for its resource to judge, as with every other method",
)
METHOD_TABLE = Difference(
    "method-table",
    "does not know M-SEARCH, unless `allow_custom_methods` is set",
    "knows it",
    "it is a registered method, and nothing about it is special to a proxy",
)
OTHER_PROTOCOL = Difference(
    "other-protocol-version",
    "400 for a request in RTSP/1.1; 502 for a response in RTSP or ICE",
    "takes their first line for HTTP's of the same version; requests in RTSP/1.0 and ICE are 400",
    "the parser knows these names besides; all that follows is read and framed as HTTP, and sent on with HTTP's name",
)
STATUS_LINES = Difference(
    "status-lines",
    "passes a status of four digits, two blanks before it or a bare CR in its reason; 502 for other control characters",
    "502 for the former; the latter is ignored with the reason, unless that is forwarded: then it is 502",
    "RFC 9112 section 4; the reason phrase goes nowhere else",
)
TE_TOKENS = Difference(
    "te-tokens",
    "keeps `te: trailers` in small letters alone, and an empty `te`",
    "keeps the token in any case, as `trailers`, and no empty one",
    "RFC 9112 section 7: names of codings, and `trailers` among them, are compared without regard to case",
)
HOST_SYNTAX = Difference(
    "host-syntax",
    "forwards hosts with an odd port, an unclosed bracket, a zone, or nothing before the port",
    "400",
    "RFC 9110 section 7.2: host is a name or an address, and a port",
)
ABSOLUTE_QUERY = Difference(
    "absolute-query",
    "404 for an absolute target with a query and no path",
    "takes `/` for its path",
    "RFC 9112 section 3.2.1",
)
EMPTY_UPGRADE = Difference(
    "empty-upgrade",
    "403 for `connection: upgrade` with an empty `upgrade`",
    "serves the request without both",
    "it asks for no protocol; a server may ignore the header (RFC 9110 section 7.8)",
)
CHUNK_SYNTAX = Difference(
    "chunk-syntax",
    "takes blanks behind a chunk size or coding, odd extensions, and bytes between a chunk and its line end",
    "400; 501 for the coding",
    "two parsers that disagree on where a chunk ends are a request smuggled (S51)",
)
OLD_VERSIONS = Difference(
    "old-versions",
    "`accept_http_10` is about HTTP/0.9, too, and about HTTP/1.0 with `transfer-encoding`",
    "426, and 400",
    "RFC 9112 section 6.1: its framing is faulty; HTTP/0.9 has neither status nor headers to answer with",
)
MANY_RESOURCES = Difference(
    "many-resources",
    "refuses a file for routes or endpoints that holds more than one resource",
    "takes the one that is asked for by its name",
    "one file for many clusters is one rename, and one moment at which all of it takes effect",
)
PATH_REWRITE_ENCODED = Difference(
    "path-rewrite-encoded",
    "writes what `path_rewrite` formats into the request line as it is",
    "percent-encodes what cannot stand in a path, `?` and `#` included",
    "RFC 3986 section 3.3; a header must not add a query, or end the request line (S49, S51)",
)
PATH_REWRITE_DOTS = Difference(
    "path-rewrite-dots",
    "sends a path with dot segments that a rewrite has made out of one without",
    "400, where any reader might find one, encoded or not",
    "S49: rules and routes have judged another path than the upstream would serve",
)
WHOLE_UPDATES = Difference(
    "whole-updates",
    "uses what is right of a file with clusters or listeners, and leaves out the rest",
    "uses all of it or nothing",
    "half of an update is a state that nobody asked for, and nobody tested (S58)",
)
ONLY_SLASHES = Difference(
    "only-slashes",
    "`merge_slashes` leaves `//` of a path that is nothing but slashes",
    "makes it `/`",
    "a path of two slashes is what the option is there to prevent (S49)",
)
DOT_PARAMETERS = Difference(
    "dot-parameters",
    "`normalize_path` resolves `..;x`, but neither `%2e.;x` nor a backslash behind the semicolon",
    "resolves dot segments with parameters in every spelling",
    "S49: servers that take `..;x` for `..` would climb out of the path that was judged",
)
ZONE_IDS = Difference(
    "zone-ids",
    "takes an address with a zone in `x-forwarded-for`, `fe80::1%eth0`, if the machine has the interface",
    "such an entry is no address",
    "a zone of another machine means nothing here, and may be any text",
)
EMPTY_PROTO = Difference(
    "empty-proto",
    "an empty `x-forwarded-proto` that may be kept is passed on, and the request has no route: 404",
    "counts as absent, and says whether the connection has TLS",
    "nothing was said, so nothing is believed",
)
TRACE_BITS = Difference(
    "trace-bits",
    "clears the bits of a kept external `x-request-id` that ask for a trace",
    "`preserve_external_request_id` keeps it as it is",
    "there is no tracing that they could ask for",
)
TLS_WORDS = Difference(
    "tls-failure-words",
    "BoringSSL's words and numbers, and a TLS version for a handshake that agreed on none",
    "the words of OpenSSL, as in `TLS_error:_WRONG_VERSION_NUMBER`; no version",
    "another library; and what was not agreed on is not known",
)
TCP_TLS_ORDER = Difference(
    "tcp-upstream-before-tls",
    "connects the upstream before the downstream's TLS handshake is done",
    "connects it after that",
    "a handshake that fails costs the upstream nothing",
)
