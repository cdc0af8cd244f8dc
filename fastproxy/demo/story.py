"""The walk-through: a user without a token, with a false one, a good one, an old one, a fresh one.

Every step is a real request to the running proxy. It is shown as the command that repeats it, together with
the answer that came; then the answer is compared with what the step promises.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import aiohttp

from fastproxy import clock
from fastproxy.demo.exchange import Answer, Call, open_session
from fastproxy.demo.issuer import CLIENT_ID, TOKEN_PATH
from fastproxy.demo.signing import decode_object, forge_payload, payload_segment
from fastproxy.demo.upstream import DOCS, FORBIDDEN, PAYLOAD_HEADER

QUERY = "coord within 10 km of 43.45,4.43"
EXPECTED_BIRDS = ["greater flamingo", "glossy ibis"]

_FROM_ANSWER = """echo "$ANSWER" | python3 -c 'import json,sys; print(json.load(sys.stdin)["{field}"])'"""
_FORGE = """\
FORGED=$(python3 -c '
import base64, sys
header, payload, signature = sys.argv[1].split(".")
payload = base64.urlsafe_b64decode(payload + "==").replace(b"demo", b"root")
print(header, base64.urlsafe_b64encode(payload).decode().rstrip("="), signature, sep=".")' "$TOKEN")"""


@dataclass(frozen=True, slots=True)
class Step:
    """One request of the story and what its answer must be."""

    title: str
    call: Call
    commands: tuple[str, ...]
    """What a user would type; the last line or an earlier one makes the request."""
    status: int
    judge: Callable[[Answer], str]
    """Says what is wrong with the answer's body, or gives an empty string."""


class Reporter(Protocol):
    """Where the story is told."""

    def step(self, number: int, step: Step) -> None:
        """Announce a step, before its request is made."""

    def answer(self, answer: Answer) -> None:
        """Show what came back."""

    def verdict(self, problem: str) -> None:
        """Say whether the answer was as told; an empty `problem` means that it was."""

    def note(self, text: str) -> None:
        """Say something between two steps."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the parts of the demo are reached; URLs without a slash at the end."""

    proxy: str
    issuer: str

    @property
    def docs(self) -> str:
        """The page that is open to all."""
        return f"{self.proxy}/docs"

    @property
    def whoami(self) -> str:
        """What the upstream was told about the caller."""
        return f"{self.proxy}/whoami"

    @property
    def token(self) -> str:
        """The issuer's token endpoint."""
        return self.issuer + TOKEN_PATH

    def birds(self, owner: str = "demo") -> str:
        """Somebody's birds."""
        return f"{self.proxy}/users/{owner}/data/funnel/Update"


def sign_in_call(places: Places) -> Call:
    """Build the request that turns a password into a token."""
    fields = ("grant_type", "password"), ("client_id", CLIENT_ID), ("username", "demo"), ("password", "demo")
    return Call(places.token, form=fields)


def token_command(places: Places) -> str:
    """Write the one line that leaves a fresh token in `$TOKEN`."""
    curl = sign_in_call(places).curl(options="-s")
    return f"""TOKEN=$({curl} | python3 -c 'import json,sys; print(json.load(sys.stdin)["access_token"])')"""


def birds_command(places: Places) -> str:
    """Write the command that uses `$TOKEN`."""
    return Call(places.birds(), token="$TOKEN", query=QUERY).curl()  # noqa: S106 - a shell variable's name


class Story:
    """Plays the story once. `failures` lists what was not as told, in order."""

    def __init__(self, places: Places, reporter: Reporter, *, clock_skew_s: int = 1) -> None:
        """Prepare the story.

        Args:
            places: where the proxy and the issuer are.
            reporter: who tells it.
            clock_skew_s: the provider's `clock_skew_seconds` in the proxy's configuration.
        """
        self.failures: list[str] = []
        self._places = places
        self._reporter = reporter
        self._clock_skew_s = clock_skew_s
        self._steps_told = 0

    async def play(self) -> bool:
        """Make every request in its order; say whether all answers were as told."""
        async with open_session() as session:
            await self._without_token(session)
            first = await self._sign_in(session)
            if first is not None:
                token, refresh_token = first
                await self._with_token(session, token)
                await self._until_expired(session, token)
                await self._refresh(session, refresh_token)
        return not self.failures

    async def _without_token(self, session: aiohttp.ClientSession) -> None:
        places = self._places
        docs = Call(places.docs)
        await self._tell(
            session, Step("The documentation is open to all", docs, (docs.curl(),), 200, _is(DOCS))
        )
        missing = Call(places.birds(), query=QUERY)
        await self._tell(
            session, Step("Data without a token", missing, (missing.curl(),), 401, _is("Jwt is missing"))
        )

    async def _sign_in(self, session: aiohttp.ClientSession) -> tuple[str, str] | None:
        call = sign_in_call(self._places)
        commands = (*_captured(call), *_captured_tokens())
        answer = await self._tell(
            session, Step("Sign in: the issuer gives a token", call, commands, 200, _is_grant)
        )
        return _tokens(answer)

    async def _with_token(self, session: aiohttp.ClientSession, token: str) -> None:
        places = self._places
        forged = Call(
            places.birds(), token=forge_payload(token, b"demo", b"root"), variable="FORGED", query=QUERY
        )
        await self._tell(
            session,
            Step(
                "A forged token: one word of its payload is changed",
                forged,
                (_FORGE, forged.curl()),
                401,
                _is("Jwt verification fails"),
            ),
        )
        birds = Call(places.birds(), token=token, query=QUERY)
        await self._tell(
            session, Step("The real token: birds within 10 km", birds, (birds.curl(),), 200, _is_birds)
        )
        whoami = Call(places.whoami, token=token)
        await self._tell(
            session,
            Step(
                "What the upstream saw: the verified payload, and no token",
                whoami,
                (whoami.curl(),),
                200,
                _is_payload_of(token),
            ),
        )
        others = Call(places.birds("alice"), token=token, query=QUERY)
        await self._tell(
            session,
            Step(
                "Somebody else's birds: authenticated, but the upstream says no",
                others,
                (others.curl(),),
                403,
                _is(FORBIDDEN),
            ),
        )

    async def _until_expired(self, session: aiohttp.ClientSession, token: str) -> None:
        wait_s = self._seconds_until_refused(token)
        self._reporter.note(f"Waiting {wait_s:.0f} s until the token has expired...")
        await asyncio.sleep(wait_s)
        call = Call(self._places.birds(), token=token, query=QUERY)
        await self._tell(
            session, Step("The same token, too late", call, (call.curl(),), 401, _is("Jwt is expired"))
        )

    async def _refresh(self, session: aiohttp.ClientSession, refresh_token: str) -> None:
        form = (
            ("grant_type", "refresh_token"),
            ("client_id", CLIENT_ID),
            ("refresh_token", "$REFRESH_TOKEN"),
        )
        call = Call(self._places.token, form=form, variables=(("REFRESH_TOKEN", refresh_token),))
        commands = (*_captured(call), *_captured_tokens())
        answer = await self._tell(
            session, Step("The refresh token buys a new one", call, commands, 200, _is_grant)
        )
        renewed = _tokens(answer)
        if renewed is None:
            return
        birds = Call(self._places.birds(), token=renewed[0], query=QUERY)
        await self._tell(session, Step("And the birds are back", birds, (birds.curl(),), 200, _is_birds))

    async def _tell(self, session: aiohttp.ClientSession, step: Step) -> Answer | None:
        self._steps_told += 1
        self._reporter.step(self._steps_told, step)
        try:
            answer = await step.call.send(session)
        except (aiohttp.ClientError, TimeoutError) as exc:
            self._judge(step, f"no answer: {str(exc) or type(exc).__name__}")
            return None
        self._reporter.answer(answer)
        if answer.status != step.status:
            self._judge(step, f"the status should be {step.status}, it is {answer.status}")
        else:
            self._judge(step, step.judge(answer))
        return answer

    def _judge(self, step: Step, problem: str) -> None:
        if problem:
            self.failures.append(f"{step.title}: {problem}")
        self._reporter.verdict(problem)

    def _seconds_until_refused(self, token: str) -> float:
        expires_at: int = decode_object(payload_segment(token))["exp"]
        # The proxy's clock has whole seconds, and `exp + skew` itself still passes: one second more, and a
        # little for the rounding of both ends.
        return max(0.0, expires_at + self._clock_skew_s + 1.1 - clock.unix_time())


def _captured(call: Call) -> tuple[str, ...]:
    return (f"ANSWER=$({call.curl(options='-s')})", 'echo "$ANSWER"')


def _captured_tokens() -> tuple[str, ...]:
    return (
        f"TOKEN=$({_FROM_ANSWER.format(field='access_token')})",
        f"REFRESH_TOKEN=$({_FROM_ANSWER.format(field='refresh_token')})",
    )


def _tokens(answer: Answer | None) -> tuple[str, str] | None:
    grant = answer.json() if answer is not None else None
    if not isinstance(grant, dict) or "access_token" not in grant or "refresh_token" not in grant:
        return None
    return grant["access_token"], grant["refresh_token"]


def _is(text: str) -> Callable[[Answer], str]:
    def judge(answer: Answer) -> str:
        return "" if answer.body == text.encode() else f"the body should be {text!r}"

    return judge


def _is_grant(answer: Answer) -> str:
    grant = answer.json()
    fields = ("access_token", "expires_in", "refresh_expires_in", "refresh_token", "token_type", "scope")
    missing = [name for name in fields if not isinstance(grant, dict) or name not in grant]
    return f"the answer lacks {', '.join(missing)}" if missing else ""


def _is_birds(answer: Answer) -> str:
    birds = answer.json()
    names = [bird.get("name") for bird in birds] if isinstance(birds, list) else birds
    return "" if names == EXPECTED_BIRDS else f"the birds should be {', '.join(EXPECTED_BIRDS)}"


def _is_payload_of(token: str) -> Callable[[Answer], str]:
    def judge(answer: Answer) -> str:
        seen = answer.json()
        if not isinstance(seen, dict) or seen.get(PAYLOAD_HEADER) != payload_segment(token):
            return f"{PAYLOAD_HEADER} should be the token's payload segment"
        if seen.get("authorization") is not None:
            return "the token should not reach the upstream"
        return ""

    return judge
