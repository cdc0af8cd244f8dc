"""Sockets that were open before this process began: a predecessor's, or a service manager's."""

import logging
import socket
from dataclasses import dataclass, field

from fastproxy.config.settings import AdminSettings, ProxySettings
from fastproxy.control.sockets import Place, format_address, place_of

_log = logging.getLogger("fastproxy.control")


@dataclass(slots=True)
class Inheritance:
    """Sockets by what they are for. Whoever uses one takes it out; `close` ends the rest."""

    listeners: dict[Place, list[socket.socket]] = field(default_factory=dict)
    admin: socket.socket | None = None
    admin_address: tuple[str, int] | None = None
    """The admin interface's as the configuration has it."""

    def take_listeners(self, settings: ProxySettings) -> dict[Place, list[socket.socket]]:
        """Take out the sockets of the listeners of a configuration."""
        places = [place_of(one) for one in settings.listeners]
        return {place: self.listeners.pop(place) for place in places if place in self.listeners}

    def take_admin(self, admin: AdminSettings) -> socket.socket | None:
        """Take out the admin interface's socket, if it has the configured address."""
        if self.admin_address != (admin.host, admin.port):
            return None
        sock, self.admin = self.admin, None
        return sock

    def close(self) -> None:
        """Close what nobody has taken out."""
        for sockets in self.listeners.values():
            for sock in sockets:
                sock.close()
        self.listeners.clear()
        if self.admin is not None:
            self.admin.close()
            self.admin = None


def from_service_manager(sockets: list[socket.socket], settings: ProxySettings) -> Inheritance:
    """Match sockets with listeners, and with the admin interface, by their addresses.

    One that nothing in the configuration asks for is closed with a warning: connections to it would wait for ever.
    """
    found = Inheritance()
    places = {(one.host, one.port): place_of(one) for one in settings.listeners}
    admin = settings.admin
    for sock in sockets:
        address: tuple[str, int] = sock.getsockname()[:2]
        if address in places:
            found.listeners.setdefault(places[address], []).append(sock)
        elif admin is not None and address == (admin.host, admin.port) and found.admin is None:
            found.admin, found.admin_address = sock, address
        else:
            _log.warning(
                "the service manager has opened %s, which is no listener's address; it is closed",
                format_address(*address),
            )
            sock.close()
    return found
