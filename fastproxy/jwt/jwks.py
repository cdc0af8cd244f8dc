"""A JSON Web Key Set (RFC 7517 section 5) and the choice of the keys that may check a token."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final

from fastproxy.jwt.encoding import JsonObject, parse_json_object
from fastproxy.jwt.errors import JwksError, JwtStatus
from fastproxy.jwt.jwk import Jwk, JwkRejected, parse_certificate, parse_jwk
from fastproxy.jwt.pem import is_pem, parse_pem

# Large identity providers publish about ten keys, multi-tenant ones a few hundred.
MAX_KEYS: Final = 1000
# A token without kid may cost at most this many signature checks (S17).
MAX_CANDIDATES: Final = 4

_PEM_BEGIN: Final = "-----BEGIN CERTIFICATE-----\n"
_PEM_END: Final = "\n-----END CERTIFICATE-----\n"


class JwkSet:
    """An immutable set of usable keys, indexed by algorithm and key id.

    Attributes:
        keys: the usable keys in the order of the document.
        ignored: `(index, kid, reason)` of every entry that is not used.
        warnings: what an operator should know: private members, symmetric keys beside public ones.
    """

    __slots__ = ("_any", "_by_kid", "_kids", "_nameless", "ignored", "keys", "warnings")

    def __init__(self, keys: tuple[Jwk, ...], ignored: tuple[tuple[int, str | None, str], ...] = ()) -> None:
        self.keys = keys
        self.ignored = ignored
        self.warnings = _collect_warnings(keys)
        self._kids = frozenset(key.kid for key in keys if key.kid is not None)
        by_kid: defaultdict[tuple[str, str], list[Jwk]] = defaultdict(list)
        nameless: defaultdict[str, list[Jwk]] = defaultdict(list)
        everything: defaultdict[str, list[Jwk]] = defaultdict(list)
        for key in keys:
            for alg in key.algorithms:
                everything[alg].append(key)
                if key.kid is None:
                    nameless[alg].append(key)
                else:
                    by_kid[alg, key.kid].append(key)
        # As in Envoy a key without kid serves every kid; keys that are named are tried before it.
        self._by_kid = {
            (alg, kid): tuple((named + nameless[alg])[:MAX_CANDIDATES])
            for (alg, kid), named in by_kid.items()
        }
        self._nameless = {alg: tuple(found[:MAX_CANDIDATES]) for alg, found in nameless.items()}
        self._any = {alg: tuple(found[:MAX_CANDIDATES]) for alg, found in everything.items()}

    @classmethod
    def parse(cls, document: bytes, *, allow_symmetric: bool = False) -> "JwkSet":
        """Read a key set: `{"keys": [...]}`, an object of PEM certificates by kid (both as in Envoy), or PEM text.

        Entries that cannot be used are listed in `ignored`; the rest of the set serves.

        Args:
            document: UTF-8 JSON, parsed as strictly as a token; or public keys in PEM.
            allow_symmetric: use `oct` keys too, and read PEM text. Only for the operator's own sets, from local
                files and inline text (S4).

        Raises:
            JwksError: not a key set, or without one usable key; the text is Envoy's where it has one.
        """
        if allow_symmetric and is_pem(document):
            return cls._from_entries(parse_pem(document), allow_symmetric=False)
        try:
            members = parse_json_object(document)
        except ValueError:
            raise JwksError("Jwks is an invalid JSON") from None
        if "keys" not in members:
            return cls._parse_certificates(members)
        entries = members["keys"]
        if not isinstance(entries, list):
            raise JwksError("[keys] in Jwks is not an array")
        return cls._from_entries(entries, allow_symmetric=allow_symmetric)

    @classmethod
    def _from_entries(cls, entries: Iterable[object], *, allow_symmetric: bool) -> "JwkSet":
        keys: list[Jwk] = []
        ignored: list[tuple[int, str | None, str]] = []
        for index, entry in enumerate(entries):
            if index >= MAX_KEYS:
                ignored.append((index, None, f"only the first {MAX_KEYS} entries are read"))
                break
            if not isinstance(entry, dict):
                ignored.append((index, None, "the entry is not an object"))
                continue
            try:
                keys.append(parse_jwk(entry, allow_symmetric=allow_symmetric))
            except JwkRejected as exc:
                ignored.append((index, _kid_of(entry), str(exc)))
        return cls._from_parts(keys, ignored)

    @classmethod
    def _parse_certificates(cls, members: JsonObject) -> "JwkSet":
        certificates = {
            kid: pem
            for kid, pem in members.items()
            if isinstance(pem, str) and pem.startswith(_PEM_BEGIN) and pem.endswith(_PEM_END)
        }
        if not members or len(certificates) != len(members) or len(members) > MAX_KEYS:
            raise JwksError("Jwks does not have [keys] field")
        keys: list[Jwk] = []
        ignored: list[tuple[int, str | None, str]] = []
        for index, (kid, pem) in enumerate(certificates.items()):
            try:
                keys.append(parse_certificate(kid, pem))
            except JwkRejected as exc:
                ignored.append((index, kid, str(exc)))
        return cls._from_parts(keys, ignored)

    @classmethod
    def _from_parts(cls, keys: list[Jwk], ignored: list[tuple[int, str | None, str]]) -> "JwkSet":
        if not keys:
            raise JwksError(ignored[0][2] if ignored else JwtStatus.NO_VALID_KEYS.text)
        return cls(tuple(keys), tuple(ignored))

    def select(self, alg: str, kid: str | None) -> tuple[Jwk, ...]:
        """The keys that may check a token with this `alg` and `kid` (None: it names none), best first.

        At most MAX_CANDIDATES, each of which fits `alg` by type, curve, size and its own `alg`. Equal sets
        give equal answers: the order is the document's.
        """
        # Hot path: once per new token.
        if kid is None:
            return self._any.get(alg, ())
        found = self._by_kid.get((alg, kid))
        return found if found is not None else self._nameless.get(alg, ())

    def has_kid(self, kid: str) -> bool:
        """Whether any key carries this id, whatever its algorithms."""
        return kid in self._kids

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        return f"JwkSet({len(self.keys)} keys, {len(self.ignored)} ignored)"


def _kid_of(entry: JsonObject) -> str | None:
    kid = entry.get("kid")
    return kid if isinstance(kid, str) else None


def _collect_warnings(keys: tuple[Jwk, ...]) -> tuple[str, ...]:
    warnings = [
        f"key {index} (kid {(key.kid or '')[:80]!r}): {key.warning}"
        for index, key in enumerate(keys)
        if key.warning
    ]
    symmetric = sum(key.kty == "oct" for key in keys)
    if 0 < symmetric < len(keys):
        warnings.append("symmetric and public keys in one set; each serves only algorithms of its own kind")
    nameless = Counter(alg for key in keys if key.kid is None for alg in key.algorithms)
    crowded = [alg for alg, count in nameless.items() if count > MAX_CANDIDATES]
    if crowded:
        warnings.append(
            f"more than {MAX_CANDIDATES} keys without kid for {', '.join(crowded)}; only the first are tried"
        )
    return tuple(warnings)
