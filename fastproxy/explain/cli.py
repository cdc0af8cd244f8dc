"""`fastproxy explain`: options in, explanation out. Exits with 0: allowed, 1: refused, 2: not judged."""

import asyncio
import datetime as dt
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from fastproxy import clock
from fastproxy.advice.words import escape
from fastproxy.config import ConfigError, LoadOptions, load_config
from fastproxy.config.settings import ProxySettings
from fastproxy.explain.asked import (
    MAX_INPUT_BYTES,
    AskedRequest,
    BadQuestion,
    build_request,
    clean_token,
    with_token,
)
from fastproxy.explain.curl import parse_curl
from fastproxy.explain.keybook import read_given
from fastproxy.explain.report import Report
from fastproxy.explain.session import Wishes, explain
from fastproxy.explain.text import make_console, print_report


@click.command("explain")
@click.option(
    "-c",
    "--config-path",
    type=click.Path(path_type=Path),
    required=True,
    help="Envoy v3 configuration: YAML or JSON.",
)
@click.option(
    "--token",
    metavar="-|@FILE|TOKEN",
    help="The token, sent as `authorization: Bearer`. `-` reads it from standard input, @FILE from a file: a command"
    " line can be seen by others.",
)
@click.option("-X", "--method", default="GET", show_default=True)
@click.option("--path", default="/", show_default=True, help="Path, with query.")
@click.option(
    "--host", default="", help="Host, with port if it has one.  [default: one that the routes know]"
)
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="May be repeated.")
@click.option(
    "--curl", metavar="'curl ...'", help="The request as a curl command line; `-` and @FILE as with --token."
)
@click.option("--listener", default="", metavar="NAME", help="The listener that the request comes in by.")
@click.option(
    "--sni",
    default="",
    metavar="NAME",
    help="The client speaks TLS and asks for this name: it says which filter chain serves it.",
)
@click.option("--at", metavar="TIME", help="Judge as of this moment: Unix seconds or RFC 3339.")
@click.option(
    "--jwks", multiple=True, metavar="PROVIDER=FILE", help="A provider's keys, instead of asking for them."
)
@click.option("--admin", default="", metavar="URL", help="Take the keys in force from this running proxy.")
@click.option("--offline", is_flag=True, help="Ask and fetch nothing.")
@click.option("--json", "as_json", is_flag=True, help="A report for programs.")
def explain_command(**options: Any) -> None:
    """Say what the proxy would do with a request, step by step, and what would fix it.

    Give the request by --token, --path, -H... or as a pasted curl command line. Exits with 0 if it would be allowed,
    with 1 if it would be refused, with 2 if it cannot be judged.
    """
    try:
        report = _explain(options)
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise click.exceptions.Exit(2) from None
    except BadQuestion as error:
        raise click.UsageError(escape(str(error))) from None
    if options["as_json"]:
        click.echo(json.dumps(report.to_json(), indent=2))
    else:
        print_report(report, make_console())
    raise click.exceptions.Exit(report.exit_code)


def _explain(options: dict[str, Any]) -> Report:
    asked, token = _read_request(options)
    settings = load_config(
        options["config_path"], options=LoadOptions(requires_node=False, checks_endpoints=True)
    ).settings
    wishes = Wishes(
        at=clock.unix_time() if options["at"] is None else parse_moment(options["at"]),
        listener=options["listener"],
        server_name=options["sni"],
        admin=options["admin"],
        offline=options["offline"],
        given_keys=read_given(options["jwks"], _provider_names(settings)),
        token=token,
    )
    with _quiet_logs():
        return asyncio.run(explain(settings, asked, wishes))


def _provider_names(settings: ProxySettings) -> frozenset[str]:
    return frozenset(one.name for one in settings.providers())


def _read_request(options: dict[str, Any]) -> tuple[AskedRequest, bytes | None]:
    given = options["token"]
    token = None if given is None else clean_token(_read_text(given))
    if options["curl"] is None:
        asked = build_request(
            token=token,
            method=options["method"],
            path=options["path"],
            host=options["host"],
            headers=options["headers"],
        )
        return asked, token
    if options["headers"] or options["path"] != "/" or options["host"] or options["method"] != "GET":
        raise BadQuestion("--curl says it all; only --token goes with it, and takes the place of its token")
    if given == "-" and options["curl"] == "-":
        raise BadQuestion("--token and --curl cannot both be read from standard input")
    asked = parse_curl(os.fsdecode(_read_text(options["curl"])))
    return (asked if token is None else with_token(asked, token)), token


def _read_text(given: str) -> bytes:
    """The argument itself, standard input (`-`), or a file (`@FILE`)."""
    if given == "-":
        content = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
    elif given.startswith("@"):
        try:
            with Path(given[1:]).open("rb") as stream:
                content = stream.read(MAX_INPUT_BYTES + 1)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "not a file name"
            raise BadQuestion(f"{given[1:]} cannot be read: {why}") from None
    else:
        content = os.fsencode(given)
    if len(content) > MAX_INPUT_BYTES:
        raise BadQuestion(f"that is larger than {MAX_INPUT_BYTES} bytes")
    return content


def parse_moment(text: str) -> float:
    """Read Unix seconds or an RFC 3339 date and time; one without a zone is UTC.

    Raises:
        BadQuestion: it is neither.
    """
    if re.fullmatch(r"\d{1,11}(?:\.\d{1,9})?", text):
        return float(text)
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise BadQuestion("--at must be Unix seconds or a date such as 2026-11-23T14:00:00Z") from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)).timestamp()


@contextmanager
def _quiet_logs() -> Iterator[None]:
    """Keep the log lines of the proxy's parts out of the output: what they say is in the explanation."""
    log = logging.getLogger("fastproxy")
    handler, propagate = logging.NullHandler(), log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = propagate
