"""Serves the admin interface. One table says which paths there are, what they do and which need POST."""

import asyncio
import html
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import hdrs, web

from fastproxy import clock, logs
from fastproxy.addresses import ends_of
from fastproxy.admin_log import AdminLog
from fastproxy.control.admin import pages
from fastproxy.control.admin.access import is_cross_origin, is_rebound
from fastproxy.control.admin.certs_page import certs_json
from fastproxy.control.admin.connections import AdminConnections, counted
from fastproxy.control.admin.dump_page import UnknownResource, choose_parts
from fastproxy.control.admin.endpoints_dump import endpoints_dump
from fastproxy.control.admin.process_pages import memory_json, runtime_json
from fastproxy.control.admin.prometheus import ScopeNames
from fastproxy.control.admin.replies import HTML, BadAdminRequest, compile_filter, json_reply, text_reply
from fastproxy.control.admin.stats_page import prometheus_page, stats_page
from fastproxy.control.admin.view import AdminView, ServerState
from fastproxy.match.settings import StringMatch
from fastproxy.match.string import StringMatcher, build_string_matcher
from fastproxy.stats import StatsSink

_log = logging.getLogger("fastproxy.control.admin")
_HEADERS = {
    "cache-control": "no-cache, max-age=0",
    "x-content-type-options": "nosniff",
    "server": "fastproxy",
    # The home page has buttons: no other page is to lie over it.
    "x-frame-options": "DENY",
}
_LOGGING_USAGE = (
    "usage: /logging?<name>=<level> (change single level)\n"
    "usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n"
    "usage: /logging?level=<level> (change all levels)\n"
    f"levels: {' '.join(logs.LEVELS)}\n"
)


@dataclass(frozen=True, slots=True)
class _Command:
    help: str
    answer: Callable[[web.Request], Awaitable[web.Response]]
    post_only: bool = False


