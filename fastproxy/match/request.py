"""Conditions on a request besides its path, compiled (Envoy `RouteMatch`; spec/http.md section 8.2)."""

import re
from collections.abc import Callable

from fastproxy.http.headers import values
from fastproxy.http.local_reply import is_grpc
from fastproxy.http.messages import Request
from fastproxy.match.fraction import build_fraction_matcher
from fastproxy.match.metadata import build_metadata_matcher
from fastproxy.match.query import first_parameter
from fastproxy.match.settings import HeaderMatch, QueryMatch, RangeMatch, RequestConditions, StringMatch
from fastproxy.match.string import StringMatcher, build_string_matcher

#: Says whether a request satisfies a condition.
RequestMatcher = Callable[[Request], bool]

#: What Envoy reads as an int64, within Python's limits for decimal text.
_INTEGER = re.compile(rb"[+-]?[0-9]{1,19}")


def build_request_matcher(conditions: RequestConditions) -> RequestMatcher | None:
    """Compile all conditions into one; None if there are none.

    Raises:
        ValueError: a regular expression is not valid RE2; the text is RE2's own message.
    """
    matchers: list[RequestMatcher] = []
    if conditions.connect_only:
        matchers.append(lambda request: request.method == b"CONNECT")
    matchers += [_build_header_matcher(match) for match in conditions.headers]
    matchers += [_build_query_matcher(match) for match in conditions.query_parameters]
    if conditions.grpc:
        matchers.append(is_grpc)
    if conditions.fraction is not None:
        matchers.append(build_fraction_matcher(conditions.fraction))
    matchers += [build_metadata_matcher(match) for match in conditions.metadata]
    if conditions.has_client_certificate is not None:
        matchers.append(_build_certificate_matcher(conditions.has_client_certificate))
    if not matchers:
        return None
    if len(matchers) == 1:
        return matchers[0]
    every = tuple(matchers)
    return lambda request: all(matches(request) for matches in every)


def _build_header_matcher(match: HeaderMatch) -> RequestMatcher:
    """A missing header satisfies nothing but `present_match: false`, not even an inverted condition (Envoy)."""
    name, invert = match.name.encode(), match.invert
    if isinstance(match.value, bool):
        wanted = match.value is not invert
        # With `treat_missing_header_as_empty` every header is there.
        always = match.missing_as_empty
        return lambda request: (always or bool(header_values(request, name))) is wanted
    matches = _build_value_matcher(match.value)
    missing = [b""] if match.missing_as_empty else []

    def matches_header(request: Request) -> bool:
        found = header_values(request, name) or missing
        # Values of one name are tried one by one; inverted, none of them may match.
        return bool(found) and any(matches(value) for value in found) is not invert

    return matches_header


def _build_value_matcher(value: StringMatch | RangeMatch) -> StringMatcher:
    if isinstance(value, StringMatch):
        return build_string_matcher(value)
    start, end = value.start, value.end
    return lambda text: _INTEGER.fullmatch(text) is not None and start <= int(text) < end


def header_values(request: Request, name: bytes) -> list[bytes]:
    """All values of a request header by its lower-case name; also of `:path` and its like, and of `host`."""
    if name == b":path":
        return [request.target]
    if name == b":method":
        return [request.method]
    if name in (b":authority", b"host"):
        return [request.authority]
    if name == b":scheme":
        return [request.scheme]
    return values(request.headers, name)


def _build_certificate_matcher(wanted: bool) -> RequestMatcher:
    def matches_certificate(request: Request) -> bool:
        tls = request.connection.tls
        return (tls is not None and tls.peer is not None) is wanted

    return matches_certificate


def _build_query_matcher(match: QueryMatch) -> RequestMatcher:
    name = match.name.encode()
    if isinstance(match.value, bool):
        wanted = match.value
        return lambda request: (first_parameter(request.query, name) is not None) is wanted
    matches = build_string_matcher(match.value)

    def matches_parameter(request: Request) -> bool:
        value = first_parameter(request.query, name)
        return value is not None and matches(value)

    return matches_parameter
