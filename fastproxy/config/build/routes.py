"""`RouteConfiguration` to settings (envoy.config.route.v3)."""

from collections.abc import Mapping

from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.cors import build_old_policy, without_policies
from fastproxy.config.build.data_source import read_data_source
from fastproxy.config.build.filter_metadata import build_filter_metadata
from fastproxy.config.build.format_string import build_format_string
from fastproxy.config.build.header_rules import HeaderLevels
from fastproxy.config.build.matchers import build_header_matches
from fastproxy.config.build.per_filter import FilterViews, build_filter_configs
from fastproxy.config.build.rate_limits import accept_rate_limits
from fastproxy.config.build.route_action import (
    ActionScope,
    RetryScope,
    build_forward,
    build_mirrors,
    build_redirect,
)
from fastproxy.config.build.route_match import build_route_match
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.router.settings import (
    DirectResponseAction,
    MirrorPolicy,
    RouteActionSettings,
    RouteConfigurationSettings,
    RouteSettings,
    TlsRequirement,
    VirtualClusterSettings,
    VirtualHostSettings,
)

# Envoy's; raised by max_direct_response_body_size_bytes.
_MAX_DIRECT_BODY_BYTES = 4096
_NO_ACTIONS = {
    "filter_action": "no filter answers in a route's place",
    "non_forwarding_action": "it is for servers that read routes by themselves; Envoy answers such requests with 503",
}


