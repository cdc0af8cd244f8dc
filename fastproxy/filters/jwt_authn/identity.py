"""Which request headers only this filter may set (S46)."""

from collections.abc import Iterable
from itertools import product

from fastproxy.filters.jwt_authn.settings import ProviderSettings

#: Names with more separators than this are matched in their two plain spellings only.
_MAX_VARIANT_SEPARATORS = 6


def identity_headers(providers: Iterable[ProviderSettings]) -> frozenset[bytes]:
    """Every spelling of the headers that a provider may put claims or payloads into."""
    names: set[str] = set()
    for provider in providers:
        if provider.forward_payload_header:
            names.add(provider.forward_payload_header.lower())
        names.update(claim.header_name.lower() for claim in provider.claim_headers)
    return frozenset(spelling for name in names for spelling in _spellings(name))


def _spellings(name: str) -> set[bytes]:
    """A header name with `-` and `_` exchanged in every way: many servers read both as one name."""
    parts = name.replace("_", "-").split("-")
    if len(parts) - 1 > _MAX_VARIANT_SEPARATORS:
        return {"-".join(parts).encode(), "_".join(parts).encode(), name.encode()}
    found = set()
    for separators in product("-_", repeat=len(parts) - 1):
        text = parts[0]
        for separator, part in zip(separators, parts[1:], strict=True):
            text += separator + part
        found.add(text.encode())
    return found
