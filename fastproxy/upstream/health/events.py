"""What a worker notices about endpoints while it forwards, and the control plane must know."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FailedImmediately:
    """An answer carried `x-envoy-immediate-health-check-fail`; the endpoint is out of use here already."""

    cluster: str
    address: str


EndpointEvent = FailedImmediately
#: Tells the control plane.
ReportEvent = Callable[[EndpointEvent], None]


def report_to_nobody(event: EndpointEvent) -> None:
    """For clusters that stand alone: what is noticed has its effect here and nowhere else."""
