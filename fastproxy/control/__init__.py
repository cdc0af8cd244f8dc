"""The control plane: opens sockets, keeps workers alive, resolves names, fetches keys and reports.

It never carries a request. Everything a worker knows beyond its configuration was told by this package, over
`fastproxy.ipc`.
"""

from fastproxy.control.generation import Configuration
from fastproxy.control.options import ControlOptions
from fastproxy.control.plane import ControlPlane
from fastproxy.control.reload import LoadConfiguration, UpdateConfiguration
from fastproxy.control.sockets import StartupError

__all__ = [
    "Configuration",
    "ControlOptions",
    "ControlPlane",
    "LoadConfiguration",
    "StartupError",
    "UpdateConfiguration",
]
