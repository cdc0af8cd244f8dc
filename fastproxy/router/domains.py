"""Which virtual host a host name belongs to (spec/http.md section 8.1)."""

from collections.abc import Iterable

from fastproxy.router.virtual_host import VirtualHost


class DomainIndex:
    """Exact name, then longest `*suffix`, then longest `prefix*`, then `*`; a wildcard never stands for nothing.

    Wildcards are kept by their length, longest first: a name is looked up once for each length that occurs, however
    many domains there are.
    """

    __slots__ = ("_any", "_exact", "_ignore_port", "_prefixes", "_suffixes")

    def __init__(self, hosts: Iterable[tuple[tuple[str, ...], VirtualHost]], *, ignore_port: bool) -> None:
        """Build the index.

        Args:
            hosts: domains in lower case, each at most once, and the virtual host that they belong to.
            ignore_port: `ignore_port_in_host_matching`.
        """
        self._ignore_port = ignore_port
        self._any: VirtualHost | None = None
        self._exact: dict[bytes, VirtualHost] = {}
        suffixes: dict[int, dict[bytes, VirtualHost]] = {}
        prefixes: dict[int, dict[bytes, VirtualHost]] = {}
        for domains, host in hosts:
            for domain in domains:
                name = domain.encode()
                if name == b"*":
                    self._any = host
                elif name.startswith(b"*"):
                    suffixes.setdefault(len(name) - 1, {})[name[1:]] = host
                elif name.endswith(b"*"):
                    prefixes.setdefault(len(name) - 1, {})[name[:-1]] = host
                else:
                    self._exact[name] = host
        self._suffixes = tuple(sorted(suffixes.items(), reverse=True))
        self._prefixes = tuple(sorted(prefixes.items(), reverse=True))

    def select(self, authority: bytes) -> VirtualHost | None:
        """The virtual host of a `host` header; None if there is none."""
        host = authority.lower()
        if self._ignore_port:
            host = _without_port(host)
        found = self._exact.get(host)
        if found is not None:
            return found
        size = len(host)
        for length, by_suffix in self._suffixes:
            if size > length:
                found = by_suffix.get(host[size - length :])
                if found is not None:
                    return found
        for length, by_prefix in self._prefixes:
            if size > length:
                found = by_prefix.get(host[:length])
                if found is not None:
                    return found
        return self._any


def _without_port(host: bytes) -> bytes:
    name, colon, port = host.rpartition(b":")
    # Envoy takes off an empty port as well (RFC 3986 section 3.2.3 allows it).
    return name if colon and (not port or port.isdigit()) and not name.endswith(b":") else host
