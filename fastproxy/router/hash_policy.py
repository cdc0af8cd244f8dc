"""The hash of a request, by which a consistent-hashing cluster chooses its endpoint (spec/clusters.md section 3.2).

The hash of the same request is the same in every worker, on every machine and in every version: what it is made of
must not change.
"""

from collections.abc import Callable

from fastproxy.addresses import is_pipe
from fastproxy.http.cookies import cookie_values
from fastproxy.http.messages import Request
from fastproxy.match.query import first_parameter
from fastproxy.match.request import header_values
from fastproxy.match.substitution import build_substitution
from fastproxy.router.settings import CookieHash, HashPolicy, HeaderHash, QueryHash, SourceAddressHash
from fastproxy.upstream.hashing import xxh64

#: One entry's contribution; None if the request has nothing to hash. The bool allows to make a cookie.
_Source = Callable[[Request, bool], int | None]
_MASK = (1 << 64) - 1


class RequestHash:
    """The entries of one route's `hash_policy`, compiled."""

    __slots__ = ("_sources",)

    def __init__(self, policies: tuple[HashPolicy, ...]) -> None:
        """Compile the entries.

        Raises:
            ValueError: a `regex_rewrite` is not valid (the configuration has checked this before).
        """
        self._sources = tuple((_build_source(one), one.terminal) for one in policies)

    def compute(self, request: Request, *, may_set_cookie: bool = True) -> int | None:
        """The hash, below 2**64; None if no entry found anything: then any endpoint will do.

        May add a cookie for the downstream to `request.set_cookies`, so it is called so once per request, and only when
        a cluster goes by the hash.
        """
        combined: int | None = None
        for source, terminal in self._sources:
            found = source(request, may_set_cookie)
            if found is not None:
                # Envoy: rotate what there is by one bit, so that two equal entries do not cancel each other.
                rotated = 0 if combined is None else ((combined << 1) & _MASK) | (combined >> 63)
                combined = rotated ^ found
            if terminal and combined is not None:
                break
        return combined


def stable_hash(data: bytes) -> int:
    """64 bits that depend on `data` alone; the ones that Envoy computes."""
    return xxh64(data)


def _build_source(policy: HashPolicy) -> _Source:
    source = policy.source
    if isinstance(source, HeaderHash):
        return _build_header_source(source)
    if isinstance(source, CookieHash):
        return _build_cookie_source(source)
    if isinstance(source, QueryHash):
        name = source.name.encode()
        return lambda request, _may_set: _hash_if_any(first_parameter(request.query, name))
    assert isinstance(source, SourceAddressHash)
    return _hash_source_address


def _hash_source_address(request: Request, _may_set: bool) -> int | None:
    address = request.remote_address[0]
    # Whoever comes over a Unix domain socket has no address, as in Envoy.
    return None if is_pipe(address) else stable_hash(address.encode())


def _hash_if_any(value: bytes | None) -> int | None:
    return None if value is None else stable_hash(value)


def _build_header_source(source: HeaderHash) -> _Source:
    name = source.name.encode()
    substitute = None if source.rewrite is None else build_substitution(source.rewrite)

    def hash_header(request: Request, _may_set: bool) -> int | None:
        found = header_values(request, name)
        if not found:
            return None
        if substitute is not None:
            found = [substitute(value) for value in found]
        # Sorted: the order of repeated lines is the client's whim. Each hash is the seed of the next, as in Envoy.
        hashed = 0
        for value in sorted(found):
            hashed = xxh64(value, hashed)
        return hashed

    return hash_header


def _build_cookie_source(source: CookieHash) -> _Source:
    name = source.name.encode()
    attributes = _cookie_attributes(source)

    def hash_cookie(request: Request, may_set: bool) -> int | None:
        found = cookie_values(request.headers, name)
        # An empty value stands for none, as in Envoy: it would send all such clients to one endpoint.
        if found and found[0]:
            return stable_hash(found[0])
        if source.ttl_s is None:
            return None
        # The same for all requests of a connection: several may be under way before the cookie comes back.
        peer, local = request.direct_remote_address, request.downstream_local_address
        # All connections of a Unix domain socket have the same ends, and no port; their numbers tell them apart.
        port = peer[1] or request.connection.number
        value = b"%016x" % stable_hash(f"{peer[0]}:{port}-{local[0]}:{local[1]}".encode())
        if may_set:
            _set_cookie(request, name + b'="' + value + b'"' + attributes)
        return stable_hash(value)

    return hash_cookie


def _set_cookie(request: Request, cookie: bytes) -> None:
    if request.set_cookies is None:
        request.set_cookies = [cookie]
    elif cookie not in request.set_cookies:
        request.set_cookies.append(cookie)


def _cookie_attributes(source: CookieHash) -> bytes:
    text = ""
    if source.ttl_s:
        text += f"; Max-Age={int(source.ttl_s)}"
    if source.path:
        text += f"; Path={source.path}"
    for name, value in source.attributes:
        text += f"; {name}={value}" if value else f"; {name}"
    return (text + "; HttpOnly").encode()
