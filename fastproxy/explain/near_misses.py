"""What was nearly right: tokens in places where nobody looks, and rules that nearly match."""

from fastproxy.advice import Advice
from fastproxy.advice.words import escape, quote_bytes
from fastproxy.explain.asked import AskedRequest
from fastproxy.explain.describe import TOKEN_SHAPE, describe_places, describe_rule
from fastproxy.explain.rehearsal import SeenRequest
from fastproxy.filters.jwt_authn.identity import identity_headers
from fastproxy.filters.jwt_authn.settings import HeaderLocation, JwtAuthnSettings, ProviderSettings
from fastproxy.http.headers import lines, values
from fastproxy.match.path import build_path_matcher
from fastproxy.match.settings import PathKind, PathMatch


def advise_missing(
    seen: SeenRequest,
    asked: AskedRequest,
    settings: JwtAuthnSettings,
    providers: list[ProviderSettings],
) -> Advice:
    """There was no token in the places of these providers: perhaps it is somewhere else.

    Args:
        seen: the request as the filter got it.
        asked: the request as it was sent.
        settings: those of the filter.
        providers: those that were asked for their token.
    """
    removed = identity_headers(settings.providers.values())
    for provider in providers:
        for location in provider.from_headers:
            if location.name.encode() in removed and location.name.encode() in seen.headers:
                return _removed_header(location.name)
            for value in values(seen.headers, location.name.encode()):
                if advice := _wrong_prefix(location, value):
                    return advice
    wanted = "; ".join(f"provider '{escape(one.name)}' reads {describe_places(one)}" for one in providers)
    if forged := next((name for name in removed if _holds_token(seen, name)), None):
        return _removed_header(forged.decode("utf-8", "replace"))
    place = _find_elsewhere(seen)
    if place:
        return Advice(
            f"There is a token in {place}, where nobody looks: {wanted or 'no provider was asked'}.",
            f"Send it where it is looked for, or add {_location_field(place)} to the provider.",
        )
    if b"access_token=" in asked.body or TOKEN_SHAPE.search(asked.body):
        return Advice(
            f"The token is in the request's body, which is never read: {wanted}.",
            "Send it in the header authorization, after 'Bearer '.",
        )
    return Advice(f"The request brings no token: {wanted}.", f"Send one: {_how_to_send(providers)}.")


def _removed_header(name: str) -> Advice:
    return Advice(
        f"The token is in header {escape(name)}, which the filter removes from every request, for it writes claims or"
        " payloads there itself.",
        "Let the token travel in another header than forward_payload_header and claim_to_headers name.",
    )


def _holds_token(seen: SeenRequest, name: bytes) -> bool:
    return any(TOKEN_SHAPE.search(value) for value in values(seen.headers, name))


def _wrong_prefix(location: HeaderLocation, value: bytes) -> Advice | None:
    prefix = location.value_prefix.encode()
    if not prefix or value.startswith(prefix):
        return None
    word, name = prefix.strip(), escape(location.name)
    shown = escape(location.value_prefix)
    right = f"Write `{name}: {shown}TOKEN`."
    if value[: len(prefix)].lower() == prefix.lower():
        return Advice(
            f"Header {name} begins with {quote_bytes(value[: len(prefix)])}; the prefix {quote_bytes(prefix)} is"
            " compared exactly, upper and lower case included.",
            right,
        )
    if value.strip() == word:
        return Advice(
            f"Header {name} is {quote_bytes(word)} with nothing behind it: an empty variable, perhaps.", right
        )
    if TOKEN_SHAPE.match(value):
        return Advice(f"Header {name} holds a token without {quote_bytes(prefix)} in front.", right)
    if value.lower().startswith(word.lower()):
        return Advice(
            f"Header {name} begins with {quote_bytes(word)}, but not with {quote_bytes(prefix)}: exactly that,"
            " one space included, must stand before the token.",
            right,
        )
    if prefix in value:
        return Advice(
            f"Header {name} has {quote_bytes(prefix)} in the middle; here it must be at the start (Envoy finds it"
            " anywhere).",
            right,
        )
    scheme = value.partition(b" ")[0]
    known = scheme.lower() in (b"basic", b"digest", b"token", b"jwt", b"dpop", b"negotiate", b"apikey")
    return Advice(
        f"Header {name} holds {quote_bytes(scheme) if known else 'something'} and not {quote_bytes(prefix)}.",
        right,
    )


