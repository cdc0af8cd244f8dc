"""The admin interface: what Envoy's has, on aiohttp, in the control plane (spec/http.md section 15)."""

from fastproxy.control.admin.server import AdminServer
from fastproxy.control.admin.view import AdminView, ServerState

__all__ = ["AdminServer", "AdminView", "ServerState"]