class AdminServer:
    """The admin interface of one control plane."""

    def __init__(self, view: AdminView, log: AdminLog | None = None) -> None:
        """`log`: where its requests are logged; it stays the caller's."""
        self._view = view
        self._log = log
        self._runner: web.AppRunner | None = None
        self._connections = AdminConnections()
        self._allowed: tuple[tuple[StringMatch, ...], tuple[StringMatcher, ...]] | None = None
        self._commands = {
            "/": _Command("Admin home page", self._home),
            "/certs": _Command("certificates of listeners: names, expiry, last error", self._certs),
            "/clusters": _Command("upstream cluster status", self._clusters),
            "/config_dump": _Command("dump current configuration", self._config_dump),
            "/contention": _Command("dump current mutex contention stats", self._contention),
            "/drain_listeners": _Command(
                "stop listening; ?graceful, ?inboundonly, ?skip_exit", self._drain_listeners, post_only=True
            ),
            "/healthcheck/fail": _Command(
                "fail the health checks of others", self._fail_health, post_only=True
            ),
            "/healthcheck/ok": _Command(
                "pass the health checks of others", self._pass_health, post_only=True
            ),
            "/hot_restart_version": _Command("print the hot restart version", self._hot_restart_version),
            "/init_dump": _Command("what the start waits for", self._init_dump),
            "/memory": _Command("print current memory use of all processes", self._memory),
            "/reset_counters": _Command(
                "let all counters begin at zero", self._reset_counters, post_only=True
            ),
            "/runtime": _Command("print runtime values", self._runtime),
            "/runtime_modify": _Command(
                "change runtime values (not possible)", self._runtime_modify, post_only=True
            ),
            "/help": _Command("print out list of admin commands", self._help),
            "/jwks": _Command("keys of every JWT provider: names, age, last error", self._jwks),
            "/listeners": _Command("print listener info", self._listeners),
            "/logging": _Command("query/change logging levels", self._logging, post_only=True),
            "/quitquitquit": _Command("drain and exit the server", self._quit, post_only=True),
            "/ready": _Command("print server state, return 200 if LIVE, otherwise return 503", self._ready),
            "/reload_status": _Command("which configuration is in force, and how reloads went", self._reload),
            "/reopen_logs": _Command("reopen access logs", self._reopen_logs, post_only=True),
            "/server_info": _Command("print server version/status information", self._server_info),
            "/stats": _Command("print server stats", self._stats),
            "/stats/prometheus": _Command("print server stats in prometheus format", self._prometheus),
        }

    async def start(self, sock: socket.socket) -> None:
        """Serve on a bound socket, and take it over."""
        app = web.Application()
        app.router.add_route(hdrs.METH_ANY, "/{path:.*}", self._dispatch)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        await _CountedSite(self._runner, sock, self._connections).start()

    async def stop(self) -> None:
        """Stop serving; answers under way are finished within a second."""
        if self._runner is not None:
            await self._runner.cleanup()

    def write_stats(self, sink: StatsSink) -> None:
        """Add `http.admin.*` and `listener.admin.*`."""
        self._connections.write(sink)

    async def _dispatch(self, request: web.Request) -> web.Response:
        log = self._log
        began = clock.monotonic()
        self._connections.requests += 1
        status = 500
        try:
            if log is not None:
                noted = log.begin(request.method, request.raw_path, request.raw_headers, _ends(request))
            response = await self._answer(request)
            status = response.status
        finally:
            self._connections.count_answer(status, began)
        response.headers.update(_HEADERS)
        if log is not None:
            headers = ((name.encode(), value.encode()) for name, value in response.headers.items())
            body = response.body
            size = len(body) if isinstance(body, bytes) and request.method != hdrs.METH_HEAD else 0
            log.end(noted, response.status, headers, size)
        return response

    async def _answer(self, request: web.Request) -> web.Response:
        admin = self._view.settings.admin
        if (
            admin is not None
            and admin.allow_paths
            and not self._is_allowed(admin.allow_paths, request.raw_path)
        ):
            return text_reply(f"request to path {request.path} not allowed\n", 403)
        if admin is not None and is_rebound(request, admin.host):
            return text_reply(
                "The admin interface listens on a loopback address, and is asked for under another name"
                " (DNS rebinding?). Ask for localhost, or for its address.\n",
                403,
            )
        command = self._commands.get(request.path)
        if command is None:
            return text_reply(f"invalid path. admin commands are:\n{self._help_text()}", 404)
        if command.post_only and request.method != hdrs.METH_POST:
            return text_reply(f"Method {request.method} not allowed, POST required.", 405)
        if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_POST):
            return text_reply(f"Method {request.method} not allowed.", 405)
        if command.post_only and is_cross_origin(request):
            return text_reply("A page of another site asked for this.", 403)
        try:
            return await command.answer(request)
        except BadAdminRequest as error:
            return text_reply(str(error), 400)
        except Exception:
            # Unforeseen, so a bug; but its insides belong into the log, not onto the page.
            _log.exception("admin page %s failed", request.path)
            return text_reply("internal error, see the log\n", 500)

    def _is_allowed(self, conditions: tuple[StringMatch, ...], path: str) -> bool:
        known = self._allowed
        if known is None or known[0] is not conditions:
            known = self._allowed = (conditions, tuple(build_string_matcher(one) for one in conditions))
        return any(matches(path.encode()) for matches in known[1])

    def _help_text(self) -> str:
        return "".join(
            f"  {path}{' (POST)' if command.post_only else ''}: {command.help}\n"
            for path, command in sorted(self._commands.items())
        )

    async def _home(self, _request: web.Request) -> web.Response:
        rows = []
        for path, command in sorted(self._commands.items()):
            text = html.escape(path)
            cell = f'<a href="{text}">{text}</a>'
            if command.post_only:
                cell = f'<form action="{text}" method="post"><button>{text}</button></form>'
            rows.append(f"<tr><td>{cell}</td><td>{html.escape(command.help)}</td></tr>")
        page = (
            f"<!DOCTYPE html><title>FastProxy admin</title><h1>FastProxy</h1><table>{''.join(rows)}</table>\n"
        )
        return text_reply(page, content_type=HTML)

    async def _help(self, _request: web.Request) -> web.Response:
        return text_reply(f"admin commands are:\n{self._help_text()}")

    async def _ready(self, _request: web.Request) -> web.Response:
        state = self._view.state
        return text_reply(f"{state.name}\n", 200 if state is ServerState.LIVE else 503)

    async def _stats(self, request: web.Request) -> web.Response:
        return stats_page(request, await self._view.collect_stats(), scope_names(self._view))

    async def _prometheus(self, request: web.Request) -> web.Response:
        return prometheus_page(request, await self._view.collect_stats(), scope_names(self._view))

    async def _certs(self, _request: web.Request) -> web.Response:
        return json_reply(certs_json(self._view))

    async def _clusters(self, request: web.Request) -> web.Response:
        pattern = compile_filter(request)
        stats = await self._view.collect_stats()
        if _wants_json(request):
            return json_reply(pages.clusters_json(self._view, stats, pattern))
        return text_reply(pages.clusters_text(self._view, stats, pattern))

    async def _listeners(self, request: web.Request) -> web.Response:
        if _wants_json(request):
            return json_reply(pages.listeners_json(self._view))
        return text_reply(pages.listeners_text(self._view))

    async def _config_dump(self, request: web.Request) -> web.Response:
        dump = self._view.config_dump()
        if "include_eds" in request.query:
            # Where Envoy has them.
            dump["configs"].insert(2, endpoints_dump(self._view))
        try:
            return json_reply(choose_parts(request, dump))
        except UnknownResource as error:
            return text_reply(str(error), 404)

    async def _contention(self, _request: web.Request) -> web.Response:
        return text_reply("There are no mutexes whose contention could be traced.\n")

    async def _drain_listeners(self, request: web.Request) -> web.Response:
        query = request.query
        self._view.drain_listeners(
            graceful="graceful" in query, inbound_only="inboundonly" in query, skip_exit="skip_exit" in query
        )
        return text_reply("OK\n")

    async def _fail_health(self, _request: web.Request) -> web.Response:
        self._view.set_health(failed=True)
        return text_reply("OK\n")

    async def _pass_health(self, _request: web.Request) -> web.Response:
        self._view.set_health(failed=False)
        return text_reply("OK\n")

    async def _hot_restart_version(self, _request: web.Request) -> web.Response:
        return text_reply("disabled")

    async def _init_dump(self, _request: web.Request) -> web.Response:
        return json_reply({})

    async def _memory(self, _request: web.Request) -> web.Response:
        return json_reply(memory_json(self._view.process_ids()))

    async def _reset_counters(self, _request: web.Request) -> web.Response:
        await self._view.reset_counters()
        return text_reply("OK\n")

    async def _runtime(self, _request: web.Request) -> web.Response:
        return json_reply(runtime_json(self._view.config_dump()))

    async def _runtime_modify(self, request: web.Request) -> web.Response:
        if not (request.query or await request.post()):
            raise BadAdminRequest(
                "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n"
                "       or send the parameters as form values\n"
                "use an empty value to remove a previously added override"
            )
        return text_reply("No admin layer specified", 503)

    async def _server_info(self, _request: web.Request) -> web.Response:
        return json_reply(pages.server_info(self._view))

    async def _jwks(self, request: web.Request) -> web.Response:
        return json_reply(pages.jwks_json(self._view, with_public_keys="public_keys" in request.query))

    async def _reload(self, _request: web.Request) -> web.Response:
        return json_reply(pages.reload_json(self._view.reload_status(), self._view.resources()))

    async def _reopen_logs(self, _request: web.Request) -> web.Response:
        self._view.reopen_logs()
        if self._log is not None:
            self._log.reopen()
        return text_reply("OK\n")

    async def _quit(self, _request: web.Request) -> web.Response:
        self._view.request_shutdown("/quitquitquit")
        return text_reply("OK\n")

    async def _logging(self, request: web.Request) -> web.Response:
        changes = _level_changes(request)
        # All of it, or nothing.
        for component, level in changes:
            if component not in ("", *logs.levels()):
                return text_reply(f"error: unknown logger name\n\n{_LOGGING_USAGE}", 400)
            try:
                logs.level_number(level)
            except ValueError:
                return text_reply(f"error: unknown logger level\n\n{_LOGGING_USAGE}", 400)
        for component, level in changes:
            self._view.set_log_level(level, component)
        listed = "".join(f"  {name}: {level}\n" for name, level in logs.levels().items())
        return text_reply(f"active loggers:\n{listed}\n")


