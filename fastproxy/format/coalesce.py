"""`%COALESCE({"operators": [...]})%`: the first of several operators that has a value (Envoy)."""

from collections.abc import Callable
from typing import Any

import orjson

from fastproxy.format.context import FormatContext, Operator

#: Builds an operator from its name, argument and length.
BuildOperator = Callable[[str, str | None, str | None], Operator]


def build_coalesce(argument: str | None, build: BuildOperator) -> Operator:
    """Compile the operators, each a name or `{"command": NAME, "param": ARGUMENT, "max_length": LENGTH}`.

    Raises:
        ValueError: the argument is no such JSON, or one of the operators cannot be built.
    """
    operators = [_build_one(index, entry, build) for index, entry in enumerate(_entries(argument))]

    def value(context: FormatContext) -> object:
        for operator in operators:
            found = operator(context)
            if found is not None and found not in ("", b""):
                return found
        return None

    return value


def _entries(argument: str | None) -> list[Any]:
    if not argument:
        raise ValueError("%COALESCE% needs an argument in brackets")
    try:
        config = orjson.loads(argument)
    except orjson.JSONDecodeError as error:
        raise ValueError("the argument of %COALESCE% is not JSON") from error
    entries = config.get("operators") if isinstance(config, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ValueError('%COALESCE% needs {"operators": [...]} with at least one operator')
    return entries


def _build_one(index: int, entry: Any, build: BuildOperator) -> Operator:
    where = f"%COALESCE%, operator {index}"
    if isinstance(entry, str):
        entry = {"command": entry}
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: neither a name nor an object")  # noqa: TRY004 - a fault of the text
    name, argument, length = entry.get("command"), entry.get("param"), entry.get("max_length")
    if not isinstance(name, str) or not isinstance(argument, str | None):
        raise ValueError(f"{where}: command and param are texts")  # noqa: TRY004
    if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length <= 0):
        raise ValueError(f"{where}: max_length is a number above 0")
    unknown = entry.keys() - {"command", "param", "max_length"}
    if unknown:
        # Envoy reads on; a misspelt `param` would go unnoticed.
        raise ValueError(f"{where}: unknown member {min(unknown)}")
    try:
        return build(name, argument, None if length is None else str(length))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
