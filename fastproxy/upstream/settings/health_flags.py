"""What is held against an endpoint, and what follows from it (spec/clusters.md section 4)."""

from enum import Enum, IntFlag


class HealthStatus(Enum):
    """What the configuration or discovery says about an endpoint (Envoy `core.v3.HealthStatus`)."""

    UNKNOWN = "UNKNOWN"
    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"
    DRAINING = "DRAINING"
    TIMEOUT = "TIMEOUT"
    DEGRADED = "DEGRADED"


class HealthFlag(IntFlag):
    """Why an endpoint is not simply healthy; each part of the runtime sets and clears its own.

    `/clusters` shows the names in this order, as Envoy does.
    """

    FAILED_ACTIVE_HC = 1
    FAILED_OUTLIER_CHECK = 2
    FAILED_EDS_HEALTH = 4
    DEGRADED_ACTIVE_HC = 8
    DEGRADED_EDS_HEALTH = 16
    PENDING_DYNAMIC_REMOVAL = 32
    PENDING_ACTIVE_HC = 64
    EXCLUDED_VIA_IMMEDIATE_HC_FAIL = 128
    ACTIVE_HC_TIMEOUT = 256
    EDS_STATUS_DRAINING = 512


#: Any of these takes an endpoint out of use.
UNHEALTHY_FLAGS = (
    HealthFlag.FAILED_ACTIVE_HC
    | HealthFlag.FAILED_OUTLIER_CHECK
    | HealthFlag.FAILED_EDS_HEALTH
    | HealthFlag.EDS_STATUS_DRAINING
)
#: One of these, and none of the above: used for what the healthy endpoints cannot take.
DEGRADED_FLAGS = HealthFlag.DEGRADED_ACTIVE_HC | HealthFlag.DEGRADED_EDS_HEALTH
#: Not counted at all when shares and panic are computed: nothing is known about these yet, or they are leaving.
EXCLUDED_FLAGS = (
    HealthFlag.PENDING_ACTIVE_HC | HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL | HealthFlag.EDS_STATUS_DRAINING
)
#: The flags that `health_status` decides.
EDS_FLAGS = HealthFlag.FAILED_EDS_HEALTH | HealthFlag.DEGRADED_EDS_HEALTH | HealthFlag.EDS_STATUS_DRAINING
#: The flags that the control plane decides: active checks, ejections, endpoints on their way out.
CONTROL_FLAGS = (
    HealthFlag.FAILED_ACTIVE_HC
    | HealthFlag.FAILED_OUTLIER_CHECK
    | HealthFlag.DEGRADED_ACTIVE_HC
    | HealthFlag.PENDING_DYNAMIC_REMOVAL
    | HealthFlag.PENDING_ACTIVE_HC
    | HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL
    | HealthFlag.ACTIVE_HC_TIMEOUT
)
_EDS_FLAGS_OF = {
    HealthStatus.UNHEALTHY: HealthFlag.FAILED_EDS_HEALTH,
    HealthStatus.TIMEOUT: HealthFlag.FAILED_EDS_HEALTH,
    HealthStatus.DRAINING: HealthFlag.EDS_STATUS_DRAINING,
    HealthStatus.DEGRADED: HealthFlag.DEGRADED_EDS_HEALTH,
}


def eds_flags(status: HealthStatus) -> HealthFlag:
    """The health flags that follow from a `health_status`."""
    return _EDS_FLAGS_OF.get(status, HealthFlag(0))


def describe_health(flags: HealthFlag) -> str:
    """Flags as `/clusters` shows them: `healthy`, or `/failed_active_hc/failed_outlier_check`."""
    return "".join(f"/{flag.name.lower()}" for flag in HealthFlag if flag in flags and flag.name) or "healthy"
