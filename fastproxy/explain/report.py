"""The whole explanation as data: what `--json` prints, and what the text is made of."""

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from fastproxy.advice.words import describe_moment, quote
from fastproxy.explain.checks import Check
from fastproxy.explain.cors import describe_cors, is_cors_answer
from fastproxy.explain.describe import (
    describe_action,
    describe_match,
    describe_place,
    describe_requirement,
    describe_rule,
)
from fastproxy.explain.findings import (
    Examined,
    Question,
    advise_allowed,
    advise_refused,
    examine_all,
    notes_of,
    refusing_filter,
)
from fastproxy.explain.keybook import Keys
from fastproxy.explain.outcome import Outcome, advise_outcome, read_outcome
from fastproxy.explain.redaction import Redactor
from fastproxy.explain.rehearsal import WatchedFilter
from fastproxy.listener.settings import HttpConnectionManagerSettings, ListenerSettings

_SHOWN_CHARACTERS: Final = 400
ALLOWED, REFUSED, NOT_JUDGED = "allowed", "refused", "cannot be judged"


@dataclass(slots=True)
class TokenReport:
    """One token before one provider."""

    provider: str
    place: str
    result: str
    key: str | None
    """kid of the key that signed it."""
    keys: str
    """How the keys were come by."""
    checks: list[Check]


@dataclass(slots=True)
class RuleReport:
    """One rule that was looked at."""

    number: int
    text: str
    matched: bool


@dataclass(slots=True)
class FilterReport:
    """What one `jwt_authn` filter did."""

    name: str
    rules: list[RuleReport]
    requirement: str
    """Which requirement was judged, and what it is; empty: none."""
    tokens: list[TokenReport]
    result: str


@dataclass(slots=True)
class Report:
    """The explanation of one request."""

    verdict: str
    """ALLOWED, REFUSED or NOT_JUDGED."""
    status: int
    body: str
    www_authenticate: str
    at: str
    request: str
    listener: str
    virtual_host: str
    route: str
    filters: list[FilterReport]
    upstream: dict[str, Any] | None
    """Cluster, request line and headers; None: nothing is forwarded."""
    cause: str
    fix: str
    """Empty: nothing needs to be fixed."""
    details: list[str]
    notes: list[str]
    exit_code: int = 0
    keys: dict[str, str] = field(default_factory=dict)
    """How the keys of each provider that was needed were come by."""

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        return asdict(self)


def build_report(
    question: Question,
    listener: ListenerSettings,
    http: HttpConnectionManagerSettings,
    redactor: Redactor,
) -> Report:
    """Put the explanation together."""
    rehearsal = question.rehearsal
    outcome = read_outcome(rehearsal)
    redactor.add(one.found.token for watched in rehearsal.filters for one in watched.trace.judgements)
    redactor.add(
        one.token
        for watched in rehearsal.filters
        for entry in watched.trace.evaluations
        for one in entry.found
    )
    examined = examine_all(question)
    refusing = refusing_filter(rehearsal)
    cause, fix, details = _cause(question, outcome, refusing, examined, http)
    unknown = _unknown_keys(question, refusing)
    verdict = ALLOWED if outcome.is_allowed else REFUSED
    if unknown is not None:
        verdict = NOT_JUDGED
        cause = f"The keys of provider '{unknown}' are not known: nothing was fetched (--offline)."
        fix = f"Leave --offline out, or give the keys with --jwks {unknown}=FILE."
        details = []
    host, route = _route(question, http)
    clean = redactor.clean
    notes = [*question.asked.notes]
    if rehearsal.upgrade:
        notes.append(f"The filters are those that {quote(rehearsal.upgrade)} has in upgrade_configs.")
    for one in rehearsal.filters:
        notes += notes_of(question, one)
    notes += describe_cors(rehearsal)
    return Report(
        verdict=verdict,
        status=outcome.status,
        body=clean(outcome.body),
        www_authenticate=clean(outcome.www_authenticate),
        at=describe_moment(question.at),
        request=_shortened(clean(_request_line(question))),
        listener=_listener(listener, http),
        virtual_host=host,
        route=route,
        filters=[_filter(question, one, examined, redactor) for one in rehearsal.filters],
        upstream=_upstream(question, outcome, redactor),
        cause=clean(cause),
        fix=clean(fix),
        details=[clean(line) for line in details],
        notes=[clean(note) for note in notes],
        exit_code={ALLOWED: 0, REFUSED: 1, NOT_JUDGED: 2}[verdict],
        keys=_keys_used(question, redactor),
    )


def _cause(
    question: Question,
    outcome: Outcome,
    refusing: WatchedFilter | None,
    examined: list[Examined],
    http: HttpConnectionManagerSettings,
) -> tuple[str, str, list[str]]:
    if refusing is not None:
        advice = advise_refused(question, refusing, examined)
        return advice.cause, advice.fix, list(advice.details)
    if not outcome.is_allowed:
        advice = advise_outcome(question.rehearsal, outcome, http)
        return advice.cause, advice.fix, list(advice.details)
    if is_cors_answer(question.rehearsal):
        return "A CORS filter answers this preflight, and the filters behind it do not see it.", "", []
    reasons = [advise_allowed(question, one) for one in question.rehearsal.filters]
    text = "; ".join(reasons) or "no filter of this listener asks for a token"
    return text[:1].upper() + text[1:] + ".", "", []


