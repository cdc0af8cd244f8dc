"""Who may ask the admin interface: it can stop the proxy, and browsers are easily made to ask for others (S64)."""

import ipaddress
import logging
from urllib.parse import urlsplit

from aiohttp import web

from fastproxy.addresses import is_pipe

_log = logging.getLogger("fastproxy.control.admin")


def warn_if_exposed(host: str) -> None:
    """Say at the start that everybody who reaches the admin interface can stop the proxy (S64)."""
    if not is_pipe(host) and not ipaddress.ip_address(host).is_loopback:
        _log.warning(
            "the admin interface listens on %s, which is not a loopback address: whoever reaches it can read"
            " the configuration and stop the proxy; bind it to 127.0.0.1",
            host,
        )


def is_rebound(request: web.Request, listens_on: str) -> bool:
    """Tell a browser that was made to believe that the name of some site is this machine.

    To the browser its page and our answers then are one site. What it cannot do is lie about the name: a loopback
    address is asked for under its own name, `localhost`, or as an IP address.
    """
    if is_pipe(listens_on) or not ipaddress.ip_address(listens_on).is_loopback:
        return False
    host = request.headers.get("host", "")
    if not host:
        return False
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        if name != "localhost" and not name.endswith(".localhost"):
            ipaddress.ip_address(name)
    except ValueError:
        return True
    return False


def is_cross_origin(request: web.Request) -> bool:
    """Tell a browser that acts for another site: a form on any page can POST to 127.0.0.1."""
    origin = request.headers.get("origin")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc != request.host
    except ValueError:
        return True
