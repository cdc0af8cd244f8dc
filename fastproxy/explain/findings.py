"""Why the verdict is what it is, and the one change that would make it another."""

from dataclasses import dataclass, replace

from fastproxy.advice import Advice, Knobs, Surroundings, advise
from fastproxy.advice.claims import difference
from fastproxy.advice.words import escape, quote
from fastproxy.explain.asked import AskedRequest
from fastproxy.explain.checks import Examination, examine
from fastproxy.explain.describe import describe_place
from fastproxy.explain.keybook import KeyBook, source_of
from fastproxy.explain.near_misses import advise_missing, notes_on_rules
from fastproxy.explain.rehearsal import Rehearsal, SeenRequest, WatchedFilter
from fastproxy.explain.trace import Judgement
from fastproxy.filters.jwt_authn.provider import Provider
from fastproxy.filters.jwt_authn.settings import JwtAuthnSettings, PerRouteSettings, ProviderSettings
from fastproxy.jwt import JwksError, JwkSet, JwtStatus

MULTIPLE_NUMBER = 27


@dataclass(frozen=True, slots=True)
class Examined:
    """One token before one provider, with all its checks."""

    judgement: Judgement
    examination: Examination


@dataclass(frozen=True, slots=True)
class Question:
    """Everything that findings are made of."""

    asked: AskedRequest
    rehearsal: Rehearsal
    book: KeyBook
    at: float


def examine_all(question: Question) -> list[Examined]:
    """Put every token that was judged through all checks of its provider."""
    found = []
    for one in question.rehearsal.filters:
        for judgement in one.trace.judgements:
            verifier = judgement.provider.verifier
            examination = examine(judgement.found.token, verifier.settings, verifier.keys, question.at)
            found.append(Examined(judgement, examination))
    return found


def refusing_filter(rehearsal: Rehearsal) -> WatchedFilter | None:
    """The filter that refused the request; None if none did."""
    return next((one for one in rehearsal.filters if one.trace.refusal is not None), None)


def advise_refused(question: Question, watched: WatchedFilter, examined: list[Examined]) -> Advice:
    """Why a filter refused."""
    seen, trace = question.rehearsal.seen, watched.trace
    settings = watched.settings
    refusal = trace.refusal
    assert seen is not None
    assert refusal is not None
    if refusal.number == JwtStatus.MISSING.number:
        asked_for = list(dict.fromkeys(one.provider.settings.name for one in trace.evaluations))
        providers = [settings.providers[name] for name in asked_for if name in settings.providers]
        return advise_missing(seen, question.asked, settings, providers or list(settings.providers.values()))
    if refusal.number == MULTIPLE_NUMBER:
        return _advise_multiple(watched)
    mine = [one for one in examined if one.judgement in trace.judgements and one.judgement.error is not None]
    if not mine:
        return _advise_unjudged(refusal.text, refusal.detail, settings)
    chosen = _select(mine, refusal.number, refusal.unavailable)
    advice = _advise_token(question, settings, chosen)
    return _with_the_rest(advice, chosen)


def _select(mine: list[Examined], number: int, unavailable: str) -> Examined:
    """The judgement that the answer is about; among equals the one that the token is nearest to."""

    def rank(one: Examined) -> tuple[int, int]:
        error = one.judgement.error
        assert error is not None
        provider = one.judgement.provider.settings
        fits = error.status.number == number and (not unavailable or provider.name == unavailable)
        issuer = None if one.examination.token is None else one.examination.token.claims.get("iss")
        near = isinstance(issuer, str) and bool(
            issuer == provider.issuer or difference(issuer, provider.issuer)
        )
        return (0 if fits else 1, 0 if near else 1)

    return min(mine, key=rank)


def _advise_token(question: Question, settings: JwtAuthnSettings, chosen: Examined) -> Advice:
    provider = chosen.judgement.provider
    error = chosen.judgement.error
    assert error is not None
    keys = question.book.keys_of(provider.settings)
    around = Surroundings(
        knobs=knobs_of(provider.settings),
        issuers={
            one.issuer: one.name
            for one in settings.providers.values()
            if one.issuer and one.name != provider.settings.name
        },
        kids=_kids_of_others(question, settings, provider),
        removed=keys.removed,
        unavailable=keys.error,
    )
    return advise(
        error,
        chosen.judgement.found.token,
        provider.verifier.settings,
        provider.verifier.keys,
        question.at,
        around=around,
    )


