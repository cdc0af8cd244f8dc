"""From an Envoy file to the settings of every part; the only package that imports protobuf or YAML.

loaded = load_config(Path("config.yaml"))      # raises ConfigError with every problem
settings_from_bootstrap(loaded.bootstrap)      # the same settings again, in a worker
"""

from fastproxy.config.dump import config_dump
from fastproxy.config.dynamic.assignments import Assignments, read_assignments
from fastproxy.config.dynamic.resources import ResourceKind, Resources, ResourceSource
from fastproxy.config.dynamic.response import (
    UnreadableFile,
    check_response,
    read_resource_file,
    version_number,
)
from fastproxy.config.load import (
    LoadedConfig,
    LoadOptions,
    load_config,
    settings_from_bootstrap,
    update_config,
)
from fastproxy.config.locate import Position, locate
from fastproxy.config.problems import ConfigError, ConfigProblem, show_path
from fastproxy.config.tls_update import TlsUpdate, rebuild_tls

__all__ = [
    "Assignments",
    "ConfigError",
    "ConfigProblem",
    "LoadOptions",
    "LoadedConfig",
    "Position",
    "ResourceKind",
    "ResourceSource",
    "Resources",
    "TlsUpdate",
    "UnreadableFile",
    "check_response",
    "config_dump",
    "load_config",
    "locate",
    "read_assignments",
    "read_resource_file",
    "rebuild_tls",
    "settings_from_bootstrap",
    "show_path",
    "update_config",
    "version_number",
]
