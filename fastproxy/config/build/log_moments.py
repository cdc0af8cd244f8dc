"""When a connection manager logs a request besides its end (`HcmAccessLogOptions`)."""

from fastproxy.config.view import View
from fastproxy.listener.settings import LogMoments


def build_log_moments(manager: View) -> LogMoments:
    """Read `access_log_options`, or the deprecated fields for the same."""
    interval_s = manager.duration_s("access_log_flush_interval", 0.0)
    at_start = manager.flag("flush_access_log_on_new_request")
    options = manager.child("access_log_options")
    if options is None:
        return LogMoments(at_start=at_start, interval_s=interval_s)
    if manager.has("access_log_flush_interval") or at_start:
        manager.error(
            "access_log_options and the deprecated fields for the same are both set",
            "Use access_log_options alone",
            field="access_log_options",
        )
    return LogMoments(
        at_start=options.flag("flush_access_log_on_new_request"),
        at_tunnel=options.flag("flush_log_on_tunnel_successfully_established"),
        interval_s=options.duration_s("access_log_flush_interval", 0.0),
    )