class _CountedSite(web.SockSite):
    """Serves on a bound socket of either family, and counts connections; aiohttp's own wants to bind paths itself."""

    def __init__(self, runner: web.AppRunner, sock: socket.socket, counts: AdminConnections) -> None:
        super().__init__(runner, sock)
        self._counts = counts

    async def start(self) -> None:
        """Begin to accept."""
        server = self._runner.server
        assert server is not None
        # What the base class does, with another kind of server.
        await web.BaseSite.start(self)
        loop = asyncio.get_running_loop()
        create = loop.create_unix_server if self._sock.family == socket.AF_UNIX else loop.create_server
        self._server = await create(counted(self._counts, server), sock=self._sock, backlog=self._backlog)


def scope_names(view: AdminView) -> ScopeNames:
    """Collect the names that appear inside statistic names."""
    settings = view.settings
    hosts = [
        host
        for listener in settings.listeners
        for http in listener.http_managers()
        for host in http.route_config.virtual_hosts
    ]
    return ScopeNames(
        tuple(cluster.stat_name or cluster.name for cluster in settings.clusters),
        tuple(http.stat_prefix for listener in settings.listeners for http in listener.http_managers()),
        tuple(provider.name for provider in settings.providers()),
        tuple(listener.stat_address for listener in settings.listeners),
        tuple(host.name for host in hosts),
        ("other", *(one.name for host in hosts for one in host.virtual_clusters)),
        tuple(route.stat_prefix for host in hosts for route in host.routes if route.stat_prefix),
        tuple(tcp.stat_prefix for listener in settings.listeners for tcp in listener.tcp_proxies()),
    )


def _level_changes(request: web.Request) -> list[tuple[str, str]]:
    """Read `?level=`, `?paths=a:b,c:d`, `?NAME=level` as (component, level) pairs; no component means all."""
    changes: list[tuple[str, str]] = []
    for name, value in request.query.items():
        if name == "level":
            changes.append(("", value))
        elif name == "paths":
            for entry in value.split(","):
                component, _, level = entry.partition(":")
                changes.append((component, level))
        else:
            changes.append((name, value))
    return changes


def _ends(request: web.Request) -> tuple[tuple[str, int], tuple[str, int]]:
    transport = request.transport
    if transport is None:
        return ("", 0), ("", 0)
    return ends_of(transport.get_extra_info("peername"), transport.get_extra_info("sockname"))


def _wants_json(request: web.Request) -> bool:
    return request.query.get("format") == "json"
