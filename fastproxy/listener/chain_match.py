"""Which filter chain serves a connection (Envoy `FilterChainMatch`, spec/filters.md section 9.2).

The criteria are looked at in Envoy's order, and each narrows the choice to the most specific value that fits,
without ever coming back: a chain for the right server name is not found behind a more specific destination that leads
elsewhere. The conditions become a tree with one level for each criterion: of a thousand names one is looked up.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import product
from typing import Any

from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.listener.settings import FilterChainMatchSettings, SourceType

#: A criterion that a chain does not name fits everything and is the least specific.
_ANY = None
_Network = IPv4Network | IPv6Network
_Address = IPv4Address | IPv6Address
_SAME_IP, _EXTERNAL = SourceType.SAME_IP_OR_LOOPBACK, SourceType.EXTERNAL


class AmbiguousChains(ValueError):
    """Two chains ask for the same; `first` and `second` are their positions."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"filter chains {first} and {second} match the same connections")
        self.first = first
        self.second = second


class FilterChainMatcher:
    """The matches of a listener's chains, compiled.

    Raises (when it is made):
        AmbiguousChains: two chains ask for the same.
        ValueError: an address range cannot be read.
    """

    __slots__ = ("_root",)

    def __init__(self, matches: Sequence[FilterChainMatchSettings]) -> None:
        self._root: dict[Any, Any] = {}
        for index, match in enumerate(matches):
            for path in product(*_values(match)):
                _insert(self._root, path, index)
        _sort_ranges(self._root, 0)

    def select(self, info: ConnectionInfo) -> int | None:
        """The position of the chain that serves a connection; None: none does."""
        local, remote, direct = (
            _address(one[0]) for one in (info.local_address, info.remote_address, info.direct_remote_address)
        )
        node: Any = _either(self._root, info.local_address[1])
        node = _in_range(node, local)
        node = _by_server_name(node, info.requested_server_name)
        node = _either(node, info.transport_protocol)
        node = _first_of(node, info.application_protocols)
        node = _in_range(node, direct)
        # Whoever comes over a Unix domain socket has no address, and is on this machine.
        node = _by_source(node, is_local=remote is None or remote.is_loopback or remote == local)
        node = _in_range(node, remote)
        found: int | None = _either(node, info.remote_address[1])
        return found


def _values(match: FilterChainMatchSettings) -> list[tuple[Any, ...]]:
    """What each level of the tree is keyed by, in Envoy's order."""
    return [
        (match.destination_port or _ANY,),
        _networks(match.prefix_ranges),
        tuple(name.lower() for name in match.server_names) or (_ANY,),
        (match.transport_protocol or _ANY,),
        match.application_protocols or (_ANY,),
        _networks(match.direct_source_prefix_ranges),
        (_ANY if match.source_type is SourceType.ANY else match.source_type,),
        _networks(match.source_prefix_ranges),
        match.source_ports or (_ANY,),
    ]


#: Levels of the tree that are keyed by networks.
_RANGE_LEVELS = frozenset((1, 5, 7))


def _networks(ranges: Sequence[str]) -> tuple[_Network | None, ...]:
    return tuple(ip_network(text, strict=False) for text in ranges) or (_ANY,)


def _insert(root: dict[Any, Any], path: tuple[Any, ...], index: int) -> None:
    node = root
    for key in path[:-1]:
        node = node.setdefault(key, {})
    known = node.setdefault(path[-1], index)
    if known != index:
        raise AmbiguousChains(known, index)


def _sort_ranges(node: dict[Any, Any], level: int) -> None:
    """Put longer prefixes first, so that the first one that fits is the most specific."""
    if level in _RANGE_LEVELS:
        ordered = sorted(
            node.items(), key=lambda item: -1 if item[0] is _ANY else item[0].prefixlen, reverse=True
        )
        node.clear()
        node.update(ordered)
    for below in node.values():
        if isinstance(below, dict):
            _sort_ranges(below, level + 1)


def _address(text: str) -> _Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    # A dual-stack listener sees IPv4 peers like this.
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _either(node: Any, key: object) -> Any:
    if node is None:
        return None
    found = node.get(key) if key else None
    return node.get(_ANY) if found is None else found


def _in_range(node: Any, address: _Address | None) -> Any:
    if node is None:
        return None
    for network, below in node.items():
        if network is _ANY or (address is not None and address in network):
            return below
    return None


def _by_server_name(node: Any, name: str) -> Any:
    if node is None:
        return None
    if name:
        found = node.get(name)
        while found is None and "." in name:
            name = name.partition(".")[2]
            found = node.get("*." + name)
        if found is not None:
            return found
    return node.get(_ANY)


def _first_of(node: Any, keys: Sequence[str]) -> Any:
    if node is None:
        return None
    for key in keys:
        found = node.get(key)
        if found is not None:
            return found
    return node.get(_ANY)


def _by_source(node: Any, *, is_local: bool) -> Any:
    if node is None:
        return None
    found = node.get(_SAME_IP if is_local else _EXTERNAL)
    return node.get(_ANY) if found is None else found
