"""Tells a service manager how it goes: systemd's `sd_notify` protocol, one datagram of `NAME=value` lines."""

import os
import socket

from fastproxy import clock


def notify(*lines: str) -> bool:
    """Send `lines` to the socket that `NOTIFY_SOCKET` names; False if there is none, or it does not listen.

    READY=1, RELOADING=1 (`reloading` makes it complete), STOPPING=1, MAINPID=, STATUS= are what is used here. Nothing
    depends on the answer: there is none.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        # Linux: an abstract name.
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            # The manager reads it soon; if not, no reload waits for it.
            sock.setblocking(False)
            sock.sendto("\n".join(lines).encode(), address)
    except OSError:
        return False
    return True


def reloading() -> tuple[str, ...]:
    """Return the lines that begin a reload (`Type=notify-reload` wants the time, in microseconds)."""
    return ("RELOADING=1", f"MONOTONIC_USEC={int(clock.monotonic() * 1_000_000)}")
