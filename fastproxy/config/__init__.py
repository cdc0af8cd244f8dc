"""From an Envoy file to the settings of every part; the only package that imports protobuf or YAML.

loaded = load_config(Path("config.yaml"))      # raises ConfigError with every problem
settings_from_bootstrap(loaded.bootstrap)      # the same settings again, in a worker
"""

from fastproxy.config.dump import config_dump
from fastproxy.config.load import LoadedConfig, load_config, settings_from_bootstrap
from fastproxy.config.locate import Position, locate
from fastproxy.config.problems import ConfigError, ConfigProblem
from fastproxy.config.tls_update import TlsUpdate, rebuild_tls

__all__ = [
    "ConfigError",
    "ConfigProblem",
    "LoadedConfig",
    "Position",
    "TlsUpdate",
    "config_dump",
    "load_config",
    "locate",
    "rebuild_tls",
    "settings_from_bootstrap",
]
