"""`RouteConfiguration` to settings (envoy.config.route.v3)."""

from fastproxy.config.build.cluster_reference import check_cluster
from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.data_source import read_data_source
from fastproxy.config.build.header_rules import HeaderLevels
from fastproxy.config.build.path_match import build_path_match
from fastproxy.config.build.per_filter import FilterViews, build_filter_configs
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.router.settings import (
    DirectResponseAction,
    ForwardAction,
    RedirectAction,
    RouteActionSettings,
    RouteConfigurationSettings,
    RouteSettings,
    VirtualHostSettings,
)

# Envoy's; raised by max_direct_response_body_size_bytes.
_MAX_DIRECT_BODY_BYTES = 4096
_DEFAULT_TIMEOUT_S = 15.0

_REDIRECT_STATUS = {
    "MOVED_PERMANENTLY": 301,
    "FOUND": 302,
    "SEE_OTHER": 303,
    "TEMPORARY_REDIRECT": 307,
    "PERMANENT_REDIRECT": 308,
}
_NOT_FOUND_STATUS = {"SERVICE_UNAVAILABLE": 503, "NOT_FOUND": 404, "INTERNAL_SERVER_ERROR": 500}


class _RouteBuilder:
    """Builds one `RouteConfiguration`, with the options of it that its routes need."""

    def __init__(self, config: View, context: BuildContext, filters: FilterViews) -> None:
        self._config = config
        self._context = context
        self._filters = filters
        self._filter_configs = build_filter_configs(config, filters)
        self._headers = HeaderLevels.of_table(config)
        self._check_clusters = config.flag_or("validate_clusters", default=True)
        self._max_body_bytes = config.integer_or(
            "max_direct_response_body_size_bytes", _MAX_DIRECT_BODY_BYTES
        )

    def build(self) -> RouteConfigurationSettings:
        seen: dict[str, str] = {}
        hosts = [self._virtual_host(view, seen) for view in self._config.children("virtual_hosts")]
        return RouteConfigurationSettings(
            name=self._config.text("name"),
            virtual_hosts=tuple(hosts),
            ignore_port_in_host_matching=self._config.flag("ignore_port_in_host_matching"),
        )

    def _virtual_host(self, view: View, seen: dict[str, str]) -> VirtualHostSettings:
        name = view.text("name")
        domains = tuple(domain.lower() for domain in view.texts("domains"))
        for domain in domains:
            self._check_domain(view, domain, seen)
            seen.setdefault(domain, name)
        view.only("require_tls", ("NONE",), "Answer with a redirect route that has https_redirect: true")
        # The most specific level wins, whole and filter by filter (spec/http.md section 9.4).
        filter_configs = self._filter_configs | build_filter_configs(view, self._filters)
        headers = self._headers.below(view)
        routes = [self._route(route, filter_configs, headers) for route in view.children("routes")]
        return VirtualHostSettings(
            name, domains, tuple(route for route in routes if route is not None), config_path=view.path
        )

    def _check_domain(self, view: View, domain: str, seen: dict[str, str]) -> None:
        if domain in seen:
            words = (
                'Only a single wildcard domain "*" is permitted'
                if domain == "*"
                else f"Only unique values for domains are permitted: {quote(domain)} is given twice"
            )
            view.error(f"{words} (first in virtual host {quote(seen[domain])})", field="domains")
        elif not domain:
            view.error("a domain must not be empty", 'Use "*" for every host', field="domains")
        elif "*" in domain[1:-1] or (len(domain) > 1 and domain[0] == domain[-1] == "*"):
            view.error(
                f'the domain {quote(domain)} has a "*" in a place where it has no meaning',
                'A "*" may be the first character (*.example.com) or the last (example.*)',
                field="domains",
            )

    def _route(self, view: View, inherited: dict[str, object], levels: HeaderLevels) -> RouteSettings | None:
        match = build_path_match(view.child_or_empty("match"))
        action = self._action(view)
        name = view.text("name")
        headers = levels.below(view)
        filter_configs = inherited | build_filter_configs(view, self._filters)
        if match is None or action is None:
            return None
        return RouteSettings(
            match,
            action,
            name,
            filter_configs,
            config_path=view.path,
            request_headers=headers.request,
            response_headers=headers.response,
        )

    def _action(self, view: View) -> RouteActionSettings | None:
        kind = view.selected("action")
        if kind == "route":
            return self._forward(view.child_or_empty("route"))
        if kind == "redirect":
            return _build_redirect(view.child_or_empty("redirect"))
        if kind == "direct_response":
            return self._direct_response(view.child_or_empty("direct_response"))
        return None

    def _forward(self, view: View) -> ForwardAction | None:
        if view.selected("cluster_specifier") != "cluster":
            return None
        cluster = view.text("cluster")
        if self._check_clusters:
            check_cluster(view, "cluster", cluster, self._context)
        literal = view.text("host_rewrite_literal") if view.has("host_rewrite_literal") else ""
        return ForwardAction(
            cluster=cluster,
            timeout_s=view.duration_s("timeout", _DEFAULT_TIMEOUT_S),
            host_rewrite_literal=literal,
            auto_host_rewrite=view.flag_or("auto_host_rewrite", default=False),
            prefix_rewrite=view.text("prefix_rewrite"),
            cluster_not_found_status=_NOT_FOUND_STATUS.get(
                view.choice("cluster_not_found_response_code"), 503
            ),
        )

    def _direct_response(self, view: View) -> DirectResponseAction:
        body = view.child("body")
        content = b"" if body is None else read_data_source(body) or b""
        if len(content) > self._max_body_bytes:
            view.error(
                f"response body size is {len(content)} bytes; maximum is {self._max_body_bytes}",
                "Raise route_config.max_direct_response_body_size_bytes",
                field="body",
            )
        return DirectResponseAction(view.integer("status"), content)


def build_route_config(
    config: View, context: BuildContext, filters: FilterViews
) -> RouteConfigurationSettings:
    """Build a whole route table; `filters` are those that its routes may speak of."""
    return _RouteBuilder(config, context, filters).build()


def _build_redirect(view: View) -> RedirectAction:
    return RedirectAction(
        status=_REDIRECT_STATUS.get(view.choice("response_code"), 301),
        https_redirect=view.flag("https_redirect"),
        scheme_redirect=view.text("scheme_redirect"),
        host_redirect=view.text("host_redirect"),
        port_redirect=view.integer("port_redirect"),
        path_redirect=view.text("path_redirect"),
        prefix_rewrite=view.text("prefix_rewrite"),
        strip_query=view.flag("strip_query"),
    )
