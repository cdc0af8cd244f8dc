"""What a worker notices about endpoints while it forwards, and the control plane must know."""

from collections.abc import Callable
from dataclasses import dataclass

from fastproxy.upstream.health.settings import OutlierKind


@dataclass(frozen=True, slots=True)
class FailedImmediately:
    """An answer carried `x-envoy-immediate-health-check-fail`; the endpoint is out of use here already."""

    cluster: str
    address: str


@dataclass(frozen=True, slots=True)
class OutlierDetected:
    """An endpoint failed too often in a row."""

    cluster: str
    address: str
    kind: OutlierKind
    enforced: bool
    """The enforcing percentage allows an ejection; if the number of ejected endpoints does as well, it is out of use
    here already."""


EndpointEvent = FailedImmediately | OutlierDetected
#: Tells the control plane.
ReportEvent = Callable[[EndpointEvent], None]


def report_to_nobody(event: EndpointEvent) -> None:
    """For clusters that stand alone: what is noticed has its effect here and nowhere else."""
