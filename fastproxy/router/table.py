"""The route table: host to virtual host, path to route (spec/http.md section 8)."""

from fastproxy.http.messages import LocalReply, Request
from fastproxy.match.request import header_values
from fastproxy.router.domains import DomainIndex
from fastproxy.router.route import Route
from fastproxy.router.settings import RouteConfigurationSettings
from fastproxy.router.virtual_host import VirtualHost
from fastproxy.stats import StatsSink

NO_ROUTE = LocalReply(404, details="route_not_found", flag="NR")

#: Hosts are remembered up to this number, so that a flood of made-up ones cannot grow the table.
_MAX_REMEMBERED_HOSTS = 1024
# RFC 1035 section 2.3.4, and a port.
_MAX_HOST_BYTES = 255 + 6


class RouteTable:
    """All virtual hosts of one route configuration."""

    __slots__ = ("_domains", "_known", "_named_by", "_stats")

    def __init__(self, settings: RouteConfigurationSettings, *, envoy_headers: bool = True) -> None:
        """Compile the table.

        Raises:
            ValueError: a regular expression is invalid (the configuration has checked this before).
        """
        hosts = [
            (one.domains, VirtualHost(one, envoy_headers=envoy_headers)) for one in settings.virtual_hosts
        ]
        self._stats = tuple(stats for _, host in hosts for stats in host.stats)
        self._domains = DomainIndex(hosts, ignore_port=settings.ignore_port_in_host_matching)
        self._named_by = settings.vhost_header.encode()
        self._known: dict[bytes, VirtualHost | None] = {}

    def write_stats(self, sink: StatsSink) -> None:
        """Add the numbers of virtual clusters and routes to a snapshot."""
        for stats in self._stats:
            stats.write(sink)

    def select_route(self, request: Request) -> Route | None:
        """The first route of the request's virtual host that matches. Hot path: once per request."""
        authority = request.authority
        if self._named_by:
            found = header_values(request, self._named_by)
            if not found:
                return None
            authority = found[0]
        host = self._known.get(authority)
        if host is None:
            if authority in self._known:
                return None
            host = self._domains.select(authority)
            if len(self._known) >= _MAX_REMEMBERED_HOSTS:
                self._known.clear()
            if len(authority) <= _MAX_HOST_BYTES:
                self._known[authority] = host
            if host is None:
                return None
        return host.select_route(request)
