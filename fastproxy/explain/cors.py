"""What the CORS filters make of a request: who answers its preflight, and which pages may read its response."""

from fastproxy.advice.words import quote
from fastproxy.explain.rehearsal import Rehearsal
from fastproxy.filters.cors.policy import Policy
from fastproxy.filters.cors.settings import CorsRouteSettings, CorsSettings
from fastproxy.http.headers import first

#: Details of an answer that a CORS filter gives.
CORS_RESPONSE = "cors_response"


def is_cors_answer(rehearsal: Rehearsal) -> bool:
    """Whether a CORS filter has answered the request: it was a preflight."""
    return rehearsal.request is not None and rehearsal.request.details == CORS_RESPONSE


def describe_cors(rehearsal: Rehearsal) -> list[str]:
    """A sentence for each CORS filter, if the request has an `origin`; a browser goes by what they say."""
    seen = rehearsal.seen
    origin = None if seen is None else first(seen.headers, b"origin")
    if seen is None or not origin:
        return []
    told = []
    for one in rehearsal.chain:
        if isinstance(one.config, CorsSettings):
            config = (seen.filter_configs or {}).get(one.name)
            said = _say(one.config, config, origin)
            told.append(f"CORS filter {quote(one.name)}: {said}")
    return told


def _say(settings: CorsSettings, config: object, origin: bytes) -> str:
    shown = quote(origin.decode("utf-8", "replace"))
    if not isinstance(config, CorsRouteSettings) or config.effective is None:
        return "no policy is for this route, so nothing is said to browsers."
    if settings.is_off_by_default if config.is_off is None else config.is_off:
        return "it is off on this route, so nothing is said to browsers."
    policy = config.effective
    share = policy.enabled
    some = ""
    if share is not None and share.numerator < share.denominator:
        some = f" The policy is obeyed for {share.numerator} of {share.denominator} requests."
    if Policy(policy).allows(origin):
        return f"the origin {shown} is allowed.{some}"
    kept = (
        "" if policy.forwards_not_matching_preflights is not False else " Its preflights are not forwarded."
    )
    return f"the origin {shown} is not allowed: browsers keep the response from its pages.{kept}{some}"
