"""How a cluster looks names up: `Cluster` and `DnsCluster` (envoy.extensions.clusters.dns.v3), which share fields."""

from fastproxy.config.build.address import check_ip
from fastproxy.config.view import View
from fastproxy.upstream.settings import DnsLookupFamily, DnsResolverSettings, DnsSettings

CARES = "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
_GETADDRINFO = "envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig"
_DNS_PORT = 53
_TUNING = "c-ares is started anew for every lookup, with its own defaults"


def build_family(view: View) -> DnsLookupFamily:
    """`dns_lookup_family`; unset is AUTO."""
    kind = view.choice("dns_lookup_family")
    known = {family.value for family in DnsLookupFamily}
    return DnsLookupFamily(kind) if kind in known else DnsLookupFamily.AUTO


def build_dns(view: View, default: DnsResolverSettings | None) -> DnsSettings:
    """Rates and resolver, from a `Cluster` or a `DnsCluster`; whatever is wrong is reported.

    Args:
        view: the message.
        default: the resolver of clusters that name none, from the bootstrap.
    """
    respect_ttl = view.flag("respect_dns_ttl")
    resolver = build_resolver(view)
    if resolver is None and not view.has("typed_dns_resolver_config"):
        resolver = default
    if resolver is None and respect_ttl and not view.has("typed_dns_resolver_config"):
        # The system's resolver knows no times to live.
        resolver = DnsResolverSettings()
    return DnsSettings(
        failure_refresh_s=_build_failure_rate(view),
        jitter_s=view.duration_s("dns_jitter", 0.0),
        respect_ttl=respect_ttl,
        resolver=resolver,
    )


def _build_failure_rate(view: View) -> tuple[float, float] | None:
    rate = view.child("dns_failure_refresh_rate")
    if rate is None:
        return None
    base = rate.duration_s("base_interval", 0.0)
    longest = rate.duration_s("max_interval", base * 10)
    if longest < base:
        rate.error("max_interval must be greater than or equal to the base_interval", field="max_interval")
    return base, longest


def build_resolver(view: View) -> DnsResolverSettings | None:
    """The resolver that a `Bootstrap`, `Cluster` or `DnsCluster` names; None if it names none, or the system's."""
    config = view.child("typed_dns_resolver_config")
    fields = view.message.DESCRIPTOR.fields_by_name
    if config is not None:
        # It replaces the older spellings.
        for name in ("dns_resolution_config", "dns_resolvers", "use_tcp_for_dns_lookups"):
            if name in fields:
                view.without_effect(name, "typed_dns_resolver_config is set")
        return _build_typed(config)
    if "dns_resolution_config" not in fields:
        return None
    old = view.child("dns_resolution_config")
    if old is not None:
        options = old.child_or_empty("dns_resolver_options")
        return DnsResolverSettings(
            servers=_build_servers(old.children("resolvers")),
            over_tcp=options.flag("use_tcp_for_dns_lookups"),
            search_domains=not options.flag("no_default_search_domain"),
        )
    servers = _build_servers(view.children("dns_resolvers")) if "dns_resolvers" in fields else ()
    over_tcp = view.flag("use_tcp_for_dns_lookups")
    return DnsResolverSettings(servers=servers, over_tcp=over_tcp) if servers or over_tcp else None


def _build_typed(config: View) -> DnsResolverSettings | None:
    config.accept("name")
    resolver = config.typed("typed_config")
    if resolver is None:
        if not config.has("typed_config"):
            config.error("typed_config is missing", f"FastProxy has {CARES} and {_GETADDRINFO}")
        return None
    if resolver.type_name == _GETADDRINFO:
        # It is what the system's resolver is; how often that tries is for /etc/resolv.conf to say.
        resolver.without_effect("num_retries", "the system's resolver has settings of its own")
        return None
    if resolver.type_name != CARES:
        config.error(
            f"the resolver {resolver.type_name} is not supported",
            f"FastProxy has {CARES} and {_GETADDRINFO}",
            field="typed_config",
        )
        resolver.accept(*(field.name for field, _ in resolver.message.ListFields()))
        return None
    options = resolver.child_or_empty("dns_resolver_options")
    for name in (
        "filter_unroutable_families",
        "udp_max_queries",
        "edns0_max_payload_size",
        "max_udp_channel_duration",
        "reinit_channel_on_timeout",
    ):
        resolver.without_effect(name, _TUNING)
    return DnsResolverSettings(
        servers=_build_servers(resolver.children("resolvers")),
        servers_are_fallback=resolver.flag("use_resolvers_as_fallback"),
        over_tcp=options.flag("use_tcp_for_dns_lookups"),
        search_domains=not options.flag("no_default_search_domain"),
        query_timeout_s=float(resolver.integer_or("query_timeout_seconds", 5)),
        tries=resolver.integer_or("query_tries", 4),
        rotate=resolver.flag("rotate_nameservers"),
    )


def _build_servers(entries: list[View]) -> tuple[str, ...]:
    found = []
    for entry in entries:
        entry.unsupported("pipe", "name servers have addresses", "Use socket_address")
        entry.unsupported("envoy_internal_address")
        socket = entry.child("socket_address")
        if socket is None:
            continue
        # Which protocol is asked is for `use_tcp_for_dns_lookups` to say, as in Envoy.
        socket.accept("protocol")
        socket.unsupported("named_port", fix="Use port_value with the number")
        host, port = socket.text("address"), socket.integer("port_value") or _DNS_PORT
        if check_ip(socket, host):
            found.append(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    return tuple(found)