class _RouteBuilder:
    """Builds one `RouteConfiguration`, with the options of it that its routes need."""

    def __init__(self, config: View, context: BuildContext, filters: FilterViews) -> None:
        self._config = config
        self._context = context
        self._filters = filters
        self._filter_configs = build_filter_configs(config, filters, context)
        self._headers = HeaderLevels.of_table(config)
        self._check_clusters = config.flag_or("validate_clusters", default=True)
        self._mirrors = build_mirrors(config, context, checks_clusters=self._check_clusters)
        self._max_body_bytes = config.integer_or(
            "max_direct_response_body_size_bytes", _MAX_DIRECT_BODY_BYTES
        )

    def build(self) -> RouteConfigurationSettings:
        seen: dict[str, str] = {}
        hosts = [self._virtual_host(view, seen) for view in self._config.children("virtual_hosts")]
        _refuse_unsupported(self._config)
        return RouteConfigurationSettings(
            name=self._config.text("name"),
            virtual_hosts=tuple(hosts),
            vhost_header=self._config.text("vhost_header").lower(),
            ignore_port_in_host_matching=self._config.flag("ignore_port_in_host_matching"),
            internal_only_headers=tuple(name.lower() for name in self._config.texts("internal_only_headers")),
        )

    def _virtual_host(self, view: View, seen: dict[str, str]) -> VirtualHostSettings:
        name = view.text("name")
        domains = tuple(domain.lower() for domain in view.texts("domains"))
        for domain in domains:
            self._check_domain(view, domain, seen)
            seen.setdefault(domain, name)
        require_tls = TlsRequirement(view.choice("require_tls"))
        filter_configs = build_filter_configs(view, self._filters, self._context, self._filter_configs)
        filter_configs = build_old_policy(view, filter_configs, self._filters, self._context)
        headers = self._headers.below(view)
        mirrors = build_mirrors(view, self._context, checks_clusters=self._check_clusters) or self._mirrors
        retries = RetryScope.of_host(view)
        accept_rate_limits(view)
        view.unsupported("matcher", "virtual hosts choose among routes", "List them in routes")
        routes = [
            self._route(route, filter_configs, headers, mirrors, retries) for route in view.children("routes")
        ]
        return VirtualHostSettings(
            name,
            domains,
            tuple(route for route in routes if route is not None),
            require_tls,
            tuple(_build_virtual_cluster(one) for one in view.children("virtual_clusters")),
            metadata=build_filter_metadata(view),
            config_path=view.path,
        )

    def _check_domain(self, view: View, domain: str, seen: dict[str, str]) -> None:
        if domain in seen:
            words = (
                'Only a single wildcard domain "*" is permitted'
                if domain == "*"
                else f"Only unique values for domains are permitted: {quote(domain)} is given twice"
            )
            problem = f"{words} (first in virtual host {quote(seen[domain])})"
            view.error(problem, "Remove it from one of them", field="domains")
        elif not domain:
            view.error("a domain must not be empty", 'Use "*" for every host', field="domains")
        elif "*" in domain[1:-1] or (len(domain) > 1 and domain[0] == domain[-1] == "*"):
            view.error(
                f'the domain {quote(domain)} has a "*" in a place where it has no meaning',
                'A "*" may be the first character (*.example.com) or the last (example.*)',
                field="domains",
            )

    def _route(
        self,
        view: View,
        inherited: Mapping[str, object],
        levels: HeaderLevels,
        mirrors: tuple[MirrorPolicy, ...],
        retries: RetryScope,
    ) -> RouteSettings | None:
        match = build_route_match(view.child_or_empty("match"), self._context)
        filter_configs = build_filter_configs(view, self._filters, self._context, inherited)
        if view.selected("action") == "route":
            filter_configs = build_old_policy(
                view.child_or_empty("route"), filter_configs, self._filters, self._context
            )
        else:
            filter_configs = without_policies(view, filter_configs)
        headers = levels.below(view)
        scope = ActionScope(
            self._context,
            self._filters,
            self._check_clusters,
            filter_configs,
            headers,
            mirrors,
            retries.below(view),
            match is not None and match[1].connect_only,
        )
        action = self._action(view, scope)
        name = view.text("name")
        metadata = build_filter_metadata(view)
        if match is None or action is None:
            return None
        path, conditions = match
        return RouteSettings(
            path,
            action,
            name,
            filter_configs,
            conditions,
            config_path=view.path,
            request_headers=headers.request,
            response_headers=headers.response,
            stat_prefix=view.text("stat_prefix"),
            metadata=metadata,
        )

    def _action(self, view: View, scope: ActionScope) -> RouteActionSettings | None:
        kind = view.selected("action")
        if kind == "route":
            return build_forward(view.child_or_empty("route"), view.child_or_empty("match"), scope)
        if kind == "redirect":
            return build_redirect(view.child_or_empty("redirect"), view.child_or_empty("match"))
        if kind == "direct_response":
            return self._direct_response(view.child_or_empty("direct_response"))
        for field, why in _NO_ACTIONS.items():
            view.unsupported(field, why, "Use route, redirect or direct_response")
        return None

    def _direct_response(self, view: View) -> DirectResponseAction:
        body = view.child("body")
        content = b"" if body is None else read_data_source(body) or b""
        if len(content) > self._max_body_bytes:
            view.error(
                f"response body size is {len(content)} bytes; maximum is {self._max_body_bytes}",
                "Raise route_config.max_direct_response_body_size_bytes",
                field="body",
            )
        body_format = view.child("body_format")
        return DirectResponseAction(
            view.integer("status"), content, None if body_format is None else build_format_string(body_format)
        )


def _build_virtual_cluster(view: View) -> VirtualClusterSettings:
    return VirtualClusterSettings(view.text("name"), build_header_matches(view, "headers"))


def _refuse_unsupported(config: View) -> None:
    config.unsupported("vhds", "virtual hosts come from this file only", "List them in virtual_hosts")
    config.unsupported("cluster_specifier_plugins", "there are no plugins that choose clusters", "Remove it")
    config.unsupported(
        "ignore_path_parameters_in_path_matching",
        "a route would see /a where filters and upstreams see /a;b, and a rule for one path could be walked around",
        "Match the parameters with safe_regex",
    )


def build_route_config(
    config: View, context: BuildContext, filters: FilterViews
) -> RouteConfigurationSettings:
    """Build a whole route table; `filters` are those that its routes may speak of."""
    return _RouteBuilder(config, context, filters).build()
