"""`fastproxy jwt decode` and `fastproxy jwt verify`: look into a token, and ask why it is refused.

Both work on what the core works on, with its very code. What they print comes from a token that anybody may have
written, so everything is escaped before it reaches a terminal. The token itself is never printed.
"""

import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Final

import click
from rich.console import Console
from rich.text import Text

from fastproxy import __version__, clock
from fastproxy.advice import advise
from fastproxy.advice.words import describe_date, escape, quote
from fastproxy.jwt import (
    MAX_CLOCK_SKEW_S,
    JwksError,
    JwkSet,
    JwtError,
    Verifier,
    VerifierSettings,
    parse_token,
)
from fastproxy.jwt.encoding import JsonObject, decode_base64url, parse_json_object

MAX_JWKS_BYTES: Final = 1 << 20
FETCH_TIMEOUT_S: Final = 10.0
_MAX_INPUT_BYTES: Final = 1 << 20
_DATE_CLAIMS: Final = {"exp": "expires", "nbf": "not before", "iat": "issued", "auth_time": "logged in"}


@click.group("jwt")
def jwt_group() -> None:
    """Look into a token, or verify one as the proxy would."""


@jwt_group.command("decode")
@click.argument("token")
def decode_command(token: str) -> None:
    """Show what TOKEN says (`-`: read it from standard input) without checking its signature.

    Exits with 0 if the token is well formed, which says nothing about who made it, and with 1 if it is not.
    """
    raw = _read_token(token)
    now = clock.unix_time()
    console = _make_console()
    console.print(
        "NOT VERIFIED: the signature was not checked; anyone can have written this.", style="bold yellow"
    )
    segments = raw.split(b".", 4)
    for title, segment in zip(("Header", "Payload"), segments, strict=False):
        members = _decode_leniently(segment)
        _print_section(console, title, _pretty(members) if members is not None else "cannot be decoded")
        if title == "Payload" and isinstance(members, dict):
            _print_dates(console, members, now)
    try:
        parsed = parse_token(raw, max_token_bytes=_MAX_INPUT_BYTES)
    except JwtError as exc:
        _print_section(
            console, "What is wrong with it", f"{exc.status.text}{_in_brackets(exc.detail)}", "bold red"
        )
        raise click.exceptions.Exit(1) from None
    facts = f"{parsed.header.alg}, {len(parsed.signature)} bytes, not checked"
    _print_section(console, "Signature", facts)
    _print_line(
        console, "Check it with: fastproxy jwt verify TOKEN --jwks URL|FILE --issuer ISS --audience AUD"
    )


@jwt_group.command("verify")
@click.argument("token")
@click.option("--jwks", required=True, metavar="URL|FILE", help="Where the issuer's keys are.")
@click.option(
    "--issuer", default="", metavar="ISS", help="Exact `iss` to demand; without it any issuer passes."
)
@click.option(
    "--audience", "audiences", multiple=True, metavar="AUD", help="Accepted `aud`; may be repeated."
)
@click.option(
    "--clock-skew-s",
    type=click.IntRange(0, MAX_CLOCK_SKEW_S),
    default=60,
    show_default=True,
    help="Seconds by which the issuer's clock may differ.",
)
@click.option("--allow-missing-exp", is_flag=True, help="Accept a token that never expires.")
def verify_command(  # noqa: PLR0917 - click passes them by name
    token: str, jwks: str, issuer: str, audiences: tuple[str, ...], clock_skew_s: int, allow_missing_exp: bool
) -> None:
    """Verify TOKEN (`-`: read it from standard input) as the proxy would.

    Exits with 0 if it is verified, with 1 if it is refused (and says what would fix it), and with 2 if it
    could not be judged: wrong usage, or no keys.
    """
    raw = _read_token(token)
    console = _make_console()
    keys = _load_keys(jwks)
    for warning in keys.warnings:
        _print_line(console, f"warning: {warning}", "yellow")
    settings = VerifierSettings(
        issuer=issuer,
        audiences=audiences,
        clock_skew_s=clock_skew_s,
        require_expiration=not allow_missing_exp,
        cache_size=0,
    )
    now = clock.unix_time()
    try:
        verified = Verifier(settings, keys).verify(raw, now)
    except JwtError as exc:
        _print_line(console, f"REFUSED: {exc.status.text}{_in_brackets(exc.detail)}", "bold red")
        advice = advise(exc, raw, settings, keys, now)
        for hint in (advice.cause, *advice.details, advice.fix):
            _print_line(console, hint)
        raise click.exceptions.Exit(1) from None
    alg = verified.jose_header["alg"]
    _print_line(console, f"VERIFIED: {alg} signature by key {quote(verified.key_id)}", "bold green")
    for name, given in (("issuer", issuer), ("audience", audiences)):
        if not given:
            _print_line(console, f"The {name} was not checked: no --{name} was given.", "yellow")
    _print_section(console, "Payload", _pretty(verified.claims))
    _print_dates(console, verified.claims, now)


