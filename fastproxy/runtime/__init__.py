"""Everything that one configuration became in one worker."""

from fastproxy.runtime.clusters import CountShares
from fastproxy.runtime.log_files import AccessLogFiles
from fastproxy.runtime.runtime import Runtime

__all__ = ["AccessLogFiles", "CountShares", "Runtime"]
