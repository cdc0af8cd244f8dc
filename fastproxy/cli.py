"""The command line: Envoy's flags, and our own sub-commands (spec/http.md section 3).

`fastproxy -c FILE` serves. Exit codes: 0 fine, 1 bad configuration or failed start, 2 bad usage.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click

import fastproxy
from fastproxy import build_info, logs

#: Sub-commands live elsewhere and are imported when used: the proxy itself should not pay for them.
_SUBCOMMANDS: Final = {
    "demo": ("fastproxy.demo.cli", "demo_command", "Play the story of a protected service against itself."),
    "explain": (
        "fastproxy.explain.cli",
        "explain_command",
        "Say what the proxy would do with a request, and what would fix it.",
    ),
    "lint": (
        "fastproxy.lint.cli",
        "lint_command",
        "Warn about what is legal in a configuration, and dangerous.",
    ),
    "jwt": ("fastproxy.jwt_commands", "jwt_group", "Look into tokens and verify them."),
}
#: Flags of Envoy that tune what does not exist here: accepted, so that its command lines keep working.
_IGNORED_OPTIONS: Final = (
    "--base-id", "--base-id-path", "--disable-extensions", "--local-address-ip-version",
    "--parent-shutdown-time-s", "--restart-epoch", "--socket-mode", "--socket-path", "--stats-tag",
)  # fmt: skip
_IGNORED_FLAGS: Final = (
    "--cpuset-threads", "--disable-hot-restart", "--enable-core-dump", "--enable-fine-grain-logging",
    "--enable-mutex-tracing", "--log-stacktrace-single-entry",
    "--reject-unknown-dynamic-fields", "--skip-deprecated-logs", "--skip-hot-restart-on-no-parent",
    "--skip-hot-restart-parent-stats", "--use-dynamic-base-id",
)  # fmt: skip


class LazyGroup(click.Group):
    """A group whose sub-commands are imported when they are used; their help lines are known without."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the sub-commands."""
        return sorted({*super().list_commands(ctx), *_SUBCOMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one sub-command."""
        if cmd_name not in _SUBCOMMANDS:
            return super().get_command(ctx, cmd_name)
        module, attribute, _ = _SUBCOMMANDS[cmd_name]
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the sub-commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _SUBCOMMANDS[name][2]) for name in self.list_commands(ctx)])


def _ignored_options(command: Callable[..., None]) -> Callable[..., None]:
    for name in _IGNORED_OPTIONS:
        command = click.option(name, hidden=True, expose_value=False, multiple=True)(command)
    for name in _IGNORED_FLAGS:
        command = click.option(name, hidden=True, expose_value=False, is_flag=True)(command)
    return command


def _default_concurrency() -> int:
    # The cores this process may use, not those of the machine: containers get a part.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _parse_level(_ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Check one of Envoy's level names; `warn` becomes `warning`."""
    try:
        logs.level_number(value)
    except ValueError as error:
        raise click.BadParameter(str(error), param=param) from None
    return "warning" if value.lower() == "warn" else value.lower()


def _parse_path(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Path | None:
    # `-c "$CONFIG"` without the variable is no file, and not the directory that Path makes of it.
    return Path(value) if value else None


def _parse_log_format(_ctx: click.Context, param: click.Parameter, value: str) -> str:
    try:
        logs.check_format(value)
    except ValueError as error:
        raise click.BadParameter(str(error), param=param) from None
    return value


def _parse_component_levels(ctx: click.Context, param: click.Parameter, value: str) -> dict[str, str]:
    levels = {}
    for entry in filter(None, value.split(",")):
        component, separator, level = entry.partition(":")
        if not separator or not component:
            raise click.BadParameter("expected name:level,name:level", param=param)
        levels[component.removeprefix("fastproxy.")] = _parse_level(ctx, param, level)
    return levels


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Other command line flags of Envoy are accepted and have no effect. See docs/operations.md.",
)
@click.option(
    "-c",
    "--config-path",
    callback=_parse_path,
    metavar="FILE",
    help="Envoy v3 configuration: YAML or JSON.",
)
@click.option("--config-yaml", metavar="TEXT", help="Configuration as text; merged over the file.")
@click.option(
    "--mode",
    type=click.Choice(["serve", "validate"], case_sensitive=False),
    default="serve",
    help="validate: check the configuration, say OK or what is wrong, and exit.",
)
@click.option(
    "--concurrency", type=click.IntRange(min=0), help="Worker processes; 0 means 1.  [default: cores]"
)
@click.option(
    "-l",
    "--log-level",
    callback=_parse_level,
    metavar="LEVEL",
    default="info",
    show_default=True,
    help=", ".join(logs.LEVELS),
)
@click.option(
    "--component-log-level",
    default="",
    callback=_parse_component_levels,
    metavar="NAME:LEVEL,...",
    help="Levels of single components.",
)
@click.option(
    "--log-path", default="", metavar="FILE", help="Write the application log to FILE, not to stderr."
)
@click.option(
    "--log-format",
    default="",
    callback=_parse_log_format,
    metavar="FORMAT",
    help="Layout of the application log, as in Envoy.  [default: [%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v]",
)
@click.option("--log-format-escaped", is_flag=True, hidden=True)
@click.option(
    "--drain-time-s",
    type=click.FloatRange(min=0),
    default=600,
    show_default=True,
    help="How long requests in flight may take to finish after SIGTERM.",
)
@click.option(
    "--drain-strategy",
    type=click.Choice(["gradual", "immediate"], case_sensitive=False),
    default="gradual",
    show_default=True,
    help="While /drain_listeners?graceful is at work: responses end connections more and more often, or always.",
)
@click.option(
    "--file-flush-interval-msec",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="How long a line of an access log may wait to be written.",
)
@click.option(
    "--file-flush-min-size-kb",
    type=click.IntRange(min=0),
    default=64,
    show_default=True,
    help="How much of an access log may wait to be written.",
)
@click.option(
    "--admin-address-path", default="", metavar="FILE", help="Write the bound admin address to FILE."
)
@click.option(
    "--watch-config", is_flag=True, help="Reload when the content of the configuration file changes."
)
@click.option(
    "--upgrade-socket",
    default="",
    metavar="PATH",
    help="Take over from the process that listens on this Unix socket, if one does; then listen on it.",
)
@click.option("--service-node", default="", metavar="ID", help="Replaces node.id.")
@click.option("--service-cluster", default="", metavar="NAME", help="Replaces node.cluster.")
@click.option("--service-zone", default="", metavar="NAME", help="Replaces node.locality.zone.")
@click.option("--allow-unknown-static-fields", "--allow-unknown-fields", "allow_unknown_fields", is_flag=True)
@click.option(
    "--ignore-unknown-dynamic-fields",
    is_flag=True,
    help="Unknown fields of resources in files are warnings, not errors.",
)
@click.option("--hot-restart-version", is_flag=True, hidden=True)
@_ignored_options
@click.version_option(f"{fastproxy.__version__} ({build_info.form()})", "--version", prog_name="fastproxy")
@click.pass_context
def cli(ctx: click.Context, /, **flags: Any) -> None:
    """A front proxy that runs Envoy v3 configuration and verifies JSON Web Tokens at the door.

    fastproxy -c FILE serves; fastproxy --mode validate -c FILE checks.
    """
    if ctx.invoked_subcommand is not None:
        return
    if flags["hot_restart_version"]:
        click.echo("disabled")
        return
    if flags["config_path"] is None and not flags["config_yaml"]:
        click.echo(ctx.get_help(), err=True)
        click.echo("\nError: give a configuration with -c FILE, or one of the commands above.", err=True)
        ctx.exit(2)
    if flags["watch_config"] and flags["config_path"] is None:
        raise click.UsageError("--watch-config needs a file to watch: give one with -c FILE.")
    ctx.exit(_serve_or_validate(flags))


def _serve_or_validate(flags: dict[str, Any]) -> int:
    # `--config-yaml ""` is what a script writes that has nothing to merge; Envoy takes it, too.
    config_yaml = flags["config_yaml"] or None
    # Loads protobuf, aiohttp and all the rest; --help and --version should not wait for that.
    from fastproxy.control import ControlOptions  # noqa: PLC0415
    from fastproxy.serve import ServeRequest, serve, validate  # noqa: PLC0415

    concurrency = flags["concurrency"]
    request = ServeRequest(
        config_path=flags["config_path"],
        config_yaml=config_yaml,
        service_node=flags["service_node"],
        service_cluster=flags["service_cluster"],
        service_zone=flags["service_zone"],
        allow_unknown_fields=flags["allow_unknown_fields"],
        allow_unknown_resource_fields=flags["ignore_unknown_dynamic_fields"],
        options=ControlOptions(
            concurrency=_default_concurrency() if concurrency is None else max(1, concurrency),
            drain_time_s=flags["drain_time_s"],
            drains_at_once=flags["drain_strategy"].lower() == "immediate",
            component_log_levels=flags["component_log_level"],
            log_format=flags["log_format"],
            access_log_flush=(
                flags["file_flush_interval_msec"] / 1000,
                flags["file_flush_min_size_kb"] * 1024,
            ),
            log_level=flags["log_level"],
            log_path=flags["log_path"],
            admin_address_path=flags["admin_address_path"],
            config_path=str(flags["config_path"] or ""),
            watch_path=flags["config_path"] if flags["watch_config"] else None,
            upgrade_path=flags["upgrade_socket"],
            successor_argv=tuple(sys.orig_argv),
            command_line={
                "service_node": flags["service_node"],
                "service_cluster": flags["service_cluster"],
                "service_zone": flags["service_zone"],
                "drain_strategy": flags["drain_strategy"].capitalize(),
                "file_flush_interval": f"{flags['file_flush_interval_msec'] / 1000:g}s",
                "log_format": flags["log_format"],
                # Its text may hold secrets; that there was one is enough to know.
                "config_yaml": "(given)" if config_yaml else "",
                "allow_unknown_static_fields": flags["allow_unknown_fields"],
                "watch_config": flags["watch_config"],
                "upgrade_socket": flags["upgrade_socket"],
            },
        ),
    )
    return validate(request) if flags["mode"] == "validate" else serve(request)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit; the console script. No traceback reaches the user."""
    try:
        cli.main(args=arguments, prog_name="fastproxy")
    except Exception as error:
        logging.getLogger("fastproxy").debug("unexpected error", exc_info=error)
        click.echo(
            f"fastproxy: unexpected error: {type(error).__name__}: {logs.printable(str(error), 300)}\n"
            "This is a bug in FastProxy; `-l debug` shows where.",
            err=True,
        )
        sys.exit(1)
