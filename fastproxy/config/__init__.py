"""From an Envoy file to the settings of every part; the only package that imports protobuf or YAML.

loaded = load_config(Path("config.yaml"))      # raises ConfigError with every problem
settings_from_bootstrap(loaded.bootstrap)      # the same settings again, in a worker
"""

from fastproxy.config.dump import config_dump
from fastproxy.config.dynamic.assignments import Assignments, read_assignments
from fastproxy.config.dynamic.response import UnreadableFile, read_resource_file, version_number
from fastproxy.config.load import LoadedConfig, load_config, settings_from_bootstrap
from fastproxy.config.locate import Position, locate
from fastproxy.config.problems import ConfigError, ConfigProblem
from fastproxy.config.tls_update import TlsUpdate, rebuild_tls

__all__ = [
    "Assignments",
    "ConfigError",
    "ConfigProblem",
    "LoadedConfig",
    "Position",
    "TlsUpdate",
    "UnreadableFile",
    "config_dump",
    "load_config",
    "locate",
    "read_assignments",
    "read_resource_file",
    "rebuild_tls",
    "settings_from_bootstrap",
    "version_number",
]
