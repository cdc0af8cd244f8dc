"""Loads a configuration and serves it, or says what is wrong with it: what stands behind `fastproxy -c FILE`.

Exit codes: 0 fine, 1 the configuration (or the machine: a port in use) does not allow it.
"""

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import uvloop

import fastproxy
from fastproxy import logs
from fastproxy.config import ConfigError, LoadedConfig, LoadOptions, load_config, update_config
from fastproxy.config.settings import NodeSettings
from fastproxy.control import (
    Configuration,
    ControlOptions,
    ControlPlane,
    LoadConfiguration,
    StartupError,
    UpdateConfiguration,
)

_log = logging.getLogger("fastproxy")


@dataclass(frozen=True, slots=True)
class ServeRequest:
    """The command line, understood."""

    config_path: Path | None
    config_yaml: str | None
    options: ControlOptions
    service_node: str = ""
    service_cluster: str = ""
    service_zone: str = ""
    allow_unknown_fields: bool = False
    allow_unknown_resource_fields: bool = False

    @property
    def source(self) -> str:
        """Name of the configuration, for messages."""
        return str(self.config_path) if self.config_path is not None else "--config-yaml"


def validate(request: ServeRequest) -> int:
    """Load the configuration and say whether it is usable (`--mode validate`); returns the exit code."""
    loaded = _load(request, checks_endpoints=True)
    if loaded is None:
        return 1
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)  # noqa: T201 this is the command's output
    print(f"configuration '{request.source}' OK")  # noqa: T201 Envoy's words, on stdout
    return 0


def serve(request: ServeRequest) -> int:
    """Serve until a signal ends it; returns the exit code."""
    options = request.options
    try:
        logs.configure(
            options.log_level,
            path=options.log_path or None,
            component_levels=dict(options.component_log_levels),
            pattern=options.log_format,
        )
    except OSError as error:
        _complain(f"cannot open the log file {options.log_path}: {error.strerror}")
        return 1
    loaded = _load(request)
    if loaded is None:
        return 1
    _log.info("FastProxy %s, configuration from %s", fastproxy.__version__, request.source)
    first = _configuration(loaded)
    options = replace(options, warnings=first.warnings)

    def load_again(in_force: Configuration) -> Configuration:
        return _configuration(_load_or_raise(request, in_force=in_force.loaded))

    def update(in_force: Configuration, contents: Mapping[str, bytes]) -> Configuration:
        assert in_force.loaded is not None
        return _configuration(update_config(in_force.loaded, contents))

    try:
        uvloop.run(_run(first, options, load_again, update))
    except StartupError as error:
        _log.critical("cannot start: %s", error)
        if options.log_path or options.log_level == "off":
            _complain(str(error))
        return 1
    return 0


async def _run(
    first: Configuration,
    options: ControlOptions,
    load_again: LoadConfiguration,
    update: UpdateConfiguration,
) -> None:
    plane = ControlPlane(
        first.settings, first.bootstrap, options, load=load_again, loaded=first.loaded, update=update
    )
    await plane.run()


def _configuration(loaded: LoadedConfig) -> Configuration:
    return Configuration(
        loaded.settings,
        loaded.bootstrap,
        tuple(str(warning) for warning in loaded.warnings),
        loaded,
    )


def _load_or_raise(
    request: ServeRequest, *, checks_endpoints: bool = False, in_force: LoadedConfig | None = None
) -> LoadedConfig:
    return load_config(
        request.config_path,
        config_yaml=request.config_yaml,
        options=LoadOptions(
            allow_unknown_fields=request.allow_unknown_fields,
            allow_unknown_resource_fields=request.allow_unknown_resource_fields,
            node=NodeSettings(request.service_node, request.service_cluster, request.service_zone),
            checks_endpoints=checks_endpoints,
        ),
        in_force=in_force,
    )


def _load(request: ServeRequest, *, checks_endpoints: bool = False) -> LoadedConfig | None:
    try:
        return _load_or_raise(request, checks_endpoints=checks_endpoints)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201 one problem a line, as an editor can read it
        return None


def _complain(text: str) -> None:
    print(f"fastproxy: {text}", file=sys.stderr)  # noqa: T201 the log may be a file nobody looks at
