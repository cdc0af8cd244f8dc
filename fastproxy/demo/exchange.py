"""One HTTP exchange of the story: the request, the shell command that makes it, and the answer that came."""

import shlex
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

_TIMEOUT = aiohttp.ClientTimeout(total=10)


@dataclass(frozen=True, slots=True)
class Call:
    """A request that can be sent, and written as the `curl` command that does the same."""

    url: str
    token: str = ""
    """Sent as bearer token when not empty."""
    variable: str = "TOKEN"
    """How the command names the token: nobody wants to read it whole."""
    query: str = ""
    """Value of the query parameter `query`."""
    form: tuple[tuple[str, str], ...] = ()
    """Makes the request a POST. A value `$NAME` stays a shell variable in the command."""
    variables: tuple[tuple[str, str], ...] = ()
    """What the shell variables in `form` hold."""

    def curl(self, *, options: str = "-si") -> str:
        """Write the request as a command for a POSIX shell."""
        words = ["curl", options]
        if self.query:
            words.append("-G")
        words.append(self.url)
        if self.token:
            words.append(f'-H "Authorization: Bearer ${self.variable}"')
        if self.query:
            words.append("--data-urlencode " + shlex.quote(f"query={self.query}"))
        for name, value in self.form:
            field = f"{name}={value}"
            words.append("-d " + (f'"{field}"' if value.startswith("$") else shlex.quote(field)))
        return " ".join(words)

    def _target(self) -> str:
        # A space as %20, where some versions of curl write +. The upstream reads both; the proxy repeats what
        # came in its challenge.
        return f"{self.url}?query={quote(self.query, safe='')}" if self.query else self.url

    async def send(self, session: aiohttp.ClientSession) -> "Answer":
        """Send the request on a connection of its own, as curl would.

        Raises:
            aiohttp.ClientError, TimeoutError: no answer came.
        """
        known = {f"${name}": value for name, value in self.variables}
        async with session.request(
            "POST" if self.form else "GET",
            URL(self._target(), encoded=True),
            data={name: known.get(value, value) for name, value in self.form} if self.form else None,
            headers={"authorization": f"Bearer {self.token}"} if self.token else None,
            allow_redirects=False,
        ) as response:
            return Answer(
                status=response.status,
                reason=response.reason or "",
                challenge=response.headers.get("www-authenticate", ""),
                body=await response.read(),
            )


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the parts that the story shows and judges."""

    status: int
    reason: str
    challenge: str
    """The `www-authenticate` header (RFC 9110 section 11.6.1), or empty."""
    body: bytes

    def json(self) -> Any:
        """Give the body as JSON, or None when it is something else."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None


def open_session() -> aiohttp.ClientSession:
    """Open a client that keeps nothing and asks nobody: no connections, no cookies, no `http_proxy`."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=_TIMEOUT,
        trust_env=False,
    )
