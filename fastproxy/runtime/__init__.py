"""Everything that one configuration became in one worker, and how one configuration follows another there."""

from fastproxy.runtime.clusters import CountShares
from fastproxy.runtime.generations import Generations
from fastproxy.runtime.log_files import AccessLogFiles
from fastproxy.runtime.runtime import Runtime

__all__ = ["AccessLogFiles", "CountShares", "Generations", "Runtime"]