def _find_elsewhere(seen: SeenRequest) -> str:
    for name, value in lines(seen.headers):
        if name != b"cookie" and TOKEN_SHAPE.search(value):
            return f"header {escape(name.decode('utf-8', 'replace'))}"
    for line in values(seen.headers, b"cookie"):
        for pair in line.split(b";"):
            name, _, value = pair.partition(b"=")
            if TOKEN_SHAPE.search(value):
                return f"cookie {escape(name.strip().decode('utf-8', 'replace'))}"
    for pair in seen.target.partition(b"?")[2].split(b"&"):
        name, _, value = pair.partition(b"=")
        if TOKEN_SHAPE.search(value):
            return f"query parameter {escape(name.decode('utf-8', 'replace'))}"
    return "the path" if TOKEN_SHAPE.search(seen.path) else ""


def _location_field(place: str) -> str:
    if place.startswith("cookie"):
        return "from_cookies"
    return "from_params" if place.startswith("query") else "from_headers"


def _how_to_send(providers: list[ProviderSettings]) -> str:
    for provider in providers:
        for location in provider.from_headers:
            return f"`{escape(location.name)}: {escape(location.value_prefix)}TOKEN`"
        for name in provider.from_params:
            return f"`?{escape(name)}=TOKEN`"
        for name in provider.from_cookies:
            return f"`cookie: {escape(name)}=TOKEN`"
    return "one that a provider of the filter reads"


def notes_on_rules(settings: JwtAuthnSettings, seen: SeenRequest, deciding: int | None) -> list[str]:
    """Rules that somebody may have meant instead of the one that decided."""
    notes = []
    text = seen.path.decode("utf-8", "surrogateescape")
    decided = None if deciding is None else settings.rules[deciding]
    for index, rule in enumerate(settings.rules):
        name = f"Rule {index + 1} ({describe_rule(rule)})"
        holds = build_path_matcher(rule.match)(seen.path)
        if deciding is not None and index > deciding and holds:
            if decided is not None and rule.requires != decided.requires and not _is_catch_all(rule.match):
                notes.append(
                    f"{name} matches the path too, but rule {deciding + 1} comes first, and the first match decides."
                )
        elif holds and (deciding is None or index < deciding):
            notes.append(f"{name} matches the path; what else it asks for does not hold.")
        elif (
            not holds
            and (deciding is None or index < deciding or _is_open(settings, deciding))
            and (near := _nearly(rule.match, text))
        ):
            notes.append(f"{name} does not match: {near}.")
    return notes


def _is_open(settings: JwtAuthnSettings, deciding: int) -> bool:
    return settings.rules[deciding].requires is None


def _is_catch_all(match: PathMatch) -> bool:
    return match.kind is PathKind.PREFIX and match.value in ("", "/")


def _nearly(match: PathMatch, path: str) -> str:
    """In what little way a path misses a condition; "" if it is not little."""
    if match.kind is PathKind.REGEX:
        return ""
    if build_path_matcher(PathMatch(match.kind, match.value, case_sensitive=False))(
        path.lower().encode("utf-8", "surrogateescape")
    ):
        return "the path differs by upper and lower case only"
    bare = path.rstrip("/")
    if match.kind is PathKind.EXACT and bare == match.value.rstrip("/"):
        return "the path differs by a trailing slash only"
    if match.kind is PathKind.PREFIX and match.value.rstrip("/") == bare:
        return "the path lacks the prefix's trailing slash"
    squeezed = "/" + "/".join(filter(None, path.split("/")))
    matches = build_path_matcher(match)
    if squeezed != path and matches(squeezed.encode("utf-8", "surrogateescape")):
        return "the path has doubled slashes (merge_slashes is off)"
    return ""
