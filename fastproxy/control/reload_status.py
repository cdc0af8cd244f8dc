"""How reloads of the configuration went: for /reload_status and the statistics."""

from dataclasses import dataclass

from fastproxy.stats import StatsSink


@dataclass(slots=True)
class ReloadStatus:
    """What /reload_status shows. Times are Unix seconds."""

    generation: int = 1
    """The configuration in force: 1 since the start, one more with every reload."""
    loaded_at: float = 0.0
    """When it took over."""
    in_progress: bool = False
    succeeded: int = 0
    failed: int = 0
    last_attempt_at: float | None = None
    last_trigger: str = ""
    last_error: tuple[str, ...] = ()
    """Problems of the last attempt, one a line; empty if it succeeded."""

    def write_stats(self, sink: StatsSink) -> None:
        """Add `server.config_reload_*`."""
        sink.counter("server.config_reload_success", self.succeeded)
        sink.counter("server.config_reload_failure", self.failed)
        sink.gauge("server.config_reload_last_success_time", int(self.loaded_at))
        sink.gauge("server.config_generation", self.generation)
