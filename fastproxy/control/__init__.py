"""The control plane: opens sockets, keeps workers alive, resolves names, fetches keys and reports.

It never carries a request. Everything a worker knows beyond its configuration was told by this package, over
`fastproxy.ipc`.
"""

from fastproxy.control.options import ControlOptions
from fastproxy.control.plane import ControlPlane
from fastproxy.control.sockets import StartupError

__all__ = ["ControlOptions", "ControlPlane", "StartupError"]
