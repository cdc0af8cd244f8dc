"""What the command line decides about the control plane (the configuration: `ProxySettings`)."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: `-P`: a file called `http.py` in the directory where the operator stands must not become part of the proxy.
WORKER_ARGV = (sys.executable, "-P", "-m", "fastproxy.worker")


@dataclass(frozen=True, slots=True)
class ControlOptions:
    """Options of `ControlPlane`. Durations are seconds."""

    concurrency: int = 1
    drain_time_s: float = 600.0
    drains_at_once: bool = False
    """`--drain-strategy immediate`: while listeners drain, every response ends its connection."""
    log_level: str = "info"
    component_log_levels: Mapping[str, str] = field(default_factory=dict)
    """Levels of single components, here and in the workers (`--component-log-level`)."""
    log_format: str = ""
    """Layout of the application log, here and in the workers (`--log-format`); empty: Envoy's default."""
    access_log_flush: tuple[float, int] = (1.0, 64 * 1024)
    """How long, and how many bytes of lines may wait to be written."""
    log_path: str = ""
    """File for the application log; workers write their stderr there. Empty: stderr."""
    admin_address_path: str = ""
    """File that gets the bound `host:port` of the admin interface (`--admin-address-path`)."""
    config_path: str = ""
    """For `/server_info` and messages only; the configuration is already loaded."""
    watch_path: Path | None = None
    """File whose changes cause a reload (`--watch-config`)."""
    upgrade_path: str = ""
    """Unix socket by which a new process takes over (`--upgrade-socket`); empty: none can."""
    successor_argv: tuple[str, ...] = ()
    """The command that SIGUSR2 starts: this process's own."""
    warnings: tuple[str, ...] = ()
    """Warnings of the configuration, logged once at the start."""
    worker_argv: tuple[str, ...] = WORKER_ARGV
    """The worker's command; the descriptors of channel and handover are appended."""
    worker_start_timeout_s: float = 60.0
    """A worker that is not ready by then is replaced. Generous: a cold disk or a busy machine is no fault."""
    reload_timeout_s: float = 60.0
    """How long a worker may take to build the runtime of a new configuration, and to switch to it."""
    restart_backoff_s: tuple[float, float] = (0.1, 10.0)
    """First and longest delay before a dead worker is replaced."""
    first_resolution_timeout_s: float = 5.0
    """How long the listeners wait for the first DNS answers (Envoy: each cluster's lookup timeout)."""
    first_health_checks_timeout_s: float = 30.0
    """How long the listeners wait for the first round of health checks (Envoy: as long as it takes)."""
    forced_refetch_cooldown_s: float = 10.0
    """The least time between two JWKS fetches that requests asked for (S36)."""
    command_line: dict[str, object] = field(default_factory=dict)
    """Further options to show in `/server_info`."""