def _unknown_keys(question: Question, refusing: WatchedFilter | None) -> str | None:
    """The provider on whose keys the verdict depends although nobody tried to get them."""
    if refusing is None or refusing.trace.refusal is None:
        return None
    name = refusing.trace.refusal.unavailable
    for judgement in refusing.trace.judgements:
        settings = judgement.provider.settings
        if settings.name == name and not question.book.keys_of(settings).is_known:
            return name
    return None


def _request_line(question: Question) -> str:
    asked = question.asked
    seen = question.rehearsal.seen
    host = asked.host if seen is None else seen.authority
    line = b" ".join((asked.method, asked.target))
    return f"{line.decode('utf-8', 'surrogateescape')} (host {host.decode('utf-8', 'surrogateescape')})"


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _listener(listener: ListenerSettings, http: HttpConnectionManagerSettings) -> str:
    chains = listener.chains()
    index = next(number for number, chain in enumerate(chains, 1) if chain.network is http)
    chain = f", filter chain {index} of {len(chains)}" if len(chains) > 1 else ""
    first = listener.addresses()[0]
    where = first.host if first.is_pipe else f"{first.host} port {first.port}"
    return f"{quote(listener.name)} on {where}{chain}, {quote(http.stat_prefix)}"


def _route(question: Question, http: HttpConnectionManagerSettings) -> tuple[str, str]:
    position = question.rehearsal.route
    if position is None:
        return "", ""
    host = http.route_config.virtual_hosts[position[0]]
    route = host.routes[position[1]]
    name = f"{quote(route.name)}: " if route.name else ""
    match = describe_match(route.match, route.conditions)
    text = f"{position[1] + 1}: {name}{match} -> {describe_action(route.action)}"
    return f"{quote(host.name)} (domains {quote(list(host.domains))})", text


def _filter(
    question: Question, watched: WatchedFilter, examined: list[Examined], redactor: Redactor
) -> FilterReport:
    settings, trace = watched.settings, watched.trace
    rules = [
        RuleReport(index + 1, redactor.clean(describe_rule(settings.rules[index])), all(parts.values()))
        for index, parts in sorted(trace.rules.items())
    ]
    requirement = trace.requirement
    if trace.requirement in settings.requirement_map:
        what = describe_requirement(settings.requirement_map[trace.requirement])
        requirement = f"{quote(trace.requirement)} of requirement_map: {what}"
    elif trace.deciding_rule is not None and trace.requirement:
        requires = settings.rules[trace.deciding_rule].requires
        requirement = f"{trace.requirement}: {'' if requires is None else describe_requirement(requires)}"
    refusal = trace.refusal
    if refusal is not None:
        result = f"refused: {refusal.text}"
    elif trace.concluded or question.rehearsal.passed_filters:
        result = f"passed: {advise_allowed(question, watched)}"
    else:
        result = "not reached"
    tokens = [_token(question, one, redactor) for one in examined if one.judgement in trace.judgements]
    return FilterReport(watched.name, rules, redactor.clean(requirement), tokens, redactor.clean(result))


def _token(question: Question, one: Examined, redactor: Redactor) -> TokenReport:
    judgement = one.judgement
    error = judgement.error
    keys = question.book.keys_of(judgement.provider.settings)
    return TokenReport(
        provider=judgement.provider.settings.name,
        place=redactor.clean(describe_place(judgement.found)),
        result="accepted" if error is None else error.status.text,
        key=None if judgement.verified is None else redactor.clean(quote(judgement.verified.key_id)),
        keys=redactor.clean(_keys_text(keys)),
        checks=[Check(one.name, one.state, redactor.clean(one.detail)) for one in one.examination.checks],
    )


def _keys_text(keys: Keys) -> str:
    if keys.document:
        return keys.how
    return f"none: {keys.how}: {keys.error}" if keys.how else f"none: {keys.error}"


def _keys_used(question: Question, redactor: Redactor) -> dict[str, str]:
    return {
        judgement.provider.settings.name: redactor.clean(
            _keys_text(question.book.keys_of(judgement.provider.settings))
        )
        for watched in question.rehearsal.filters
        for judgement in watched.trace.judgements
    }


def _upstream(question: Question, outcome: Outcome, redactor: Redactor) -> dict[str, Any] | None:
    if not outcome.is_forwarded:
        return None
    found: dict[str, Any] = {"cluster": outcome.cluster}
    if outcome.upstream_head:
        line, *rest = outcome.upstream_head.rstrip(b"\r\n").split(b"\r\n")
        found["request_line"] = redactor.clean(line.decode("utf-8", "surrogateescape"))
        found["headers"] = [
            [name.decode("utf-8", "replace"), redactor.header(name, value)]
            for name, _, value in (header.partition(b": ") for header in rest)
        ]
    return found
