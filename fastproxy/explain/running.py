"""What a running proxy says about its keys: its admin interface's `/jwks?public_keys`."""

import asyncio
import os
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import orjson

from fastproxy.advice import RemovedKid
from fastproxy.config.settings import ProxySettings
from fastproxy.control.jwks_document import BadJwks, parse_jwks
from fastproxy.filters.jwt_authn.settings import ProviderSettings

_TIMEOUT_S: Final = 3.0
_MAX_BYTES: Final = 16 * 1024 * 1024
_PATH: Final = "/jwks?public_keys"
#: Before the path of a Unix domain socket, or the `@name` of an abstract one.
_UNIX: Final = "unix:"


class NoAnswer(Exception):
    """The admin interface did not answer; the text says why."""


@dataclass(frozen=True, slots=True)
class RunningKeys:
    """One provider's keys as a running proxy has them."""

    document: bytes
    """Public keys; empty for key files and inline keys, and where there are none."""
    removed: tuple[RemovedKid, ...]
    error: str
    """Why the last fetch failed."""
    note: str


@dataclass(frozen=True, slots=True)
class RunningProxy:
    """The answer of an admin interface."""

    address: str
    providers: tuple[dict[str, Any], ...]

    def keys_of(self, provider: ProviderSettings) -> RunningKeys | None:
        """What it says about this provider; None if it has none of this name and issuer."""
        for entry in self.providers:
            if entry.get("provider") == provider.name and entry.get("issuer") == provider.issuer:
                return _read(entry)
        return None


def admin_address(settings: ProxySettings) -> str:
    """Where the proxy of this configuration has its admin interface; empty if that cannot be known."""
    admin = settings.admin
    if admin is None:
        return ""
    if admin.address.is_pipe:
        return _UNIX + admin.host
    if not admin.port:
        return ""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(admin.host, admin.host)  # noqa: S104 - where to ask, not to bind
    return f"[{host}]:{admin.port}" if ":" in host else f"{host}:{admin.port}"


async def ask_running(address: str) -> RunningProxy:
    """Ask the admin interface at `host:port`, `http://host:port` or `unix:PATH`.

    Raises:
        NoAnswer: nobody is there, or it is no FastProxy.
    """
    socket_path = address.removeprefix(_UNIX) if address.startswith(_UNIX) else ""
    if socket_path:
        place, url = address, f"http://localhost{_PATH}"
    else:
        parts = urlsplit(address if "//" in address else f"//{address}")
        place = parts.netloc.rpartition("@")[2]
        url = f"{parts.scheme or 'http'}://{place}{_PATH}"
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            members = orjson.loads(await _get(url, socket_path))
    except TimeoutError:
        raise NoAnswer(f"no answer within {_TIMEOUT_S:g} s") from None
    except orjson.JSONDecodeError:
        raise NoAnswer("the answer is not that of a FastProxy") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NoAnswer(_reason(error)) from None
    providers = members.get("providers") if isinstance(members, dict) else None
    if not isinstance(providers, list):
        raise NoAnswer("the answer is not that of a FastProxy")
    return RunningProxy(place, tuple(one for one in providers if isinstance(one, dict)))


async def _get(url: str, socket_path: str) -> bytes:
    connector = (
        aiohttp.UnixConnector("\0" + socket_path[1:] if socket_path.startswith("@") else socket_path)
        if socket_path
        else aiohttp.TCPConnector()
    )
    async with (
        aiohttp.ClientSession(
            connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as session,
        session.get(url, allow_redirects=False) as response,
    ):
        if response.status != 200:
            raise NoAnswer(f"status {response.status}")
        body = await response.content.read(_MAX_BYTES + 1)
        while len(body) <= _MAX_BYTES and (more := await response.content.read(65536)):
            body += more
    return body


def _reason(error: Exception) -> str:
    number = error.os_error.errno if isinstance(error, aiohttp.ClientConnectorError) else None
    return os.strerror(number) if number else type(error).__name__


def _read(entry: dict[str, Any]) -> RunningKeys:
    document = b""
    if isinstance(entry.get("jwks"), dict):
        document = orjson.dumps(entry["jwks"])
        try:
            parse_jwks(document)
        except BadJwks:
            document = b""
    error = entry.get("last_error")
    state = entry.get("state")
    note = ""
    if state == "stale":
        note = f"they are past their lifetime, for they cannot be refreshed: {error}"
    elif error and document:
        note = f"the last fetch failed: {error}"
    return RunningKeys(document, tuple(_removed(entry.get("removed"))), str(error or ""), note)


def _removed(entries: object) -> list[RemovedKid]:
    found = []
    for entry in entries if isinstance(entries, list) else []:
        try:
            moment = datetime.fromisoformat(str(entry["removed_at"])).timestamp()
            found.append(RemovedKid(str(entry["kid"]), moment))
        except (KeyError, TypeError, ValueError):
            continue
    return found