def knobs_of(provider: ProviderSettings) -> Knobs:
    """What to change in the configuration, in its words."""
    name = escape(provider.name)
    return Knobs(
        issuer=f"`issuer` of provider '{name}'",
        audience=f"`audiences` of provider '{name}'",
        clock_skew=f"`clock_skew_seconds` of provider '{name}'",
        missing_exp="the runtime key `fastproxy.jwt.allow_missing_exp` (unless `max_lifetime` is set)",
        max_lifetime=f"`max_lifetime` of provider '{name}'",
        subjects=f"`subjects` of provider '{name}'",
        keys=source_of(provider),
        any_typ="without the runtime key `fastproxy.jwt.require_at_jwt` the provider",
    )


def _kids_of_others(question: Question, settings: JwtAuthnSettings, mine: Provider) -> dict[str, str]:
    found: dict[str, str] = {}
    for other in settings.providers.values():
        if other.name == mine.settings.name:
            continue
        document = question.book.keys_of(other).document
        try:
            keys = JwkSet.parse(document, allow_symmetric=True) if document else None
        except JwksError:
            continue
        for key in () if keys is None else keys.keys:
            if key.kid is not None:
                found.setdefault(key.kid, other.name)
    return found


def _advise_multiple(watched: WatchedFilter) -> Advice:
    places = [describe_place(one) for entry in watched.trace.evaluations for one in entry.found]
    counted = ", ".join(dict.fromkeys(places)) or "several places"
    return Advice(
        f"There is more than one token for one requirement, in: {counted}. Which of them the upstream would use"
        " cannot be known, so both are refused.",
        "Send one token, in one place.",
    )


def _advise_unjudged(text: str, detail: str, settings: JwtAuthnSettings) -> Advice:
    names = ", ".join(quote(one.issuer) for one in settings.providers.values() if one.issuer)
    reason = f" ({escape(detail)})" if detail else ""
    return Advice(
        f"{text}{reason}: no provider that reads the token's place takes it. The issuers are: {names or 'any'}.",
        "Send a token of one of these issuers, in a place that its provider reads.",
    )


def _with_the_rest(advice: Advice, chosen: Examined) -> Advice:
    """Say what else would fail, and whether the token is genuine."""
    rest = [step for step, _ in chosen.examination.failures[1:]]
    details = list(advice.details)
    if rest:
        details.append(f"That alone is not enough: it would then fail at: {', '.join(rest)}.")
    elif chosen.examination.signature_is_good:
        details.append("Everything else about the token is in order, its signature included.")
    return replace(advice, details=tuple(details))


def advise_allowed(question: Question, watched: WatchedFilter) -> str:
    """Why a filter let the request pass."""
    seen, trace = question.rehearsal.seen, watched.trace
    settings = watched.settings
    assert seen is not None
    accepted = [one for one in trace.judgements if one.verified is not None]
    if trace.requirement:
        if not accepted:
            return f"{trace.requirement} was satisfied without a token"
        names = ", ".join(
            f"provider '{escape(one.provider.settings.name)}' by key"
            f" {quote(None if one.verified is None else one.verified.key_id)}"
            for one in accepted
        )
        return f"{trace.requirement} was satisfied: {names}"
    if trace.deciding_rule is not None:
        return f"rule {trace.deciding_rule + 1} requires no token"
    if not trace.rules and (reason := _why_skipped(settings, seen)):
        return reason
    if settings.rules:
        return "no rule matches: a request that no rule matches needs no token"
    return "the filter has no rules: no request needs a token"


def _why_skipped(settings: JwtAuthnSettings, seen: SeenRequest) -> str:
    """Why no rule was looked at, if none was."""
    config = None if seen.filter_configs is None else seen.filter_configs.get(settings.name)
    if config is None and settings.is_off_by_default:
        return "the filter is off unless a route switches it on"
    if isinstance(config, PerRouteSettings) and (config.is_skipped or config.disabled):
        return "the route (or its virtual host) switches the filter off: typed_per_filter_config"
    if settings.bypass_cors_preflight and seen.method == b"OPTIONS" and b"origin" in seen.headers:
        return "a CORS preflight needs no token: bypass_cors_preflight"
    return ""


def notes_of(question: Question, watched: WatchedFilter) -> list[str]:
    """What else an operator should know about how a filter decided."""
    seen, settings = question.rehearsal.seen, watched.settings
    if seen is None:
        return []
    if watched.trace.rules:
        notes = notes_on_rules(settings, seen, watched.trace.deciding_rule)
    elif watched.trace.requirement and settings.rules:
        notes = ["The route names the requirement itself, so the rules are not consulted."]
    else:
        notes = []
    for judgement in watched.trace.judgements:
        note = question.book.keys_of(judgement.provider.settings).note
        if note:
            notes.append(f"Keys of provider '{escape(judgement.provider.settings.name)}': {escape(note)}.")
    return list(dict.fromkeys(notes))