# ---- input ----------------------------------------------------------------------------------------------------------


def _read_token(argument: str) -> bytes:
    """The token's bytes, without what people copy along: white space around it and the word `Bearer`."""
    raw = sys.stdin.buffer.read(_MAX_INPUT_BYTES) if argument == "-" else argument.encode("utf-8", "replace")
    raw = raw.strip()
    if raw[:7].lower() == b"bearer ":
        raw = raw[7:].strip()
    if not raw:
        raise click.UsageError("the token is empty")
    return raw


def _load_keys(source: str) -> JwkSet:
    is_url = source.lower().startswith(("http://", "https://"))
    document = _fetch(source) if is_url else _read_file(source)
    try:
        # A secret that is served over the network is none (S4); one in a file of the operator's may be used.
        keys = JwkSet.parse(document, allow_symmetric=not is_url)
    except JwksError as exc:
        raise click.UsageError(f"--jwks {escape(source)}: {escape(str(exc))}") from None
    return keys


def _read_file(name: str) -> bytes:
    try:
        with Path(name).open("rb") as file:
            document = file.read(MAX_JWKS_BYTES + 1)
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "not a file name"
        raise click.UsageError(f"--jwks {escape(name)}: {why}") from None
    return _check_size(name, document)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Keys come from where the user said, or not at all (S37)."""

    def redirect_request(  # noqa: PLR0917 - urllib's signature
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        """Follow nothing; urllib then reports the status."""


def _fetch(url: str) -> bytes:
    """GET the key set: certificate verified, no redirects, time and size limited."""
    deadline = clock.monotonic() + FETCH_TIMEOUT_S
    opener = urllib.request.build_opener(_NoRedirects)
    document = b""
    try:
        request = urllib.request.Request(  # noqa: S310 - _load_keys lets http and https through only
            url, headers={"accept": "application/json", "user-agent": f"fastproxy/{__version__}"}
        )
        with opener.open(request, timeout=FETCH_TIMEOUT_S) as response:
            # In pieces: a server that sends a byte a second keeps within the timeout of each read.
            while len(document) <= MAX_JWKS_BYTES and (piece := response.read1(65536)):
                document += piece
                if clock.monotonic() > deadline:
                    raise TimeoutError("timed out")
    except urllib.error.HTTPError as exc:
        hint = "; redirects are not followed, name the final address" if 300 <= exc.code < 400 else ""
        exc.close()
        raise click.UsageError(f"--jwks {escape(url)}: answered {exc.code}{hint}") from None
    except (OSError, ValueError, HTTPException) as exc:
        raise click.UsageError(f"--jwks {escape(url)}: {escape(str(exc) or type(exc).__name__)}") from None
    return _check_size(url, document)


def _check_size(source: str, document: bytes) -> bytes:
    if len(document) > MAX_JWKS_BYTES:
        raise click.UsageError(f"--jwks {escape(source)}: larger than {MAX_JWKS_BYTES} bytes")
    return document


# ---- output ---------------------------------------------------------------------------------------------------------


def _make_console() -> Console:
    """Colours on a terminal, plain text elsewhere; nothing in the text is taken for markup."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def _print_line(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style))


def _print_section(console: Console, title: str, text: str, style: str = "bold") -> None:
    console.print()
    _print_line(console, title, style)
    _print_line(console, text)


def _print_dates(console: Console, claims: JsonObject, now: float) -> None:
    dates = [
        f"{name} ({meaning}): {describe_date(name, claims[name], now)}"
        for name, meaning in _DATE_CLAIMS.items()
        if name in claims
    ]
    if dates:
        _print_section(console, "Times", "\n".join(dates))


def _decode_leniently(segment: bytes) -> JsonObject | list[object] | str | float | None:
    """Read a segment as far as possible, to show it; None if there is nothing to show."""
    try:
        text = decode_base64url(segment.rstrip(b"="))
    except ValueError:
        return None
    readers: tuple[Callable[[bytes], JsonObject], ...] = (
        parse_json_object,
        lambda raw: json.loads(raw.decode()),
    )
    for read in readers:
        try:
            return read(text)
        except (ValueError, RecursionError):
            continue
    return None


def _pretty(value: object) -> str:
    try:
        return escape(json.dumps(value, indent=2, ensure_ascii=False), keep="\n")
    except RecursionError:
        return "nested too deeply to be shown"


def _in_brackets(detail: str) -> str:
    return f" ({detail})" if detail else ""
