"""From a question to an explanation: find its way in, rehearse, bring the keys that were missed, rehearse again."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from fastproxy.config.settings import ProxySettings
from fastproxy.explain.arrival import Arrival, choose_arrival
from fastproxy.explain.asked import AskedRequest, BadQuestion
from fastproxy.explain.findings import Question
from fastproxy.explain.keybook import KeyBook
from fastproxy.explain.redaction import Redactor
from fastproxy.explain.rehearsal import Rehearsal, rehearse
from fastproxy.explain.report import Report, build_report
from fastproxy.explain.running import NoAnswer, RunningProxy, admin_address, ask_running
from fastproxy.filters.jwt_authn.provider import Provider
from fastproxy.jwt import UnknownKey
from fastproxy.listener.settings import HttpConnectionManagerSettings


@dataclass(frozen=True, slots=True)
class Wishes:
    """What was asked besides the request."""

    at: float
    """The moment by which tokens are judged, Unix seconds."""
    listener: str = ""
    server_name: str = ""
    """What a TLS client says in its handshake (SNI); empty: the first filter chain that serves HTTP is taken."""
    admin: str = ""
    """Where to ask a running proxy; empty: where the configuration has its admin interface, if anybody is there."""
    offline: bool = False
    given_keys: dict[str, bytes] = field(default_factory=dict)
    token: bytes | None = None


async def explain(settings: ProxySettings, asked: AskedRequest, wishes: Wishes) -> Report:
    """Explain one request.

    Raises:
        BadQuestion: it cannot be answered as it was asked; the text says how to ask.
    """
    arrival = choose_arrival(settings, wishes.listener, asked.port, wishes.server_name)
    raw = asked.encode(arrival.server_name.encode() or default_host(arrival.http))
    running, note = await _ask_running(settings, wishes)
    book = KeyBook(settings, wishes.given_keys, wishes.offline, running)
    rehearsal = await _rehearse(arrival, raw, book, wishes.at)
    if await _bring_missed_keys(rehearsal, book):
        rehearsal = await _rehearse(arrival, raw, book, wishes.at)
    report = build_report(
        Question(asked, rehearsal, book, wishes.at),
        arrival.listener,
        arrival.http,
        Redactor(asked, wishes.token),
    )
    if note:
        report.notes.append(note)
    return report


def default_host(http: HttpConnectionManagerSettings) -> bytes:
    """A host for a request that names none: one that the routes know."""
    for host in http.route_config.virtual_hosts:
        for domain in host.domains:
            if "*" not in domain:
                return domain.encode()
    return b"localhost"


async def _ask_running(settings: ProxySettings, wishes: Wishes) -> tuple[RunningProxy | None, str]:
    if wishes.offline:
        return None, ""
    address = wishes.admin or admin_address(settings)
    if not address:
        return None, ""
    try:
        return await ask_running(address), ""
    except NoAnswer as error:
        if wishes.admin:
            raise BadQuestion(f"--admin {address}: {error}") from None
        return None, f"No running proxy was asked: the admin interface at {address}: {error}."


async def _rehearse(arrival: Arrival, raw: bytes, book: KeyBook, at: float) -> Rehearsal:
    try:
        return await rehearse(arrival, raw, book, at)
    except OSError as error:
        raise BadQuestion(f"the loopback interface cannot be used: {error.strerror or 'no reason'}") from None
    except TimeoutError:
        raise BadQuestion("the request came to no end; this is a bug in FastProxy") from None


async def _bring_missed_keys(rehearsal: Rehearsal, book: KeyBook) -> bool:
    """Get keys for whoever judged a token without them, as the control plane would; tell whether any came."""
    changed = False
    for provider in _judging(rehearsal):
        before = book.keys_of(provider.settings)
        if not before.is_known:
            changed |= bool((await book.fetch(provider.settings)).document) or not book.offline
        elif _is_unknown_kid(rehearsal, provider):
            changed |= (await book.refetch(provider.settings)) is not before
    return changed


def _judging(rehearsal: Rehearsal) -> Iterable[Provider]:
    judgements = (one for watched in rehearsal.filters for one in watched.trace.judgements)
    return {one.provider.settings.source_id: one.provider for one in judgements}.values()


def _is_unknown_kid(rehearsal: Rehearsal, provider: Provider) -> bool:
    return any(
        isinstance(one.error, UnknownKey) and one.error.kid_unknown
        for watched in rehearsal.filters
        for one in watched.trace.judgements
        if one.provider.settings.source_id == provider.settings.source_id
    )
