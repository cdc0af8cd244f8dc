"""`fastproxy demo`: arguments in, exit status out."""

import asyncio
import sys
from collections.abc import Callable
from typing import TypeVar

import click
from rich.console import Console

from fastproxy.demo.proxy_process import Ports
from fastproxy.demo.report import ConsoleReporter
from fastproxy.demo.world import DemoOptions, run_demo

_F = TypeVar("_F", bound=Callable[..., object])


def _port_option(name: str, default: int, text: str) -> Callable[[_F], _F]:
    return click.option(name, type=click.IntRange(1, 65535), default=default, show_default=True, help=text)


@click.command("demo")
@click.option("--once", is_flag=True, help="Leave after the story; exit 0 only if every answer was as told.")
@_port_option("--proxy-port", Ports().proxy, "Where the proxy listens.")
@_port_option("--issuer-port", Ports().issuer, "Where tokens come from.")
@_port_option("--upstream-port", Ports().upstream, "Where the data is.")
@_port_option("--admin-port", Ports().admin, "The proxy's admin interface.")
def demo_command(once: bool, proxy_port: int, issuer_port: int, upstream_port: int, admin_port: int) -> None:
    """Show the proxy at work: an issuer, an upstream, the proxy between them, and real requests.

    Everything listens on 127.0.0.1. After the story it stays up for requests by hand, until Ctrl-C.
    """
    ports = Ports(proxy=proxy_port, issuer=issuer_port, upstream=upstream_port, admin=admin_port)
    if len({proxy_port, issuer_port, upstream_port, admin_port}) < 4:
        raise click.UsageError("the four ports must differ")
    reporter = ConsoleReporter(Console(highlight=False))
    sys.exit(asyncio.run(run_demo(DemoOptions(ports=ports, once=once), reporter)))
