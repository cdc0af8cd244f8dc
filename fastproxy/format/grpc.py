"""Operators for the status of a gRPC call: `GRPC_STATUS`, `GRPC_STATUS_NUMBER` (spec/http.md section 10)."""

from fastproxy.format.context import FormatContext, Operator
from fastproxy.http.local_reply import grpc_status_of, is_grpc, told_grpc_status

#: By number, as Envoy writes them.
_NAMES = (
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied",
    "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable",
    "DataLoss", "Unauthenticated",
)  # fmt: skip
_SNAKE_NAMES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
#: In the place of a status that is no number.
_INVALID = -1


def grpc_status_number(context: FormatContext) -> int | None:
    """`%GRPC_STATUS_NUMBER%`: what the response says, else what its HTTP status stands for; None if it is not gRPC."""
    request = context.request
    if request.response_headers is None or not is_grpc(request):
        return None
    told = told_grpc_status(request)
    if told is None:
        return grpc_status_of(request.response_status)
    return int(told) if told.isdigit() else _INVALID


def build_grpc_status(argument: str | None) -> Operator:
    """`%GRPC_STATUS(CAMEL_STRING|SNAKE_STRING|NUMBER)%`: the status as a word, or as its number.

    Raises:
        ValueError: another form.
    """
    if argument == "NUMBER":
        return grpc_status_number
    if argument not in (None, "", "CAMEL_STRING", "SNAKE_STRING"):
        raise ValueError("%GRPC_STATUS% takes CAMEL_STRING, SNAKE_STRING or NUMBER")
    names = _SNAKE_NAMES if argument == "SNAKE_STRING" else _NAMES

    def value(context: FormatContext) -> str | None:
        number = grpc_status_number(context)
        if number is None:
            return None
        return names[number] if 0 <= number < len(names) else str(number)

    return value
