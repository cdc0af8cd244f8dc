"""Sockets that were open before this process began: a predecessor's, or a service manager's."""

import logging
import socket
from dataclasses import dataclass, field

from fastproxy.addresses import address_of, format_address
from fastproxy.config.settings import AdminSettings, ProxySettings
from fastproxy.control.pipes import PipeFile
from fastproxy.control.sockets import PassedOn
from fastproxy.listener.settings import Place

_log = logging.getLogger("fastproxy.control")


@dataclass(slots=True)
class Inheritance:
    """Sockets by what they are for. Whoever uses one takes it out; `close` ends the rest."""

    listeners: dict[Place, PassedOn] = field(default_factory=dict)
    admin: PassedOn | None = None
    admin_address: tuple[str, int] | None = None
    """The admin interface's as the configuration has it."""

    def take_listeners(self, settings: ProxySettings) -> dict[Place, PassedOn]:
        """Take out the sockets of the listeners of a configuration."""
        places = [place for one in settings.listeners for _, place in one.places()]
        return {place: self.listeners.pop(place) for place in places if place in self.listeners}

    def take_admin(self, admin: AdminSettings) -> tuple[socket.socket, PipeFile | None] | None:
        """Take out the admin interface's socket, if it has the configured address."""
        if self.admin is None or self.admin_address != (admin.host, admin.port):
            return None
        found, self.admin = self.admin, None
        return found.sockets[0], found.file()

    def close(self) -> None:
        """Close what nobody has taken out."""
        for known in (*self.listeners.values(), *(() if self.admin is None else (self.admin,))):
            for sock in known.sockets:
                sock.close()
        self.listeners.clear()
        self.admin = None


def from_service_manager(sockets: list[socket.socket], settings: ProxySettings) -> Inheritance:
    """Match sockets with listeners, and with the admin interface, by their addresses.

    One that nothing in the configuration asks for is closed with a warning: connections to it would wait for ever.
    The files of Unix domain sockets stay the service manager's.
    """
    found = Inheritance()
    places = {
        (address.host, address.port): place for one in settings.listeners for address, place in one.places()
    }
    admin = settings.admin
    for sock in sockets:
        address = address_of(sock.getsockname())
        if address in places:
            found.listeners.setdefault(places[address], PassedOn([])).sockets.append(sock)
        elif admin is not None and address == (admin.host, admin.port) and found.admin is None:
            found.admin, found.admin_address = PassedOn([sock]), address
        else:
            _log.warning(
                "the service manager has opened %s, which is no listener's address; it is closed",
                format_address(*address),
            )
            sock.close()
    return found
